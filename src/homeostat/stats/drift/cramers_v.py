"""Cramér's V (1946): how strongly the cell a row falls into depends on which sample it is from, from 0 to 1.

With two samples V is √(χ²/N), the size that belongs to the chi-square test. It is never 0 in a sample: without drift
V² is about (B − 1)/N. `cramers_v_corrected` takes that off (Bergsma, "A bias-correction for Cramér's V and Tschuprow's
T", Journal of the Korean Statistical Society 2013). V depends on how many rows each sample has, so compare values of V
only between comparisons of like sizes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from homeostat.stats.drift.chi_square import statistic_of_rows
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, counted_samples, shown

# Beyond this the root of a noncentral chi-square variable is normal with variance 1 for all that matters.
LARGE = 5_000.0


def cramers_v(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """V of two rows of counts over the same cells; 0 where all rows are in one cell.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts.

    >>> import numpy as np
    >>> round(cramers_v(np.array([200, 800]), np.array([400, 600])), 3)
    0.218
    """
    before, after = counted_samples(reference, current)
    statistic, _ = statistic_of_rows(before, after)
    return min(1.0, math.sqrt(float(statistic) / int(before.sum() + after.sum())))


def cramers_v_corrected(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """V less the bias that noise brings (Bergsma 2013), at least 0.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts.

    >>> import numpy as np
    >>> cramers_v_corrected(np.array([52, 48]), np.array([48, 52]))
    0.0
    """
    before, after = counted_samples(reference, current)
    statistic, degrees = statistic_of_rows(before, after)
    return bergsma(float(statistic), int(degrees), int(before.sum() + after.sum()))


def bergsma(statistic: float, degrees: int, rows: int) -> float:
    """The corrected V of two samples that belongs to a chi-square statistic over so many rows in all.

    >>> round(bergsma(94.288, 1, 2000), 3)
    0.216
    """
    if degrees < 1 or rows < 3:
        return 0.0
    squared = max(0.0, statistic / rows - degrees / (rows - 1))
    columns = degrees + 1 - degrees**2 / (rows - 1)
    samples = 2 - 1 / (rows - 1)
    smaller = min(columns, samples) - 1
    return min(1.0, math.sqrt(squared / smaller)) if smaller > 0 else 0.0


def noncentrality_interval(statistic: float, degrees: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the noncentrality of a χ² statistic: the values at which it is no surprise.

    >>> [round(end, 1) for end in noncentrality_interval(20.0, 4)]
    [4.1, 37.8]
    """
    tail = (1 - confidence) / 2
    return _noncentrality(statistic, degrees, 1 - tail), _noncentrality(statistic, degrees, tail)


def cramers_v_interval(
    statistic: float, degrees: int, rows: int, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The interval of V that belongs to a chi-square statistic, by inverting the noncentral distribution.

    The noncentrality over the rows is V² (Smithson, "Confidence Intervals", 2003). It is good for small and middling
    values; near 1 the statistic spreads less than that and the interval is conservative.

    >>> low, high = cramers_v_interval(93.2, 1, 2000)
    >>> round(low, 2), round(high, 2)
    (0.17, 0.26)
    """
    if degrees < 1 or rows < 1:
        return (0.0, 1.0)
    low, high = noncentrality_interval(statistic, degrees, confidence=confidence)
    return min(1.0, math.sqrt(low / rows)), min(1.0, math.sqrt(high / rows))


def _noncentrality(statistic: float, degrees: int, share: float) -> float:
    """The noncentrality at which the statistic is at this quantile; 0 where it is below it even without any."""
    from scipy.optimize import brentq
    from scipy.special import chdtr, chndtr, ndtri

    if float(chdtr(degrees, statistic)) <= share:
        return 0.0
    if statistic > LARGE:
        return max(0.0, (math.sqrt(statistic) - float(ndtri(share))) ** 2 - (degrees - 1))
    high = (math.sqrt(statistic) + 10) ** 2
    return float(brentq(lambda value: float(chndtr(statistic, degrees, value)) - share, 0.0, high, xtol=1e-9))


def cramers_v_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE
) -> TwoSampleResult:
    """Bergsma's V with its interval, and the chi-square test whose size it is; `expected` is 0, as bias is taken off.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; the confidence is out of range.

    >>> import numpy as np
    >>> result = cramers_v_test(np.array([200, 800]), np.array([400, 600]))
    >>> round(result.estimate, 3), round(result.statistic, 2), result.p < 1e-20
    (0.217, 95.24, True)
    """
    from scipy.special import chdtrc

    check_confidence(confidence, 0.5)
    before, after = counted_samples(reference, current)
    n, m = int(before.sum()), int(after.sum())
    found, cells = statistic_of_rows(before, after)
    statistic, degrees = float(found), int(cells)
    estimate = bergsma(statistic, degrees, n + m)
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    low, high = cramers_v_interval(statistic, degrees, n + m, confidence=confidence) if degrees else (0.0, 0.0)
    # Bergsma's value is not the interval's own centre; small tables can put it just outside.
    interval = (min(low, estimate), max(high, estimate))
    sentence = (
        f"Which sample a row is from and its cell go together by {estimate:.3g} on a scale of 0 to 1 "
        f"({confidence:.0%} interval {interval[0]:.3g} to {interval[1]:.3g}; {n} and {m} rows; {shown(p)})."
    )
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected=0.0)
