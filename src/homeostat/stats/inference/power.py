"""How often a test finds an effect of a given size: power, and the smallest effect that it finds often enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from homeostat.errors import InvalidInput
from homeostat.stats.inference.noncentral import noncentral_t
from homeostat.stats.inference.proportions import cohens_h
from homeostat.stats.inference.results import Alternative
from homeostat.stats.inference.samples import direction, positive, share
from homeostat.stats.inference.tails import critical

Variant = Literal["normal", "arcsine"]


def power_proportions(
    share_1: float,
    share_2: float,
    n_1: float,
    n_2: float,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    method: Variant = "normal",
) -> float:
    """Chance that the z-test of two proportions finds a difference between these true shares.

    Args:
        share_1: true share of the first group.
        share_2: true share of the second.
        n_1: rows of the first group; may be a fraction.
        n_2: rows of the second.
        alpha: level of the test.
        alternative: of the test.
        method: "normal" takes the pooled error under the null hypothesis and the unpooled one under the alternative
            (Fleiss, Levin and Paik 2003, without continuity correction); "arcsine" is Cohen's h (1988).

    Raises:
        InvalidInput: shares outside 0 to 1, numbers of rows not above 0.

    >>> round(power_proportions(0.5, 0.75, 76.70692, 76.70692), 5)
    0.9
    """
    direction(alternative)
    positive(n_1, "The first group's number of rows")
    positive(n_2, "The second group's number of rows")
    z = critical(1 - share(alpha, "Alpha"), math.inf, alternative)
    if method == "arcsine":
        shift = cohens_h(share_1, share_2) / math.sqrt(1 / n_1 + 1 / n_2)
        return _reached(shift, z, 1.0, alternative)
    if method != "normal":
        raise InvalidInput(f"There is no method {method!r} for proportions; use 'normal' or 'arcsine'.")
    cohens_h(share_1, share_2)
    pooled = (share_1 * n_1 + share_2 * n_2) / (n_1 + n_2)
    null = math.sqrt(pooled * (1 - pooled) * (1 / n_1 + 1 / n_2))
    true = math.sqrt(share_1 * (1 - share_1) / n_1 + share_2 * (1 - share_2) / n_2)
    if null == 0:
        return 0.0
    if true == 0:
        # Shares of 0 and 1 always show the same data.
        return float(abs(share_2 - share_1) > z * null)
    return _reached((share_2 - share_1) / true, z, null / true, alternative)


def power_means(
    effect: float, n_1: float, n_2: float, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> float:
    """Chance that a t-test finds a true difference of `effect` standard deviations (Cohen's d), second minus first.

    By the noncentral t distribution for equal variances; Welch's test differs by little where sizes are alike.

    Raises:
        InvalidInput: an effect that isn't finite, or fewer than 2 rows in a group.

    >>> round(power_means(0.5, 64, 64), 4)
    0.8015
    """
    direction(alternative)
    if not math.isfinite(effect):
        raise InvalidInput(f"The effect must be a finite number of standard deviations; got {effect}.")
    if not (n_1 > 1 and n_2 > 1):
        raise InvalidInput(f"A t-test needs more than 1 row in each group; got {n_1} and {n_2}.")
    df, shift = n_1 + n_2 - 2, effect / math.sqrt(1 / n_1 + 1 / n_2)
    reach = critical(1 - share(alpha, "Alpha"), df, alternative)
    # Far out the distribution function is slow and inexact, and the normal one is right to 4 digits.
    if df > 10_000 or abs(shift) > 30:
        return _reached(shift, reach, 1.0, alternative)
    above, below = 1 - noncentral_t(reach, df, shift), noncentral_t(-reach, df, shift)
    return {"two-sided": above + below, "larger": above, "smaller": below}[alternative]


def power_mcnemar(alone_1: float, alone_2: float, n: float, *, alpha: float = 0.05) -> float:
    """Chance that McNemar's test, two-sided, tells two models on the same rows apart (Connor 1987).

    Args:
        alone_1: share of all rows on which only the first is right.
        alone_2: share of all rows on which only the second is right.
        n: rows, all of them.
        alpha: level of the test.

    Raises:
        InvalidInput: shares that can't be, or a number of rows not above 0.

    >>> round(power_mcnemar(0.02, 0.04, 1176), 3)
    0.8
    """
    positive(n, "The number of rows")
    if not (0 <= alone_1 <= 1 and 0 <= alone_2 <= 1 and alone_1 + alone_2 <= 1):
        raise InvalidInput(f"Shares of rows lie between 0 and 1 together; got {alone_1} and {alone_2}.")
    z = critical(1 - share(alpha, "Alpha"), math.inf, "two-sided")
    differing, gap = alone_1 + alone_2, alone_2 - alone_1
    true = math.sqrt(max(0.0, differing - gap**2))
    if differing == 0:
        return 0.0
    if true == 0:
        return float(math.sqrt(n) > z)
    return _reached(math.sqrt(n) * gap / true, z, math.sqrt(differing) / true, "two-sided")


def power_mann_whitney(
    effect: float, n_1: float, n_2: float, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> float:
    """Chance that the Mann–Whitney test finds a common-language effect of `effect` (½ is none); Noether 1987.

    The variance under no effect is used, so that the power is approximate for large effects, and for many ties low.

    Raises:
        InvalidInput: an effect outside 0 to 1, numbers of rows not above 0.

    >>> round(power_mann_whitney(0.7, 33, 33), 3)
    0.804
    """
    direction(alternative)
    positive(n_1, "The first group's number of rows")
    positive(n_2, "The second group's number of rows")
    if not 0 <= effect <= 1:
        raise InvalidInput(f"The effect is a chance between 0 and 1; got {effect}.")
    n = n_1 + n_2
    z = critical(1 - share(alpha, "Alpha"), math.inf, alternative)
    return _reached(math.sqrt(12 * (n_1 / n) * (n_2 / n) * n) * (effect - 0.5), z, 1.0, alternative)


def detectable_share(
    baseline: float, n_1: float, n_2: float, *, power: float = 0.8, alpha: float = 0.05, method: Variant = "normal"
) -> float:
    """The smallest share above the baseline that the two-sided test finds with this power; NaN where none is.

    Raises:
        InvalidInput: shares outside 0 to 1, numbers of rows not above 0.

    >>> round(detectable_share(0.5, 76.70692, 76.70692, power=0.9), 4)
    0.75
    """
    share(baseline, "The baseline")
    return _least(
        lambda other: power_proportions(baseline, other, n_1, n_2, alpha=alpha, method=method), baseline, 1.0, power
    )


def detectable_effect(n_1: float, n_2: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference in standard deviations that the two-sided t-test finds with this power.

    Raises:
        InvalidInput: fewer than 2 rows in a group.

    >>> round(detectable_effect(64, 64), 3)
    0.499
    """
    top = 1.0
    while power_means(top, n_1, n_2, alpha=alpha) < power:
        top *= 2
    return _least(lambda effect: power_means(effect, n_1, n_2, alpha=alpha), 0.0, top, power)


def detectable_rank_effect(n_1: float, n_2: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest common-language effect above ½ that the Mann–Whitney test finds; NaN where none is.

    >>> round(detectable_rank_effect(33, 33), 3)
    0.699
    """
    return _least(lambda effect: power_mann_whitney(effect, n_1, n_2, alpha=alpha), 0.5, 1.0, power)


def detectable_gain(differing: float, n: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest gain in accuracy that McNemar's test finds on n rows; NaN where none is.

    Args:
        differing: share of all rows on which exactly one of the two models is right.
        n: rows, all of them.
        power: asked for.
        alpha: level of the test.

    >>> round(detectable_gain(0.06, 1176), 4)
    0.02
    """
    share(differing, "The share of rows on which exactly one is right")

    def reached(gain: float) -> float:
        return power_mcnemar((differing - gain) / 2, (differing + gain) / 2, n, alpha=alpha)

    return _least(reached, 0.0, differing, power)


def sequential_inflation(*, power: float = 0.8, alpha: float = 0.05) -> float:
    """How many times as many rows a test needs at most that may be looked at after every row.

    For the two-sided normal-mixture confidence sequence (Robbins 1970), tuned to end where the rows run out. That is
    the longest it takes for the power asked for; where the effect is real it mostly stops earlier.

    >>> round(sequential_inflation(power=0.8), 2)
    1.91
    """
    from scipy.special import lambertw

    z, more = critical(1 - share(alpha, "Alpha"), math.inf, "two-sided"), critical(power, math.inf, "larger")
    tuning = -1 / (float(lambertw(-(alpha**2) / math.e, -1).real) + 1)
    boundary = math.sqrt((1 + tuning) * math.log((1 + tuning) / (tuning * alpha**2)))
    return ((boundary + more) / (z + more)) ** 2


def _reached(shift: float, reach: float, scale: float, alternative: Alternative) -> float:
    """Chance that a unit normal around `shift` lies beyond ±`reach` times `scale`."""
    from scipy.special import ndtr

    above, below = float(ndtr(shift - reach * scale)), float(ndtr(-shift - reach * scale))
    return {"two-sided": above + below, "larger": above, "smaller": below}[alternative]


def _least(reached: Callable[[float], float], low: float, high: float, power: float) -> float:
    from scipy.optimize import brentq

    share(power, "The power")
    if reached(high) < power:
        return math.nan
    if reached(low) >= power:
        return low
    return float(brentq(lambda effect: reached(effect) - power, low, high, xtol=1e-12))
