"""The Jensen–Shannon divergence (Lin 1991), in bits: 0 for equal shares, 1 for shares that never overlap.

Everything here is the divergence. The distance, which is a metric and which scipy's function of that name returns, is
its square root: a divergence of .1 is a distance of .32. A threshold for the one means nothing for the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.psi import shares

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
    before = np.asarray(reference, dtype=np.float64)
    after = np.asarray(current, dtype=np.float64)
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if not len(before) or not len(after):
        raise InvalidInput("A sample without a finite value can't be compared.")
    low, high = min(before.min(), after.min()), max(before.max(), after.max())
    if low == high:
        return 0.0
    return jensen_shannon(
        np.histogram(before, bins=bins, range=(low, high))[0], np.histogram(after, bins=bins, range=(low, high))[0]
    )


def jensen_shannon_expected(bins: int, n: int, m: int) -> float:
    """What the divergence comes to on average where nothing drifted: about (B − 1)(1/N + 1/M) / (8 ln 2) bits.

    To second order it is an eighth of the chi-square distance, as the stability index is the whole of it. It is an
    upper estimate where bins hold few rows.
    """
    return max(0, bins - 1) * (1 / n + 1 / m) / (8 * math.log(2))
