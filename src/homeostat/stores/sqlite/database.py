"""One SQLite file in WAL mode: its connections, and patience where other threads and processes hold it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BUSY_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
IDLE_READERS = 8
STATEMENTS = 256
_IN_THE_WAY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else is in the way, so that trying again helps."""
    return error.sqlite_errorcode & 0xFF in _IN_THE_WAY


def patiently(attempt: Callable[[], T]) -> T:
    """Do something again while somebody else is in the way, for at most half a minute.

    SQLite's own timeout does not cover all: switching to WAL, and a reader that becomes a writer, fail at once.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    pause = FIRST_PAUSE
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class Database:
    """One file. Reading connections are kept and lent; each is used by one thread at a time."""

    def __init__(self, path: Path, *, durability: str) -> None:
        self.path = path
        self._synchronous = "FULL" if durability == "power" else "NORMAL"
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []

    def connect(self) -> sqlite3.Connection:
        """A new connection. It commits each statement unless a transaction was begun."""

        def attempt() -> sqlite3.Connection:
            connection = sqlite3.connect(
                self.path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS,
            )
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={self._synchronous}")
            except BaseException:
                connection.close()
                raise
            return connection

        return patiently(attempt)

    def prepare(
        self, is_ready: Callable[[sqlite3.Connection], bool], make: Callable[[sqlite3.Connection], None]
    ) -> None:
        """Make the tables, in one transaction, unless they are there; other processes may do so at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self.connect()
        try:
            if not patiently(lambda: is_ready(connection)):
                patiently(lambda: _make(connection, is_ready, make))
        finally:
            self._give_back(connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that sees one state of the file."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self.connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            self._end(connection)

    def _end(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _make(
    connection: sqlite3.Connection,
    is_ready: Callable[[sqlite3.Connection], bool],
    make: Callable[[sqlite3.Connection], None],
) -> None:
    with writing(connection):
        if not is_ready(connection):
            make(connection)


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that holds the write lock from its start, and is undone where the block raises."""
    # A transaction that begins by reading fails as locked where another writer comes between.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have undone it already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
