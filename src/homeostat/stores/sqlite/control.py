"""Control records in SQLite (WAL): one table a kind, uniqueness and append-only kept by the database itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from homeostat.errors import Conflict, StaleRevision, StorageFailed
from homeostat.ports import M, R
from homeostat.records import Mutable, Record
from homeostat.stores.schema import SCHEMA, Table, encode, model_of

if TYPE_CHECKING:
    import sqlalchemy as sa

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0


class SqliteControlStore:
    """Control records in one file. Several processes may use it at once."""

    def __init__(self, path: Path, *, durability: str = "process") -> None:
        import sqlalchemy as sa

        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        synchronous = "FULL" if durability == "power" else "NORMAL"

        @sa.event.listens_for(self._engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            # The driver's own transactions begin deferred, which fails as locked between two writers.
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")

        @sa.event.listens_for(self._engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql(
                "BEGIN DEFERRED" if connection.get_execution_options().get("reads") else "BEGIN IMMEDIATE"
            )

        metadata = sa.MetaData()
        self._tables = {kind: _sql_table(table, metadata) for kind, table in SCHEMA.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._migrate()
        except (OSError, sa.exc.DatabaseError) as error:
            raise StorageFailed(f"The control store {path} can't be opened: {error}.") from error

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if found > SCHEMA_VERSION:
                raise StorageFailed(
                    f"The control store was written by a newer Homeostat (schema {found}, this one knows "
                    f"{SCHEMA_VERSION}). Upgrade: pip install -U homeostat."
                )
            if found == SCHEMA_VERSION:
                return
            next(iter(self._tables.values())).metadata.create_all(connection)
            for table in SCHEMA.values():
                for statement in _rules(table):
                    connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextmanager
    def begin(self) -> Iterator[SqlTransaction]:
        """A transaction that holds the write lock from its start."""
        with self._connection(reads=False) as connection:
            yield SqlTransaction(connection, self._tables)

    @contextmanager
    def read(self) -> Iterator[SqlTransaction]:
        """A consistent snapshot; writers are not held up."""
        with self._connection(reads=True) as connection:
            yield SqlTransaction(connection, self._tables)

    @contextmanager
    def _connection(self, *, reads: bool) -> Iterator[sa.Connection]:
        import sqlalchemy as sa

        try:
            with self._engine.connect().execution_options(reads=reads) as connection, connection.begin():
                yield connection
        except sa.exc.DatabaseError as error:
            raise StorageFailed(
                f"The control store can't be used: {error.orig}. Nothing of this change was kept; try again."
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


class SqlTransaction:
    """Reads and writes of one transaction."""

    def __init__(self, connection: sa.Connection, tables: dict[type[Record], sa.Table]) -> None:
        self._connection = connection
        self._tables = tables

    def get(self, kind: type[R], key: str) -> R | None:
        table = self._tables[kind]
        body = self._connection.execute(_select(table).where(table.c.key == key)).scalar_one_or_none()
        return None if body is None else msgspec.json.decode(body, type=kind)

    def list(
        self,
        kind: type[R],
        *,
        model: str | None = None,
        states: Sequence[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        table = self._tables[kind]
        query = _select(table).order_by(table.c.sequence.desc() if newest_first else table.c.sequence)
        if model is not None:
            query = query.where(table.c.model == model)
        if states:
            query = query.where(table.c.state.in_(states))
        if limit is not None:
            query = query.limit(limit)
        return [msgspec.json.decode(body, type=kind) for body in self._connection.execute(query).scalars()]

    def insert(self, record: Record) -> None:
        import sqlalchemy as sa

        try:
            self._connection.execute(self._tables[type(record)].insert().values(_row(record)))
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"The {record.table} '{record.key}' can't be added: it exists, or model '{model_of(record)}' may have "
                "only one such record at a time.",
                kind=record.table,
                key=record.key,
            ) from error

    def replace(self, record: M) -> M:
        import sqlalchemy as sa

        if SCHEMA[type(record)].is_append_only:
            raise Conflict(f"A {record.table} is append-only: '{record.key}' stays as it is.", kind=record.table)
        table = self._tables[type(record)]
        following = msgspec.structs.replace(record, revision=record.revision + 1)
        update = table.update().where(table.c.key == record.key, table.c.revision == record.revision)
        try:
            changed = self._connection.execute(update.values(_row(following))).rowcount
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"Model '{model_of(record)}' may have only one such {record.table} at a time, and has one already.",
                kind=record.table,
                key=record.key,
            ) from error
        if changed != 1:
            raise StaleRevision(kind=record.table, key=record.key)
        return following


def _sql_table(table: Table, metadata: sa.MetaData) -> sa.Table:
    import sqlalchemy as sa

    return sa.Table(
        table.name,
        metadata,
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Index(f"{table.name}_by_model", "model", "state"),
    )


def _rules(table: Table) -> Iterator[str]:
    """What the database itself refuses, whatever the code does."""
    if table.unique_states:
        states = ", ".join(f"'{state}'" for state in sorted(table.unique_states))
        yield f"CREATE UNIQUE INDEX one_live_{table.name} ON {table.name} (model) WHERE state IN ({states})"
    if table.is_append_only:
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
                f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END"
            )


def _select(table: sa.Table) -> sa.Select[Any]:
    import sqlalchemy as sa

    return sa.select(table.c.body)


def _row(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "model": model_of(record),
        "state": SCHEMA[type(record)].state(record),
        "revision": record.revision if isinstance(record, Mutable) else 0,
        "body": encode(record),
    }
