"""The controllers die right after each of their writes: the next pass goes on, and nothing happens twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from homeostat.frames import Columns
from homeostat.records import Arm, ExperimentDraft, ExperimentMetric, MetricRole, Route

WHO = {"actor": "ann", "reason": "to know"}


class Killed(BaseException):
    """What nothing catches."""


class Spy:
    """A transaction that says whether it wrote anything."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction
        self.wrote = False

    def insert(self, record: Any) -> None:
        self.wrote = True
        self._transaction.insert(record)

    def replace(self, record: Any) -> Any:
        self.wrote = True
        return self._transaction.replace(record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)


@contextmanager
def killed_after(store: Any, write: int) -> Iterator[list[int]]:
    """Die right after a write was committed; 0 never dies. Yields how many writes there were."""
    count = [0]
    original = type(store).begin

    @contextmanager
    def begin(self: Any) -> Iterator[Any]:
        with original(self) as transaction:
            spy = Spy(transaction)
            yield spy
        if spy.wrote:
            count[0] += 1
            if count[0] == write:
                raise Killed

    store.begin = begin.__get__(store)
    try:
        yield count
    finally:
        del store.begin


def live_through(small_systems: Any, write: int, home: Path | None = None) -> tuple[Any, int]:
    """An experiment that is scheduled, shadows, runs and loses; what is left of it, and how many writes it took."""
    small = small_systems.small_system(small_systems.quiet_policy(), home=home)
    model, control = small_systems.MODEL, small.system.control
    try:
        bad = small.register(small_systems.fitted(flipped=True))
        arms = (Arm(name="control", version=1, weight=0.5), Arm(name="new", version=bad.number, weight=0.5))
        draft = ExperimentDraft(
            model=model,
            name="try",
            arms=arms,
            metrics=(ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),),
            observation_seconds=0.0,
            label_seconds=30.0,
            minimum_units=20,
            shadow_rows=20,
        )
        one = control.create_experiment(draft, **WHO)
        control.schedule_experiment(one.id, small.clock.now() + timedelta(seconds=5), **WHO)
        with killed_after(small.system.store, write) as count:
            for round_ in range(6):
                x = np.linspace(0.1, 1, 100) * np.where(np.arange(100) % 2, 1, -1)
                ids = [f"{round_}-{place}" for place in range(100)]
                small.system.predict(model, Columns({"x": x}), ids=ids)
                small.wait(20)
                small.system.label(model, ids, small_systems.truth(x).tolist())
                try:
                    small.system.tick()
                except Killed:
                    # Another process takes over in the same moment.
                    small.system.views.clear()
                    small.system.tick()
        ended = control.experiment(one.id)
        kinds = [decision.kind for decision in control.decisions(model) if "experiment" in decision.kind]
        routes = [(route.arms, route.shadows, route.experiments) for route in small.system.records(Route, model)]
        return (ended.state, ended.verdict, ended.evidence["units"], kinds, routes), count[0]
    finally:
        small.system.close()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True], ids=["memory", "sqlite"])
def test_the_end_is_that_of_a_run_that_nobody_killed(small_systems: Any, tmp_path: Path, *, kept: bool) -> None:
    def lived(write: int) -> tuple[Any, int]:
        return live_through(small_systems, write, tmp_path / str(write) if kept else None)

    unkilled, writes = lived(0)
    assert unkilled[3] == [
        "experiment",
        *(f"experiment {one}" for one in ("scheduled", "started", "exposed", "decided")),
    ]
    assert writes >= 5
    for write in range(1, writes + 1):
        assert lived(write)[0] == unkilled, write
