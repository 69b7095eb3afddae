"""What a Parquet file unpacks to, by the header of every page: what its footer says need not be true.

Headers are Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md;
their fields are those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift. A reader
reserves memory by these same headers, so that what they add up to bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeostat.errors import InvalidData, TooLarge

MOST_PAGES = 20_000
DEEPEST = 8
LONGEST_VARINT = 10
# The types of the compact protocol.
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
INTEGERS = (4, 5, 6)
# The types of pages, and where each keeps what is looked at: the field of its header, then those in it.
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
HEADER_OF = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
ENCODING_OF = {DATA: 2, DICTIONARY: 2, DATA_V2: 4}
# Texts that are written as the difference from the one before: a few bytes may stand for any number of long ones.
DELTA_BYTE_ARRAY = 7
BITS_A_BYTE = 8


class Malformed(Exception):
    """Bytes are no header of a page."""


@dataclass(slots=True)
class Headers:
    """Reads structs of the compact protocol from bytes, each as a mapping of its fields' numbers to their values."""

    content: memoryview
    at: int = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here. Raises `Malformed`."""
        if depth > DEEPEST:
            raise Malformed
        found: dict[int, Any] = {}
        number = 0
        while (first := self._byte()) != STOP:
            kind = first & 15
            number = number + (first >> 4) if first >> 4 else self._integer()
            found[number] = first & 15 == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == BINARY:
            return self._skip(self._varint())
        if kind in (BYTE, TRUE, FALSE):
            return self._skip(1)
        if kind == DOUBLE:
            return self._skip(8)
        if kind in (LIST, SET):
            first = self._byte()
            count = first >> 4 if first >> 4 < 15 else self._varint()
            if count > len(self.content):
                raise Malformed
            for _ in range(count):
                self._value(first & 15, depth + 1)
            return None
        raise Malformed

    def _byte(self) -> int:
        if self.at >= len(self.content):
            raise Malformed
        self.at += 1
        return self.content[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.content):
            raise Malformed

    def _varint(self) -> int:
        found = 0
        for place in range(LONGEST_VARINT):
            byte = self._byte()
            found |= (byte & 127) << (7 * place)
            if byte < 128:
                return found
        raise Malformed

    def _integer(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)


class PageBudget:
    """Adds up what the pages of a file unpack to, and refuses what goes beyond a number of bytes."""

    def __init__(self, content: bytes, most_bytes: int) -> None:
        self._content = memoryview(content)
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pages = 0

    def take(self, start: int, length: int, values: int) -> None:
        """Walk over the pages of a part of one column as a reader does. Raises `TooLarge` or `InvalidData`."""
        end = start + length
        if start < 0 or length < 0 or end > len(self._content):
            raise InvalidData("The Parquet file is not whole: a column lies outside of it.")
        seen = 0
        headers = Headers(self._content[:end], start)
        while seen < values and headers.at < end:
            try:
                header = headers.struct()
                seen += self._checked(header, values)
                headers.at += header[3]
            except (Malformed, KeyError, TypeError):
                raise InvalidData("The Parquet file is broken: the header of a page can't be read.") from None

    def _checked(self, header: dict[int, Any], values: int) -> int:
        """How many rows of a column a page has."""
        kind, unpacked, packed = int(header[1]), int(header[2]), int(header[3])
        if unpacked < 0 or packed < 0:
            raise Malformed
        self._bytes += unpacked
        self._pages += 1
        if self._bytes > self._most_bytes:
            raise TooLarge(f"The table unpacks to more than {self._most_bytes:,} bytes. Send it in parts.")
        if self._pages > MOST_PAGES:
            raise TooLarge(f"The Parquet file has more than {MOST_PAGES:,} pages. Write it with larger row groups.")
        if kind not in HEADER_OF:
            return 0
        inner = header[HEADER_OF[kind]]
        count = int(inner[1])
        # A reader makes room for as many as are promised.
        if not 0 <= count <= (unpacked * BITS_A_BYTE if kind == DICTIONARY else values):
            raise Malformed
        if inner[ENCODING_OF[kind]] == DELTA_BYTE_ARRAY:
            raise InvalidData(
                "A column of the Parquet file is encoded as DELTA_BYTE_ARRAY, which is not taken: write texts plain or "
                "with a dictionary."
            )
        return 0 if kind == DICTIONARY else count
