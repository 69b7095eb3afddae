"""What every prediction log does, whatever it is made of."""

import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from homeostat.errors import InvalidInput, StorageFailed
from homeostat.frames import Columns
from homeostat.records import LabelBlock, PredictionBlock, as_datetime64
from homeostat.records.ids import texts_of
from homeostat.stores import memory, parquet
from homeostat.stores.memory import MemoryPredictionLog
from homeostat.stores.sqlite import SqlitePredictionLog, writer

START = datetime(2025, 3, 1, 9, 10, tzinfo=UTC)
LATER = START + timedelta(days=1)
HOSTILE = ["", "ü\n\x00", "日本'\"", None, "\x1f", "NULL", "nan"]


def open_log(tmp_path, **more):
    return SqlitePredictionLog(tmp_path / "log.db", tmp_path / "sealed", **more)


@pytest.fixture(params=["memory", "sqlite", "sealed"])
def log(request, tmp_path):
    """The adapters; `sealed` moves all rows to Parquet before each read."""
    made = MemoryPredictionLog() if request.param == "memory" else open_log(tmp_path)
    if request.param == "sealed":
        for name in ("blocks_after", "features_after", "scan"):
            setattr(made, name, after_sealing(made, getattr(made, name)))
    yield made
    made.close()


def after_sealing(log, read):
    def sealed_first(*given, **more):
        log.seal(LATER)
        return read(*given, **more)

    return sealed_first


@pytest.fixture
def sqlite_log(tmp_path):
    made = open_log(tmp_path)
    yield made
    made.close()


def objects(values):
    return np.array([*values, None], dtype=object)[:-1]


def served(ids, *, model="spam", version=1, at=START, features=None, probabilities=None, score=None):
    rows = len(ids)
    return PredictionBlock(
        model=model,
        shadow=False,
        ids=objects(ids),
        event_time=np.full(rows, as_datetime64(at)) + np.arange(rows),
        version=np.full(rows, version),
        arm=np.full(rows, "control", dtype=object),
        entity=objects(ids),
        output=np.full(rows, "1", dtype=object),
        score=np.linspace(0, 1, rows) if score is None else score,
        latency_ms=np.full(rows, 0.5),
        error=np.full(rows, None, dtype=object),
        features=Columns({"x": np.arange(rows, dtype=float)}) if features is None else Columns(features),
        probabilities=probabilities,
    )


def shadow(ids, *, version=2, error=None, **more):
    block = served(ids, version=version, **more)
    return dataclasses.replace(
        block,
        shadow=True,
        arm=np.full(len(ids), "shadow", dtype=object),
        error=np.full(len(ids), error, dtype=object),
        features=Columns({}, len(ids)),
    )


def labels(ids, values, *, model="spam", at=START, **more):
    return LabelBlock(
        model=model, ids=objects(ids), values=objects(values), event_time=np.full(len(ids), as_datetime64(at)), **more
    )


def assert_same(found, expected, *, features=True):
    for field in dataclasses.fields(PredictionBlock):
        left, right = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "features":
            if features:
                assert list(left) == list(right)
                for name in right:
                    assert left[name].dtype == right[name].dtype
                    np.testing.assert_array_equal(left[name], right[name], err_msg=name)
        elif isinstance(right, np.ndarray):
            assert left.dtype.kind == right.dtype.kind, field.name
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right, field.name


def ids_of(entries):
    return [block.ids.tolist() for _, block in entries]


def test_blocks_come_back_whole_and_in_order(log):
    blocks = [served(["a", "b"]), shadow(["a", "b"]), served(["c"], at=START - timedelta(days=3)), served(["d"])]
    log.append(blocks[:2])
    log.append(blocks[2:])
    found = log.blocks_after("spam", 0)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    for (_, block), given in zip(found, blocks, strict=True):
        assert_same(block, given, features=False)
        assert block.rows == given.rows
    with_features = log.features_after("spam", 0)
    assert ids_of(with_features) == [["a", "b"], ["c"], ["d"]]
    for (_, block), given in zip(with_features, [blocks[0], *blocks[2:]], strict=True):
        assert_same(block, given)


def test_append_returns_the_sequence_number_to_follow_from(log):
    first = log.append([served(["a"])])
    assert log.blocks_after("spam", first) == []
    last = log.append([served(["b"]), served(["c"])])
    assert last > first
    found = log.blocks_after("spam", first)
    assert ids_of(found) == [["b"], ["c"]]
    assert found[-1][0] == last
    assert ids_of(log.blocks_after("spam", found[0][0])) == [["c"]]
    assert ids_of(log.features_after("spam", found[0][0])) == [["c"]]
    assert log.append([]) == last


