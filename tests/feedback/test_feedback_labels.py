"""Labels that come early, late, twice or wrong, and the table that joins them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import InvalidLabel
from homeostat.feedback.joined import JoinedLog
from homeostat.feedback.labels import accept_labels
from homeostat.frames import Columns
from homeostat.records import PredictionBlock, Task
from homeostat.stores.memory import MemoryPredictionLog

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def block(ids, *, shadow=False, version=1, output="1", error=None):
    rows = len(ids)
    return PredictionBlock(
        model="m",
        shadow=shadow,
        ids=np.array(ids, dtype=object),
        event_time=np.arange(rows).astype("M8[us]"),
        version=np.full(rows, version),
        arm=np.full(rows, "control", dtype=object),
        entity=np.array(ids, dtype=object),
        output=np.full(rows, output, dtype=object),
        score=np.full(rows, np.nan if error else version / 10),
        latency_ms=np.ones(rows),
        error=np.full(rows, error, dtype=object),
        features=Columns({}, rows),
    )


def take(log, ids, values, task=Task.BINARY, **more):
    return accept_labels(log, "m", task, ids, values, now=NOW, **more)


def table(joined):
    """What the table says, without the codes that classes happen to have."""
    rows = joined.rows()

    def name(code):
        return rows.classes[code] if code >= 0 else None

    beside = {
        version: [(name(code), score) for code, score in zip(codes, np.nan_to_num(scores, nan=-1), strict=True)]
        for version, (codes, scores) in rows.beside.items()
    }
    return (
        joined.ids(),
        [name(code) for code in rows.output],
        [name(code) for code in rows.label],
        rows.version.tolist(),
        rows.label_time.tolist(),
        sorted(rows.by_label.tolist()),
        beside,
        joined.unmatched,
        joined.duplicates,
        {version: joined.failures(version) for version in range(5)},
    )


@pytest.fixture
def log():
    return MemoryPredictionLog()


def test_labels_before_with_and_after_their_prediction(log):
    joined = JoinedLog(log, "m", Task.BINARY)
    take(log, ["early", "never"], ["0", "0"])
    joined.follow()
    assert (joined.rows().count, joined.unmatched) == (0, 2)
    log.append([block(["early", "late", "open"])])
    joined.follow()
    take(log, ["late"], ["1"])
    joined.follow()
    rows = joined.rows()
    assert [rows.classes[code] if code >= 0 else None for code in rows.label] == ["0", "1", None]
    assert rows.labelled.tolist() == [True, True, False]
    assert rows.by_label.tolist() == [0, 1]
    assert (joined.unmatched, joined.duplicates) == (1, 0)


@pytest.mark.parametrize("early", [True, False])
def test_the_latest_label_wins_and_the_others_are_counted(log, early):
    joined = JoinedLog(log, "m", Task.BINARY)
    if not early:
        log.append([block(["a", "b"])])
    for ids, values in ((["a"], ["0"]), (["b"], ["1"]), (["a", "a"], ["1", "2"])):
        take(log, ids, values)
        joined.follow()
    if early:
        log.append([block(["a", "b"])])
        joined.follow()
    rows = joined.rows()
    assert [rows.classes[code] for code in rows.label] == ["2", "1"]
    assert joined.duplicates == 2
    assert rows.by_label.tolist() == [0, 1]


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), pd.NA, pd.NaT, ""])
def test_a_label_without_a_value_is_refused_and_nothing_is_kept(log, value):
    with pytest.raises(InvalidLabel):
        take(log, ["a", "b"], ["1", value])
    assert log.labels_after("m", 0) == []


@pytest.mark.parametrize("id_", [None, "", float("nan")])
def test_a_label_without_an_id_is_refused(log, id_):
    with pytest.raises(InvalidLabel):
        take(log, ["a", id_], ["1", "1"])


@pytest.mark.parametrize("value", ["much", "inf", "1e400", True, "1,5"])
def test_a_label_of_a_regression_is_a_finite_number(log, value):
    with pytest.raises(InvalidLabel):
        take(log, ["a"], [value], Task.REGRESSION)
    assert log.labels_after("m", 0) == []


@pytest.mark.parametrize(
    "times", [np.array(["2025-01-01"], dtype="M8[us]"), np.array(["2025-01-01", "NaT"], dtype="M8[us]")]
)
def test_labels_with_too_few_times_are_refused(log, times):
    with pytest.raises(InvalidLabel):
        take(log, ["a", "b"], ["1", "1"], event_time=times)
    assert log.labels_after("m", 0) == []


def test_as_many_values_as_ids(log):
    with pytest.raises(InvalidLabel, match="2 ids and 1"):
        take(log, ["a", "b"], ["1"])
    assert take(log, [], []) == 0


def test_numbers_and_truths_are_the_text_that_models_give(log):
    log.append([block(["1", "2", "3", "4"])])
    assert take(log, [1, np.int64(2), 3.0, "4"], [1.0, np.int64(1), True, "x"]) == 4
    joined = JoinedLog(log, "m", Task.BINARY)
    joined.follow()
    rows = joined.rows()
    assert [rows.classes[code] for code in rows.label] == ["1", "1", "true", "x"]


def test_regression_labels_are_values(log):
    log.append([block(["a", "b"])])
    take(log, ["b", "b"], ["1.5", -2], Task.REGRESSION)
    joined = JoinedLog(log, "m", Task.REGRESSION)
    joined.follow()
    rows = joined.rows()
    assert rows.labelled.tolist() == [False, True]
    np.testing.assert_array_equal(rows.value, [np.nan, -2.0])


def test_shadow_rows_stand_beside_the_row_that_was_served(log):
    log.append(
        [
            block(["a", "b"]),
            block(["b", "ghost"], shadow=True, version=2, output="0"),
            block(["a"], shadow=True, version=2, error="scoring_failed"),
        ]
    )
    joined = JoinedLog(log, "m", Task.BINARY)
    joined.follow()
    rows = joined.rows()
    code, score = rows.outputs_of(2)
    assert code.tolist() == [-1, rows.classes.index("0")]
    np.testing.assert_array_equal(score, [np.nan, 0.2])
    assert (joined.failures(2), joined.failures(1)) == (1, 0)
    own, _ = rows.outputs_of(1)
    assert own.tolist() == [rows.classes.index("1")] * 2


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("serve"), st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), st.integers(1, 2)
        ),
        st.tuples(st.just("shadow"), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(3, 4)),
        st.tuples(st.just("label"), st.lists(st.integers(0, 14), min_size=1, max_size=4), st.integers(0, 2)),
        st.just(("follow",)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_following_gives_the_table_that_reading_anew_gives(events):
    log = MemoryPredictionLog()
    joined = JoinedLog(log, "m", Task.BINARY)
    known = set()
    for kind, *given_ in events:
        if kind == "follow":
            joined.follow()
            continue
        ids, number = [f"id{n}" for n in given_[0]], given_[1]
        if kind == "serve":
            log.append([block(ids, version=number, output=str(number))])
            known |= set(ids)
        elif kind == "shadow":
            # The gateway writes a shadow row with or after the row that it belongs to.
            if ids := [id_ for id_ in ids if id_ in known]:
                log.append(
                    [block(ids, shadow=True, version=number, output=str(number), error="e" if len(ids) == 2 else None)]
                )
        else:
            take(log, ids, [str(number)] * len(ids))
    joined.follow()
    anew = JoinedLog(log, "m", Task.BINARY)
    anew.follow()
    assert table(joined) == table(anew)
    rows = joined.rows()
    assert sorted(rows.by_label.tolist()) == np.flatnonzero(rows.labelled).tolist()
