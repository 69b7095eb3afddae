"""Pearson's two-sample chi-square test (1900): were two rows of counts drawn from the same shares?

Both rows count as samples. Testing the current one against the reference's shares as if they were exact (the
one-sample test) alarms far too often: at 800 rows each and 6 categories in 40 % of cases where 5 % is meant.
Missing values are no category here; they are compared on their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]

EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class ChiSquareResult:
    """The statistic, its degrees of freedom and its p-value."""

    statistic: float
    degrees: int
    p: float


def chi_square(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> ChiSquareResult:
    """The test of two rows of counts over the same categories; categories empty in both are left out.

    Raises:
        InvalidInput: the counts differ in length or are all zero.

    >>> result = chi_square(np.array([130, 370]), np.array([240, 260]))
    >>> round(result.statistic, 3), result.degrees
    (51.909, 1)
    """
    from scipy.special import chdtrc

    check_counts(reference, current)
    statistic, degrees = statistic_of_rows(reference, current)
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    return ChiSquareResult(float(statistic), int(degrees), p)


def statistic_of_rows(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """The statistics and degrees of freedom of counts along the last axis."""
    n, m = reference.sum(axis=-1), current.sum(axis=-1)
    both = reference + current
    gaps = reference / n[..., None] - current / m[..., None]
    parts = gaps * gaps / np.where(both > 0, both, 1)
    degrees = np.asarray(np.count_nonzero(both, axis=-1)) - 1
    return np.asarray(parts.sum(axis=-1) * (n.astype(np.float64) * m)), degrees


def pool_rare(
    reference: npt.NDArray[Any],
    current: npt.NDArray[Any],
    *,
    expected: float = EXPECTED,
    by: npt.NDArray[Any] | None = None,
    always: npt.NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """The counts (last axis) with all categories of fewer than `expected` expected rows on a side put into a last one.

    Where even that one is too small the next smallest joins it. What was pooled stays behind as an empty category. The
    choice looks at the sums of both sides only, so it does not bias a test of categories that were not chosen by their
    counts. It does bias one of bins between the reference's quantiles: their reference counts are fixed, so that sums
    tell the current ones. There the reference's counts must decide (`by`).

    Args:
        reference: counts of one side.
        current: counts of the other, over the same categories.
        expected: rows that a category must be expected to have on the smaller side.
        by: counts that decide what is rare; by default the sums of both sides.
        always: categories that are pooled however frequent, such as those that the reference was found to lack.

    >>> pool_rare(np.array([90, 4, 6]), np.array([90, 5, 2]))[0].tolist()
    [90.0, 0.0, 0.0, 10.0]
    """
    n, m = reference.sum(axis=-1, keepdims=True), current.sum(axis=-1, keepdims=True)
    deciding = reference + current if by is None else by
    least = deciding * (np.minimum(n, m) / deciding.sum(axis=-1, keepdims=True))
    rare = least < expected if always is None else (least < expected) | always
    pooled = np.where(rare, least, 0.0).sum(axis=-1, keepdims=True)
    common = np.where(rare, np.inf, least)
    smallest = np.arange(least.shape[-1]) == common.argmin(axis=-1, keepdims=True)
    rare = rare | (smallest & (pooled > 0) & (pooled < expected))
    return _pooled(reference, rare), _pooled(current, rare)


def _pooled(counts: npt.NDArray[Any], rare: npt.NDArray[np.bool_]) -> Floats:
    last = np.where(rare, counts, 0).sum(axis=-1, keepdims=True)
    return np.concatenate((np.where(rare, 0, counts), last), axis=-1).astype(np.float64)


def check_counts(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> None:
    """Raise `InvalidInput` unless these are two rows of counts that can be compared."""
    if len(reference) != len(current):
        raise InvalidInput(f"Counts must be of the same bins; got {len(reference)} and {len(current)}.")
    # NaN fails this too.
    if not (np.all(reference >= 0) and np.all(current >= 0)):
        raise InvalidInput("Counts must be numbers of at least 0.")
    if not reference.sum() or not current.sum():
        raise InvalidInput("A sample of no rows can't be compared.")
