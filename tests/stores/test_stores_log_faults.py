"""What becomes of rows when the disk, the file or the lock of the log fails, and how it recovers by itself."""

import importlib.util
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from homeostat.errors import StorageFailed
from homeostat.stores import overflow

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)
AT, block, ids_in, open_log = small.AT, small.block, small.ids_in, small.open_log


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(overflow, "RETRY_SECONDS", 0.05)


@pytest.fixture
def opened(tmp_path):
    logs = []

    def make(**more):
        logs.append(open_log(tmp_path, **({"wait_seconds": 0.1} | more)))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@contextmanager
def locked(folder):
    """Another process writes for a while."""
    with closing(sqlite3.connect(folder / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_blocked_rows_are_refused_in_time_and_taken_once_the_lock_is_free(opened, tmp_path):
    log = opened()
    with locked(tmp_path):
        began = time.monotonic()
        with pytest.raises(StorageFailed, match="locked"):
            log.append([block("a", "b"), block("a", shadow=True)])
        assert time.monotonic() - began < 60
        until(lambda: "locked" in log.trouble)
        # What a caller is told of its own rows says nothing of how the log is.
        assert "kept" not in log.trouble
    log.append([block("c")])
    until(lambda: not log.trouble)
    assert ids_in(log) == ["c"]
    assert (log.written, log.failed, log.spilled, log.dropped) == (1, 3, 0, 0)


def test_a_queue_that_stays_full_refuses_instead_of_waiting_for_ever(opened, tmp_path):
    log = opened(wait_seconds=0.3, queue_appends=2)
    errors = []

    def append(number):
        try:
            log.append([block(f"id{number}")])
        except StorageFailed as error:
            errors.append(str(error))

    with locked(tmp_path):
        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
        assert len(errors) == 8
        assert any("held up" in error for error in errors)
    # What is left is the look whether the log is well again.
    until(lambda: log.queue_depth() == 0)
    log.append([block("after")])
    assert ids_in(log) == ["after"]
    assert (log.written, log.failed) == (1, 8)


def test_spilled_rows_are_in_the_log_once_it_is_back(opened, tmp_path):
    log = opened(policy="spill")
    told, counted = [], []
    log.watch(lambda kind, rows: counted.append((kind, rows)), told.append)
    log.append([block("before")])
    with locked(tmp_path):
        log.append([block("a", "b"), block("a", shadow=True)])
        log.append([block("c", "before")])
        assert (log.written, log.spilled, log.replayed) == (1, 5, 0)
        assert ids_in(log) == ["before"]
        until(lambda: told)
    until(lambda: log.replayed == 4)
    assert ids_in(log) == ["a", "b", "before", "c"]
    assert [found.shadow for _, found in log.blocks_after("spam", 0)].count(True) == 1
    assert (log.failed, log.dropped) == (0, 0)
    until(lambda: len(told) == 2)
    assert "locked" in told[0]
    assert told[1] == ""
    assert counted == [("written", 1), ("spilled", 2), ("spilled", 2), ("replayed", 3)]
    log.append([block("d")])
    assert log.written == 2
    log.close()
    assert list((tmp_path / "log.spilled").iterdir()) == []


def test_dropped_rows_are_counted_and_gone(opened, tmp_path):
    log = opened(policy="drop")
    with locked(tmp_path):
        log.append([block("a", "b")])
        log.append([block("c")])
    until(lambda: not log.trouble)
    log.append([block("d")])
    assert ids_in(log) == ["d"]
    assert (log.written, log.dropped, log.failed, log.spilled) == (1, 3, 0, 0)


SPILL_AND_DIE = """
import os, sys, sqlite3
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_blocks import block, open_log
folder = Path(sys.argv[1])
log = open_log(folder, policy="spill", wait_seconds=0.05)
other = sqlite3.connect(folder / "log.db", isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
for number in range(5):
    log.append([block(f"{sys.argv[3]}-{number}")])
    print(number, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_dead_processes_spilled_is_replayed_by_whoever_opens_the_log(opened, tmp_path):
    for name in ("p", "q"):
        dead = subprocess.run(
            [sys.executable, "-c", SPILL_AND_DIE, str(tmp_path), str(Path(__file__).parent), name],
            check=False,
            capture_output=True,
            timeout=240,
        )
        assert dead.stdout.split() == [b"0", b"1", b"2", b"3", b"4"], dead.stderr
    log = opened()
    until(lambda: log.replayed == 10)
    assert ids_in(log) == [f"{name}-{number}" for name in "pq" for number in range(5)]
    until(lambda: not list((tmp_path / "log.spilled").iterdir()))


@pytest.mark.parametrize("policy", ["block", "spill", "drop"])
def test_a_disk_that_is_full_for_a_while(tmp_path, policy):
    # The limit on a file's size stands for the end of the disk; the spill file is below it.
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(Path(__file__).parent), policy],
        check=False,
        capture_output=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert (
        ended.stdout.decode().split()
        == {
            "block": ["refused", "written=2", "failed=900", "spilled=0", "dropped=0", "a", "z"],
            "spill": ["answered", "written=2", "failed=0", "spilled=900", "dropped=0", "a", "many", "z"],
            "drop": ["answered", "written=2", "failed=0", "spilled=0", "dropped=900", "a", "z"],
        }[policy]
    )


FULL = """
import sys, time, resource
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_blocks import block, ids_in, open_log
from homeostat.errors import StorageFailed
from homeostat.stores import overflow
overflow.RETRY_SECONDS = 0.05
log = open_log(Path(sys.argv[1]), policy=sys.argv[3], wait_seconds=0.2)
log.append([block("a")])
largest = max(file.stat().st_size for file in Path(sys.argv[1]).iterdir() if file.is_file())
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 5000, hard))
try:
    log.append([block(*(f"many-{n}" for n in range(900)))])
    print("answered")
