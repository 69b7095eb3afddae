"""Means of values in time order: yesterday's resembles today's, and days have cycles, so rows are not independent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.clusters import satterthwaite
from homeostat.stats.inference.results import Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, sample, share, whole
from homeostat.stats.inference.tails import bounds, tail

METHODS = ("cosine", "newey-west", "blocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesResult(Result):
    """A mean, or a difference of means, of values in time order, with an error that allows for their dependence.

    `naive_error` takes the values for independent; `effective_n` are the independent values that would tell as much;
    `autocorrelation` is that of neighbours (the stronger one of two series).
    """

    naive_error: float
    effective_n: float
    autocorrelation: float


@dataclass(frozen=True, slots=True)
class _Series:
    n: int
    mean: float
    error: float
    df: float
    naive: float
    neighbours: float
    cycles: float


def series_mean(
    values: npt.ArrayLike,
    *,
    baseline: float = 0.0,
    method: str = "cosine",
    period: int | None = None,
    confidence: float = 0.95,
) -> SeriesResult:
    """Does the mean of values in time order differ from `baseline`? For two arms at the same times pass differences.

    Args:
        values: in time order, equally spaced, such as one an hour.
        baseline: what the mean is compared with.
        method: "cosine", equal-weighted projections on the slowest cosines with a t distribution (Lazarus, Lewis,
            Stock and Watson 2018: .4·n^⅔ of them, fewer where the memory is long), the best at its level; "newey-west",
            the usual HAC variance (1987)
            with 1.3·√n lags and a t distribution of equal degrees of freedom; "blocks", means of consecutive blocks
            taken as independent (batch means): about √n values a block, whole periods where there is a period.
        period: values in one cycle (24 for a daily cycle of hours). The cycle is then no part of the error, which is
            right where the series covers whole cycles; the sentence says where it does not.
        confidence: of the interval.

    A stationary series, apart from the cycle, that is long against its memory: hundreds of values. With a neighbours'
    correlation of .9 and few values even these are too sure; the measured error rates say how much.

    Raises:
        InvalidInput: fewer than 16 values or, with a period, than 4 cycles, or any that isn't a finite number.

    >>> walk = np.random.default_rng(0).normal(size=500)
    >>> result = series_mean(walk)
    >>> 350 < result.effective_n < 900
    True
    """
    share(confidence, "The confidence")
    found = _of(values, "The series", method, period)
    rest = f" against {baseline:g}" if baseline else ""
    return _told(
        found.mean - baseline,
        found.error,
        found.df,
        (found,),
        f"The mean of {found.n} values in time order is {found.mean:.4g}{rest}",
        method,
        confidence,
    )


def series_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    method: str = "cosine",
    period: int | None = None,
    confidence: float = 0.95,
) -> SeriesResult:
    """Do the means of two separate series differ, such as before and after? See `series_mean` for the arguments.

    The two are taken as independent of each other. Arms that ran at the same times share their ups and downs: pass
    their differences to `series_mean`, which is far sharper.

    Raises:
        InvalidInput: fewer than 16 values in a series or, with a period, than 4 cycles, or any that isn't finite.

    >>> rng = np.random.default_rng(0)
    >>> series_difference(rng.normal(size=400), rng.normal(1.0, 1.0, size=400)).p < 1e-6
    True
    """
    share(confidence, "The confidence")
    one, two = _of(first, "The first series", method, period), _of(second, "The second series", method, period)
    error = math.hypot(one.error, two.error)
    df = satterthwaite((one.error**2, one.df + 1), (two.error**2, two.df + 1))
    told = f"The mean is {one.mean:.4g} of {one.n} values in the first series and {two.mean:.4g} of {two.n} in the "
    return _told(two.mean - one.mean, error, df, (one, two), told + "second", method, confidence)


def autocorrelation(values: npt.ArrayLike, lags: int = 1) -> Floats:
    """Correlation of values with those 1, 2, ... `lags` steps before; NaN for a constant series.

    >>> autocorrelation([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]).round(3).tolist()
    [-0.833]
    """
    numbers = sample(values, "The series")
    whole(lags, "The number of lags", least=1)
    if lags >= len(numbers):
        raise InvalidInput(f"There are {len(numbers)} values, too few for {lags} lags.")
    centred = numbers - numbers.mean()
    spread = float(centred @ centred)
    if float(numbers.min()) == float(numbers.max()):
        return np.full(lags, math.nan)
    return np.array([float(centred[lag:] @ centred[:-lag]) for lag in range(1, lags + 1)]) / spread


def newey_west_error(values: npt.ArrayLike, lags: int) -> float:
    """Standard error of a mean that allows for correlations up to `lags` steps (Newey and West 1987, Bartlett weights).

    >>> round(newey_west_error([1.0, 2.0, 3.0, 2.0, 1.0, 2.0], 1), 4)
    0.2792
    """
    numbers = sample(values, "The series")
    whole(lags, "The number of lags")
    centred, n = numbers - numbers.mean(), len(numbers)
    variance = float(centred @ centred)
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag])
    return math.sqrt(max(0.0, variance)) / n


def _of(values: npt.ArrayLike, name: str, method: str, period: int | None) -> _Series:
    if method not in METHODS:
        raise InvalidInput(f"There is no method {method!r} for series; use {', '.join(METHODS)}.")
    numbers = sample(values, name, least=16)
    n = len(numbers)
    if period is not None and whole(period, "The period", least=2) * 4 > n:
        raise InvalidInput(f"{name} has {n} values, fewer than 4 cycles of {period}. Collect more values.")
    mean = float(numbers.mean())
    cycles = n / period if period else 0.0
    if float(numbers.min()) == float(numbers.max()):
        return _Series(n, mean, math.nan, math.nan, math.nan, math.nan, cycles)
    # What repeats in every cycle is not noise about the mean.
    rest = numbers - mean if period is None else numbers - _cycle(numbers, period)
    error, df = {"cosine": _cosine, "newey-west": _newey_west, "blocks": _blocks}[method](rest, period)
    naive = float(numbers.std(ddof=1)) / math.sqrt(n)
    return _Series(n, mean, error, df, naive, float(autocorrelation(numbers)[0]), cycles)


def _cycle(numbers: Floats, period: int) -> Floats:
    """The average at each place of the cycle, repeated along the series."""
    places = np.arange(len(numbers)) % period
    means = np.bincount(places, weights=numbers) / np.bincount(places)
    return np.asarray(means[places])


def _cosine(rest: Floats, period: int | None) -> tuple[float, float]:
    n = len(rest)
    # Cosines fast enough to fall off the spectrum's peak at 0 make the error too small: with a memory of ρ it is about
    # (1 − ρ)/√ρ wide, and Kendall's (1954) correction makes up for what a short series hides of ρ.
    memory = float(rest[1:] @ rest[:-1]) / float(rest @ rest)
    memory = min(0.99, memory + (1 + 3 * memory) / n)
    most = 0.175 * n * (1 - memory) / math.sqrt(memory) if memory > 0.1 else n
    terms = max(3, int(min(0.4 * n ** (2 / 3), most)))
    if period is not None:
        # Cosines as fast as the cycle would count what was just taken off.
        terms = max(2, min(terms, 2 * n // period - 1))
    waves = np.cos(np.pi * np.outer(np.arange(1, terms + 1), (np.arange(n) + 0.5) / n))
    projections = waves @ rest * math.sqrt(2 / n)
    return math.sqrt(float((projections**2).mean()) / n), float(terms)


def _newey_west(rest: Floats, period: int | None) -> tuple[float, float]:
    width = max(1, math.ceil(1.3 * math.sqrt(len(rest))))
    if period is not None:
        width = max(width, period)
    # 1.5 n / width: degrees of freedom with the variance that Bartlett's weights leave (Priestley 1981).
    return newey_west_error(rest, width - 1), 1.5 * len(rest) / width


def _blocks(rest: Floats, period: int | None) -> tuple[float, float]:
    n = len(rest)
    length = max(2, round(math.sqrt(n)))
    if period is not None:
        length = period * max(1, round(length / period))
    blocks = n // length
    means = rest[n - blocks * length :].reshape(blocks, length).mean(axis=1)
    return float(means.std(ddof=1)) / math.sqrt(blocks), blocks - 1.0


def _told(
    estimate: float, error: float, df: float, series: tuple[_Series, ...], words: str, method: str, confidence: float
) -> SeriesResult:
    sizes = tuple(each.n for each in series)
    naive = math.hypot(*(each.naive for each in series))
    usable = error > 0
    error = error if usable else math.nan
    t = estimate / error
    p = tail(t, df, "two-sided")
    interval = bounds(estimate, error, df, confidence=confidence, alternative="two-sided")
    effective = sum(sizes) * (naive / error) ** 2
    cut = [each for each in series if each.cycles and each.cycles != int(each.cycles)]
    sentence = (
        f"{words}: {estimate:+.4g} ({shown_interval(interval, confidence)}, {shown_p(p)}). Neighbours in time are not "
        f"taken as independent: these values tell as much as {effective:.0f} independent ones."
        if usable
        else f"{words}, but the values don't vary, so chance can't be judged from them."
    ) + (
        f" The series covers {cut[0].cycles:.1f} cycles; compare whole ones, or the cycle itself looks like an effect."
        if cut
        else ""
    )
    return SeriesResult(
        estimate=estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=sum(sizes),
        sentence=sentence,
        sizes=sizes,
        method=f"mean of a series, {method}",
        confidence=confidence,
        error=error,
        df=df,
        naive_error=naive,
        effective_n=effective,
        autocorrelation=max((each.neighbours for each in series), key=lambda value: -2 if math.isnan(value) else value),
    )
