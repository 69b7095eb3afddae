"""Quantiles, such as the 99th percentile of latency: exact confidence sequences for one arm and between two."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.normal_mixture import normal_mixture_rho
from homeostat.stats.sequential.result import (
    Floats,
    SequentialResult,
    as_floats,
    checked_alpha,
    checked_count,
    checked_number,
    checked_values,
    log_threshold,
    span,
    weighed,
)
from homeostat.stats.sequential.shares import beta_log_evidence
from homeostat.stats.sequential.state import State

# Keeps the keys of positive values above 0 and those of negative values below, whatever the accuracy.
OFFSET = 2.0**40


class Bag(State):
    """How often each value came, to a relative accuracy; values only ever move outward when they are read back.

    Bins of equal relative width keep a stream of any length small: from a microsecond to a quarter of an hour there
    are 21,000 at an accuracy of 0.001. With accuracy 0 every value is kept.
    """

    _settings: ClassVar[tuple[str, ...]] = ("accuracy",)
    _carried: ClassVar[tuple[str, ...]] = ("_keys", "_counts")

    def __init__(self, accuracy: float = 0.001) -> None:
        self.accuracy = checked_number(accuracy, "accuracy", low=0, high=0.5)
        if 0 < self.accuracy < 1e-8:
            raise InvalidInput("Give an accuracy of at least 1e-8, or 0 to keep every value.")
        self._keys: Floats = np.zeros(0)
        self._counts: Floats = np.zeros(0)

    @property
    def n(self) -> int:
        """The number of values."""
        return int(self._counts.sum())

    def update(self, values: npt.NDArray[Any]) -> Self:
        """Take in further values."""
        keys = np.concatenate([self._keys, self.keys(checked_values(values, "values").ravel())])
        counts = np.concatenate([self._counts, np.ones(len(keys) - len(self._counts))])
        self._keys, where = np.unique(keys, return_inverse=True)
        self._counts = np.bincount(where, weights=counts, minlength=len(self._keys)).astype(np.float64)
        return self

    def keys(self, values: Floats) -> Floats:
        """The bins of values, as numbers in the values' order."""
        if not self.accuracy:
            return values
        sizes = np.abs(values)
        steps = np.floor(np.log(np.where(sizes > 0, sizes, 1.0)) / math.log1p(self.accuracy))
        return np.sign(values) * np.where(sizes > 0, OFFSET + steps, 0.0)

    def edges(self) -> tuple[Floats, Floats]:
        """The least and the largest value that each bin may hold."""
        if not self.accuracy:
            return self._keys, self._keys
        steps = np.abs(self._keys) - OFFSET
        filled = self._keys != 0
        width = math.log1p(self.accuracy)
        # A little more than the bin, so that rounding never leaves a value outside.
        small = np.where(filled, np.exp(np.where(filled, steps, 0.0) * width) * (1 - 1e-9), 0.0)
        large = np.where(filled, np.exp(np.where(filled, steps + 1, 0.0) * width) * (1 + 1e-9), 0.0)
        upward = self._keys >= 0
        return np.where(upward, small, -large), np.where(upward, large, -small)

    def middle(self, quantile: float) -> float:
        """The empirical quantile: the least value that the share `quantile` lies at or below."""
        low, high = self.edges()
        at = int(np.searchsorted(np.cumsum(self._counts), quantile * self.n * (1 - 1e-12)))
        return float((low[at] + high[at]) / 2)

    def counts_at(self, value: float) -> tuple[float, float]:
        """How many values lie surely below a value, and how many may lie at or below it."""
        key = self.keys(np.asarray([value]))[0]
        below = self._counts[self._keys < key].sum()
        return float(below), float(below + self._counts[self._keys == key].sum())


