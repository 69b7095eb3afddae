"""Control records in SQLite (WAL): one table a kind, uniqueness and append-only kept by the database itself.

The driver is used directly: what a layer between costs for each statement is ten times what SQLite takes to run it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from homeostat.errors import Conflict, StaleRevision, StorageFailed
from homeostat.ports import M, R
from homeostat.records import Mutable, Record
from homeostat.stores.schema import SCHEMA, decode, encode, model_of
from homeostat.stores.sqlite import statements
from homeostat.stores.sqlite.database import BUSY_SECONDS, Database, writing

SCHEMA_VERSION = 2


class SqliteControlStore:
    """Control records in one file. Several processes may use it at once."""

    def __init__(self, path: Path, *, durability: str = "process") -> None:
        self._database = Database(path, durability=durability)
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._watch_lock = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        try:
            self._database.prepare(_is_ready, _create)
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(f"The control store {path} can't be opened: {error}.") from error

    @contextmanager
    def begin(self) -> Iterator[SqlTransaction]:
        """A transaction that holds the write lock from its start."""
        # Threads of one process wait here, in turn; SQLite's own waiting sleeps and tries again.
        if not self._write_lock.acquire(timeout=BUSY_SECONDS):
            raise StorageFailed(f"The control store was busy for {BUSY_SECONDS:.0f} s. Nothing was changed; try again.")
        try:
            with self._failing():
                self._writer = self._writer or self._database.connect()
                with writing(self._writer):
                    yield SqlTransaction(self._writer)
        finally:
            self._write_lock.release()

    @contextmanager
    def read(self) -> Iterator[SqlTransaction]:
        """A consistent snapshot; writers are not held up."""
        with self._failing(), self._database.reading() as connection:
            yield SqlTransaction(connection)

    def revision(self) -> int:
        """A number that differs from an earlier one of this object whenever any process committed since."""
        # SQLite counts for each connection what others committed, so this one must never write itself.
        with self._failing(), self._watch_lock:
            self._watch = self._watch or self._database.connect()
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageFailed(
                f"The control store can't be used: {error}. Nothing of this change was kept; try again."
            ) from error

    def close(self) -> None:
        """Close all connections. Whoever uses the store after that opens them again."""
        self._database.close()
        with self._write_lock, self._watch_lock:
            for connection in (self._writer, self._watch):
                if connection is not None:
                    connection.close()
            self._writer = self._watch = None


def _is_ready(connection: sqlite3.Connection) -> bool:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA_VERSION:
        raise StorageFailed(
            f"The control store was written by a newer Homeostat (schema {found}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade: pip install -U homeostat."
        )
    return found == SCHEMA_VERSION and _tables(connection) >= {table.name for table in SCHEMA.values()}


def _create(connection: sqlite3.Connection) -> None:
    """Make what is missing: all of it, or what came with a newer version."""
    for table in SCHEMA.values():
        for statement in statements.creation(table):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


class SqlTransaction:
    """Reads and writes of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, kind: type[R], key: str) -> R | None:
        row = self._connection.execute(statements.get(kind.table), (key,)).fetchone()
        return None if row is None else decode(kind, row[0])

    def list(
        self,
        kind: type[R],
        *,
        model: str | None = None,
        states: Sequence[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        query = statements.listing(
            kind.table,
            of_model=model is not None,
            states=len(states),
            newest_first=newest_first,
            is_limited=limit is not None,
        )
        parameters: list[Any] = [*(() if model is None else (model,)), *states, *(() if limit is None else (limit,))]
        return [decode(kind, body) for (body,) in self._connection.execute(query, parameters).fetchall()]

    def count(self, kind: type[R], *, model: str | None = None) -> int:
        query = statements.count(kind.table, of_model=model is not None)
        return int(self._connection.execute(query, () if model is None else (model,)).fetchone()[0])

    def insert(self, record: Record) -> None:
        try:
            self._connection.execute(statements.insert(record.table), _row(record))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"The {record.table} '{record.key}' can't be added: it exists, or model '{model_of(record)}' may have "
                "only one such record at a time.",
                kind=record.table,
                key=record.key,
            ) from error

    def replace(self, record: M) -> M:
        if SCHEMA[type(record)].is_append_only:
            raise Conflict(f"A {record.table} is append-only: '{record.key}' stays as it is.", kind=record.table)
        following = msgspec.structs.replace(record, revision=record.revision + 1)
        parameters = (*_row(following), record.key, record.revision)
        try:
            changed = self._connection.execute(statements.replace(record.table), parameters).rowcount
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"Model '{model_of(record)}' may have only one such {record.table} at a time, and has one already.",
                kind=record.table,
                key=record.key,
            ) from error
        if changed != 1:
            raise StaleRevision(kind=record.table, key=record.key)
        return following


def _row(record: Record) -> tuple[str, str, str, int, bytes]:
    return (
        record.key,
        model_of(record),
        SCHEMA[type(record)].state(record),
        record.revision if isinstance(record, Mutable) else 0,
        encode(record),
    )
