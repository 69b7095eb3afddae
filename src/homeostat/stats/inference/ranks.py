"""Two groups compared by ranks: no normal distribution needed, and no outlier counts for more than its place."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, sample, share
from homeostat.stats.inference.tails import critical

# Up to here the smaller group's p-value is counted out, as scipy does.
EXACT = 8


def mann_whitney(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Result:
    """Are values of the second group larger more often? Mann–Whitney test (1947), two-sided.

    `estimate` is the common-language effect (McGraw and Wong 1992): the chance that a value of the second group is
    larger than one of the first, ties counting half; ½ is no effect. It is also the area under the ROC curve.
    `statistic` is U of the second group. The p-value is exact up to 8 rows without ties, else normal with correction
    for ties and continuity. The interval does not assume equal shapes: placements' variance (DeLong et al. 1988,
    Brunner and Munzel 2000) on the logit scale; where the groups don't overlap at all, Newcombe's (2006, method 5).

    The p-value tests equal distributions: where spreads differ, it is not a test of equal medians, and the interval
    is the better guide.

    Raises:
        InvalidInput: fewer than 2 values in a group, or any that isn't a finite number.

    >>> result = mann_whitney([1.0, 2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0, 8.0])
    >>> round(result.estimate, 2), round(result.p, 4)
    (0.92, 0.0356)
    """
    share(confidence, "The confidence")
    one, two = sample(first, "The first group"), sample(second, "The second group")
    sizes = (len(one), len(two))
    below, above = placements(one, two)
    effect = float(above.mean())
    error, df = _placement_error(below, above)
    p = rank_p(one, two, effect)
    interval = effect_interval(below, above, confidence=confidence)
    sentence = (
        f"A value of the second group is larger than one of the first in {effect:.1%} of pairs, ties counting half "
        f"({shown_interval(interval, confidence, signed=False)}, {shown_p(p)}), from {sizes[0]} and {sizes[1]} rows. "
        f"{INDEPENDENT}"
    )
    return Result(
        estimate=effect,
        interval=interval,
        statistic=effect * sizes[0] * sizes[1],
        p=p,
        n=sum(sizes),
        sentence=sentence,
        sizes=sizes,
        method="Mann-Whitney",
        confidence=confidence,
        error=error,
        df=df,
    )


def placements(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """For each first value the share of second values above it, and for each second value that of first ones below.

    Ties count half. Both have the same mean, the area under the ROC curve.

    >>> placements(np.array([1.0, 2.0]), np.array([2.0, 3.0]))[1].tolist()
    [0.75, 1.0]
    """
    return 1 - placed(first, second), placed(second, first)


def placed(values: Floats, among: Floats) -> Floats:
    """For each value the share of the others below it, ties counting half."""
    ordered = np.sort(among)
    both = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(both / (2 * len(among)))


def effect_interval(below: Floats, above: Floats, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the common-language effect from the placements of both groups.

    Placements' variance on the logit scale; where groups overlap by less than one pair's worth, or one has a single
    row, that variance can't be trusted, and the interval is Newcombe's.
    """
    sizes, effect = (len(below), len(above)), float(above.mean())
    inside = effect * (1 - effect)
    if min(sizes) > 1 and inside * min(sizes) >= 1:
        error, df = _placement_error(below, above)
        if error:
            half = critical(confidence, df, "two-sided") * error / inside
            logit = math.log(effect / (1 - effect))
            return _expit(logit - half), _expit(logit + half)
    return newcombe_effect_interval(effect, *sizes, confidence=confidence)


def newcombe_effect_interval(effect: float, n_1: int, n_2: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Score-type interval of the common-language effect from its size and the group sizes alone.

    Newcombe (2006, method 5); it still says something where the groups don't overlap.

    >>> [round(bound, 3) for bound in newcombe_effect_interval(1.0, 10, 10)]
    [0.8, 1.0]
    """
    from scipy.optimize import brentq

    z = critical(confidence, math.inf, "two-sided")
    extra = (n_1 + n_2) / 2 - 1

    def beyond(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (n_1 * n_2)
        return (theta - effect) ** 2 - z * z * spread

    low = 0.0 if effect == 0 else float(brentq(beyond, 0.0, effect - 1e-12 if effect == 1 else effect))
    high = 1.0 if effect == 1 else float(brentq(beyond, effect + 1e-12 if effect == 0 else effect, 1.0))
    return low, high


def rank_p(one: Floats, two: Floats, effect: float) -> float:
    """Two-sided p of the effect: exact for few rows without ties, else normal with both corrections."""
    from scipy.special import ndtr
    from scipy.stats import mannwhitneyu

    n_1, n_2, n = len(one), len(two), len(one) + len(two)
    values, counts = np.unique(np.concatenate([one, two]), return_counts=True)
    ties = counts.astype(np.float64)
    if len(ties) == 1:
        return 1.0
    if min(n_1, n_2) <= EXACT and len(ties) == n:
        first, second = (np.searchsorted(values, part) for part in (one, two))
        return float(mannwhitneyu(second, first, alternative="two-sided", method="exact").pvalue)
    spread = math.sqrt(n_1 * n_2 / 12 * (n + 1 - float((ties**3 - ties).sum()) / (n * (n - 1))))
    return min(1.0, 2 * float(ndtr((0.5 - n_1 * n_2 * abs(effect - 0.5)) / spread)))


def _placement_error(below: Floats, above: Floats) -> tuple[float, float]:
    """Standard error of the mean placement, and Brunner and Munzel's degrees of freedom."""
    one, two = float(below.var(ddof=1)) / len(below), float(above.var(ddof=1)) / len(above)
    if one + two == 0:
        return 0.0, math.inf
    a, b = one / (one + two), two / (one + two)
    return math.sqrt(one + two), 1 / (a * a / (len(below) - 1) + b * b / (len(above) - 1))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(max(x, -700.0)) / (1 + math.exp(max(x, -700.0)))
