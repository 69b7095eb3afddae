"""A stream of losses that has risen: e-detectors (Shiryaev and Roberts), and where a change lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.betting import FRACTIONS, checked_stakes
from homeostat.stats.sequential.result import as_floats

Floats = npt.NDArray[np.float64]

LOWEST_BASELINE = 1e-3


def loss_detector(
    losses: npt.NDArray[Any], baseline: float, *, fractions: Sequence[float] = FRACTIONS, log: bool = False
) -> Floats:
    """The path of an e-detector for a mean loss that has risen above its baseline.

    Each e-detector follows Mₜ = (Mₜ₋₁ + 1) · Lₜ (Shiryaev and Roberts) with the bet Lₜ = 1 + φ (lossₜ − μ)/μ; their
    average over the fractions φ is one too. While the mean of every loss given the past stays at or below μ, "alarm at
    M ≥ A" has an average run length of at least A losses (Shin, Ramdas and Rinaldo 2023); a change at any moment is
    met without knowing when it came. A baseline below 0.001 counts as 0.001, which only makes the detector milder.

    Args:
        losses: between 0 and 1, in the order of time along the last axis; 0/1 for right/wrong.
        baseline: the mean loss μ that is still in order, below 1.
        fractions: stakes between 0 and 1 that are averaged.
        log: give log M, which can't overflow, instead of M.

    Returns:
        M after each loss, in the shape of `losses`; infinite where it passes the largest float.

    Raises:
        InvalidInput: losses outside 0 to 1 or missing, a baseline outside [0, 1), a fraction outside (0, 1).

    >>> path = loss_detector(np.repeat([0.0, 1.0], [50, 20]), baseline=0.1)
    >>> bool(path[49] < 50), bool(path[-1] > 10_000)
    (True, True)
    """
    values = checked_losses(losses)
    if not values.ndim:
        one_stream(values)
    check_baseline(baseline)
    mean = max(baseline, LOWEST_BASELINE)
    relative = values / mean - 1.0
    total = np.full(values.shape, -np.inf)
    for fraction in checked_stakes(fractions):
        bets = np.log1p(fraction * relative)
        wealth = np.cumsum(bets, axis=-1)
        # M is the sum over starts j of the wealth won since j: log M_t = S_t + log Σ_{j ≤ t} exp(−S_{j−1}).
        np.logaddexp(total, wealth + np.logaddexp.accumulate(bets - wealth, axis=-1), out=total)
    total -= math.log(len(fractions))
    if log:
        return total
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(total))


class LossDetector:
    """`loss_detector` carried along: new losses are taken in at a cost that does not depend on how many came before.

    >>> losses = np.repeat([0.0, 1.0, 0.0], [40, 10, 5])
    >>> carried = LossDetector(0.1)
    >>> for part in np.array_split(losses, 7):
    ...     statistic = carried.update(part)
    >>> bool(np.isclose(statistic, loss_detector(losses, 0.1, log=True)[-1]))
    True
    """

    def __init__(self, baseline: float, *, fractions: Sequence[float] = FRACTIONS) -> None:
        check_baseline(baseline)
        self.baseline = baseline
        self.rows = 0
        self._fractions = tuple(checked_stakes(fractions))
        self._logs = np.full(len(self._fractions), -np.inf)

    @property
    def log_statistic(self) -> float:
        """Log M after the losses so far; minus infinity before the first."""
        return float(np.logaddexp.reduce(self._logs)) - math.log(len(self._fractions))

    def update(self, losses: npt.NDArray[Any]) -> float:
        """Take in further losses between 0 and 1; returns log M after the last."""
        values = one_stream(checked_losses(losses))
        if values.size:
            relative = values / max(self.baseline, LOWEST_BASELINE) - 1.0
            for position, fraction in enumerate(self._fractions):
                bets = np.log1p(fraction * relative)
                wealth = np.cumsum(bets)
                starts = np.logaddexp.reduce(bets - wealth)
                self._logs[position] = wealth[-1] + np.logaddexp(self._logs[position], starts)
            self.rows += len(values)
        return self.log_statistic


def change_point(losses: npt.NDArray[Any], *, shortest: int = 10) -> int:
    """The most likely start of the current level of a stream: the index of the first loss after a single change.

    It maximises the likelihood of one change of the mean (Bernoulli for values in [0, 1], normal with one variance
    otherwise) with at least `shortest` values on either side. It locates a change that something else has found, and
    does not test for one. 0 where the values are constant or too few to be divided.

    Args:
        losses: finite values in the order of time.
        shortest: the fewest values before and after the change, at least 1.

    Returns:
        The index of the first value after the change.

    Raises:
        InvalidInput: values that are missing, infinite, no numbers or no single stream; `shortest` below 1.

    >>> change_point(np.repeat([0.0, 1.0, 0.0, 1.0], [60, 1, 20, 40]))
    81
    """
    values = one_stream(_numbers(losses))
    if np.isinf(values).any():
        raise InvalidInput("There are infinite values among the losses; leave those rows out or cap them first.")
    if shortest < 1:
        raise InvalidInput(f"At least one value must lie on either side of a change; got shortest={shortest}.")
    n = len(values)
    if n < 2 * shortest or values.min() == values.max():
        return 0
    bounded = values.min() >= 0 and values.max() <= 1
    if not bounded:
        # The likelihood knows no origin; squares of means far from zero would cancel to nothing.
        values = values - values.mean()
    starts = np.arange(shortest, n - shortest + 1)
    before = np.cumsum(values)[starts - 1]
    after = values.sum() - before
    first, second = before / starts, after / (n - starts)
    if bounded:
        gain = starts * _negative_entropy(first) + (n - starts) * _negative_entropy(second)
    else:
        gain = starts * first**2 + (n - starts) * second**2
    return int(starts[np.argmax(gain)])


def checked_losses(losses: npt.ArrayLike) -> Floats:
    """Losses as floats; `InvalidInput` where one is missing, no number, or not between 0 and 1."""
    values = _numbers(losses)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise InvalidInput("Losses must lie between 0 and 1; scale them by their largest possible value.")
    return values


def check_baseline(baseline: float) -> None:
    """Raise `InvalidInput` for a mean loss outside [0, 1)."""
    if not 0 <= baseline < 1:
        raise InvalidInput(f"The baseline of losses must lie in [0, 1); got {baseline}.")


def one_stream(values: Floats) -> Floats:
    """The values where they are one stream; `InvalidInput` for several, or for a bare number."""
    if values.ndim != 1:
        raise InvalidInput(f"Losses must be one stream (a list of numbers); got an array of shape {values.shape}.")
    return values


def _numbers(losses: npt.ArrayLike) -> Floats:
    values = as_floats(losses, "losses")
    if np.isnan(values).any():
        raise InvalidInput("There are missing values among the losses; leave those rows out first.")
    return values


def _negative_entropy(mean: Floats) -> Floats:
    from scipy.special import xlogy

    inside = np.clip(mean, 0.0, 1.0)
    return np.asarray(xlogy(inside, inside) + xlogy(1 - inside, 1 - inside))
