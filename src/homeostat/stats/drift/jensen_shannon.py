"""The Jensen–Shannon divergence (Lin 1991), in bits: 0 for equal shares, 1 for shares that never overlap.

Everything here is the divergence. The distance, which is a metric and which scipy's function of that name returns, is
its square root: a divergence of .1 is a distance of .32. A threshold for the one means nothing for the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.chi_square import pool_rare
from homeostat.stats.drift.psi import shares
from homeostat.stats.drift.results import (
    CONFIDENCE,
    TwoSampleResult,
    check_confidence,
    counted_samples,
    joint_counts,
    shown,
)

Floats = npt.NDArray[np.float64]

BINS = 50


def jensen_shannon(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The divergence, in bits, of two rows of counts over the same bins.

    Raises:
        InvalidInput: the counts differ in length or are all zero.

    >>> jensen_shannon(np.array([4, 0]), np.array([0, 9]))
    1.0
    """
    return float(jensen_shannon_of_rows(*shares(reference, current)))


def jensen_shannon_of_rows(before: Floats, after: Floats) -> Floats:
    """The divergence of shares along the last axis; bins empty on both sides add nothing."""
    middle = (before + after) / 2
    # Where a share is 0 its term is too; any positive number in its place keeps the logarithm finite.
    middle = np.where(middle > 0, middle, 1.0)
    bits = before * np.log2(np.where(before > 0, before, middle) / middle)
    bits += after * np.log2(np.where(after > 0, after, middle) / middle)
    return np.asarray(np.clip(bits.sum(axis=-1) / 2, 0.0, 1.0))


def jensen_shannon_of_values(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, bins: int = BINS) -> float:
    """The divergence of two samples in equal bins over their joint range; values that are not finite are left out.

    Raises:
        InvalidInput: a sample has no finite value.
    """
    return jensen_shannon(*joint_counts(reference, current, bins=bins))


def jensen_shannon_expected(bins: int, n: int, m: int) -> float:
    """What the divergence comes to on average where nothing drifted: about (B − 1)(1/N + 1/M) / (8 ln 2) bits.

    To second order it is an eighth of the chi-square distance, as the stability index is the whole of it. It is an
    upper estimate where bins hold few rows.
    """
    return max(0, bins - 1) * (1 / n + 1 / m) / (8 * math.log(2))


def jensen_shannon_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The divergence of counts with what noise makes of it, and the p-value that nothing drifted.

    Cells of fewer than 5 expected rows on a side are pooled first. Without drift 8 ln 2 · nm/(n + m) times the
    divergence, the `statistic`, is about χ² with B − 1 degrees of freedom. The interval follows from the triangle
    inequality of its root and is conservative.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; confidence or level is out of range.

    >>> result = jensen_shannon_test(np.array([500, 500]), np.array([60, 140]))
    >>> round(result.estimate, 3), round(result.expected, 4), result.p < 1e-6
    (0.03, 0.0011, True)
    """
    from scipy.special import chdtrc, chdtri

    check_confidence(confidence, level)
    before, after = pool_rare(*counted_samples(reference, current))
    n, m = int(before.sum()), int(after.sum())
    used = int(np.count_nonzero(before + after))
    estimate = jensen_shannon(before, after)
    factor = 8 * math.log(2)
    inverse = 1 / n + 1 / m
    p = float(chdtrc(used - 1, estimate * factor / inverse)) if used > 1 else 1.0
    # Each sample lies within its own noise of what it was drawn from.
    each = math.sqrt(float(chdtri(used - 1, (1 - confidence) / 2)) / factor) if used > 1 else 0.0
    half = each * (n**-0.5 + m**-0.5)
    root = math.sqrt(estimate)
    interval = (max(0.0, root - half) ** 2, min(1.0, root + half) ** 2)
    expected = jensen_shannon_expected(used, n, m)
    sentence = (
        f"The Jensen–Shannon divergence is {estimate:.3g} bits ({confidence:.0%} interval {interval[0]:.3g} to "
        f"{interval[1]:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows ({shown(p)})."
    )
    threshold = float(chdtri(used - 1, level)) * inverse / factor if used > 1 else 0.0
    return TwoSampleResult(
        estimate, interval, estimate * factor / inverse, p, n, m, sentence, expected, min(1.0, threshold), level
    )
