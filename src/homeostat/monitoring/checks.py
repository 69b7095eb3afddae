"""The checks: a window of facts in, a finding's verdict, severity, statistic and evidence out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.records import PerformancePolicy, Policy, ServicePolicy, Severity, Task, Verdict
from homeostat.stats.drift.comparison import DriftComparison
from homeostat.stats.drift.scores import ScoreDrift
from homeostat.stats.performance import classification_metrics, regression_metrics, wilson_interval
from homeostat.stats.sequential import LossDetector, change_point

ERROR_BOUND = 3.0
SMOOTHING = 2.0
# A change is looked for among so many of the latest labelled rows.
CHANGE_ROWS = 20_000
NORMAL_90 = 1.2816
# Seven metrics in three windows are looked at hundreds of times: an interval of 95 % would be left by chance daily.
CONFIDENCE = 0.9999
SURE = 3.89
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Result:
    """What a check came to, before it is given an id and a time."""

    verdict: Verdict
    severity: Severity
    message: str
    statistic: float | None = None
    threshold: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


def check_drift(comparison: DriftComparison, policy: Policy) -> Result:
    """Features of a window against the reference: KS, PSI, Jensen–Shannon and chi-square for each feature."""
    features = {
        name: {
            key: value
            for key, value in (
                ("effect", round(drift.effect, 4)),
                ("drifted", drift.drifted),
                ("severity", drift.severity),
                ("dimension", drift.dimension),
                ("ks", _rounded(drift.ks)),
                ("ks_p", drift.ks_p),
                ("psi", _rounded(drift.psi)),
                ("js", _rounded(drift.js)),
                ("chi_square", _rounded(drift.chi2)),
                ("chi_square_p", drift.chi2_p),
                ("p_adjusted", drift.p_adjusted),
            )
            if value is not None
        }
        for name, drift in comparison.features.items()
    }
    drifted = sorted(
        (name for name, drift in comparison.features.items() if drift.drifted),
        key=lambda name: -comparison.features[name].effect,
    )
    return Result(
        verdict=Verdict(comparison.verdict),
        severity=Severity(comparison.severity),
        message=comparison.words,
        statistic=round(comparison.share_drifted, 4),
        threshold=policy.drift.share,
        evidence={"features": features, "drifted": drifted, "strength": round(comparison.strength, 4)},
    )


def check_predictions(drift: ScoreDrift) -> Result:
    """The distribution of the scores against those of rows that the model had not seen."""
    return Result(
        verdict=Verdict(drift.verdict),
        severity=Severity(drift.severity),
        message=drift.words,
        statistic=_rounded(drift.ks),
        threshold=None,
        evidence={
            "ks_p": drift.ks_p,
            "psi": _rounded(drift.psi),
            "mean_reference": _rounded(drift.mean_reference),
            "mean": _rounded(drift.mean_current),
            "effect": round(drift.effect, 4),
        },
    )


def measure(
    task: Task,
    label: npt.NDArray[np.int64],
    output: npt.NDArray[np.int64],
    score: npt.NDArray[np.float64],
    value: npt.NDArray[np.float64],
    *,
    classes: int,
    positive: int | None,
) -> dict[str, float]:
    """Metrics of labelled rows: the confusion matrix and its rates, F1, ROC-AUC; MAE, RMSE, R² for regression."""
    if task is Task.REGRESSION:
        return regression_metrics(value, score)
    binary = task is Task.BINARY and positive is not None
    return classification_metrics(
        label, output, classes=classes, positive=positive if binary else None, scores=score if binary else None
    )


def check_performance(
    metrics: dict[str, float], rows: int, reference: dict[str, float], policy: Policy, task: Task
) -> Result:
    """Labelled performance of a window against what the version showed when it was made."""
    rules = policy.performance
    if rows == 0:
        return Result(Verdict.NO_DATA, Severity.NONE, "No labelled rows in the window.")
    if rows < rules.minimum_rows:
        return Result(
            Verdict.INSUFFICIENT,
            Severity.NONE,
            f"{rows} labelled rows, {rules.minimum_rows} are needed to judge.",
            evidence={"metrics": metrics},
        )
    name = "accuracy" if task.is_classification else "mae"
    breaches = _breaches(metrics, reference, rows, policy, task)
    found = metrics[name]
    against = reference.get(name)
    shown = f"{name} {found:.3f}" + ("" if against is None else f" against {against:.3f} when it was made")
    evidence = {"metrics": metrics, "reference": reference, "breaches": breaches}
    if not breaches:
        return Result(Verdict.HEALTHY, Severity.NONE, f"{shown} on {rows:,} labelled rows.", found, against, evidence)
    worst = max(breach["ratio"] for breach in breaches.values())
    severity = Severity.CRITICAL if worst >= 3 else Severity.HIGH if worst >= 1.5 else Severity.MEDIUM
    return Result(
        Verdict.HARMED,
        severity,
        f"{shown} on {rows:,} labelled rows: {', '.join(breach['words'] for breach in breaches.values())}.",
        found,
        against,
        evidence,
    )


def _breaches(
    metrics: dict[str, float], reference: dict[str, float], rows: int, policy: Policy, task: Task
) -> dict[str, dict[str, Any]]:
    """Metrics that are worse than they may be. Calibrated asks that sampling alone can't explain it."""
    rules = policy.performance
    found: dict[str, dict[str, Any]] = {}
    for name, allowed in _allowances(reference, policy, task).items():
        if name not in metrics or name not in reference:
            continue
        higher_is_worse = name in ("fpr", "mae", "rmse")
        fall = metrics[name] - reference[name] if higher_is_worse else reference[name] - metrics[name]
        if policy.preset == "calibrated":
            fall -= _uncertainty(name, metrics, reference, rows)
        # Differences of shares carry rounding errors: .92 − .90 is a little more than .02.
        if fall > allowed + ROUNDING:
            moved = "rose" if higher_is_worse else "fell"
            found[name] = {
                "from": reference[name],
                "to": metrics[name],
                "allowed": allowed,
                "ratio": fall / (allowed or rules.maximum_drop or ROUNDING),
                "words": f"{name} {moved} from {reference[name]:.3g} to {metrics[name]:.3g}",
            }
    return found


