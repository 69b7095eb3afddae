"""Rows of one entity, put together before they are bet on: the entity is what was assigned, and its rows are alike.

Ten rows of one user who are all judged alike are one observation, not ten. A bet on each of them would multiply its
wealth ten times by the same luck. So the rows' values are averaged by entity first: where each entity's mean is
expected to be 0 at most, given the entities before it, the wealth of bets on the means is an e-process whatever the
dependence within an entity. It is exact at every look where an entity's rows are alike, or come as one; where later
rows change an entity's mean the wealth at each look is an e-value, and what many looks add was simulated
(tests/rollouts). Where no entity has a second row, all is as if rows were bet on.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from homeostat.stats.sequential.betting import FRACTIONS

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NONE = -1
DAY = 86_400_000_000
# So many points make the mixture of all stakes agree with the exact one of counts to a hundredth of its logarithm.
NODES = 256


def units_of(entity: Integers | None, event_time: Integers | None = None) -> Integers | None:
    """What each row belongs to, as codes; `None` where nothing has a second row. `NONE` is a row of its own.

    With times a unit is an entity on one day (UTC). What is watched without labels has to see a fault that begins late,
    which the many good rows that an entity had before would hide.

    >>> units_of(np.array([3, NONE, 3, NONE])).tolist()
    [2, 1, 2, 0]
    >>> units_of(np.array([3, 4])) is None, units_of(np.array([3, 3]), np.array([0, DAY])) is None
    (True, True)
    """
    if entity is None:
        return None
    shared = entity != NONE
    if not shared.any():
        return None
    own = np.where(shared, entity, -2 - np.arange(len(entity)))
    found, codes = np.unique(own, return_inverse=True)
    if event_time is not None:
        # One number for both: sorting pairs takes many times as long.
        day = event_time // DAY - (event_time // DAY).min()
        found, codes = np.unique(codes.reshape(-1) * (day.max() + 1) + day, return_inverse=True)
    return None if len(found) == len(own) else np.asarray(codes, dtype=np.int64).reshape(-1)


def first_rows(units: Integers) -> Integers:
    """The place of the first row of each unit, in the order in which the units came."""
    return np.sort(np.unique(units, return_index=True)[1]).astype(np.int64)


def means(values: Floats, units: Integers | None) -> Floats:
    """The mean of each unit's values, in the order in which the units came.

    >>> means(np.array([1.0, 5.0, 3.0]), np.array([1, 0, 1])).tolist()
    [2.0, 5.0]
    """
    if units is None:
        return values
    _, first, codes = np.unique(units, return_index=True, return_inverse=True)
    codes = codes.reshape(-1)
    return np.asarray((np.bincount(codes, weights=values) / np.bincount(codes))[np.argsort(first)])


def log_evidence(values: Floats) -> float:
    """The log evidence that values in [-1, 1] have a mean above 0: the average over a few stakes.

    It is that of `betting_log_evidence` after the last value.
    """
    stakes = np.array(FRACTIONS)
    return _log_mean(stakes, np.full(len(stakes), -math.log(len(stakes))), values)


def paired_log_evidence(values: Floats) -> float:
    """The same with all stakes from 0 to 1: of wins (1), losses (-1) and ties (0) it is that of counts.

    >>> round(paired_log_evidence(np.array([1.0] * 10)), 2)
    5.23
    """
    stakes, weights = _stakes()
    return _log_mean(stakes, weights, values)


@cache
def _stakes() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return (nodes + 1) / 2, np.log(weights / 2)


def _log_mean(stakes: Floats, log_weights: Floats, values: Floats) -> float:
    # Entities of few rows have few different means.
    distinct, counts = np.unique(values, return_counts=True)
    wealth = np.log1p(np.outer(stakes, distinct)) @ counts if len(distinct) else np.zeros(len(stakes))
    return float(np.logaddexp.reduce(wealth + log_weights))
