"""Two versions on the same rows: a confidence sequence for the difference of their shares of right answers."""

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
    checked_outcomes,
    log_threshold,
    span,
    weighed,
)
from homeostat.stats.sequential.state import State

# Stakes that are averaged: the best one is about the gap to the candidate over the share of discordant rows.
STAKES = np.geomspace(1e-4, 0.9, 24)


class PairedDifference(State):
    """A confidence sequence for the accuracy of a new version less that of the old, on rows that both scored.

    Assumes that on every row, given those before, the difference (1 where only the new version is right, −1 where only
    the old one is) has the same mean. The interval holds every mean against which bets of fixed stakes, averaged over
    the stakes, have won less than 2/α in either direction: that depends on counts alone. The evidence that the two
    differ counts discordant rows only, the uniform mixture over the chance θ of a win against θ = ½. It is the sharper
    of the two, so it may decide a little before the interval leaves 0.

    For one direction, and for acting on it, `paired_log_evidence` of the same counts is sharper.

    Raises:
        InvalidInput: in `update`, answers other than 0 and 1, or not as many of both versions.

    Sources: Robbins (1970) for the mixture; Waudby-Smith and Ramdas (2024) for averages of fixed bets.

    >>> rng = np.random.default_rng(0)
    >>> old, new = rng.random(4000) < 0.90, rng.random(4000) < 0.94
    >>> result = PairedDifference().update(old, new).result()
    >>> result.decided, result.interval[0] > 0
    (True, True)
    """

    _settings: ClassVar[tuple[str, ...]] = ("alpha",)
    _carried: ClassVar[tuple[str, ...]] = ("_wins", "_losses", "_rows")

    def __init__(self, *, alpha: float = 0.05) -> None:
        self.alpha = checked_alpha(alpha)
        self._wins = 0
        self._losses = 0
        self._rows = 0

    def update(self, old_right: npt.NDArray[Any], new_right: npt.NDArray[Any]) -> Self:
        """Take in further rows: whether the old and whether the new version was right on each."""
        old = checked_outcomes(old_right, "answers of the old version")
        new = checked_outcomes(new_right, "answers of the new version")
        if len(old) != len(new):
            raise InvalidInput(f"Both versions must have scored the same rows; there are {len(old)} and {len(new)}.")
        self._wins += int((new > old).sum())
        self._losses += int((new < old).sum())
        self._rows += len(old)
        return self

    def result(self) -> SequentialResult:
        """What can be said now; `sizes` holds the rows on which only the old and only the new version was right."""
        low, high = paired_difference_interval(self._wins, self._losses, self._rows, alpha=self.alpha)
        interval = (float(low), float(high))
        log_e = float(paired_difference_log_evidence(self._wins, self._losses))
        estimate = (self._wins - self._losses) / self._rows if self._rows else math.nan
        sentence = (
            f"Of {self._rows:,} rows only the new version was right on {self._wins:,} and only the old one on "
            f"{self._losses:,}, a difference of {estimate:+.4g} ({span(interval, self.alpha)}); "
            f"{weighed(log_e, self.alpha, claim='the two are not equally often right')}."
            if self._rows
            else "No row has come in, so nothing can be said about the difference."
        )
        return SequentialResult(
            estimate,
            interval,
            log_e,
            self._rows,
            log_threshold(self.alpha),
            sentence,
            self.alpha,
            (self._losses, self._wins),
        )


def paired_difference_log_evidence(wins: npt.NDArray[Any] | int, losses: npt.NDArray[Any] | int) -> Floats:
    """The log evidence that wins and losses are not equally likely: the uniform mixture over all chances of a win.

    It is the average of `paired_log_evidence` in both directions. Arrays broadcast.

    >>> round(float(paired_difference_log_evidence(10, 0)), 4) == round(math.log(2**10 / 11), 4)
    True
    """
    from scipy.special import betaln

    s, f, _ = _counts(wins, losses, 2.0**53)
    return np.where(s + f == 0, 0.0, (s + f) * math.log(2) + betaln(s + 1, f + 1))


def paired_difference_interval(
    wins: npt.NDArray[Any] | int,
    losses: npt.NDArray[Any] | int,
    rows: npt.NDArray[Any] | int,
    *,
    alpha: float = 0.05,
) -> tuple[Floats, Floats]:
    """The confidence sequence of `PairedDifference` from counts; arrays broadcast.

    Args:
        wins: rows on which only the new version was right.
        losses: rows on which only the old version was right.
        rows: all rows so far.
        alpha: the error rate.

    Raises:
        InvalidInput: negative counts, or more wins and losses than rows.

    >>> low, high = paired_difference_interval(150, 60, 2000)
    >>> round(float(low), 3), round(float(high), 3)
    (0.02, 0.071)
    """
    checked_alpha(alpha)
    s, f, n = _counts(wins, losses, rows)
    ties = n - s - f
    middle = np.where(n > 0, (s - f) / np.maximum(n, 1), 0.0)
    target = math.log(2 / alpha)
    return _refuted(s, ties, f, middle, target), -_refuted(f, ties, s, -middle, target)


def _refuted(wins: Floats, ties: Floats, losses: Floats, middle: Floats, target: float) -> Floats:
    """The largest difference that is refuted from below; the wealth of those who bet on more falls with it."""
    low, high = np.full_like(middle, -1.0), middle
    flat = np.log1p(-STAKES)
    for _ in range(50):
        between = (low + high) / 2
        gain = STAKES / np.maximum(1 + between, 1e-300)[..., None]
        wealth = wins[..., None] * np.log1p(2 * gain - STAKES) + ties[..., None] * np.log1p(gain - STAKES)
        wealth = np.logaddexp.reduce(wealth + losses[..., None] * flat, axis=-1) - math.log(len(STAKES))
        refuted = wealth >= target
        low, high = np.where(refuted, between, low), np.where(refuted, high, between)
    return np.asarray(low)


def _counts(wins: Any, losses: Any, rows: Any) -> tuple[Floats, Floats, Floats]:
    s, f, n = np.broadcast_arrays(*(as_floats(part, "counts") for part in (wins, losses, rows)))
    # Counts beyond 2^53 aren't whole numbers any more.
    if not ((s >= 0).all() and (f >= 0).all() and (n <= 2.0**53).all() and (s <= n).all() and (s + f <= n).all()):
        raise InvalidInput("Wins and losses are counts, and together at most the number of rows.")
    return s, f, n