def _allowances(reference: dict[str, float], policy: Policy, task: Task) -> dict[str, float]:
    rules = policy.performance
    if not task.is_classification:
        # The sampling error of R² is not known here, so only point thresholds judge it.
        names = ("mae", "rmse", "r2") if policy.preset == "classic" else ("mae", "rmse")
        return {name: rules.relative_drop * abs(reference.get(name, 0.0)) for name in names}
    allowed = {name: rules.relative_drop * reference.get(name, 0.0) for name in ("f1", "f1_macro", "roc_auc")}
    for name in ("accuracy", "precision", "recall"):
        allowed[name] = min(rules.maximum_drop, rules.relative_drop * reference.get(name, 1.0))
    allowed["tpr"] = rules.tpr_drop * reference.get("tpr", 0.0)
    allowed["fpr"] = rules.fpr_rise * reference.get("fpr", 0.0)
    return allowed


def _uncertainty(name: str, metrics: dict[str, float], reference: dict[str, float], rows: int) -> float:
    """Half the width of a 99.99 % interval of the difference; for shares Wilson's, for errors the normal one."""
    rows_before = int(reference.get("evaluation_rows", rows))
    if name in ("mae", "rmse"):
        # The standard error of a mean absolute error is at most rmse/√n.
        spread = metrics["rmse"] / max(rows, 1) ** 0.5
        before = reference.get("rmse", metrics["rmse"]) / max(rows_before, 1) ** 0.5
        return float(SURE * np.hypot(spread, before))
    sizes = {"tpr": ("tp", "fn"), "recall": ("tp", "fn"), "fpr": ("fp", "tn"), "precision": ("tp", "fp")}
    parts = sizes.get(name)

    def half(table: dict[str, float], n: int) -> float:
        counted = int(sum(table.get(part, 0.0) for part in parts)) if parts else n
        if counted <= 0:
            return 1.0
        low, high = wilson_interval(min(max(table[name], 0.0), 1.0) * counted, counted, confidence=CONFIDENCE)
        return (high - low) / 2

    return float(np.hypot(half(metrics, rows), half(reference, rows_before)))


def check_floor(metrics: dict[str, float], rows: int, policy: Policy, task: Task) -> Result | None:
    """The accuracy floor; `None` where there is none. A healthy look is a result too: it ends an alert."""
    floor = policy.performance.accuracy_floor
    if not floor or not task.is_classification:
        return None
    if rows == 0:
        return Result(Verdict.NO_DATA, Severity.NONE, "No labelled rows in the window.")
    if rows < policy.performance.minimum_rows:
        needed = policy.performance.minimum_rows
        return Result(Verdict.INSUFFICIENT, Severity.NONE, f"{rows} labelled rows, {needed} are needed to judge.")
    if metrics["accuracy"] >= floor:
        return Result(
            Verdict.HEALTHY,
            Severity.NONE,
            f"accuracy {metrics['accuracy']:.3f} is above the floor of {floor:.2f} on {rows:,} labelled rows.",
            metrics["accuracy"],
            floor,
        )
    return Result(
        Verdict.HARMED,
        Severity.CRITICAL,
        f"accuracy {metrics['accuracy']:.3f} is below the floor of {floor:.2f} on {rows:,} labelled rows.",
        metrics["accuracy"],
        floor,
        {"metrics": metrics},
    )


