"""Bets on bounded values: wealth that can only grow in the long run where the null hypothesis is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import as_floats

Floats = npt.NDArray[np.float64]

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)


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

    Raises:
        InvalidInput: missing differences, a bound that is not above 0, or a fraction outside (0, 1).

    >>> path = betting_log_evidence(np.full(100, 0.5), bound=1.0)
    >>> bool(path[-1] > math.log(20)), bool(betting_log_evidence(-np.ones(9), 1.0)[-1] < 0)
    (True, True)
    """
    values = as_floats(differences, "differences")
    if not (bound > 0 and math.isfinite(bound)):
        raise InvalidInput(f"The bound of the differences must be a number above 0; got {bound}.")
    check_no_nan(values, "differences")
    scaled = np.clip(values / bound, -1.0, 1.0)
    average = np.full(values.shape, -np.inf)
    for fraction in checked_stakes(fractions):
        np.logaddexp(average, np.cumsum(np.log1p(fraction * scaled), axis=-1), out=average)
    return average - math.log(len(fractions))


def checked_stakes(fractions: Sequence[float]) -> Sequence[float]:
    """The fractions, or `InvalidInput` where one can't be staked."""
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise InvalidInput(f"The fractions to bet must lie between 0 and 1; got {tuple(fractions)}.")
    return fractions


def check_no_nan(values: Floats, name: str) -> None:
    """Raise `InvalidInput` where a value is missing."""
    if np.isnan(values).any():
        raise InvalidInput(f"There are missing values among the {name}; leave those rows out first.")