def test_models_do_not_mix(log):
    names = ["spam", "spam2", "a/b", "..", "x y%*?[1]", "ü", "model=z", "'"]
    for name in names:
        log.append([served(["same-id"], model=name)])
        log.append_labels(labels(["same-id"], [name], model=name))
    for name in names:
        [(_, block)] = log.features_after(name, 0)
        assert block.model == name
        [(_, label)] = log.labels_after(name, 0)
        assert label.values.tolist() == [name]
    assert log.blocks_after("none", 0) == []


def test_features_come_back_exactly(log):
    rows = len(HOSTILE)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1])[:rows]
    features = {
        "z last": odd,
        "a": objects(HOSTILE),
        "ü.feature.x": objects(HOSTILE[::-1]),
        "sequence": np.arange(rows, dtype=float),
        "file_row_number": np.arange(rows, dtype=float),
        "probability.0": np.arange(rows, dtype=float),
        "X": np.zeros(rows),
        "x": np.ones(rows),
        "": np.full(rows, np.nan),
        "empty": objects([None] * rows),
    }
    given = served([f"id{n}" for n in range(rows)], features=features, score=odd)
    log.append([given])
    [(_, found)] = log.features_after("spam", 0)
    assert_same(found, given)
    assert np.signbit(found.features["z last"][3])


def test_ids_entities_and_errors_may_be_any_text(log):
    ids = [text for text in HOSTILE if text is not None]
    given = dataclasses.replace(
        shadow(ids), error=objects(ids), entity=objects(ids[::-1]), output=objects([None] * len(ids))
    )
    log.append([given])
    [(_, found)] = log.blocks_after("spam", 0)
    assert_same(found, given, features=False)


def test_probabilities_of_different_widths_stay_apart(log):
    generator = np.random.default_rng(0)
    given = [
        served(["a", "b"], probabilities=generator.random((2, 3))),
        served(["c"]),
        served(["d"], probabilities=generator.random((1, 11))),
        shadow(["a"], probabilities=generator.random((1, 4))),
        shadow(["b"]),
    ]
    log.append(given)
    found = log.blocks_after("spam", 0)
    assert len(found) == len(given)
    for (_, block), expected in zip(found, given, strict=True):
        assert_same(block, expected, features=False)


def test_blocks_of_one_hour_may_have_different_features(log):
    given = [
        served(["a"], features={"x": np.array([1.0]), "c": objects(["v"])}),
        served(["b"], features={"x": objects(["now text"])}),
        served(["c"], features={"y": np.array([2.0]), "x": np.array([np.nan])}),
        served(["d"], features={"x": np.array([3.0]), "c": objects([None])}),
    ]
    log.append(given)
    for (_, block), expected in zip(log.features_after("spam", 0), given, strict=True):
        assert_same(block, expected)


def test_the_first_of_two_rows_with_one_id_wins(log):
    log.append([served(["a", "a", "b"], score=np.array([0.1, 0.2, 0.3]))])
    log.append([served(["b", "c"], score=np.array([0.4, 0.5])), served(["c", "d"], score=np.array([0.6, 0.7]))])
    log.append([served(["a", "d"])])
    scores = {
        id_: score
        for _, block in log.blocks_after("spam", 0)
        for id_, score in zip(block.ids, block.score, strict=True)
    }
    assert scores == {"a": 0.1, "b": 0.3, "c": 0.5, "d": 0.7}
    assert ids_of(log.features_after("spam", 0)) == [["a", "b"], ["c"], ["d"]]
    kept = [block.features["x"].tolist() for _, block in log.features_after("spam", 0)]
    assert kept == [[0.0, 2.0], [1.0], [1.0]]


def test_shadow_rows_are_duplicates_of_their_own_version_only(log):
    log.append([served(["a"], version=1), shadow(["a"], version=2), shadow(["a"], version=1), shadow(["a"], version=2)])
    log.append([shadow(["a"], version=3), served(["a"], version=3)])
    found = [(block.shadow, block.version.tolist()) for _, block in log.blocks_after("spam", 0)]
    assert found == [(False, [1]), (True, [2]), (True, [1]), (True, [3])]


def test_all_blocks_are_kept_or_none(log):
    broken = dataclasses.replace(shadow(["b"]), version=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"zip|lengths"):
        log.append([served(["a"]), broken])
    assert log.blocks_after("spam", 0) == []
    log.append([served(["a"])])
    assert ids_of(log.blocks_after("spam", 0)) == [["a"]]


