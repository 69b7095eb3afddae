"""Means of bounded values: confidence sequences from hedged bets, exact at every size."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import (
    Alternative,
    Floats,
    SequencePath,
    SequentialResult,
    checked_alpha,
    checked_alternative,
    checked_count,
    checked_number,
    checked_values,
    log_threshold,
    span,
    weighed,
)
from homeostat.stats.sequential.state import State

# The share of the wealth that a bet may lose at most (the paper's c).
LARGEST_STAKE = 0.5
# Bets of one block times points of the grid: keeps the memory of an update within a few dozen megabytes.
BLOCK = 2_000_000


class BoundedMean(State):
    """A confidence sequence for the mean of values within known bounds, for one stream or many at once.

    Assumes only that every value lies in [low, high] and has the same mean given those before it; no distribution, no
    independence beyond that. For each candidate mean on a grid two gamblers bet, one that the mean is higher and one
    that it is lower; candidates against which neither has made 2/α of the stake remain. Wealth is monotone in the
    candidate, so the grid loses at most one step of its width on either side and no validity.

    Args:
        low: the least possible value.
        high: the largest possible value.
        null: the mean under the null hypothesis; the middle by default.
        alpha: the error rate.
        alternative: `two-sided`, or that the mean is `greater` or `less` than `null`.
        grid: the number of candidates.
        streams: how many streams are carried along; each `update` then takes an array of (streams, values).

    Raises:
        InvalidInput: bounds in the wrong order, a setting that means nothing; in `update`, values that are missing or
            out of bounds, or another number of streams.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024), hedged capital
    with the predictable plug-in bets of their equation (26).

    >>> values = np.random.default_rng(0).beta(2, 6, 1000)
    >>> result = BoundedMean().update(values[:400]).update(values[400:]).result()
    >>> result.decided, bool(result.interval[0] < 0.25 < result.interval[1])
    (True, True)
    """

    _settings: ClassVar[tuple[str, ...]] = ("low", "high", "null", "alpha", "alternative", "grid", "streams")
    _carried: ClassVar[tuple[str, ...]] = ("_n", "_sum", "_residuals", "_upward", "_downward")

    def __init__(
        self,
        low: float = 0.0,
        high: float = 1.0,
        *,
        null: float | None = None,
        alpha: float = 0.05,
        alternative: Alternative = "two-sided",
        grid: int = 1000,
        streams: int = 1,
    ) -> None:
        self.low, self.high = checked_number(low, "least value"), checked_number(high, "largest value")
        if self.low >= self.high:
            raise InvalidInput(f"The least value must be below the largest; got {low:g} and {high:g}.")
        middle = (self.low + self.high) / 2
        self.null = checked_number(
            middle if null is None else null, "mean under the null hypothesis", low=self.low, high=self.high
        )
        self.alpha = checked_alpha(alpha)
        self.alternative = checked_alternative(alternative)
        self.grid = checked_count(grid, "number of candidates", least=10)
        self.streams = checked_count(streams, "number of streams")
        # The last candidate is the null hypothesis itself, which need not lie on the grid.
        scaled_null = (self.null - self.low) / (self.high - self.low)
        self._candidates = np.append(np.linspace(0, 1, self.grid + 1), scaled_null)
        self._n = 0
        self._sum = np.zeros(self.streams)
        self._residuals = np.zeros(self.streams)
        self._upward = np.zeros((self.streams, self.grid + 2))
        self._downward = np.zeros((self.streams, self.grid + 2))

    def update(self, values: npt.NDArray[Any]) -> Self:
        """Take in further values: one dimension for one stream, (streams, values) for several."""
        scaled = np.atleast_2d(self._scaled(values))
        if scaled.shape[0] != self.streams or scaled.ndim != 2:
            raise InvalidInput(f"{self.streams} streams are carried; the values have shape {np.shape(values)}.")
        step = max(1, BLOCK // (self.streams * len(self._candidates)))
        for start in range(0, scaled.shape[1], step):
            self._take(scaled[:, start : start + step])
        return self

    def results(self) -> tuple[SequentialResult, ...]:
        """What can be said now of each stream."""
        low, high = _kept(self._upward[:, :-1], self._downward[:, :-1], self._target(), self.alternative)
        log_e = _hedged(self._upward[:, -1], self._downward[:, -1], self.alternative)
        return tuple(self._result(i, float(low[i]), float(high[i]), float(log_e[i])) for i in range(self.streams))

    def result(self) -> SequentialResult:
        """What can be said now of the only stream."""
        if self.streams != 1:
            raise InvalidInput(f"There are {self.streams} streams; ask for `results()`.")
        return self.results()[0]

    def _scaled(self, values: npt.NDArray[Any]) -> Floats:
        checked = checked_values(values, "values", low=self.low, high=self.high)
        return (checked - self.low) / (self.high - self.low)

    def _target(self) -> float:
        return log_threshold(self.alpha) + (math.log(2) if self.alternative == "two-sided" else 0.0)

    def _take(self, x: Floats) -> None:
        bets, self._sum, self._residuals = _bets(x, self._n, self._sum, self._residuals, self._target())
        self._n += x.shape[1]
        upward, downward = _gains(x[:, :, None], bets[:, :, None], self._candidates)
        self._upward = self._upward + upward.sum(axis=1)
        self._downward = self._downward + downward.sum(axis=1)

    def _result(self, stream: int, low: float, high: float, log_e: float) -> SequentialResult:
        width = self.high - self.low
        interval = (self.low + width * low, self.low + width * high)
        estimate = self.low + width * float(self._sum[stream]) / self._n if self._n else math.nan
        if not self._n:
            log_e = 0.0
            sentence = "No value has come in, so nothing can be said about the mean."
        else:
            relation = {"two-sided": "differs from", "greater": "is above", "less": "is below"}[self.alternative]
            claim = f"the mean {relation} {self.null:g}"
            sentence = (
                f"After {self._n:,} values the mean is {estimate:.4g} ({span(interval, self.alpha)}); "
                f"{weighed(log_e, self.alpha, claim=claim)}."
            )
        return SequentialResult(estimate, interval, log_e, self._n, log_threshold(self.alpha), sentence, self.alpha)


def bounded_mean(values: npt.NDArray[Any], low: float = 0.0, high: float = 1.0, **settings: Any) -> SequencePath:
    """`BoundedMean` after each value.

    Args:
        values: in the order of time along the last axis; other axes are streams of their own.
        low: the least possible value.
        high: the largest possible value.
        settings: the other arguments of `BoundedMean`, but for `streams`.

    >>> path = bounded_mean(np.random.default_rng(0).beta(2, 6, 1000))
    >>> bool(path.lower[-1] < 0.25 < path.upper[-1]), bool(path.upper[-1] < path.upper[99])
    (True, True)
    """
    state = BoundedMean(low, high, **settings)
    scaled = state._scaled(values)
    shape = scaled.shape
    x = scaled.reshape(math.prod(shape[:-1]), shape[-1])
    n = np.arange(1, x.shape[1] + 1)
    bets, _, _ = _bets(x, 0, np.zeros(len(x)), np.zeros(len(x)), state._target())
    target = state._target()
    lower, upper = np.zeros(x.shape), np.ones(x.shape)
    candidates = state._candidates[:-1]
    if state.alternative != "less":
        lower = _walked(x, bets, candidates, target, 0)
    if state.alternative != "greater":
        upper = _walked(x, bets, candidates[::-1], target, 1)
    log_e = _path(x, bets, state._candidates[-1], state.alternative)
    width = state.high - state.low
    parts = (np.cumsum(x, axis=-1) / n, lower, upper)
    shown = [np.asarray(state.low + width * part).reshape(shape) for part in parts]
    return SequencePath(shown[0], shown[1], shown[2], log_e.reshape(shape))


def bounded_log_evidence(
    values: npt.NDArray[Any], null: float, low: float = 0.0, high: float = 1.0, **settings: Any
) -> Floats:
    """Only the log evidence of `bounded_mean`, at a small part of its cost.

    Args: as for `bounded_mean`; `null` is the mean under the null hypothesis.

    >>> path = bounded_log_evidence(np.full(200, 0.4), 0.5)
    >>> bool(path[-1] > math.log(20))
    True
    """
    state = BoundedMean(low, high, null=null, **settings)
    scaled = state._scaled(values)
    shape = scaled.shape
    x = scaled.reshape(math.prod(shape[:-1]), shape[-1])
    bets, _, _ = _bets(x, 0, np.zeros(len(x)), np.zeros(len(x)), state._target())
    return _path(x, bets, state._candidates[-1], state.alternative).reshape(shape)


def _path(x: Floats, bets: Floats, null: float, alternative: Alternative) -> Floats:
    upward, downward = _gains(x, bets, np.float64(null))
    return _hedged(np.cumsum(upward, axis=-1), np.cumsum(downward, axis=-1), alternative)


def _bets(x: Floats, n: int, total: Floats, residuals: Floats, target: float) -> tuple[Floats, Floats, Floats]:
    """Stakes that know only what came before, and the sums to carry on with."""
    t = n + np.arange(1, x.shape[1] + 1)
    sums = total[:, None] + np.cumsum(x, axis=1)
    # One imagined value of ½, and a variance of ¼, stand for what is known before the first.
    squares = residuals[:, None] + np.cumsum((x - (0.5 + sums) / (t + 1)) ** 2, axis=1)
    before = np.concatenate([residuals[:, None], squares[:, :-1]], axis=1)
    bets = np.sqrt(2 * target / ((0.25 + before) * np.log1p(t)))
    last = x.shape[1] - 1
    return (bets, sums[:, last], squares[:, last]) if last >= 0 else (bets, total, residuals)


def _gains(x: Floats, bets: Floats, mean: Floats | np.float64) -> tuple[Floats, Floats]:
    """Log growth of the wealth of those who bet on a higher and on a lower mean than the candidate."""
    gap = x - mean
    most_up = LARGEST_STAKE / np.maximum(mean, 1e-300)
    most_down = LARGEST_STAKE / np.maximum(1 - mean, 1e-300)
    return np.log1p(np.minimum(bets, most_up) * gap), np.log1p(-np.minimum(bets, most_down) * gap)


def _hedged(upward: Floats, downward: Floats, alternative: Alternative) -> Floats:
    """Log evidence against a candidate; two-sided each gambler has half of the stake."""
    if alternative == "greater":
        return upward
    if alternative == "less":
        return downward
    return np.asarray(np.maximum(upward, downward) - math.log(2))


def _kept(upward: Floats, downward: Floats, target: float, alternative: Alternative) -> tuple[Floats, Floats]:
    """The ends of the candidates that remain: the last one rejected from either side."""
    steps = upward.shape[1] - 1
    below = np.cumprod(upward >= target, axis=1).sum(axis=1)
    above = np.cumprod(downward[:, ::-1] >= target, axis=1).sum(axis=1)
    low = np.maximum(below - 1, 0) / steps if alternative != "less" else np.zeros(len(upward))
    high = 1 - np.maximum(above - 1, 0) / steps if alternative != "greater" else np.ones(len(upward))
    return low, high


def _walked(x: Floats, bets: Floats, candidates: Floats, target: float, side: int) -> Floats:
    """One end of the interval after each value: the last candidate that is rejected with all before it."""
    end = np.full(x.shape, candidates[0])
    open_still = np.ones(x.shape, dtype=np.bool_)
    for candidate in candidates:
        rejected = np.cumsum(_gains(x, bets, candidate)[side], axis=-1) >= target
        open_still &= rejected
        # Wealth is monotone in the candidate: where this one was rejected nowhere, none further on is.
        if not open_still.any():
            break
        end[open_still] = candidate
    return end
