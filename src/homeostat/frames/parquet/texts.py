"""Texts that are read as places in a dictionary: a long one that stands in many rows is in memory once."""

from __future__ import annotations

from typing import Any


def text_bytes(column: Any) -> int:
    """How many bytes the texts of a dictionary array come to, each written as often as it stands there.

    >>> import pyarrow as pa
    >>> text_bytes(pa.array(["abc", None, "abc", "d"]).dictionary_encode())
    7
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
