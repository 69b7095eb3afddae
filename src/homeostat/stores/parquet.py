"""Closed hours of the prediction log as Parquet, partitioned by model and date.

The files hold one typed column a field and a feature, so any tool can read them. Numbers are split into streams of
bytes before they are compressed: a feature that a float32 could hold costs as much as one, and stays a double in every
file. Ids are UUIDs of 16 bytes where all of a file's are, else texts. Where every row of a file is its own entity,
`entity` is null.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from homeostat.errors import StorageFailed
from homeostat.ports import FEATURE
from homeostat.records import PredictionBlock
from homeostat.stores import arrow
from homeostat.stores.files import sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

SEQUENCE = "sequence"
OWN_ENTITY = b"entity_is_prediction_id"
# Against level 1 it saves 4 % and costs a fifth more time in writing, none in reading.
COMPRESSION_LEVEL = 3
# Of the bytes that LZ4 needs, how many zstd may need to be taken instead; and on how many values that is tried.
WORTH_IT, SAMPLE_ROWS = 0.9, 16_384
FEW_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file of one hour: its path in the folder, its SHA-256, its sequence numbers and how many rows it holds.

    `earliest` and `latest` are the event times of its rows, in microseconds of UTC.
    """

    path: str
    sha256: str
    first: int
    last: int
    rows: int
    earliest: int
    latest: int


def write_sealed(folder: Path, model: str, hour: int, parts: Sequence[arrow.Part], *, shadow: bool) -> list[SealedFile]:
    """Write one hour of blocks: a file for each set of columns, so that every block reads back as it was written."""
    return [_write_file(folder, model, hour, part, shadow=shadow) for part in parts]


def hour_folder(model: str, hour: int) -> Path:
    """Where the files of an hour lie, in the log's folder."""
    return Path(f"model={quote(model, safe='')}") / f"date={str(np.datetime64(hour, 'h'))[:10]}"


def _file_prefix(hour: int, *, shadow: bool) -> str:
    return f"{str(np.datetime64(hour, 'h'))[11:13]}h-{'shadow' if shadow else 'served'}-"


def _write_file(folder: Path, model: str, hour: int, part: arrow.Part, *, shadow: bool) -> SealedFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, last = part.numbers[0], part.numbers[-1]
    path = hour_folder(model, hour) / f"{_file_prefix(hour, shadow=shadow)}{first}-{last}.parquet"
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    table = _for_any_tool(part)
    repetitive = _repetitive(table)
    codecs = {name: _codec(column) for name, column in zip(table.column_names, table.columns, strict=True)}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=codecs,
        compression_level={name: COMPRESSION_LEVEL for name, codec in codecs.items() if codec == "zstd"},
        use_dictionary=repetitive,
        column_encoding={
            field.name: encoding
            for field in table.schema
            if field.name not in repetitive and (encoding := _encoding(field.type)) is not None
        },
    )
    content = sink.getvalue()
    partial = target.with_suffix(f".{secrets.token_hex(8)}.partial")
    # The rows leave the database next, so the file must be as durable as they were.
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    times = part.table.column("event_time").to_numpy().astype("datetime64[us]").astype(np.int64)
    return SealedFile(
        path.as_posix(),
        hashlib.sha256(content).hexdigest(),
        first,
        last,
        table.num_rows,
        int(times.min()),
        int(times.max()),
    )


def _for_any_tool(part: arrow.Part) -> pa.Table:
    import pyarrow as pa

    table = part.table
    names, columns, metadata = table.column_names, list(table.columns), {}
    if pa.types.is_fixed_size_binary(columns[0].type):
        # Parquet's own type for it, so that tools show a UUID.
        columns[0] = pa.chunked_array(
            [pa.ExtensionArray.from_storage(pa.uuid(), chunk) for chunk in columns[0].chunks], pa.uuid()
        )
    if "entity" not in names:
        place = names.index("output")
        names.insert(place, "entity")
        columns.insert(place, pa.chunked_array([pa.nulls(table.num_rows, pa.string())]))
        metadata[OWN_ENTITY] = b"true"
    # Beside the fields, before the features.
    place = next((position for position, name in enumerate(names) if name.startswith(FEATURE)), len(names))
    names.insert(place, SEQUENCE)
    columns.insert(place, pa.chunked_array([part.sequence]))
    made = pa.Table.from_arrays(columns, names)
    return made.replace_schema_metadata(metadata) if metadata else made


def _repetitive(table: pa.Table) -> list[str]:
    """The columns that a dictionary makes smaller. Numbers and ids rarely repeat, and looking for that costs time."""
    import pyarrow as pa

    return [
        field.name
        for field in table.schema
        if field.name == "version" or (pa.types.is_string(field.type) and field.name != "prediction_id")
    ]


