"""Metrics where labels are selective: each labelled row counts for all the rows that might have been labelled instead.

Analysts look at what was alerted, so the labelled rows are not like the others and metrics counted on them flatter:
recall most of all, for the rows that were missed are the ones nobody looked at. Where the log keeps the probability
with which each row was chosen for labelling, and a random audit share gives every row a chance, weights of one over
that probability undo the selection. Where some row had no chance, no weight helps; the metric is then "not identified",
and bounds say what the labels can still rule out.

Sources: Horvitz and Thompson (1952); Hájek (1971); Korn and Graubard (1998) for effective sizes in intervals of shares;
Zou and Donner (2008) for intervals of combined shares; Manski (1989) for bounds without identification.
"""

from __future__ import annotations

from homeostat.stats.performance.selective.metrics import (
    Positivity,
    SelectiveMetric,
    SelectiveResult,
    selective_metrics,
)
from homeostat.stats.performance.selective.weights import WeightedMean, labelling_probability, weighted_mean

__all__ = [
    "Positivity",
    "SelectiveMetric",
    "SelectiveResult",
    "WeightedMean",
    "labelling_probability",
    "selective_metrics",
    "weighted_mean",
]
