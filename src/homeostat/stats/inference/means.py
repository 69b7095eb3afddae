"""Two means of independent rows: Welch's t, standardised differences, and lift."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.noncentral import noncentral_t
from homeostat.stats.inference.results import INDEPENDENT, Alternative, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import direction, number, positive, sample, share, whole
from homeostat.stats.inference.tails import bounds, critical, tail

# Above this the t distribution's noncentrality is estimated by its normal limit, which is then exact to 4 digits.
NONCENTRAL_DF = 1000


@dataclass(frozen=True, slots=True)
class Moments:
    """What a mean's inference needs of a group: number of rows, mean and variance (divided by n − 1)."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: npt.ArrayLike, name: str = "The group") -> Moments:
        """From the values themselves; computed about the mean, so that a large level costs no digits.

        Raises:
            InvalidInput: fewer than 2 values, or any that isn't a finite number.
        """
        numbers = sample(values, name)
        low, high = float(numbers.min()), float(numbers.max())
        # .1 + .2 is not .3 in floats; a last digit is no variance.
        if high - low <= 4 * sys.float_info.epsilon * max(abs(low), abs(high)):
            return cls(len(numbers), low, 0.0)
        return cls(len(numbers), float(numbers.mean()), float(numbers.var(ddof=1)))

    def __post_init__(self) -> None:
        whole(self.n, "The number of rows")
        if not math.isfinite(number(self.mean, "The mean")):
            raise InvalidInput(f"The mean must be a finite number; got {self.mean}. Drop missing and infinite values.")
        if not (math.isfinite(number(self.variance, "The variance")) and self.variance >= 0):
            raise InvalidInput(f"The variance must be a finite number of at least 0; got {self.variance}.")

    @classmethod
    def from_sums(cls, n: int, total: float, total_of_squares: float) -> Moments:
        """From the number of rows, the sum of their values and the sum of their squares, as a database gives them.

        Raises:
            InvalidInput: fewer than 2 rows, sums that aren't finite, or squares too small for the sum.

        >>> Moments.from_sums(3, 6.0, 14.0)
        Moments(n=3, mean=2.0, variance=1.0)
        """
        whole(n, "The number of rows", least=2)
        if not (math.isfinite(number(total, "The sum")) and math.isfinite(number(total_of_squares, "The squares"))):
            raise InvalidInput(f"Sums must be finite numbers; got {total} and {total_of_squares}.")
        mean = total / n
        spread = total_of_squares - total * mean
        # What rounding of the two sums can make of a spread of nothing.
        noise = 1e-12 * abs(total_of_squares)
        if spread < -noise:
            raise InvalidInput(
                f"A sum of squares of {total_of_squares:g} is too small for {n} rows that add up to {total:g}; "
                "check that both sums are of the same rows."
            )
        return cls(n, mean, 0.0 if spread <= noise else spread / (n - 1))


