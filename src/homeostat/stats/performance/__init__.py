"""How good predictions were, once their labels are known, and how good they seem before."""

from __future__ import annotations

from homeostat.stats.performance.metrics import (
    classification_metrics,
    confusion_matrix,
    regression_metrics,
    roc_auc,
    wilson_interval,
)

__all__ = ["classification_metrics", "confusion_matrix", "regression_metrics", "roc_auc", "wilson_interval"]