class Quantile(State):
    """A confidence sequence for one quantile, such as the 99th percentile of latency.

    Assumes independent values of one distribution, of any shape, with ties or without; exact at every size. The number
    of values at or below the true quantile is binomial; a beta mixture bounds it at all times, and the values of those
    ranks bound the quantile. Until about 5/(1 − q) values have come in the upper end of a high quantile is infinite.

    Args:
        quantile: which, between 0 and 1: 0.99 for the 99th percentile.
        null: a value to test, such as an agreed latency; no test without it.
        alpha: the error rate.
        tight_at: the number of values at which the interval shall be narrowest relative to others.
        accuracy: relative width of the bins that values are kept in; the interval is widened by as much at most.

    Raises:
        InvalidInput: a quantile of 0 or 1, a setting that means nothing; in `update`, missing or infinite values.

    Source: Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
    identification" (2022), the beta-binomial mixture for a fixed quantile.

    >>> latencies = np.random.default_rng(0).lognormal(3, 0.5, 4000)
    >>> result = Quantile(0.9, null=30.0).update(latencies).result()
    >>> result.decided, bool(result.interval[0] < math.exp(3 + 0.5 * 1.2816) < result.interval[1])
    (True, True)
    """

    _settings: ClassVar[tuple[str, ...]] = ("quantile", "null", "alpha", "tight_at", "accuracy")
    _carried: ClassVar[tuple[str, ...]] = ("_bag",)

    def __init__(
        self,
        quantile: float,
        *,
        null: float | None = None,
        alpha: float = 0.05,
        tight_at: int = 1000,
        accuracy: float = 0.001,
    ) -> None:
        self.quantile = _checked_quantile(quantile)
        self.null = None if null is None else checked_number(null, "value to test")
        self.alpha = checked_alpha(alpha)
        self.tight_at = checked_count(tight_at, "number of values to be narrow at")
        self._bag = Bag(accuracy)
        self.accuracy = self._bag.accuracy

    def update(self, values: npt.NDArray[Any]) -> Self:
        """Take in further values."""
        self._bag.update(values)
        return self

    def result(self) -> SequentialResult:
        """What can be said now."""
        n, target = self._bag.n, log_threshold(self.alpha)
        if not n:
            everywhere, sentence = (-math.inf, math.inf), "No value has come in, so nothing can be said."
            return SequentialResult(math.nan, everywhere, 0.0, 0, target, sentence, self.alpha)
        cost = _Cost(self.quantile, n, self.alpha, self.tight_at)
        interval = _interval(self._bag, cost, target)
        estimate = self._bag.middle(self.quantile)
        log_e = 0.0 if self.null is None else float(cost.least(*self._bag.counts_at(self.null)))
        sentence = f"Of {n:,} values the {_named(self.quantile)} is {estimate:.4g} ({span(interval, self.alpha)})"
        if self.null is not None:
            claim = f"the {_named(self.quantile)} differs from {self.null:g}"
            sentence += f"; {weighed(log_e, self.alpha, claim=claim)}"
        return SequentialResult(estimate, interval, log_e, n, target, sentence + ".", self.alpha)


