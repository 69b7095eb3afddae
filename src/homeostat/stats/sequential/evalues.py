"""E-values together: averages, products, false discovery rates, and the way from and to p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import Floats, as_floats, checked_alpha, checked_values, odds
from homeostat.stats.sequential.state import State

Calibrator = Literal["mixture", "square root", "power"]


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Which of many null hypotheses are rejected at a false discovery rate of `alpha`, in the order given.

    `log_e` are the log e-values, `threshold` the least one that is rejected (infinite where none is), `estimate` the
    share rejected, `n` the number of hypotheses.
    """

    rejected: tuple[bool, ...]
    estimate: float
    log_e: tuple[float, ...]
    threshold: float
    n: int
    sentence: str
    alpha: float


def average_log_evidence(log_e: npt.NDArray[Any], weights: Sequence[float] | None = None, *, axis: int = -1) -> Floats:
    """The log of the average of e-values, an e-value however they depend on each other.

    It is evidence against "all of the null hypotheses are true". An average of e-processes in step with one another
    is an e-process too.

    Args:
        log_e: log e-values; minus infinity is the e-value 0.
        weights: of the e-values along `axis`, fixed beforehand; equal without.
        axis: along which to average.

    Raises:
        InvalidInput: missing e-values or none at all, weights that are negative, all 0 or of another number.

    Source: Vovk and Wang, "E-values: calibration, combination and applications" (2021): the only admissible
    symmetric way for arbitrary dependence.

    >>> float(average_log_evidence(np.log([10.0, 30.0])).round(4)) == round(math.log(20), 4)
    True
    """
    from scipy.special import logsumexp

    values = _checked_logs(log_e)
    size = values.shape[axis]
    if not size:
        raise InvalidInput("There is no e-value to average.")
    given = checked_values([1.0] * size if weights is None else list(weights), "weights", low=0)
    if given.shape != (size,) or not given.sum() > 0:
        raise InvalidInput(f"{size} weights that are not all 0 are needed; got {len(given)}.")
    shape = [1] * values.ndim
    shape[axis] = size
    return np.asarray(logsumexp(values, axis=axis, b=(given / given.sum()).reshape(shape)))


def product_log_evidence(log_e: npt.NDArray[Any], *, axis: int = -1) -> Floats:
    """The log of the product of e-values: an e-value where each is one given those before it, as independent ones are.

    Do not use it for metrics of the same rows: those depend on each other; `average_log_evidence` allows that.

    >>> float(product_log_evidence(np.log([4.0, 5.0])).round(4)) == round(math.log(20), 4)
    True
    """
    return np.asarray(_checked_logs(log_e).sum(axis=axis))


def p_to_log_e(p: npt.NDArray[Any] | float, *, calibrator: Calibrator = "mixture", kappa: float = 0.5) -> Floats:
    """Log e-values from p-values, by a calibrator: something is always lost, p = 0.05 gives less than 3 to 1.

    Args:
        p: p-values between 0 and 1, each from one look at a sample whose size was set beforehand.
        calibrator: `mixture` (1 − p + p ln p) / (p ln² p), `square root` 1/√p − 1, or `power` κ p^(κ−1).
        kappa: κ of `power`, between 0 and 1.

    Raises:
        InvalidInput: p-values outside 0 to 1, a calibrator that is not known, κ outside 0 to 1.

    Source: Shafer (2021) for the square root, Vovk and Wang (2021) for the others.

    >>> np.exp(p_to_log_e(np.array([0.05, 0.001]), calibrator="square root")).round(2).tolist()
    [3.47, 30.62]
    """
    values = checked_values(p, "p-values", low=0, high=1).reshape(np.shape(p))
    with np.errstate(divide="ignore", invalid="ignore"):
        if calibrator == "square root":
            return np.asarray(np.log(1 / np.sqrt(values) - 1))
        if calibrator == "power":
            if not 0 < kappa < 1:
                raise InvalidInput(f"Kappa must lie between 0 and 1; got {kappa}.")
            return np.asarray(math.log(kappa) + (kappa - 1) * np.log(values))
        if calibrator != "mixture":
            raise InvalidInput(f"The calibrator must be mixture, square root or power; got {calibrator!r}.")
        logs = np.log(values)
        direct = np.log1p(values * logs - values) - logs - 2 * np.log(-logs)
    # Near p = 1 the formula cancels; its series there is ½ + (1 − p)/6 + ...
    near = np.log(0.5 + (1 - values) / 6)
    return np.where(values > 1 - 1e-4, near, np.where(values == 0, np.inf, direct))


