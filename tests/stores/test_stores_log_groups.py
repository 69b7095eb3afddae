"""What threads append at once is one transaction, and a row that comes twice in it is kept once."""

import importlib.util
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from homeostat.errors import StorageFailed

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

UUIDS = [f"0195543e-a800-7000-8000-{number:012x}" for number in range(6)]


def append_at_once(log, jobs):
    """Do all jobs while one is written that holds the others up, so that they are one group."""
    held, free = threading.Event(), threading.Event()
    errors = {}

    def hold(_connection):
        held.set()
        assert free.wait(60)

    def run(number, job):
        try:
            job()
        except StorageFailed as error:
            errors[number] = str(error)

    threads = [threading.Thread(target=log._writer.do, args=(hold,))]
    threads[0].start()
    assert held.wait(60)
    for number, job in enumerate(jobs):
        threads.append(threading.Thread(target=run, args=(number, job)))
        threads[-1].start()
        while log.queue_depth() < number + 1:
            time.sleep(0.001)
    free.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return errors


@pytest.mark.parametrize("names", [UUIDS, [f"order-{number}" for number in range(6)]])
def test_rows_that_come_twice_in_one_group_are_kept_once(tmp_path, names):
    log = small.open_log(tmp_path)
    log.append([small.block(names[5])])
    lots = [names[:2], names[1:3], names[2:4], names[:1], [names[5]], [names[4], names[4]]]
    errors = append_at_once(log, [lambda lot=lot: log.append([small.block(*lot)]) for lot in lots])
    assert errors == {}
    assert small.ids_in(log) == names
    assert log.written == len(names)
    assert log.count_served("spam", names) == len(names)
    log.close()


def test_work_that_breaks_breaks_alone_beside_rows_that_are_known(tmp_path):
    log = small.open_log(tmp_path)
    log.append([small.block(*UUIDS[:2])])

    def breaks():
        log._writer.do(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))

    jobs = [
        lambda: log.append([small.block(*UUIDS[1:3])]),
        breaks,
        lambda: log.append([small.block(*UUIDS[2:4]), small.block(*UUIDS[:5], shadow=True)]),
    ]
    errors = append_at_once(log, jobs)
    assert list(errors) == [1]
    assert "nowhere" in errors[1]
    assert small.ids_in(log) == UUIDS[:4]
    # A shadow's rows have the ids of those that were answered.
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("SELECT version, count(*) FROM known GROUP BY version").fetchall() == [(0, 4), (2, 5)]
    log.close()
