"""Metrics agree with scikit-learn's, and what can't be told is absent."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from homeostat.errors import InvalidInput
from homeostat.stats.performance import (
    classification_metrics,
    confusion_matrix,
    regression_metrics,
    roc_auc,
    wilson_interval,
)

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_binary_metrics_agree_with_scikit_learn(rows):
    truth, predicted, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = classification_metrics(truth, predicted, classes=2, positive=1, scores=scores / 5)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro", zero_division=0))
    tn, fp, fn, tp = metrics.confusion_matrix(truth, predicted, labels=[0, 1]).ravel()
    assert (found["tn"], found["fp"], found["fn"], found["tp"]) == (tn, fp, fn, tp)
    assert found.get("recall", 0.0) == pytest.approx(metrics.recall_score(truth, predicted, zero_division=0))
    assert found.get("precision", 0.0) == pytest.approx(metrics.precision_score(truth, predicted, zero_division=0))
    assert found.get("f1", 0.0) == pytest.approx(metrics.f1_score(truth, predicted, zero_division=0))
    assert ("roc_auc" in found) == (len(set(truth.tolist())) == 2)
    if "roc_auc" in found:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_multiclass_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    found = classification_metrics(truth, predicted, classes=5)
    assert set(found) == {"accuracy", "f1_macro"}
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    matrix = confusion_matrix(truth, predicted, classes=5)
    assert matrix.tolist() == metrics.confusion_matrix(truth, predicted, labels=range(5)).tolist()


def test_scores_of_every_class_and_missing_scores():
    truth, scores = np.array([0, 1, 1, 0]), np.array([0.2, 0.9, 0.1, 0.3])
    columns = np.column_stack([1 - scores, scores])
    one = classification_metrics(truth, truth, classes=2, positive=1, scores=columns)["roc_auc"]
    other = classification_metrics(truth, truth, classes=2, positive=0, scores=columns)["roc_auc"]
    assert one == other == 0.5
    assert roc_auc(truth, np.array([0.2, 0.9, np.nan, 0.3])) == 1.0
    assert math.isnan(roc_auc(np.ones(3), np.ones(3)))


def test_metrics_that_no_row_tells_are_absent():
    found = classification_metrics(np.zeros(4, int), np.zeros(4, int), classes=2, positive=1, scores=np.ones(4))
    assert found == {"accuracy": 1.0, "f1_macro": 1.0, "tp": 0, "fp": 0, "tn": 4, "fn": 0, "fpr": 0.0}
    assert classification_metrics(np.empty(0, int), np.empty(0, int), classes=2, positive=1) == {}
    assert regression_metrics(np.empty(0), np.empty(0)) == {}
    assert "r2" not in regression_metrics(np.ones(3), np.arange(3.0))


def test_regression_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    truth, predicted = rng.normal(size=100), rng.normal(size=100)
    found = regression_metrics(truth, predicted)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (400, 5000)])
def test_wilson_agrees_with_scipy(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    assert wilson_interval(successes, n, confidence=0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_input_that_means_nothing_is_refused():
    with pytest.raises(InvalidInput, match="outside 0 to 1"):
        classification_metrics(np.array([2]), np.array([0]), classes=2)
    with pytest.raises(InvalidInput, match="integer class codes"):
        classification_metrics(np.array([1.0]), np.array([0]), classes=2)
    with pytest.raises(InvalidInput, match="one length"):
        classification_metrics(np.array([1]), np.array([0, 1]), classes=2)
    with pytest.raises(InvalidInput, match="positive class"):
        classification_metrics(np.array([1]), np.array([0]), classes=2, positive=2)
    with pytest.raises(InvalidInput, match="columns"):
        classification_metrics(np.array([1, 0]), np.array([0, 1]), classes=2, positive=1, scores=np.ones((2, 3)))
    with pytest.raises(InvalidInput, match="successes"):
        wilson_interval(3, 2)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_inputs_that_numpy_would_cast_are_refused():
    from homeostat.stats.performance.inputs import class_probabilities, cluster_codes, codes, numbers, row_weights

    for values in (np.ones(3) * 1j, ["1", "2"], np.arange(3).astype("datetime64[D]"), [2**2000, 1]):
        with pytest.raises(InvalidInput, match="must be numbers"):
            numbers(values, "losses")
        with pytest.raises(InvalidInput, match="must be numbers"):
            class_probabilities(values, "scores")
    with pytest.raises(InvalidInput, match="class codes"):
        codes([1e308, 0], "labels", classes=2)
    with pytest.raises(InvalidInput, match="entity key"):
        cluster_codes([[1], [1, 2]], 2)
    for extreme in (1e308, 5e-324):
        assert row_weights(np.full(4, extreme), 4).tolist() == [1, 1, 1, 1]