def _codec(column: pa.ChunkedArray) -> str:
    """zstd, but for numbers that it makes hardly smaller than LZ4 does, which is read in half the time."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type) or not len(column):
        return "zstd"
    values = column.slice(0, SAMPLE_ROWS).to_numpy()
    # As they will lie in the file: all first bytes, then all second ones.
    sample = np.ascontiguousarray(values.view(np.uint8).reshape(len(values), -1).T).tobytes()
    small = len(pa.Codec("zstd", COMPRESSION_LEVEL).compress(sample, asbytes=True))
    return "zstd" if small < WORTH_IT * len(pa.Codec("lz4").compress(sample, asbytes=True)) else "lz4"


def _encoding(type_: Any) -> str | None:
    import pyarrow as pa

    # Ids stay plain: DuckDB and Polars read no other form of 16 bytes.
    if pa.types.is_floating(type_):
        return "BYTE_STREAM_SPLIT"
    if pa.types.is_integer(type_) or pa.types.is_timestamp(type_):
        return "DELTA_BINARY_PACKED"
    return None


def remove_leftovers(folder: Path, model: str, hour: int, registered: Collection[str], *, shadow: bool) -> None:
    """Delete files of an hour that a sealing wrote and died before registering: other tools would count them twice."""
    place = hour_folder(model, hour)
    if not (folder / place).is_dir():
        return
    for file in (folder / place).iterdir():
        if file.name.startswith(_file_prefix(hour, shadow=shadow)) and (place / file.name).as_posix() not in registered:
            file.unlink(missing_ok=True)


class SealedReader:
    """Reads sealed files; the first time in a process that one is read, its bytes are held against their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._verified: set[tuple[str, str]] = set()

    def blocks(
        self, model: str, files: Sequence[tuple[str, int, str]], after: int, *, features: bool
    ) -> list[tuple[int, PredictionBlock]]:
        """The blocks with a higher sequence number in those files, given as path, whether shadow, and SHA-256."""
        import pyarrow as pa

        # All files of the same columns are converted in one go.
        groups: dict[Hashable, list[pa.Table]] = {}
        for path, shadow, sha256 in files:
            table = self._read(path, sha256, features=features)
            if after:
                numbers = table.column(SEQUENCE).to_numpy()
                table = table.slice(int(np.searchsorted(numbers, after, side="right")))
            if table.num_rows:
                types = tuple(map(str, table.schema.types))
                groups.setdefault((shadow, types, *table.column_names), []).append(table)
        found: list[tuple[int, PredictionBlock]] = []
        for (shadow, *_), tables in groups.items():  # type: ignore[misc]
            table = pa.concat_tables(tables)
            numbers = table.column(SEQUENCE).to_numpy()
            starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
            lengths = np.diff([*starts, len(numbers)]).tolist()
            blocks = arrow.to_blocks(model, table, lengths, shadow=bool(shadow))
            found += zip(numbers[starts].tolist(), blocks, strict=True)
        return found

    def _read(self, path: str, sha256: str, *, features: bool) -> pa.Table:
        with self._open(path, sha256) as file:
            names = file.schema_arrow.names
            core = None if features else [name for name in names if not name.startswith(FEATURE)]
            return _as_held(file.read(columns=core, use_threads=False))

    def scan(self, path: str, sha256: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a file, and what finding them needs; those that the file does not have are left out."""
        with self._open(path, sha256) as file:
            held = set(file.schema_arrow.names)
            wanted = [name for name in dict.fromkeys(columns) if name in held]
            if "entity" in columns and OWN_ENTITY in (file.schema_arrow.metadata or {}):
                wanted = list(dict.fromkeys([*wanted, "prediction_id"]))
            # Threads pay off for many columns; for a few they cost more than they save.
            return _as_held(file.read(columns=wanted, use_threads=len(wanted) > FEW_COLUMNS))

    @contextmanager
    def _open(self, path: str, sha256: str) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        place = self._folder / path
        try:
            if (path, sha256) not in self._verified:
                with place.open("rb") as content:
                    found = hashlib.file_digest(content, "sha256").hexdigest()
                if found != sha256:
                    raise StorageFailed(
                        f"The sealed hour {place} is not what was written (SHA-256 {sha256[:12]}, found {found[:12]}). "
                        "Restore it from a backup.",
                        path=str(place),
                    )
                self._verified.add((path, sha256))
            with pq.ParquetFile(place) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise StorageFailed(
                f"The sealed hour {place} can't be read: {error}. Restore it from a backup.", path=str(place)
            ) from error


def _as_held(table: pa.Table) -> pa.Table:
    """A table of a file in the form in which open hours are held."""
    import pyarrow as pa

    if OWN_ENTITY in (table.schema.metadata or {}) and "entity" in table.column_names:
        table = table.drop_columns(["entity"])
    table = table.replace_schema_metadata(None)
    if "prediction_id" in table.column_names and isinstance(table.schema.field("prediction_id").type, pa.UuidType):
        place = table.column_names.index("prediction_id")
        column = table.column(place)
        ids = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        table = table.set_column(place, "prediction_id", ids)
    return table
