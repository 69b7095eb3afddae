"""Arrays that grow with a table of rows, with room ahead so that growing costs little a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def grown(held: npt.NDArray[Any], rows: int, empty: object) -> npt.NDArray[Any]:
    """The same with room for so many rows; the places without one hold `empty`.

    Room is at least doubled, so that what is copied over a lifetime is a few times the rows.

    >>> grown(np.array([1, 2]), 3, -1).tolist(), grown(np.array([1, 2]), 2, -1).tolist()
    ([1, 2, -1, -1], [1, 2])
    """
    if len(held) >= rows:
        return held
    found = np.full(max(rows, 2 * len(held)), empty, dtype=held.dtype)
    found[: len(held)] = held
    return found
