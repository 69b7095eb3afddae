"""A metric over time: its windows, whether it moves, and when it would pass its target.

Metrics of neighbouring windows resemble each other, and ordinary regression then finds trends where there are none.
The slope is therefore estimated under autocorrelated errors of first order (Prais and Winsten 1954), their correlation
corrected for its small-sample bias (Marriott and Pope 1954; Kendall 1954); Newey and West's (1987) variance is there
too. When the target is passed has an interval after Fieller (1954).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.performance.inputs import Codes, Floats, level, numbers
from homeostat.stats.performance.intervals import Metric

FEWEST_WINDOWS = 8
ROUNDS = 3
LARGEST_CORRELATION = 0.97


@dataclass(frozen=True, slots=True)
class WindowMetric:
    """A metric of the rows from `start` (inclusive) to `end` (exclusive), in days."""

    start: float
    end: float
    n: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class TrendResult:
    """How a metric moves: `estimate` is its change a day.

    `level` is where the fitted line stands at the last window. `days` is how long from then until the line passes the
    target: 0 where it has, infinite where it does not at this rate, NaN without a target. `autocorrelation` is that
    of neighbouring windows about the line. `n` counts windows.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    statistic: float
    p: float
    n: int
    method: str
    autocorrelation: float
    level: float
    level_interval: tuple[float, float]
    target: float
    days: float
    days_interval: tuple[float, float]
    sentence: str


def rolling_metric(
    times: Any, measure: Callable[[Codes], Metric], *, width: float, step: float | None = None, fewest: int = 1
) -> list[WindowMetric]:
    """Measure a metric over windows of time.

    Windows end at the last row and reach back to the first; those that would begin before it are left out, as are
    windows of fewer than `fewest` rows. Without `step` they do not overlap; test trends on such ones.

    Args:
        times: of the rows, in days or as datetime64; in any order.
        measure: from the indices of a window's rows to a metric.
        width: of a window, in days.
        step: days between windows; the width where it is not given.
        fewest: rows that a window needs.

    Raises:
        InvalidInput: for times that are not numbers, or a width or step that is not above 0.

    >>> from homeostat.stats.performance.intervals import binary_performance
    >>> truth, times = np.array([0, 1, 1, 0, 1, 1]), np.array([0.0, 1, 2, 3, 4, 5])
    >>> def recall(at):
    ...     return binary_performance(truth[at], predicted=truth[at])["recall"]
    >>> windows = rolling_metric(times, recall, width=2)
    >>> [(window.metric.n, window.metric.estimate) for window in windows]
    [(1, 1.0), (2, 1.0)]
    """
    when = _days(times)
    step = width if step is None else step
    if not (width > 0 and step > 0 and math.isfinite(width) and math.isfinite(step)):
        raise InvalidInput(f"Width and step of the windows must be above 0 days; got {width} and {step}.")
    order = np.argsort(when, kind="stable")
    ordered = when[order]
    # The last window holds the last row, so it ends just after it.
    last = float(np.nextafter(ordered[-1], np.inf))
    count = max(0, math.floor((last - float(ordered[0]) - width) / step) + 1)
    ends = last - step * np.arange(count)[::-1]
    lows = np.searchsorted(ordered, ends - width, side="left")
    highs = np.searchsorted(ordered, ends, side="left")
    return [
        WindowMetric(float(end - width), float(end), int(high - low), measure(np.sort(order[low:high])))
        for low, high, end in zip(lows, highs, ends, strict=True)
        if high - low >= max(1, fewest)
    ]