except StorageFailed as error:
    assert "can't be written" in str(error), error
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
until = time.monotonic() + 120
while log.trouble or (sys.argv[3] == "spill" and log.replayed < 900):
    assert time.monotonic() < until, log.trouble
    time.sleep(0.01)
log.append([block("z")])
print(*(f"{name}={log.counted[name]}" for name in ("written", "failed", "spilled", "dropped")))
print(*sorted({id_.split("-")[0] for id_ in ids_in(log)}))
log.close()
"""


def test_neither_log_nor_spill_folder_is_a_failure(opened, tmp_path):
    (tmp_path / "in-the-way").write_bytes(b"")
    log = opened(policy="spill", spill_folder=tmp_path / "in-the-way" / "spill")
    with locked(tmp_path), pytest.raises(StorageFailed, match="Neither"):
        log.append([block("a")])
    assert (log.failed, log.spilled) == (1, 0)
    until(lambda: not log.trouble)
    log.append([block("a")])
    assert ids_in(log) == ["a"]


def rows_by_sql(folder):
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        return connection.execute("SELECT count(*) FROM known").fetchone()[0]


@pytest.mark.parametrize(
    "gone", [("log.db",), ("log.db", "log.db-wal", "log.db-shm"), ("log.db-wal",), ("log.db-shm", "log.db-wal")]
)
def test_a_file_that_is_deleted_in_use_comes_back_with_all_its_rows(opened, tmp_path, gone, caplog):
    log = opened()
    log.append([block("a")])
    log.append([block("b", "c")])
    for name in gone:
        (tmp_path / name).unlink()
    log.append([block("d")])
    assert ids_in(log) == ["a", "b", "c", "d"]
    # Not only this process sees them.
    assert rows_by_sql(tmp_path) == 4
    assert "was deleted while it was in use" in caplog.text
    other = opened()
    assert ids_in(other) == ["a", "b", "c", "d"]
    log.append([block("a", "e")])
    other.append([block("e", "f")])
    assert ids_in(log) == ids_in(other) == ["a", "b", "c", "d", "e", "f"]
    assert log.failed == 0


def test_reading_notices_a_deleted_file_too(opened, tmp_path):
    log = opened()
    log.append([block("a")])
    (tmp_path / "log.db").unlink()
    assert ids_in(log) == ["a"]
    assert rows_by_sql(tmp_path) == 1


def test_two_logs_of_one_deleted_file_lose_nothing(opened, tmp_path):
    one, two = opened(), opened()
    one.append([block("a")])
    two.append([block("b")])
    (tmp_path / "log.db").unlink()
    two.append([block("c")])
    one.append([block("d")])
    assert ids_in(one) == ids_in(two) == ["a", "b", "c", "d"]


def test_a_file_that_is_replaced_in_use_is_the_log_from_then_on(opened, tmp_path, caplog):
    log = opened()
    log.append([block("a")])
    (tmp_path / "backup").mkdir()
    backup = open_log(tmp_path / "backup")
    backup.append([block("restored")])
    backup.close()
    for name in ("log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink()
    os.replace(tmp_path / "backup" / "log.db", tmp_path / "log.db")
    log.append([block("b")])
    assert ids_in(log) == ["b", "restored"]
    assert "was replaced" in caplog.text


def test_a_folder_that_is_deleted_in_use_comes_back(opened, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    log = open_log(home)
    log.append([block("a")])
    for file in home.iterdir():
        file.unlink()
    home.rmdir()
    log.append([block("b")])
    assert ids_in(log) == ["a", "b"]
    log.close()


READ_ONLY = """
import sys, subprocess, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_blocks import block, ids_in, open_log
from homeostat.errors import StorageFailed
from homeostat.stores import overflow
overflow.RETRY_SECONDS = 0.05
folder = Path(sys.argv[1])
def mount(*options):
    subprocess.run(["mount", *options, str(folder)], check=True)
