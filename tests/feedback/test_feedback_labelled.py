"""Rows joined with their labels in columns agree with the join row by row."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from homeostat.feedback.joined import JoinedLog
from homeostat.feedback.labelled import BYTES_AT_ONCE, LABEL, LABEL_TIME, labelled_rows
from homeostat.frames import Columns
from homeostat.records import LabelBlock, PredictionBlock, Task, as_datetime64
from homeostat.records.ids import texts_of
from homeostat.stores.memory import MemoryPredictionLog
from homeostat.stores.sqlite import SqlitePredictionLog

AT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    if request.param == "memory":
        made = MemoryPredictionLog()
    else:
        made = SqlitePredictionLog(tmp_path / "log.db", tmp_path / "log")
    yield made
    made.close()


def texts(values):
    return np.array([*values, None], dtype=object)[:-1]


def block(ids, at, features):
    rows = len(ids)
    return PredictionBlock(
        model="spam",
        shadow=False,
        ids=texts(ids),
        event_time=np.full(rows, as_datetime64(at)),
        version=np.full(rows, 1),
        arm=np.full(rows, "control", dtype=object),
        entity=texts(ids),
        output=np.full(rows, "yes", dtype=object),
        score=np.linspace(0, 1, rows),
        latency_ms=np.ones(rows),
        error=np.full(rows, None, dtype=object),
        features=Columns(features),
    )


def labels(ids, values, at):
    return LabelBlock("spam", texts(ids), texts(values), np.full(len(ids), as_datetime64(at)))


@pytest.mark.parametrize("at_once", [1, BYTES_AT_ONCE])
def test_it_agrees_with_the_join_row_by_row(log, at_once, monkeypatch):
    monkeypatch.setattr("homeostat.feedback.labelled.BYTES_AT_ONCE", at_once)
    rng = np.random.default_rng(7)
    uuids = texts_of(rng.bytes(16 * 300))
    names = [*uuids[:200], *(f"own-{number}" for number in range(100)), *uuids[200:]]
    # Labels come before their prediction, after it, twice, in one block and in several, and for nothing.
    log.append_labels(labels(["own-3", uuids[0], "never"], ["early", "early", "x"], AT))
    for number, start in enumerate(range(0, len(names), 40)):
        some = names[start : start + 40]
        log.append([block(some, AT + timedelta(hours=number % 5), {"x": rng.normal(size=len(some))})])
        chosen = rng.choice(names[: start + 40], 15)
        log.append_labels(labels([*chosen, chosen[0]], [f"l{number}"] * 15 + ["again"], AT + timedelta(minutes=number)))
        log.seal(AT + timedelta(hours=number % 5))
    joined = JoinedLog(log, "spam", Task.MULTICLASS)
    joined.follow()
    rows = joined.rows()
    expected = {
        id_: (rows.classes[label], moment)
        for id_, label, moment in zip(joined.ids(), rows.label, rows.label_time, strict=True)
        if label >= 0
    }
    for until in (None, AT + timedelta(minutes=4)):
        found = {}
        for table in labelled_rows(log, "spam", ["prediction_id", "feature.x"], labelled_until=until):
            assert table.column_names == ["prediction_id", "feature.x", LABEL, LABEL_TIME]
            times = table.column(LABEL_TIME).to_numpy().astype("M8[us]").astype(np.int64)
            for id_, label, moment in zip(
                table.column("prediction_id").to_pylist(), table.column(LABEL).to_pylist(), times, strict=True
            ):
                name = texts_of(id_)[0] if isinstance(id_, bytes) else id_
                assert name not in found
                found[name] = (label, moment)
        last = None if until is None else as_datetime64(until).astype(np.int64)
        assert found == {id_: one for id_, one in expected.items() if last is None or one[1] <= last}
    assert len(expected) > 100


def test_without_labels_there_is_nothing(log):
    log.append([block(["a"], AT, {"x": np.zeros(1)})])
    assert list(labelled_rows(log, "spam", ["feature.x"])) == []
