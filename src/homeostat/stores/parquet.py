"""Closed hours of the prediction log as Parquet, partitioned by model and date.

The files hold one typed column a field and a feature, so any tool can read them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Hashable, Sequence
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
# A block as it lies in the database: its sequence number, its core, and its features where it has any.
Entry = tuple[int, "pa.Table", "pa.Table | None"]


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file of one hour: its path in the folder, its SHA-256, its sequence numbers and how many rows it holds."""

    path: str
    sha256: str
    first: int
    last: int
    rows: int


def group_blocks(entries: Sequence[Entry]) -> list[tuple[list[int], list[int], pa.Table, pa.Table | None]]:
    """Put blocks of the same columns together: their numbers, their lengths, and one table for all of them."""
    import pyarrow as pa

    groups: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        _, core, features = entry
        key = (arrow.layout_of(core), None if features is None else arrow.layout_of(features))
        groups.setdefault(key, []).append(entry)
    return [
        (
            [number for number, _, _ in group],
            [core.num_rows for _, core, _ in group],
            pa.concat_tables([core for _, core, _ in group]),
            None if group[0][2] is None else pa.concat_tables([features for _, _, features in group]),
        )
        for group in groups.values()
    ]


def write_sealed(folder: Path, model: str, hour: int, entries: Sequence[Entry], *, shadow: bool) -> list[SealedFile]:
    """Write one hour of blocks: a file for each set of columns, so that every block reads back as it was written."""
    import pyarrow as pa

    files = []
    for numbers, lengths, core, features in group_blocks(entries):
        whole = core.append_column(SEQUENCE, pa.array(np.repeat(numbers, lengths)))
        if features is not None:
            typed = arrow.typed_features(features)
            whole = pa.Table.from_arrays([*whole.columns, *typed.columns], [*whole.column_names, *typed.column_names])
        files.append(_write_file(folder, model, hour, whole, numbers[0], numbers[-1], shadow=shadow))
    return files


def hour_folder(model: str, hour: int) -> Path:
    """Where the files of an hour lie, in the log's folder."""
    return Path(f"model={quote(model, safe='')}") / f"date={str(np.datetime64(hour, 'h'))[:10]}"


def _file_prefix(hour: int, *, shadow: bool) -> str:
    return f"{str(np.datetime64(hour, 'h'))[11:13]}h-{'shadow' if shadow else 'served'}-"


def _write_file(
    folder: Path, model: str, hour: int, table: pa.Table, first: int, last: int, *, shadow: bool
) -> SealedFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = hour_folder(model, hour) / f"{_file_prefix(hour, shadow=shadow)}{first}-{last}.parquet"
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=_repetitive(table))
    content = sink.getvalue()
    partial = target.with_suffix(f".{secrets.token_hex(8)}.partial")
    # The rows leave the database next, so the file must be as durable as they were.
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    sync_folder(target.parent)
    return SealedFile(path.as_posix(), hashlib.sha256(content).hexdigest(), first, last, table.num_rows)


def _repetitive(table: pa.Table) -> list[str]:
    """The columns that a dictionary makes smaller. Numbers and ids rarely repeat, and looking for that costs time."""
    import pyarrow as pa

    return [
        field.name
        for field in table.schema
        if field.name == "version" or (pa.types.is_string(field.type) and field.name != "prediction_id")
    ]


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
            kept = table if features else None
            blocks = arrow.to_blocks(model, table, lengths, shadow=bool(shadow), features=kept)
            found += zip(numbers[starts].tolist(), blocks, strict=True)
        return found

    def _read(self, path: str, sha256: str, *, features: bool) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        place = self._folder / path
        try:
            if (path, sha256) not in self._verified:
                with place.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != sha256:
                    raise StorageFailed(
                        f"The sealed hour {place} is not what was written (SHA-256 {sha256[:12]}, found {found[:12]}). "
                        "Restore it from a backup.",
                        path=str(place),
                    )
                self._verified.add((path, sha256))
            with pq.ParquetFile(place) as file:
                names = file.schema_arrow.names
                core = None if features else [name for name in names if not name.startswith(arrow.FEATURE)]
                return file.read(columns=core, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise StorageFailed(
                f"The sealed hour {place} can't be read: {error}. Restore it from a backup.", path=str(place)
            ) from error
