"""What the labelled rows with one decision say of all rows with it, and how such shares combine into a metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.performance.metrics import wilson_limits
from homeostat.stats.performance.selective.weights import cluster_sums

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Formula = Callable[[float, float, float], float]


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


# Each metric from the shares of true positives among rows predicted positive (a) and negative (b), and from the share
# of rows predicted positive (q); of accuracy, a and b are the shares that are right.
FORMULAS: dict[str, Formula] = {
    "accuracy": lambda a, b, q: q * a + (1 - q) * b,
    "precision": lambda a, _, q: a if q > 0 else math.nan,
    "recall": lambda a, b, q: _ratio(q * a, q * a + (1 - q) * b),
    "fpr": lambda a, b, q: _ratio(q * (1 - a), q * (1 - a) + (1 - q) * (1 - b)),
    "f1": lambda a, b, q: _ratio(2 * q * a, q + q * a + (1 - q) * b),
    "prevalence": lambda a, b, q: q * a + (1 - q) * b,
}


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share, the number of random rows it is worth, and what each unit added to it (for correlation)."""

    value: float
    worth: float
    influence: Floats | None = None

    def wilson(self, z: float) -> tuple[float, float]:
        """Wilson's interval at the normal quantile z."""
        if math.isinf(self.worth):
            return self.value, self.value
        if not self.worth > 0:
            return 0.0, 1.0
        low, high = wilson_limits(self.value, self.worth, z)
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Side:
    """The rows with one decision: how many, how many labelled, and the shares of positives and of right answers."""

    rows: int
    n_labelled: int
    n_effective: float
    positives: Share
    right: Share
    counted: tuple[int, int]

    @classmethod
    def of(
        cls, rows: Flags, planned: Flags, chance: Floats, hit: Flags, right: Flags, target: str, clusters: Array | None
    ) -> Side:
        """Hájek's shares among `rows`, from those that are labelled and had a chance to be."""
        used = rows & planned
        n = int(used.sum())
        if not n:
            nothing = Share(0.0, 0.0)
            return cls(int(rows.sum()), 0, 0.0, nothing, nothing, (0, 0))
        w = np.where(used, 1 / np.where(used, chance, 1.0), 0.0)
        total, squares = float(w.sum()), float(w @ w)
        kish = total * total / squares
        # A window's own value is uncertain only through the rows that were not drawn.
        left = float((w * w * (1 - chance)).sum()) / squares if target == "window" else 1.0
        shares = []
        for flags in (hit, right):
            value = min(1.0, max(0.0, float(w[flags & used].sum()) / total))
            influence = w * (flags - value) / total
            if target == "window":
                variance = float((influence**2 * (1 - chance)).sum())
                sums = None
            else:
                added = cluster_sums(influence, clusters)
                variance = float(added @ added)
                sums = added if clusters is not None else None
            variance *= n / max(n - 1, 1)
            fallback = _unit_worth(w, clusters, kish) / left if left > 0 else math.inf
            most = n / left if left > 0 else math.inf
            worth = min(value * (1 - value) / variance, most) if 0 < value < 1 and variance > 0 else fallback
            shares.append(Share(value, worth, sums))
        counted = (int(hit[used].sum()), int(right[used].sum()))
        return cls(int(rows.sum()), n, kish, shares[0], shares[1], counted)


def _unit_worth(w: Floats, clusters: Array | None, kish: float) -> float:
    """Kish's effective size; of clusters where there are any, as if the rows of one all said the same."""
    if clusters is None:
        return kish
    sums = cluster_sums(w, clusters)
    return float(w.sum()) ** 2 / float(sums @ sums)


def decision_share(decision: Flags, clusters: Array | None, target: str) -> Share:
    """The share of rows predicted positive: known exactly of the window, estimated of the process behind it."""
    n = len(decision)
    if not n:
        return Share(0.0, 0.0)
    value = float(decision.mean())
    if target == "window":
        return Share(value, math.inf)
    if clusters is None:
        return Share(value, float(n))
    added = cluster_sums((decision - value) / n, clusters)
    variance = float(added @ added)
    worth = min(value * (1 - value) / variance, n) if variance > 0 else _unit_worth(np.ones(n), clusters, n)
    return Share(value, worth, added)


def combined_interval(formula: Formula, shares: Sequence[Share], z: float) -> tuple[float, float]:
    """The interval of a metric from those of its three shares (Zou and Donner's recovery of variance estimates).

    Each share in turn is put at its own limits; the metric's moves add up as squares, with their correlation where
    the shares come from the same clusters.
    """
    values = [share.value for share in shares]
    estimate = formula(values[0], values[1], values[2])
    down, up = np.zeros(3), np.zeros(3)
    for place, share in enumerate(shares):
        moves = []
        for limit in share.wilson(z):
            at = values.copy()
            at[place] = limit
            moved = formula(at[0], at[1], at[2])
            moves.append(0.0 if math.isnan(moved) else moved - estimate)
        # The sign says whether the metric rises with this share; both ends carry it.
        sign = 1.0 if moves[1] >= moves[0] else -1.0
        down[place] = sign * -min(*moves, 0.0)
        up[place] = sign * max(*moves, 0.0)
    r = _correlation(shares)
    low = estimate - math.sqrt(max(0.0, float(down @ r @ down)))
    high = estimate + math.sqrt(max(0.0, float(up @ r @ up)))
    return max(0.0, low), min(1.0, high)


def _correlation(shares: Sequence[Share]) -> Floats:
    r = np.eye(3)
    for i in range(3):
        for j in range(i):
            one, two = shares[i].influence, shares[j].influence
            if one is None or two is None:
                continue
            size = math.sqrt(float(one @ one) * float(two @ two))
            r[i, j] = r[j, i] = float(one @ two) / size if size > 0 else 0.0
    return r


def worst_case(
    formula: Formula, first: tuple[float, float], second: tuple[float, float], q: float
) -> tuple[float, float]:
    """The lowest and the highest value of a metric whose first two shares lie anywhere in these ranges."""
    corners = [formula(a, b, q) for a in first for b in second]
    known = [corner for corner in corners if not math.isnan(corner)]
    # A corner where the metric does not exist leaves every value open.
    return (min(known), max(known)) if len(known) == len(corners) else (0.0, 1.0)
