"""Ids of large blocks are kept as runs of keys, and are known as any other id is."""

import importlib.util
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from homeostat.records.ids import key_of, packed, texts_of
from homeostat.stores.sqlite.batches import LEAST_ROWS, RUN_ROWS, runs_of

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)
AT, block, ids_in, open_log = small.AT, small.block, small.ids_in, small.open_log
MOMENT = 1_740_000_000_000
LATER = datetime(2025, 3, 2, tzinfo=UTC)


def uuids(rng, rows, *, at=MOMENT, spread=0):
    keys = np.frombuffer(rng.bytes(16 * rows), np.uint8).reshape(rows, 16).copy()
    moments = (at + (rng.integers(0, spread + 1, rows) if spread else np.zeros(rows, dtype=np.int64))).astype(">u8")
    keys[:, :6] = moments.view(np.uint8).reshape(rows, 8)[:, 2:]
    keys[:, 6] = keys[:, 6] & 0x0F | 0x70
    keys[:, 8] = keys[:, 8] & 0x3F | 0x80
    return texts_of(keys.tobytes())


def in_runs(folder):
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        [(runs, size)] = connection.execute("SELECT count(*), total(length(rests)) FROM known_run")
        [(rows,)] = connection.execute("SELECT count(*) FROM known")
    return runs, size, rows


@pytest.mark.parametrize("spread", [0, 1, 900, 3_000, 10_000_000])
def test_what_is_known_is_what_was_appended_first(tmp_path, spread):
    rng = np.random.default_rng(spread)
    log = open_log(tmp_path)
    names = [*uuids(rng, 3 * LEAST_ROWS, spread=spread), "order-1", "order-2"]
    expected = set()
    for number, size in enumerate((LEAST_ROWS, 1, 5, LEAST_ROWS + 100, 1, LEAST_ROWS, 40, 2 * LEAST_ROWS)):
        # Some were there before, some come twice in one block, and one model's ids say nothing of another role's.
        some = list(rng.choice(names, size, replace=number % 2 == 0)) if number else names[:size]
        log.append([block(*some)])
        expected |= set(some)
        if number == 3:
            log.append([block(*some, shadow=True)])
            log.seal(LATER)
        absent = uuids(rng, 20, spread=spread)
        assert log.count_served("spam", [*names, *absent]) == len(expected)
    assert ids_in(log) == sorted(expected)
    log.close()
    again = open_log(tmp_path)
    again.append([block(*names)])
    assert ids_in(again) == sorted(names)
    assert again.count_served("spam", names) == len(names)
    assert again.count_served("other", names) == 0
    again.close()


def test_a_large_block_takes_eleven_bytes_a_row_and_the_second_of_two_is_left_out(tmp_path):
    rng = np.random.default_rng(1)
    log = open_log(tmp_path)
    first, second = uuids(rng, 2_000), uuids(rng, 2_000)
    log.append([block(*first)])
    log.append([block(*second)])
    runs, size, rows = in_runs(tmp_path)
    assert (runs, rows) == (8, 0)
    assert size <= 11 * 4_000
    log.append([block(*first), block(*second[:600], *uuids(rng, 600)), block(first[7]), block(second[3], "new")])
    assert len(ids_in(log)) == 4_601
    assert log.written == 4_601
    log.close()


def test_a_log_of_an_earlier_schema_goes_on(tmp_path):
    rng = np.random.default_rng(2)
    log = open_log(tmp_path)
    ids = uuids(rng, 700)
    for id_ in ids[:40]:
        log.append([block(id_)])
    log.close()
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        connection.execute("DROP TABLE known_run")
        connection.execute("PRAGMA user_version=2")
        connection.commit()
    log = open_log(tmp_path)
    log.append([block(*ids)])
    log.append([block(*uuids(rng, 700))])
    # The first is kept row by row, because some of it was there; the second only came at the same time.
    runs, _, rows = in_runs(tmp_path)
    assert (runs, rows) == (2, 700)
    assert len(ids_in(log)) == 1_400
    log.close()


def test_runs_give_back_their_keys_whatever_bytes_these_end_with():
    rng = np.random.default_rng(3)
    keys = {packed([id_]) for id_ in uuids(rng, LEAST_ROWS)}
    # Texts end at a zero for some of numpy's functions, and a key may be found across two others.
    keys |= {key[:15] + b"\0" for key in list(keys)[:50]} | {key[:14] + b"\0\0" for key in list(keys)[:50]}
    runs = runs_of(b"".join(sorted(keys, reverse=True)))
    assert sorted(keys) == [key for run in runs for key in run.keys]
    assert [run.high for run in runs] == [run.keys[-1] for run in runs]
    assert max(len(run.keys) for run in runs) <= RUN_ROWS
    for run in runs:
        held = set(run.keys)
        assert all(run.holds(key) == (key in held) for key in keys)
        assert run.held_of(keys) == held
        both = run.keys[0] + run.keys[1]
        across = [run.low[: run.shared] + both[start : start + 16 - run.shared] for start in range(17)]
        assert all(run.holds(key) == (key in held) for key in across if len(key) == 16)


@pytest.mark.parametrize("spread", [0, 900])
def test_the_keys_of_runs_are_in_order_also_where_they_differ_at_their_ends_alone(spread):
    rng = np.random.default_rng(spread)
    names = uuids(rng, LEAST_ROWS, spread=spread)
    twins = [name[:-2] + ("00" if name[-2:] != "00" else "ff") for name in names[:20]]
    for some in (names, [*names, *twins]):
        keys = packed(some)
        wanted = sorted(keys[start : start + 16] for start in range(0, len(keys), 16))
        assert [key for run in runs_of(keys) for key in run.keys] == wanted


def test_one_key_is_a_run_too():
    rng = np.random.default_rng(4)
    keys = sorted(key_of(id_) for id_ in uuids(rng, RUN_ROWS + 1))
    runs = runs_of(b"".join(keys))
    assert [len(run.keys) for run in runs] == [RUN_ROWS, 1]
    assert runs[-1].keys == [keys[-1]] == [runs[-1].high]
    assert runs[-1].holds(keys[-1])
    assert not runs[-1].holds(keys[0])


@pytest.mark.parametrize("case", ["few", "twice", "not of a time", "no time"])
def test_other_blocks_have_no_runs(case):
    rng = np.random.default_rng(5)
    rows = LEAST_ROWS - (case == "few")
    ids = uuids(rng, rows, spread=10**9 if case == "not of a time" else 0)
    if case == "twice":
        ids[7] = ids[-1]
    keys = packed(ids)
    if case == "no time":
        keys = keys[:6] + b"\x45" + keys[7:]
    assert runs_of(keys) is None


def test_batches_of_one_moment_do_not_hide_each_other(tmp_path):
    rng = np.random.default_rng(6)
    log = open_log(tmp_path)
    parts = [uuids(rng, LEAST_ROWS, at=MOMENT + number % 2) for number in range(6)]
    for part in parts:
        log.append([block(*part, at=AT)])
    assert in_runs(tmp_path)[2] == 0
    assert log.count_served("spam", [id_ for part in parts for id_ in part]) == 6 * LEAST_ROWS
    log.append([block(*parts[0][:300], *parts[5][:300])])
    assert log.written == 6 * LEAST_ROWS
    log.close()
