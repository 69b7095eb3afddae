"""Metrics with intervals: coverage, clusters, weights, the bootstrap, and rows that can't tell."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.performance import (
    binary_performance,
    compare_roc_auc,
    multiclass_performance,
    regression_performance,
)


def draw(rng, n):
    truth = (rng.random(n) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.2 * truth - 0.8)))
    return truth, scores, (scores > 0.5).astype(float)


def test_intervals_hold_the_true_metric_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth, scores, predicted = draw(rng, 400_000)
    true = {key: one.estimate for key, one in binary_performance(truth, scores=scores, predicted=predicted).items()}
    runs, held = 200, dict.fromkeys(true, 0)
    for _ in range(runs):
        truth, scores, predicted = draw(rng, 250)
        for name, metric in binary_performance(truth, scores=scores, predicted=predicted).items():
            held[name] += metric.interval[0] <= true[name] <= metric.interval[1]
    # Formulas hold for many rows; at 250 two points less are granted.
    assert min(held.values()) >= binom.ppf(0.0001, runs, 0.93), held


def test_clusters_widen_the_interval_and_restore_its_coverage():
    rng = np.random.default_rng(1)
    runs, plain, robust = 200, 0, 0
    for _ in range(runs):
        chance = np.repeat(rng.beta(8, 2, 40), 25)
        truth = np.ones(1_000)
        predicted = (rng.random(1_000) < chance).astype(float)
        entity = np.repeat(np.arange(40), 25)
        naive = binary_performance(truth, predicted=predicted)["accuracy"]
        honest = binary_performance(truth, predicted=predicted, clusters=entity)["accuracy"]
        plain += naive.interval[0] <= 0.8 <= naive.interval[1]
        robust += honest.interval[0] <= 0.8 <= honest.interval[1]
    assert plain <= binom.ppf(0.9999, runs, 0.8)
    assert robust >= binom.ppf(0.0001, runs, 0.95)


@pytest.mark.parametrize("kind", ["plain", "clusters", "weights"])
def test_formulas_agree_with_the_bootstrap(kind):
    rng = np.random.default_rng(2)
    truth, scores, predicted = draw(rng, 600)
    extra = {
        "plain": {},
        "clusters": {"clusters": [f"user-{at}" for at in rng.integers(0, 150, 600)]},
        "weights": {"weights": rng.random(600) + 0.2},
    }[kind]
    formula = binary_performance(truth, scores=scores, predicted=predicted, **extra)
    drawn = binary_performance(truth, scores=scores, predicted=predicted, bootstrap=300, rng=3, **extra)
    for name, metric in formula.items():
        width, other = np.diff(metric.interval)[0], np.diff(drawn[name].interval)[0]
        assert width == pytest.approx(other, rel=0.25), name
        assert "bootstrap" in drawn[name].method
    again = binary_performance(truth, scores=scores, bootstrap=60, rng=np.random.default_rng(3))
    assert again == binary_performance(truth, scores=scores, bootstrap=60, rng=np.random.default_rng(3))


def test_multiclass_and_regression_agree_with_the_bootstrap():
    rng = np.random.default_rng(4)
    scores = rng.dirichlet(np.ones(3), 500)
    truth = np.array([rng.choice(3, p=row) for row in scores])
    chosen = scores.argmax(axis=1)
    formula = multiclass_performance(truth, chosen, classes=3, scores=scores)
    drawn = multiclass_performance(truth, chosen, classes=3, scores=scores, bootstrap=300)
    value = rng.normal(size=500)
    guess = value + rng.normal(0, 0.5, 500)
    formula |= regression_performance(value, guess)
    drawn |= regression_performance(value, guess, bootstrap=300)
    for name, metric in formula.items():
        assert np.diff(metric.interval)[0] == pytest.approx(np.diff(drawn[name].interval)[0], rel=0.25), name


def test_whole_weights_are_repeated_rows():
    rng = np.random.default_rng(5)
    truth, scores, predicted = draw(rng, 100)
    times = rng.integers(1, 4, 100)
    weighted = binary_performance(truth, scores=scores, predicted=predicted, weights=times)
    again = [np.repeat(values, times) for values in (truth, scores, predicted)]
    repeated = binary_performance(again[0], scores=again[1], predicted=again[2], clusters=np.repeat(range(100), times))
    for name, metric in weighted.items():
        assert metric.estimate == pytest.approx(repeated[name].estimate), name
        if name != "roc_auc":
            assert metric.standard_error == pytest.approx(repeated[name].standard_error), name


def test_perfect_and_hopeless_metrics_keep_a_width():
    truth = np.repeat([0.0, 1.0], 10)
    found = binary_performance(truth, scores=truth, predicted=truth)
    for name in ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc"):
        low, high = found[name].interval
        assert (found[name].estimate, high) == (1.0, 1.0)
        assert 0.6 < low < 0.9, name
    worst = binary_performance(truth, scores=1 - truth, predicted=1 - truth)
    assert worst["roc_auc"].interval[0] == worst["f1"].interval[0] == 0.0 < worst["f1"].interval[1]
    assert math.isfinite(worst["log_loss"].estimate)
    clustered = binary_performance(truth, predicted=truth, clusters=np.tile(range(5), 4))
    assert clustered["accuracy"].interval[0] < found["accuracy"].interval[0]


def test_rows_that_cannot_tell_say_so():
    found = binary_performance([0, 0, 0], scores=[0.1, 0.2, 0.3], predicted=[0, 0, 0])
    for name in ("precision", "recall", "f1", "roc_auc", "pr_auc"):
        assert math.isnan(found[name].estimate), name
        assert "can't be told" in found[name].sentence
    assert found["accuracy"].estimate == 1.0
    one = binary_performance([1], scores=[0.7], predicted=[1])
    assert one["accuracy"].interval[0] < 0.3
    assert math.isnan(one["brier"].interval[0])
    assert "too few" in one["brier"].sentence
    alone = binary_performance([1, 0], predicted=[1, 1], clusters=["a", "a"])["accuracy"]
    assert math.isnan(alone.interval[0])
    assert math.isnan(regression_performance([2.0, 2.0], [1.0, 2.0])["r2"].estimate)
    assert math.isnan(compare_roc_auc([0, 1], [1, 2], [2, 1]).standard_error)


def test_scores_that_are_no_probabilities_have_no_log_loss():
    found = binary_performance([0, 1, 1], scores=[-3.0, 0.2, 9.0])
    assert set(found) == {"roc_auc", "pr_auc"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: binary_performance([], predicted=[]), "no true classes"),
        (lambda: binary_performance([0, 2], predicted=[0, 1]), "0 or 1"),
        (lambda: binary_performance([0, 1], predicted=[0]), "2 rows"),
        (lambda: binary_performance([0, 1]), "Neither scores"),
        (lambda: binary_performance([0, 1], scores=[0.1, math.nan]), "missing or infinite"),
        (lambda: binary_performance([0, 1], scores=["a", "b"]), "must be numbers"),
        (lambda: binary_performance([0, 1], scores=[0.1, 0.2], weights=[1, -1]), "at least 0"),
        (lambda: binary_performance([0, 1], scores=[0.1, 0.2], clusters=[1]), "one entity key a row"),
        (lambda: binary_performance([0, 1], scores=[0.1, 0.2], confidence=1.0), "between 0 and 1"),
        (lambda: binary_performance([0, 1], scores=[0.1, 0.2], bootstrap=3), "50 resamples"),
        (lambda: binary_performance([[0, 1]], predicted=[0, 1]), "1-d"),
        (lambda: multiclass_performance([0, 3], [0, 1], classes=3), "0 to 2"),
        (lambda: multiclass_performance([0, 1], [0, 1], classes=1), "two classes"),
        (lambda: multiclass_performance([0, 1], [0, 1], classes=3, scores=[[0.5, 0.5]] * 2), "for 3 classes"),
        (lambda: regression_performance([1.0, math.inf], [1.0, 2.0]), "infinite"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
