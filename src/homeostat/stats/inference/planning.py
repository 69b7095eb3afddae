"""How many rows to plan for, before the first one is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from homeostat.errors import InvalidInput
from homeostat.stats.inference.power import (
    Variant,
    power_mann_whitney,
    power_mcnemar,
    power_means,
    power_proportions,
    sequential_inflation,
)
from homeostat.stats.inference.results import Alternative
from homeostat.stats.inference.samples import number, positive, share

# More rows than anyone has: an effect that needs them is as good as none.
MOST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """Rows to plan for: `n_1` and `n_2` in the groups (`n_2` is 0 where the same rows are used), `n` in all.

    `exact` is the fractional size of the first group that gives `power` exactly, and `reached` the power after
    rounding up. `sequential_n` is the most that a test needs that may be looked at after every row. `warnings` say
    where the approximation behind the figure is doubtful.
    """

    n_1: int
    n_2: int
    n: int
    exact: float
    reached: float
    power: float
    alpha: float
    effect: float
    sequential_n: int
    method: str
    sentence: str
    warnings: tuple[str, ...]


def sample_size(
    *,
    baseline: float | None = None,
    target: float | None = None,
    relative: float | None = None,
    difference: float | None = None,
    standard_deviation: float | None = None,
    alone: tuple[float, float] | None = None,
    rank_effect: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    ratio: float = 1.0,
    alternative: Alternative = "two-sided",
    method: Variant = "normal",
    cluster_effect: float = 1.0,
    comparisons: int = 1,
) -> SampleSize:
    """How many rows are needed to find an effect; what is given says which test is planned for.

    Args:
        baseline: the present share or mean.
        target: the share or mean to be told from it.
        relative: instead of target, the relative change: .1 is 10 % more than the baseline.
        difference: instead of target, the change itself; needs no baseline where `standard_deviation` is given.
        standard_deviation: of the values within a group; with it a t-test of means is planned, without it a z-test of
            proportions.
        alone: McNemar's test of two models on the same rows: shares of the rows on which only the first, and only
            the second, is right.
        rank_effect: Mann–Whitney: the chance that a value of the second group is larger than one of the first.
        power: chance of finding the effect if it is there.
        alpha: level of the test.
        ratio: rows of the second group for each of the first.
        alternative: "two-sided", or the side of a one-sided test: "larger" or "smaller" for the second group.
        method: for proportions, "normal" or "arcsine".
        cluster_effect: the design effect of several rows an entity, see `design_effect`.
        comparisons: how many comparisons share the level (Bonferroni).

    Raises:
        InvalidInput: nothing to plan for, no effect, or numbers that can't be.

    >>> plan = sample_size(baseline=0.5, target=0.75, power=0.9)
    >>> round(plan.exact, 5), plan.n_1, plan.n
    (76.70692, 77, 154)
    """
    if comparisons < 1:
        raise InvalidInput(f"There is at least 1 comparison; got {comparisons}.")
    each = alpha / comparisons
    if alone is not None:
        found = sample_size_mcnemar(*alone, power=power, alpha=each)
    elif rank_effect is not None:
        found = sample_size_mann_whitney(rank_effect, power=power, alpha=each, ratio=ratio, alternative=alternative)
    elif standard_deviation is not None:
        change = _change(baseline, target, relative, difference)
        effect = change / positive(standard_deviation, "The standard deviation")
        found = sample_size_means(effect, power=power, alpha=each, ratio=ratio, alternative=alternative)
    elif baseline is not None:
        other = baseline + _change(baseline, target, relative, difference)
        found = sample_size_proportions(
            baseline, other, power=power, alpha=each, ratio=ratio, alternative=alternative, method=method
        )
    else:
        raise InvalidInput("Nothing to plan for: give a baseline, a standard_deviation, alone or rank_effect.")
    return _inflated(found, cluster_effect) if cluster_effect != 1.0 else found


def sample_size_proportions(
    share_1: float,
    share_2: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    ratio: float = 1.0,
    alternative: Alternative = "two-sided",
    method: Variant = "normal",
) -> SampleSize:
    """Rows for a z-test of two proportions; see `power_proportions` for the method.

    Raises:
        InvalidInput: equal shares, shares not strictly between 0 and 1, an effect on the other side than asked.

    >>> sample_size_proportions(0.9, 0.92).n
    6426
    """
    share(share_1, "The first share")
    share(share_2, "The second share")
    _on_side(share_2 - share_1, alternative)

    def reached(n: float) -> float:
        return power_proportions(share_1, share_2, n, n * ratio, alpha=alpha, alternative=alternative, method=method)

    def doubtful(n_1: int, n_2: int) -> tuple[str, ...]:
        least = min(n_1 * min(share_1, 1 - share_1), n_2 * min(share_2, 1 - share_2))
        return (
            (f"Only {least:.1f} rows of the rarer kind are expected in a group; below 5 the z-test is rough.",)
            if least < 5
            else ()
        )

    words = f"shares of {share_1:.4g} and {share_2:.4g} apart"
    return _planned(
        reached, words, share_2 - share_1, power, alpha, ratio, f"two proportions, {method}", alternative, doubtful
    )


def sample_size_means(
    effect: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    ratio: float = 1.0,
    alternative: Alternative = "two-sided",
) -> SampleSize:
    """Rows for a t-test of two means that differ by `effect` standard deviations.

    Raises:
        InvalidInput: an effect of 0 or on the other side than asked, levels outside 0 to 1.

    >>> sample_size_means(0.5).n_1
    64
    """
    _on_side(effect, alternative)

    def reached(n: float) -> float:
        return power_means(effect, n, n * ratio, alpha=alpha, alternative=alternative)

    def doubtful(n_1: int, n_2: int) -> tuple[str, ...]:
        few = f"Groups of {n_1} and {n_2} rows rely on values that are normally distributed."
        return (few,) if min(n_1, n_2) < 30 else ()

    start = 1.001 * max(1.0, 1 / positive(ratio, "The ratio of the second group to the first"))
    words = f"means {abs(effect):.4g} standard deviations apart"
    return _planned(reached, words, effect, power, alpha, ratio, "t-test of means", alternative, doubtful, start)


def sample_size_mcnemar(alone_1: float, alone_2: float, *, power: float = 0.8, alpha: float = 0.05) -> SampleSize:
    """Rows that both of two models must score so that McNemar's test tells them apart; see `power_mcnemar`.

    Raises:
        InvalidInput: shares that can't be, or equal ones.

    >>> sample_size_mcnemar(0.02, 0.04).n
    1175
    """
    _on_side(alone_2 - alone_1, "two-sided")

    def reached(n: float) -> float:
        return power_mcnemar(alone_1, alone_2, n, alpha=alpha)

    def doubtful(n_1: int, _: int) -> tuple[str, ...]:
        differing = n_1 * (alone_1 + alone_2)
        few = f"Only {differing:.0f} rows are expected on which exactly one is right; below 20 plan for the exact test."
        return (few,) if differing < 20 else ()

    words = f"accuracies {abs(alone_2 - alone_1):.4g} apart on the same rows"
    return _planned(reached, words, alone_2 - alone_1, power, alpha, 0.0, "McNemar", "two-sided", doubtful)


def sample_size_mann_whitney(
    effect: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    ratio: float = 1.0,
    alternative: Alternative = "two-sided",
) -> SampleSize:
    """Rows for a Mann–Whitney test; `effect` is the chance that a second value is larger than a first (Noether 1987).

    Raises:
        InvalidInput: an effect of ½, outside 0 to 1, or on the other side than asked.

    >>> sample_size_mann_whitney(0.7).n_1
    33
    """
    _on_side(effect - 0.5, alternative)

    def reached(n: float) -> float:
        return power_mann_whitney(effect, n, n * ratio, alpha=alpha, alternative=alternative)

    def doubtful(n_1: int, n_2: int) -> tuple[str, ...]:
        return (
            ("An effect this large is outside of what the formula is good for.",)
            if min(effect, 1 - effect) < 0.1 or min(n_1, n_2) < 10
            else ()
        )

    words = f"groups apart of which one is larger in {max(effect, 1 - effect):.1%} of pairs"
    return _planned(reached, words, effect - 0.5, power, alpha, ratio, "Mann-Whitney", alternative, doubtful)


def _planned(
    reached: Callable[[float], float],
    words: str,
    effect: float,
    power: float,
    alpha: float,
    ratio: float,
    method: str,
    alternative: Alternative,
    doubtful: Callable[[int, int], tuple[str, ...]],
    start: float = 1e-6,
) -> SampleSize:
    from scipy.optimize import brentq

    share(alpha, "Alpha")
    if not alpha < share(power, "The power"):
        raise InvalidInput(f"The power must be above alpha = {alpha}; got {power}.")
    # McNemar's test has one group of pairs.
    if method != "McNemar" and not 1 / MOST <= positive(ratio, "The ratio of the second group to the first") <= MOST:
        raise InvalidInput(f"Groups in the ratio {ratio:g} can't be planned. Pass a ratio nearer to 1.")
    high = 4.0 * start if start > 1 else 4.0
    while reached(high) < power:
        high *= 2
        if high > MOST:
            raise InvalidInput(f"An effect of {effect:g} would need more than {MOST:g} rows. Plan for a larger one.")
    exact = start if reached(start) >= power else float(brentq(lambda n: reached(n) - power, start, high, xtol=1e-9))
    # What the root finder leaves above a whole number is not a row.
    n_1 = max(2, math.ceil(exact - 1e-6))
    n_2 = max(2, math.ceil(exact * ratio - 1e-6)) if ratio else 0
    sequential = math.ceil((n_1 + n_2) * sequential_inflation(power=power, alpha=alpha))
    groups = f"{n_1} and {n_2} rows" if n_2 else f"{n_1} rows"
    warnings = doubtful(n_1, n_2)
    sentence = (
        f"To tell {words} with a power of {power:.0%} at alpha = {alpha:.3g}, {alternative}, plan for {groups} and "
        f"look once; a test that may be looked at after every row needs up to {sequential}."
        + "".join(f" {warning}" for warning in warnings)
    )
    return SampleSize(
        n_1=n_1,
        n_2=n_2,
        n=n_1 + n_2,
        exact=exact,
        reached=reached(float(n_1)),
        power=power,
        alpha=alpha,
        effect=effect,
        sequential_n=sequential,
        method=method,
        sentence=sentence,
        warnings=warnings,
    )


def _inflated(plan: SampleSize, effect: float) -> SampleSize:
    if positive(effect, "The design effect") * plan.sequential_n > MOST:
        raise InvalidInput(f"A design effect of {effect:g} would need more than {MOST:g} rows. Check it.")
    n_1, n_2 = math.ceil(plan.n_1 * effect), math.ceil(plan.n_2 * effect)
    sequential = math.ceil(plan.sequential_n * effect)
    groups = f"{n_1} and {n_2} rows" if n_2 else f"{n_1} rows"
    return SampleSize(
        n_1=n_1,
        n_2=n_2,
        n=n_1 + n_2,
        exact=plan.exact * effect,
        reached=plan.reached,
        power=plan.power,
        alpha=plan.alpha,
        effect=plan.effect,
        sequential_n=sequential,
        method=plan.method,
        sentence=(
            f"{plan.sentence} Since rows of one entity are alike (design effect {effect:.3g}), that makes {groups}, "
            f"or up to {sequential}."
        ),
        warnings=plan.warnings,
    )


def _change(baseline: float | None, target: float | None, relative: float | None, difference: float | None) -> float:
    given = [value for value in (target, relative, difference) if value is not None]
    if len(given) != 1:
        raise InvalidInput(f"Give exactly one of target, relative and difference; got {len(given)}.")
    if difference is not None:
        return number(difference, "The difference")
    if baseline is None:
        raise InvalidInput("A target or a relative change is told from a baseline; give one, or the difference.")
    start, change = number(baseline, "The baseline"), number(given[0], "The target or relative change")
    return change - start if target is not None else start * change


def _on_side(effect: float, alternative: Alternative) -> None:
    if not math.isfinite(number(effect, "The effect")) or effect == 0:
        raise InvalidInput(f"An effect of {effect} can't be found by any number of rows; give the least that matters.")
    if (alternative == "larger" and effect < 0) or (alternative == "smaller" and effect > 0):
        raise InvalidInput(f"An effect of {effect:+g} is never found by a test of the alternative {alternative!r}.")
