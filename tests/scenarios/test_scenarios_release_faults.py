"""A release in bad weather: the control store lost for a minute, and a clock that jumps, end as they would have."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from homeostat.errors import StorageFailed
from homeostat.frames import Columns
from homeostat.records import (
    Arm,
    ExperimentDraft,
    ExperimentMetric,
    ExperimentState,
    MetricRole,
    RolloutPolicy,
    RolloutState,
    Route,
)
from homeostat.stores.sqlite import control, database

pytestmark = pytest.mark.slow
STEPS = ("shadow for 10 pairs", "canary 10% for 10 rows", "ab 50% for 10 rows", "100%", "bake for 10 pairs")
WHO = {"actor": "ann", "reason": "to know"}
Weather = Callable[[Any, int], bool]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a minute for a lock here."""
    monkeypatch.setattr(control, "BUSY_SECONDS", 0.2)
    monkeypatch.setitem(database.Database.__init__.__kwdefaults__, "busy_seconds", 0.2)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Somebody else holds the control store's only write lock."""
    other = sqlite3.connect(folder / "control.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def lost_for_a_minute(small: Any, round_: int) -> bool:
    """In rounds 2 to 4, of 20 seconds each, nothing can be written; each look fails loudly and changes nothing."""
    if round_ not in (2, 3, 4):
        return False
    with locked(small.system.settings.home):
        # Whoever asks meanwhile is answered.
        small.system.predict("mail", Columns({"x": np.array([0.5])}), ids=[f"meanwhile-{round_}"])
        with pytest.raises(StorageFailed):
            small.system.tick()
    return True


def jumping(days: float) -> Weather:
    """In round 3 the clock is off by days for one look, and is right again at the next."""

    def weather(small: Any, round_: int) -> bool:
        if round_ != 3:
            return False
        right = small.clock.now()
        small.clock._now = right + timedelta(days=days)
        small.system.tick()
        small.clock._now = right
        return False

    return weather


def fine(small: Any, round_: int) -> bool:
    return False


def experiment_through(small_systems: Any, home: Path, weather: Weather) -> dict[str, Any]:
    """What is left of an experiment whose new arm is always wrong."""
    small = small_systems.small_system(small_systems.quiet_policy(), home=home)
    try:
        bad = small.register(small_systems.fitted(flipped=True))
        draft = ExperimentDraft(
            model=small_systems.MODEL,
            name="try",
            arms=(Arm(name="control", version=1, weight=0.5), Arm(name="new", version=bad.number, weight=0.5)),
            metrics=(ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),),
            observation_seconds=0.0,
            label_seconds=30.0,
            minimum_units=20,
        )
        orders = small.system.control
        one = orders.create_experiment(draft, **WHO)
        orders.start_experiment(one.id, **WHO)
        for round_ in range(8):
            x = np.linspace(0.1, 1, 60) * np.where(np.arange(60) % 2, 1, -1)
            ids = [f"{round_}-{place}" for place in range(60)]
            small.system.predict(small_systems.MODEL, Columns({"x": x}), ids=ids)
            small.wait(20)
            small.system.label(small_systems.MODEL, ids, small_systems.truth(x).tolist())
            if not weather(small, round_):
                small.system.tick()
        ended = orders.experiment(one.id)
        return {
            "ended": (ended.state, ended.verdict),
            "decisions": [each.kind for each in orders.decisions(small_systems.MODEL) if "experiment" in each.kind],
            "routes": [each.experiments for each in small.system.records(Route, small_systems.MODEL)],
        }
    finally:
        small.system.close()


def rollout_through(small_systems: Any, home: Path, weather: Weather) -> dict[str, Any]:
    """What is left of a rollout of a version that is as good."""
    policy = small_systems.quiet_policy(rollout=RolloutPolicy(steps=STEPS))
    small = small_systems.small_system(policy, home=home)
    try:
        good = small.register(small_systems.fitted())
        small.system.rollouts.start(small_systems.MODEL, good.number, policy, at=small.clock.now(), reason="new")
        for round_ in range(14):
            small.send(60, seconds=20)
            if not weather(small, round_):
                small.system.tick()
        return {
            "ended": [(one.state, one.step) for one in small.system.rollouts.list(small_systems.MODEL)],
            "stages": small.stages(),
            # Alerts are about windows of time, in which the weather left other rows.
            "decisions": [
                one.kind for one in small.system.control.decisions(small_systems.MODEL) if one.kind != "alert"
            ],
            "routes": [(one.arms, one.shadows) for one in small.system.records(Route, small_systems.MODEL)],
        }
    finally:
        small.system.close()


def test_an_experiment_outlives_a_minute_without_its_store(small_systems: Any, tmp_path: Path) -> None:
    calm = experiment_through(small_systems, tmp_path / "calm", fine)
    assert calm["ended"][0] is ExperimentState.DECIDED
    assert experiment_through(small_systems, tmp_path / "lost", lost_for_a_minute) == calm


def test_a_rollout_outlives_a_minute_without_its_store(small_systems: Any, tmp_path: Path) -> None:
    calm = rollout_through(small_systems, tmp_path / "calm", fine)
    assert calm["ended"][0][0] is RolloutState.COMPLETED
    assert rollout_through(small_systems, tmp_path / "lost", lost_for_a_minute) == calm


@pytest.mark.parametrize("days", [-3.0, 3.0])
def test_a_clock_that_is_off_by_days_for_a_look(small_systems: Any, tmp_path: Path, days: float) -> None:
    weather = jumping(days)
    calm = experiment_through(small_systems, tmp_path / "calm", fine)
    assert experiment_through(small_systems, tmp_path / "off", weather) == calm
    calm = rollout_through(small_systems, tmp_path / "calm rollout", fine)
    assert rollout_through(small_systems, tmp_path / "off rollout", weather) == calm
