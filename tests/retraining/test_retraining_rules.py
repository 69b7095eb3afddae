"""Data gates, how many rows candidates are compared on, and what they must show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from homeostat.frames import Columns, Kind
from homeostat.records import CLASSIC, DataPolicy, Feature, GatePolicy, Signature, Task
from homeostat.retraining.rules import (
    FEWEST_EVALUATION,
    MICROSECONDS_A_DAY,
    MOST_EVALUATION,
    check_data,
    duplicate_share,
    evaluation_rows,
    gate_classification,
    gate_regression,
    offline_metrics,
    sign_test,
)


def rows(count: int, *, missing: int = 0, copies: int = 0, days: float = 10.0, classes: int = 2, task=Task.BINARY):
    x = np.arange(count, dtype=float)
    x[:missing] = np.nan
    if copies:
        x[-copies:] = x[-copies - 1]
    columns = Columns({"x": x, "c": np.array(["k"] * count, dtype=object)})
    target = np.array([f"class {i % classes}" for i in range(count)], dtype=object)
    if task is Task.REGRESSION:
        target = np.full(count, 3.0)
    times = np.linspace(0, days * MICROSECONDS_A_DAY, count).astype(np.int64)
    return columns, target, times, task


DATA = CLASSIC.data


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (rows(2000), []),
        (rows(DATA.minimum_rows - 1), ["labelled rows"]),
        (rows(2000, missing=401), ["missing"]),
        (rows(2000, missing=399, copies=0), []),
        (rows(2000, copies=21), ["duplicates"]),
        (rows(2000, copies=20), []),
        (rows(2000, days=4.9), ["days"]),
        (rows(2000, classes=1), ["one class"]),
        (rows(2000, classes=1, task=Task.REGRESSION), []),
        (rows(0), ["labelled rows", "days", "one class"]),
        (rows(999, missing=500, days=1, classes=1), ["labelled rows", "missing", "duplicates", "days", "one class"]),
    ],
)
def test_data_gates(given, words):
    # Missing x repeat each other: where rows are missing, only the copies are let through.
    policy = DATA if given[0].rows == 999 or "duplicates" in words else msg_copies(DATA)
    problems = check_data(*given, policy)
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def msg_copies(policy: DataPolicy) -> DataPolicy:
    return DataPolicy(
        minimum_rows=policy.minimum_rows,
        maximum_missing=policy.maximum_missing,
        maximum_duplicates=0.5,
        minimum_days=policy.minimum_days,
    )


def test_duplicates_are_exact_copies_of_earlier_rows():
    columns = Columns(
        {"x": np.array([1.0, 1.0, np.nan, np.nan, 2.0]), "c": np.array(["a", "a", None, None, "a"], dtype=object)}
    )
    assert duplicate_share(columns) == pytest.approx(2 / 5)
    assert duplicate_share(columns.take(slice(0, 0))) == 0.0


@pytest.mark.parametrize(
    ("total", "change", "share", "expected"),
    [
        (10_000, None, 0.2, 2_000),
        (1_000, None, 0.2, 200),
        (1_000_000, None, 0.2, MOST_EVALUATION),
        (1_000, 900, 0.2, FEWEST_EVALUATION),
        (1_000, 500, 0.2, 100),
        (1_000, 1_000, 0.2, FEWEST_EVALUATION),
        (30, None, 0.2, 15),
        (30, 29, 0.2, 15),
        (2, None, 0.2, 1),
        (0, None, 0.2, 0),
    ],
)
def test_evaluation_rows(total, change, share, expected):
    assert evaluation_rows(total, change, share) == expected


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 5), (1, 0), (5, 0), (12, 5), (5, 12), (300, 250), (9, 9)])
def test_the_sign_test_is_the_binomial_one(wins, losses):
    expected = 1.0 if wins + losses == 0 else stats.binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def outputs(wins: int, losses: int, both: int, neither: int = 0):
    truth = np.array(["a"] * (wins + losses + both + neither), dtype=object)
    candidate = np.array(["a"] * wins + ["b"] * losses + ["a"] * both + ["b"] * neither, dtype=object)
    production = np.array(["b"] * wins + ["a"] * losses + ["a"] * both + ["b"] * neither, dtype=object)
    return truth, candidate, production


@pytest.mark.parametrize(
    ("wins", "losses", "both", "gate", "floor", "passed"),
    [
        (20, 2, 80, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, True),
        (2, 20, 80, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, False),
        (0, 0, 80, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, False),
        # Sure, but too small a gain
        (20, 2, 8000, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, False),
        # Large, but not sure
        (3, 0, 7, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, False),
        (3, 0, 7, GatePolicy(minimum_gain=0.01, maximum_p=0.125), 0.0, True),
        # Exactly the margin
        (10, 0, 990, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.0, True),
        # The floor
        (40, 2, 0, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.90, True),
        (40, 20, 0, GatePolicy(minimum_gain=0.01, maximum_p=0.05), 0.90, False),
    ],
)
def test_the_gate_of_classification(wins, losses, both, gate, floor, passed):
    result = gate_classification(*outputs(wins, losses, both), gate, accuracy_floor=floor)
    assert result.passed is passed
    assert result.p == pytest.approx(sign_test(wins, losses))
    assert (result.evidence["wins"], result.evidence["losses"]) == (wins, losses)
    assert ("floor" in result.reason) == (floor > (wins + both) / (wins + losses + both))


def test_the_gate_on_auc_compares_auc():
    gate = GatePolicy(metric="roc_auc", minimum_gain=0.01, maximum_p=1.0)
    worse_accuracy = outputs(2, 6, 80)
    passed = gate_classification(*worse_accuracy, gate, candidate_auc=0.93, production_auc=0.91)
    assert passed.passed
    assert passed.gain == pytest.approx(0.02)
    assert "ROC-AUC" in passed.reason
    assert not gate_classification(*worse_accuracy, gate, candidate_auc=0.915, production_auc=0.91).passed
    # Where there is no AUC (one class only, many classes) accuracy decides.
    assert "accuracy" in gate_classification(*worse_accuracy, gate).reason


def test_the_gate_of_regression():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    near, far = truth + rng.normal(0, 0.5, 400), truth + rng.normal(0, 1.0, 400)
    gate = GatePolicy(minimum_gain=0.05, maximum_p=0.01)
    better, worse = gate_regression(truth, near, far, gate), gate_regression(truth, far, near, gate)
    assert better.passed
    assert not worse.passed
    assert better.gain == pytest.approx(1 - np.abs(near - truth).mean() / np.abs(far - truth).mean())
    assert worse.gain < 0
    assert not gate_regression(truth, near, near, gate).passed
    assert not gate_regression(truth, truth, truth, gate).passed
    # Nearer on most rows, but farther on the whole
    mostly = np.where(np.arange(400) < 300, truth + 0.99, truth + 9.0)
    assert not gate_regression(truth, mostly, truth + 1.0, gate).passed


def test_offline_metrics_of_classes_that_the_model_does_not_know():
    signature = Signature(
        task=Task.BINARY,
        features=(Feature(name="x", kind=Kind.NUMERIC),),
        target="y",
        classes=("no", "yes"),
        positive="yes",
    )
    truth = np.array(["no", "yes", "yes", "other"], dtype=object)
    raw = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    metrics = offline_metrics(truth, raw, ("no", "yes"), signature)
    assert metrics["accuracy"] == 0.5
    assert metrics["tpr"] == 0.5
    assert metrics["roc_auc"] == pytest.approx(3.0 / 4)
    alone = offline_metrics(truth, np.ones((4, 1)), ("no",), signature)
    assert alone["accuracy"] == 0.25
    assert "roc_auc" not in alone