def test_labels_come_back_in_order(log):
    first = log.append_labels(labels(["a", "ü", ""], ["1", "", "x\x00"], source="analyst", confidence=0.25))
    log.append([served(["a"])])
    second = log.append_labels(labels(["a", "a"], ["0", "1"]))
    assert second > first
    (_, one), (_, two) = log.labels_after("spam", 0)
    assert (one.ids.tolist(), one.values.tolist()) == (["a", "ü", ""], ["1", "", "x\x00"])
    assert (one.source, one.confidence) == ("analyst", 0.25)
    np.testing.assert_array_equal(one.event_time, np.full(3, as_datetime64(START)))
    assert (two.ids.tolist(), two.values.tolist()) == (["a", "a"], ["0", "1"])
    assert [number for number, _ in log.labels_after("spam", first)] == [second]
    assert log.labels_after("spam", second) == []
    third = log.append_labels(labels(["b"], ["1"], source="one"), labels(["b"], ["0"], source="two"))
    found = log.labels_after("spam", second)
    assert [(block.source, block.values.tolist()) for _, block in found] == [("one", ["1"]), ("two", ["0"])]
    assert found[-1][0] == third


def test_threads_append_at_once(log):
    def write(number):
        for turn in range(10):
            log.append([served([f"{number}-{turn}", f"common-{turn}"])])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [id_ for _, block in log.blocks_after("spam", 0) for id_ in block.ids]
    assert len(ids) == 50
    assert len(set(ids)) == 50


def in_threads(count, work):
    """Run it in many threads at once; returns what they raised."""
    raised = []

    def run(number):
        try:
            work(number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_every_acknowledged_row_is_there_once(log):
    acknowledged = []

    def write(number):
        for turn in range(25):
            name = f"{number}-{turn}"
            sequence = log.append([served([name, f"common-{turn}"]), shadow([name])])
            acknowledged.append((name, sequence))
            log.append_labels(labels([name], ["1"]))

    assert in_threads(16, write) == []
    found = {}
    for sequence, block in log.blocks_after("spam", 0):
        if not block.shadow:
            for id_ in block.ids:
                found.setdefault(id_, []).append(sequence)
    assert {name for name, _ in acknowledged} | {f"common-{turn}" for turn in range(25)} == set(found)
    assert all(len(sequences) == 1 for sequences in found.values())
    # What an append returns is at or past its own rows, and nothing of it comes later.
    assert all(found[name][0] <= sequence for name, sequence in acknowledged)
    label_ids = [id_ for _, block in log.labels_after("spam", 0) for id_ in block.ids]
    assert sorted(label_ids) == sorted(name for name, _ in acknowledged)


def test_readers_that_follow_miss_nothing_while_others_write(log):
    done = threading.Event()
    seen = []

    def follow():
        last = 0
        while True:
            is_last = done.is_set()
            for sequence, block in log.blocks_after("spam", last):
                assert sequence > last
                last = sequence
                seen.extend(block.ids.tolist())
            if is_last:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    assert in_threads(8, lambda number: [log.append([served([f"{number}-{turn}"])]) for turn in range(20)]) == []
    done.set()
    reader.join()
    assert sorted(seen) == sorted(f"{number}-{turn}" for number in range(8) for turn in range(20))


def scanned(log, columns, **span):
    """Rows of a scan as tuples in the order of writing, with ids as texts and missing numbers as None."""
    found = []
    for table in log.scan("spam", ["sequence", *columns], **span):
        assert table.column_names == ["sequence", *columns]
        lists = [
            [texts_of(value)[0] if isinstance(value, bytes) else value for value in column.to_pylist()]
            for column in table.columns
        ]
        found += zip(*lists, strict=True)
    return [row[1:] for row in sorted(found, key=lambda row: row[0])]


def test_a_scan_gives_the_columns_that_are_asked_for(log):
    named = [str(uuid.UUID(int=number)) for number in range(3)]
    log.append([served(named, features={"x": np.array([1.5, np.nan, -0.0]), "c": objects(["ü", None, ""])})])
    log.append([shadow(named), dataclasses.replace(served(["own"]), entity=objects(["somebody"]))])
    log.append([served(["three"], model="other"), served(["p"], probabilities=np.array([[0.25, 0.75]]))])
    ids = [*named, "own", "p"]
    assert scanned(log, ["prediction_id"]) == [(id_,) for id_ in ids]
    assert scanned(log, ["entity", "version"]) == [(id_, 1) for id_ in [*named, "somebody", "p"]]
    numbers = [np.nan if value is None else value for (value,) in scanned(log, ["feature.x"])]
    np.testing.assert_array_equal(numbers, [1.5, np.nan, 0.0, 0.0, 0.0])
    assert scanned(log, ["feature.c"]) == [("ü",), (None,), ("",), (None,), (None,)]
    assert scanned(log, ["probability.1", "output"])[-2:] == [(None, "1"), (0.75, "1")]
    assert scanned(log, []) == [()] * 5
    assert scanned(log, ["event_time"])[0][0] == START
    assert list(log.scan("none", ["score"])) == [] or sum(t.num_rows for t in log.scan("none", ["score"])) == 0
    with pytest.raises(InvalidInput, match="scoer"):
        list(log.scan("spam", ["scoer"]))


def test_a_scan_gives_the_rows_of_a_span(log):
    hours = [0, 1, 1, 5, -30]
    for number, hour in enumerate(hours):
        log.append([served([f"a{number}", f"b{number}"], at=START + timedelta(hours=hour))])

    def ids(**span):
        return [id_ for (id_,) in scanned(log, ["prediction_id"], **span)]

    assert ids(since=START + timedelta(hours=1)) == ["a1", "b1", "a2", "b2", "a3", "b3"]
    assert ids(until=START) == ["a4", "b4"]
    # The second row of a block comes a microsecond after the first; the end is not included.
    later = START + timedelta(microseconds=1)
    assert ids(since=later, until=later + timedelta(hours=1)) == ["b0", "a1", "a2"]
    assert ids(since=START, until=START) == []


# SQLite and Parquet.
def held_up(log):
    """Another process' write lock: what is appended meanwhile becomes one group."""
    other = sqlite3.connect(log._database.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def start_appends(log, blocks):
    """Append each block in a thread of its own, once one append holds up the writer; gives what came of each."""
    outcomes = {}

    def append(number, block):
        try:
            outcomes[number] = log.append([block])
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=append, args=(number, block)) for number, block in enumerate(blocks)]
    threads[0].start()
    # The first is on its way to the database, so that the others wait behind it.
    wait_until(lambda: log._writer.is_writing and log.queue_depth() == 0)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: log.queue_depth() == len(blocks) - 1)
    return threads, outcomes


