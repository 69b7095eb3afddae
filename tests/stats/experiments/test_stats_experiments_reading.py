"""Tables for reading, model metrics, Thompson weights and simulated paths against independent computations."""

import math

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats.experiments import (
    MetricPlan,
    Plan,
    Summary,
    Units,
    binomial_interval,
    evidence_paths,
    judge,
    model_metrics,
    readings,
    simulate,
    thompson_weights,
)

EVEN = ((0.5, 0.5),)


def units_of(arm, metrics, *, segment=None, denominators=None):
    n = len(arm)
    under = denominators or {}
    return Units(("old", "new"), arm, np.zeros(n, dtype=int), np.arange(n), metrics, segment, under)


def test_one_stratum_reads_as_welch_s_test_does():
    from scipy import stats

    rng = np.random.default_rng(0)
    arm = np.repeat([0, 1], [300, 400])
    cost = rng.gamma(2, 3, 700) + 0.8 * arm
    plan = Plan(("old", "new"), EVEN, (MetricPlan("cost", "deterioration", minimum_effect=1.0),))
    (row,) = readings(Summary.of(units_of(arm, {"cost": cost}), plan), plan, units_a_day=100)
    expected = stats.ttest_ind(cost[arm == 1], cost[arm == 0], equal_var=False)
    low, high = expected.confidence_interval()
    assert row.p == pytest.approx(expected.pvalue)
    assert row.interval == pytest.approx((low, high))
    assert row.effect == pytest.approx(cost[arm == 1].mean() - cost[arm == 0].mean())
    assert row.lift == pytest.approx(row.effect / cost[arm == 0].mean())
    assert row.lift_interval[0] < row.lift < row.lift_interval[1]
    assert 0 < row.power < 1
    assert row.detectable == pytest.approx(2.80159 * row.effect / expected.statistic, rel=1e-4)
    assert row.days_to_go == pytest.approx(max(row.units_needed - 700, 0) / 100, abs=0.02)


def test_strata_are_compared_within_and_segments_have_rows_of_their_own():
    rng = np.random.default_rng(1)
    n = 20_000
    segment = rng.integers(0, 2, n)
    arm = rng.integers(0, 2, n)
    right = (rng.random(n) < np.where(segment == 0, 0.9 - 0.05 * arm, 0.5 + 0.1 * arm)).astype(float)
    plan = Plan(("old", "new"), EVEN, (MetricPlan("accuracy", bounds=(0, 1)),))
    rows = readings(Summary.of(units_of(arm, {"accuracy": right}, segment=segment), plan), plan, by_segment=True)
    assert [row.segment for row in rows] == [None, 0, 1]
    assert [round(row.effect, 2) for row in rows] == pytest.approx([0.025, -0.05, 0.1], abs=0.02)
    for row in rows[1:]:
        of = segment == row.segment
        assert row.effect == pytest.approx(right[of & (arm == 1)].mean() - right[of & (arm == 0)].mean())
        assert sum(row.units) == of.sum()


def test_model_metrics_are_those_of_scikit_learn_and_their_error_that_of_the_bootstrap():
    from sklearn import metrics as sk

    rng = np.random.default_rng(2)
    n = 3000
    truth = (rng.random(n) < 0.3).astype(float)
    scores = np.clip(truth * 0.3 + rng.normal(0.35, 0.2, n), 0, 1)
    said = (scores > 0.5).astype(float)
    arm = rng.integers(0, 2, n)
    found = model_metrics(truth, said, arm=arm, scores=scores, costs={(1, 0): 100, (0, 1): 5})
    names = ("accuracy", "precision", "recall", "f1", "auc", "cost")
    plan = Plan(("old", "new"), EVEN, tuple(MetricPlan(name, "deterioration") for name in names))
    units = units_of(arm, found.metrics, denominators=found.denominators)
    rows = {row.metric: row for row in readings(Summary.of(units, plan), plan)}
    for place in (0, 1):
        of = arm == place
        expected = {
            "accuracy": sk.accuracy_score(truth[of], said[of]),
            "precision": sk.precision_score(truth[of], said[of]),
            "recall": sk.recall_score(truth[of], said[of]),
            "f1": sk.f1_score(truth[of], said[of]),
            "auc": sk.roc_auc_score(truth[of], scores[of]),
            "cost": (100 * truth[of] * (1 - said[of]) + 5 * (1 - truth[of]) * said[of]).mean(),
        }
        assert {name: rows[name].levels[place] for name in names} == pytest.approx(expected)

    def f1_of(places):
        return 2 * (truth * said)[places].sum() / (truth + said)[places].sum()

    groups = [np.flatnonzero(arm == place) for place in (0, 1)]
    drawn = [np.subtract(*[f1_of(rng.choice(group, len(group))) for group in groups[::-1]]) for _ in range(200)]
    width = rows["f1"].interval[1] - rows["f1"].interval[0]
    assert width == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.25)
    verdicts = {each.metric: each for each in judge(units, plan).metrics}
    assert all(math.isfinite(verdicts[name].interval[0]) for name in names)


