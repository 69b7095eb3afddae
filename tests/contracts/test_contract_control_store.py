"""What every control store does, whatever it is made of."""

import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.errors import Conflict, InvalidInput, StaleRevision, StorageFailed
from homeostat.records import (
    TABLES,
    Arm,
    Decision,
    Finding,
    KeptPolicy,
    Lease,
    Lineage,
    Manifest,
    MetricValues,
    Model,
    Mutable,
    Progress,
    Rollout,
    RolloutState,
    Route,
    Run,
    RunState,
    ServingForm,
    Severity,
    Signature,
    Stage,
    StageChange,
    Step,
    StepKind,
    Task,
    Trigger,
    TriggerKind,
    Verdict,
    Version,
)
from homeostat.stores.memory import MemoryControlStore
from homeostat.stores.sqlite import SqliteControlStore

NOW = datetime(2025, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryControlStore() if request.param == "memory" else SqliteControlStore(tmp_path / "control.db")
    yield made
    made.close()


@pytest.fixture
def sqlite_store(tmp_path):
    made = SqliteControlStore(tmp_path / "control.db")
    yield made
    made.close()


def model(name="spam"):
    return Model(name=name, task=Task.BINARY, target="y", created_at=NOW)


def version(number, stage=Stage.DRAFT, *, model="spam", **more):
    return Version(
        model=model,
        number=number,
        stage=stage,
        created_at=NOW,
        signature=Signature(task=Task.BINARY, features=(), target="y", classes=("0", "1")),
        manifest=Manifest(files=()),
        serving=ServingForm(format="onnx", reason="", rows_checked=1, largest_difference=0.0),
        lineage=Lineage(data_sha256="", rows=1),
        **more,
    )


def run(number, state=RunState.TRAINING, *, model="spam"):
    return Run(
        id=f"{model}-run-{number}",
        model=model,
        state=state,
        trigger=Trigger(kind=TriggerKind.MANUAL, reason=""),
        created_at=NOW,
        updated_at=NOW,
        baseline=1,
        number=number,
        seed=0,
    )


def rollout(number, state=RolloutState.RUNNING, *, model="spam"):
    return Rollout(
        id=f"{model}-rollout-{number}",
        model=model,
        candidate=2,
        baseline=1,
        steps=(Step(kind=StepKind.FULL, weight=1.0),),
        state=state,
        created_at=NOW,
        updated_at=NOW,
        step_entered_at=NOW,
    )


def decision(number, *, model="spam", kind="alert", **more):
    return Decision(id=f"{model}-{number}", model=model, at=NOW, kind=kind, actor="me", reason="because", **more)


def finding(number, *, check="drift"):
    return Finding(
        id=f"f{number}",
        model="spam",
        check=check,
        at=NOW,
        verdict=Verdict.HEALTHY,
        severity=Severity.NONE,
        message="",
    )


def route(number):
    return Route(
        model="spam", number=number, arms=(Arm(name="control", version=1, weight=1.0),), salt="s", at=NOW, reason=""
    )


def move(number):
    return StageChange(
        id=f"m{number}", model="spam", version=1, source=None, target=Stage.DRAFT, at=NOW, actor="me", reason=""
    )


def policy(number):
    return KeptPolicy(config_hash=f"h{number}", at=NOW, policy={"preset": "classic"})


def values(number):
    return MetricValues(
        id=f"v{number}", model="spam", experiment="e1", metric="clicks", at=NOW, entities=("anna",), values=(1.0,)
    )


APPEND_ONLY = {
    Decision: decision,
    Finding: finding,
    KeptPolicy: policy,
    MetricValues: values,
    Route: route,
    StageChange: move,
}


def add(store, *records):
    with store.begin() as transaction:
        for record in records:
            transaction.insert(record)


def get(store, kind, key):
    with store.read() as transaction:
        return transaction.get(kind, key)


def test_all_of_a_record_comes_back(store):
    given = version(
        1,
        metrics={"auc": 0.1 + 0.2},
        parameters={"depth": [1, None, {"ü\n": "\x00"}]},
        tags={"": "leer"},
    )
    add(store, given)
    assert get(store, Version, "spam:1") == given
    assert get(store, Version, "spam:2") is None
    assert get(store, Model, "spam:1") is None


def test_what_is_read_is_what_json_holds(store):
    add(store, decision(1, statistic=np.float64(0.5), inputs={"n": np.int64(3), "steps": (1, 2), "ok": np.bool_(True)}))
    found = get(store, Decision, "spam-1")
    assert found.statistic == 0.5
    assert found.inputs == {"n": 3, "steps": [1, 2], "ok": True}


@pytest.mark.parametrize("broken", [{"metrics": {"auc": float("nan")}}, {"parameters": {"a": object()}}])
def test_a_record_that_would_not_read_back_is_refused(store, broken):
    with pytest.raises(InvalidInput, match="spam:1"):
        add(store, model(), version(1, **broken))
    with store.read() as transaction:
        assert transaction.list(Version) == []
        assert transaction.list(Model) == []


def test_a_stored_record_does_not_change_with_what_the_caller_holds(store):
    inputs = {"a": 1}
    add(store, decision(1, inputs=inputs))
    inputs["a"] = 2
    assert get(store, Decision, "spam-1").inputs == {"a": 1}


def test_list_keeps_the_order_of_insertion_and_filters(store):
    add(
        store,
        *(decision(n, model=("b", "a")[n % 2], kind=("alert", "rollback", "gate")[n % 3]) for n in range(9, 0, -1)),
    )
    with store.read() as transaction:
        ids = [found.id for found in transaction.list(Decision)]
        assert ids == ["a-9", "b-8", "a-7", "b-6", "a-5", "b-4", "a-3", "b-2", "a-1"]
        assert [d.id for d in transaction.list(Decision, newest_first=True)] == ids[::-1]
        assert [d.id for d in transaction.list(Decision, model="b")] == ["b-8", "b-6", "b-4", "b-2"]
        assert [d.id for d in transaction.list(Decision, states=["alert", "gate"])] == [
            "a-9",
            "b-8",
            "b-6",
            "a-5",
            "a-3",
            "b-2",
        ]
        assert [d.id for d in transaction.list(Decision, model="a", states=["alert"], newest_first=True, limit=1)] == [
            "a-3"
        ]
        assert [d.id for d in transaction.list(Decision, limit=2)] == ["a-9", "b-8"]
        assert transaction.list(Decision, limit=0) == []
        assert transaction.list(Decision, model="c") == []
        assert transaction.list(Decision, states=["nope"]) == []


def test_replacing_keeps_the_place_in_the_order_and_moves_the_filter(store):
    add(store, version(1), version(2))
    with store.begin() as transaction:
        transaction.replace(version(1, Stage.TESTING))
    with store.read() as transaction:
        assert [v.number for v in transaction.list(Version)] == [1, 2]
        assert [v.number for v in transaction.list(Version, states=["testing"])] == [1]
        assert [v.number for v in transaction.list(Version, states=["draft"])] == [2]


def test_two_records_of_one_key_are_refused_and_the_first_stays(store):
    add(store, decision(1, kind="first"))
    with pytest.raises(Conflict, match="spam-1"):
        add(store, decision(1, kind="second"))
    assert get(store, Decision, "spam-1").kind == "first"


def test_a_refused_insert_leaves_the_transaction_usable(store):
    add(store, decision(1))
    with store.begin() as transaction:
        with pytest.raises(Conflict):
            transaction.insert(decision(1))
        transaction.insert(decision(2))
    assert get(store, Decision, "spam-2") is not None


def test_compare_and_swap(store):
    lease = Lease(name="loop", holder="a", until=NOW)
    add(store, lease)
    with store.begin() as transaction:
        second = transaction.replace(msgspec.structs.replace(lease, holder="b"))
        assert second.revision == lease.revision + 1
    with pytest.raises(StaleRevision), store.begin() as transaction:
        transaction.replace(msgspec.structs.replace(lease, holder="late"))
    assert get(store, Lease, "loop") == second
    with store.begin() as transaction:
        transaction.replace(msgspec.structs.replace(second, holder="c"))
    assert get(store, Lease, "loop").revision == 2


def test_what_is_not_there_can_not_be_replaced(store):
    with pytest.raises(StaleRevision), store.begin() as transaction:
        transaction.replace(Lease(name="loop", holder="a", until=NOW))
    assert get(store, Lease, "loop") is None


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_an_exception_undoes_all_of_a_transaction(store, raised):
    add(store, version(1), version(2))

    def attempt():
        with store.begin() as transaction:
            transaction.insert(decision(1))
            first = transaction.replace(version(1, Stage.TESTING))
            transaction.replace(msgspec.structs.replace(first, stage=Stage.STAGING))
            transaction.insert(version(3))
            assert len(transaction.list(Version)) == 3  # it reads its own writes
            raise raised

    with pytest.raises(raised):
        attempt()
    with store.read() as transaction:
        assert transaction.list(Decision) == []
        assert [(v.number, v.stage, v.revision) for v in transaction.list(Version)] == [
            (1, Stage.DRAFT, 0),
            (2, Stage.DRAFT, 0),
        ]


LIVE = [
    (version, Stage.PRODUCTION, Stage.ARCHIVED),
    *((run, state, RunState.FAILED) for state in RunState if not state.is_final),
    *((rollout, state, RolloutState.ABORTED) for state in RolloutState if state.is_under_way),
]


@pytest.mark.parametrize(("make", "live", "final"), LIVE)
def test_at_most_one_live_record_a_model(store, make, live, final):
    add(store, make(1, live), make(2, final), make(3, live, model="other"))
    with pytest.raises(Conflict):
        add(store, make(4, live))
    with pytest.raises(Conflict), store.begin() as transaction:
        transaction.replace(make(2, live))
    # Out with one and in with the other, in one transaction.
    with store.begin() as transaction:
        transaction.replace(make(1, final))
        transaction.replace(make(2, live))
    assert get(store, type(make(1)), make(2, live).key).revision == 1
    # The one live record itself may go on changing.
    with store.begin() as transaction:
        transaction.replace(msgspec.structs.replace(make(2, live), revision=1))


def test_two_different_live_states_exclude_each_other(store):
    add(store, rollout(1, RolloutState.PAUSED), run(1, RunState.EXTRACTING))
    with pytest.raises(Conflict):
        add(store, rollout(2, RolloutState.RUNNING))
    with pytest.raises(Conflict):
        add(store, run(2, RunState.REGISTERING))


def test_every_kind_that_is_not_mutable_is_tried_below():
    assert set(APPEND_ONLY) == {kind for kind in TABLES if not issubclass(kind, Mutable)}


@pytest.mark.parametrize("make", APPEND_ONLY.values(), ids=lambda make: make.__name__)
def test_append_only_kinds_can_not_be_replaced(store, make):
    add(store, make(1))
    with pytest.raises(Conflict, match="append-only"), store.begin() as transaction:
        transaction.replace(make(1))
    assert get(store, type(make(1)), make(1).key) == make(1)


def test_threads_lose_no_update(store):
    add(store, Progress(controller="c", model="spam", state={"n": 0}))
    failures = []

    def count():
        try:
            for _ in range(25):
                with store.begin() as transaction:
                    held = transaction.get(Progress, "c:spam")
                    transaction.replace(msgspec.structs.replace(held, state={"n": held.state["n"] + 1}))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert get(store, Progress, "c:spam").state == {"n": 100}


def test_count_is_what_a_list_would_hold(store):
    assert store_count(store, Decision) == 0
    add(store, decision(1), decision(2, model="other"), decision(3))
    assert store_count(store, Decision) == 3
    assert store_count(store, Decision, model="spam") == 2
    assert store_count(store, Decision, model="none") == 0
    assert store_count(store, Finding) == 0
    with store.begin() as transaction:
        transaction.insert(decision(4))
        assert transaction.count(Decision, model="spam") == 3


def store_count(store, kind, **which):
    with store.read() as transaction:
        return transaction.count(kind, **which)


def test_the_revision_changes_with_what_is_committed_and_only_then(store):
    first = store.revision()
    assert store.revision() == first
    with store.read() as transaction:
        transaction.list(Decision)
    with store.begin() as transaction:
        transaction.list(Decision)
    with pytest.raises(ValueError, match="undone"):
        insert_and_raise(store)
    assert store.revision() == first
    seen = [first]
    add(store, decision(1), decision(2))
    seen.append(store.revision())
    lease = Lease(name="loop", holder="a", until=NOW)
    add(store, lease)
    seen.append(store.revision())
    with store.begin() as transaction:
        transaction.replace(msgspec.structs.replace(lease, holder="b"))
        assert store.revision() == seen[-1]
    seen.append(store.revision())
    assert len(set(seen)) == len(seen)
    assert store.revision() == seen[-1]


def insert_and_raise(store):
    with store.begin() as transaction:
        transaction.insert(decision(9))
        raise ValueError("undone")


def test_the_revision_may_be_asked_by_many_threads(store):
    failures, seen = [], []

    def work(number):
        try:
            for turn in range(20):
                before = store.revision()
                add(store, decision(f"{number}-{turn}"))
                seen.append(store.revision() != before)
        except Exception as error:
            failures.append(error)

    in_threads(8, work)
    assert failures == []
    assert seen == [True] * 160


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_threads_read_while_others_write(store):
    failures = []

    def work(number):
        try:
            for turn in range(20):
                if number % 2:
                    add(store, decision(f"{number}-{turn}a"), decision(f"{number}-{turn}b"))
                else:
                    with store.read() as transaction:
                        # Both of a transaction or neither, and one state however often it is asked.
                        count = transaction.count(Decision)
                        assert count % 2 == 0
                        assert len(transaction.list(Decision)) == count
        except Exception as error:
            failures.append(error)

    in_threads(24, work)
    assert failures == []
    assert store_count(store, Decision) == 12 * 20 * 2


# SQLite: what the database itself keeps.
@pytest.mark.parametrize("kind", APPEND_ONLY, ids=lambda kind: kind.table)
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET body = x'00'", "DELETE FROM {}", "REPLACE INTO {} SELECT * FROM {}"]
)
def test_sqlite_refuses_to_change_what_is_append_only(sqlite_store, tmp_path, kind, statement):
    record = APPEND_ONLY[kind](1)
    add(sqlite_store, record)
    connection = sqlite3.connect(tmp_path / "control.db")
    connection.execute("PRAGMA recursive_triggers=ON")
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        connection.execute(statement.replace("{}", kind.table))
    connection.close()
    assert get(sqlite_store, kind, record.key) == record


