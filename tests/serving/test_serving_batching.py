"""Rows of many callers are scored in groups, in order, and each fails or is answered by itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import HomeostatError, InvalidFeatures, NotServing, Unanswerable
from homeostat.frames import Kind
from homeostat.records import Feature, Signature, Task
from homeostat.serving.batching import MOST_ROWS, Batcher, Waiting
from homeostat.serving.decoding import Row, RowDecoder, columns_of_rows
from homeostat.serving.gateway import Predictions
from homeostat.serving.rows import columns_of_instances
from homeostat.serving.shadows import ShadowQueue

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SIGNATURE = Signature(
    task=Task.REGRESSION,
    features=(
        Feature(name="x", kind=Kind.NUMERIC, nullable=False),
        Feature(name="odd: name", kind=Kind.NUMERIC),
        Feature(name="flag", kind=Kind.BOOLEAN),
        Feature(name="c", kind=Kind.CATEGORICAL),
    ),
    target="y",
)


@dataclass(frozen=True)
class Held:
    """As much of a snapshot as a batcher looks at."""

    arms: tuple[Any, ...]


@dataclass(frozen=True)
class Version:
    signature: Signature


@dataclass(frozen=True)
class Loaded:
    version: Version


NUMBERS = Signature(task=Task.REGRESSION, features=(Feature(name="x", kind=Kind.NUMERIC),), target="y")
SNAPSHOT: Any = Held((Loaded(Version(NUMBERS)),))


class Doubling:
    """A gateway that doubles x, and has no answer for negative ones."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.open = threading.Event()

    def predict_each(self, _model: str, columns: Any, **more: Any) -> tuple[Predictions, dict[int, HomeostatError]]:
        self.open.wait(120)
        self.groups.append(columns.rows)
        x = columns["x"]
        if (x == 1e6).any():
            raise RuntimeError("broken")
        if (x == 1e7).any():
            raise InvalidFeatures("It should have been refused before.")
        errors: dict[int, HomeostatError] = {place: Unanswerable("No.") for place in np.flatnonzero(x < 0).tolist()}
        kept = x >= 0
        ids = np.array([id_ or "made" for id_ in more["ids"]], dtype=object)[kept]
        return Predictions(ids, ids, 2 * x[kept], np.ones(int(kept.sum()), np.int64), ids, 1), errors


class Callers:
    def __init__(self) -> None:
        self.gateway = Doubling()
        self.done: list[Waiting] = []
        self.changed = threading.Condition()
        self.batcher = Batcher(self.gateway, clock=lambda: NOW, deliver=self.deliver)  # type: ignore[arg-type]

    def deliver(self, group: list[Waiting]) -> None:
        with self.changed:
            self.done += group
            self.changed.notify_all()

    def submit(self, *values: float, ids: Any = None, snapshot: Any = SNAPSHOT) -> None:
        rows = [Row((value,), None if ids is None else ids[place], None) for place, value in enumerate(values)]
        self.batcher.submit([Waiting("m", snapshot, row, row.values[0]) for row in rows])

    def wait(self, count: int) -> list[Waiting]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.done) >= count, 10)
        return self.done


def answer_of(one: Waiting) -> float:
    assert one.answer is not None
    return float(one.answer.score[one.place])


def test_what_comes_while_a_group_is_scored_is_the_next_group():
    callers = Callers()
    callers.submit(1.0)
    for value in range(2, 30):
        callers.submit(float(value))
    callers.gateway.open.set()
    done = callers.wait(29)
    assert [one.caller for one in done] == [float(value) for value in range(1, 30)]
    assert [answer_of(one) for one in done] == [2.0 * value for value in range(1, 30)]
    assert sum(callers.gateway.groups) == 29
    assert len(callers.gateway.groups) <= 3
    callers.batcher.close()


def test_a_group_has_one_snapshot_and_a_bound():
    callers = Callers()
    other: Any = Held((Loaded(Version(NUMBERS)), None))
    callers.submit(*np.arange(5.0))
    callers.submit(*np.arange(5.0), snapshot=other)
    callers.submit(*np.arange(float(3 * MOST_ROWS)))
    callers.gateway.open.set()
    callers.wait(10 + 3 * MOST_ROWS)
    assert max(callers.gateway.groups) <= MOST_ROWS
    assert callers.gateway.groups[:2] == [5, 5]
    callers.batcher.close()


