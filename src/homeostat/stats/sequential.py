"""Inference that stays valid however often it is looked at: e-values, betting and e-detectors.

An e-value has expectation at most 1 while the null hypothesis holds, at every stopping time, so by Ville's inequality
"act once E ≥ 1/α" is wrong with probability at most α over the whole run, whoever looks and whenever. All evidence
here is returned as a natural logarithm, so that hour-long streams neither overflow nor vanish.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024); Shin, Ramdas and
Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (2023); Robbins, "Statistical methods
related to the law of the iterated logarithm" (1970), for the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
LOWEST_BASELINE = 1e-3


@overload
def paired_log_evidence(wins: int, losses: int) -> float: ...
@overload
def paired_log_evidence(wins: npt.NDArray[Any], losses: npt.NDArray[Any]) -> Floats: ...
def paired_log_evidence(wins: int | npt.NDArray[Any], losses: int | npt.NDArray[Any]) -> float | Floats:
    """Log evidence that wins are likelier than losses, from two versions that scored the same rows.

    Only rows on which exactly one of the two was right count: with `s` wins among `n` such rows, under the null
    hypothesis that a win has probability at most ½, E = 2ⁿ · 2 ∫_{½}^{1} θˢ(1−θ)ⁿ⁻ˢ dθ is an e-process: a uniform
    mixture over θ > ½ of likelihood ratios against θ = ½. Swap the arguments for the evidence that wins are rarer.

    Args:
        wins: how often the version of interest alone was right so far; an integer or an array.
        losses: how often the other alone was right; of the same shape.

    Returns:
        log E, one for each pair of counts; act at `log E >= log(1/α)`.

    >>> round(math.exp(paired_log_evidence(10, 0)), 2)
    186.09
    >>> paired_log_evidence(0, 0)
    0.0
    """
    from scipy.special import betainc, betaln

    s = np.asarray(wins, dtype=np.float64)
    f = np.asarray(losses, dtype=np.float64)
    if np.any(s < 0) or np.any(f < 0):
        raise InvalidInput("Wins and losses are counts and can't be negative.")
    s, f = np.broadcast_arrays(s, f)
    tail = np.asarray(betainc(f + 1, s + 1, 0.5))
    ordinary = tail > 1e-280
    with np.errstate(divide="ignore"):
        result = (s + f + 1) * math.log(2) + betaln(s + 1, f + 1) + np.log(tail)
    if not ordinary.all():
        result = np.array(result)
        result[~ordinary] = _far_tail(s[~ordinary], f[~ordinary])
    # At (0, 0) rounding leaves 1e-16; the evidence of nothing is exactly none.
    result = np.where(s + f == 0, 0.0, result)
    return float(result) if np.ndim(wins) == 0 and np.ndim(losses) == 0 else result


def _far_tail(s: Floats, f: Floats) -> Floats:
    """Log E where losses outweigh wins so far that the incomplete beta function is below the smallest float.

    E = F / (2(f + 1)), where F is the continued fraction of the incomplete beta function at ½ (DLMF 8.17.22), computed
    by Lentz's method; so far out in the tail it settles within a few dozen steps.
    """
    a, b = f + 1, s + 1
    tiny = 1e-300
    c = np.ones_like(a)
    d = 1.0 / (1.0 - (a + b) / (a + 1) / 2)
    fraction = d.copy()
    for m in range(1, 10_000):
        even = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) / 2
        d = 1.0 / np.where(np.abs(step := 1 + even * d) < tiny, tiny, step)
        c = np.where(np.abs(step := 1 + even / c) < tiny, tiny, step)
        fraction = fraction * (c * d)
        odd = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) / 2
        d = 1.0 / np.where(np.abs(step := 1 + odd * d) < tiny, tiny, step)
        c = np.where(np.abs(step := 1 + odd / c) < tiny, tiny, step)
        change = c * d
        fraction = fraction * change
        if np.all(np.abs(change - 1) < 1e-13):
            break
    return np.asarray(np.log(fraction) - np.log(2 * a))


def betting_log_evidence(
    differences: npt.NDArray[Any], bound: float, *, fractions: Sequence[float] = FRACTIONS
) -> Floats:
    """The path of the log evidence that the mean of bounded differences is above zero.

    The null hypothesis is that each difference, clipped to [−bound, bound], has mean at most 0 given those before it.
    A gambler stakes a fixed fraction of the wealth on each difference; the evidence is the average wealth over several
    fractions (Waudby-Smith and Ramdas 2024). Clipping means that the claim is about the clipped differences.

    Args:
        differences: in the order of time along the last axis; other axes are streams of their own.
        bound: the largest difference that counts, above 0.
        fractions: stakes between 0 and 1 that are averaged.

    Returns:
        log E after each difference, in the shape of `differences`.

    >>> path = betting_log_evidence(np.full(100, 0.5), bound=1.0)
    >>> bool(path[-1] > math.log(20)), bool(betting_log_evidence(-np.ones(9), 1.0)[-1] < 0)
    (True, True)
    """
    values = np.asarray(differences, dtype=np.float64)
    if not (bound > 0 and math.isfinite(bound)):
        raise InvalidInput(f"The bound of the differences must be a number above 0; got {bound}.")
    _no_nan(values, "differences")
    scaled = np.clip(values / bound, -1.0, 1.0)
    average = np.full(values.shape, -np.inf)
    for fraction in _stakes(fractions):
        np.logaddexp(average, np.cumsum(np.log1p(fraction * scaled), axis=-1), out=average)
    return average - math.log(len(fractions))


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

    >>> path = loss_detector(np.repeat([0.0, 1.0], [50, 20]), baseline=0.1)
    >>> bool(path[49] < 50), bool(path[-1] > 10_000)
    (True, True)
    """
    values = np.asarray(losses, dtype=np.float64)
    _no_nan(values, "losses")
    if values.size and (values.min() < 0 or values.max() > 1):
        raise InvalidInput("Losses must lie between 0 and 1; scale them by their largest possible value.")
    if not 0 <= baseline < 1:
        raise InvalidInput(f"The baseline of losses must lie in [0, 1); got {baseline}.")
    mean = max(baseline, LOWEST_BASELINE)
    relative = values / mean - 1.0
    total = np.full(values.shape, -np.inf)
    for fraction in _stakes(fractions):
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
        if not 0 <= baseline < 1:
            raise InvalidInput(f"The baseline of losses must lie in [0, 1); got {baseline}.")
        self.baseline = baseline
        self.rows = 0
        self._fractions = tuple(_stakes(fractions))
        self._logs = np.full(len(self._fractions), -np.inf)

    @property
    def log_statistic(self) -> float:
        """Log M after the losses so far; minus infinity before the first."""
        return float(np.logaddexp.reduce(self._logs)) - math.log(len(self._fractions))

    def update(self, losses: npt.NDArray[Any]) -> float:
        """Take in further losses between 0 and 1; returns log M after the last."""
        values = np.asarray(losses, dtype=np.float64)
        _no_nan(values, "losses")
        if values.size and (values.min() < 0 or values.max() > 1):
            raise InvalidInput("Losses must lie between 0 and 1; scale them by their largest possible value.")
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

    >>> change_point(np.repeat([0.0, 1.0, 0.0, 1.0], [60, 1, 20, 40]))
    81
    """
    values = np.asarray(losses, dtype=np.float64)
    _no_nan(values, "losses")
    n = len(values)
    if n < 2 * shortest or values.min() == values.max():
        return 0
    starts = np.arange(shortest, n - shortest + 1)
    before = np.cumsum(values)[starts - 1]
    after = values.sum() - before
    first, second = before / starts, after / (n - starts)
    if values.min() >= 0 and values.max() <= 1:
        gain = starts * _negative_entropy(first) + (n - starts) * _negative_entropy(second)
    else:
        gain = starts * first**2 + (n - starts) * second**2
    return int(starts[np.argmax(gain)])


def _negative_entropy(mean: Floats) -> Floats:
    from scipy.special import xlogy

    inside = np.clip(mean, 0.0, 1.0)
    return np.asarray(xlogy(inside, inside) + xlogy(1 - inside, 1 - inside))


def _stakes(fractions: Sequence[float]) -> Sequence[float]:
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise InvalidInput(f"The fractions to bet must lie between 0 and 1; got {tuple(fractions)}.")
    return fractions


def _no_nan(values: Floats, name: str) -> None:
    if np.isnan(values).any():
        raise InvalidInput(f"There are missing values among the {name}; leave those rows out first.")
