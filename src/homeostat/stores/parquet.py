"""Closed hours of the prediction log as Parquet, partitioned by model and date, read with DuckDB.

The files hold one typed column a field and a feature, so any tool can read them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from homeostat.errors import StorageFailed
from homeostat.records import PredictionBlock
from homeostat.stores import arrow
from homeostat.stores.files import sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file of one hour: its path in the folder, its SHA-256, its sequence numbers and how many rows it holds."""

    path: str
    sha256: str
    first: int
    last: int
    rows: int


def write_sealed(
    folder: Path, model: str, hour: int, entries: list[tuple[int, pa.Table, pa.Table | None]], *, shadow: bool
) -> list[SealedFile]:
    """Write one hour of blocks: a file for each set of columns, so that every block reads back as it was written."""
    groups: dict[pa.Schema, list[tuple[int, pa.Table]]] = {}
    for number, core, features in entries:
        table = _whole(number, core, features)
        groups.setdefault(table.schema, []).append((number, table))
    return [_write_file(folder, model, hour, group, shadow=shadow) for group in groups.values()]


def _whole(number: int, core: pa.Table, features: pa.Table | None) -> pa.Table:
    import pyarrow as pa

    whole = core.append_column(SEQUENCE, pa.array(np.full(core.num_rows, number)))
    if features is not None:
        for name in features.column_names:
            whole = whole.append_column(name, features.column(name))
    return whole


def _hour_folder(model: str, hour: int) -> Path:
    return Path(f"model={quote(model, safe='')}") / f"date={str(np.datetime64(hour, 'h'))[:10]}"


def _file_prefix(hour: int, *, shadow: bool) -> str:
    return f"{str(np.datetime64(hour, 'h'))[11:13]}h-{'shadow' if shadow else 'served'}-"


def _write_file(
    folder: Path, model: str, hour: int, entries: list[tuple[int, pa.Table]], *, shadow: bool
) -> SealedFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([table for _, table in entries])
    first, last = entries[0][0], entries[-1][0]
    path = _hour_folder(model, hour) / f"{_file_prefix(hour, shadow=shadow)}{first}-{last}.parquet"
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    pq.write_table(table, partial, compression="zstd")
    # The rows leave the database next, so the file must be as durable as they were.
    with partial.open("r+b") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
        os.fsync(file.fileno())
    partial.replace(target)
    sync_folder(target.parent)
    return SealedFile(path.as_posix(), digest, first, last, table.num_rows)


def remove_leftovers(folder: Path, model: str, hour: int, registered: Sequence[str], *, shadow: bool) -> None:
    """Delete files of an hour that a sealing wrote and died before registering: other tools would count them twice."""
    place = _hour_folder(model, hour)
    if not (folder / place).is_dir():
        return
    for file in (folder / place).iterdir():
        if file.name.startswith(_file_prefix(hour, shadow=shadow)) and (place / file.name).as_posix() not in registered:
            file.unlink(missing_ok=True)


def read_sealed(
    folder: Path, model: str, paths: list[tuple[str, int]], after: int, *, features: bool
) -> list[tuple[int, PredictionBlock]]:
    """The blocks with a higher sequence number in those files."""
    found: list[tuple[int, PredictionBlock]] = []
    for path, shadow in paths:
        table = _query(folder / path, after, features=features)
        numbers = table.column(SEQUENCE).to_numpy()
        starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]]) if len(numbers) else np.array([], dtype=int)
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
            part = table.slice(start, end - start)
            block = arrow.to_block(model, part, shadow=bool(shadow), features=part if features else None)
            found.append((int(numbers[start]), block))
    return found


def _query(path: Path, after: int, *, features: bool) -> pa.Table:
    import duckdb
    import pyarrow.parquet as pq

    columns = "*" if features else f"COLUMNS(lambda name: NOT starts_with(name, '{arrow.FEATURE}'))"
    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            relation = connection.sql(
                f"SELECT {columns} FROM read_parquet(?, hive_partitioning = false) WHERE {SEQUENCE} > ? "  # noqa: S608
                f"ORDER BY {SEQUENCE}, file_row_number",
                params=[str(path), after],
            )
            table = relation.to_arrow_table()
        # DuckDB renames columns that differ in case only.
        return table.rename_columns(pq.read_schema(path).names) if features else table
    except (duckdb.Error, OSError) as error:
        raise StorageFailed(f"The sealed hour {path} can't be read: {error}. Restore it from a backup.") from error
