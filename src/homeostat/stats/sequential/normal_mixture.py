"""The normal mixture: the boundary behind confidence sequences for sums of bounded spread."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import Floats, checked_alpha, checked_values


def normal_mixture_rho(v: float, alpha: float = 0.05, *, one_sided: bool = False) -> float:
    """The ρ that makes the boundary (nearly) as narrow as can be at intrinsic time `v`.

    Args:
        v: the intrinsic time to be narrow at, above 0: the sum of the variances (proxies) of the values.
        alpha: the error rate of the boundary.
        one_sided: for the one-sided boundary.

    Raises:
        InvalidInput: a time or rate that is none; one-sided boundaries need alpha below ½.

    Source: Howard, Ramdas, McAuliffe and Sekhon (2021), Proposition 3 and its approximation in closed form.

    >>> round(normal_mixture_rho(100, 0.05), 5)
    12.60056
    """
    level = checked_alpha(alpha) * (2 if one_sided else 1)
    if not (math.isfinite(v) and v > 0):
        raise InvalidInput(f"The time to be narrow at must be above 0; got {v}.")
    if level >= 1:
        raise InvalidInput(f"A one-sided boundary needs alpha below 0.5; got {alpha}.")
    return v / (-2 * math.log(level) + math.log1p(-2 * math.log(level)))


def normal_mixture_log_evidence(
    s: npt.NDArray[Any] | float, v: npt.NDArray[Any] | float, *, rho: float, one_sided: bool = False
) -> Floats:
    """The log evidence that a sum `s` with intrinsic time `v` has drifted from 0.

    Null hypothesis: exp(λs − λ²v/2) is a supermartingale for every λ (for every λ ≥ 0 one-sided), as it is for sums of
    independent normal values with variances that add up to v, or of values within [−c, c] of mean 0 with v = n c².
    The evidence is the mixture of these over λ normal with mean 0 and variance 1/ρ (one-sided: its positive half).

    Args:
        s: sums of values less their mean under the null hypothesis; an array or a number.
        v: intrinsic times, at least 0; broadcast against `s`.
        rho: from `normal_mixture_rho`.
        one_sided: count only positive sums as evidence.

    Raises:
        InvalidInput: missing values, a negative time, or a ρ that is not above 0.

    Source: Robbins (1970); Howard, Ramdas, McAuliffe and Sekhon (2021).

    >>> rho = normal_mixture_rho(100, 0.05)
    >>> round(float(normal_mixture_log_evidence(10, 100, rho=rho)), 7)
    -0.6510052
    """
    sums, times = checked_values(s, "sums"), checked_values(v, "times", low=0)
    _check_rho(rho)
    result = mixture_log_evidence(sums, times, rho, one_sided=one_sided)
    return result.reshape(np.broadcast_shapes(np.shape(s), np.shape(v)))


def normal_mixture_bound(
    v: npt.NDArray[Any] | float, alpha: float = 0.05, *, rho: float, one_sided: bool = False
) -> Floats:
    """The boundary that a sum with intrinsic time `v` ever crosses with probability at most `alpha`.

    Two-sided it bounds |s|, one-sided s. It inverts `normal_mixture_log_evidence` exactly: at the boundary the
    evidence is 1/α.

    Raises:
        InvalidInput: a rate, time or ρ that is none.

    >>> round(float(normal_mixture_bound(100, 0.05, rho=normal_mixture_rho(100, 0.05))), 5)
    30.35209
    """
    times = checked_values(v, "times", low=0)
    _check_rho(rho)
    return mixture_bound(times, checked_alpha(alpha), rho, one_sided=one_sided).reshape(np.shape(v))


def mixture_log_evidence(s: Floats, v: Floats, rho: float, *, one_sided: bool) -> Floats:
    """`normal_mixture_log_evidence` on values that were checked."""
    spread = v + rho
    result = 0.5 * (math.log(rho) - np.log(spread)) + s * s / (2 * spread)
    if one_sided:
        from scipy.special import log_ndtr

        result = result + math.log(2) + log_ndtr(s / np.sqrt(spread))
    return np.asarray(result)


def mixture_bound(v: Floats, alpha: float, rho: float, *, one_sided: bool) -> Floats:
    """`normal_mixture_bound` on values that were checked."""
    target = -math.log(alpha)
    high = np.sqrt((v + rho) * (np.log1p(v / rho) + 2 * target))
    if not one_sided:
        return np.asarray(high)
    # One-sided evidence is at least the two-sided for positive sums, so its boundary lies between 0 and the two-sided.
    low = np.zeros_like(high)
    for _ in range(60):
        middle = (low + high) / 2
        above = mixture_log_evidence(middle, v, rho, one_sided=True) >= target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(high)


def _check_rho(rho: float) -> None:
    if not (math.isfinite(rho) and rho > 0):
        raise InvalidInput(f"Rho must be a number above 0, as normal_mixture_rho gives; got {rho}.")
