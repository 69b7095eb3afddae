"""The prediction log in SQLite: blocks of Arrow columns for the open hours, sealed to Parquet when an hour closed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from homeostat.errors import StorageFailed
from homeostat.records import LabelBlock, PredictionBlock, as_datetime64
from homeostat.stores import arrow
from homeostat.stores.memory import take_rows
from homeostat.stores.parquet import read_sealed, remove_leftovers, write_sealed

BUSY_SECONDS = 30.0
SERVED = -1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS block (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, shadow INTEGER NOT NULL, hour INTEGER NOT NULL,
    rows INTEGER NOT NULL, core BLOB NOT NULL, features BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS block_by_model ON block (model, sequence);
CREATE TABLE IF NOT EXISTS seen (
    model TEXT NOT NULL, prediction_id TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (model, prediction_id, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS label (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, source TEXT NOT NULL, confidence REAL NOT NULL,
    rows INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS label_by_model ON label (model, sequence);
CREATE TABLE IF NOT EXISTS sealed (
    path TEXT PRIMARY KEY, model TEXT NOT NULL, shadow INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, rows INTEGER NOT NULL, sha256 TEXT NOT NULL);
"""


class SqlitePredictionLog:
    """The log in one SQLite file, beside a folder of Parquet files for closed hours.

    A write is one transaction in WAL mode: once `append` returns, the rows survive the death of the process, and
    with `durability="power"` that of the machine.
    """

    def __init__(self, path: Path, sealed_folder: Path, *, durability: str = "process") -> None:
        self._folder = sealed_folder
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(f"The prediction log {path} can't be opened: {error}.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk may have rolled back already.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OSError) as error:
                raise StorageFailed(
                    f"The prediction log can't be written: {error}. None of these rows were kept; try again."
                ) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageFailed(f"The prediction log can't be read: {error}.") from error

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        with self._transaction() as connection:
            for block in blocks:
                kept = _fresh_rows(connection, block)
                if kept.rows:
                    connection.execute(
                        "INSERT INTO block (model, shadow, hour, rows, core, features) VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            kept.model,
                            int(kept.shadow),
                            _hour(kept.event_time.max()),
                            kept.rows,
                            arrow.encode(arrow.core_table(kept)),
                            b"" if kept.shadow else arrow.encode(arrow.features_table(kept.features)),
                        ),
                    )
            return _last_sequence(connection, "block")

    def append_labels(self, block: LabelBlock) -> int:
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO label (model, source, confidence, rows, body) VALUES (?, ?, ?, ?, ?)",
                (
                    block.model,
                    block.source,
                    block.confidence,
                    block.rows,
                    arrow.encode(arrow.labels_table(block)),
                ),
            )
            return _last_sequence(connection, "label")

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=False)

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        return self._blocks(model, sequence, features=True)

    def _blocks(self, model: str, sequence: int, *, features: bool) -> list[tuple[int, PredictionBlock]]:
        only_served = " AND shadow = 0" if features else ""
        # One snapshot over both, so that a sealing in another process can't hide rows between the two reads.
        with self._reading() as connection:
            paths = connection.execute(
                f"SELECT path, shadow FROM sealed WHERE model = ? AND last > ?{only_served} ORDER BY first",  # noqa: S608
                (model, sequence),
            ).fetchall()
            rows = connection.execute(
                f"SELECT sequence, shadow, core, {'features' if features else 'NULL'} FROM block "  # noqa: S608
                f"WHERE model = ? AND sequence > ?{only_served} ORDER BY sequence",
                (model, sequence),
            ).fetchall()
        found = read_sealed(self._folder, model, paths, sequence, features=features)
        for number, shadow, core, blob in rows:
            table = arrow.decode(blob) if features else None
            found.append((number, arrow.to_block(model, arrow.decode(core), shadow=bool(shadow), features=table)))
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

    def seal(self, before: datetime) -> int:
        limit = _hour(as_datetime64(before))
        with self._reading() as connection:
            groups = connection.execute(
                "SELECT model, shadow, hour FROM block WHERE hour < ? GROUP BY model, shadow, hour ORDER BY hour",
                (limit,),
            ).fetchall()
        return sum(self._seal_hour(model, shadow, hour) for model, shadow, hour in groups)

    def _seal_hour(self, model: str, shadow: int, hour: int) -> int:
        # The file is written first, then one transaction registers it and removes the blocks: a death between the
        # two leaves a file that nobody reads and that the next sealing writes again.
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT sequence, core, features FROM block WHERE model = ? AND shadow = ? AND hour = ? "
                "ORDER BY sequence",
                (model, shadow, hour),
            ).fetchall()
            if not rows:
                return 0
            entries = [
                (number, arrow.decode(core), arrow.decode(blob) if blob else None) for number, core, blob in rows
            ]
            registered = [row[0] for row in connection.execute("SELECT path FROM sealed WHERE model = ?", (model,))]
            remove_leftovers(self._folder, model, hour, registered, shadow=bool(shadow))
            files = write_sealed(self._folder, model, hour, entries, shadow=bool(shadow))
            connection.executemany(
                "INSERT INTO sealed (path, model, shadow, first, last, rows, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(file.path, model, shadow, file.first, file.last, file.rows, file.sha256) for file in files],
            )
            connection.executemany("DELETE FROM block WHERE sequence = ?", [(row[0],) for row in rows])
            return sum(file.rows for file in files)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _fresh_rows(connection: sqlite3.Connection, block: PredictionBlock) -> PredictionBlock:
    """The rows of a block that the log does not hold yet; the first of two with one id wins."""
    insert = "INSERT OR IGNORE INTO seen (model, prediction_id, version) VALUES (?, ?, ?)"
    versions = block.version.tolist() if block.shadow else [SERVED] * block.rows
    keys = [(block.model, id_, version) for id_, version in zip(block.ids, versions, strict=True)]
    connection.execute("SAVEPOINT ids")
    before = connection.total_changes
    connection.executemany(insert, keys)
    if connection.total_changes - before == block.rows:
        connection.execute("RELEASE ids")
        return block
    # Some are there already: insert them one by one to see which.
    connection.execute("ROLLBACK TO ids")
    fresh = np.array([connection.execute(insert, key).rowcount == 1 for key in keys], dtype=bool)
    connection.execute("RELEASE ids")
    return take_rows(block, fresh)


def _last_sequence(connection: sqlite3.Connection, table: str) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def _hour(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[h]").astype(np.int64))
