"""Bodies in Parquet: only the columns that are wanted are unpacked, and no more of them than a request may hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from homeostat.errors import InvalidData, InvalidFeatures, TooLarge
from homeostat.frames.parquet import Footer, PageBudget, read_footer, text_bytes
from homeostat.frames.parquet.footer import BROKEN
from homeostat.http.tables.shape import Limits

if TYPE_CHECKING:
    import pyarrow as pa

# A number, and what says whether it is missing.
BYTES_A_VALUE = 16


def read_parquet(
    content: bytes, wanted: Sequence[str], optional: Collection[str], texts: Collection[str], limits: Limits
) -> pa.Table:
    """The columns of a Parquet file that are wanted, and those optional ones that it has.

    `texts` are those that may hold texts. They are read as dictionaries, so that a text that many rows share is in
    memory once. Raises `InvalidFeatures` where a column is missing or of another type, `TooLarge` where the table has
    too many rows or would unpack to too much, `InvalidData` where the file can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    footer = read_footer(content)
    limits.check_rows(footer.rows)
    limits.check_width(len(footer.columns))
    names = [column.name for column in footer.columns]
    limits.check_names(names, wanted, optional)
    taken = [name for name in names if name in {*wanted, *optional}]
    _check_size(content, footer, taken, texts, limits)
    try:
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=[name for name in taken if name in texts])
        table = file.read(columns=taken, use_threads=False).select(taken)
        # The reader takes places in a dictionary and bytes of a text as they come.
        table.validate(full=True)
        limits.check_rows(table.num_rows)
        _check_texts(table, limits)
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError):
        # What a broken file says of itself is nothing to repeat.
        raise InvalidData(BROKEN) from None
    return table


def _check_size(content: bytes, footer: Footer, taken: Collection[str], texts: Collection[str], limits: Limits) -> None:
    """Refuse what would unpack to more than its numbers need and its texts may have."""
    # A reader that is asked for `a` reads `a.b` too.
    prefixes = tuple(f"{name}." for name in taken)
    read = [
        place for place, column in enumerate(footer.columns) if column.name in taken or column.name.startswith(prefixes)
    ]
    for place in read:
        column = footer.columns[place]
        # One value of a dictionary may be long, and stand in every row: texts are read as what they are.
        if column.is_bytes and not (column.is_text and column.name in texts):
            raise InvalidFeatures(
                "A column of the Parquet file holds texts or bytes, and the model takes no texts there."
            )
        if column.has_own_length:
            raise InvalidFeatures("A column of the Parquet file has values of a length that no number has.")
    budget = PageBudget(content, limits.most_bytes + footer.rows * len(read) * BYTES_A_VALUE)
    for group in footer.groups:
        for place in read:
            budget.take(group[place])


def _check_texts(table: pa.Table, limits: Limits) -> None:
    """Refuse texts that are more than a body may hold once every row has its own."""
    import pyarrow as pa

    texts = (column for column in table.columns if pa.types.is_dictionary(column.type))
    size = sum(text_bytes(chunk) for column in texts for chunk in column.chunks)
    if size > limits.most_bytes:
        raise TooLarge(f"The texts of the table unpack to more than {limits.most_bytes:,} bytes. Send it in parts.")