class QuantileDifference(State):
    """A confidence sequence for the difference of two arms' quantiles, second minus first.

    Assumes independent values of one distribution in each arm. The evidence against "both quantiles are equal" is the
    least product, over every value that they might share, of the two arms' evidence against it; the interval holds
    every difference against which that product is below 1/α.

    Args: as for `Quantile`.

    Raises:
        InvalidInput: as for `Quantile`.

    Source: Howard and Ramdas (2022), the two-sample test of quantiles.

    >>> rng = np.random.default_rng(0)
    >>> state = QuantileDifference(0.9).update(rng.lognormal(3, 0.5, 4000), rng.lognormal(3.3, 0.5, 4000))
    >>> result = state.result()
    >>> result.decided, result.interval[0] > 0
    (True, True)
    """

    _settings: ClassVar[tuple[str, ...]] = ("quantile", "alpha", "tight_at", "accuracy")
    _carried: ClassVar[tuple[str, ...]] = ("_first", "_second")

    def __init__(self, quantile: float, *, alpha: float = 0.05, tight_at: int = 1000, accuracy: float = 0.001) -> None:
        self.quantile = _checked_quantile(quantile)
        self.alpha = checked_alpha(alpha)
        self.tight_at = checked_count(tight_at, "number of values to be narrow at")
        self._first, self._second = Bag(accuracy), Bag(accuracy)
        self.accuracy = self._first.accuracy

    def update(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Self:
        """Take in further values of both arms, either of which may have none."""
        self._first.update(first)
        self._second.update(second)
        return self

    def result(self) -> SequentialResult:
        """What can be said now."""
        sizes, target = (self._first.n, self._second.n), log_threshold(self.alpha)
        if not min(sizes):
            sentence = f"Both arms need values to be compared; there are {sizes[0]} and {sizes[1]}."
            everywhere = (-math.inf, math.inf)
            return SequentialResult(math.nan, everywhere, 0.0, sum(sizes), target, sentence, self.alpha, sizes)
        ends = [
            _Ends.of(bag, _Cost(self.quantile, bag.n, self.alpha, self.tight_at)) for bag in (self._first, self._second)
        ]
        interval = (-_furthest(ends[1], ends[0], target), _furthest(ends[0], ends[1], target))
        shared = np.union1d(self._first._keys, self._second._keys)
        log_e = float((ends[0].at(shared) + ends[1].at(shared)).min())
        middles = (self._first.middle(self.quantile), self._second.middle(self.quantile))
        estimate = middles[1] - middles[0]
        named = _named(self.quantile)
        sentence = (
            f"The {named} is {middles[0]:.4g} of {sizes[0]:,} values in the first arm and {middles[1]:.4g} of "
            f"{sizes[1]:,} in the second, a difference of {estimate:+.4g} ({span(interval, self.alpha)}); "
            f"{weighed(log_e, self.alpha, claim=f'the {named}s differ')}."
        )
        return SequentialResult(estimate, interval, log_e, sum(sizes), target, sentence, self.alpha, sizes)


def quantile_log_evidence(
    at_or_below: npt.NDArray[Any] | int,
    n: npt.NDArray[Any] | int,
    quantile: float,
    *,
    alpha: float = 0.05,
    tight_at: int = 1000,
) -> Floats:
    """The log evidence that a value is not the quantile, from how many of `n` values lie at or below it.

    For distributions without ties; `Quantile` also handles ties. Arrays broadcast.

    >>> quantile_log_evidence(np.array([900, 950]), 1000, 0.9).round(2).tolist()
    [-1.1, 13.64]
    """
    share = _checked_quantile(quantile)
    k, total = np.broadcast_arrays(as_floats(at_or_below, "counts"), as_floats(n, "numbers of values"))
    if not ((k >= 0).all() and (k <= total).all() and np.isfinite(total).all()):
        raise InvalidInput("The counts must lie between 0 and the number of values.")
    a, b = _prior(share, checked_alpha(alpha), checked_count(tight_at, "number of values to be narrow at"))
    return beta_log_evidence(k, total - k, share, a, b)


class _Cost:
    """Log evidence against a value being the quantile, from the number of values that lie below it."""

    def __init__(self, quantile: float, n: int, alpha: float, tight_at: int) -> None:
        self.quantile, self.n = quantile, n
        self._a, self._b = _prior(quantile, alpha, tight_at)
        # Evidence is convex in the count; its least lies within one of n·q.
        near = np.clip(np.arange(math.floor(n * quantile) - 3, math.floor(n * quantile) + 5), 0, n).astype(np.float64)
        self._cheapest = float(near[np.argmin(self.of(near))])

    def of(self, count: Any) -> Floats:
        k = np.asarray(count, dtype=np.float64)
        return beta_log_evidence(k, self.n - k, self.quantile, self._a, self._b)

    def least(self, fewest: Any, most: Any) -> Floats:
        """The least evidence over all counts in a range, which is what ties leave open."""
        return self.of(np.clip(self._cheapest, fewest, most))


class _Ends:
    """The values of an arm with the evidence against each, and the outside on either end."""

    def __init__(self, keys: Floats, low: Floats, high: Floats, costs: Floats, cumulated: Floats, cost: _Cost) -> None:
        self.keys, self.cost, self.cumulated = keys, cost, cumulated
        self.low = np.concatenate([[-np.inf], low, [np.inf]])
        self.high = np.concatenate([[-np.inf], high, [np.inf]])
        self.costs = np.concatenate([cost.of([0]), costs, cost.of([cost.n])])

    @classmethod
    def of(cls, bag: Bag, cost: _Cost) -> _Ends:
        cumulated = np.cumsum(bag._counts)
        low, high = bag.edges()
        return cls(bag._keys, low, high, cost.least(cumulated - bag._counts, cumulated), cumulated, cost)

    def at(self, keys: Floats) -> Floats:
        """The least evidence against each of some keys, which need not be the arm's own."""
        filled = np.concatenate([[0.0], self.cumulated])
        fewest = filled[np.searchsorted(self.keys, keys, side="left")]
        return self.cost.least(fewest, filled[np.searchsorted(self.keys, keys, side="right")])


def _furthest(first: _Ends, second: _Ends, target: float) -> float:
    """The largest difference, second minus first, that the evidence still allows."""
    # To the right of the cheapest value evidence rises, so the furthest affordable one is found by bisection.
    start = int(np.argmin(second.costs))
    rising = np.maximum.accumulate(second.costs[start:])
    left = target - first.costs
    reached = np.searchsorted(rising, left, side="left") - 1
    possible = reached >= 0
    if not possible.any():
        # Only where both arms refute every value, which the target forbids: evidence at the cheapest is at most 1.
        return math.inf
    high, low = second.high[start + reached[possible]], first.low[possible]
    # Where both may lie beyond all values, on the same side, their difference has no bound.
    return float(np.max(np.where(np.isinf(low), np.inf, high - np.where(np.isinf(low), 0.0, low))))


def _interval(bag: Bag, cost: _Cost, target: float) -> tuple[float, float]:
    ends = _Ends.of(bag, cost)
    kept = np.flatnonzero(ends.costs < target)
    return float(ends.low[kept[0]]), float(ends.high[kept[-1]])


def _prior(quantile: float, alpha: float, tight_at: int) -> tuple[float, float]:
    """The beta prior around the quantile that makes the boundary narrow at `tight_at` values."""
    spread = quantile * (1 - quantile)
    r = max(normal_mixture_rho(spread * tight_at, alpha) - spread, 1e-3 * spread)
    return r / (1 - quantile), r / quantile


def _checked_quantile(quantile: float) -> float:
    value = checked_number(quantile, "quantile", low=0, high=1)
    if not 0 < value < 1:
        raise InvalidInput("No sample bounds the quantiles 0 and 1; ask for one between.")
    return value


def _named(quantile: float) -> str:
    return "median" if quantile == 0.5 else f"{100 * quantile:g} % quantile"