def finish(threads, other):
    other.execute("COMMIT")
    other.close()
    for thread in threads:
        thread.join()


def test_a_group_is_one_transaction(sqlite_log, tmp_path):
    other = held_up(sqlite_log)
    threads, outcomes = start_appends(sqlite_log, [served([f"id{n}"]) for n in range(20)])
    watch = sqlite3.connect(tmp_path / "log.db")
    before = watch.execute("PRAGMA data_version").fetchone()[0]
    finish(threads, other)
    assert sorted(outcomes.values()) == list(range(1, 21))
    # SQLite counts the transactions that others committed: that of the first append, and one for all others.
    assert 1 <= watch.execute("PRAGMA data_version").fetchone()[0] - before <= 2
    watch.close()
    assert sqlite_log.queue_depth() == 0
    assert (sqlite_log.written, sqlite_log.failed) == (20, 0)


def test_a_bad_job_spoils_no_other_of_its_group(sqlite_log):
    # A version that is more than SQLite can hold fails in the database, after the first row went in.
    broken = dataclasses.replace(shadow(["bad", "worse"]), version=BadVersions([7, 2**64 - 1]))
    other = held_up(sqlite_log)
    threads, outcomes = start_appends(sqlite_log, [served(["a", "x"]), served(["b"]), broken, served(["c", "x"])])
    finish(threads, other)
    assert isinstance(outcomes.pop(2), OverflowError)
    assert all(isinstance(sequence, int) for sequence in outcomes.values())
    ids = [id_ for block in ids_of(sqlite_log.blocks_after("spam", 0)) for id_ in block]
    assert sorted(ids) == ["a", "b", "c", "x"]
    assert (sqlite_log.written, sqlite_log.failed) == (4, 2)
    # Nothing of it stayed, so that the same ids may come again.
    sqlite_log.append([shadow(["bad", "worse"], version=7)])
    assert ids_of(sqlite_log.blocks_after("spam", 0))[-1] == ["bad", "worse"]


class BadVersions(np.ndarray):
    """Versions that Arrow takes and SQLite does not."""

    def __new__(cls, values):
        made = np.array([value % 2**31 for value in values]).view(cls)
        made.given = values
        return made

    def tolist(self):
        return self.given


def test_a_group_that_can_not_be_committed_fails_whole(sqlite_log, tmp_path, monkeypatch):
    original = writer.writing

    @contextlib.contextmanager
    def full_disk(connection):
        with original(connection):
            yield
            raise sqlite3.OperationalError("database or disk is full")

    other = held_up(sqlite_log)
    threads, outcomes = start_appends(sqlite_log, [served([f"id{n}"]) for n in range(5)])
    monkeypatch.setattr(writer, "writing", full_disk)
    finish(threads, other)
    monkeypatch.undo()
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, StorageFailed)]
    assert len(failed) >= 4
    assert len({id(error) for error in failed}) == len(failed)
    assert all("disk is full" in str(error) for error in failed)
    assert sqlite_log.failed == len(failed)
    # Once there is room again, it goes on, and the same rows may be sent again.
    for n in range(5):
        sqlite_log.append([served([f"id{n}"])])
    assert sorted(ids_of(sqlite_log.blocks_after("spam", 0))) == [[f"id{n}"] for n in range(5)]


