"""The SQL of the control records: one table a kind, all of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from homeostat.stores.schema import Table


def creation(table: Table) -> Iterator[str]:
    """The table of a kind, and what the database itself refuses, whatever the code does; what is there stays."""
    name = table.name
    yield (
        f"CREATE TABLE IF NOT EXISTS {name} (sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
        "model TEXT NOT NULL, state TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL)"
    )
    yield f"CREATE INDEX IF NOT EXISTS {name}_by_model ON {name} (model, state)"
    # Without it, the newest of a model are found by sorting all that it has.
    yield f"CREATE INDEX IF NOT EXISTS {name}_in_order ON {name} (model, sequence)"
    if table.unique_states:
        states = ", ".join(f"'{state}'" for state in sorted(table.unique_states))
        yield f"CREATE UNIQUE INDEX IF NOT EXISTS one_live_{name} ON {name} (model) WHERE state IN ({states})"
    if table.is_append_only:
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER IF NOT EXISTS {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
            )


# The names of tables come from the schema, never from outside; every value is a parameter.
@cache
def get(name: str) -> str:
    """By key."""
    return f"SELECT body FROM {name} WHERE key = ?"  # noqa: S608


@cache
def listing(name: str, *, of_model: bool, states: int, newest_first: bool, is_limited: bool) -> str:
    """The model, the states and the limit are its parameters, in this order, as far as they are asked for."""
    conditions = ["model = ?"] if of_model else []
    if states:
        conditions.append(f"state IN ({', '.join('?' * states)})")
    return (
        f"SELECT body FROM {name}{' WHERE ' if conditions else ''}{' AND '.join(conditions)} "  # noqa: S608
        f"ORDER BY sequence{' DESC' if newest_first else ''}{' LIMIT ?' if is_limited else ''}"
    )


@cache
def count(name: str, *, of_model: bool) -> str:
    """How many there are."""
    return f"SELECT count(*) FROM {name}{' WHERE model = ?' if of_model else ''}"  # noqa: S608


@cache
def insert(name: str) -> str:
    """Key, model, state, revision, body."""
    return f"INSERT INTO {name} (key, model, state, revision, body) VALUES (?, ?, ?, ?, ?)"  # noqa: S608


@cache
def replace(name: str) -> str:
    """Key, model, state, revision, body; then the key and the revision that must be there."""
    return (
        f"UPDATE {name} SET key = ?, model = ?, state = ?, revision = ?, body = ? "  # noqa: S608
        "WHERE key = ? AND revision = ?"
    )
