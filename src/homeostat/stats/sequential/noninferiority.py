"""Non-inferiority: is the new arm not worse by more than a margin, or is it?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.betting import FRACTIONS
from homeostat.stats.sequential.bounded import BoundedMean
from homeostat.stats.sequential.result import (
    Floats,
    checked_alpha,
    checked_count,
    checked_number,
    checked_values,
    log_threshold,
    odds,
    span,
)
from homeostat.stats.sequential.state import State

Standing = Literal["not worse", "worse", "open"]


@dataclass(frozen=True, slots=True)
class NonInferiorityResult:
    """Whether the new arm holds its margin; `estimate` and `interval` are of the mean difference, new minus old.

    `log_e` is the log evidence that it is not worse by the margin or more, `log_e_worse` that it is worse by more than
    the margin. Each ever reaches `threshold` wrongly with probability at most `alpha`.
    """

    estimate: float
    interval: tuple[float, float]
    log_e: float
    log_e_worse: float
    n: int
    threshold: float
    sentence: str
    alpha: float
    standing: Standing

    @property
    def p(self) -> float:
        """The p-value of non-inferiority at this moment, min(1, 1/E)."""
        return math.exp(min(0.0, -self.log_e))


class NonInferiority(State):
    """Two-way evidence on a margin, from bounded differences of which more is better.

    A difference is new minus old of one pair (both versions on one row), or of one block of independent units (the
    mean of the new arm's units less the mean of the old arm's). Assumes that each lies within [−bound, bound] and has
    the same mean given those before; nothing else. Evidence is the average wealth over bets of several fixed fractions
    that the mean lies above −margin, and that it lies below.

    For shares of independent arms, `TwoBernoulli(margin=-margin, alternative="greater")` is sharper.

    Args:
        margin: the loss that is still acceptable, at least 0 and below `bound`.
        bound: the largest difference possible.
        alpha: the error rate of either decision.
        grid: the number of candidates of the interval.

    Raises:
        InvalidInput: a margin that is not in [0, bound); in `update`, differences that are missing or beyond the bound.

    Source: the bets are those of Waudby-Smith and Ramdas (2024), averaged over fixed fractions.

    >>> differences = np.random.default_rng(0).choice([-1, 0, 1], p=[0.04, 0.92, 0.04], size=6000)
    >>> NonInferiority(0.02).update(differences).result().standing
    'not worse'
    """

    _settings: ClassVar[tuple[str, ...]] = ("margin", "bound", "alpha", "grid")
    _carried: ClassVar[tuple[str, ...]] = ("_above", "_below", "_mean")

    def __init__(self, margin: float, *, bound: float = 1.0, alpha: float = 0.05, grid: int = 1000) -> None:
        self.bound = checked_number(bound, "bound of the differences")
        if not self.bound > 0:
            raise InvalidInput(f"The bound of the differences must be above 0; got {bound:g}.")
        self.margin = checked_number(margin, "margin", low=0)
        if self.margin >= self.bound:
            raise InvalidInput(
                f"A margin of {margin:g} allows every loss up to the bound {bound:g}; give a smaller one."
            )
        self.alpha = checked_alpha(alpha)
        self.grid = checked_count(grid, "number of candidates", least=10)
        self._above = np.zeros(len(FRACTIONS))
        self._below = np.zeros(len(FRACTIONS))
        self._mean = BoundedMean(-self.bound, self.bound, null=-self.margin, alpha=self.alpha, grid=self.grid)

    def update(self, differences: npt.NDArray[Any]) -> Self:
        """Take in further differences, new minus old."""
        values = checked_values(differences, "differences", low=-self.bound, high=self.bound).ravel()
        for position, fraction in enumerate(FRACTIONS):
            above, below = _log_gains(values, self.margin, self.bound, fraction)
            self._above[position] += above.sum()
            self._below[position] += below.sum()
        self._mean.update(values)
        return self

    def result(self) -> NonInferiorityResult:
        """What can be said now."""
        mean = self._mean.result()
        log_e = float(np.logaddexp.reduce(self._above)) - math.log(len(FRACTIONS))
        worse = float(np.logaddexp.reduce(self._below)) - math.log(len(FRACTIONS))
        threshold = log_threshold(self.alpha)
        standing: Standing = "open"
        if log_e >= threshold and log_e >= worse:
            standing = "not worse"
        elif worse >= threshold:
            standing = "worse"
        said = {
            "not worse": f"the new arm is not worse by {self.margin:g} or more",
            "worse": f"the new arm is worse by more than {self.margin:g}",
            "open": f"it can't be said yet whether the new arm is worse by {self.margin:g}",
        }[standing]
        sentence = (
            f"Over {mean.n:,} differences the new arm is {mean.estimate:+.4g} against the old "
            f"({span(mean.interval, self.alpha)}): {said} (evidence {odds(log_e)} for not worse, {odds(worse)} for "
            f"worse, p = {math.exp(min(0.0, -log_e)):.3g}; {1 / self.alpha:.4g} to 1 decides)."
            if mean.n
            else "No difference has come in, so nothing can be said about the margin."
        )
        return NonInferiorityResult(
            mean.estimate, mean.interval, log_e, worse, mean.n, threshold, sentence, self.alpha, standing
        )


def noninferiority_log_evidence(
    differences: npt.NDArray[Any], margin: float, *, bound: float = 1.0
) -> tuple[Floats, Floats]:
    """The log evidence of `NonInferiority` after each difference: that the margin holds, and that it does not.

    Args:
        differences: new minus old, in the order of time along the last axis; other axes are streams of their own.
        margin: the loss that is still acceptable.
        bound: the largest difference possible.

    Raises:
        InvalidInput: as for `NonInferiority`.

    >>> holds, broken = noninferiority_log_evidence(np.zeros(400), 0.05)
    >>> bool(holds[-1] > math.log(20)), bool(broken[-1] < 0)
    (True, True)
    """
    state = NonInferiority(margin, bound=bound)
    values = checked_values(differences, "differences", low=-state.bound, high=state.bound)
    above, below = np.full(values.shape, -np.inf), np.full(values.shape, -np.inf)
    for fraction in FRACTIONS:
        gains = _log_gains(values, state.margin, state.bound, fraction)
        np.logaddexp(above, np.cumsum(gains[0], axis=-1), out=above)
        np.logaddexp(below, np.cumsum(gains[1], axis=-1), out=below)
    return above - math.log(len(FRACTIONS)), below - math.log(len(FRACTIONS))


def _log_gains(values: Floats, margin: float, bound: float, fraction: float) -> tuple[Floats, Floats]:
    """Log growth of bets that the mean lies above −margin, and below; each may lose `fraction` at most."""
    gap = values + margin
    return np.log1p(fraction * gap / (bound - margin)), np.log1p(-fraction * gap / (bound + margin))
