"""Permutation tests that are fast because their statistics are linear in which rows are current.

Under "nothing changed" any n of the N pooled rows could have been the current ones. A statistic that is computed from
the pooled rows and a choice of n of them, and was not fitted on one of the two samples, is therefore tested exactly by
other choices: p = (k + 1) / (B + 1), where k of B random choices reach the observed value (Phipson and Smyth,
"Permutation p-values should never be zero", 2010).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

PERMUTATIONS = 999
# Elements of the largest block of choices held at once: 64 MB as 32-bit floats.
BLOCK = 1 << 24
# Sums of 32-bit floats in another order differ by about this; smaller differences are ties.
TIE = 1e-5


def choices(total: int, chosen: int, permutations: int, generator: np.random.Generator) -> Iterator[Bools]:
    """Blocks of choices (rows) of `chosen` out of `total`: first the observed one (the last rows), then random ones."""
    observed = np.zeros((1, total), dtype=np.bool_)
    observed[0, total - chosen :] = True
    left, first = permutations, True
    size = max(1, BLOCK // total)
    while left or first:
        count = min(left, size)
        order = generator.random((count, total), dtype=np.float32)
        places = np.argpartition(order, chosen - 1, axis=1)[:, :chosen]
        block = np.zeros((count, total), dtype=np.bool_)
        np.put_along_axis(block, places, values=True, axis=1)
        yield np.concatenate((observed, block)) if first else block
        left, first = left - count, False


def permuted_sums(
    columns: Mapping[str, Singles], chosen: int, permutations: int, generator: np.random.Generator
) -> Iterator[dict[str, Singles]]:
    """Blocks (choices by columns) of the sums of the chosen rows, for each matrix of columns over the same rows."""
    total = len(next(iter(columns.values())))
    for block in choices(total, chosen, permutations, generator):
        # Few rows out of many are summed faster by what they are than by a product with zeros.
        if chosen * 30 < total:
            from scipy.sparse import csr_array

            rows, places = np.nonzero(block)
            picks: Any = csr_array((np.ones(len(places), dtype=np.float32), (rows, places)), shape=block.shape)
        else:
            picks = block.astype(np.float32)
        yield {name: np.asarray(picks @ matrix, dtype=np.float32) for name, matrix in columns.items()}


def z_scale(total: int, chosen: int) -> np.float32:
    """What makes a z-value of the chosen rows' sum of a column that has mean 0 and variance 1 over all rows.

    Under random choice of n out of N such a sum has variance n (N − n) / (N − 1).
    """
    return np.float32(np.sqrt((total - 1) / (chosen * (total - chosen))))


def p_values(statistics: Any) -> Floats:
    """The share of all choices, the observed included, whose statistic is at least as large, by choice (axis 0)."""
    values = np.asarray(statistics, dtype=np.float64)
    ordered = np.sort(values, axis=0)
    slack = values - TIE * np.abs(values)
    if values.ndim == 1:
        below = np.searchsorted(ordered, slack, side="left")
    else:
        columns = [np.searchsorted(ordered[:, k], slack[:, k], side="left") for k in range(values.shape[1])]
        below = np.stack(columns, axis=1)
    return np.asarray((len(values) - below) / len(values), dtype=np.float64)


def smallest_p(statistics: Floats) -> tuple[float, Floats]:
    """The joint p of several statistics (choices by statistics; the observed choice first), and the p of each.

    The smallest of a choice's p-values is itself a statistic, compared with that of the other choices; it takes the
    dependence of the statistics into account, so it costs less power than Bonferroni's correction (Westfall and Young
    1993). Ties of the smallest p are broken by the largest statistic in units of its null standard deviation.
    """
    each = p_values(statistics)
    centre, spread = statistics.mean(axis=0), statistics.std(axis=0)
    standard = (statistics - centre) / np.where(spread > 0, spread, 1.0)
    excess = standard.max(axis=1)
    least = each.min(axis=1)
    # P-values are whole numbers of choices over their count, so half of one tells equal from smaller.
    half = 0.5 / len(least)
    smaller = least < least[0] - half
    tied = (np.abs(least - least[0]) <= half) & (excess >= excess[0] - TIE * abs(excess[0]))
    return float(np.mean(smaller | tied)), np.asarray(each[0])


def checked_permutations(permutations: int) -> int:
    """The number of permutations, if it suffices to reach a p of .05.

    Raises:
        InvalidInput: fewer than 19.
    """
    if permutations < 19:
        raise InvalidInput(f"At least 19 permutations are needed for a p of .05; got {permutations}.")
    return int(permutations)