def test_a_full_queue_holds_writers_up_and_loses_nothing(sqlite_log, monkeypatch):
    monkeypatch.setattr(writer, "QUEUE_JOBS", 3)
    other = held_up(sqlite_log)
    threads = [
        threading.Thread(target=lambda n=n: sqlite_log.append([served([f"id{n}"])]), daemon=True) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: sqlite_log.queue_depth() == 3)
    time.sleep(0.1)
    assert sqlite_log.queue_depth() == 3
    assert ids_of(sqlite_log.blocks_after("spam", 0)) == []
    finish(threads, other)
    assert sorted(ids_of(sqlite_log.blocks_after("spam", 0))) == sorted([f"id{n}"] for n in range(12))


def test_close_writes_what_waits_and_takes_nothing_more(tmp_path):
    log = open_log(tmp_path)
    other = held_up(log)
    threads, outcomes = start_appends(log, [served([f"id{n}"]) for n in range(6)])
    closing = threading.Thread(target=log.close)
    closing.start()
    wait_until(lambda: log._writer.is_closed)
    with pytest.raises(StorageFailed, match="closed"):
        log.append([served(["late"])])
    finish([*threads, closing], other)
    assert sorted(outcomes.values()) == list(range(1, 7))
    for use in (
        lambda: log.append([served(["late"])]),
        lambda: log.append_labels(labels(["a"], ["1"])),
        lambda: log.blocks_after("spam", 0),
        lambda: log.features_after("spam", 0),
        lambda: log.labels_after("spam", 0),
        lambda: log.seal(LATER),
    ):
        with pytest.raises(StorageFailed, match="closed"):
            use()
    log.close()
    again = open_log(tmp_path)
    assert sorted(ids_of(again.blocks_after("spam", 0))) == [[f"id{n}"] for n in range(6)]
    again.close()


def test_reads_do_not_wait_for_the_writer(sqlite_log):
    sqlite_log.append([served(["a"])])
    other = held_up(sqlite_log)
    threads, _ = start_appends(sqlite_log, [served(["b"])])
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"]]
    assert sqlite_log.labels_after("spam", 0) == []
    finish(threads, other)
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"]]


def test_appending_needs_no_thread_of_its_own(tmp_path):
    before = threading.active_count()
    log = open_log(tmp_path)
    assert log.blocks_after("spam", 0) == []
    assert threading.active_count() == before
    log.append([served(["a"])])
    assert threading.active_count() == before
    log.close()
    assert threading.active_count() == before


def test_counts_are_of_rows_that_are_new(sqlite_log):
    sqlite_log.append([served(["a", "b"]), shadow(["a", "b"])])
    sqlite_log.append([served(["b", "c"])])
    assert (sqlite_log.written, sqlite_log.failed) == (5, 0)


SEAL_AND_WRITE = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np
from homeostat.frames import Columns
from homeostat.records import PredictionBlock
from homeostat.stores.sqlite import SqlitePredictionLog
def o(*values): return np.array(values, dtype=object)
START = datetime(2025, 3, 1, tzinfo=UTC)
log = SqlitePredictionLog(Path(sys.argv[1]) / "log.db", Path(sys.argv[1]) / "sealed")
for n in range(40):
    at = np.datetime64(START.replace(tzinfo=None)) + np.timedelta64(n * 20, "m")
    log.append([PredictionBlock(model="spam", shadow=False, ids=o(f"{sys.argv[2]}-{n}"),
        event_time=np.array([at], "M8[us]"), version=np.array([1]), arm=o("control"), entity=o("e"), output=o("1"),
        score=np.array([.5]), latency_ms=np.array([1.]), error=o(None), features=Columns({"x": np.array([float(n)])}))])
    if n % 3 == 2:
        log.seal(START + timedelta(minutes=n * 20))
