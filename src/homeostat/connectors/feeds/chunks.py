"""Tables read a part at a time: CSV, Parquet and JSON, from a file of any size or from the body of a request.

What is read here is plain: lists of texts, numbers and times by column. Errors name rows, the first of which is 1, and
never repeat what stands in them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, Any

from homeostat.errors import InvalidData, TooLarge
from homeostat.frames.parquet import check_pages, text_bytes

CHUNK_ROWS = 10_000
MOST_COLUMNS = 10_000
# What a value of a body may be long; in Parquet a short file can say a long text very often.
LONGEST_VALUE = 100_000
# How much larger than itself a packed body may be.
MOST_GROWTH = 20
LEAST_UNPACKED = 10_000_000
MOST_TEXT = 100_000_000
BYTES_A_VALUE = 8


class Form(StrEnum):
    """How a table is written."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


CONTENT_TYPES = {
    "text/csv": Form.CSV,
    "application/vnd.apache.parquet": Form.PARQUET,
    "application/jsonl": Form.JSON,
    "application/x-ndjson": Form.JSON,
}
SUFFIXES = {
    ".csv": Form.CSV,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
    ".jsonl": Form.JSON,
    ".ndjson": Form.JSON,
    ".json": Form.JSON,
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a table.

    `first` is the number of the first one, `share` how much of the table ends with them; `given` are the numbers of all
    where they do not follow each other.
    """

    columns: dict[str, list[Any]]
    first: int
    share: float = 1.0
    given: Sequence[int] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()), ()))

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each row in its table."""
        return self.given or range(self.first, self.first + self.rows)


def read_file(path: Path, *, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """The rows of a CSV, Parquet or JSON file, which may be gzipped unless it is Parquet. Raises `InvalidData`."""
    name = path.name.lower()
    is_packed = name.endswith(".gz")
    form = SUFFIXES.get(Path(name.removesuffix(".gz")).suffix)
    if form is None or (is_packed and form is Form.PARQUET):
        raise InvalidData(f"{path} should be one of {', '.join(SUFFIXES)}, or a gzipped CSV or JSON file.")
    try:
        if form is Form.PARQUET:
            yield from _parquet(path, rows)
            return
        size = max(path.stat().st_size, 1)
        with ExitStack() as opened:
            raw = opened.enter_context(path.open("rb"))
            file: Any = opened.enter_context(gzip.open(raw)) if is_packed else raw
            parse = _csv if form is Form.CSV else _json
            yield from parse(file, rows, lambda: min(raw.tell() / size, 1.0))
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"{path} can't be read: {error}.") from error
    except InvalidData as error:
        raise InvalidData(f"{path}: {error.message}", **error.data) from error


def read_body(content: bytes, content_type: str, *, most_rows: int) -> Chunk:
    """The rows of a request's body as one chunk. Raises `InvalidData`, or `TooLarge` past so many rows."""
    form = CONTENT_TYPES[content_type]
    if form is Form.PARQUET:
        _check_unpacked(content, most_rows)
        parts = _parquet(io.BytesIO(content), most_rows)
    else:
        parse = _csv if form is Form.CSV else _json
        # One row too many is read, so that it is known.
        parts = parse(io.BytesIO(content), most_rows + 1, lambda: 1.0)
    chunk = next(parts, None)
    if chunk is None or not chunk.rows:
        raise InvalidData("The body has no rows.")
    if chunk.rows > most_rows:
        raise too_many(chunk.rows, most_rows)
    return chunk


def too_many(rows: int, most_rows: int) -> TooLarge:
    """The refusal of a body with too many rows."""
    return TooLarge(f"The body has {rows:,} rows or more; this server takes {most_rows:,}. Send it in parts.")


# CSV: RFC 4180, UTF-8, with a header.
def _csv(file: IO[bytes], rows: int, share: Callable[[], float]) -> Iterator[Chunk]:
    lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    read = 0
    try:
        names = next(lines, [])
        _check_names(names)
        part: list[list[str]] = []
        for fields in lines:
            if not fields:
                continue
            if len(fields) != len(names):
                raise InvalidData(
                    f"Row {read + len(part) + 1:,} has {len(fields)} fields, and the header {len(names)}.",
                    row=read + len(part) + 1,
                )
            part.append(fields)
            if len(part) == rows:
                yield _of_fields(names, part, read, share())
                read, part = read + rows, []
        if part:
            yield _of_fields(names, part, read, 1.0)
    except UnicodeDecodeError:
        raise InvalidData(f"The table is not UTF-8, after row {read:,}.") from None
    except csv.Error:
        raise InvalidData(f"The table is no CSV that can be read, after row {read:,}.") from None


def _of_fields(names: list[str], part: list[list[str]], read: int, share: float) -> Chunk:
    columns = {
        name: [value or None for value in values] for name, values in zip(names, zip(*part, strict=True), strict=True)
    }
    return Chunk(columns, read + 1, share)


def _check_names(names: list[str]) -> None:
    if not names:
        raise InvalidData("The table is empty. Its first line names the columns.")
    if len(names) > MOST_COLUMNS:
        raise InvalidData(f"The table has more than {MOST_COLUMNS:,} columns.")
    if len(set(names)) != len(names):
        raise InvalidData("Two columns of the table have the same name.")


# JSON: an object a line (https://jsonlines.org), or one list of objects.
def _json(file: IO[bytes], rows: int, share: Callable[[], float]) -> Iterator[Chunk]:
    first = b""
    lines = iter(file)
    for line in lines:
        if line.strip():
            first = line
            break
    if first.lstrip()[:1] == b"[":
        found = _decoded(b"".join([first, *lines]), 0)
        objects: Iterable[Any] = found if isinstance(found, list) else [found]
    else:
        numbered = enumerate((line for line in chain([first], lines) if line.strip()), start=1)
        objects = (_decoded(line, number) for number, line in numbered)
    part: list[dict[str, Any]] = []
    read = 0
    for one in objects:
        if not isinstance(one, dict):
            raise InvalidData(f"Row {read + len(part) + 1:,} is no JSON object.", row=read + len(part) + 1)
        part.append(one)
        if len(part) == rows:
            yield _of_objects(part, read, share())
            read, part = read + rows, []
    if part:
        yield _of_objects(part, read, 1.0)


def _of_objects(part: list[dict[str, Any]], read: int, share: float) -> Chunk:
    names = list(dict.fromkeys(name for one in part for name in one))
    if len(names) > MOST_COLUMNS:
        raise InvalidData(f"The rows from {read + 1:,} on have more than {MOST_COLUMNS:,} different names.")
    return Chunk({name: [one.get(name) for one in part] for name in names}, read + 1, share)


def _decoded(content: bytes, row: int) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        where = f"Row {row:,}" if row else "The list"
        raise InvalidData(f"{where} is no JSON that can be read.", row=row) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refused(_constant: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


# Parquet
def _parquet(source: Any, rows: int) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    read = 0
    try:
        with pq.ParquetFile(source) as file:
            total = max(file.metadata.num_rows, 1)
            _check_names(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=rows):
                if not batch.num_rows:
                    continue
                columns = {name: _plain(batch.column(name)) for name in batch.schema.names}
                yield Chunk(columns, read + 1, (read + batch.num_rows) / total)
                read += batch.num_rows
    except (pa.ArrowException, OverflowError, ValueError):
        raise InvalidData(
            f"The table is no Parquet file that can be read, or not a whole one, after row {read:,}."
        ) from None


def _plain(column: Any) -> list[Any]:
    """Values as Python has them: texts, numbers, `True` and `False`, times, `None`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_timestamp(column.type):
        # Nanoseconds would come as a type of pandas.
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64())
    _check_type(column.type)
    return list(column.to_pylist())


def _check_type(kind: Any) -> None:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise InvalidData("A column of the table holds lists, structures or bytes. Make them numbers, texts or times.")


def _check_unpacked(content: bytes, most_rows: int) -> None:
    """Raise where a body would hold far more than it is long: before anything of it is unpacked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    most = max(MOST_GROWTH * len(content), LEAST_UNPACKED)
    footer = check_pages(content, most)
    if footer.rows > most_rows:
        raise too_many(footer.rows, most_rows)
    if len(footer.columns) * footer.rows * BYTES_A_VALUE > most * MOST_GROWTH:
        raise TooLarge("The body unpacks to far more than it is long. Send it in parts.")
    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            schema = file.schema_arrow
            for field in schema:
                _check_type(field.type)
        # A text that is said once and repeated in every row stays short only as long as it is not written out.
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        with pq.ParquetFile(io.BytesIO(content), read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=most_rows or 1):
                for column in batch.columns:
                    _check_lengths(column)
    except (pa.ArrowException, OverflowError, ValueError, OSError):
        raise InvalidData("The body is no Parquet file that can be read, or not a whole one.") from None


def _check_lengths(column: Any) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return
    texts = column.dictionary
    if (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)) and len(texts):
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if longest > LONGEST_VALUE or text_bytes(column) > MOST_TEXT:
            raise TooLarge("A text of the body is too long, or repeated too often. Send it in parts.")
