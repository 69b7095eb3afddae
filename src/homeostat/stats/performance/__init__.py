"""How good predictions were, once their labels are known, and how good they seem before."""

from __future__ import annotations

from homeostat.stats.performance.audit import AuditResult, audit_estimates, audit_intervals
from homeostat.stats.performance.calibration import (
    BrierDecomposition,
    CalibrationResult,
    Calibrator,
    ReliabilityBin,
    assess_calibration,
    brier_decomposition,
    fit_calibrator,
)
from homeostat.stats.performance.estimation import (
    EstimatedMetric,
    PerformanceEstimate,
    PerformanceEstimator,
    ReferenceCheck,
    estimate_performance,
    fit_estimator,
)
from homeostat.stats.performance.intervals import (
    Metric,
    binary_performance,
    compare_roc_auc,
    multiclass_performance,
    regression_performance,
)
from homeostat.stats.performance.metrics import (
    classification_metrics,
    confusion_matrix,
    regression_metrics,
    roc_auc,
    wilson_interval,
)
from homeostat.stats.performance.threshold import ThresholdChoice, cheapest_threshold, choose_threshold
from homeostat.stats.performance.trend import TrendResult, WindowMetric, fit_trend, rolling_metric

__all__ = [
    "AuditResult",
    "BrierDecomposition",
    "CalibrationResult",
    "Calibrator",
    "EstimatedMetric",
    "Metric",
    "PerformanceEstimate",
    "PerformanceEstimator",
    "ReferenceCheck",
    "ReliabilityBin",
    "ThresholdChoice",
    "TrendResult",
    "WindowMetric",
    "assess_calibration",
    "audit_estimates",
    "audit_intervals",
    "binary_performance",
    "brier_decomposition",
    "cheapest_threshold",
    "choose_threshold",
    "classification_metrics",
    "compare_roc_auc",
    "confusion_matrix",
    "estimate_performance",
    "fit_calibrator",
    "fit_estimator",
    "fit_trend",
    "multiclass_performance",
    "regression_metrics",
    "regression_performance",
    "roc_auc",
    "rolling_metric",
    "wilson_interval",
]
