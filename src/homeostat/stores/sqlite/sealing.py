"""What sealing does in the database: blocks of a closed hour in parts, each registered at once and removed bit by bit.

Deleting an hour's blocks in one transaction would hold up every append meanwhile: seconds, where rows came one by one.
So a part is registered as sealed together with a note that its blocks are to be removed. From then on readers pass over
them, and a few at a time go; who dies on the way leaves the note, and the next sealing goes on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from homeostat.stores import arrow
from homeostat.stores.parquet import SealedFile

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS removing (
    model TEXT NOT NULL, shadow INTEGER NOT NULL, hour INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (model, shadow, hour)) WITHOUT ROWID""",
)
# A condition for readers of `block`: the others are in a file already.
IS_OPEN = """NOT EXISTS (SELECT 1 FROM removing WHERE removing.model = block.model AND removing.shadow = block.shadow
    AND removing.hour = block.hour AND block.sequence <= removing.last)"""
# What is read and written at once: some hundred megabytes of memory where blocks have one row, and files that are large
# enough to be read fast.
PART_BLOCKS, PART_BYTES = 50_000, 64 * 2**20
# A removal of so many holds up an append for some milliseconds, and then lets others in.
REMOVED_AT_ONCE, PAUSE_SECONDS = 500, 0.005


class Hour(NamedTuple):
    """The served or the shadow rows of a model in one hour."""

    model: str
    shadow: int
    hour: int


def hours_before(connection: sqlite3.Connection, limit: int) -> list[tuple[Hour, int]]:
    """The hours before one that have open blocks, each with the last of these."""
    rows = connection.execute(
        f"SELECT model, shadow, hour, max(sequence) FROM block WHERE hour < ? AND {IS_OPEN} "  # noqa: S608
        "GROUP BY model, shadow, hour ORDER BY hour",
        (limit,),
    )
    return [(Hour(model, shadow, hour), last) for model, shadow, hour, last in rows]


def next_part(connection: sqlite3.Connection, hour: Hour, last: int) -> list[arrow.Entry]:
    """The first open blocks of an hour, none after `last`: as many as are sealed at once."""
    found: list[arrow.Entry] = []
    size = 0
    rows = connection.execute(
        f"SELECT sequence, core, features FROM block WHERE model = ? AND shadow = ? AND hour = ? "  # noqa: S608
        f"AND sequence <= ? AND {IS_OPEN} ORDER BY sequence LIMIT ?",
        (*hour, last, PART_BLOCKS),
    )
    for row in rows:
        found.append(row)
        size += len(row[1]) + len(row[2])
        if size >= PART_BYTES:
            break
    rows.close()
    return found


def register(connection: sqlite3.Connection, hour: Hour, files: Sequence[SealedFile], last: int) -> int:
    """Let files take the place of an hour's blocks up to `last`; returns how many rows they hold."""
    connection.executemany(
        "INSERT INTO sealed (path, model, shadow, first, last, rows, sha256, earliest, latest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (one.path, hour.model, hour.shadow, one.first, one.last, one.rows, one.sha256, one.earliest, one.latest)
            for one in files
        ],
    )
    connection.execute("INSERT OR REPLACE INTO removing (model, shadow, hour, last) VALUES (?, ?, ?, ?)", (*hour, last))
    return sum(one.rows for one in files)


def to_remove(connection: sqlite3.Connection) -> list[tuple[Hour, int]]:
    """The hours whose blocks, up to a last one, are in files and still here."""
    rows = connection.execute("SELECT model, shadow, hour, last FROM removing").fetchall()
    return [(Hour(model, shadow, hour), last) for model, shadow, hour, last in rows]


def remove_some(connection: sqlite3.Connection, hour: Hour, last: int) -> bool:
    """Remove a few blocks that are in files; `False`, and the note is gone too, once there are no more."""
    removed = connection.execute(
        "DELETE FROM block WHERE sequence IN (SELECT sequence FROM block WHERE model = ? AND shadow = ? AND hour = ? "
        "AND sequence <= ? LIMIT ?)",
        (*hour, last, REMOVED_AT_ONCE),
    ).rowcount
    if removed == REMOVED_AT_ONCE:
        return True
    connection.execute("DELETE FROM removing WHERE model = ? AND shadow = ? AND hour = ?", hour)
    return False
