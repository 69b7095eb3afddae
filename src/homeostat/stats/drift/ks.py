"""The two-sample test of Kolmogorov (1933) and Smirnov (1939): the largest gap between two distribution functions.

It assumes independent rows and is exact for continuous values; ties make it conservative. It sees shifts best, changes
of scale less well, and says nothing about categories.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.chi_square import check_counts
from homeostat.stats.drift.psi import shares
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, ranked_samples, shown

Floats = npt.NDArray[np.float64]

# Beyond this the exact p-value takes tens of milliseconds, and the asymptotic one is as good.
EXACT_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class KsResult:
    """The distance D between two distribution functions, from 0 to 1, and its two-sided p-value."""

    statistic: float
    p: float


def ks(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> KsResult:
    """The two-sample test from the values themselves; NaN is left out, infinite values count.

    The p-value is exact where both samples have at most 1,000 values and it can be computed, else asymptotic.

    Raises:
        InvalidInput: a sample holds no value.

    >>> ks(np.arange(10.0), np.arange(10.0) + 5).statistic
    0.5
    """
    first, second = ranked_samples(reference, current)
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        # For close samples of one size it warns that it falls back to the asymptotic p-value; both are near 1 there.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ks_2samp(first, second, method="exact" if max(len(first), len(second)) <= EXACT_ROWS else "asymp")
    return KsResult(float(result.statistic), float(result.pvalue))


def ks_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The test of values with its interval, and what D comes to without drift.

    The interval joins the bounds of Dvoretzky, Kiefer and Wolfowitz (Massart's constant, 1990) of both samples, so it
    holds at every size, ties or not. `expected` and `threshold` are those of the limit for continuous values.

    Raises:
        InvalidInput: a sample holds no value, or the confidence or level is out of range.

    >>> result = ks_test(np.arange(100.0), np.arange(100.0) + 50)
    >>> result.estimate, [round(end, 2) for end in result.interval]
    (0.5, [0.2, 0.8])
    """
    from scipy.special import kolmogi

    check_confidence(confidence, level)
    first, second = ranked_samples(reference, current)
    result = ks(first, second)
    n, m = len(first), len(second)
    half = math.sqrt(math.log(4 / (1 - confidence)) / 2) * (n**-0.5 + m**-0.5)
    interval = (max(0.0, result.statistic - half), min(1.0, result.statistic + half))
    root = math.sqrt(1 / n + 1 / m)
    # The mean of Kolmogorov's distribution is √(π/2) ln 2.
    expected = min(1.0, math.sqrt(math.pi / 2) * math.log(2) * root)
    sentence = (
        f"The distribution functions lie {result.statistic:.3g} apart at most ({confidence:.0%} interval "
        f"{interval[0]:.3g} to {interval[1]:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows "
        f"({shown(result.p)})."
    )
    threshold = min(1.0, float(kolmogi(level)) * root)
    return TwoSampleResult(
        result.statistic, interval, result.statistic, result.p, n, m, sentence, expected, threshold, level
    )


def ks_from_counts(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> KsResult:
    """The test from counts in the same bins: D is the largest gap at an edge, a lower bound of the true one.

    Its p-value is therefore conservative. With edges at every distinct value, as for few of them, D is exact.

    Raises:
        InvalidInput: the counts differ in length or are all zero.

    >>> ks_from_counts(np.array([10, 0]), np.array([5, 5])).statistic
    0.5
    """
    check_counts(reference, current)
    statistic = float(largest_gap(*shares(reference, current)))
    return KsResult(statistic, float(kolmogorov_p(statistic, int(reference.sum()), int(current.sum()))))


def largest_gap(before: Floats, after: Floats) -> Floats:
    """The largest gap between the cumulative sums of shares along the last axis."""
    # Where no bin follows, both sums are 1 but for rounding, which may not pass for a gap.
    gaps = np.abs(np.cumsum(before - after, axis=-1))
    largest = gaps.max(axis=-1)
    return np.where(largest > 1e-12, largest, 0.0)


def kolmogorov_p(statistic: Any, n: Any, m: Any) -> Floats:
    """Asymptotic two-sided p-values of distances D between samples of `n` and `m` rows; arrays or numbers."""
    from scipy.special import kolmogorov

    return np.asarray(kolmogorov(np.sqrt(n * m / (n + m)) * statistic), dtype=np.float64)
