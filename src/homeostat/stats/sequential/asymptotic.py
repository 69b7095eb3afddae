"""Asymptotic confidence sequences: means of values without known bounds, once there are enough of them."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.moments import cumulative_moments, merged, moments
from homeostat.stats.sequential.normal_mixture import mixture_bound, mixture_log_evidence, normal_mixture_rho
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

BURN_IN = 100
LYAPUNOV_LIMIT = 0.04


class _Settings(State):
    """What both confidence sequences are told."""

    _settings: ClassVar[tuple[str, ...]] = ("null", "alpha", "alternative", "tight_at", "burn_in", "lyapunov_limit")

    def __init__(
        self,
        null: float = 0.0,
        *,
        alpha: float = 0.05,
        alternative: Alternative = "two-sided",
        tight_at: int = 1000,
        burn_in: int = BURN_IN,
        lyapunov_limit: float = LYAPUNOV_LIMIT,
    ) -> None:
        self.null = checked_number(null, "value under the null hypothesis")
        self.alpha = checked_alpha(alpha)
        self.alternative = checked_alternative(alternative)
        self.tight_at = checked_count(tight_at, "number of values to be narrow at")
        self.burn_in = checked_count(burn_in, "burn-in", least=2)
        self.lyapunov_limit = checked_number(lyapunov_limit, "limit of Lyapunov's ratio", low=0)
        self._rho = normal_mixture_rho(self.tight_at, self.alpha, one_sided=self.alternative != "two-sided")


class AsymptoticMean(_Settings):
    """A confidence sequence for a mean, from values whose bounds nobody knows.

    Assumes independent values with a finite variance; they need not have one distribution: where they differ, the
    sequence is about the average of their means so far, under Lyapunov's condition, which is checked on the data. It
    is asymptotic: the chance of ever missing the truth after the burn-in tends to at most α as the burn-in grows. So
    nothing is said (an infinite interval, no evidence) before `burn_in` values have come in and while Lyapunov's ratio
    Σ(x − x̄)⁴ / (Σ(x − x̄)²)², the kurtosis over n, exceeds `lyapunov_limit`. At 0.04 that takes 75 normal values, or 25
    events of a rare kind. The evidence is asymptotic in the same sense: it inverts the interval exactly.

    Rows of one entity are not independent: feed one value for each entity.

    Args:
        null: the mean under the null hypothesis.
        alpha: the error rate.
        alternative: `two-sided`, or that the mean is `greater` or `less` than `null`.
        tight_at: the number of values at which the interval shall be narrowest relative to others.
        burn_in: values before the first interval.
        lyapunov_limit: the largest ratio at which something is said.

    Raises:
        InvalidInput: a setting that means nothing; in `update`, values that are missing, infinite or no numbers.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences" (2024; arXiv 2103.06476).

    >>> values = np.random.default_rng(0).normal(0.3, 1.0, 2000)
    >>> result = AsymptoticMean().update(values[:800]).update(values[800:]).result()
    >>> result.decided, bool(result.interval[0] < 0.3 < result.interval[1])
    (True, True)
    """

    _carried: ClassVar[tuple[str, ...]] = ("_moments",)

    def __init__(
        self,
        null: float = 0.0,
        *,
        alpha: float = 0.05,
        alternative: Alternative = "two-sided",
        tight_at: int = 1000,
        burn_in: int = BURN_IN,
        lyapunov_limit: float = LYAPUNOV_LIMIT,
    ) -> None:
        super().__init__(
            null,
            alpha=alpha,
            alternative=alternative,
            tight_at=tight_at,
            burn_in=burn_in,
            lyapunov_limit=lyapunov_limit,
        )
        self._moments = np.zeros(5)

    def update(self, values: npt.NDArray[Any]) -> Self:
        """Take in further values."""
        self._moments = merged(self._moments, moments(checked_values(values, "values").ravel()))
        return self

    def result(self) -> SequentialResult:
        """What can be said now."""
        n, mean, m2, _, m4 = self._moments
        ready = is_ready(n, mean, m2, m4, self)
        variance = m2 / max(n - 1, 1)
        low, high, log_e = _bounds(mean, variance / max(n, 1), n, ready, self)
        estimate = float(mean) if n else math.nan
        interval = (float(low), float(high))
        if not n:
            sentence = "No value has come in, so nothing can be said about the mean."
        elif not ready:
            sentence = (
                f"{_shown(n, 'value')} with mean {estimate:.4g}: too few or too uneven for an interval, which needs "
                f"{self.burn_in} values and a Lyapunov ratio of at most {self.lyapunov_limit:g} "
                f"(now {m4 / m2**2 if m2 else math.inf:.3g})."
            )
        else:
            claim = f"the mean {_relation(self.alternative)} {self.null:g}"
            sentence = (
                f"After {_shown(n, 'value')} the mean is {estimate:.4g} ({span(interval, self.alpha)}); "
                f"{weighed(float(log_e), self.alpha, claim=claim)}."
            )
        return SequentialResult(
            estimate, interval, float(log_e), int(n), log_threshold(self.alpha), sentence, self.alpha
        )


class AsymptoticDifference(_Settings):
    """A confidence sequence for the difference of two arms' means, second minus first.

    Assumes that units were assigned to the arms at random and that values are independent, as for `AsymptoticMean`;
    the arms may differ in size and variance, and shares may change over time as long as they do not follow the
    outcomes. Nothing is said before both arms are past the burn-in and Lyapunov's ratio. The boundary is that of a
    mean, in the intrinsic time (σ₁² + σ₂²)/(σ₁²/n₁ + σ₂²/n₂), which is the size of an arm where both are equal.

    Args: as for `AsymptoticMean`; `null` is the difference under the null hypothesis, `burn_in` holds for each arm.

    Raises:
        InvalidInput: as for `AsymptoticMean`.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024; arXiv 2103.06476); that the difference is a Brownian
    motion in its information: Jennison and Turnbull (2000), chapter 11.

    >>> rng = np.random.default_rng(0)
    >>> state = AsymptoticDifference(alternative="greater").update(rng.exponential(1, 900), rng.exponential(1.4, 3000))
    >>> state.result().decided
    True
    """

    _carried: ClassVar[tuple[str, ...]] = ("_first", "_second")

    def __init__(
        self,
        null: float = 0.0,
        *,
        alpha: float = 0.05,
        alternative: Alternative = "two-sided",
        tight_at: int = 1000,
        burn_in: int = BURN_IN,
        lyapunov_limit: float = LYAPUNOV_LIMIT,
    ) -> None:
        super().__init__(
            null,
            alpha=alpha,
            alternative=alternative,
            tight_at=tight_at,
            burn_in=burn_in,
            lyapunov_limit=lyapunov_limit,
        )
        self._first = np.zeros(5)
        self._second = np.zeros(5)

    def update(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Self:
        """Take in further values of both arms, either of which may have none."""
        one = moments(checked_values(first, "values of the first arm").ravel())
        two = moments(checked_values(second, "values of the second arm").ravel())
        self._first, self._second = merged(self._first, one), merged(self._second, two)
        return self

    def result(self) -> SequentialResult:
        """What can be said now."""
        sizes = (int(self._first[0]), int(self._second[0]))
        ready = all(is_ready(arm[0], arm[1], arm[2], arm[4], self) for arm in (self._first, self._second))
        estimate, error, time = _difference(self._first[:3], self._second[:3])
        low, high, log_e = _bounds(estimate, error, time, np.bool_(ready), self)
        interval = (float(low), float(high))
        shown = float(estimate) if min(sizes) else math.nan
        if not min(sizes):
            sentence = f"Both arms need values to be compared; there are {sizes[0]} and {sizes[1]}."
        elif not ready:
            sentence = (
                f"The means differ by {shown:+.4g} over {sizes[0]} and {sizes[1]} values: too few or too uneven for an "
                f"interval, which needs {self.burn_in} values and a Lyapunov ratio of at most "
                f"{self.lyapunov_limit:g} in each arm."
            )
        else:
            claim = f"the difference {_relation(self.alternative)} {self.null:g}"
            sentence = (
                f"After {sizes[0]} and {sizes[1]} values the means are {self._first[1]:.4g} and {self._second[1]:.4g}, "
                f"a difference of {shown:+.4g} ({span(interval, self.alpha)}); "
                f"{weighed(float(log_e), self.alpha, claim=claim)}."
            )
        return SequentialResult(
            shown, interval, float(log_e), sum(sizes), log_threshold(self.alpha), sentence, self.alpha, sizes
        )


def asymptotic_mean(values: npt.NDArray[Any], null: float = 0.0, **settings: Any) -> SequencePath:
    """`AsymptoticMean` after each value.

    Args:
        values: in the order of time along the last axis; other axes are streams of their own.
        null: the mean under the null hypothesis.
        settings: the other arguments of `AsymptoticMean`.

    >>> path = asymptotic_mean(np.random.default_rng(0).normal(0.3, 1.0, 2000))
    >>> bool(np.isinf(path.upper[98])), bool(path.log_e[-1] > math.log(20))
    (True, True)
    """
    state = AsymptoticMean(null, **settings)
    n, mean, m2, m4 = cumulative_moments(checked_values(values, "values"))
    ready = is_ready(n, mean, m2, m4, state)
    low, high, log_e = _bounds(mean, m2 / np.maximum(n - 1, 1) / n, n, ready, state)
    return SequencePath(mean, low, high, log_e)


def asymptotic_difference(
    values: npt.NDArray[Any], second_arm: npt.NDArray[Any], null: float = 0.0, **settings: Any
) -> SequencePath:
    """`AsymptoticDifference` after each value of either arm.

    Args:
        values: of both arms, in the order of time along the last axis; other axes are streams of their own.
        second_arm: True where a value is the second arm's; broadcast against `values`.
        null: the difference under the null hypothesis.
        settings: the other arguments of `AsymptoticDifference`.
    """
    state = AsymptoticDifference(null, **settings)
    x = checked_values(values, "values")
    arms = np.asarray(second_arm)
    if arms.dtype != np.bool_ or arms.shape[-1:] != x.shape[-1:]:
        raise InvalidInput("The arms must be given as one truth value for each value.")
    second = np.broadcast_to(arms, x.shape).astype(np.float64)
    n1, mean1, m2_1, m4_1 = cumulative_moments(x, 1 - second)
    n2, mean2, m2_2, m4_2 = cumulative_moments(x, second)
    ready = is_ready(n1, mean1, m2_1, m4_1, state)
    ready &= is_ready(n2, mean2, m2_2, m4_2, state)
    estimate, error, time = _difference((n1, mean1, m2_1), (n2, mean2, m2_2))
    low, high, log_e = _bounds(estimate, error, time, ready, state)
    return SequencePath(np.where((n1 > 0) & (n2 > 0), estimate, np.nan), low, high, log_e)


def is_ready(n: Any, mean: Any, m2: Any, m4: Any, settings: _Settings) -> npt.NDArray[np.bool_]:
    """Whether the normal approximation may be used: enough values that are not constant, none of which weighs too much.

    A spread of 1e-10 of the mean or less is rounding.
    """
    varied = m2 > 1e-20 * n * mean * mean
    return np.asarray((n >= settings.burn_in) & varied & (m4 <= settings.lyapunov_limit * m2 * m2))


def _difference(first: Any, second: Any) -> tuple[Any, Any, Any]:
    """Difference of means, its squared standard error and its intrinsic time."""
    (n1, mean1, m2_1), (n2, mean2, m2_2) = first, second
    variance_1, variance_2 = m2_1 / np.maximum(n1 - 1, 1), m2_2 / np.maximum(n2 - 1, 1)
    error = variance_1 / np.maximum(n1, 1) + variance_2 / np.maximum(n2, 1)
    time = (variance_1 + variance_2) / np.where(error > 0, error, 1.0)
    return mean2 - mean1, error, time


def _bounds(estimate: Any, error: Any, time: Any, ready: Any, state: _Settings) -> tuple[Floats, Floats, Floats]:
    """Interval and log evidence from an estimate, its squared standard error and its intrinsic time."""
    one_sided = state.alternative != "two-sided"
    v = np.where(ready, time, 1.0)
    scale = np.where(ready, np.sqrt(np.where(error > 0, error, 1.0) / v), 1.0)
    margin = mixture_bound(v, state.alpha, state._rho, one_sided=one_sided) * scale
    s = (estimate - state.null) / scale
    if state.alternative == "less":
        s = -s
    log_e = mixture_log_evidence(s, v, state._rho, one_sided=one_sided)
    low = np.where(ready, estimate - margin, -np.inf) if state.alternative != "less" else np.full_like(v, -np.inf)
    high = np.where(ready, estimate + margin, np.inf) if state.alternative != "greater" else np.full_like(v, np.inf)
    return low, high, np.where(ready, log_e, 0.0)


def _relation(alternative: Alternative) -> str:
    return {"two-sided": "differs from", "greater": "is above", "less": "is below"}[alternative]


def _shown(n: Any, noun: str) -> str:
    return f"{int(n):,} {noun}" + ("" if n == 1 else "s")
