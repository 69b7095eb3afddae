"""Sample-ratio mismatch: do units reach the arms in the shares they were meant to?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import (
    Floats,
    checked_alpha,
    checked_number,
    checked_values,
    log_threshold,
    odds,
)
from homeostat.stats.sequential.state import State


@dataclass(frozen=True, slots=True)
class SampleRatioResult:
    """Shares of the arms now: `estimate` and `interval` hold one entry an arm; the intervals hold for all arms at once.

    `log_e` is the log evidence that units do not reach the arms as meant; a mismatch once it reaches `threshold`.
    """

    estimate: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]
    log_e: float
    n: int
    threshold: float
    sentence: str
    alpha: float
    sizes: tuple[int, ...]

    @property
    def decided(self) -> bool:
        """Whether the evidence suffices to call a mismatch."""
        return self.log_e >= self.threshold

    @property
    def p(self) -> float:
        """The p-value at this moment, min(1, 1/E)."""
        return math.exp(min(0.0, -self.log_e))


class SampleRatio(State):
    """Watches that units reach the arms in the shares they were meant to, at every unit.

    Assumes that each unit is assigned with the same chances given those before: count units when they first appear,
    not requests, and start anew where the weights of the arms change. The evidence is a Dirichlet mixture of
    multinomial likelihoods around the meant shares against them; it depends on counts alone.

    Args:
        weights: what the arms are meant to get; any positive numbers, one an arm.
        alpha: the error rate over the whole run.
        concentration: the parameters of the Dirichlet prior add up to this; the larger, the smaller the mismatch that
            is found late, and the later the large one.

    Raises:
        InvalidInput: fewer than two weights or one that is not above 0; in `update`, counts that are no whole
            numbers of 0 or more, or of another number of arms.

    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data" (2022; arXiv 2011.03567).

    >>> result = SampleRatio([0.5, 0.5]).update([5300, 4700]).result()
    >>> result.decided, round(result.log_e, 2)
    (True, 15.52)
    """

    _settings: ClassVar[tuple[str, ...]] = ("weights", "alpha", "concentration")
    _carried: ClassVar[tuple[str, ...]] = ("_counts",)

    def __init__(self, weights: Sequence[float], *, alpha: float = 0.05, concentration: float = 100.0) -> None:
        self.weights = tuple(float(weight) for weight in checked_values(list(weights), "weights", low=0))
        if len(self.weights) < 2 or not min(self.weights) > 0:
            raise InvalidInput(f"At least two arms with weights above 0 are needed; got {self.weights}.")
        self.alpha = checked_alpha(alpha)
        self.concentration = checked_number(concentration, "concentration", low=1e-6)
        self._shares = np.asarray(self.weights) / sum(self.weights)
        self._counts = np.zeros(len(self.weights))

    def update(self, counts: npt.NDArray[Any] | Sequence[int]) -> Self:
        """Take in how many further units reached each arm."""
        self._counts = self._counts + _checked_counts(counts, len(self.weights))
        return self

    def result(self) -> SampleRatioResult:
        """What can be said now."""
        n = int(self._counts.sum())
        sizes = tuple(int(count) for count in self._counts)
        threshold = log_threshold(self.alpha)
        if not n:
            everything = ((0.0, 1.0),) * len(sizes)
            sentence = "No unit has been assigned, so nothing can be said about the shares."
            nothing = (math.nan,) * len(sizes)
            return SampleRatioResult(nothing, everything, 0.0, 0, threshold, sentence, self.alpha, sizes)
        log_e = float(_log_evidence(self._counts, self._shares, self.concentration))
        found = self._counts / n
        interval = tuple(self._interval(arm) for arm in range(len(sizes)))
        worst = int(np.argmax(np.abs(found - self._shares)))
        low, high = interval[worst]
        verdict = "units do not reach the arms as meant" if log_e >= threshold else "no mismatch has shown"
        sentence = (
            f"Arm {worst + 1} got {found[worst]:.2%} of {n:,} units where {self._shares[worst]:.2%} was meant "
            f"({100 * (1 - self.alpha):g} % confidence sequence {low:.2%} to {high:.2%}): {verdict} "
            f"(evidence {odds(log_e)}, p = {math.exp(min(0.0, -log_e)):.3g}; {1 / self.alpha:.4g} to 1 decides)."
        )
        estimate = tuple(float(share) for share in found)
        return SampleRatioResult(estimate, interval, log_e, n, threshold, sentence, self.alpha, sizes)

    def _interval(self, arm: int) -> tuple[float, float]:
        """All shares of an arm that some vector of shares not refuted yet allows."""
        counts, n = self._counts, self._counts.sum()
        # For a share p of this arm, the least refuted vector splits the rest as the other counts do.
        others = np.delete(counts, arm)
        rest = others.sum()
        fixed = float((others[others > 0] * np.log(others[others > 0] / rest)).sum()) if rest else 0.0
        prior = _log_prior_ratio(counts, self._shares, self.concentration)

        def evidence(share: float) -> float:
            own = counts[arm] * math.log(share) if counts[arm] else 0.0
            return float(prior) - own - (rest * math.log1p(-share) if rest else 0.0) - fixed

        target, middle = log_threshold(self.alpha), float(counts[arm] / n)
        ends = []
        for end, closed in ((0.0, counts[arm] == 0), (1.0, rest == 0)):
            outside, inside = end, middle
            for _ in range(0 if closed else 55):
                between = (outside + inside) / 2
                rejected = between in {0.0, 1.0} or evidence(between) >= target
                outside, inside = (between, inside) if rejected else (outside, between)
            ends.append(outside)
        return ends[0], ends[1]


def sample_ratio_log_evidence(
    counts: npt.NDArray[Any], weights: Sequence[float], *, concentration: float = 100.0
) -> Floats:
    """The log evidence that counts do not follow the weights.

    Args:
        counts: units in each arm so far, arms along the last axis; other axes are moments or streams.
        weights: what the arms are meant to get.
        concentration: as in `SampleRatio`.

    Raises:
        InvalidInput: as for `SampleRatio`.

    >>> sample_ratio_log_evidence(np.array([[50, 50], [80, 20]]), [1, 1]).round(2).tolist()
    [-0.35, 8.84]
    """
    state = SampleRatio(weights, concentration=concentration)
    return _log_evidence(_checked_counts(counts, len(state.weights)), state._shares, state.concentration)


def _log_prior_ratio(counts: Floats, shares: Floats, concentration: float) -> Floats:
    from scipy.special import gammaln

    prior = concentration * shares
    n = counts.sum(axis=-1)
    ratio = gammaln(concentration) - gammaln(concentration + n)
    return np.asarray(ratio + (gammaln(prior + counts) - gammaln(prior)).sum(axis=-1))


def _log_evidence(counts: Floats, shares: Floats, concentration: float) -> Floats:
    return np.asarray(_log_prior_ratio(counts, shares, concentration) - (counts * np.log(shares)).sum(axis=-1))


def _checked_counts(counts: Any, arms: int) -> Floats:
    array = checked_values(counts, "counts", low=0)
    if array.shape[-1] != arms:
        raise InvalidInput(f"Counts of {arms} arms are needed; got an array of shape {array.shape}.")
    if (array != np.floor(array)).any():
        raise InvalidInput("Counts of units must be whole numbers.")
    return array
