"""Two independent streams of yes and no: the e-process of Turner, Ly and Grünwald, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.bounded import BoundedMean
from homeostat.stats.sequential.result import (
    Alternative,
    Floats,
    SequentialResult,
    as_floats,
    checked_alpha,
    checked_alternative,
    checked_count,
    checked_number,
    checked_outcomes,
    log_threshold,
    span,
    weighed,
)
from homeostat.stats.sequential.state import State

# Both parameters of the beta prior of each arm: the paper's choice for blocks of one and one.
PRIOR = 0.18


class TwoBernoulli(State):
    """Evidence that two arms differ in a share, from independent outcomes of 0 and 1.

    Outcomes are taken in blocks of fixed sizes, such as (1, 1), or (9, 1) where nine in ten units go to the first arm;
    what does not fill a block waits for the next update. Each block is weighed by the shares that the blocks before it
    suggest, against the nearest shares that the null hypothesis allows. Assumes that within each arm every outcome has
    the arm's share as its chance given those before; exact at every size.

    The interval is of the difference of shares, second minus first, from bets on the blocks' differences
    (`BoundedMean`). It and the evidence are two methods at the same α, so near the threshold they may not agree; a
    decision goes by the evidence.

    Args:
        block: the outcomes of the first and of the second arm in a block.
        margin: the null hypothesis is a difference of this (`two-sided`), of at most this (`greater`), or of at least
            this (`less`); strictly between −1 and 1.
        alpha: the error rate.
        alternative: `two-sided`, or that the difference is `greater` or `less` than the margin.
        grid: the number of candidates of the interval.

    Raises:
        InvalidInput: a block without a size for each arm, a margin of 1 or −1; in `update`, outcomes other than 0
            and 1.

    Sources: Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
    stopping" (2024; arXiv 2106.02693); margins other than 0 by their projection on a line of equal difference (Turner
    and Grünwald 2023).

    >>> rng = np.random.default_rng(0)
    >>> state = TwoBernoulli().update(rng.random(600) < 0.1, rng.random(600) < 0.2)
    >>> state.result().decided
    True
    """

    _settings: ClassVar[tuple[str, ...]] = ("block", "margin", "alpha", "alternative", "grid")
    _carried: ClassVar[tuple[str, ...]] = (
        "_ones",
        "_sizes",
        "_log_e",
        "_waiting_first",
        "_waiting_second",
        "_difference",
    )

    def __init__(
        self,
        block: Sequence[int] = (1, 1),
        *,
        margin: float = 0.0,
        alpha: float = 0.05,
        alternative: Alternative = "two-sided",
        grid: int = 1000,
    ) -> None:
        if len(block) != 2:
            raise InvalidInput(f"A block has a size for each of the two arms; got {tuple(block)!r}.")
        self.block = (checked_count(block[0], "block's size"), checked_count(block[1], "block's size"))
        self.margin = checked_number(margin, "margin", low=-1, high=1)
        if abs(self.margin) == 1:
            raise InvalidInput("A margin of 1 or -1 leaves nothing to test; give one between.")
        self.alpha = checked_alpha(alpha)
        self.alternative = checked_alternative(alternative)
        self.grid = grid
        self._ones = np.zeros(2)
        self._sizes = np.zeros(2)
        self._log_e = 0.0
        self._waiting_first = np.zeros(0)
        self._waiting_second = np.zeros(0)
        self._difference = BoundedMean(
            -1, 1, null=self.margin, alpha=self.alpha, alternative=self.alternative, grid=grid
        )

    def update(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Self:
        """Take in further outcomes of both arms, either of which may have none."""
        one = np.append(self._waiting_first, checked_outcomes(first, "outcomes of the first arm"))
        two = np.append(self._waiting_second, checked_outcomes(second, "outcomes of the second arm"))
        blocks = min(len(one) // self.block[0], len(two) // self.block[1])
        used = (blocks * self.block[0], blocks * self.block[1])
        self._waiting_first, self._waiting_second = one[used[0] :], two[used[1] :]
        counts = [
            values[:size].reshape(blocks, each).sum(axis=1)
            for values, size, each in zip((one, two), used, self.block, strict=True)
        ]
        steps = _log_factors(counts[0], counts[1], self.block, self.margin, self.alternative, self._ones, self._sizes)
        self._log_e += float(steps.sum())
        self._difference.update(counts[1] / self.block[1] - counts[0] / self.block[0])
        self._ones = self._ones + np.array([counts[0].sum(), counts[1].sum()])
        self._sizes = self._sizes + np.array(used, dtype=np.float64)
        return self

    def result(self) -> SequentialResult:
        """What can be said now, of the blocks that are full."""
        sizes = (int(self._sizes[0]), int(self._sizes[1]))
        waiting = len(self._waiting_first) + len(self._waiting_second)
        if not sizes[0]:
            sentence = f"No block of {self.block[0]} and {self.block[1]} outcomes is full yet ({waiting} wait)."
            return SequentialResult(
                math.nan, (-1.0, 1.0), 0.0, 0, log_threshold(self.alpha), sentence, self.alpha, sizes
            )
        shares = self._ones / self._sizes
        estimate = float(shares[1] - shares[0])
        interval = self._difference.result().interval
        relation = {"two-sided": "differs from", "greater": "is above", "less": "is below"}[self.alternative]
        claim = f"the difference {relation} {self.margin:g}"
        sentence = (
            f"The share is {shares[0]:.4g} of {sizes[0]:,} outcomes in the first arm and {shares[1]:.4g} of "
            f"{sizes[1]:,} in the second, a difference of {estimate:+.4g} ({span(interval, self.alpha)}); "
            f"{weighed(self._log_e, self.alpha, claim=claim)}."
        )
        return SequentialResult(
            estimate, interval, self._log_e, sum(sizes), log_threshold(self.alpha), sentence, self.alpha, sizes
        )


def two_bernoulli_log_evidence(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    block: tuple[int, int] = (1, 1),
    *,
    margin: float = 0.0,
    alternative: Alternative = "two-sided",
) -> Floats:
    """The log evidence of `TwoBernoulli` after each block, from counts.

    Args:
        first: ones of the first arm in each block, time along the last axis; other axes are streams of their own.
        second: ones of the second arm in each block, of the same shape.
        block: the outcomes of each arm in a block.
        margin: the difference (second minus first) under the null hypothesis.
        alternative: `two-sided`, `greater` or `less`.

    Raises:
        InvalidInput: counts outside of their blocks, or shapes that differ.

    >>> path = two_bernoulli_log_evidence(np.zeros(60), np.ones(60))
    >>> bool(path[-1] > math.log(20)), bool(abs(path[0]) < 1e-12)
    (True, True)
    """
    state = TwoBernoulli(block, margin=margin, alternative=alternative)
    counts = []
    for given, size, name in ((first, state.block[0], "first"), (second, state.block[1], "second")):
        array = np.atleast_1d(as_floats(given, f"ones of the {name} arm"))
        if not np.isin(array, np.arange(size + 1)).all():
            raise InvalidInput(f"The ones of the {name} arm must be whole numbers from 0 to its block's size {size}.")
        counts.append(array)
    if counts[0].shape != counts[1].shape:
        raise InvalidInput(f"Both arms need as many blocks; got shapes {counts[0].shape} and {counts[1].shape}.")
    factors = _log_factors(counts[0], counts[1], state.block, state.margin, state.alternative, np.zeros(2), np.zeros(2))
    return np.cumsum(factors, axis=-1)


def _log_factors(
    ones_1: Floats,
    ones_2: Floats,
    block: tuple[int, int],
    margin: float,
    alternative: Alternative,
    ones: Floats,
    sizes: Floats,
) -> Floats:
    """The log e-variable of each block, given what the blocks before it have shown."""
    n1, n2 = block
    before = np.arange(ones_1.shape[-1])
    share_1 = _shares_before(ones_1, ones[0], sizes[0] + n1 * before)
    share_2 = _shares_before(ones_2, ones[1], sizes[1] + n2 * before)
    null_1 = _projected(share_1, share_2, n1, n2, margin)
    null_2 = null_1 + margin
    factors = ones_1 * np.log(share_1 / null_1) + (n1 - ones_1) * np.log((1 - share_1) / (1 - null_1))
    factors += ones_2 * np.log(share_2 / null_2) + (n2 - ones_2) * np.log((1 - share_2) / (1 - null_2))
    # One-sided nothing is staked while the shares so far lie within the null hypothesis.
    if alternative == "greater":
        return np.where(share_2 - share_1 > margin, factors, 0.0)
    if alternative == "less":
        return np.where(share_2 - share_1 < margin, factors, 0.0)
    return np.asarray(factors)


def _shares_before(ones: Floats, carried: float, sizes: Floats) -> Floats:
    """The posterior mean of a share before each block."""
    earlier = np.cumsum(ones, axis=-1) - ones
    return np.asarray((PRIOR + carried + earlier) / (2 * PRIOR + sizes))


def _projected(share_1: Floats, share_2: Floats, n1: int, n2: int, margin: float) -> Floats:
    """The first arm's share of the pair with difference `margin` that is nearest in Kullback–Leibler divergence.

    At the nearest pair the weighted scores of both arms cancel, which is what makes the ratio an e-variable.
    """
    if margin == 0:
        return np.asarray((n1 * share_1 + n2 * share_2) / (n1 + n2))
    low = np.full_like(share_1, max(0.0, -margin))
    high = np.full_like(share_1, min(1.0, 1.0 - margin))
    for _ in range(52):
        middle = (low + high) / 2
        other = middle + margin
        score = n1 * (share_1 - middle) * other * (1 - other) + n2 * (share_2 - other) * middle * (1 - middle)
        low, high = np.where(score > 0, middle, low), np.where(score > 0, high, middle)
    return np.asarray((low + high) / 2)
