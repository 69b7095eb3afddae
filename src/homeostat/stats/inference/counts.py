"""Tests of fixed samples, with the effect and its interval beside the p-value.

These are valid for one look at a sample whose size was set beforehand. What is looked at again and again belongs in
`homeostat.stats.sequential`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from homeostat.errors import InvalidInput
from homeostat.stats.inference.proportions import newcombe_interval
from homeostat.stats.inference.samples import whole
from homeostat.stats.performance.metrics import wilson_interval

# The exact test counts rows in 32 bits.
MOST_ROWS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class McNemarResult:
    """Two classifiers on the same rows; `estimate` is the difference of their shares of the `n` discordant rows.

    `p` is exact (binomial); `statistic` and `p_corrected` are the chi-square test with continuity correction,
    `statistic_uncorrected` and `p_uncorrected` the one without. `odds_ratio` is b/c, infinite where c is 0.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n: int
    sentence: str
    odds_ratio: float
    p_corrected: float
    statistic_uncorrected: float
    p_uncorrected: float


@dataclass(frozen=True, slots=True)
class ProportionsResult:
    """Two shares of independent rows; `estimate` is the second minus the first, `n` the rows of both."""

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n: int
    sentence: str


def mcnemar(b: int, c: int, *, confidence: float = 0.95) -> McNemarResult:
    """McNemar's test (1947): is one of two classifiers right more often on the same rows?

    Args:
        b: rows on which only the first was right.
        c: rows on which only the second was right.
        confidence: of the interval, which is Wilson's for b/(b + c), carried over to the difference.

    >>> result = mcnemar(121, 59)
    >>> round(result.statistic, 5), f"{result.p:.6f}"
    (20.67222, '0.000004')
    """
    from scipy.special import bdtr, chdtrc

    b, c = whole(b, "The rows on which only the first was right"), whole(c, "The rows of only the second")
    if b + c > MOST_ROWS:
        raise InvalidInput(f"More than {MOST_ROWS:g} rows can't be counted; got {b + c}. Check the counts.")
    n = b + c
    if n == 0:
        sentence = "The two never differ in being right, so nothing can be said of which is better."
        return McNemarResult(0.0, (-1.0, 1.0), 0.0, 1.0, 0, sentence, math.nan, 1.0, 0.0, 1.0)
    gap = abs(b - c)
    corrected, uncorrected = max(0, gap - 1) ** 2 / n, gap**2 / n
    p = min(1.0, 2 * float(bdtr(min(b, c), n, 0.5)))
    low, high = wilson_interval(b, n, confidence=confidence)
    better = "The first" if b > c else "The second"
    sentence = (
        f"Of {n} rows on which exactly one was right, the first was right on {b} and the second on {c}. "
        + ("Neither was right more often" if b == c else f"{better} was right more often")
        + f" (exact p = {p:.3g})."
    )
    return McNemarResult(
        estimate=(b - c) / n,
        interval=(2 * low - 1, 2 * high - 1),
        statistic=corrected,
        p=p,
        n=n,
        sentence=sentence,
        odds_ratio=b / c if c else math.inf,
        p_corrected=float(chdtrc(1, corrected)),
        statistic_uncorrected=uncorrected,
        p_uncorrected=float(chdtrc(1, uncorrected)),
    )


def two_proportions(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, confidence: float = 0.95
) -> ProportionsResult:
    """Do two independent groups differ in a share? Pooled z-test, two-sided.

    The interval of the difference (second minus first) is Newcombe's hybrid score interval (1998, method 10), which
    also holds for small groups and shares near 0 or 1.

    >>> result = two_proportions(130, 500, 240, 500)
    >>> round(result.statistic**2, 3), round(result.estimate, 2)
    (51.909, 0.22)
    """
    from scipy.special import ndtr

    n_1, n_2 = whole(n_1, "The rows of the first group", least=1), whole(n_2, "The rows of the second", least=1)
    low, high = newcombe_interval(successes_1, n_1, successes_2, n_2, confidence=confidence)
    share_1, share_2 = successes_1 / n_1, successes_2 / n_2
    estimate = share_2 - share_1
    pooled = (successes_1 + successes_2) / (n_1 + n_2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_1 + 1 / n_2))
    z = estimate / error if error else 0.0
    p = 2 * float(ndtr(-abs(z)))
    sentence = (
        f"The share is {share_1:.4g} of {n_1} rows in the first group and {share_2:.4g} of {n_2} in the second: "
        f"a difference of {estimate:+.4g} ({confidence:.0%} interval {low:+.4g} to {high:+.4g}, p = {p:.3g})."
    )
    return ProportionsResult(estimate, (low, high), z, p, n_1 + n_2, sentence)
