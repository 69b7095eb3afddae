"""From a standardised statistic to its p-value and interval; `df` infinite means the normal distribution."""

from __future__ import annotations

import math

from homeostat.stats.inference.results import Alternative


def tail(statistic: float, df: float, alternative: Alternative) -> float:
    """P-value of a t or z statistic; "larger" is the alternative that the second group is larger than the first."""
    from scipy.special import ndtr, stdtr

    if math.isnan(statistic):
        return math.nan
    signed = {"two-sided": -abs(statistic), "larger": -statistic, "smaller": statistic}[alternative]
    below = float(ndtr(signed) if math.isinf(df) else stdtr(df, signed))
    return min(1.0, 2 * below) if alternative == "two-sided" else below


def critical(confidence: float, df: float, alternative: Alternative) -> float:
    """How many standard errors the interval reaches from the estimate."""
    from scipy.special import ndtri, stdtrit

    level = (1 + confidence) / 2 if alternative == "two-sided" else confidence
    return float(ndtri(level) if math.isinf(df) else stdtrit(df, level))


def bounds(
    estimate: float, error: float, df: float, *, confidence: float, alternative: Alternative
) -> tuple[float, float]:
    """Interval that belongs to the test: one-sided tests bound one side only."""
    if math.isnan(error):
        return math.nan, math.nan
    half = critical(confidence, df, alternative) * error
    low = -math.inf if alternative == "smaller" else estimate - half
    high = math.inf if alternative == "larger" else estimate + half
    return low, high
