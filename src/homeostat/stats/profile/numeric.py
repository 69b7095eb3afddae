"""The summary of one numeric or boolean feature: counts between fixed edges, extremes, and power sums.

Sums are of the distance to an origin near the middle of the reference, which all summaries with these edges share. So
they add up like counts, and stay exact to rounding however far the values lie from 0: the error of a sum of squares is
relative to itself, whatever the order and grouping (Chan, Golub and LeVeque 1983 on why the shift matters).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# From here on sorting is cheaper than searching each value's bin.
SORTED_ROWS = 4_096
PIECE = 131_072


@dataclass(frozen=True, slots=True, eq=False)
class NumericSummary:
    """Counts of one numeric feature between fixed edges, and its moments.

    Bin `i` holds the values in `(edges[i-1], edges[i]]`; the first and the last are open. The lowest edge lies just
    below the reference's minimum and the highest is its maximum, so the outer bins count what lies outside the
    reference's range. Missing (NaN) and infinite values are counted apart and are in no bin and no moment.
    `total` and `squares` are the sums of the distances to `origin` and of their squares.
    """

    edges: Floats
    counts: Counts
    missing: int
    infinite: int
    minimum: float
    maximum: float
    count: int
    total: float
    squares: float

    @property
    def rows(self) -> int:
        """All rows: binned, missing and infinite."""
        return self.count + self.missing + self.infinite

    @property
    def origin(self) -> float:
        """What the sums are relative to: the reference's median, or 0 where it had no values."""
        return origin_of(self.edges)

    @property
    def mean(self) -> float:
        """The mean of the finite values; NaN where there are none."""
        return self.origin + self.total / self.count if self.count else math.nan

    @property
    def deviation(self) -> float:
        """The sample's standard deviation; NaN below two values."""
        if self.count < 2:
            return math.nan
        return math.sqrt(max(0.0, self.squares - self.total * (self.total / self.count)) / (self.count - 1))

    def same_cells(self, other: NumericSummary) -> bool:
        """Whether the counts of both are of the same bins."""
        return self.edges is other.edges or np.array_equal(self.edges, other.edges)

    def empty(self) -> NumericSummary:
        """The summary of no rows with these edges."""
        return NumericSummary(self.edges, np.zeros_like(self.counts), 0, 0, math.nan, math.nan, 0, 0.0, 0.0)

    def __add__(self, other: NumericSummary) -> NumericSummary:
        if not self.same_cells(other):
            raise InvalidInput(DIFFERENT)
        return NumericSummary(
            self.edges,
            self.counts + other.counts,
            self.missing + other.missing,
            self.infinite + other.infinite,
            _least(self.minimum, other.minimum),
            -_least(-self.maximum, -other.maximum),
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
        )


DIFFERENT = (
    "These profiles have different edges or categories, so their counts don't add up or compare. "
    "Make the second with Profile.of(columns, like=first)."
)


def origin_of(edges: Floats) -> float:
    """The middle edge, where values lie that are neither extreme nor missing."""
    return float(edges[len(edges) // 2]) if len(edges) else 0.0


def first_numeric(values: Floats, bins: int) -> tuple[NumericSummary, Floats]:
    """The summary of a reference's values, with edges at its quantiles, and its finite values in order."""
    ordered, missing, infinite = _ordered(values)
    edges = _edges(ordered, bins)
    return _of_ordered(ordered, edges, missing, infinite), ordered


def numeric_like(values: Floats, edges: Floats) -> tuple[NumericSummary, Floats | None]:
    """The summary of values between given edges; and where they had to be sorted, the finite ones in order."""
    if len(values) >= SORTED_ROWS:
        ordered, missing, infinite = _ordered(values)
        return _of_ordered(ordered, edges, missing, infinite), ordered
    finite = np.isfinite(values)
    count = int(np.count_nonzero(finite))
    missing = infinite = 0
    if count < len(values):
        missing = int(np.count_nonzero(np.isnan(values)))
        infinite = len(values) - count - missing
        values = values[finite]
    counts = np.bincount(edges.searchsorted(values), minlength=len(edges) + 1)
    if not count:
        return _of_counts(edges, counts, missing, infinite), None
    total, squares = _sums(values, origin_of(edges))
    low, high = float(values.min()), float(values.max())
    return NumericSummary(edges, counts, missing, infinite, low, high, count, total, squares), None


def in_order(values: Floats) -> Floats:
    """The finite values in ascending order."""
    return _ordered(values)[0]


def _ordered(values: Floats) -> tuple[Floats, int, int]:
    """The finite values in order, how many are missing and how many are infinite."""
    ordered = np.sort(values)
    rows = len(ordered)
    # Sorting puts infinities at the ends and NaN behind them.
    present = rows
    if rows and math.isnan(ordered[-1]):
        present = int(ordered.searchsorted(math.nan))
    low, high = 0, present
    if present and not (math.isfinite(ordered[0]) and math.isfinite(ordered[present - 1])):
        low = int(ordered[:present].searchsorted(-math.inf, side="right"))
        high = int(ordered[:present].searchsorted(math.inf))
    return ordered[low:high], rows - present, present - (high - low)


def _edges(ordered: Floats, bins: int) -> Floats:
    """Edges at the quantiles, or at every value where there are no more values than bins; none for no values."""
    if not len(ordered):
        return np.empty(0)
    ranks = -(-np.arange(1, bins + 1) * len(ordered) // bins) - 1
    inner = np.unique(ordered[ranks])
    if len(inner) < bins:
        # Values tie; where there are no more of them than bins each gets its own.
        distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
        if len(distinct) <= bins:
            inner = distinct
    return np.concatenate(([np.nextafter(ordered[0], -np.inf)], inner))


def _of_ordered(ordered: Floats, edges: Floats, missing: int, infinite: int) -> NumericSummary:
    count = len(ordered)
    counts = np.empty(len(edges) + 1, dtype=np.int64)
    counts[:-1], counts[-1] = ordered.searchsorted(edges, side="right"), count
    counts[1:] -= counts[:-1].copy()
    if not count:
        return _of_counts(edges, counts, missing, infinite)
    total, squares = _sums(ordered, origin_of(edges))
    low, high = float(ordered[0]), float(ordered[-1])
    return NumericSummary(edges, counts, missing, infinite, low, high, count, total, squares)


def _of_counts(edges: Floats, counts: Counts, missing: int, infinite: int) -> NumericSummary:
    return NumericSummary(edges, counts, missing, infinite, math.nan, math.nan, 0, 0.0, 0.0)


def _sums(values: Floats, origin: float) -> tuple[float, float]:
    # Values near the end of the range of floats overflow the sums; the counts are right all the same.
    # Taken in pieces: few, since threads wait for each other between them, and no copy of the whole column.
    total = squares = 0.0
    room = np.empty(min(PIECE, len(values)))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(values), PIECE):
            piece = values[start : start + PIECE]
            distances = np.subtract(piece, origin, out=room[: len(piece)])
            total += float(distances.sum())
            # Not by a dot product, which would start threads of its own.
            squares += float(np.multiply(distances, distances, out=distances).sum())
    return total, squares


def _least(one: float, two: float) -> float:
    """The smaller of two numbers, of which NaN is neither."""
    if math.isnan(one):
        return two
    return one if math.isnan(two) else min(one, two)
