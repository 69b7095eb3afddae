"""Group commit: one thread of a process writes what all others hand it, many jobs in one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from homeostat.errors import StorageFailed
from homeostat.stores.sqlite.database import Database, writing

T = TypeVar("T")

# What waits at most, and what one transaction takes: enough for all threads of a server, little enough to hold.
QUEUE_JOBS, QUEUE_BYTES = 1024, 64 * 2**20
GROUP_JOBS, GROUP_BYTES = 256, 16 * 2**20


class _Job(Generic[T]):
    """Work for the writer, and what came of it."""

    __slots__ = ("done", "error", "result", "size", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], size: int) -> None:
        self.work = work
        self.size = size
        self.result: T | None = None
        self.error: BaseException | None = None
        # A lock that the writer opens is the cheapest thing that a thread can wait for.
        self.done = threading.Lock()
        self.done.acquire()


class GroupWriter:
    """Commits jobs in the order in which they were handed in. Work may be done twice, the first time in vain.

    The thread starts with the first job. A job that fails is undone alone; a transaction that can't be begun or
    committed fails all of its jobs.
    """

    def __init__(self, database: Database, describe: Callable[[BaseException], str]) -> None:
        self._database = database
        self._describe = describe
        self._changed = threading.Condition()
        self._waiting: deque[_Job[Any]] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self.is_closed = False

    def do(self, work: Callable[[sqlite3.Connection], T], *, size: int = 0) -> T:
        """Hand work in, and wait until it is committed; `size` is about how many bytes it holds.

        Waits first where too much is waiting already. Raises what the work raises, or `StorageFailed`.
        """
        job = _Job(work, size)
        with self._changed:
            while not self.is_closed and self._is_full(size):
                self._changed.wait()
            if self.is_closed:
                raise StorageFailed("The prediction log is closed. Open it again to write.")
            self._waiting.append(job)
            self._bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="homeostat-log-writer", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1:
                self._changed.notify_all()
        job.done.acquire()
        if job.error is None:
            return cast("T", job.result)
        if isinstance(job.error, sqlite3.Error | OSError):
            raise StorageFailed(self._describe(job.error)) from job.error
        raise job.error

    def _is_full(self, size: int) -> bool:
        # One job that is larger than all the room there is goes in alone.
        return len(self._waiting) >= QUEUE_JOBS or (bool(self._waiting) and self._bytes + size > QUEUE_BYTES)

    def queue_depth(self) -> int:
        """How many jobs wait to be written."""
        return len(self._waiting)

    def close(self) -> None:
        """Take nothing more in, write what waits, and stop."""
        with self._changed:
            self.is_closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while group := self._next_group():
            try:
                connection = connection or self._database.connect()
                _write(connection, group)
            except BaseException as error:
                # Whatever a job had come to, its transaction is not there. Each gets an error of its own, because
                # the threads that raise them add their traces.
                for job in group:
                    job.error = job.error or _lost(error, self._describe(error))
                if connection is not None:
                    connection.close()
                connection = None
            for job in group:
                job.done.release()
        if connection is not None:
            connection.close()

    def _next_group(self) -> list[_Job[Any]]:
        with self._changed:
            while not self._waiting and not self.is_closed:
                self._changed.wait()
            group: list[_Job[Any]] = []
            size = 0
            while self._waiting and len(group) < GROUP_JOBS and (not group or size < GROUP_BYTES):
                job = self._waiting.popleft()
                group.append(job)
                size += job.size
            self._bytes -= size
            self._changed.notify_all()
        return group


def _write(connection: sqlite3.Connection, group: Sequence[_Job[Any]]) -> None:
    """One transaction for all; where a job fails, a second one in which each can be undone alone."""
    at_work = False
    try:
        with writing(connection):
            at_work = True
            for job in group:
                job.result = job.work(connection)
            at_work = False
        return
    except BaseException:
        if not at_work:
            # It could not be begun or committed, and will not be now.
            raise
    with writing(connection):
        for job in group:
            _attempt(connection, job)


def _attempt(connection: sqlite3.Connection, job: _Job[Any]) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except BaseException as error:
        job.error = error
        if not connection.in_transaction:
            # A full disk undoes the whole transaction, and with it the jobs before this one.
            raise
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _lost(error: BaseException, message: str) -> StorageFailed:
    lost = StorageFailed(message)
    lost.__cause__ = error
    return lost