def test_units_of_several_rows_count_once():
    truth = np.array([1, 0, 1, np.nan, 1, np.nan])
    found = model_metrics(truth, np.array([1, 1, 1, 1, 0, 1.0]), units=np.array([0, 0, 1, 1, 1, 2]))
    assert found.metrics["accuracy"].tolist()[:2] == [0.5, 0.5]
    assert math.isnan(found.metrics["accuracy"][2])
    assert found.metrics["recall"].tolist()[:2] == [1.0, 1.0]
    assert found.denominators["recall"].tolist()[:2] == [1.0, 2.0]
    with pytest.raises(InvalidInput, match="units of their own"):
        model_metrics([1.0], [1.0], scores=[0.5])


@pytest.mark.parametrize(
    ("metric", "weights"),
    [
        (MetricPlan("m", bounds=(0, 1.1)), ((0.5, 0.5),)),
        (MetricPlan("m", "guardrail", 0.05, lower_is_better=True, bounds=(-1, 2)), ((0.8, 0.2),)),
        (MetricPlan("m", lower_is_better=True), ((0.5, 0.5),)),
        (MetricPlan("m", "deterioration", 0.1), ((0.7, 0.3),)),
    ],
)
def test_simulated_paths_are_what_judge_says_after_each_unit(metric, weights):
    rng = np.random.default_rng(3)
    plan = Plan(("old", "new"), weights, (metric,), alpha=0.03, rollback_error=0.07)
    second = rng.random((2, 900)) < weights[0][1]
    values = rng.random((2, 900)) + 0.1 * second
    paths = evidence_paths(values, second, metric, plan)
    for size in (5, 16, 17, 63, 250, 899, 900):
        for run in (0, 1):
            units = units_of(second[run, :size].astype(int), {"m": values[run, :size]})
            each = judge(units, plan).metrics[0]
            assert each.log_e_better == pytest.approx(paths.log_e_better[run, size - 1], abs=1e-7)
            assert each.log_e_worse == pytest.approx(paths.log_e_worse[run, size - 1], abs=1e-7)


def test_a_few_simulated_experiments_keep_their_budgets_and_see_what_is_there():
    same = simulate(0.7, 0.7, units=1500, runs=40, seed=1)
    worse = simulate(0.8, 0.6, units=1500, runs=40, seed=2)
    assert same.promoted <= 0.1
    assert same.rolled_back <= 0.1
    assert same.peeked_promoted > 0.15
    assert worse.rolled_back > 0.95
    assert worse.median_rolled_back < 600


def test_thompson_weights_favour_the_best_and_keep_the_floor():
    weights = thompson_weights([10, 90, 50], [100, 100, 100], floor=0.05)
    assert weights == pytest.approx((0.05, 0.9, 0.05), abs=0.01)
    assert thompson_weights([0, 0], [0, 0], 0.1, 7) == thompson_weights([0, 0], [0, 0], 0.1, 7)
    assert sum(thompson_weights([3, 1, 4, 1], [5, 9, 26, 5], 0.2)) == pytest.approx(1)
    for bad in (([1], [1]), ([2, 1], [1, 1]), ([1, 1], [2, 2], 0.6), ([1, 1], [2, 2], 0.0)):
        with pytest.raises(InvalidInput):
            thompson_weights(*bad)


def test_binomial_intervals_are_those_of_clopper_and_pearson():
    from scipy import stats

    for successes, n in ((0, 10), (3, 50), (1000, 1000)):
        expected = stats.binomtest(successes, n).proportion_ci()
        assert binomial_interval(successes, n) == pytest.approx((expected.low, expected.high))