log.close()
"""


def test_one_process_reads_what_others_write_and_seal(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", SEAL_AND_WRITE, str(tmp_path), name], stderr=subprocess.PIPE)
        for name in ("p", "q")
    ]
    log = open_log(tmp_path)
    seen, last = [], 0
    while True:
        is_last = all(process.poll() is not None for process in processes)
        for sequence, block in log.features_after("spam", last):
            last = sequence
            seen += zip(block.ids.tolist(), block.features["x"].tolist(), strict=True)
        if is_last:
            break
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 2
    expected = sorted((f"{name}-{n}", float(n)) for name in "pq" for n in range(40))
    assert sorted(seen) == expected
    whole = [(id_, x) for _, b in log.features_after("spam", 0) for id_, x in zip(b.ids, b.features["x"], strict=True)]
    assert sorted(whole) == expected
    assert len(list((tmp_path / "sealed").rglob("*.parquet"))) > 10
    log.close()


def test_a_log_of_an_earlier_layout_is_read_on(sqlite_log, tmp_path):
    import pyarrow as pa

    given = served(["a", "b"], features={"x": np.array([1.5, np.nan]), "c": objects(["v", None])})
    sqlite_log.append([given])
    sink = pa.BufferOutputStream()
    columns = pa.table({"feature.x": pa.array([1.5, float("nan")]), "feature.c": pa.array(["v", None])})
    with pa.ipc.new_stream(sink, columns.schema) as stream:
        stream.write_table(columns)
    connection = sqlite3.connect(tmp_path / "log.db")
    with connection:
        connection.execute("UPDATE block SET features = ?", (bytes(sink.getvalue()),))
        connection.execute("DROP INDEX block_by_hour")
        connection.execute("PRAGMA user_version=0")
    connection.close()
    again = open_log(tmp_path)
    again.append([dataclasses.replace(given, ids=objects(["c", "d"]))])
    for sealed in (False, True):
        if sealed:
            assert again.seal(LATER) == 4
        one, two = again.features_after("spam", 0)
        assert_same(one[1], given)
        assert_same(two[1], dataclasses.replace(given, ids=objects(["c", "d"])))
    again.close()


def test_ids_of_an_earlier_schema_stay_known(tmp_path):
    log = open_log(tmp_path)
    one, two = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    log.append([served(["a", one]), shadow(["a"], version=2)])
    log.seal(LATER)
    log.close()
    connection = sqlite3.connect(tmp_path / "log.db")
    with connection:
        connection.execute("DROP TABLE known")
        connection.execute("DROP TABLE model")
        connection.execute("ALTER TABLE sealed DROP COLUMN earliest")
        connection.execute("ALTER TABLE sealed DROP COLUMN latest")
        connection.execute(
            "CREATE TABLE seen (model TEXT NOT NULL, prediction_id TEXT NOT NULL, version INTEGER NOT NULL, "
            "PRIMARY KEY (model, prediction_id, version)) WITHOUT ROWID"
        )
        rows = [("spam", "a", -1), ("spam", one, -1), ("spam", "a", 2)]
        connection.executemany("INSERT INTO seen VALUES (?, ?, ?)", rows)
        connection.execute("PRAGMA user_version=1")
    connection.close()
    log = open_log(tmp_path)
    assert log.count_served("spam", ["a", one, two]) == 2
    log.append([served(["a", one, two]), shadow(["a"], version=2), shadow(["a"], version=3)])
    assert ids_of(log.features_after("spam", 0)) == [["a", one], [two]]
    assert [block.version.tolist() for _, block in log.blocks_after("spam", 0) if block.shadow] == [[2], [3]]
    assert scanned(log, ["prediction_id"], since=START) == [("a",), (one,), (two,)]
    log.close()


def test_sealed_ids_are_uuids_and_own_entities_cost_nothing(sqlite_log, tmp_path):
    import duckdb
    import polars

    ids = [str(uuid.uuid4()) for _ in range(50)]
    sqlite_log.append([served(ids, features={"x": np.linspace(0, 1, 50)})])
    sqlite_log.seal(LATER)
    [file] = (tmp_path / "sealed").rglob("*.parquet")
    rows = duckdb.sql(
        'SELECT prediction_id::VARCHAR, typeof(prediction_id), entity, "feature.x" FROM read_parquet(?)',
        params=[str(file)],
    ).fetchall()
    assert [row[0] for row in rows] == ids
    assert {row[1:3] for row in rows} == {("UUID", None)}
    assert [row[3] for row in rows] == np.linspace(0, 1, 50).tolist()
    frame = polars.read_parquet(file)
    assert frame["prediction_id"].to_list() == [uuid.UUID(id_).bytes for id_ in ids]
    assert frame["feature.x"].dtype == polars.Float64
    [(_, found)] = sqlite_log.features_after("spam", 0)
    assert found.entity.tolist() == found.ids.tolist() == ids


def test_a_log_of_a_newer_schema_is_refused(tmp_path):
    open_log(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageFailed, match="newer"):
        open_log(tmp_path)


def test_appending_goes_on_while_an_hour_is_sealed(sqlite_log, monkeypatch):
    sqlite_log.append([served(["a"])])
    original = parquet.write_sealed

    def write_slowly(*given, **more):
        sqlite_log.append([served(["b"])])
        return original(*given, **more)

    monkeypatch.setattr("homeostat.stores.sqlite.log.write_sealed", write_slowly)
    assert sqlite_log.seal(LATER) == 1
    monkeypatch.undo()
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"]]
    assert sqlite_log.seal(LATER) == 1
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"]]


def test_only_one_seals_at_a_time(sqlite_log, tmp_path, monkeypatch):
    sqlite_log.append([served(["a"])])
    monkeypatch.setattr("homeostat.stores.sqlite.log.SEALING_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "log.sealing", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert sqlite_log.seal(LATER) == 0
    other.close()
    assert sqlite_log.seal(LATER) == 1


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from homeostat.frames import Columns
from homeostat.records import PredictionBlock
from homeostat.stores.sqlite import SqlitePredictionLog
def o(*values): return np.array(values, dtype=object)
log = SqlitePredictionLog(Path(sys.argv[1]) / "log.db", Path(sys.argv[1]) / "sealed", durability=sys.argv[2])
for n in range(5):
    log.append([PredictionBlock(model="spam", shadow=False, ids=o(f"id{n}"), event_time=np.array([n], "M8[us]"),
        version=np.array([1]), arm=o("control"), entity=o("e"), output=o("1"), score=np.array([.5]),
        latency_ms=np.array([1.]), error=o(None), features=Columns({"x": np.array([float(n)])}))])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_appended_survives_a_killed_process(tmp_path, durability):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), durability], check=False, timeout=240)
    assert ended.returncode == -9
    log = open_log(tmp_path)
    assert ids_of(log.features_after("spam", 0)) == [[f"id{n}"] for n in range(5)]
    log.close()


def test_sealing_moves_closed_hours_only(sqlite_log, tmp_path):
    for minutes in (-70, 0, 49, 50, 110):
        sqlite_log.append([served([f"m{minutes}"], at=START + timedelta(minutes=minutes))])
    before = sqlite_log.features_after("spam", 0)
    assert sqlite_log.seal(START + timedelta(minutes=49, seconds=59)) == 1
    assert sqlite_log.seal(START + timedelta(minutes=50)) == 2
    assert sqlite_log.seal(START + timedelta(minutes=50)) == 0
    files = sorted(path.relative_to(tmp_path / "sealed").as_posix() for path in (tmp_path / "sealed").rglob("*.*"))
    assert files == [f"model=spam/date=2025-03-01/{name}.parquet" for name in ("08h-served-1-1", "09h-served-2-3")]
    for (number, block), (earlier, expected) in zip(sqlite_log.features_after("spam", 0), before, strict=True):
        assert number == earlier
        assert_same(block, expected)
    assert ids_of(sqlite_log.blocks_after("spam", before[1][0])) == [["m49"], ["m50"], ["m110"]]


def test_ids_stay_known_after_sealing(sqlite_log):
    sqlite_log.append([served(["a"])])
    last = sqlite_log.append([served(["b"])])
    sqlite_log.seal(LATER)
    assert sqlite_log.append([served(["a"])]) == last
    assert sqlite_log.append([served(["c"])]) == last + 1
    sqlite_log.seal(LATER)
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"], ["c"]]


def test_sealed_hours_of_interleaved_blocks_keep_the_order(sqlite_log):
    for turn in range(6):
        at = START + timedelta(hours=turn % 2)
        sqlite_log.append([served([f"a{turn}", f"b{turn}"], at=at), shadow([f"a{turn}"], at=at)])
    before = sqlite_log.blocks_after("spam", 0)
    assert sqlite_log.seal(LATER) == 18
    after = sqlite_log.blocks_after("spam", 0)
    assert [number for number, _ in after] == [number for number, _ in before]
    for (_, block), (_, expected) in zip(after, before, strict=True):
        assert_same(block, expected, features=False)


def test_sealed_files_are_typed_columns_that_duckdb_reads(sqlite_log, tmp_path):
    import duckdb

    sqlite_log.append([served(["a", "b"], features={"x": np.array([1.5, np.nan]), "c": objects(["ü", None])})])
    sqlite_log.seal(LATER)
    files = f"{tmp_path}/sealed/**/*.parquet"
    relation = duckdb.sql("SELECT * FROM read_parquet(?, hive_partitioning = true)", params=[files])
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert types["prediction_id"] == "VARCHAR"
    assert types["event_time"] == "TIMESTAMP WITH TIME ZONE"
    assert types["version"] == "BIGINT"
    assert types["score"] == types["feature.x"] == "DOUBLE"
    assert types["feature.c"] == types["model"] == "VARCHAR"
    assert types["date"] == "DATE"
    assert relation.aggregate('count(*), sum(CASE WHEN isnan("feature.x") THEN 0 ELSE "feature.x" END)').fetchall() == [
        (2, 1.5)
    ]


def test_a_sealing_that_died_before_registering_costs_and_doubles_nothing(sqlite_log, tmp_path, monkeypatch):
    sqlite_log.append([served(["a"])])
    original = parquet.write_sealed

    def write_and_die(*given, **more):
        original(*given, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr("homeostat.stores.sqlite.log.write_sealed", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        sqlite_log.seal(LATER)
    [leftover] = (tmp_path / "sealed").rglob("*.parquet")
    leftover.write_bytes(b"half of a file")
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"]]
    monkeypatch.undo()
    # A late row of the same hour gives the next file another name.
    sqlite_log.append([served(["b"]), shadow(["b"])])
    assert sqlite_log.seal(LATER) == 3
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"]]
    assert len(list((tmp_path / "sealed").rglob("*served*"))) == 1
    # Later rows of the hour add a file, and leave those that are registered.
    sqlite_log.append([served(["c"])])
    sqlite_log.seal(LATER)
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"], ["b"], ["c"]]


def test_sealing_while_another_process_reads_hides_nothing(sqlite_log, tmp_path):
    reader = open_log(tmp_path)
    for turn in range(30):
        sqlite_log.append([served([f"id{turn}"], at=START + timedelta(hours=turn % 6))])
    expected = [[f"id{turn}"] for turn in range(30)]
    done = threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(ids_of(reader.features_after("spam", 0)))

    thread = threading.Thread(target=read)
    thread.start()
    for hour in range(1, 8):
        sqlite_log.seal(START + timedelta(hours=hour))
    done.set()
    thread.join()
    seen.append(ids_of(reader.features_after("spam", 0)))
    assert all(found == expected for found in seen)
    reader.close()


def test_two_store_objects_write_one_file(tmp_path):
    failures = []

    def write(number):
        try:
            log = open_log(tmp_path)
            for turn in range(20):
                log.append([served([f"{number}-{turn}", f"common-{turn}"], at=START + timedelta(hours=turn))])
                if turn % 7 == 0:
                    log.seal(START + timedelta(hours=turn))
            log.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    log = open_log(tmp_path)
    ids = [id_ for _, block in log.features_after("spam", 0) for id_ in block.ids]
    assert len(ids) == len(set(ids)) == 80
    log.close()


@pytest.mark.parametrize("damage", ["missing", "broken", "another"])
def test_a_sealed_file_that_can_not_be_read_is_said(sqlite_log, tmp_path, damage):
    sqlite_log.append([served(["a"])])
    sqlite_log.seal(LATER)
    [file] = (tmp_path / "sealed").rglob("*.parquet")
    if damage == "missing":
        file.unlink()
    elif damage == "broken":
        file.write_bytes(b"nonsense")
    else:
        # A whole Parquet file, of other rows.
        sqlite_log.append([served(["b"], score=np.array([0.9]))])
        sqlite_log.seal(LATER)
        [later] = set((tmp_path / "sealed").rglob("*.parquet")) - {file}
        file.write_bytes(later.read_bytes())
    with pytest.raises(StorageFailed, match=r"09h-served-1-1\.parquet"):
        sqlite_log.blocks_after("spam", 0)


def test_a_folder_that_can_not_be_written_keeps_the_rows(sqlite_log, tmp_path):
    sqlite_log.append([served(["a"])])
    (tmp_path / "sealed").write_bytes(b"in the way")
    with pytest.raises(StorageFailed):
        sqlite_log.seal(LATER)
    assert ids_of(sqlite_log.features_after("spam", 0)) == [["a"]]


@pytest.mark.parametrize("damage", ["no_database", "folder", "below_a_file"])
def test_a_log_that_can_not_be_opened_says_so(tmp_path, damage):
    path = tmp_path / "log.db"
    if damage == "no_database":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"")
        path = path / "log.db"
    with pytest.raises(StorageFailed, match=r"log\.db"):
        SqlitePredictionLog(path, tmp_path / "sealed")


def test_a_log_that_breaks_while_in_use_says_so(sqlite_log, tmp_path):
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.executescript("DROP TABLE block; DROP TABLE label;")
    connection.close()
    for use in (
        lambda: sqlite_log.append([served(["a"])]),
        lambda: sqlite_log.append_labels(labels(["a"], ["1"])),
        lambda: sqlite_log.blocks_after("spam", 0),
        lambda: sqlite_log.labels_after("spam", 0),
        lambda: sqlite_log.seal(LATER),
    ):
        with pytest.raises(StorageFailed):
            use()


def test_durability_sets_what_sqlite_waits_for(tmp_path):
    for durability, level in (("process", 1), ("power", 2)):
        log = open_log(tmp_path, durability=durability)
        connection = log._database.connect()
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
        log.close()
    assert os.path.exists(tmp_path / "log.db")
    assert memory.MemoryPredictionLog().seal(LATER) == 0


def test_served_ids_are_counted_and_shadowed_or_strange_ones_are_not(log):
    assert log.count_served("spam", ["a"]) == 0
    many = [f"id-{position}" for position in range(1200)]
    log.append([served(many), shadow(["only-shadowed"])])
    log.seal(LATER)
    assert log.count_served("spam", [*many, "only-shadowed", "never", ""]) == 1200
    assert log.count_served("other", many) == 0
    assert log.count_served("spam", []) == 0
