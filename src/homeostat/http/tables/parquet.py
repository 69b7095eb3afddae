"""Bodies in Parquet: only the columns that are wanted are unpacked, and no more of them than a request may hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from homeostat.errors import HomeostatError, InvalidData, InvalidFeatures, TooLarge
from homeostat.http.tables.pages import PageBudget
from homeostat.http.tables.shape import Limits

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROW_GROUPS = 5_000
# A number, and what says whether it is missing.
BYTES_A_VALUE = 16
# Fixed lengths are for decimals and half floats; the longest decimal has 32 bytes.
LONGEST_FIXED = 32


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

    try:
        metadata = pq.read_metadata(pa.BufferReader(content))
        limits.check_rows(metadata.num_rows)
        limits.check_width(metadata.num_columns)
        names = _names(metadata)
        limits.check_names(names, wanted, optional)
        taken = [name for name in names if name in {*wanted, *optional}]
        _check_size(content, metadata, taken, texts, limits)
        file = pq.ParquetFile(
            pa.BufferReader(content), metadata=metadata, read_dictionary=[name for name in taken if name in texts]
        )
        table = file.read(columns=taken, use_threads=False).select(taken)
    except HomeostatError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError):
        # What a broken file says of itself is nothing to repeat.
        raise InvalidData("The body is no Parquet file that can be read, or not a whole one.") from None
    limits.check_rows(table.num_rows)
    _check_texts(table, limits)
    return table


def _names(metadata: Any) -> list[str]:
    import pyarrow as pa

    schema = metadata.schema.to_arrow_schema()
    if len(schema) != metadata.num_columns or any(pa.types.is_nested(kind) for kind in schema.types):
        raise InvalidData("The Parquet file has nested columns; every column holds one value a row.")
    return list(schema.names)


def _check_size(content: bytes, metadata: Any, taken: Collection[str], texts: Collection[str], limits: Limits) -> None:
    """Refuse what would unpack to more than its numbers need and its texts may have."""
    if metadata.num_row_groups > MOST_ROW_GROUPS:
        raise TooLarge(f"The Parquet file has more than {MOST_ROW_GROUPS:,} row groups. Write it with larger ones.")
    # A reader that is asked for `a` reads `a.b` too.
    prefixes = tuple(f"{name}." for name in taken)
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    read = [index for index, path in enumerate(paths) if path in taken or path.startswith(prefixes)]
    for index in read:
        _check_type(metadata.schema.column(index), may_be_text=paths[index] in texts)
    budget = PageBudget(content, limits.most_bytes + metadata.num_rows * len(read) * BYTES_A_VALUE)
    rows = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows += group.num_rows
        if group.num_rows < 0 or rows > metadata.num_rows:
            raise InvalidData("The Parquet file is broken: its row groups have more rows than the file.")
        for part in map(group.column, read):
            start = part.data_page_offset
            if part.has_dictionary_page and 0 < part.dictionary_page_offset < start:
                start = part.dictionary_page_offset
            if not 0 <= part.num_values <= group.num_rows:
                raise InvalidData("The Parquet file is broken: a column has more values than rows.")
            budget.take(start, part.total_compressed_size, part.num_values)


def _check_type(column: Any, *, may_be_text: bool) -> None:
    """Refuse bytes of any length that are not read as a dictionary: one of its values may be long, in every row."""
    if column.physical_type == "BYTE_ARRAY" and not (may_be_text and column.logical_type.type == "STRING"):
        raise InvalidFeatures("A column of the Parquet file holds texts or bytes, and the model takes no texts there.")
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY" and not 0 < column.length <= LONGEST_FIXED:
        raise InvalidData("A column of the Parquet file has values of a fixed length that no number has.")


def _check_texts(table: pa.Table, limits: Limits) -> None:
    """Refuse texts that are more than a body may hold once every row has its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            size += pc.sum(lengths.cast(pa.int64())).as_py() or 0
    if size > limits.most_bytes:
        raise TooLarge(f"The texts of the table unpack to more than {limits.most_bytes:,} bytes. Send it in parts.")
