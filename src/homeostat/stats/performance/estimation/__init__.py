"""Performance before labels come: from scores, predictions and features, after what labelled rows have taught.

Sources: confidence-based performance estimation and direct loss estimation, as NannyML introduced them; Białek,
Kuberski, Perrakis and Bifet 2024 (arXiv 2401.08348) for covariate shift; Bickel, Brückner and Scheffer 2009 for
density ratios; Zadrozny and Elkan 2002 for isotonic calibration.
"""

from __future__ import annotations

from homeostat.stats.performance.estimation.estimator import (
    PerformanceEstimator,
    estimate_performance,
    fit_estimator,
)
from homeostat.stats.performance.estimation.reference import ReferenceCheck
from homeostat.stats.performance.estimation.results import EstimatedMetric, PerformanceEstimate

__all__ = [
    "EstimatedMetric",
    "PerformanceEstimate",
    "PerformanceEstimator",
    "ReferenceCheck",
    "estimate_performance",
    "fit_estimator",
]