@pytest.mark.parametrize(
    ("make", "live", "final"),
    [LIVE[0], (run, RunState.TRAINING, RunState.FAILED), (rollout, RolloutState.PAUSED, RolloutState.ABORTED)],
)
def test_sqlite_refuses_a_second_live_row(sqlite_store, tmp_path, make, live, final):
    add(sqlite_store, make(1, live), make(2, final))
    connection = sqlite3.connect(tmp_path / "control.db")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE {type(make(1)).table} SET state = ? WHERE state = ?", (live.value, final.value))  # noqa: S608
    connection.close()


def test_sqlite_store_objects_lose_no_update(tmp_path):
    path = tmp_path / "control.db"
    first = SqliteControlStore(path)
    add(first, Progress(controller="c", model="spam", state={"n": 0}))
    failures = []

    def count(number):
        try:
            store = SqliteControlStore(path)
            for turn in range(20):
                with store.begin() as transaction:
                    held = transaction.get(Progress, "c:spam")
                    transaction.replace(msgspec.structs.replace(held, state={"n": held.state["n"] + 1}))
                    transaction.insert(decision(f"{number}-{turn}"))
            store.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert get(first, Progress, "c:spam").state == {"n": 80}
    with first.read() as transaction:
        assert len(transaction.list(Decision)) == 80
    first.close()


