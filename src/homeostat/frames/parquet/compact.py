"""Thrift's compact protocol, in which Parquet describes itself, read without a schema and within bounds.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeostat.errors import TooLarge

DEEPEST = 12
# What is read byte by byte: half a second of work. Texts are passed over as a whole.
MOST_STEPS = 400_000
LONGEST_VARINT = 10
# The types of fields.
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
INTEGERS = (4, 5, 6)


class Malformed(Exception):
    """Bytes are no struct of the compact protocol, or not the one that was looked for."""


@dataclass(slots=True)
class Compact:
    """Reads structs, one after the other, as mappings of their fields' numbers to values; bytes stay bytes.

    >>> Compact(memoryview(bytes([0x15, 0x0E, 0x18, 0x02, 0x68, 0x69, 0x00]))).struct()
    {1: 7, 2: b'hi'}
    """

    content: memoryview
    at: int = 0
    steps: int = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here. Raises `Malformed`, and `TooLarge` after too much of all structs together."""
        if depth > DEEPEST:
            raise Malformed
        found: dict[int, Any] = {}
        number = 0
        while (first := self._byte()) != STOP:
            kind = first & 15
            number = number + (first >> 4) if first >> 4 else self._integer()
            if number in found:
                # Readers differ in which one counts.
                raise Malformed
            found[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self._integer()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            return self._list(depth)
        if kind in (BYTE, TRUE, FALSE):
            return self._bytes(1)
        if kind == DOUBLE:
            return self._bytes(8)
        raise Malformed

    def _list(self, depth: int) -> list[Any]:
        if depth > DEEPEST:
            raise Malformed
        first = self._byte()
        count = first >> 4 if first >> 4 < 15 else self._varint()
        if count > len(self.content) - self.at:
            raise Malformed
        return [self._value(first & 15, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        if self.at >= len(self.content):
            raise Malformed
        self.at += 1
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooLarge("The Parquet file has too many columns, row groups or pages. Write fewer and larger ones.")
        return self.content[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        start = self.at
        self.at += count
        if self.at > len(self.content):
            raise Malformed
        return bytes(self.content[start : self.at])

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
