"""What the footer of a Parquet file says: its columns, and where the parts of each lie.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift names the fields.
They are read here and not by pyarrow, which ends the whole process when it is asked about some broken ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet.compact import Compact, Malformed

MAGIC = b"PAR1"
TAIL = 8
MOST_FOOTER = 1_000_000
BROKEN = "It is no Parquet file that can be read, or not a whole one."
# Types of values, how often they come, and what says that bytes are a text.
BYTE_ARRAY, FIXED_LENGTH = 6, 7
REPEATED = 2
UTF8 = 0
STRING = 1
# Fixed lengths are for decimals and half floats; the longest decimal has 32 bytes.
LONGEST_FIXED = 32


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a flat file."""

    name: str
    is_bytes: bool
    is_text: bool
    has_own_length: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What one row group has of a column: where it begins, its bytes, its values."""

    start: int
    length: int
    values: int


@dataclass(frozen=True, slots=True)
class Footer:
    """A file: rows, columns, and the parts of each row group in the order of the columns."""

    rows: int
    columns: tuple[Column, ...]
    groups: tuple[tuple[Part, ...], ...]


def read_footer(content: bytes | memoryview) -> Footer:
    """The footer of a file. Raises `InvalidData` where it is broken or has nested columns, `TooLarge` if it is long."""
    if len(content) < TAIL + len(MAGIC) or content[: len(MAGIC)] != MAGIC or content[-len(MAGIC) :] != MAGIC:
        raise InvalidData(BROKEN)
    end = len(content) - TAIL
    length = int.from_bytes(content[end : end + 4], "little")
    if length > end - len(MAGIC):
        raise InvalidData(BROKEN)
    if length > MOST_FOOTER:
        raise TooLarge(f"The footer of the Parquet file has more than {MOST_FOOTER:,} bytes. Write larger row groups.")
    try:
        said = Compact(memoryview(content)[end - length : end]).struct()
        columns = _columns(said[2])
        groups = tuple(_group(group, columns, end - length) for group in said[4])
        rows = sum(group[3] for group in said[4])
        if rows != said[3] or any(group[3] < 0 for group in said[4]):
            raise Malformed
    except (Malformed, LookupError, TypeError, ValueError, AttributeError):
        raise InvalidData(BROKEN) from None
    return Footer(rows, columns, groups)


def _columns(schema: list[dict[int, Any]]) -> tuple[Column, ...]:
    root, *leaves = schema
    is_flat = root[5] == len(leaves) and not any(leaf.get(5) or leaf.get(3) == REPEATED for leaf in leaves)
    if not is_flat:
        raise InvalidData("The Parquet file has nested columns; every column holds one value a row.")
    return tuple(
        Column(
            name=leaf[4].decode(),
            is_bytes=leaf[1] == BYTE_ARRAY,
            is_text=leaf.get(6) == UTF8 or STRING in leaf.get(10, {}),
            has_own_length=leaf[1] == FIXED_LENGTH and not 0 < leaf[2] <= LONGEST_FIXED,
        )
        for leaf in leaves
    )


def _group(group: dict[int, Any], columns: tuple[Column, ...], end: int) -> tuple[Part, ...]:
    if len(group[1]) != len(columns):
        raise Malformed
    parts = []
    for chunk in group[1]:
        meta = chunk[3]
        start, dictionary = meta[9], meta.get(11, 0)
        if 0 < dictionary < start:
            start = dictionary
        part = Part(start, meta[7], meta[5])
        if part.start < 0 or part.length < 0 or part.start + part.length > end or not 0 <= part.values <= group[3]:
            raise Malformed
        parts.append(part)
    return tuple(parts)