def e_to_p(log_e: npt.NDArray[Any] | float) -> Floats:
    """P-values from log e-values, min(1, 1/E): valid however often one looks where the e-values come from e-processes.

    >>> float(e_to_p(math.log(20)).round(4)), float(e_to_p(-3.0))
    (0.05, 1.0)
    """
    return np.asarray(np.exp(np.minimum(0.0, -_checked_logs(log_e)))).reshape(np.shape(log_e))


def running_p(log_path: npt.NDArray[Any]) -> Floats:
    """The p-value after each step of an e-process, along the last axis: 1 over the most evidence so far.

    >>> running_p(np.log([2.0, 40.0, 5.0])).round(3).tolist()
    [0.5, 0.025, 0.025]
    """
    return e_to_p(np.maximum.accumulate(_checked_logs(log_path), axis=-1))


def e_bh(log_e: npt.NDArray[Any], alpha: float = 0.05) -> DiscoveryResult:
    """Rejects those of many null hypotheses whose e-values allow it at a false discovery rate of `alpha`.

    With the e-values sorted downwards, the k largest are rejected for the largest k with k · e₍ₖ₎ ≥ K/α. Holds however
    the e-values depend on each other, which the Benjamini–Hochberg procedure for p-values does not.

    Args:
        log_e: one log e-value a hypothesis.
        alpha: the false discovery rate.

    Raises:
        InvalidInput: a rate that is none, missing e-values, or more than one row of them.

    Source: Wang and Ramdas, "False discovery rate control with e-values" (2022).

    >>> e_bh(np.log([90.0, 2.0, 35.0, 0.5])).rejected
    (True, False, False, False)
    >>> e_bh(np.log([90.0, 2.0, 45.0, 0.5])).rejected
    (True, False, True, False)
    """
    checked_alpha(alpha)
    values = np.atleast_1d(_checked_logs(log_e))
    if values.ndim != 1:
        raise InvalidInput(f"One row of e-values is needed; got an array of shape {values.shape}.")
    n = len(values)
    ranked = np.sort(values)[::-1]
    needed = math.log(max(n, 1) / alpha) - np.log(np.arange(1, n + 1))
    # The last digit of a logarithm must not decide an e-value that lies exactly on the line.
    passed = np.flatnonzero(ranked >= needed - 1e-12)
    threshold = float(ranked[passed[-1]]) if len(passed) else math.inf
    rejected = values >= threshold
    found = int(rejected.sum())
    sentence = f"{found} of {n} null hypotheses are rejected at a false discovery rate of {alpha:g}" + (
        f", those with evidence of at least {odds(threshold)}." if found and math.isfinite(threshold) else "."
    )
    return DiscoveryResult(
        rejected=tuple(bool(one) for one in rejected),
        estimate=found / n if n else math.nan,
        log_e=tuple(float(one) for one in values),
        threshold=threshold,
        n=n,
        sentence=sentence,
        alpha=alpha,
    )


class ELond(State):
    """Decides null hypotheses as they come, one e-value each, at a false discovery rate of `alpha` over all of them.

    The t-th is rejected at E ≥ 1/αₜ with αₜ = α γₜ (1 + rejections so far) and γₜ = 1/(t(t + 1)), which sum to 1. Holds
    however the e-values depend on each other, and however many hypotheses come.

    Raises:
        InvalidInput: a rate that is none; in `decide`, a missing e-value.

    Source: Xu and Ramdas, "Online multiple testing with e-values" (2024).

    >>> watch = ELond(0.1)
    >>> [watch.decide(math.log(e)) for e in (25.0, 10.0, 80.0)]
    [True, False, True]
    """

    _settings: ClassVar[tuple[str, ...]] = ("alpha",)
    _carried: ClassVar[tuple[str, ...]] = ("tested", "rejected")

    def __init__(self, alpha: float = 0.05) -> None:
        self.alpha = checked_alpha(alpha)
        self.tested = 0
        self.rejected = 0

    @property
    def level(self) -> float:
        """The level αₜ of the next hypothesis."""
        t = self.tested + 1
        return min(1.0, self.alpha * (1 + self.rejected) / (t * (t + 1)))

    def decide(self, log_e: float) -> bool:
        """Whether the next null hypothesis is rejected; the decision stands."""
        value = float(_checked_logs(log_e))
        rejected = value >= -math.log(self.level) - 1e-12
        self.tested += 1
        self.rejected += int(rejected)
        return rejected


def _checked_logs(log_e: Any) -> Floats:
    values = as_floats(log_e, "log e-values")
    if np.isnan(values).any():
        raise InvalidInput("There are missing values among the log e-values; leave those out first.")
    return values
