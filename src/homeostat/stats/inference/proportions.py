"""Two shares of independent rows: difference, ratio, odds ratio, and Cohen's h."""

from __future__ import annotations

import math

from homeostat.errors import InvalidInput
from homeostat.stats.inference.results import INDEPENDENT, Alternative, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import direction, share, whole
from homeostat.stats.inference.tails import bounds, tail
from homeostat.stats.performance.metrics import wilson_interval


def newcombe_interval(
    successes_1: float, n_1: float, successes_2: float, n_2: float, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two independent shares, second minus first.

    Newcombe's hybrid score interval (1998, method 10): Wilson's intervals of both shares put together, which also
    holds for small groups and shares near 0 or 1.

    Raises:
        InvalidInput: an empty group, or more successes than rows.

    >>> [round(bound, 4) for bound in newcombe_interval(48, 80, 56, 70)]
    [0.0524, 0.3339]
    """
    if not (n_1 > 0 and n_2 > 0):
        raise InvalidInput(f"Both groups need rows to be compared; got {n_1} and {n_2}.")
    share(confidence, "The confidence")
    low_1, high_1 = wilson_interval(successes_1, n_1, confidence=confidence)
    low_2, high_2 = wilson_interval(successes_2, n_2, confidence=confidence)
    share_1, share_2 = successes_1 / n_1, successes_2 / n_2
    estimate = share_2 - share_1
    return (
        estimate - math.hypot(share_2 - low_2, high_1 - share_1),
        estimate + math.hypot(high_2 - share_2, share_1 - low_1),
    )


def compare_proportions(
    successes_1: int,
    n_1: int,
    successes_2: int,
    n_2: int,
    *,
    pooled: bool = True,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """Does the second group's share differ from the first's? Z-test with Newcombe's interval.

    Args:
        successes_1: rows of the first group that have the property.
        n_1: rows of the first group.
        successes_2: rows of the second group that have the property.
        n_2: rows of the second group.
        pooled: the standard error under the hypothesis of equal shares (the usual test); else Wald's, from both.
        alternative: "larger" asks whether the second share is larger, "smaller" whether it is smaller. The interval
            then has one open side.
        confidence: of the interval.

    Independent rows; the normal approximation wants about 5 rows with and without the property in each group, and the
    sentence says where that fails. Source: Fleiss, Levin and Paik 2003; Newcombe 1998.

    Raises:
        InvalidInput: an empty group, counts that can't be, an unknown alternative.

    >>> result = compare_proportions(130, 500, 240, 500)
    >>> round(result.statistic**2, 3), round(result.estimate, 2)
    (51.909, 0.22)
    """
    direction(alternative)
    share_1, share_2 = _shares(successes_1, n_1, successes_2, n_2)
    share(confidence, "The confidence")
    estimate = share_2 - share_1
    wald = math.sqrt(share_1 * (1 - share_1) / n_1 + share_2 * (1 - share_2) / n_2)
    both = (successes_1 + successes_2) / (n_1 + n_2)
    error = math.sqrt(both * (1 - both) * (1 / n_1 + 1 / n_2)) if pooled else wald
    # Without pooling, 0 of n against n of n has no error at all: then the test can't be done, though it isn't equality.
    z = estimate / error if error else (0.0 if estimate == 0 else math.nan)
    p = tail(z, math.inf, alternative)
    two_sided = confidence if alternative == "two-sided" else 2 * confidence - 1
    low, high = newcombe_interval(successes_1, n_1, successes_2, n_2, confidence=max(two_sided, 1e-9))
    interval = (-1.0 if alternative == "smaller" else low, 1.0 if alternative == "larger" else high)
    small = min(successes_1, n_1 - successes_1, successes_2, n_2 - successes_2) < 5
    sentence = (
        f"The share is {share_1:.4g} of {n_1} rows in the first group and {share_2:.4g} of {n_2} in the second: "
        f"a difference of {estimate:+.4g} ({shown_interval(interval, confidence)}, {shown_p(p)}). {INDEPENDENT}"
        + (" Fewer than 5 rows of a kind: trust the interval more than the p-value." if small else "")
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=z,
        p=p,
        n=n_1 + n_2,
        sentence=sentence,
        sizes=(n_1, n_2),
        method="z-test of two proportions, " + ("pooled" if pooled else "unpooled"),
        confidence=confidence,
        error=error,
    )


def risk_ratio(successes_1: int, n_1: int, successes_2: int, n_2: int, *, confidence: float = 0.95) -> Result:
    """How many times as large is the second group's share? With the log interval of Katz et al. (1978).

    `error` and `statistic` are on the scale of the logarithm. Where a group has no successes, ½ is added to the
    successes and 1 to the rows of both for the interval alone; with none in either group nothing can be said.

    Raises:
        InvalidInput: an empty group, or counts that can't be.

    >>> result = risk_ratio(15, 100, 30, 100)
    >>> round(result.estimate, 3), [round(bound, 3) for bound in result.interval]
    (2.0, [1.149, 3.482])
    """
    share_1, share_2 = _shares(successes_1, n_1, successes_2, n_2)
    if successes_1 == successes_2 == 0:
        return _no_ratio("risk ratio", (n_1, n_2), confidence, "Neither group has a single success")
    estimate = share_2 / share_1 if share_1 else math.inf
    add = 0.5 if 0 in (successes_1, successes_2) else 0.0
    a, b, rows_1, rows_2 = successes_1 + add, successes_2 + add, n_1 + 2 * add, n_2 + 2 * add
    error = math.sqrt(max(0.0, 1 / a - 1 / rows_1 + 1 / b - 1 / rows_2))
    return _ratio(
        "risk ratio", "share is", estimate, math.log(b / rows_2 / (a / rows_1)), error, (n_1, n_2), confidence
    )


def odds_ratio(successes_1: int, n_1: int, successes_2: int, n_2: int, *, confidence: float = 0.95) -> Result:
    """How many times as large are the second group's odds? With the log interval of Woolf (1955).

    `error` and `statistic` are on the scale of the logarithm. Where a cell is empty, ½ is added to each of the four
    (Haldane 1956, Anscombe 1956) for the interval alone. Odds are not shares: for frequent outcomes the odds ratio
    is further from 1 than the ratio of shares.

    Raises:
        InvalidInput: an empty group, or counts that can't be.

    >>> round(odds_ratio(15, 100, 30, 100).estimate, 4)
    2.4286
    """
    _shares(successes_1, n_1, successes_2, n_2)
    cells = [float(successes_1), float(n_1 - successes_1), float(successes_2), float(n_2 - successes_2)]
    if successes_1 + successes_2 in (0, n_1 + n_2):
        return _no_ratio("odds ratio", (n_1, n_2), confidence, "All rows of both groups are of one kind")
    above, below = cells[2] * cells[1], cells[0] * cells[3]
    estimate = above / below if below else math.inf
    if 0 in cells:
        cells = [cell + 0.5 for cell in cells]
    error = math.sqrt(sum(1 / cell for cell in cells))
    log_odds = math.log(cells[2] * cells[1] / (cells[0] * cells[3]))
    return _ratio("odds ratio", "odds are", estimate, log_odds, error, (n_1, n_2), confidence)


def cohens_h(share_1: float, share_2: float) -> float:
    """Cohen's h (1988): 2·asin√p₂ − 2·asin√p₁; about .2 is small, .5 medium and .8 large.

    Raises:
        InvalidInput: a share outside 0 to 1.

    >>> round(cohens_h(0.5, 0.75), 4)
    0.5236
    """
    for value in (share_1, share_2):
        if not 0 <= value <= 1:
            raise InvalidInput(f"A share lies between 0 and 1; got {value}.")
    return 2 * math.asin(math.sqrt(share_2)) - 2 * math.asin(math.sqrt(share_1))


def _shares(successes_1: int, n_1: int, successes_2: int, n_2: int) -> tuple[float, float]:
    for successes, n, name in ((successes_1, n_1, "first"), (successes_2, n_2, "second")):
        whole(n, f"The {name} group's number of rows", least=1)
        whole(successes, f"The {name} group's number of successes")
        if successes > n:
            raise InvalidInput(f"The {name} group has {successes} successes among {n} rows; check the counts.")
    return successes_1 / n_1, successes_2 / n_2


def _ratio(
    method: str, what: str, estimate: float, log: float, error: float, sizes: tuple[int, int], confidence: float
) -> Result:
    share(confidence, "The confidence")
    z = log / error if error else 0.0
    p = tail(z, math.inf, "two-sided")
    low, high = bounds(log, error, math.inf, confidence=confidence, alternative="two-sided")
    # An empty cell leaves one side open, whatever was added to compute the other.
    interval = math.exp(low) if estimate else 0.0, math.inf if math.isinf(estimate) else math.exp(high)
    sentence = (
        f"The second group's {what} {estimate:.4g} times the first's "
        f"({shown_interval(interval, confidence, signed=False)}, {shown_p(p)}), from {sizes[0]} and {sizes[1]} rows. "
        f"{INDEPENDENT}"
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=z,
        p=p,
        n=sum(sizes),
        sentence=sentence,
        sizes=sizes,
        method=method,
        confidence=confidence,
        error=error,
    )


def _no_ratio(method: str, sizes: tuple[int, int], confidence: float, why: str) -> Result:
    return Result(
        estimate=math.nan,
        interval=(0.0, math.inf),
        statistic=math.nan,
        p=1.0,
        n=sum(sizes),
        sentence=f"{why}, so nothing can be said of their ratio.",
        sizes=sizes,
        method=method,
        confidence=confidence,
    )
