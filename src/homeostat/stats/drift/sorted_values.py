"""What two samples that are already in order tell about each other at next to no cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.jensen_shannon import BINS

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class SortedDistances:
    """How far two samples are apart: the Kolmogorov–Smirnov distance, and counts in bins over their joint range."""

    gap: float
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, first: Floats, second: Floats) -> SortedDistances | None:
        """Those of two samples of finite values in ascending order; `None` where one is empty."""
        if not len(first) or not len(second):
            return None
        return cls(largest_gap_of_sorted(first, second), joint_counts_of_sorted(first, second))


def largest_gap_of_sorted(first: Floats, second: Floats) -> float:
    """The Kolmogorov–Smirnov distance of two samples in ascending order, exactly.

    Both distribution functions are known at some points. Between two of them the gap can't exceed what the rises of
    both allow, so only stretches that could hold a larger gap than the largest seen are looked at more closely: of a
    million values some thousand are looked up in the other sample.

    >>> largest_gap_of_sorted(np.arange(10.0), np.arange(10.0) + 5)
    0.5
    """
    n, m = len(first), len(second)
    step = max(LOOKED_UP, n // STRETCHES)
    points = np.sort(np.concatenate((first[::step], second[:: max(LOOKED_UP, m // STRETCHES)])))
    at, other_at = first.searchsorted(points, side="right"), second.searchsorted(points, side="right")
    best = float(np.abs(at / n - other_at / m).max())
    stretches = _Stretches(
        np.concatenate(([0], at)), np.concatenate((at, [n])),
        np.concatenate(([0], other_at)), np.concatenate((other_at, [m])),
    )  # fmt: skip
    while step > LOOKED_UP:
        stretches = stretches.where(stretches.above(n, m, best) | stretches.below(n, m, best))
        step //= PARTS
        stretches, at, other_at = stretches.split(first, second)
        best = max(best, float(np.abs(at / n - other_at / m).max(initial=0.0)))
    # The one function is furthest above the other where it has just risen: at its own values.
    above = stretches.above(n, m, best)
    at = _members(stretches.starts[above], stretches.ends[above])
    best = max(best, float(((at + 1) / n - second.searchsorted(first[at], side="right") / m).max(initial=0.0)))
    below = stretches.below(n, m, best)
    at = _members(stretches.other_starts[below], stretches.other_ends[below])
    return max(best, float(((at + 1) / m - first.searchsorted(second[at], side="right") / n).max(initial=0.0)))


STRETCHES = 1_024
PARTS = 4
LOOKED_UP = 64


@dataclass(frozen=True, slots=True)
class _Stretches:
    """The places of the values between neighbouring points, from a start up to its end, in both samples."""

    starts: Places
    ends: Places
    other_starts: Places
    other_ends: Places

    def above(self, n: int, m: int, best: float) -> npt.NDArray[np.bool_]:
        """Where the first function could lie further above the second than `best`."""
        return np.asarray(self.ends / n - self.other_starts / m > best)

    def below(self, n: int, m: int, best: float) -> npt.NDArray[np.bool_]:
        """Where the second function could lie further above the first than `best`."""
        return np.asarray(self.other_ends / m - self.starts / n > best)

    def where(self, kept: npt.NDArray[np.bool_]) -> _Stretches:
        return _Stretches(self.starts[kept], self.ends[kept], self.other_starts[kept], self.other_ends[kept])

    def split(self, first: Floats, second: Floats) -> tuple[_Stretches, Places, Places]:
        """These stretches cut at some values of both samples, and the places of the cuts."""
        share = np.arange(1, PARTS) / PARTS
        cuts = []
        for values, starts, ends in ((first, self.starts, self.ends), (second, self.other_starts, self.other_ends)):
            places = starts[:, None] + ((ends - starts)[:, None] * share).astype(np.intp)
            cuts.append(values[np.minimum(places, len(values) - 1)])
        points = np.sort(np.concatenate(cuts, axis=1), axis=1)
        # A stretch that is empty on one side gives a value from beyond it, which counts as the end it lies behind.
        at = first.searchsorted(points, side="right").clip(self.starts[:, None], self.ends[:, None])
        other_at = second.searchsorted(points, side="right").clip(self.other_starts[:, None], self.other_ends[:, None])
        parts = _Stretches(
            np.hstack((self.starts[:, None], at)).ravel(), np.hstack((at, self.ends[:, None])).ravel(),
            np.hstack((self.other_starts[:, None], other_at)).ravel(),
            np.hstack((other_at, self.other_ends[:, None])).ravel(),
        )  # fmt: skip
        return parts, at, other_at


def _members(starts: Places, ends: Places) -> Places:
    """All places from each start up to its end."""
    sizes = ends - starts
    before = np.cumsum(sizes) - sizes
    return np.asarray(np.arange(sizes.sum()) + np.repeat(starts - before, sizes), dtype=np.intp)


def joint_counts_of_sorted(first: Floats, second: Floats, *, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The counts of two samples in ascending order in equal bins over their joint range, one row a sample.

    Where the range is no more than one value, all counts are in the first bin.

    >>> joint_counts_of_sorted(np.zeros(4), np.ones(9), bins=3).tolist()
    [[4, 0, 0], [0, 0, 9]]
    """
    low, high = min(first[0], second[0]), max(first[-1], second[-1])
    counts = np.zeros((2, bins + 1), dtype=np.int64)
    with np.errstate(over="ignore"):
        width = high - low
    if not 0 < width < np.inf:
        counts[:, 1] = len(first), len(second)
        return counts[:, 1:]
    inner = low + width / bins * np.arange(1, bins)
    for row, values in enumerate((first, second)):
        counts[row, 1:-1], counts[row, -1] = values.searchsorted(inner), len(values)
    return counts[:, 1:] - counts[:, :-1]