def fit_trend(
    times: Any,
    values: Any,
    *,
    target: float | None = None,
    worse: Literal["lower", "higher"] = "lower",
    method: Literal["ar1", "newey_west", "independent"] = "ar1",
    lags: int | None = None,
    confidence: float = 0.95,
) -> TrendResult:
    """Does a metric rise or fall, and when would it pass its target?

    The change is taken to be linear and the windows to be about evenly spaced. `ar1` holds its level best where
    windows resemble their neighbours; `newey_west` allows other kinds of autocorrelation but alarms too often with
    fewer than some hundreds of windows; `independent` is ordinary least squares. For one look, not for watching.

    Args:
        times: of the windows, in days or as datetime64, increasing.
        values: of the metric, one a window; at least 8.
        target: that the metric must not pass.
        worse: whether it must not fall below the target (lower) or rise above it (higher).
        method: ar1, newey_west or independent.
        lags: of Newey and West; 4 (n/100)^(2/9) where it is not given.
        confidence: of the intervals.

    Raises:
        InvalidInput: for fewer than 8 windows, times that do not increase, missing values.

    >>> days = np.arange(30.0)
    >>> noise = np.random.default_rng(0).normal(0, 0.004, 30)
    >>> result = fit_trend(days, 0.95 - 0.001 * days + noise, target=0.9)
    >>> round(result.estimate, 4), result.p < 0.001, 10 < result.days < 40
    (-0.001, True, True)
    """
    from scipy.special import stdtr, stdtrit

    when, seen = _days(times), numbers(values, "values")
    if len(seen) != len(when) or len(seen) < FEWEST_WINDOWS:
        raise InvalidInput(
            f"A trend needs a time and a value of at least {FEWEST_WINDOWS} windows; got {len(when)} times and "
            f"{len(seen)} values."
        )
    if not (np.diff(when) > 0).all():
        raise InvalidInput("The times of the windows must increase; sort them and leave out doubles.")
    if worse not in {"lower", "higher"} or method not in {"ar1", "newey_west", "independent"}:
        raise InvalidInput("worse is lower or higher; method is ar1, newey_west or independent.")
    if target is not None and not math.isfinite(target):
        raise InvalidInput(f"The target must be a number; got {target}.")
    level(confidence)
    n = len(seen)
    # Time runs from the last window backwards, so that the intercept is the level now.
    design = np.column_stack([np.ones(n), when - when[-1]])
    if method == "ar1":
        line, covariance, correlation = _prais_winsten(design, seen)
    else:
        most = min(n - 1, math.floor(4 * (n / 100) ** (2 / 9)) if lags is None else lags)
        if most < 0:
            raise InvalidInput(f"Lags can't be negative; got {lags}.")
        line, covariance, correlation = _least_squares(design, seen, most if method == "newey_west" else None)
    now, slope = float(line[0]), float(line[1])
    error, now_error = math.sqrt(max(0.0, covariance[1, 1])), math.sqrt(max(0.0, covariance[0, 0]))
    quantile = float(stdtrit(n - 2, (1 + confidence) / 2))
    # Rounding leaves a perfect line with an error of about 1e-17, which proves nothing.
    flat = error <= 1e-12 * max(1.0, abs(now)) / max(1.0, float(np.ptp(when)))
    if flat:
        steady = abs(slope) * float(np.ptp(when)) <= 1e-9 * max(1.0, abs(now))
        statistic, p = (0.0, 1.0) if steady else (math.copysign(math.inf, slope), 0.0)
    else:
        statistic = slope / error
        p = min(1.0, 2 * float(stdtr(n - 2, -abs(statistic))))
    days, days_interval = math.nan, (math.nan, math.nan)
    if target is not None:
        sign = 1.0 if worse == "lower" else -1.0
        room, drop = sign * (now - target), sign * slope
        days = _passes(room, drop, np.zeros((2, 2)), 0.0)
        days_interval = (_passes(room, drop, covariance, -quantile), _passes(room, drop, covariance, quantile))
    return TrendResult(
        estimate=slope,
        interval=(slope - quantile * error, slope + quantile * error),
        confidence=confidence,
        statistic=statistic,
        p=p,
        n=n,
        method=method,
        autocorrelation=correlation,
        level=now,
        level_interval=(now - quantile * now_error, now + quantile * now_error),
        target=math.nan if target is None else float(target),
        days=days,
        days_interval=days_interval,
        sentence=_sentence(slope, quantile * error, p, n, confidence, days, days_interval),
    )


