"""Columns of a table by their names, for the functions of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.frames import Reader


def check_columns(reader: Reader, names: Sequence[str], what: str = "table") -> None:
    """Raise `InvalidInput` for columns that a table does not have."""
    absent = sorted({name for name in names if name not in reader.names})
    if absent:
        raise InvalidInput(f"The {what} has no column {', '.join(map(repr, absent))}.", columns=absent)


def names_in(reader: Reader, column: str) -> npt.NDArray[Any]:
    """A column as texts; a row that belongs to nobody can't be counted."""
    texts = reader.texts(column)
    gaps = sum(text is None for text in texts)
    if gaps:
        raise InvalidInput(f"Column '{column}' is missing in {gaps} rows. Leave those rows out first.", column=column)
    return np.array(texts.tolist(), dtype=str)
