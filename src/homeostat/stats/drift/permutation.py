"""A p-value for any measure of two samples, by putting the rows into the samples at random again and again.

It needs no formula of the null distribution and no large samples: only rows that could be swapped if nothing drifted,
which rows of one entity or of one hour can not. The p-value is (k + 1)/(B + 1) for k of B permutations that reach the
measured value (Davison and Hinkley 1997; Phipson and Smyth 2010). k/B would be 0 at times, and no test can claim that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.results import shown

PERMUTATIONS = 999


@dataclass(frozen=True, slots=True)
class PermutationResult:
    """A measure and its permutation p-value.

    `estimate` and `statistic` are the measure, `reached` how many of `permutations` came up to it. `interval` is the
    Clopper–Pearson interval (95 %) of the p-value that all permutations would give: how far chance in drawing them
    matters. `expected` and `threshold` are the mean and the upper `level` point of the measure without drift.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    reached: int
    permutations: int
    expected: float
    threshold: float
    level: float


def p_value(reached: int, permutations: int) -> float:
    """(k + 1)/(B + 1): never 0, and at most the level with at most that probability.

    >>> p_value(0, 999)
    0.001
    """
    if permutations < 1 or not 0 <= reached <= permutations:
        raise InvalidInput(f"Of {permutations} permutations {reached} can't have reached the value.")
    return (reached + 1) / (permutations + 1)


def permutations_for(level: float, *, tests: int = 1, relative_error: float | None = None) -> int:
    """How many permutations let a p-value come down to `level`, shared by Bonferroni over so many `tests`.

    Args:
        level: the level of the decision.
        tests: how many p-values share it.
        relative_error: the standard error that a p-value of just that level may have, as a share of it. Without one,
            only the least possible p-value is cared for.

    Raises:
        InvalidInput: the level or the error is out of range, or there is no test.

    >>> permutations_for(0.01), permutations_for(0.01, tests=20), permutations_for(0.01, relative_error=0.1)
    (99, 1999, 9900)
    """
    if not 0 < level < 1 or tests < 1 or (relative_error is not None and relative_error <= 0):
        raise InvalidInput("The level must lie between 0 and 1, with at least one test and an error above 0.")
    share = level / tests
    least = math.ceil(1 / share - 1e-9) - 1
    if relative_error is None:
        return max(1, least)
    return max(1, least, math.ceil((1 - share) / (share * relative_error**2) - 1e-9))


def permutation_test(
    measure: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    reference: npt.NDArray[Any],
    current: npt.NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    level: float = 0.05,
    rng: int | np.random.Generator = 0,
) -> PermutationResult:
    """The p-value of a measure that is large where samples differ; the measure sees arrays of the given sizes.

    Args:
        measure: a function of two arrays that gives a number.
        reference: rows along the first axis, of any kind.
        current: rows of the same kind.
        permutations: how many are drawn; see `permutations_for`.
        level: of the threshold.
        rng: seed or generator.

    Raises:
        InvalidInput: a sample is empty, the measure is not finite, or there are too few permutations for the level.

    >>> def gap(a, b):
    ...     return float(abs(a.mean() - b.mean()))
    >>> permutation_test(gap, np.arange(20.0), np.arange(20.0) + 30, permutations=199).p
    0.005
    """
    if permutations < permutations_for(level):
        raise InvalidInput(
            f"{permutations} permutations can't give a p-value of {level}; take at least {permutations_for(level)}."
        )
    before, after = np.asarray(reference), np.asarray(current)
    n, m = len(before), len(after)
    if not n or not m or before.shape[1:] != after.shape[1:]:
        raise InvalidInput("Both samples need rows of one shape to be compared.")
    estimate = float(measure(before, after))
    generator = np.random.default_rng(rng)
    pooled = np.concatenate((before, after))
    drawn = np.empty(permutations)
    for row in range(permutations):
        order = generator.permutation(n + m)
        drawn[row] = measure(pooled[order[:n]], pooled[order[n:]])
    if not math.isfinite(estimate) or not np.isfinite(drawn).all():
        raise InvalidInput("The measure is not a finite number for these rows, so permutations can't be counted.")
    return concluded(estimate, drawn, n, m, level=level)


def concluded(
    estimate: float, drawn: npt.NDArray[np.float64], n: int, m: int, *, level: float = 0.05
) -> PermutationResult:
    """The result of a measured value and those of the permutations."""
    from scipy.special import betaincinv

    permutations = len(drawn)
    # Sums in another order differ by rounding; such a value counts as reached, which is the cautious side.
    slack = 1e-12 * max(1.0, abs(estimate))
    reached = int(np.count_nonzero(drawn >= estimate - slack))
    p = p_value(reached, permutations)
    low = float(betaincinv(reached, permutations - reached + 1, 0.025)) if reached else 0.0
    high = float(betaincinv(reached + 1, permutations - reached, 0.975)) if reached < permutations else 1.0
    expected = float(drawn.mean())
    ordered = np.sort(np.append(drawn, estimate))[::-1]
    threshold = float(ordered[max(0, math.floor(level * (permutations + 1) + 1e-9) - 1)])
    sentence = (
        f"The samples lie {estimate:.3g} apart; {reached} of {permutations} random splits of the same rows come up to "
        f"that, {expected:.3g} being usual ({shown(p)}; {n} and {m} rows)."
    )
    return PermutationResult(
        estimate, (low, high), estimate, p, n, m, sentence, reached, permutations, expected, threshold, level
    )