try:
    mount("-t", "tmpfs", "-o", "size=4m", "none")
except subprocess.CalledProcessError:
    sys.exit(77)
log = open_log(folder, policy="spill", wait_seconds=0.2, spill_folder=Path(sys.argv[3]))
log.append([block("a")])
log._database.close()
log._writer._connection.close()
log._writer._connection = None
mount("-o", "remount,ro")
log.append([block("b")])
assert log.spilled == 1, log.counted
mount("-o", "remount,rw")
until = time.monotonic() + 120
while log.replayed < 1:
    assert time.monotonic() < until, log.trouble
    time.sleep(0.01)
print(*ids_in(log))
log.close()
"""


def test_a_disk_that_becomes_read_only_for_a_while(tmp_path):
    (tmp_path / "disk").mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    command = [*unshare, sys.executable, "-c", READ_ONLY, tmp_path / "disk", Path(__file__).parent, tmp_path / "spill"]
    try:
        ended = subprocess.run([str(part) for part in command], check=False, capture_output=True, timeout=240)
    except FileNotFoundError:
        pytest.skip("there is no unshare on this machine")
    if ended.returncode == 77 or b"unshare:" in ended.stderr:
        pytest.skip("this user may not mount a disk")
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.split() == [b"a", b"b"]


def test_a_clock_that_jumps_back_costs_nothing(opened):
    log = opened()
    hours = [5, 6, 2, 7, -40, 7]
    for number, hour in enumerate(hours):
        log.append([block(f"id{number}", at=AT + np.timedelta64(hour, "h"))])
        log.seal(datetime(2025, 3, 1, 9, tzinfo=UTC).replace(hour=12))
    found = log.features_after("spam", 0)
    assert [one.ids.tolist() for _, one in found] == [[f"id{number}"] for number in range(len(hours))]
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers)
    assert log.seal(datetime(2025, 3, 3, tzinfo=UTC)) > 0
    assert [one.ids.tolist() for _, one in log.features_after("spam", 0)] == [[f"id{n}"] for n in range(len(hours))]
    midnight = datetime(2025, 3, 1, tzinfo=UTC)
    early = [
        id_ for table in log.scan("spam", ["prediction_id"], until=midnight) for id_ in table.column(0).to_pylist()
    ]
    assert early == ["id4"]
