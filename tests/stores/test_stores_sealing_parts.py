"""An hour is sealed in parts, and whoever reads or dies between two steps finds every row once."""

import importlib.util
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from homeostat.stores.sqlite import sealing

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)
LATER = datetime(2025, 3, 2, tzinfo=UTC)
NAMES = [f"order-{number:02d}" for number in range(12)]


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log of twelve blocks of one hour, sealed four at a time and removed two at a time."""
    monkeypatch.setattr(sealing, "PART_BLOCKS", 4)
    monkeypatch.setattr(sealing, "REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(sealing, "PAUSE_SECONDS", 0.0)
    made = small.open_log(tmp_path)
    for name in NAMES:
        made.append([small.block(name)])
        made.append([small.block(name, shadow=True)])
    yield made
    made.close()


def rows_in(folder, table):
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        [(rows,)] = connection.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
    return rows


def reads(log):
    """What every way of reading finds."""
    scanned = pa.concat_tables(log.scan("spam", ["score", "feature.x"])).num_rows
    return small.ids_in(log), len(log.blocks_after("spam", 0)), scanned


def test_readers_find_every_row_once_after_each_step(log, tmp_path, monkeypatch):
    seen = []
    do = log._writer.do

    def watched(work, **more):
        done = do(work, **more)
        seen.append(reads(log))
        return done

    monkeypatch.setattr(log._writer, "do", watched)
    assert log.seal(LATER) == 2 * len(NAMES)
    # Three parts of the served rows and three of the shadow's: each is registered and removed in at least two steps.
    assert len(seen) >= 18
    assert set(map(str, seen)) == {str((NAMES, 2 * len(NAMES), len(NAMES)))}
    assert rows_in(tmp_path, "block") == rows_in(tmp_path, "removing") == 0
    assert rows_in(tmp_path, "sealed") == 6


class Died(BaseException):
    pass


@pytest.mark.parametrize("step", range(20))
def test_who_dies_after_any_step_loses_and_doubles_nothing(log, tmp_path, monkeypatch, step):
    do, done = log._writer.do, []

    def dies(work, **more):
        if len(done) == step:
            raise Died
        done.append(do(work, **more))
        return done[-1]

    monkeypatch.setattr(log._writer, "do", dies)
    with pytest.raises(Died):
        log.seal(LATER)
    monkeypatch.undo()
    again = small.open_log(tmp_path)
    assert reads(again) == (NAMES, 2 * len(NAMES), len(NAMES))
    # A row of that hour that comes only now has its place behind those that are sealed.
    again.append([small.block("order-99")])
    assert small.ids_in(again) == [*NAMES, "order-99"]
    again.seal(LATER)
    assert rows_in(tmp_path, "block") == rows_in(tmp_path, "removing") == 0
    assert small.ids_in(again) == [*NAMES, "order-99"]
    files = [file.relative_to(tmp_path / "sealed").as_posix() for file in (tmp_path / "sealed").rglob("*.parquet")]
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        assert sorted(files) == [path for (path,) in connection.execute("SELECT path FROM sealed ORDER BY path")]
    again.close()


def test_blocks_that_come_while_an_hour_is_sealed_wait_for_the_next_time(log, tmp_path, monkeypatch):
    next_part, late = sealing.next_part, iter(range(100))

    def with_latecomer(connection, hour, last):
        if not hour.shadow:
            log.append([small.block(f"order-late-{next(late):02d}")])
        return next_part(connection, hour, last)

    monkeypatch.setattr(sealing, "next_part", with_latecomer)
    assert log.seal(LATER) == 2 * len(NAMES)
    monkeypatch.setattr(sealing, "next_part", next_part)
    open_now = rows_in(tmp_path, "block")
    assert open_now == 4
    assert log.seal(LATER) == open_now
    found = small.ids_in(log)
    assert found == sorted(set(found))
    assert len(found) == len(NAMES) + open_now


def test_a_log_of_the_schema_before_is_sealed(tmp_path):
    log = small.open_log(tmp_path)
    log.append([small.block(*NAMES)])
    log.close()
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        connection.execute("DROP TABLE removing")
        connection.execute("PRAGMA user_version=3")
    again = small.open_log(tmp_path)
    assert again.seal(LATER) == len(NAMES)
    assert small.ids_in(again) == NAMES
    numbers = [number for number, _ in again.features_after("spam", 0)]
    assert np.all(np.diff(numbers) > 0) if len(numbers) > 1 else len(numbers) == 1
    again.close()
