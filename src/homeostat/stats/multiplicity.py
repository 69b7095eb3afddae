"""Many tests at once: p-values adjusted so that a stated rate of false findings holds over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput


def benjamini_hochberg(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the order given.

    Those at or below q have an expected share of false findings of at most q, where the tests are independent or
    positively dependent; where nothing is true, the chance of any finding is at most q as well.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    values = np.asarray(p, dtype=np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise InvalidInput("P-values must lie between 0 and 1.")
    order = np.argsort(values)[::-1]
    scaled = values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(scaled)
    return adjusted
