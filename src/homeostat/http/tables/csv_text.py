"""Bodies in CSV: the signature says what each column is, so that nothing is guessed from its values."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from homeostat.errors import InvalidData, InvalidFeatures
from homeostat.frames import Kind
from homeostat.http.tables.shape import Limits

if TYPE_CHECKING:
    import pyarrow as pa

# The same as in training data: a model is given what it was trained on.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
TRUE, FALSE = ("true", "True", "TRUE", "1", "1.0"), ("false", "False", "FALSE", "0", "0.0")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n?|\n")
_PLACE = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?")


def read_csv(content: bytes, kinds: Mapping[str, Kind], optional: Collection[str], limits: Limits) -> pa.Table:
    """The columns of a CSV that have a kind, and those optional ones that it has, which are read as texts.

    The first line names the columns. Raises `InvalidFeatures` where a column is missing or a value is of another type,
    `InvalidData` where the text is no CSV in UTF-8 whose rows are all as long as the first line, `TooLarge` where it
    has too many rows.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names, start = _header(content, limits)
    limits.check_names(names, kinds, optional)
    taken = [*kinds, *(name for name in names if name in optional)]
    types = {Kind.NUMERIC: pa.float64(), Kind.BOOLEAN: pa.bool_()}
    body = memoryview(content)[start:]
    if not bytes(body[:1_000]).strip() and not bytes(body).strip():
        raise InvalidFeatures("There are no rows to score. Send at least one.")
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(body),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(body) + 1, column_names=names),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=taken,
                column_types={name: types.get(kinds.get(name, Kind.TEXT), pa.string()) for name in taken},
                null_values=list(MISSING),
                true_values=list(TRUE),
                false_values=list(FALSE),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        raise _refused(str(error), names) from None
    limits.check_rows(table.num_rows)
    return table


def _header(content: bytes, limits: Limits) -> tuple[list[str], int]:
    """The names in the first line that is not empty, and where the rows begin."""
    start = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
    start = len(content) - len(content[start:].lstrip(b"\r\n"))
    found = _LINE_END.search(content, start)
    line, end = (content[start : found.start()], found.end()) if found else (content[start:], len(content))
    limits.check_width(line.count(b",") + 1)
    try:
        names = next(csv.reader([line.decode()], strict=True), [])
    except (csv.Error, UnicodeDecodeError):
        raise InvalidData("The first line of the CSV can't be read; it names the columns, in UTF-8.") from None
    return names, end


def _refused(said: str, names: Sequence[str]) -> InvalidData | InvalidFeatures:
    """What is wrong, without the value, which the library repeats."""
    found = _PLACE.match(said)
    if found and "UTF8" in said:
        return InvalidData("The CSV is not UTF-8.")
    if found:
        name, row = names[int(found[1])], f"row {int(found[2]) - 1}" if found[2] else "a row"
        return InvalidFeatures(f"Feature '{name}' has a value that is not of its kind, in {row}.", feature=name)
    return InvalidData("The body is no CSV whose rows all have as many values as its first line has names.")