def test_a_row_without_an_answer_fails_alone_and_a_broken_group_fails_whole():
    callers = Callers()
    callers.gateway.open.set()
    callers.submit(1.0, -1.0, 3.0)
    done = callers.wait(3)
    assert [None if one.error else answer_of(one) for one in done] == [2.0, None, 6.0]
    assert isinstance(done[1].error, Unanswerable)
    callers.submit(1e6)
    assert isinstance(callers.wait(4)[3].error, RuntimeError)
    callers.submit(4.0)
    assert answer_of(callers.wait(5)[4]) == 8.0
    callers.batcher.close()


def test_a_row_that_was_not_checked_before_harms_nobody_else():
    callers = Callers()
    callers.submit(1.0, 2.0, 1e7, 4.0, 5.0)
    callers.gateway.open.set()
    done = callers.wait(5)
    assert [type(one.error) for one in done] == [type(None), type(None), InvalidFeatures, type(None), type(None)]
    assert [answer_of(one) for one in done if one.error is None] == [2.0, 4.0, 8.0, 10.0]
    callers.batcher.close()


def test_callers_with_one_id_are_answered_one_after_the_other():
    callers = Callers()
    callers.submit(1.0, 2.0, 3.0, 4.0, ids=["a", "b", "a", None])
    callers.gateway.open.set()
    assert [answer_of(one) for one in callers.wait(4)] == [2.0, 4.0, 6.0, 8.0]
    assert callers.gateway.groups == [2, 2]
    callers.batcher.close()


def test_closing_answers_what_waits_and_takes_nothing_more():
    callers = Callers()
    callers.submit(*np.arange(50.0))
    callers.gateway.open.set()
    callers.batcher.close()
    assert len(callers.done) == 50
    with pytest.raises(NotServing):
        callers.submit(1.0)


LISTS = st.lists(st.integers(), max_size=2)
NUMBERS_OF_JSON = st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats())
VALUES = st.one_of(st.none(), NUMBERS_OF_JSON, st.text(max_size=5), LISTS)


@given(st.fixed_dictionaries(dict.fromkeys(("x", "odd: name", "flag", "c"), VALUES)))
def test_what_is_decoded_at_once_is_what_a_closer_look_finds(features: dict[str, Any]):
    import json

    content = json.dumps({"features": features, "entity": "a:b"}).encode()
    row = RowDecoder(SIGNATURE).decode(content)
    try:
        careful = columns_of_instances([features], SIGNATURE)
    except InvalidFeatures:
        assert row is None
        return
    if row is None:
        # It may always decline; it must not where nothing is strange.
        assert features["x"] is None or not np.isfinite(careful["x"][0]) or "\\u003" in content.decode()
        return
    assert row.entity == "a:b"
    found = columns_of_rows([row.values], SIGNATURE)
    for name in SIGNATURE.kinds:
        np.testing.assert_array_equal(found[name], careful[name])


def test_shadows_wait_in_order_and_too_many_are_left_out_and_counted():
    left_out: list[int] = []
    queue = ShadowQueue(left_out.append, most_rows=10)
    begun, gate, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        gate.wait(120)

    queue.put(5, first)
    begun.wait(120)
    queue.put(4, lambda: done.append("a"))
    queue.put(4, lambda: done.append("too many"))
    queue.put(1, lambda: done.append("b"))
    gate.set()
    queue.close()
    queue.put(1, lambda: done.append("closed"))
    assert done == ["a", "b"]
    assert left_out == [4, 1]


def test_a_shadow_that_breaks_is_counted_and_does_not_stop_the_next(caplog: pytest.LogCaptureFixture):
    left_out: list[int] = []
    done: list[str] = []
    queue = ShadowQueue(left_out.append)
    queue.put(2, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    queue.put(1, lambda: done.append("after"))
    queue.close()
    assert (left_out, done) == ([2], ["after"])
    assert "Shadows of 2 rows broke" in caplog.text
