"""Group commit: of the threads that append at once, one writes for all of them, many jobs in one transaction.

No thread of its own: who finds nobody writing does it, and hands the rest of the queue to the next in line after one
transaction. An append that meets no other costs no switch between threads.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from homeostat.errors import StorageFailed
from homeostat.stores.overflow import NOT_KEPT
from homeostat.stores.sqlite.database import Connection, Database, writing

T = TypeVar("T")

# What waits at most, and what one transaction takes: enough for all threads of a server, little enough to hold.
QUEUE_JOBS, QUEUE_BYTES = 1024, 64 * 2**20
GROUP_JOBS, GROUP_BYTES = 256, 16 * 2**20
WAIT_SECONDS = 30.0
CLOSED = "The prediction log is closed. Open it again to write."


class OnceMore(Exception):
    """Raised by work that wants all that it did undone, and to be done once more."""


class _Job(Generic[T]):
    """Work to be committed, and what came of it. `leads` tells its thread to write the next group."""

    __slots__ = ("done", "error", "leads", "result", "size", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], size: int) -> None:
        self.work = work
        self.size = size
        self.result: T | None = None
        self.error: BaseException | None = None
        self.leads = False
        # A lock that somebody else opens is the cheapest thing that a thread can wait for.
        self.done = threading.Lock()
        self.done.acquire()


class GroupWriter:
    """Commits jobs in the order in which they were handed in. Work may be done twice, the first time in vain.

    A job that fails is undone alone; a transaction that can't be begun or committed fails all of its jobs. At most
    `most_jobs` and `most_bytes` wait, and none longer than `wait_seconds` before somebody takes it up. `on_commit` is
    told of each commit, with about how many bytes it had.
    """

    def __init__(
        self,
        database: Database,
        describe: Callable[[BaseException], str],
        *,
        wait_seconds: float = WAIT_SECONDS,
        most_jobs: int | None = None,
        most_bytes: int | None = None,
        on_commit: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._database = database
        self._on_commit = on_commit
        self._describe = describe
        self._wait_seconds = wait_seconds
        self._most_jobs, self._most_bytes = most_jobs, most_bytes
        self._changed = threading.Condition()
        self._waiting: deque[_Job[Any]] = deque()
        self._bytes = 0
        self._connection: Connection | None = None
        self.is_writing = False
        self.is_closed = False

    def do(self, work: Callable[[sqlite3.Connection], T], *, size: int = 0) -> T:
        """Hand work in, and wait until it is committed; `size` is about how many bytes it holds.

        Waits first where too much is waiting already. Raises what the work raises, or `StorageFailed`, also where it
        was not taken up in time: then it will not be done.
        """
        job = _Job(work, size)
        deadline = time.monotonic() + self._wait_seconds
        with self._changed:
            while not self.is_closed and self._is_full(size):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise self._too_late()
            if self.is_closed:
                raise StorageFailed(CLOSED)
            self._waiting.append(job)
            self._bytes += size
            job.leads = not self.is_writing
            self.is_writing = True
        if not job.leads:
            self._wait(job, deadline)
        if job.leads:
            self._lead()
        if job.error is None:
            return cast("T", job.result)
        if isinstance(job.error, sqlite3.Error | OSError):
            raise StorageFailed(self._describe(job.error)) from job.error
        raise job.error

    def _wait(self, job: _Job[Any], deadline: float) -> None:
        if job.done.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return
        with self._changed:
            if not job.leads and job in self._waiting:
                self._waiting.remove(job)
                self._bytes -= job.size
                self._changed.notify_all()
                raise self._too_late()
        # Somebody writes it just now, and what comes of that is the answer; or it is its own turn to write.
        job.done.acquire()

    def _too_late(self) -> StorageFailed:
        return StorageFailed(
            f"The prediction log is held up: {len(self._waiting):,} appends wait, and this one has waited for "
            f"{self._wait_seconds:g} seconds. {NOT_KEPT}"
        )

    def _is_full(self, size: int) -> bool:
        # One job that is larger than all the room there is goes in alone.
        most_jobs = QUEUE_JOBS if self._most_jobs is None else self._most_jobs
        most_bytes = QUEUE_BYTES if self._most_bytes is None else self._most_bytes
        return len(self._waiting) >= most_jobs or (bool(self._waiting) and self._bytes + size > most_bytes)

    def queue_depth(self) -> int:
        """How many jobs wait to be written."""
        return len(self._waiting)

    def close(self) -> None:
        """Take nothing more in, let those who wait write, and close the connection."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
            while self.is_writing:
                self._changed.wait()
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lead(self) -> None:
        """Write one group, which the own job is in, and make the first of those who wait then write the next one."""
        group = self._next_group()
        try:
            self._commit(group)
        finally:
            with self._changed:
                following = self._waiting[0] if self._waiting else None
                if following is None:
                    self.is_writing = False
                else:
                    following.leads = True
                self._changed.notify_all()
            for job in group:
                job.done.release()
            if following is not None:
                following.done.release()

    def _next_group(self) -> list[_Job[Any]]:
        with self._changed:
            group: list[_Job[Any]] = []
            size = 0
            while self._waiting and len(group) < GROUP_JOBS and (not group or size < GROUP_BYTES):
                job = self._waiting.popleft()
                group.append(job)
                size += job.size
            self._bytes -= size
            self._changed.notify_all()
        return group

    def _commit(self, group: Sequence[_Job[Any]]) -> None:
        try:
            self._written(group)
        except BaseException as error:
            # Whatever a job had come to, its transaction is not there. Each gets an error of its own, because the
            # threads that raise them add their traces.
            for job in group:
                job.error = job.error or _lost(error, self._describe(error))
            connection = self._connection
            # Of a file that was deleted and could not be brought back yet, this connection is all that is left.
            if connection is not None and not self._database.is_displaced(connection):
                self._connection = None
                connection.close()

    def _written(self, group: Sequence[_Job[Any]]) -> None:
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            _write(self._connection, group)
        except (sqlite3.Error, OSError):
            if not self._database.is_displaced(self._connection):
                raise
        else:
            if not self._database.is_displaced(self._connection):
                self._on_commit(sum(job.size for job in group))
                return
        # Somebody deleted the file. What was just committed may be in the old one alone: it is written again, and
        # rows that were saved from there count once.
        self._database.restore(self._connection)
        self._connection = self._database.connect()
        for job in group:
            job.error = None
        _write(self._connection, group)


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
        try:
            job.result = job.work(connection)
        except OnceMore:
            connection.execute("ROLLBACK TO job")
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
