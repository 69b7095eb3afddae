"""One SQLite file in WAL mode: its connections, patience where others hold it, and rescue where somebody deletes it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

BUSY_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
IDLE_READERS = 8
STATEMENTS = 256
# 16 MB of journal before it is copied into the file: pages that every commit changes are copied a quarter as often.
JOURNAL_PAGES = 4_000
_IN_THE_WAY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_LOG = logging.getLogger("homeostat.stores")

# What tells a file from another one that later has its name: the device, and the number on it.
Identity = tuple[int, int]


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else is in the way, so that trying again helps."""
    return error.sqlite_errorcode & 0xFF in _IN_THE_WAY


def patiently(attempt: Callable[[], T], seconds: float = BUSY_SECONDS) -> T:
    """Do something again while somebody else is in the way, for at most so long.

    SQLite's own timeout does not cover all: switching to WAL, and a reader that becomes a writer, fail at once.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class Connection(sqlite3.Connection):
    """A connection that knows which files it opened."""

    file: Identity | None = None
    journal: Identity | None = None


class Database:
    """One file. Reading connections are kept and lent; each is used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        durability: str,
        busy_seconds: float = BUSY_SECONDS,
        journal_pages: int = JOURNAL_PAGES,
    ) -> None:
        self.path = path
        self._journal_pages = journal_pages
        self._file, self._journal = str(path), f"{path}-wal"
        self._synchronous = "FULL" if durability == "power" else "NORMAL"
        self._busy_seconds = busy_seconds
        self._lock = threading.Lock()
        self._restoring = threading.Lock()
        self._idle: list[Connection] = []
        self._prepare: Callable[[], None] = lambda: None

    def connect(self, *, create: bool = False) -> Connection:
        """A new connection. It commits each statement unless a transaction was begun."""

        def attempt() -> Connection:
            # A file that is gone must not come back empty while others still hold it.
            place = f"file:{quote(str(self.path.absolute()))}?mode={'rwc' if create else 'rw'}"
            connection = sqlite3.connect(
                place,
                uri=True,
                timeout=self._busy_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS,
                factory=Connection,
            )
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={self._synchronous}")
                connection.execute(f"PRAGMA wal_autocheckpoint={self._journal_pages}")
                connection.file = _identity(self._file)
            except BaseException:
                connection.close()
                raise
            return connection

        return patiently(attempt, self._busy_seconds)

    def prepare(
        self, is_ready: Callable[[sqlite3.Connection], bool], make: Callable[[sqlite3.Connection], None]
    ) -> None:
        """Make the tables, in one transaction, unless they are there; other processes may do so at the same time."""

        def prepare() -> None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self.connect(create=True)
            try:
                if not patiently(lambda: is_ready(connection), self._busy_seconds):
                    patiently(lambda: _make(connection, is_ready, make), self._busy_seconds)
            finally:
                self._give_back(connection)

        self._prepare = prepare
        prepare()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that sees one state of the file."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and self.is_displaced(connection):
            self.restore(connection)
            connection = None
        connection = connection or self.connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def is_displaced(self, connection: Connection | None) -> bool:
        """Whether the file that a connection opened, or its journal, is not there any more under its name."""
        if connection is None:
            return not self.path.exists()
        if connection.file is None or _identity(self._file) != connection.file:
            return True
        journal = _identity(self._journal)
        if connection.journal is None:
            # SQLite makes the journal when it needs it; from then on it stays while somebody has the file open.
            connection.journal = journal
        return journal != connection.journal

    def restore(self, connection: Connection | None) -> None:
        """Bring back a file that was deleted in use, with all that an open connection still sees; then close that one.

        A deleted file lives on for those who have it open. Where another file has its place already, that one is used.
        Raises `sqlite3.Error` or `OSError` where it can't be done now; then the connection, which alone has the rows,
        stays open.
        """
        with self._restoring:
            saved = False
            if not self.path.exists():
                if connection is None:
                    with self._lock:
                        connection = self._idle.pop() if self._idle else None
                saved = connection is not None and self._save(connection)
                _LOG.error(
                    "%s was deleted while it was in use; %s.",
                    self.path,
                    "all of it was saved from the open file" if saved else "its rows are lost, and it begins anew",
                )
            elif connection is not None and connection.file == _identity(self._file):
                # Its journal is gone, and with it, for everybody else, what was not yet moved into the file.
                connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
                _LOG.error("The journal of %s was deleted while it was in use; its rows were saved.", self.path)
            elif connection is not None:
                _LOG.error("%s was replaced by another file while it was in use; that one is used now.", self.path)
            if connection is not None:
                connection.close()
            self.close()
            self._prepare()

    def _save(self, connection: Connection) -> bool:
        """Copy what an open connection sees to the file's name; `False` where that can't be read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        copy = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.partial")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                connection.backup(target)
            for suffix in ("-wal", "-shm"):
                # SQLite would take the journal of the deleted file for one of this file's.
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                # Another process that did the same first is right too.
                os.link(copy, self.path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False
        finally:
            copy.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
