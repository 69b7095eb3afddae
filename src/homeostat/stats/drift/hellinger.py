"""The Hellinger distance (1909) of two sets of shares: √(½ Σ (√p − √q)²), from 0 to 1.

A metric: 0 for equal shares, 1 for shares that never overlap. Its square is about an eighth of the chi-square distance
where shares are close, so that without drift 8 nm/(n + m) times the square is about χ² with B − 1 degrees of freedom.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.chi_square import pool_rare
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


def hellinger(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The distance of two rows of counts over the same cells.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts.

    >>> hellinger(np.array([4, 0]), np.array([0, 9]))
    1.0
    """
    before, after = counted_samples(reference, current)
    return float(hellinger_of_rows(before / before.sum(), after / after.sum()))


def hellinger_of_rows(before: Floats, after: Floats) -> Floats:
    """The distance of shares along the last axis."""
    gap = np.sqrt(before) - np.sqrt(after)
    return np.asarray(np.sqrt(np.minimum(1.0, (gap * gap).sum(axis=-1) / 2)))


def hellinger_of_values(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """The distance of two samples in equal bins over their joint range; values that are not finite are left out.

    Raises:
        InvalidInput: a sample holds no finite number, or there is no bin.

    >>> hellinger_of_values(np.zeros(4), np.ones(3))
    1.0
    """
    return hellinger(*joint_counts(reference, current, bins=bins))


def hellinger_expected(cells: int, n: int, m: int) -> float:
    """The root mean square of the distance where nothing drifted, for cells of 5 or more expected rows each.

    >>> round(hellinger_expected(10, 2000, 100), 3)
    0.109
    """
    return math.sqrt(max(0, cells - 1) * (1 / n + 1 / m) / 8)


def hellinger_threshold(cells: int, n: int, m: int, *, level: float = 0.05) -> float:
    """The distance that is passed with probability `level` where nothing drifted.

    >>> round(hellinger_threshold(10, 2000, 100), 3)
    0.149
    """
    from scipy.special import chdtri

    return math.sqrt(float(chdtri(cells - 1, level)) * (1 / n + 1 / m) / 8) if cells > 1 else 0.0


def hellinger_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The distance of counts with what noise makes of it, and the p-value that nothing drifted.

    Cells of fewer than 5 expected rows on a side are pooled first, for estimate and p-value alike: only then does the
    χ² distribution hold. The interval is conservative; it takes the noise at its largest over all shares.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; confidence or level is out of range.

    >>> result = hellinger_test(np.array([400, 600]), np.array([100, 100]))
    >>> round(result.estimate, 3), result.interval[0] > 0, round(result.p, 3)
    (0.071, True, 0.009)
    """
    from scipy.special import chdtrc, chdtri

    check_confidence(confidence, level)
    counts = counted_samples(reference, current)
    n, m = int(counts[0].sum()), int(counts[1].sum())
    before, after = pool_rare(*counts)
    used = int(np.count_nonzero(before + after))
    estimate = float(hellinger_of_rows(before / n, after / m))
    inverse = 1 / n + 1 / m
    statistic = 8 * estimate**2 / inverse
    p = float(chdtrc(used - 1, statistic)) if used > 1 else 1.0
    half = math.sqrt(float(chdtri(used - 1, 1 - confidence)) * inverse / 8) if used > 1 else 0.0
    interval = (max(0.0, estimate - half), min(1.0, estimate + half))
    expected = hellinger_expected(used, n, m)
    sentence = (
        f"The Hellinger distance of the shares is {estimate:.3g} ({confidence:.0%} interval {interval[0]:.3g} to "
        f"{interval[1]:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows ({shown(p)})."
    )
    threshold = hellinger_threshold(used, n, m, level=level)
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected, threshold, level)
