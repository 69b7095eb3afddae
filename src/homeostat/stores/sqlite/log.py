"""The prediction log in SQLite: blocks of Arrow columns for the open hours, sealed to Parquet when an hour closed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from homeostat.errors import StorageFailed
from homeostat.records import LabelBlock, PredictionBlock, as_datetime64
from homeostat.stores import arrow
from homeostat.stores.parquet import Entry, SealedReader, group_blocks, hour_folder, remove_leftovers, write_sealed
from homeostat.stores.sqlite.database import Database, is_busy
from homeostat.stores.sqlite.writer import GroupWriter

SCHEMA_VERSION = 1
SERVED = -1
IDS_AT_ONCE = 500
SEALING_SECONDS = 5.0

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS block (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, shadow INTEGER NOT NULL, hour INTEGER NOT NULL,
    rows INTEGER NOT NULL, core BLOB NOT NULL, features BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS block_by_model ON block (model, sequence)",
    "CREATE INDEX IF NOT EXISTS block_by_hour ON block (hour, model, shadow)",
    """CREATE TABLE IF NOT EXISTS seen (
    model TEXT NOT NULL, prediction_id TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (model, prediction_id, version)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS label (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, source TEXT NOT NULL, confidence REAL NOT NULL,
    rows INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS label_by_model ON label (model, sequence)",
    """CREATE TABLE IF NOT EXISTS sealed (
    path TEXT PRIMARY KEY, model TEXT NOT NULL, shadow INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, rows INTEGER NOT NULL, sha256 TEXT NOT NULL)""",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A block as it goes into the database. All that can fail without the database is done by then."""

    block: PredictionBlock
    keys: list[tuple[str, str, int]]
    hour: int
    core: bytes
    features: bytes


class SqlitePredictionLog:
    """The log in one SQLite file, beside a folder of Parquet files for closed hours.

    One thread writes what all others append, many blocks in one transaction in WAL mode: once `append` returns, the
    rows survive the death of the process, and with `durability="power"` that of the machine. Readers never wait.
    """

    def __init__(self, path: Path, sealed_folder: Path, *, durability: str = "process") -> None:
        self._folder = sealed_folder
        self._sealed = SealedReader(sealed_folder)
        self._sealing_lock = threading.Lock()
        self._database = Database(path, durability=durability)
        self._writer = GroupWriter(self._database, _not_written)
        self._counts = threading.Lock()
        self._written = 0
        self._failed = 0
        try:
            self._database.prepare(_is_ready, _create)
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(f"The prediction log {path} can't be opened: {error}.") from error

    @property
    def written(self) -> int:
        """How many prediction rows this process has written; those that were there already do not count."""
        return self._written

    @property
    def failed(self) -> int:
        """How many prediction rows this process could not write; their callers were told."""
        return self._failed

    def queue_depth(self) -> int:
        """How many appends wait to be written now."""
        return self._writer.queue_depth()

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        try:
            encoded = [_encode(block) for block in blocks]
            size = sum(len(one.core) + len(one.features) for one in encoded)
            sequence, rows = self._writer.do(lambda connection: _insert_blocks(connection, encoded), size=size)
        except BaseException:
            with self._counts:
                self._failed += sum(block.rows for block in blocks)
            raise
        with self._counts:
            self._written += rows
        return sequence

    def append_labels(self, block: LabelBlock, *more: LabelBlock) -> int:
        rows = [(one.model, one.source, one.confidence, one.rows, arrow.encode_labels(one)) for one in (block, *more)]
        size = sum(len(row[-1]) for row in rows)
        return self._writer.do(lambda connection: _insert_labels(connection, rows), size=size)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._writer.is_closed:
            raise StorageFailed("The prediction log is closed. Open it again to read.")
        try:
            with self._database.reading() as connection:
                yield connection
        except sqlite3.Error as error:
            raise StorageFailed(f"The prediction log can't be read: {error}.") from error

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=False)

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=True)

    def _blocks(self, model: str, sequence: int, *, features: bool) -> list[tuple[int, PredictionBlock]]:
        only_served = " AND shadow = 0" if features else ""
        # One snapshot over both, so that a sealing in another process can't hide rows between the two reads.
        with self._reading() as connection:
            files = connection.execute(
                f"SELECT path, shadow, sha256 FROM sealed WHERE model = ? AND last > ?{only_served} "  # noqa: S608
                "ORDER BY first",
                (model, sequence),
            ).fetchall()
            rows = connection.execute(
                f"SELECT sequence, shadow, core, {'features' if features else 'NULL'} FROM block "  # noqa: S608
                f"WHERE model = ? AND sequence > ?{only_served} ORDER BY sequence",
                (model, sequence),
            ).fetchall()
        found = self._sealed.blocks(model, files, sequence, features=features) if files else []
        for shadow in (False, True):
            entries = [
                (number, arrow.decode(core), arrow.decode(blob) if features else None)
                for number, role, core, blob in rows
                if bool(role) is shadow
            ]
            for numbers, lengths, core, columns in group_blocks(entries):
                blocks = arrow.to_blocks(model, core, lengths, shadow=shadow, features=columns)
                found += zip(numbers, blocks, strict=True)
        found.sort(key=lambda entry: entry[0])
        return found

    def labels_after(self, model: str, sequence: int) -> list[tuple[int, LabelBlock]]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT sequence, source, confidence, body FROM label WHERE model = ? AND sequence > ? "
                "ORDER BY sequence",
                (model, sequence),
            ).fetchall()
        return [
            (number, arrow.to_labels(model, arrow.decode(body), source=source, confidence=confidence))
            for number, source, confidence, body in rows
        ]

    def count_served(self, model: str, ids: Sequence[str]) -> int:
        found = 0
        with self._reading() as connection:
            for start in range(0, len(ids), IDS_AT_ONCE):
                part = ids[start : start + IDS_AT_ONCE]
                marks = ", ".join("?" * len(part))
                query = f"SELECT count(*) FROM seen WHERE model = ? AND version = ? AND prediction_id IN ({marks})"  # noqa: S608
                found += int(connection.execute(query, (model, SERVED, *part)).fetchone()[0])
        return found

    def seal(self, before: datetime) -> int:
        limit = _hour(as_datetime64(before))
        with self._reading() as connection:
            # The cheap question first: mostly there is nothing to seal.
            if connection.execute("SELECT 1 FROM block WHERE hour < ? LIMIT 1", (limit,)).fetchone() is None:
                return 0
        with self._sealing() as is_ours:
            if not is_ours:
                return 0
            with self._reading() as connection:
                groups = connection.execute(
                    "SELECT model, shadow, hour FROM block WHERE hour < ? GROUP BY model, shadow, hour ORDER BY hour",
                    (limit,),
                ).fetchall()
            return sum(self._seal_hour(model, shadow, hour) for model, shadow, hour in groups)

    @contextmanager
    def _sealing(self) -> Iterator[bool]:
        """One sealing of a log at a time, over all processes: `False` where another one is at it.

        The lock is that of an empty database, because the system frees it whenever its holder dies.
        """
        path = self._database.path.with_suffix(".sealing")
        try:
            with (
                self._sealing_lock,
                closing(sqlite3.connect(path, timeout=SEALING_SECONDS, isolation_level=None)) as connection,
            ):
                try:
                    connection.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                    yield False
                else:
                    yield True
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(_not_sealed(error)) from error

    def _seal_hour(self, model: str, shadow: int, hour: int) -> int:
        # The file is written first, while others append; then one transaction registers it and removes the blocks. A
        # death between the two leaves a file that nobody reads and that the next sealing writes again.
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT sequence, core, features FROM block WHERE model = ? AND shadow = ? AND hour = ? "
                "ORDER BY sequence",
                (model, shadow, hour),
            ).fetchall()
            place = hour_folder(model, hour).as_posix()
            query = "SELECT path FROM sealed WHERE path BETWEEN ? AND ?"
            registered = {path for (path,) in connection.execute(query, (f"{place}/", f"{place}0"))}
        if not rows:
            return 0
        entries: list[Entry] = [
            (number, arrow.decode(core), arrow.decode(blob) if blob else None) for number, core, blob in rows
        ]
        remove_leftovers(self._folder, model, hour, registered, shadow=bool(shadow))
        files = write_sealed(self._folder, model, hour, entries, shadow=bool(shadow))

        def register(connection: sqlite3.Connection) -> int:
            connection.executemany(
                "INSERT INTO sealed (path, model, shadow, first, last, rows, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(file.path, model, shadow, file.first, file.last, file.rows, file.sha256) for file in files],
            )
            connection.executemany("DELETE FROM block WHERE sequence = ?", [(row[0],) for row in rows])
            return sum(file.rows for file in files)

        return self._writer.do(register)

    def close(self) -> None:
        """Write what waits, and close the file. Calls after it raise `StorageFailed`."""
        self._writer.close()
        self._database.close()


def _is_ready(connection: sqlite3.Connection) -> bool:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA_VERSION:
        raise StorageFailed(
            f"The prediction log was written by a newer Homeostat (schema {found}, this one knows {SCHEMA_VERSION}). "
            "Upgrade: pip install -U homeostat."
        )
    return found == SCHEMA_VERSION


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)


def _not_written(error: BaseException) -> str:
    return f"The prediction log can't be written: {error}. None of these rows were kept; try again."


def _not_sealed(error: BaseException) -> str:
    return f"Closed hours can't be sealed: {error}. Their rows stay in the database; the next sealing tries again."


def _encode(block: PredictionBlock) -> _Encoded:
    versions = block.version.tolist() if block.shadow else [SERVED] * block.rows
    return _Encoded(
        block=block,
        keys=[(block.model, id_, version) for id_, version in zip(block.ids, versions, strict=True)],
        hour=_hour(block.event_time.max()) if block.rows else 0,
        core=arrow.encode_core(block),
        features=b"" if block.shadow else arrow.encode_features(block.features),
    )


def _insert_blocks(connection: sqlite3.Connection, encoded: Sequence[_Encoded]) -> tuple[int, int]:
    """Write blocks; returns the last sequence number and how many rows were new."""
    sequence, rows = None, 0
    for given in encoded:
        fresh = _fresh_rows(connection, given)
        kept = given if fresh is None else _encode(given.block.take(fresh))
        if not kept.block.rows:
            continue
        rows += kept.block.rows
        sequence = connection.execute(
            "INSERT INTO block (model, shadow, hour, rows, core, features) VALUES (?, ?, ?, ?, ?, ?)",
            (
                kept.block.model,
                int(kept.block.shadow),
                kept.hour,
                kept.block.rows,
                kept.core,
                kept.features,
            ),
        ).lastrowid
    return _last_sequence(connection, "block") if sequence is None else sequence, rows


def _insert_labels(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, float, int, bytes]]) -> int:
    insert = "INSERT INTO label (model, source, confidence, rows, body) VALUES (?, ?, ?, ?, ?)"
    connection.executemany(insert, rows)
    return _last_sequence(connection, "label")


def _fresh_rows(connection: sqlite3.Connection, given: _Encoded) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
    """Which rows of a block the log does not hold yet, `None` for all; the first of two with one id wins."""
    insert = "INSERT OR IGNORE INTO seen (model, prediction_id, version) VALUES (?, ?, ?)"
    if len(given.keys) == 1:
        # The common case of a server: one row, of which one insert says all.
        return None if connection.execute(insert, given.keys[0]).rowcount == 1 else np.zeros(1, dtype=bool)
    connection.execute("SAVEPOINT ids")
    before = connection.total_changes
    connection.executemany(insert, given.keys)
    if connection.total_changes - before == len(given.keys):
        connection.execute("RELEASE ids")
        return None
    # Some are there already: insert them one by one to see which.
    connection.execute("ROLLBACK TO ids")
    fresh = np.array([connection.execute(insert, key).rowcount == 1 for key in given.keys], dtype=bool)
    connection.execute("RELEASE ids")
    return fresh


def _last_sequence(connection: sqlite3.Connection, table: str) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def _hour(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[h]").astype(np.int64))