def _least_squares(design: Floats, values: Floats, lags: int | None) -> tuple[Floats, Floats, float]:
    """Ordinary least squares; with `lags` Newey and West's variance (Bartlett's weights), else the ordinary one."""
    n = len(values)
    inverse = np.linalg.inv(design.T @ design)
    line = inverse @ design.T @ values
    residual = values - design @ line
    correlation = _first_correlation(residual)
    if lags is None:
        return line, inverse * float(residual @ residual) / (n - 2), correlation
    scores = design * residual[:, None]
    meat = scores.T @ scores
    for lag in range(1, lags + 1):
        product = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (lags + 1)) * (product + product.T)
    return line, inverse @ meat @ inverse * n / (n - 2), correlation


def _prais_winsten(design: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """Generalised least squares under errors that carry a share of the last one over, never a negative one."""
    n = len(values)
    line: Floats = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
    correlation = 0.0
    for _ in range(ROUNDS):
        raw = _first_correlation(values - design @ line)
        # Residuals about a line understate the correlation by about (2 + 4ρ)/n.
        correlation = min(LARGEST_CORRELATION, max(0.0, raw + (2 + 4 * raw) / n))
        first = math.sqrt(1 - correlation**2)
        moved = np.concatenate([first * values[:1], values[1:] - correlation * values[:-1]])
        shaped = np.concatenate([first * design[:1], design[1:] - correlation * design[:-1]])
        inverse = np.linalg.inv(shaped.T @ shaped)
        line = np.asarray(inverse @ shaped.T @ moved, dtype=np.float64)
    rest = moved - shaped @ line
    return line, inverse * float(rest @ rest) / (n - 2), correlation


def _first_correlation(residual: Floats) -> float:
    total = float(residual @ residual)
    return float(residual[1:] @ residual[:-1]) / total if total > 0 else 0.0


def _passes(room: float, drop: float, covariance: Floats, quantile: float) -> float:
    """The first time t ≥ 0 at which room + drop · t + quantile · error(t) is at or below 0; infinite where never."""
    variance = max(0.0, float(covariance[0, 0]))
    if room + quantile * math.sqrt(variance) <= 0:
        return 0.0
    if quantile == 0:
        return -room / drop if drop < 0 else math.inf
    a = drop**2 - quantile**2 * float(covariance[1, 1])
    b = room * drop - quantile**2 * float(covariance[0, 1])
    c = room**2 - quantile**2 * variance
    roots = np.roots([a, 2 * b, c]) if a else np.array([-c / (2 * b)]) if b else np.zeros(0)
    # At the line plus its error the line itself is below 0, at the line less its error above.
    times = [
        float(root.real)
        for root in roots
        if abs(root.imag) < 1e-9 * max(1.0, abs(root)) and root.real >= 0 and (room + drop * root.real) * quantile <= 0
    ]
    return min(times, default=math.inf)


def _days(times: Any) -> Floats:
    array = np.asarray(times)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise InvalidInput("There are missing times; leave those rows out first.")
        array = array.astype("datetime64[us]").astype(np.int64) / 86_400e6
    return numbers(array, "times")


def _sentence(
    slope: float, half: float, p: float, n: int, confidence: float, days: float, span: tuple[float, float]
) -> str:
    text = (
        f"Over {n} windows the metric changes by {slope:+.3g} a day ({confidence:.0%} interval {slope - half:+.3g} to "
        f"{slope + half:+.3g}, p = {p:.3g})"
    )
    if math.isnan(days):
        return f"{text}."
    if days == 0:
        return f"{text}; it has already passed its target."
    latest = "never" if math.isinf(span[1]) else f"{span[1]:,.0f} days"
    if math.isinf(days):
        soonest = "" if math.isinf(span[0]) else f", though {span[0]:,.0f} days can't be ruled out"
        return f"{text}; it does not pass its target at this rate{soonest}."
    return f"{text}; at this rate it passes its target in {days:,.0f} days (interval {span[0]:,.0f} days to {latest})."
