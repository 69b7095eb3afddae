"""Densities from profiles, in equal steps over the range that matters, of a reference and of current data.

Profiles keep counts between the reference's quantiles, which are of very different widths. The cumulative shares from
them, straight between two edges, are read here at equal steps: so the height of a step is a share of the values, a
single frequent value is a step as wide as any other, and nothing is invented but the evenness within a bin. Where one
bin holds much, as the open one beyond the reference's range may, the kept sample of rows tells how values lie in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.stats.profile import NumericSummary

Floats = npt.NDArray[np.float64]
Pair = tuple[float, float]
Samples = tuple[Floats | None, Floats | None]

# Steps of a density after Freedman and Diaconis, within these bounds: few rows in many steps would be all noise.
STEPS = (12, 60)
# Shares that are left out at each end where tails would flatten the picture, and how wide it may then be in
# interquartile ranges (a normal distribution's central 99 % are 3.8 of them).
TAILS = (0.005, 0.025, 0.05)
WIDEST = 25.0
# A lone step this many times as high as the next is cut off, so that it does not flatten the others.
SPIKE = 6.0
# A bin with this share of the values is drawn as the sample has it, where that holds so many of them.
MUCH = 0.02
FEW_SAMPLED = 20


@dataclass(frozen=True, slots=True)
class SteppedDensities:
    """Shares of each side's values (a row a side) between the places of `grid`.

    `outside` are the shares that lie beyond the grid, `cap` is the height to draw up to, `spikes` are the steps
    that are higher and `peaks` the most frequent values in them. On a logarithmic scale the grid's steps are equal in
    their ratios.
    """

    grid: Floats
    shares: Floats
    outside: Pair
    cap: float
    spikes: tuple[int, ...]
    peaks: tuple[float, ...]
    is_log: bool


def stepped_densities(
    sides: tuple[NumericSummary, NumericSummary], samples: Samples = (None, None)
) -> SteppedDensities | None:
    """Both sides' densities over one grid; `None` where the values lie further apart than floats can tell.

    Args:
        sides: the reference's summary, which must have values, and the current one of the same bins.
        samples: some values of each, or `None`: they tell how values lie beyond the reference's range.

    >>> summary = NumericSummary(np.array([-1.0, 4.0, 9.0]), np.array([0, 5, 5, 0]), 0, 0, 0.0, 9.0, 10, 5.0, 85.0)
    >>> found = stepped_densities((summary, summary))
    >>> len(found.grid), bool(np.allclose(found.shares.sum(axis=1), 1)), found.spikes
    (13, True, ())
    """
    with np.errstate(over="ignore", invalid="ignore"):
        curves = [_curve(side, sample) if side.count else None for side, sample in zip(sides, samples, strict=True)]
        known = [curve for curve in curves if curve is not None]
        full = (min(float(curve.places[0]) for curve in known), max(float(curve.places[-1]) for curve in known))
        low, high, is_log = _range(known, full)
        if not math.isfinite(high - low):
            return None
        if is_log:
            # Values are even within a bin on the scale that is drawn: else the last bins would rise towards their ends.
            low, high = math.log(low), math.log(high)
            curves = [None if curve is None else _Curve(np.log(curve.places), curve.shares) for curve in curves]
            known = [curve for curve in curves if curve is not None]
        steps = _step_count(low, high, known, min(side.count for side in sides if side.count))
        grid = np.linspace(low, high, steps + 1)
        shares = np.array([np.diff(curve.at(grid)) if curve else np.zeros(steps) for curve in curves])
        outside = [1 - float(np.ptp(curve.at(grid[[0, -1]]))) if curve else 0.0 for curve in curves]
    cap, spikes = _cap(shares.max(axis=0))
    peaks = [_peak(known[0], float(grid[step]), float(grid[step + 1])) for step in spikes]
    if is_log:
        grid, peaks = np.exp(grid), [math.exp(peak) for peak in peaks]
    return SteppedDensities(grid, shares, (outside[0], outside[1]), cap, spikes, tuple(peaks), is_log)


@dataclass(frozen=True, slots=True)
class _Curve:
    """Cumulative shares at places in ascending order, straight between them."""

    places: Floats
    shares: Floats

    def at(self, x: Floats) -> Floats:
        """The shares up to these values."""
        after = np.clip(self.places.searchsorted(x, side="right"), 1, len(self.places) - 1)
        before = after - 1
        width = self.places[after] - self.places[before]
        passed = np.clip(x - self.places[before], 0.0, width)
        part = np.divide(passed, width, out=np.ones_like(passed), where=width > 0)
        found = self.shares[before] + part * (self.shares[after] - self.shares[before])
        return np.where(x < self.places[0], 0.0, np.where(x >= self.places[-1], self.shares[-1], found))

    def quantile(self, share: float) -> float:
        """The value up to which that share lies."""
        return float(np.interp(share, self.shares, self.places))


def _step_count(low: float, high: float, curves: list[_Curve], count: int) -> int:
    """How many steps show the narrower side's form without the smaller one's noise (Freedman and Diaconis 1981)."""
    middles = [curve.quantile(0.75) - curve.quantile(0.25) for curve in curves]
    width = 2 * min((middle for middle in middles if middle > 0), default=0.0) / count ** (1 / 3)
    # A width that is next to none would overflow the division.
    return int(np.clip((high - low) / max(width, (high - low) / STEPS[1]), *STEPS))


def _peak(curve: _Curve, low: float, high: float) -> float:
    """Where between two places most values lie: a bin ends at its frequent value."""
    risen = np.diff(curve.shares, prepend=0.0)
    within = (curve.places > low) & (curve.places <= high)
    return float(curve.places[np.where(within, risen, -1.0).argmax()]) if within.any() else (low + high) / 2


def _curve(summary: NumericSummary, sample: Floats | None) -> _Curve:
    """The cumulative shares at the bins' edges, and within bins that hold much, as the sample has it."""
    risen = np.cumsum(summary.counts) / summary.count
    first, last = float(summary.edges[0]), float(summary.edges[-1])
    low, high = min(summary.minimum, first), max(summary.maximum, last)
    places, shares = [summary.edges], [risen[:-1]]
    if summary.counts[0]:
        places.append(np.array((low, min(first, summary.maximum))))
        shares.append(np.array((0.0, risen[0])))
    if summary.counts[-1]:
        places.append(np.array((max(last, summary.minimum), high)))
        shares.append(np.array((risen[-2], 1.0)))
    values = np.empty(0) if sample is None else np.sort(sample[(sample >= low) & (sample <= high)])
    ends = np.r_[0, values.searchsorted(summary.edges, side="right"), len(values)]
    for place in np.flatnonzero((summary.counts >= MUCH * summary.count) & (np.diff(ends) >= FEW_SAMPLED)):
        # Spread between a value and the one before it, as in bins: whole numbers would else make a comb of the steps.
        inner, counts = np.unique(values[ends[place] : ends[place + 1]], return_counts=True)
        kept = np.unique(np.linspace(0, len(inner) - 1, 40).astype(np.intp))
        before = risen[place] - summary.counts[place] / summary.count
        places.append(inner[kept])
        shares.append(before + (risen[place] - before) * (np.cumsum(counts) / (counts.sum() + 1))[kept])
    joined_places, joined_shares = np.concatenate(places), np.concatenate(shares)
    order = np.lexsort((joined_shares, joined_places))
    return _Curve(joined_places[order], joined_shares[order])