OPEN_AND_ADD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from homeostat.records import Decision
from homeostat.stores.sqlite import SqliteControlStore
store = SqliteControlStore(Path(sys.argv[1]))
for turn in range(20):
    with store.begin() as transaction:
        count = len(transaction.list(Decision))
        transaction.insert(Decision(id=f"d{count}", model="spam", at=datetime.now(UTC), kind="k", actor="", reason=""))
"""


def test_sqlite_processes_open_and_write_one_file_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN_AND_ADD, str(tmp_path / "control.db")], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 3
    store = SqliteControlStore(tmp_path / "control.db")
    with store.read() as transaction:
        assert [found.id for found in transaction.list(Decision)] == [f"d{n}" for n in range(60)]
    store.close()


def test_sqlite_readers_see_one_snapshot_and_hold_nobody_up(tmp_path):
    path = tmp_path / "control.db"
    first, second = SqliteControlStore(path), SqliteControlStore(path)
    add(first, decision(1))
    with first.read() as reading:
        assert len(reading.list(Decision)) == 1
        add(second, decision(2))
        assert len(reading.list(Decision)) == 1
    with first.read() as reading:
        assert len(reading.list(Decision)) == 2
    first.close()
    second.close()


def test_sqlite_keeps_what_was_written_when_opened_again(tmp_path):
    path = tmp_path / "a folder" / "50% [x] ?#.db"
    store = SqliteControlStore(path)
    add(store, decision(1))
    store.close()
    assert path.exists()
    again = SqliteControlStore(path, durability="power")
    assert get(again, Decision, "spam-1") == decision(1)
    again.close()


def test_sqlite_refuses_a_newer_schema_and_leaves_it_alone(tmp_path):
    path = tmp_path / "control.db"
    SqliteControlStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageFailed, match="newer"):
        SqliteControlStore(path)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (99,)


@pytest.mark.parametrize("damage", ["no_database", "folder", "below_a_file"])
def test_sqlite_says_when_it_can_not_be_opened(tmp_path, damage):
    path = tmp_path / "control.db"
    if damage == "no_database":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"")
        path = path / "control.db"
    with pytest.raises(StorageFailed, match=r"control\.db"):
        SqliteControlStore(path)


def test_sqlite_says_when_its_file_breaks_under_it(tmp_path):
    store = SqliteControlStore(tmp_path / "control.db")
    add(store, decision(1))
    connection = sqlite3.connect(tmp_path / "control.db")
    connection.execute("DROP TABLE decision")
    connection.close()
    with pytest.raises(StorageFailed), store.read() as transaction:
        transaction.list(Decision)
    store.close()


def test_times_keep_their_microseconds(store):
    late = NOW + timedelta(microseconds=1)
    add(store, Lease(name="a", holder="", until=late))
    assert get(store, Lease, "a").until == late


ADD_ONE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from homeostat.records import Decision
from homeostat.stores.sqlite import SqliteControlStore
store = SqliteControlStore(Path(sys.argv[1]))
with store.begin() as transaction:
    transaction.insert(Decision(id="other", model="spam", at=datetime.now(UTC), kind="k", actor="", reason=""))
"""


