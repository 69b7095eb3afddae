"""Moving a journal into its file behind the writers' backs.

SQLite does it inside of whichever commit makes the journal too long: that commit, and all that wait for it, then take
twenty times as long as others. A thread that does it before lets them go on meanwhile: a passive checkpoint keeps
nobody from writing (https://www.sqlite.org/wal.html#ckpt). What is left for a commit is to begin the journal anew, once
in a while, with next to nothing to move.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

from homeostat.stores.sqlite.database import Connection, Database

# So many commits, or bytes of what they wrote, are some megabytes of journal: little enough that whoever answers
# meanwhile does not notice, and enough that the disk is not asked to sync for each commit.
COMMITS, BYTES = 100, 4 * 2**20
# 64 MB of journal before a commit has to begin it anew. What is longer is only read more slowly after a kill.
LOG_JOURNAL_PAGES = 16_000
_LOG = logging.getLogger("homeostat.stores")


class Checkpoints:
    """Moves the journal of a database after every so many commits, in a thread that begins with the first need."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commits = self._bytes = 0
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.done = 0

    def committed(self, size: int) -> None:
        """Count a commit of about so many bytes. Called by one thread at a time, right after it."""
        self._commits += 1
        self._bytes += size
        if self._commits < COMMITS and self._bytes < BYTES:
            return
        self._commits = self._bytes = 0
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._run, name="homeostat-journal", daemon=True)
            self._thread.start()
        self._due.set()

    def _run(self) -> None:
        connection: Connection | None = None
        try:
            while self._due.wait() and not self._is_closed:
                self._due.clear()
                try:
                    # Who writes brings a deleted file back; until then there is nothing to move.
                    if connection is not None and self._database.is_displaced(connection):
                        connection.close()
                        connection = None
                        continue
                    connection = connection or self._database.connect()
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    self.done += 1
                except (sqlite3.Error, OSError) as error:
                    # A full disk, or a file that is away: whoever commits is told, and the next turn tries again.
                    _LOG.debug("The journal of %s stays as it is: %s", self._database.path, error)
        finally:
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Stop, and close the connection."""
        self._is_closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()
