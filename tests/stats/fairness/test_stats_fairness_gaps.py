"""Gaps between groups: intervals that allow for picking the extremes, and groups too small to compare."""

import math

import numpy as np
import pytest
from benchmarks.statistics import fairness_monitoring
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.fairness import (
    batch_counts,
    demographic_parity,
    equal_opportunity,
    equalized_odds,
    fairness_gaps,
    group_metrics,
    pool_small_groups,
    predictive_parity,
)

RUNS = 100


@pytest.mark.parametrize(
    ("sizes", "rates"),
    [
        ((400, 400), (0.3, 0.3)),
        ((200, 150, 100, 60, 40), (0.3,) * 5),
        ((200, 150, 100, 60, 40), (0.02, 0.02, 0.02, 0.02, 0.2)),
        ((150,) * 10, (0.5,) * 10),
    ],
)
def test_the_interval_of_the_picked_extremes_covers(sizes, rates):
    covered, above = fairness_monitoring.gap_coverage(runs=RUNS, rng=2, sizes=sizes, rates=rates)
    assert covered * RUNS >= stats.binom.ppf(1e-4, RUNS, 0.95)
    assert above * RUNS <= stats.binom.ppf(0.9999, RUNS, 0.05)


def test_an_interval_that_ignores_the_picking_does_not_cover():
    # The same ten groups with the interval of two groups fixed beforehand: why the one above is needed.
    rng = np.random.default_rng(2)
    counts = rng.binomial(150, 0.5, size=(RUNS, 10))
    gap = (counts.max(axis=1) - counts.min(axis=1)) / 150
    assert (gap - 1.96 * math.sqrt(0.5 / 150) > 0).mean() > 0.3


def test_verdicts_follow_the_interval_and_the_tolerance():
    predicted = np.concatenate([np.tile([1, 0], 500), np.tile([1, 1, 1, 0], 250)])
    groups = np.repeat(["a", "b"], 1000)
    wide = demographic_parity(predicted, groups, tolerance=0.1)
    assert (wide.verdict, wide.lowest, wide.highest, wide.n) == ("harmed", "a", "b", 2000)
    assert wide.estimate == 0.25
    assert wide.p < 1e-6
    assert demographic_parity(predicted, groups, tolerance=0.25).verdict == "inconclusive"
    assert demographic_parity(predicted, groups, tolerance=0.25).p == 1
    assert demographic_parity(predicted, groups, tolerance=0.4).verdict == "healthy"
    assert wide.ratio == pytest.approx(2 / 3)
    assert wide.ratio_interval[0] < 2 / 3 < wide.ratio_interval[1] < 1
    assert "gap of 0.25" in wide.sentence
    assert "p = " in wide.sentence


def test_two_groups_of_a_million_differ_significantly_and_harmlessly():
    groups = np.repeat([0, 1], 1_000_000)
    predicted = np.concatenate([np.tile([1, 0], 500_000), np.tile([1] * 51 + [0] * 49, 10_000)])
    assert demographic_parity(predicted, groups, tolerance=0).p < 1e-30
    assert demographic_parity(predicted, groups).verdict == "healthy"


def test_small_groups_are_apart_or_pooled():
    groups = np.repeat(["a", "b", "c", "d"], [100, 100, 20, 20])
    predicted = np.concatenate([np.tile([1, 0], 100), np.ones(40, dtype=int)])
    apart = demographic_parity(predicted, groups)
    assert apart.insufficient == ("c", "d")
    assert apart.estimate == 0
    assert "c and d" in apart.sentence
    pooled = demographic_parity(predicted, groups, small="pool")
    assert (pooled.highest, pooled.estimate, pooled.insufficient) == ("other", 0.5, ())
    assert pool_small_groups(groups, min_size=50).tolist().count("other") == 40


def test_what_can_not_be_told_is_not_called_fair():
    predicted, groups = np.tile([1, 0], 50), np.repeat(["a", "b"], 50)
    assert demographic_parity(predicted, np.repeat(["a"], 100)).verdict == "insufficient"
    assert demographic_parity(np.zeros(0), np.zeros(0)).verdict == "no_data"
    none = equal_opportunity(np.zeros(100, dtype=int), predicted, groups)
    assert (none.verdict, none.interval) == ("no_data", (0.0, 1.0))
    assert math.isnan(none.estimate)
    # The false-positive rates agree, but no true-positive rate is there to compare.
    odds = equalized_odds(np.zeros(100, dtype=int), predicted, groups)
    assert odds.verdict == "no_data"
    assert odds.interval == (0.0, 1.0)
    # Here they do not agree, and that is enough.
    apart = equalized_odds(np.zeros(100, dtype=int), np.repeat([0, 1], 50), groups)
    assert apart.verdict == "harmed"
    assert all(one.status == "insufficient" for one in none.groups)


