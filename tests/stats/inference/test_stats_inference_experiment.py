"""Arms × metrics, with all that a reader must know."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from homeostat.errors import InvalidInput
from homeostat.stats.inference import analyze_experiment, clustered_difference, cuped, entity_means


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    arms = np.array(["old", "new", "other"])[rng.integers(0, 3, 3000)]
    before = rng.normal(size=3000)
    spent = 10 + before + rng.normal(size=3000) + 0.4 * (arms == "new")
    return arms, before, {"spent": spent, "late": rng.random(3000) + 0.1 * (arms == "other")}


def test_each_comparison_is_welchs(rows):
    arms, _, metrics = rows
    result = analyze_experiment(arms, metrics, control="old", lower_is_better=["late"])
    assert (result.control, set(result.arms)) == ("old", {"old", "new", "other"})
    assert len(result.comparisons) == 4
    for each in result.comparisons:
        one, two = metrics[each.metric][arms == "old"], metrics[each.metric][arms == each.arm]
        expected = stats.ttest_ind(two, one, equal_var=False)
        assert (each.statistic, each.p, each.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
        assert each.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert each.lift == pytest.approx(two.mean() / one.mean() - 1)
        assert each.lift_interval[0] < each.lift < each.lift_interval[1]
        assert each.minimum_effect > 1.9 * each.error
    adjusted = multipletests([each.p for each in result.comparisons], method="holm")[1]
    assert [each.adjusted_p for each in result.comparisons] == pytest.approx(list(adjusted))
    assert result.comparison("spent", "new").verdict == "better"
    assert result.comparison("late", "other").verdict == "worse"
    assert result.comparison("late", "new").verdict == "inconclusive"
    assert result.verdict == "harmed"
    assert "late in other" in result.sentence
    assert "would mostly have been found" in result.comparison("late", "new").sentence
    with pytest.raises(InvalidInput):
        result.comparison("late", "old")


def test_cuped_and_entities_agree_with_their_own_functions(rows):
    arms, before, metrics = rows
    result = analyze_experiment(arms, {"spent": metrics["spent"]}, control="old", covariates={"spent": before})
    each = result.comparison("spent", "new")
    old, new = arms == "old", arms == "new"
    expected = cuped(metrics["spent"][old], before[old], metrics["spent"][new], before[new])
    assert (each.estimate, each.p, each.theta) == pytest.approx((expected.estimate, expected.p, expected.theta))
    assert 0.4 < each.variance_reduction < 0.6
    owner = np.random.default_rng(0).integers(0, 10**6, 300)[np.arange(3000) % 300]
    split = np.array(["old", "new"])[owner % 2]
    clustered = analyze_experiment(split, {"spent": metrics["spent"]}, control="old", entities=owner)
    old, new = split == "old", split == "new"
    expected = clustered_difference(metrics["spent"][old], owner[old], metrics["spent"][new], owner[new])
    each = clustered.comparison("spent", "new")
    assert (each.estimate, each.p, each.error) == pytest.approx((expected.estimate, expected.p, expected.error))
    assert each.entities == expected.entities
    assert "entities" in each.sentence


def test_ratio_metrics_and_covariates_by_entity():
    rng = np.random.default_rng(4)
    owner = np.repeat(np.arange(400), rng.geometric(0.2, 400))
    arms = np.array(["a", "b"])[owner % 2]
    habit = rng.beta(2, 8, 400)
    views = rng.poisson(5, len(owner)) + 1
    clicks = rng.binomial(views, habit[owner])
    plain = analyze_experiment(arms, {"ctr": clicks}, control="a", entities=owner, denominators={"ctr": views})
    one, two = (clicks[arms == arm].sum() / views[arms == arm].sum() for arm in "ab")
    each = plain.comparisons[0]
    assert (each.levels, each.estimate) == (pytest.approx((one, two)), pytest.approx(two - one))
    helped = analyze_experiment(
        arms,
        {"ctr": clicks},
        control="a",
        entities=owner,
        denominators={"ctr": views},
        covariates={"ctr": np.where(owner % 7 == 0, np.nan, habit[owner])},
    ).comparisons[0]
    assert helped.error < 0.8 * each.error
    assert helped.variance_reduction > 0.3


def test_lift_interval_of_cuped_is_that_of_a_bootstrap():
    rng = np.random.default_rng(11)
    before = rng.normal(size=600)
    arms = np.repeat(["a", "b"], 300)
    values = 4 + before + 0.7 * rng.normal(size=600) + 1.0 * (arms == "b")

    def lifted(chosen):
        return analyze_experiment(
            arms[chosen], {"m": values[chosen]}, control="a", covariates={"m": before[chosen]}
        ).comparisons[0]

    result = lifted(np.arange(600))
    drawn = [lifted(np.r_[rng.integers(0, 300, 300), rng.integers(300, 600, 300)]).lift for _ in range(300)]
    width = result.lift_interval[1] - result.lift_interval[0]
    assert width / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.15)


def test_a_split_that_is_not_the_planned_one_voids_it(rows):
    arms, _, metrics = rows
    kept = ~((arms == "new") & (np.arange(3000) % 4 == 0))
    given = {name: values[kept] for name, values in metrics.items()}
    result = analyze_experiment(arms[kept], given, control="old")
    assert (result.verdict, result.split.mismatch) == ("error", True)
    assert "The arm new" in result.sentence
    planned = {"old": 4, "new": 3, "other": 4}
    assert analyze_experiment(arms[kept], given, control="old", planned=planned).verdict != "error"
    missing = analyze_experiment(arms, metrics, control="old", planned={"old": 1, "new": 1, "other": 1, "gone": 1e-9})
    assert missing.comparison("spent", "gone").verdict == "no_data"


def test_entities_of_several_arms_are_left_out_and_counted(rows):
    arms, _, metrics = rows
    owner = np.arange(3000)
    owner[1] = owner[0] = 10_000
    chosen = arms.copy()
    chosen[:2] = "old", "new"
    result = analyze_experiment(chosen, metrics, control="old", entities=owner)
    assert result.mixed == 1
    assert result.split.n == 2998
    assert "left out" in result.sentence


def test_missing_values_are_counted_and_nothing_is_its_own_verdict(rows):
    arms, _, metrics = rows
    spent = metrics["spent"].copy()
    spent[::10] = np.nan
    result = analyze_experiment(arms, {"spent": spent, "none": spent * np.nan, "same": np.ones(3000)}, control="old")
    each = result.comparison("spent", "new")
    assert sum(each.missing) == np.isnan(spent[arms != "other"]).sum()
    assert "have no value" in each.sentence
    assert result.comparison("none", "new").verdict == "no_data"
    assert math.isnan(result.comparison("none", "new").estimate)
    assert result.comparison("same", "new").verdict == "insufficient"
    tiny = analyze_experiment(["a", "b"], {"m": [1.0, 2.0]}, control="a")
    assert tiny.verdict == "insufficient"
    empty = analyze_experiment(["a", "b"], {"m": [np.nan, np.nan]}, control="a")
    assert empty.verdict == "no_data"


def test_zero_control_has_no_lift():
    result = analyze_experiment(np.repeat(["a", "b"], 50), {"m": np.r_[np.zeros(50), np.arange(50.0)]}, control="a")
    assert math.isnan(result.comparisons[0].lift)
    assert "nan" not in result.comparisons[0].sentence


def test_results_are_frozen(rows):
    arms, _, metrics = rows
    result = analyze_experiment(arms, metrics, control="old")
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.verdict = "better"


def test_what_can_not_be_analysed_is_refused(rows):
    arms, before, metrics = rows
    for changes in (
        {"control": "older"},
        {"metrics": {}},
        {"adjustment": "tukey"},
        {"alpha": 0.0},
        {"planned": {"old": 1, "new": 1}},
        {"planned": {"old": 1, "new": 0, "other": 1}},
        {"covariates": {"speed": before}},
        {"lower_is_better": ["speed"]},
        {"covariates": {"spent": before[:-1]}},
        {"entities": np.arange(5)},
        {"metrics": {"m": before[:-1]}},
        {"metrics": {"m": np.full(3000, np.inf)}},
        {"metrics": {"m": arms}},
        {"arms": np.repeat("old", 3000)},
        {"arms": [None] * 3000},
        {"power": 1.5},
    ):
        given = {"arms": arms, "metrics": metrics, "control": "old", **changes}
        with pytest.raises(InvalidInput):
            analyze_experiment(given.pop("arms"), given.pop("metrics"), **given)


def test_a_mean_over_entities_is_another_question():
    means, rows = entity_means([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    assert (means.tolist(), rows.tolist()) == ([1.0, 5.0], [3.0, 1.0])
    assert means.mean() != np.mean([1.0, 1.0, 1.0, 5.0])
