"""What a Parquet file unpacks to, by the header of every page: what its footer says need not be true.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift names the fields of a header.
Readers reserve memory by these same headers, so that what they add up to bounds it.
"""

from __future__ import annotations

from typing import Any

from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet.compact import Compact, Malformed
from homeostat.frames.parquet.footer import BROKEN, Part

MOST_PAGES = 20_000
# The types of pages, and where each keeps what is looked at: the field of its header, then the encoding in it.
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
HEADER_OF = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
ENCODING_OF = {DATA: 2, DICTIONARY: 2, DATA_V2: 4}
# Texts that are written as the difference from the one before: a few bytes may stand for any number of long ones.
DELTA_BYTE_ARRAY = 7
BITS_A_BYTE = 8


class PageBudget:
    """Adds up what the pages of a file unpack to, and refuses what goes beyond a number of bytes."""

    def __init__(self, content: bytes | memoryview, most_bytes: int) -> None:
        self._headers = Compact(memoryview(content))
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pages = 0

    def take(self, part: Part) -> None:
        """Walk over the pages of a part of one column as a reader does. Raises `TooLarge` or `InvalidData`."""
        headers, end, seen = self._headers, part.start + part.length, 0
        headers.at = part.start
        while seen < part.values and headers.at < end:
            try:
                header = headers.struct()
                seen += self._checked(header, part.values)
                headers.at += header[3]
            except (Malformed, LookupError, TypeError):
                raise InvalidData(BROKEN) from None

    def _checked(self, header: dict[int, Any], values: int) -> int:
        """How many values a page has, if it is one of values."""
        kind, unpacked, packed = header[1], header[2], header[3]
        if unpacked < 0 or packed < 0:
            raise Malformed
        self._bytes += unpacked
        self._pages += 1
        if self._bytes > self._most_bytes:
            raise TooLarge(f"The table unpacks to more than {self._most_bytes:,} bytes. Send it in parts.")
        if self._pages > MOST_PAGES:
            raise TooLarge(f"The Parquet file has more than {MOST_PAGES:,} pages. Write larger ones.")
        if kind not in HEADER_OF:
            return 0
        inner = header[HEADER_OF[kind]]
        count = inner[1]
        # A reader makes room for as many as are promised.
        if not 0 <= count <= (unpacked * BITS_A_BYTE if kind == DICTIONARY else values):
            raise Malformed
        if inner[ENCODING_OF[kind]] == DELTA_BYTE_ARRAY:
            raise InvalidData(
                "A column of the Parquet file is encoded as DELTA_BYTE_ARRAY, which is not taken: write texts plain or "
                "with a dictionary."
            )
        return 0 if kind == DICTIONARY else int(count)