def welch(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """Does the second group's mean differ from the first's? Welch's t-test (1947), variances need not be equal.

    Args:
        first: the first group's values, a number a row.
        second: the second group's values.
        alternative: "larger" asks whether the second mean is larger. The interval then has one open side.
        confidence: of the interval of the difference, second minus first.

    Independent rows; means that are about normal, which a few dozen rows give unless the tail is very long.

    Raises:
        InvalidInput: fewer than 2 values in a group, or any that isn't a finite number.

    >>> result = welch([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    >>> round(result.estimate, 2), round(result.p, 4)
    (2.0, 0.071)
    """
    return welch_from_moments(
        Moments.of(first, "The first group"),
        Moments.of(second, "The second group"),
        alternative=alternative,
        confidence=confidence,
    )


def welch_from_moments(
    first: Moments, second: Moments, *, alternative: Alternative = "two-sided", confidence: float = 0.95
) -> Result:
    """Welch's t-test from each group's size, mean and variance; see `welch` and `Moments.from_sums`.

    >>> first, second = Moments.from_sums(3407, 1396.87, 52377.9767), Moments.from_sums(3461, 2422.7, 134698.29)
    >>> round(welch_from_moments(first, second).p, 5)
    0.02016
    """
    direction(alternative)
    share(confidence, "The confidence")
    estimate = second.mean - first.mean
    error, df = welch_error(first, second)
    t = estimate / error if error else math.nan
    if not error:
        error, df = math.nan, math.nan
    p = tail(t, df, alternative)
    interval = bounds(estimate, error, df, confidence=confidence, alternative=alternative)
    told = f"The mean is {first.mean:.4g} of {first.n} rows in the first group and {second.mean:.4g} of {second.n} in "
    sentence = told + (
        f"the second: a difference of {estimate:+.4g} ({shown_interval(interval, confidence)}, {shown_p(p)}). "
        f"{INDEPENDENT}"
        if math.isfinite(t)
        else "the second. Neither group varies, so chance can't be judged from these rows."
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=first.n + second.n,
        sentence=sentence,
        sizes=(first.n, second.n),
        method="Welch's t-test",
        confidence=confidence,
        error=error,
        df=df,
    )


def welch_error(first: Moments, second: Moments) -> tuple[float, float]:
    """Standard error of a difference of means and its degrees of freedom (Satterthwaite 1946); (0, NaN) if constant."""
    one, two = first.variance / first.n, second.variance / second.n
    if one + two == 0:
        return 0.0, math.nan
    # Shares of the variance, so that tiny and huge units neither vanish nor overflow when squared.
    a, b = one / (one + two), two / (one + two)
    return math.sqrt(one + two), 1 / (a * a / (first.n - 1) + b * b / (second.n - 1))


def cohens_d(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Result:
    """The difference of the means in pooled standard deviations (Cohen 1988); about .2 is small, .5 medium, .8 large.

    `p` is the equal-variance t-test's. The interval inverts the noncentral t distribution (Steiger and Fouladi 1997):
    exact for normal values of equal variance; from 1,000 rows on, Hedges and Olkin's normal approximation (1985).

    Raises:
        InvalidInput: fewer than 2 values in a group, or any that isn't a finite number.

    >>> round(cohens_d([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]).estimate, 4)
    1.5492
    """
    return _standardised(first, second, confidence=confidence, hedges=False)


def hedges_g(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Result:
    """Cohen's d freed of its small-sample bias by the exact gamma factor (Hedges 1981); see `cohens_d`.

    Raises:
        InvalidInput: fewer than 2 values in a group, or any that isn't a finite number.

    >>> round(hedges_g([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]).estimate, 4)
    1.3457
    """
    return _standardised(first, second, confidence=confidence, hedges=True)


def _standardised(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float, hedges: bool) -> Result:
    from scipy.special import gammaln

    share(confidence, "The confidence")
    one, two = Moments.of(first, "The first group"), Moments.of(second, "The second group")
    df = one.n + two.n - 2
    pooled = math.sqrt(((one.n - 1) * one.variance + (two.n - 1) * two.variance) / df)
    name = "Hedges' g" if hedges else "Cohen's d"
    sizes = (one.n, two.n)
    if pooled == 0:
        return Result(
            estimate=math.nan,
            interval=(math.nan, math.nan),
            statistic=math.nan,
            p=math.nan,
            n=sum(sizes),
            sentence="Neither group varies, so there is no standard deviation to measure the difference in.",
            sizes=sizes,
            method=name,
            confidence=confidence,
        )
    scale = math.sqrt(1 / one.n + 1 / two.n)
    d = (two.mean - one.mean) / pooled
    t = d / scale
    # With df = 1 the gamma factor is 0 over 0 in the limit, but two groups of two rows already have df = 2.
    factor = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) * math.sqrt(2 / df) if hedges else 1.0
    error = math.sqrt(scale**2 + d * d / (2 * df))
    if df <= NONCENTRAL_DF:
        low, high = (bound * scale for bound in _noncentrality(t, df, confidence))
    else:
        low, high = bounds(d, error, math.inf, confidence=confidence, alternative="two-sided")
    interval = low * factor, high * factor
    p = tail(t, df, "two-sided")
    sentence = (
        f"The second group's mean is {d * factor:+.3g} standard deviations from the first's ({name}, "
        f"{shown_interval(interval, confidence)}, {shown_p(p)}), from {one.n} and {two.n} rows. {INDEPENDENT}"
    )
    return Result(
        estimate=d * factor,
        interval=interval,
        statistic=t,
        p=p,
        n=sum(sizes),
        sentence=sentence,
        sizes=sizes,
        method=name,
        confidence=confidence,
        error=error * factor,
        df=df,
    )


def _noncentrality(t: float, df: float, confidence: float) -> tuple[float, float]:
    """The noncentralities under which t would be just at the upper and the lower end of what is usual."""
    from scipy.optimize import brentq

    def at(level: float) -> float:
        reach = 10 + 2 * abs(t)
        return float(brentq(lambda delta: noncentral_t(t, df, delta) - level, t - reach, t + reach, xtol=1e-9))

    # The distribution function falls as the noncentrality grows, and beyond ±37 it is a float's 0 or 1.
    if abs(t) > 35:
        half = critical(confidence, math.inf, "two-sided") * math.sqrt(1 + t * t / (2 * df))
        return t - half, t + half
    return at((1 + confidence) / 2), at((1 - confidence) / 2)


def lift(
    first: npt.ArrayLike | Moments,
    second: npt.ArrayLike | Moments,
    *,
    method: str = "fieller",
    confidence: float = 0.95,
) -> Result:
    """By what part of the first group's mean does the second's differ? .1 means 10 % more.

    Args:
        first: the first group's values, or its `Moments`.
        second: the second group's, likewise.
        method: "fieller" (1954) inverts the test and stays right where the first mean is near 0; there the interval
            is unbounded and the sentence says so. "delta" is the usual approximation, symmetric about the estimate.
        confidence: of the interval.

    Independent rows, means about normal; meant for metrics that are positive. Degrees of freedom are Satterthwaite's.

    Raises:
        InvalidInput: fewer than 2 values in a group, any that isn't a finite number, or a first mean of exactly 0.

    >>> first, second = Moments(1000, 10.0, 25.0), Moments(1000, 11.0, 25.0)
    >>> result = lift(first, second, method="delta")
    >>> round(result.estimate, 3), [round(bound, 4) for bound in result.interval]
    (0.1, [0.0539, 0.1461])
    """
    share(confidence, "The confidence")
    if method not in ("fieller", "delta"):
        raise InvalidInput(f"There is no method {method!r} for lift; use 'fieller' or 'delta'.")
    one = first if isinstance(first, Moments) else Moments.of(first, "The first group")
    two = second if isinstance(second, Moments) else Moments.of(second, "The second group")
    if one.mean == 0:
        raise InvalidInput("The first group's mean is 0, so nothing is a part of it. Use the plain difference.")
    error, df = welch_error(one, two)
    estimate = two.mean / one.mean - 1
    if not error:
        interval, spread, t, df = (math.nan, math.nan), math.nan, math.nan, math.nan
    else:
        reach = critical(confidence, df, "two-sided")
        spread, interval = relative_interval(one.mean, one.variance / one.n, two.mean, two.variance / two.n, 0.0, reach)
        if method == "delta":
            interval = estimate - reach * spread, estimate + reach * spread
        t = (two.mean - one.mean) / error
    p = tail(t, df, "two-sided")
    if math.isnan(t):
        rest = " Neither group varies, so chance can't be judged from these rows."
    elif math.isinf(interval[0]):
        rest = f" The first mean is too close to 0 for an interval of the ratio ({shown_p(p)} for the difference)."
    else:
        told = shown_interval((interval[0] * 100, interval[1] * 100), confidence)
        rest = f" ({told} per cent, {shown_p(p)} for the difference). {INDEPENDENT}"
    sentence = (
        f"The second group's mean differs by {estimate * 100:+.3g} per cent from the first's, from {one.n} and "
        f"{two.n} rows{'.' if rest[1] != '(' else ''}{rest}"
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=one.n + two.n,
        sentence=sentence,
        sizes=(one.n, two.n),
        method=f"lift, {'Fieller' if method == 'fieller' else 'delta method'}",
        confidence=confidence,
        error=spread,
        df=df,
    )


def relative_interval(
    base: float, base_variance: float, other: float, other_variance: float, covariance: float, reach: float
) -> tuple[float, tuple[float, float]]:
    """Standard error (delta method) and Fieller interval of other/base − 1; infinite where base is not clear of 0.

    Args:
        base: the estimate below the line.
        base_variance: of that estimate.
        other: the estimate above the line.
        other_variance: of that estimate.
        covariance: of the two estimates; 0 for independent groups.
        reach: how many standard errors the interval reaches, a quantile of t.
    """
    ratio = other / base
    spread = math.sqrt(max(0.0, other_variance - 2 * ratio * covariance + ratio**2 * base_variance)) / abs(base)
    clear = 1 - reach**2 * base_variance / base**2
    if clear <= 0:
        return spread, (-math.inf, math.inf)
    middle = ratio - reach**2 * covariance / base**2
    under = middle**2 - clear * (ratio**2 - reach**2 * other_variance / base**2)
    half = math.sqrt(max(0.0, under))
    return spread, ((middle - half) / clear - 1, (middle + half) / clear - 1)


def minimum_effect(error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference that a two-sided test with this standard error finds with the given power.

    >>> round(minimum_effect(1.0, math.inf), 3)
    2.802
    """
    positive(error, "The standard error")
    one, two = critical(1 - share(alpha, "Alpha"), df, "two-sided"), critical(share(power, "The power"), df, "larger")
    return (one + two) * error