def test_shares_of_nought_and_one_have_finite_limits():
    groups = np.repeat(["a", "b", "c"], 100)
    for predicted, ratio in (
        (np.repeat([0, 0, 1], 100), 0.0),
        (np.zeros(300, dtype=int), math.nan),
        (np.ones(300, dtype=int), 1.0),
    ):
        found = demographic_parity(predicted, groups)
        assert found.ratio == pytest.approx(ratio, nan_ok=True)
        assert 0 <= found.ratio_interval[0] <= found.ratio_interval[1] <= 1
        assert np.isfinite([found.statistic, found.p, *found.interval]).all()


def test_rows_of_one_entity_widen_the_interval():
    rng = np.random.default_rng(0)
    predicted, groups = (rng.random(400) < 0.3).astype(int), np.repeat(["a", "b"], 200)
    plain = demographic_parity(predicted, groups)
    repeated = demographic_parity(np.repeat(predicted, 5), np.repeat(groups, 5))
    clustered = demographic_parity(np.repeat(predicted, 5), np.repeat(groups, 5), clusters=np.repeat(np.arange(400), 5))
    width = plain.interval[1] - plain.interval[0]
    assert clustered.interval == pytest.approx(plain.interval, abs=1e-6)
    assert repeated.interval[1] - repeated.interval[0] < width
    same = demographic_parity(predicted, groups, clusters=np.arange(400))
    assert same.interval == pytest.approx(plain.interval)


def test_groups_of_any_kind_of_label():
    predicted = np.tile([1, 0], 50)
    for groups in (
        np.repeat([True, False], 50),
        np.repeat([1.5, 2.5], 50),
        np.array(["x"] * 50 + [3] * 50, dtype=object),
    ):
        assert len(demographic_parity(predicted, groups).groups) == 2


def test_all_gaps_at_once_are_those_alone():
    rng = np.random.default_rng(1)
    truth, predicted, groups = rng.integers(0, 2, 900), rng.integers(0, 2, 900), rng.integers(0, 3, 900)
    found = fairness_gaps(predicted, groups, truth)
    alone = (
        demographic_parity(predicted, groups),
        equal_opportunity(truth, predicted, groups),
        equalized_odds(truth, predicted, groups),
        predictive_parity(truth, predicted, groups),
    )
    assert found == alone


def test_input_that_means_nothing_is_refused():
    predicted, groups = np.tile([1, 0], 50), np.repeat(["a", "b"], 50)
    for wrong, words in (
        ((predicted[:3], groups), "needs one group"),
        ((predicted, np.where(groups == "a", None, "b")), "50 rows have no group"),
        ((predicted, np.where(groups == "a", np.nan, 1.0)), "50 rows have no group"),
        ((np.full(100, np.nan), groups), "must not be missing"),
        ((np.array(["no"] * 100), groups), "class codes"),
    ):
        with pytest.raises(InvalidInput, match=words):
            demographic_parity(*wrong)
    for options, words in (
        ({"tolerance": 1}, "tolerance"),
        ({"confidence": 0}, "confidence"),
        ({"small": "drop"}, "put together"),
        ({"min_size": 0}, "at least 1 row"),
        ({"clusters": np.zeros(3)}, "one cluster"),
    ):
        with pytest.raises(InvalidInput, match=words):
            demographic_parity(predicted, groups, **options)
    with pytest.raises(InvalidInput, match="Unknown metrics luck"):
        fairness_gaps(predicted, groups, metrics=["luck"])
    with pytest.raises(InvalidInput, match="needs the truth"):
        group_metrics(predicted, groups, metric="tpr")
    with pytest.raises(InvalidInput, match="one length"):
        group_metrics(predicted, groups, predicted[:4], metric="tpr")
    with pytest.raises(InvalidInput, match="Unknown metric"):
        group_metrics(predicted, groups, metric="luck")
    with pytest.raises(InvalidInput, match="Batches"):
        batch_counts(predicted, groups, np.array(["monday"] * 100))
