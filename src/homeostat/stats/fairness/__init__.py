"""Whether a model treats groups alike: gaps between groups with honest intervals, and alarms over time.

The gap between the best and the worst of several groups is found by looking for it, so chance alone makes it positive.
The intervals here allow for that, and a gap counts only beyond a stated tolerance. What is looked at again with every
batch belongs in `monitor_gap`, whose alarms stay valid however often one looks.
"""

from __future__ import annotations

from homeostat.stats.fairness.gaps import (
    FairnessGap,
    demographic_parity,
    equal_opportunity,
    equalized_odds,
    fairness_gaps,
    predictive_parity,
)
from homeostat.stats.fairness.groups import GroupMetric, batch_counts, group_metrics, pool_small_groups
from homeostat.stats.fairness.monitor import SequentialGap, gap_log_evidence, monitor_gap, rate_sequence

__all__ = [
    "FairnessGap",
    "GroupMetric",
    "SequentialGap",
    "batch_counts",
    "demographic_parity",
    "equal_opportunity",
    "equalized_odds",
    "fairness_gaps",
    "gap_log_evidence",
    "group_metrics",
    "monitor_gap",
    "pool_small_groups",
    "predictive_parity",
    "rate_sequence",
]