def _range(curves: list[_Curve], full: Pair) -> tuple[float, float, bool]:
    """From where to where to draw, and whether on a logarithmic scale."""
    spans, middles = [], []
    for curve in curves:
        middle = curve.quantile(0.75) - curve.quantile(0.25)
        span = (full[0], full[1])
        for tail in TAILS:
            span = (curve.quantile(tail), curve.quantile(1 - tail))
            if middle <= 0 or span[1] - span[0] <= WIDEST * middle:
                break
        spans.append(span)
        middles.append(middle)
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    ends = (min(curve.quantile(TAILS[0]) for curve in curves), max(curve.quantile(1 - TAILS[0]) for curve in curves))
    skewed = any(
        curve.quantile(1 - TAILS[0]) - curve.quantile(TAILS[0]) > 8 * middle > 0
        for curve, middle in zip(curves, middles, strict=True)
    )
    if full[0] > 0 and ends[0] > 0 and ends[1] / ends[0] > 100 and skewed:
        if math.log(full[1] / full[0]) <= 1.3 * math.log(ends[1] / ends[0]):
            ends = full
        room = (ends[1] / ends[0]) ** 0.01
        return ends[0] / room, ends[1] * room, True
    if full[1] - full[0] <= 1.3 * (high - low):
        low, high = full
    # A frequent value at the very end is drawn whole only if the picture begins before it.
    room = (high - low) * 0.01 or abs(high) * 0.05 or 0.5
    return low - room, high + room, False


def _cap(tops: Floats) -> tuple[float, tuple[int, ...]]:
    """How high to draw, and the steps that are cut off."""
    order = np.argsort(-tops, kind="stable")
    for few in range(1, min(4, len(tops))):
        rest = float(tops[order[few]])
        if rest > 0 and tops[order[few - 1]] > SPIKE * rest:
            return 1.5 * rest, tuple(int(step) for step in order[:few])
    return float(tops[order[0]]) or 1.0, ()
