"""The journal of the prediction log is moved behind the commits, and whatever goes wrong there stops nobody."""

from __future__ import annotations

import sqlite3
import time

from homeostat.stores.sqlite.checkpoints import COMMITS, Checkpoints
from homeostat.stores.sqlite.database import Database, writing


def prepared(tmp_path, **options):
    database = Database(tmp_path / "log.db", durability="process", **options)
    database.prepare(lambda _: False, lambda connection: connection.execute("CREATE TABLE IF NOT EXISTS t (body BLOB)"))
    return database


def write(database, connection, commits):
    for _ in range(commits):
        with writing(connection):
            connection.execute("INSERT INTO t VALUES (randomblob(20000))")


def wait_for(checkpoints, done):
    until = time.monotonic() + 120
    while checkpoints.done < done:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_journal_is_moved_after_so_many_commits_beside_the_connection_that_writes(tmp_path):
    database = prepared(tmp_path, journal_pages=1_000_000)
    connection, checkpoints = database.connect(), Checkpoints(database)
    file = tmp_path / "log.db"
    write(database, connection, COMMITS)
    before = file.stat().st_size
    for _ in range(COMMITS - 1):
        checkpoints.committed(0)
    time.sleep(0.05)
    assert checkpoints.done == 0
    checkpoints.committed(0)
    wait_for(checkpoints, 1)
    assert file.stat().st_size > before + COMMITS * 20_000 // 2
    # All was moved, so that the next commit begins the journal anew: it stays as long as it was.
    journal = tmp_path / "log.db-wal"
    length = journal.stat().st_size
    write(database, connection, COMMITS // 2)
    assert journal.stat().st_size == length
    # Large commits do not wait for so many.
    checkpoints.committed(1 << 30)
    wait_for(checkpoints, 2)
    checkpoints.close()
    connection.close()
    database.close()


def test_a_file_that_is_away_is_waited_for(tmp_path):
    database = prepared(tmp_path)
    connection, checkpoints = database.connect(), Checkpoints(database)
    checkpoints.committed(1 << 30)
    wait_for(checkpoints, 1)
    (tmp_path / "log.db").rename(tmp_path / "moved.db")
    for _ in range(20):
        checkpoints.committed(1 << 30)
        time.sleep(0.005)
    assert checkpoints.done == 1
    # It makes no file of its own.
    assert not (tmp_path / "log.db").exists()
    (tmp_path / "moved.db").rename(tmp_path / "log.db")
    checkpoints.committed(1 << 30)
    wait_for(checkpoints, 2)
    checkpoints.close()
    # Nothing begins anew once it was closed.
    checkpoints.committed(1 << 30)
    connection.close()
    with sqlite3.connect(tmp_path / "log.db") as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
