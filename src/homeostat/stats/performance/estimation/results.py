"""What an estimate of performance without labels says, and when it must not be acted on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from homeostat.stats.performance.estimation.reference import ReferenceCheck

Task = Literal["binary", "multiclass", "regression"]
Method = Literal["auto", "cbpe", "importance_weighted", "dle"]
AuditStatus = Literal["trusted", "failing", "not_audited"]

BLIND = "A change in what follows from the same features (concept drift) is invisible to it."


@dataclass(frozen=True, slots=True)
class EstimatedMetric:
    """A metric of rows whose labels are not known.

    `interval` is meant to hold the metric that the labels will show: `sampling_error` is the standard deviation of
    what the labels of these `n` rows leave to chance, `reference_error` the one of what was learned from the
    `n_reference` labelled rows. Neither contains concept drift. NaN where the metric can't be told.
    """

    name: str
    estimate: float
    interval: tuple[float, float]
    confidence: float
    n: int
    n_reference: int
    method: str
    sentence: str
    sampling_error: float
    reference_error: float


@dataclass(frozen=True, slots=True)
class PerformanceEstimate:
    """The estimated metrics of one window, by name, and whether they may be acted on.

    `calibrated` says whether the method held on the reference itself, on rows apart from those it was fitted on (see
    `check`); `covered` whether the reference has enough rows like the window's (`effective_reference` rows' worth;
    None where no features were given); `separation` is the ROC-AUC with which the features tell the two apart.
    `audit` is the verdict of earlier windows whose labels have come. `actionable` is False where one of them fails.
    """

    task: Task
    method: str
    metrics: Mapping[str, EstimatedMetric]
    n: int
    n_reference: int
    effective_reference: float | None
    separation: float | None
    covered: bool
    calibrated: bool
    check: ReferenceCheck
    audit: AuditStatus
    actionable: bool
    sentence: str


NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "tp": "The number of true positives",
    "fp": "The number of false positives",
    "fn": "The number of false negatives",
    "tn": "The number of true negatives",
    "f1_macro": "Macro F1",
    "roc_auc_macro": "Macro ROC-AUC",
    "mae": "The mean absolute error",
    "mse": "The mean squared error",
    "rmse": "The root mean squared error",
}
COUNTS = frozenset({"tp", "fp", "fn", "tn"})
UNBOUNDED = frozenset({"mae", "mse", "rmse"})


def estimated(
    name: str,
    value: float,
    sampling_error: float,
    reference_error: float,
    *,
    confidence: float,
    n: int,
    n_reference: int,
    method: str,
) -> EstimatedMetric:
    """An estimated metric with its interval and its sentence."""
    if math.isnan(value):
        nothing = (math.nan, math.nan)
        sentence = f"{NAMES[name]} can't be estimated from these rows: nothing that it is a share of is expected."
        return EstimatedMetric(
            name, math.nan, nothing, confidence, n, n_reference, method, sentence, math.nan, math.nan
        )
    interval = bounds(name, value, sampling_error, reference_error, confidence=confidence, n=n)
    sentence = (
        f"{NAMES[name]} is estimated at {value:.4g} over {n:,} rows without labels ({confidence:.0%} interval of what "
        f"the labels will show: {interval[0]:.4g} to {interval[1]:.4g}). {BLIND}"
    )
    return EstimatedMetric(
        name, value, interval, confidence, n, n_reference, method, sentence, sampling_error, reference_error
    )


def bounds(
    name: str,
    value: float,
    sampling_error: float,
    reference_error: float,
    *,
    confidence: float,
    n: int,
    reference_confidence: float | None = None,
) -> tuple[float, float]:
    """The interval around an estimate, within the range that the metric can take.

    By default both errors are added as independent ones. With `reference_confidence` the reference's error, which all
    windows share, is added in full at its own confidence.
    """
    from scipy.special import ndtri

    quantile = float(ndtri((1 + confidence) / 2))
    if reference_confidence is None:
        half = quantile * math.hypot(sampling_error, reference_error)
    else:
        half = quantile * sampling_error + float(ndtri((1 + reference_confidence) / 2)) * reference_error
    most = math.inf if name in UNBOUNDED else float(n) if name in COUNTS else 1.0
    return max(0.0, value - half), min(most, value + half)
