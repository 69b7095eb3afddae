"""Intervals of effect sizes: the noncentralities under which what was seen would be just usual enough."""

from __future__ import annotations

import math
from collections.abc import Callable


def chi_square_noncentrality(statistic: float, df: float, confidence: float) -> tuple[float, float]:
    """Interval of a chi-square statistic's noncentrality; 0 where even the central distribution is above it.

    >>> [round(bound, 3) for bound in chi_square_noncentrality(20.0, 4, 0.95)]
    [4.08, 37.764]
    """
    from scipy.special import chndtr

    return _inverted(lambda nc: float(chndtr(statistic, df, nc)), statistic, confidence)


def f_noncentrality(statistic: float, dfn: float, dfd: float, confidence: float) -> tuple[float, float]:
    """Interval of an F statistic's noncentrality."""
    from scipy.special import ncfdtr

    return _inverted(lambda nc: float(ncfdtr(dfn, dfd, nc, statistic)), statistic * dfn, confidence)


def _inverted(below: Callable[[float], float], scale: float, confidence: float) -> tuple[float, float]:
    """The distribution function falls as the noncentrality grows; find where it passes each level."""
    from scipy.optimize import brentq

    def at(level: float) -> float:
        if below(0.0) <= level:
            return 0.0
        top = max(scale, 1.0)
        while below(top) > level:
            top *= 2
        return float(brentq(lambda nc: below(nc) - level, 0.0, top, xtol=1e-8 * top))

    return at((1 + confidence) / 2), at((1 - confidence) / 2)


def noncentral_t(statistic: float, df: float, noncentrality: float) -> float:
    """Chance of a noncentral t at most `statistic`.

    Far out in the tails scipy's function gives up and answers NaN; there a normal distribution answers instead
    (Abramowitz and Stegun 26.7.10).

    >>> round(noncentral_t(2.0, 20, 1.5), 4)
    0.6746
    """
    from scipy.special import nctdtr, ndtr

    below = float(nctdtr(df, noncentrality, statistic))
    if math.isfinite(below):
        return min(1.0, max(0.0, below))
    spread = math.sqrt(1 + statistic**2 / (2 * df))
    return float(ndtr((statistic * (1 - 1 / (4 * df)) - noncentrality) / spread))
