"""Each check's verdicts, from numbers made up for the purpose."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy import stats

from homeostat.monitoring.checks import (
    check_decay,
    check_floor,
    check_performance,
    check_service,
    loss_baseline,
    measure,
    row_losses,
)
from homeostat.records import CLASSIC, PerformancePolicy, Policy, ServicePolicy, Severity, Task, Verdict

POLICY = Policy()
RULES = POLICY.performance
REFERENCE = {
    "accuracy": 0.92,
    "precision": 0.90,
    "recall": 0.90,
    "tpr": 0.90,
    "fpr": 0.06,
    "f1": 0.90,
    "f1_macro": 0.90,
    "roc_auc": 0.95,
    "evaluation_rows": 2000.0,
    "tp": 900,
    "fn": 100,
    "fp": 60,
    "tn": 940,
}


def against_reference(policy: Policy = CLASSIC, rows: int = 2000, task: Task = Task.BINARY, **changes: float):
    return check_performance(REFERENCE | changes, rows, REFERENCE, policy, task)


@pytest.mark.parametrize(
    ("changes", "breaches"),
    [
        ({}, set()),
        # More than .02 of accuracy, precision or recall
        ({"accuracy": 0.90}, set()),
        ({"accuracy": 0.8999}, {"accuracy"}),
        ({"precision": 0.8801}, set()),
        ({"precision": 0.879}, {"precision"}),
        ({"recall": 0.8801}, set()),
        ({"recall": 0.879}, {"recall"}),
        # TPR by more than 5 %, FPR up by more than 50 %
        ({"tpr": 0.856}, set()),
        ({"tpr": 0.854}, {"tpr"}),
        ({"fpr": 0.0899}, set()),
        ({"fpr": 0.0901}, {"fpr"}),
        # Any metric by more than 10 % of its reference
        ({"f1": 0.811}, set()),
        ({"f1": 0.809}, {"f1"}),
        ({"f1_macro": 0.809}, {"f1_macro"}),
        ({"roc_auc": 0.856}, set()),
        ({"roc_auc": 0.854}, {"roc_auc"}),
        # What got better is no breach
        ({"accuracy": 1.0, "fpr": 0.0, "tpr": 1.0, "f1": 1.0}, set()),
    ],
)
def test_classic_point_thresholds(changes, breaches):
    result = against_reference(**changes)
    assert set(result.evidence["breaches"]) == breaches
    assert result.verdict is (Verdict.HARMED if breaches else Verdict.HEALTHY)
    assert (result.severity is Severity.NONE) == (not breaches)


def test_a_tenth_of_a_small_metric_is_a_breach_though_it_is_less_than_two_points():
    reference = REFERENCE | {"precision": 0.12}
    metrics = REFERENCE | {"precision": 0.105}
    result = check_performance(metrics, 2000, reference, CLASSIC, Task.BINARY)
    assert set(result.evidence["breaches"]) == {"precision"}


@pytest.mark.parametrize("policy", [POLICY, CLASSIC])
def test_severity_grows_with_the_fall(policy):
    reference = {"accuracy": 0.92, "evaluation_rows": 1e6}
    severities = [
        check_performance({"accuracy": 0.92 - fall}, 1_000_000, reference, policy, Task.BINARY).severity
        for fall in (0.028, 0.04, 0.2)
    ]
    assert severities == [Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL]


def test_a_single_false_alarm_of_a_model_that_had_none_is_not_critical():
    reference = REFERENCE | {"fpr": 0.0, "fp": 0, "tn": 1000}
    metrics = REFERENCE | {"fpr": 0.001, "fp": 1, "tn": 999}
    assert check_performance(metrics, 2000, reference, CLASSIC, Task.BINARY).severity is Severity.MEDIUM
    assert check_performance(metrics, 2000, reference, POLICY, Task.BINARY).verdict is Verdict.HEALTHY


def test_calibrated_lets_sampling_explain_what_it_can():
    small, large = (
        against_reference(POLICY, rows=rows, accuracy=0.84, tp=rows, fn=0, fp=0, tn=rows) for rows in (60, 60_000)
    )
    assert small.verdict is Verdict.HEALTHY
    assert large.verdict is Verdict.HARMED
    assert against_reference(CLASSIC, rows=60, accuracy=0.88).verdict is Verdict.HARMED


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("policy", [POLICY, CLASSIC])
def test_no_data_and_too_few_rows_are_neither_pass_nor_fail(task, policy):
    assert check_performance({}, 0, REFERENCE, policy, task).verdict is Verdict.NO_DATA
    few = {"accuracy": 0.0, "mae": 99.0, "rmse": 99.0}
    result = check_performance(few, policy.performance.minimum_rows - 1, REFERENCE, policy, task)
    assert (result.verdict, result.severity) == (Verdict.INSUFFICIENT, Severity.NONE)


@pytest.mark.parametrize("policy", [POLICY, CLASSIC])
def test_measured_rows_of_each_task(policy):
    rng = np.random.default_rng(0)
    rows = 4000
    none = np.full(rows, np.nan)
    for task, classes in ((Task.BINARY, 2), (Task.MULTICLASS, 5)):
        label = rng.integers(0, classes, rows)
        seen = {}
        for name, wrong in (("before", 0.05), ("same", 0.05), ("worse", 0.25)):
            output = np.where(rng.random(rows) < wrong, (label + 1) % classes, label)
            seen[name] = measure(task, label, output, rng.random(rows), none, classes=classes, positive=1)
        reference = seen["before"] | {"evaluation_rows": float(rows)}
        if policy is POLICY:
            assert check_performance(seen["same"], rows, reference, policy, task).verdict is Verdict.HEALTHY
        assert check_performance(seen["worse"], rows, reference, policy, task).verdict is Verdict.HARMED
    value = rng.normal(0, 3, rows)
    zeros = np.zeros(rows, dtype=np.int64)
    seen = {
        name: measure(
            Task.REGRESSION, zeros, zeros, value + rng.normal(0, noise, rows), value, classes=0, positive=None
        )
        for name, noise in (("before", 1.0), ("same", 1.0), ("worse", 1.4))
    }
    reference = seen["before"] | {"evaluation_rows": float(rows)}
    assert check_performance(seen["same"], rows, reference, policy, Task.REGRESSION).verdict is Verdict.HEALTHY
    worse = check_performance(seen["worse"], rows, reference, policy, Task.REGRESSION)
    assert worse.verdict is Verdict.HARMED
    assert {"mae", "rmse"} <= set(worse.evidence["breaches"])
    assert worse.message.startswith("mae")


def test_classic_also_judges_r2_of_a_regression():
    reference = {"mae": 1.0, "rmse": 1.0, "r2": 0.9, "evaluation_rows": 500.0}
    result = check_performance(reference | {"r2": 0.8}, 500, reference, CLASSIC, Task.REGRESSION)
    assert set(result.evidence["breaches"]) == {"r2"}


def test_metrics_that_are_absent_on_either_side_are_not_judged():
    bare = {"accuracy": 0.9}
    assert check_performance(bare, 500, {}, CLASSIC, Task.BINARY).verdict is Verdict.HEALTHY
    assert check_performance(bare, 500, REFERENCE, POLICY, Task.BINARY).verdict is Verdict.HEALTHY
    assert check_performance({"accuracy": 0.5}, 500, {"accuracy": 0.9}, POLICY, Task.BINARY).verdict is Verdict.HARMED


@pytest.mark.parametrize(
    ("floor", "rows", "accuracy", "verdict"),
    [
        (0.9, 500, 0.899, Verdict.HARMED),
        # A healthy look must be said, or an alert about the floor never ends.
        (0.9, 500, 0.9, Verdict.HEALTHY),
        (0.9, RULES.minimum_rows - 1, 0.1, Verdict.INSUFFICIENT),
        (0.9, 0, None, Verdict.NO_DATA),
        (0.0, 500, 0.0, None),
    ],
)
def test_accuracy_floor(floor, rows, accuracy, verdict):
    policy = msgspec.structs.replace(POLICY, performance=PerformancePolicy(accuracy_floor=floor))
    result = check_floor({} if accuracy is None else {"accuracy": accuracy}, rows, policy, Task.BINARY)
    assert (None if result is None else result.verdict) == verdict
    assert check_floor({"mae": 1.0}, 500, policy, Task.REGRESSION) is None


# Decay
def test_false_alarms_keep_to_the_promised_run_length():
    rng = np.random.default_rng(7)
    rules = PerformancePolicy(run_length=5_000.0)
    baseline = loss_baseline({"accuracy": 0.9, "evaluation_rows": 500.0}, rules, Task.BINARY)
    streams, rows = 100, 1_000
    alarms = 0
    for _ in range(streams):
        # At the very edge of what is still in order, which is far worse than what the reference showed.
        losses = (rng.random(rows) < baseline).astype(float)
        alarms += any(
            check_decay(losses[:end], baseline, rules).verdict is Verdict.HARMED for end in range(50, rows + 1, 50)
        )
    # An e-detector passes A within n rows with probability n/A at most.
    assert alarms <= stats.binom.ppf(0.999, streams, rows / rules.run_length)


def test_a_model_as_good_as_its_reference_does_not_alarm():
    rng = np.random.default_rng(9)
    for accuracy, rows in ((0.9, 500), (0.99, 2_000), (0.7, 50)):
        baseline = loss_baseline({"accuracy": accuracy, "evaluation_rows": float(rows)}, RULES, Task.BINARY)
        streams = (rng.random((25, 3_000)) < 1 - accuracy).astype(float)
        assert [check_decay(losses, baseline, RULES).verdict for losses in streams] == [Verdict.HEALTHY] * 25


def test_decay_from_5_to_20_percent_is_found_soon():
    rng = np.random.default_rng(8)
    baseline = loss_baseline({"accuracy": 0.95, "evaluation_rows": 400.0}, RULES, Task.BINARY)
    delays, misplaced = [], []
    for _ in range(30):
        losses = np.concatenate([rng.random(600) < 0.05, rng.random(600) < 0.2]).astype(float)
        for end in range(600, 1201, 10):
            result = check_decay(losses[:end], baseline, RULES)
            if result.verdict is Verdict.HARMED:
                break
        delays.append(end - 600)
        misplaced.append(abs(result.evidence["since"] - 600))
        assert result.evidence["rows_since"] == end - result.evidence["since"]
        assert result.evidence["loss_since"] > baseline
    assert np.median(delays) <= 150
    assert max(delays) < 600
    assert np.median(misplaced) <= 40


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [([], Verdict.NO_DATA), ([1.0], Verdict.HEALTHY), ([0.0] * 50, Verdict.HEALTHY), ([1.0] * 50, Verdict.HARMED)],
)
def test_decay_verdicts(losses, verdict):
    result = check_decay(np.array(losses), 0.1, RULES)
    assert result.verdict is verdict
    if verdict is Verdict.HARMED:
        assert result.severity is Severity.CRITICAL
        assert result.statistic >= result.threshold == math.log(RULES.run_length)


def test_a_statistic_that_is_carried_along_decides():
    losses = np.zeros(50)
    assert check_decay(losses, 0.1, RULES, statistic=99.0).verdict is Verdict.HARMED
    assert check_decay(losses, 0.1, RULES, statistic=0.0).verdict is Verdict.HEALTHY


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize(
    "reference",
    [{}, {"accuracy": 1.0}, {"accuracy": 0.0}, {"accuracy": 0.97, "evaluation_rows": 20.0}, {"mae": 0.0}, {"mae": 5.0}],
)
def test_a_baseline_leaves_room_for_both_verdicts(task, reference):
    baseline = loss_baseline(reference, RULES, task)
    assert 0 < baseline < 1
    more_rows = loss_baseline({**reference, "evaluation_rows": 1e6}, RULES, task)
    assert more_rows <= baseline


def test_losses_lie_between_0_and_1():
    label, output = np.array([0, 1, 2]), np.array([0, 2, 2])
    value, score = np.array([1.0, 2.0, 1e12]), np.array([1.0, 2.5, 0.0])
    assert row_losses(Task.MULTICLASS, label, output, score, value, {}).tolist() == [0, 1, 0]
    assert row_losses(Task.REGRESSION, label, output, score, value, {"mae": 0.5}).tolist() == pytest.approx(
        [0, 1 / 3, 1]
    )
    assert row_losses(Task.REGRESSION, label, output, score, value, {"mae": 0.0}).tolist() == [0, 1, 1]
    assert row_losses(Task.REGRESSION, label, output, score, value, {}).tolist() == [0, 1, 1]


# Service
@pytest.mark.parametrize(
    ("latencies", "failures", "verdict", "severity"),
    [
        (0, 0, Verdict.NO_DATA, Severity.NONE),
        (100, 0, Verdict.HEALTHY, Severity.NONE),
        (99, 1, Verdict.HEALTHY, Severity.NONE),
        (98, 2, Verdict.HARMED, Severity.CRITICAL),
        (0, 5, Verdict.HARMED, Severity.CRITICAL),
    ],
)
def test_error_rate(latencies, failures, verdict, severity):
    result = check_service(np.full(latencies, 3.0), failures, ServicePolicy(error_rate=0.01))
    assert (result.verdict, result.severity) == (verdict, severity)


def test_latency():
    rules = ServicePolicy(p95_latency_ms=500.0)
    slow = np.concatenate([np.full(94, 2.0), np.full(6, 900.0)])
    few_slow = np.concatenate([np.full(96, 2.0), np.full(4, 900.0)])
    assert check_service(slow, 0, rules).verdict is Verdict.HARMED
    assert check_service(slow, 0, rules).severity is Severity.HIGH
    assert check_service(few_slow, 0, rules).verdict is Verdict.HEALTHY
    assert check_service(np.full(50, 500.0), 0, rules).verdict is Verdict.HEALTHY