def row_losses(
    task: Task,
    label: npt.NDArray[np.int64],
    output: npt.NDArray[np.int64],
    score: npt.NDArray[np.float64],
    value: npt.NDArray[np.float64],
    reference: dict[str, float],
) -> npt.NDArray[np.float64]:
    """The loss of each labelled row in 0–1.

    Wrong or right; for regression the absolute error over three times the reference's mean one, at most 1.
    """
    if task is Task.REGRESSION:
        bound = ERROR_BOUND * reference.get("mae", 0.0)
        errors = np.abs(value - score)
        return np.asarray(np.clip(errors / bound, 0.0, 1.0) if bound > 0 else errors > 0, dtype=np.float64)
    return np.asarray(label != output, dtype=np.float64)


def loss_baseline(reference: dict[str, float], rules: PerformancePolicy, task: Task) -> float:
    """The mean loss that still counts as healthy: the reference's, its uncertainty, and the fall that is allowed."""
    rows = max(reference.get("evaluation_rows", 0.0), 1.0)
    if task is Task.REGRESSION:
        if "mae" not in reference:
            return 0.5
        return float(min(0.95, (1 + rules.relative_drop) / ERROR_BOUND * (1 + NORMAL_90 / rows**0.5)))
    wrong = (1 - reference.get("accuracy", 0.5)) * rows
    mean = (wrong + SMOOTHING / 2) / (rows + SMOOTHING)
    return float(min(0.95, mean + NORMAL_90 * (mean * (1 - mean) / rows) ** 0.5 + rules.maximum_drop))


def check_decay(
    losses: npt.NDArray[np.float64], baseline: float, rules: PerformancePolicy, *, statistic: float | None = None
) -> Result:
    """Has the loss of the production version risen above its baseline, looked at after every label?

    The statistic is the log of an e-detector, which a healthy model drives above log(run_length) once in at least
    `run_length` labelled rows on average. Whoever carries the detector along passes its `statistic`.
    `evidence["since"]` is the row from which the loss is higher.
    """
    if not len(losses):
        return Result(Verdict.NO_DATA, Severity.NONE, "No labels have come yet.")
    threshold = float(np.log(rules.run_length))
    if statistic is None:
        statistic = LossDetector(baseline).update(losses)
    evidence: dict[str, Any] = {"rows": len(losses), "baseline": round(baseline, 4)}
    if statistic < threshold:
        return Result(
            Verdict.HEALTHY, Severity.NONE, "The loss is where it was.", round(statistic, 3), threshold, evidence
        )
    since = len(losses) - len(losses[-CHANGE_ROWS:]) + change_point(losses[-CHANGE_ROWS:])
    after = float(losses[since:].mean())
    evidence |= {"since": since, "loss_since": round(after, 4), "rows_since": len(losses) - since}
    severity = Severity.CRITICAL if after > 2 * baseline + 0.1 else Severity.HIGH
    return Result(
        Verdict.HARMED,
        severity,
        f"The loss rose to {after:.3f} over the last {len(losses) - since:,} labelled rows; up to {baseline:.3f} "
        "would be in order.",
        round(statistic, 3),
        threshold,
        evidence,
    )


def check_service(latencies: npt.NDArray[np.float64], failures: int, rules: ServicePolicy) -> Result:
    """Error rate and latency of a window."""
    rows = len(latencies) + failures
    if rows == 0:
        return Result(Verdict.NO_DATA, Severity.NONE, "Nothing was served.")
    rate = failures / rows
    p95 = float(np.quantile(latencies, 0.95)) if len(latencies) else 0.0
    evidence = {"error_rate": round(rate, 6), "p95_latency_ms": round(p95, 4), "rows": rows, "failures": failures}
    if rate > rules.error_rate:
        return Result(
            Verdict.HARMED,
            Severity.CRITICAL,
            f"{rate:.1%} of {rows:,} rows failed; {rules.error_rate:.1%} may.",
            rate,
            rules.error_rate,
            evidence,
        )
    if p95 > rules.p95_latency_ms:
        return Result(
            Verdict.HARMED,
            Severity.HIGH,
            f"The 95th percentile of latency is {p95:.0f} ms; {rules.p95_latency_ms:.0f} ms may be.",
            p95,
            rules.p95_latency_ms,
            evidence,
        )
    return Result(
        Verdict.HEALTHY,
        Severity.NONE,
        f"{rows:,} rows, {rate:.2%} failed, p95 {p95:.2f} ms.",
        p95,
        rules.p95_latency_ms,
        evidence,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