def test_sqlite_revision_changes_with_what_other_processes_commit(sqlite_store, tmp_path):
    first = sqlite_store.revision()
    subprocess.run([sys.executable, "-c", ADD_ONE, str(tmp_path / "control.db")], check=True, timeout=240)
    second = sqlite_store.revision()
    assert second != first
    assert sqlite_store.revision() == second
    # Opening and reading alone is no change.
    other = SqliteControlStore(tmp_path / "control.db")
    assert get(other, Decision, "other") is not None
    other.close()
    assert sqlite_store.revision() == second


CREATE_AT_ONCE = """
import sys, time
from pathlib import Path
from homeostat.stores.sqlite import SqliteControlStore, SqlitePredictionLog
home = Path(sys.argv[1])
print("ready", flush=True)
start = float(sys.stdin.readline())
for turn in range(int(sys.argv[2])):
    while time.time() < start + turn * 0.05:
        pass
    store = SqliteControlStore(home / str(turn) / "control.db")
    log = SqlitePredictionLog(home / str(turn) / "log.db", home / str(turn) / "log")
    with store.begin():
        pass
    log.blocks_after("spam", 0)
    store.close()
    log.close()
"""


def test_sqlite_processes_create_one_home_at_the_same_instant(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE_AT_ONCE, str(tmp_path), "30"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        process.stdout.readline()
    start = time.time() + 0.1
    for process in processes:
        process.stdin.write(f"{start}\n".encode())
        process.stdin.flush()
    assert [(process.communicate(timeout=240)[1], process.returncode) for process in processes] == [(b"", 0)] * 3


def test_sqlite_makes_the_tables_that_a_newer_version_added(tmp_path):
    path = tmp_path / "control.db"
    store = SqliteControlStore(path)
    add(store, decision(1))
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE lease; DROP INDEX decision_in_order; PRAGMA user_version=1")
    connection.close()
    store = SqliteControlStore(path)
    add(store, Lease(name="loop", holder="a", until=NOW))
    assert get(store, Decision, "spam-1") == decision(1)
    store.close()
    connection = sqlite3.connect(path)
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT body FROM decision WHERE model = 'a' ORDER BY sequence DESC")
    steps = [row[-1] for row in plan]
    connection.close()
    assert len(steps) == 1, steps
    assert "decision_in_order" in steps[0]


def test_sqlite_waits_for_a_writer_in_another_process(sqlite_store, tmp_path):
    other = sqlite3.connect(tmp_path / "control.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    freed = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    freed.start()
    add(sqlite_store, decision(1))
    freed.join()
    other.close()
    assert get(sqlite_store, Decision, "spam-1") is not None


def test_a_closed_sqlite_store_opens_again_when_it_is_used(tmp_path):
    store = SqliteControlStore(tmp_path / "control.db")
    store.revision()
    store.close()
    store.close()
    before = store.revision()
    add(store, decision(1))
    assert store.revision() != before
    assert get(store, Decision, "spam-1") is not None
    store.close()
