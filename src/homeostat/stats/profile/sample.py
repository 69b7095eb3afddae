"""A uniform sample of rows that merges: every row draws a priority, and the `size` lowest stay (bottom-k sketch).

Which rows stay depends on the priorities alone, so samples of parts, merged in any order and grouping, are the sample
of the whole (Cohen and Kaplan, "Summarizing data using bottom-k sketches", 2007).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Array = npt.NDArray[Any]
Priorities = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class RowSample:
    """At most `size` rows, in the order of their priorities: floats with NaN, or texts with `None`, by feature."""

    size: int
    priorities: Priorities
    columns: dict[str, Array]

    @property
    def rows(self) -> int:
        """How many rows the sample holds."""
        return len(self.priorities)

    def empty(self) -> RowSample:
        """A sample of no rows with these columns."""
        columns = {name: values[:0] for name, values in self.columns.items()}
        return RowSample(self.size, self.priorities[:0], columns)

    def __add__(self, other: RowSample) -> RowSample:
        if self.columns.keys() != other.columns.keys():
            raise InvalidInput("These samples are of different columns.")
        if not other.rows and self.size <= other.size:
            return self
        size = min(self.size, other.size)
        priorities = np.concatenate((self.priorities, other.priorities))
        kept = np.argsort(priorities, kind="stable")[:size]
        columns = {name: np.concatenate((values, other.columns[name]))[kept] for name, values in self.columns.items()}
        return RowSample(size, priorities[kept], columns)


def lowest(priorities: Priorities, size: int) -> npt.NDArray[np.intp]:
    """The places of the `size` lowest priorities, in their order."""
    if len(priorities) > size:
        places = np.argpartition(priorities, size)[:size]
        return np.asarray(places[np.argsort(priorities[places], kind="stable")], dtype=np.intp)
    return np.asarray(np.argsort(priorities, kind="stable"), dtype=np.intp)


def priorities_of_keys(keys: Array) -> Priorities:
    """The priority of each row from what names it (a prediction id, a number): the same key always draws the same.

    >>> bool((priorities_of_keys(np.array(["a", "b"])) == priorities_of_keys(np.array(["a", "b"]))).all())
    True
    """
    values = np.asarray(keys)
    if values.dtype.kind in "iu":
        return _mixed(values.astype(np.uint64))
    digests = b"".join(hashlib.blake2b(str(key).encode(), digest_size=8).digest() for key in values.tolist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def drawn_priorities(rows: int, columns: Mapping[str, Array], rng: int | np.random.Generator) -> Priorities:
    """Random priorities; a seed draws others for other rows, so that parts made with one seed don't share theirs."""
    if not isinstance(rng, np.random.Generator):
        content = 0
        for name, values in columns.items():
            few = values[:64]
            written = few.tobytes() if few.dtype.kind != "O" else repr(few.tolist()).encode("utf-8", "replace")
            content = zlib.crc32(written, zlib.crc32(name.encode(), content))
        rng = np.random.default_rng([rng, rows, content])
    return rng.integers(0, np.iinfo(np.uint64).max, rows, dtype=np.uint64, endpoint=True)


def _mixed(values: Priorities) -> Priorities:
    """SplitMix64 (Steele, Lea and Flood 2014): numbers near each other get priorities that are not."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
