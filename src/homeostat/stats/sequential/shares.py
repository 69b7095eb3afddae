"""A share of yes and no: an exact confidence sequence from the beta mixture, of counts alone."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import (
    Floats,
    SequentialResult,
    as_floats,
    checked_alpha,
    checked_number,
    checked_outcomes,
    checked_values,
    log_threshold,
    span,
    weighed,
)
from homeostat.stats.sequential.state import State

# Jeffreys' prior: narrow wherever the share may lie.
PRIOR = 0.5


class Share(State):
    """A confidence sequence for a share, such as an error rate, from outcomes of 0 and 1.

    Assumes outcomes with the same chance given those before. The evidence against a share θ is the beta mixture of
    likelihood ratios, B(½ + s, ½ + f) / (B(½, ½) θˢ (1 − θ)ᶠ) for s ones and f zeros: it depends on counts alone.

    Args:
        null: the share under the null hypothesis, strictly between 0 and 1.
        alpha: the error rate.

    Raises:
        InvalidInput: a share of 0 or 1 to test; in `update`, outcomes other than 0 and 1.

    Source: Robbins (1970); Howard, Ramdas, McAuliffe and Sekhon (2021) for the beta-binomial mixture.

    >>> result = Share(0.5).update(np.repeat([1, 0], [80, 20])).result()
    >>> result.decided, [round(end, 3) for end in result.interval]
    (True, [0.648, 0.909])
    """

    _settings: ClassVar[tuple[str, ...]] = ("null", "alpha")
    _carried: ClassVar[tuple[str, ...]] = ("_ones", "_zeros")

    def __init__(self, null: float = 0.5, *, alpha: float = 0.05) -> None:
        self.null = checked_number(null, "share under the null hypothesis", low=0, high=1)
        if not 0 < self.null < 1:
            raise InvalidInput(f"A share of {null:g} is refuted by a single outcome; test one between 0 and 1.")
        self.alpha = checked_alpha(alpha)
        self._ones = 0
        self._zeros = 0

    def update(self, outcomes: npt.NDArray[Any]) -> Self:
        """Take in further outcomes of 0 and 1."""
        array = checked_outcomes(outcomes, "outcomes")
        ones = int(array.sum())
        self._ones += ones
        self._zeros += array.size - ones
        return self

    def result(self) -> SequentialResult:
        """What can be said now."""
        n = self._ones + self._zeros
        log_e = float(share_log_evidence(self._ones, n, self.null))
        low, high = share_interval(self._ones, n, alpha=self.alpha)
        interval = (float(low), float(high))
        estimate = self._ones / n if n else math.nan
        sentence = (
            f"Of {n:,} outcomes a share of {estimate:.4g} were 1 ({span(interval, self.alpha)}); "
            f"{weighed(log_e, self.alpha, claim=f'the share differs from {self.null:g}')}."
            if n
            else "No outcome has come in, so nothing can be said about the share."
        )
        return SequentialResult(estimate, interval, log_e, n, log_threshold(self.alpha), sentence, self.alpha)


def share_log_evidence(
    ones: npt.NDArray[Any] | int, n: npt.NDArray[Any] | int, null: npt.NDArray[Any] | float
) -> Floats:
    """The log evidence that a share is not `null`, from counts of ones among `n` outcomes; arrays broadcast.

    Raises:
        InvalidInput: more ones than outcomes, negative counts, or a share that is not between 0 and 1.

    >>> round(float(share_log_evidence(80, 100, 0.5)), 3)
    16.743
    """
    s, f = _counts(ones, n)
    shares = checked_values(null, "shares", low=0, high=1).reshape(np.shape(null))
    if np.any((shares == 0) | (shares == 1)):
        raise InvalidInput("A share of 0 or 1 is refuted by a single outcome; test one between 0 and 1.")
    return beta_log_evidence(s, f, shares, PRIOR, PRIOR)


def share_interval(
    ones: npt.NDArray[Any] | int, n: npt.NDArray[Any] | int, *, alpha: float = 0.05
) -> tuple[Floats, Floats]:
    """The confidence sequence of a share: all shares against which the evidence is below 1/α; arrays broadcast.

    Raises:
        InvalidInput: more ones than outcomes, or negative counts.

    >>> low, high = share_interval(np.array([0, 5]), np.array([0, 10]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0, 0.118], [1.0, 0.882])
    """
    s, f = _counts(ones, n)
    target = log_threshold(checked_alpha(alpha))
    total = s + f
    middle = np.where(total > 0, s / np.maximum(total, 1), 0.5)
    low = _root(s, f, target, np.zeros_like(middle), middle)
    high = _root(s, f, target, np.ones_like(middle), middle)
    # With no outcome of a kind the likelihood is flat towards that end and the end itself stays possible.
    return np.where(s > 0, low, 0.0), np.where(f > 0, high, 1.0)


def beta_log_evidence(s: Floats, f: Floats, share: Any, a: float, b: float) -> Floats:
    """Log of the mixture over Beta(a, b) of the likelihood ratio of `s` ones and `f` zeros against a share."""
    from scipy.special import betaln, xlog1py, xlogy

    return np.asarray(betaln(a + s, b + f) - betaln(a, b) - xlogy(s, share) - xlog1py(f, -np.asarray(share)))


def _root(s: Floats, f: Floats, target: float, outside: Floats, inside: Floats) -> Floats:
    """Where the evidence reaches the target between an end of [0, 1] and the observed share."""
    from scipy.special import betaln, xlog1py, xlogy

    needed = betaln(PRIOR + s, PRIOR + f) - betaln(PRIOR, PRIOR) - target
    for _ in range(55):
        middle = (outside + inside) / 2
        with np.errstate(divide="ignore"):
            rejected = xlogy(s, middle) + xlog1py(f, -middle) <= needed
        outside, inside = np.where(rejected, middle, outside), np.where(rejected, inside, middle)
    return outside


def _counts(ones: Any, n: Any) -> tuple[Floats, Floats]:
    s, total = np.broadcast_arrays(as_floats(ones, "counts of ones"), as_floats(n, "numbers of outcomes"))
    if not (np.isfinite(s).all() and np.isfinite(total).all() and (s >= 0).all() and (s <= total).all()):
        raise InvalidInput("Counts of ones must lie between 0 and the number of outcomes.")
    return s, total - s
