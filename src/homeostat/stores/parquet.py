"""Closed hours of the prediction log as Parquet, partitioned by model and date, read with DuckDB.

The files hold one typed column a field and a feature, so any tool can read them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from homeostat.records import PredictionBlock
from homeostat.stores import arrow

if TYPE_CHECKING:
    import pyarrow as pa

SEQUENCE = "sequence"


def write_sealed(
    folder: Path, model: str, hour: int, entries: list[tuple[int, pa.Table, pa.Table | None]], *, shadow: bool
) -> tuple[str, str, int]:
    """Write one hour of blocks; returns the file's path in the folder, its SHA-256 and how many rows it holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for number, core, features in entries:
        whole = core.append_column(SEQUENCE, pa.array(np.full(core.num_rows, number)))
        if features is not None:
            for name in features.column_names:
                whole = whole.append_column(name, features.column(name))
        tables.append(whole)
    table = pa.concat_tables(tables, promote_options="permissive")
    moment = np.datetime64(hour, "h")
    role = "shadow" if shadow else "served"
    name = f"{str(moment)[11:13]}h-{role}-{entries[0][0]}-{entries[-1][0]}.parquet"
    path = Path(f"model={quote(model, safe='')}") / f"date={str(moment)[:10]}" / name
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    pq.write_table(table, partial, compression="zstd")
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    partial.replace(target)
    return path.as_posix(), digest, table.num_rows


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

    columns = "*" if features else f"COLUMNS(lambda name: NOT starts_with(name, '{arrow.FEATURE}'))"
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql(
            f"SELECT {columns} FROM read_parquet(?) WHERE {SEQUENCE} > ? ORDER BY {SEQUENCE}, file_row_number",  # noqa: S608
            params=[str(path), after],
        )
        return relation.to_arrow_table()
