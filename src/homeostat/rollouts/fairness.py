"""Evidence that a candidate treats groups less alike than the baseline does, from labelled rows that both scored.

For two groups g and h let x be what a row gains by the candidate: 1 where it succeeds in the metric and the baseline
does not, −1 the other way round, else 0. The mean of x in g less that in h is by how much the candidate moved the two
groups apart. The k-th entity of g and the k-th of h, in the order in which their first labels came, make a pair, each
with the mean of its rows; bets on the
differences within pairs are an e-process of the hypothesis that this is the margin at most (Waudby-Smith and Ramdas
2024). All ordered pairs of groups, of all features, are averaged, which is an e-process again. What moved groups apart
that lay further apart before, in the other direction, is no breach: such a pair of groups counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.records import Task
from homeostat.rollouts.entities import log_evidence, means, units_of
from homeostat.rollouts.evidence import Integers, Measured, Pairs
from homeostat.stats.fairness.groups import OTHER, WORDS, metric_flags
from homeostat.stats.profile import CategoricalSummary, NumericSummary, Profile

NONE = -1
MOST_GROUPS = 6
BINS = 4


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of a feature: its categories, or bins above `edges`; fixed before any row is seen."""

    feature: str
    names: tuple[str, ...]
    edges: tuple[float, ...] = ()
    has_other: bool = False

    def codes(self, values: npt.NDArray[Any]) -> Integers:
        """The group of each value; `NONE` where it is missing, or in no group."""
        if self.edges:
            numbers = np.asarray(values, dtype=np.float64)
            found = np.searchsorted(np.array(self.edges), numbers)
            return np.where(np.isnan(numbers), NONE, found).astype(np.int64)
        place = {name: code for code, name in enumerate(self.names)}
        rest = len(self.names) - 1 if self.has_other else NONE
        return np.array([NONE if value is None else place.get(value, rest) for value in values], dtype=np.int64)


def grouping_of(feature: str, reference: Profile) -> Grouping | None:
    """The groups of a feature by the candidate's own reference; `None` where it has not two, or is a text.

    >>> reference = Profile.of({"age": np.arange(100.0), "sex": np.array(["f", "m"] * 50, dtype=object)})
    >>> grouping_of("sex", reference).names, grouping_of("age", reference).names
    (('f', 'm'), ('up to 24', 'above 24 up to 49', 'above 49 up to 74', 'above 74'))
    """
    summary = reference.features.get(feature)
    if isinstance(summary, CategoricalSummary):
        kept = summary.categories[:MOST_GROUPS]
        more = len(summary.categories) > len(kept) or not summary.exhaustive
        # A category of that name is in the same group as what is left over.
        names = (*(name for name in kept if name != OTHER), OTHER) if more else kept
        return Grouping(feature, names, has_other=more) if len(names) > 1 else None
    if not isinstance(summary, NumericSummary) or not summary.count:
        return None
    if feature in reference.booleans:
        return Grouping(feature, ("false", "true"), edges=(0.5,))
    shares = np.cumsum(summary.counts) / summary.count
    places = np.searchsorted(shares, np.arange(1, BINS) / BINS)
    edges = [float(one) for one in np.unique(summary.edges[places]) if one < summary.edges[-1]]
    if not edges:
        return None
    shown = [f"{edge:.6g}" for edge in edges]
    between = [f"above {low} up to {high}" for low, high in pairwise(shown)]
    return Grouping(feature, (f"up to {shown[0]}", *between, f"above {shown[-1]}"), edges=tuple(edges))


def fairness_of(
    pairs: Pairs, groups: Sequence[tuple[Grouping, Integers]], metric: str, margin: float
) -> Measured | None:
    """Evidence that some gap between groups widened by more than a margin, given the group of each pair.

    `metric` is accuracy, or for binary models also tpr, fpr or selection_rate. `None` where the metric is not defined.
    Assumes that what an entity of a group gains on average has one mean given those before, and independent entities.
    """
    if not pairs.task.is_classification or (metric != "accuracy" and pairs.task is not Task.BINARY):
        return None
    if metric != "accuracy" and pairs.positive is None:
        return None
    positive = NONE if pairs.positive is None else pairs.positive
    new, entering = metric_flags(pairs.candidate, pairs.truth, metric, positive)
    old, _ = metric_flags(pairs.baseline, pairs.truth, metric, positive)
    units = units_of(pairs.entity)
    evidence: list[float] = []
    worst: tuple[float, Measured] | None = None
    for grouping, codes in groups:
        rows = [np.flatnonzero(entering & (codes == code)) for code in range(len(grouping.names))]
        for one, other in permutations(range(len(grouping.names)), 2):
            found = _widened(new, old, rows[one], rows[other], margin, units)
            evidence.append(0.0 if found is None else found.log_worse)
            if found is not None and (worst is None or found.log_worse > worst[0]):
                names = (grouping.names[one], grouping.names[other])
                worst = (found.log_worse, _described(found, new, rows[one], rows[other], metric, grouping, names))
    if worst is None:
        return None
    together = float(np.logaddexp.reduce(evidence)) - math.log(len(evidence))
    shown = worst[1]
    return Measured(shown.rows, shown.value, shown.reference, together, shown.what)


def _widened(
    new: npt.NDArray[np.bool_],
    old: npt.NDArray[np.bool_],
    high: Integers,
    low: Integers,
    margin: float,
    units: Integers | None,
) -> Measured | None:
    """The evidence that the candidate put the first group further above the second; `None` where one is empty."""
    if not len(high) or not len(low):
        return None
    gained = new.astype(np.float64) - old
    first, second = (means(gained[rows], None if units is None else units[rows]) for rows in (high, low))
    both = min(len(first), len(second))
    evidence = log_evidence((first[:both] - second[:both] - margin) / (2 + margin))
    gap, before = (float(part[high].mean() - part[low].mean()) for part in (new, old))
    if gap - abs(before) <= margin:
        evidence = min(evidence, 0.0)
    return Measured(len(high) + len(low), gap, abs(before), evidence)


def _described(
    found: Measured,
    new: npt.NDArray[np.bool_],
    high: Integers,
    low: Integers,
    metric: str,
    grouping: Grouping,
    names: tuple[str, str],
) -> Measured:
    best, least = (float(new[part].mean()) for part in (high, low))
    what = (
        f"its {WORDS[metric]} is {least:.1%} where '{grouping.feature}' is '{names[1]}' and {best:.1%} where it is "
        f"'{names[0]}', a gap of {100 * found.value:.1f} points against {100 * found.reference:.1f}"
    )
    return Measured(found.rows, found.value, found.reference, found.log_worse, what)
