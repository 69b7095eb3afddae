"""Sums of units by cell: one cell for each epoch and arm, and where there are segments, for each of those."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from homeostat.stats.experiments.units import Codes
from homeostat.stats.sequential.result import Floats

# With few cells and many units a product with each cell's marks is quicker than counting, which goes unit by unit. As
# many units are taken at once as leave room for what they need in the processor's cache.
FEW_CELLS = 4
MANY_UNITS = 20_000
AT_ONCE = 1 << 15

Parts = Callable[[slice], Sequence[Floats]]


def counted(codes: Codes, number: int) -> Floats:
    """How many units there are in each cell.

    >>> counted(np.array([0, 1, 1, 0]), 3).tolist()
    [2.0, 2.0, 0.0]
    """
    return np.bincount(codes, minlength=number).astype(np.float64)


def summed(codes: Codes, number: int, parts: Parts, sizes: Codes | None = None) -> Floats:
    """Counts, and sums of some weights, by cell and block: an array of (1 + weights, block, cell).

    Args:
        codes: the cell of each unit, from 0.
        number: how many cells there are.
        parts: gives the weights of a slice of the units, each as an array.
        sizes: of the blocks, which follow each other and of which none is empty; a single one if left out.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> summed(np.array([0, 1, 1, 0]), 2, lambda here: [x[here]]).tolist()
    [[[2.0, 2.0]], [[5.0, 5.0]]]
    >>> summed(np.array([0, 1, 1, 0]), 2, lambda here: [x[here]], np.array([1, 3]))[1].tolist()
    [[1.0, 0.0], [4.0, 5.0]]
    """
    if number <= FEW_CELLS and len(codes) >= MANY_UNITS:
        found = _by_marks(codes, number, parts, sizes)
        # What overflows in one cell is no number times the others' marks.
        if np.isfinite(found).all():
            return found
    blocks = 1 if sizes is None else len(sizes)
    if sizes is not None and blocks > 1:
        codes = np.repeat(np.arange(blocks) * number, sizes) + codes
    each = [None, *parts(slice(None))]
    rows = [np.bincount(codes, weights=weights, minlength=blocks * number) for weights in each]
    return np.array(rows, dtype=np.float64).reshape(len(each), blocks, number)


def _by_marks(codes: Codes, number: int, parts: Parts, sizes: Codes | None) -> Floats:
    ends = [len(codes)] if sizes is None else np.cumsum(sizes).tolist()
    found = np.zeros((1 + len(parts(slice(0, 1))), len(ends), number))
    start = 0
    with np.errstate(invalid="ignore", over="ignore"):
        for block, end in enumerate(ends):
            for first in range(start, end, AT_ONCE):
                here = slice(first, min(first + AT_ONCE, end))
                own, weights = codes[here].astype(np.int8), parts(here)
                for cell in range(number):
                    inside = own == cell
                    found[0, block, cell] += np.count_nonzero(inside)
                    marks = inside.astype(np.float64)
                    for place, part in enumerate(weights, start=1):
                        found[place, block, cell] += marks @ part
            start = end
    return found
