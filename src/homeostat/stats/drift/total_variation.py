"""The total variation distance of two sets of shares: ½ Σ |p − q|, the share of rows that changed their cell.

A metric from 0 to 1, and the plainest of all distances: no event is more than so much likelier in one sample than in
the other. Noise adds to it in every cell, so over many cells it is far from 0 without drift: `expected` says how far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift import nulls
from homeostat.stats.drift.results import (
    CONFIDENCE,
    Floats,
    TwoSampleResult,
    check_confidence,
    counted_samples,
    joint_counts,
    shown,
)

BINS = 20
# Beyond this a matrix of all pairs of cells would take too much memory.
MATRIX_CELLS = 1_000


def total_variation(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The distance of two rows of counts over the same cells.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts.

    >>> round(total_variation(np.array([8, 2]), np.array([5, 5])), 3)
    0.3
    """
    before, after = counted_samples(reference, current)
    return min(1.0, float(np.abs(before / before.sum() - after / after.sum()).sum()) / 2)


def total_variation_of_values(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """The distance of two samples in equal bins over their joint range; values that are not finite are left out.

    Raises:
        InvalidInput: a sample holds no finite number, or there is no bin.

    >>> total_variation_of_values(np.zeros(4), np.ones(3))
    1.0
    """
    return total_variation(*joint_counts(reference, current, bins=bins))


def total_variation_expected(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """What the distance comes to on average where nothing drifted, given how many rows both have in each cell.

    Exact where counts are small, for each cell is hypergeometric then; normal to one in a thousand where they are not.

    >>> round(total_variation_expected(np.array([1000, 1000]), np.array([50, 50])), 3)
    0.041
    """
    before, after = counted_samples(reference, current)
    n, m = int(before.sum()), int(after.sum())
    pooled: Floats = (before + after) / (n + m)
    return float(nulls.null_mean_gap(pooled, n, m).sum()) / 2


def total_variation_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The distance of counts with what noise makes of it, and the p-value that nothing drifted.

    The null mean is exact; the p-value and the threshold take the null distribution as Nakagami's with the variance of
    the limiting one. The interval follows from the triangle inequality and is conservative, the more the more cells.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; confidence or level is out of range.

    >>> result = total_variation_test(np.array([800, 200]), np.array([600, 400]))
    >>> round(result.estimate, 3), [round(end, 2) for end in result.interval], result.p < 1e-12
    (0.2, [0.16, 0.24], True)
    """
    check_confidence(confidence, level)
    before, after = counted_samples(reference, current)
    n, m = int(before.sum()), int(after.sum())
    used = before + after > 0
    first, second = before[used] / n, after[used] / m
    estimate = min(1.0, float(np.abs(first - second).sum()) / 2)
    expected = total_variation_expected(before, after)
    pooled = (before + after)[used] / (n + m)
    share = (n + m) / (n * m) * (n + m) / max(1, n + m - 1)
    mean, variance = _moments((pooled, share))
    variance *= (expected / mean) ** 2 if mean > 0 else 1.0
    p = nulls.absolute_tail(estimate, expected, variance) if expected > 0 else 1.0
    noise = _moments((first, 1 / n), (second, 1 / m))
    half = nulls.absolute_quantile(1 - confidence, *noise)
    interval = (max(0.0, estimate - half), min(1.0, estimate + half))
    sentence = (
        f"{estimate:.1%} of the rows changed their cell ({confidence:.0%} interval {interval[0]:.1%} to "
        f"{interval[1]:.1%}); {expected:.1%} is usual without drift at {n} and {m} rows ({shown(p)})."
    )
    threshold = min(1.0, nulls.absolute_quantile(level, expected, variance))
    return TwoSampleResult(estimate, interval, estimate, p, n, m, sentence, expected, threshold, level)


def _moments(*parts: tuple[Floats, float]) -> tuple[float, float]:
    """Mean and variance of half the sum of the absolute gaps, for shares each with the variance of one row's cell."""
    cells = len(parts[0][0])
    if cells <= MATRIX_CELLS:
        covariance = sum(((np.diag(shares) - np.outer(shares, shares)) * scale for shares, scale in parts), np.zeros(1))
        return nulls.absolute_moments(np.full(cells, 0.5), covariance)
    # So many cells hardly hang together: what their covariance adds is one part in as many as there are.
    variance = sum((shares * (1 - shares) * scale for shares, scale in parts), np.zeros(1))
    mean = float(np.sqrt(2 / np.pi * variance).sum()) / 2
    return mean, float(variance.sum()) * (1 - 2 / np.pi) / 4
