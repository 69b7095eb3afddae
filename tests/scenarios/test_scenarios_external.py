"""A model that is served elsewhere is watched and alerted on like any other, and never routed or retrained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.controllers.clock import SimulatedClock
from homeostat.errors import Conflict, ModelExists, NotServing, ServedElsewhere, UnknownVersion
from homeostat.frames import Columns
from homeostat.ports import Registration
from homeostat.records import (
    AlertState,
    Decision,
    Finding,
    PastPredictions,
    Rollout,
    Route,
    Run,
    Stage,
    Task,
    Verdict,
    as_datetime64,
)
from homeostat.settings import load
from homeostat.wiring import open_system

START = datetime(2025, 3, 1, tzinfo=UTC)
MODEL = "credit"


def rows(count: int, seed: int, *, shift: float = 0.0, wrong: float = 0.1) -> pd.DataFrame:
    """Rows that a server elsewhere answered; `wrong` is the share of answers that the truth contradicts."""
    rng = np.random.default_rng(seed)
    income = rng.normal(shift, 1, count)
    score = 1 / (1 + np.exp(-2 * income))
    predicted = np.where(score >= 0.5, "paid", "default")
    other = np.where(predicted == "paid", "default", "paid")
    return pd.DataFrame(
        {
            "prediction_id": [f"s{seed}-{number}" for number in range(count)],
            "income": income,
            "region": rng.choice(["north", "south"], count),
            "prediction": predicted,
            "score": 1 - score,
            "outcome": np.where(rng.random(count) < wrong, other, predicted),
        }
    )


def past(frame: pd.DataFrame, at: datetime, version: int | None = None) -> PastPredictions:
    count = len(frame)
    columns = {"income": frame["income"].to_numpy(), "region": frame["region"].to_numpy(dtype=object)}
    return PastPredictions(
        ids=frame["prediction_id"].tolist(),
        columns=Columns(columns),
        answers=frame["prediction"].tolist(),
        scores=frame["score"].tolist(),
        times=np.full(count, as_datetime64(at)),
        entities=[None] * count,
        latencies_ms=[12.5] * count,
        version=version,
    )


class World:
    """A system on a clock that is moved, and a reference of the version that is served elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.clock = SimulatedClock(START)
        self.folder = folder
        self.system = open_system(load(environment={}, overrides={"home": str(folder / "state")}), clock=self.clock)
        self.control = self.system.control

    def register(self, seed: int = 1, *, model: str = MODEL, **more: Any) -> Any:
        path = self.folder / f"reference-{seed}.parquet"
        rows(3000 if more.get("is_external", True) else 300, seed).to_parquet(path)
        given = {"target": "outcome", "positive": "default", "is_external": True} | more
        return self.control.register(model, Registration(training=path, **given), actor="anna", reason="it lives there")

    def move(self, hours: float) -> None:
        self.clock.advance_to(self.clock.now() + timedelta(hours=hours))
        self.system.tick()

    def promote(self, model: str, number: int) -> None:
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            self.control.move(model, number, stage, actor="anna", reason="it is live there")

    def newest(self, check: str) -> Finding:
        return [one for one in self.system.records(Finding, MODEL) if one.check == check][-1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.system.close()


def test_drift_and_decay_of_a_model_served_elsewhere_are_found_and_nothing_is_routed(world: World) -> None:
    version = world.register()
    assert (version.serving.format, version.stage, version.signature.task) == ("external", Stage.DRAFT, Task.BINARY)
    assert list(version.signature.kinds) == ["income", "region"]
    assert (version.signature.classes, version.signature.positive) == (("default", "paid"), "default")
    assert version.metrics["accuracy"] == pytest.approx(0.9, abs=0.03)
    with pytest.raises(NotServing):
        world.control.log_predictions(MODEL, past(rows(5, 2), START))
    world.promote(MODEL, 1)

    # A label that comes first joins its prediction.
    fresh = rows(2000, 10)
    early = world.control.label(MODEL, ["s10-0"], [fresh["outcome"][0]])
    assert early.unmatched == 1
    kept = world.control.log_predictions(MODEL, past(fresh, world.clock.now()))
    assert (kept.version, kept.accepted, kept.duplicates) == (1, 2000, 0)
    again = world.control.log_predictions(MODEL, past(fresh, world.clock.now()))
    assert (again.accepted, again.duplicates) == (0, 2000)
    assert world.control.label(MODEL, fresh["prediction_id"].tolist(), fresh["outcome"].tolist()).unmatched == 0
    world.move(1)
    (status,) = world.control.status()
    assert (status.production, status.route, status.rows, status.labelled) == (1, None, 2000, 2000)
    for check in ("drift", "prediction", "performance daily", "service"):
        assert world.newest(check).verdict in (Verdict.HEALTHY, Verdict.INSUFFICIENT), world.newest(check)
    assert world.newest("performance daily").verdict is Verdict.HEALTHY
    assert status.open_alerts == []

    # What it is asked changes, and later its answers turn out to be wrong.
    for seed in range(20, 24):
        moved = rows(2000, seed, shift=1.5, wrong=0.6)
        world.control.log_predictions(MODEL, past(moved, world.clock.now()))
        world.move(2)
        world.control.label(MODEL, moved["prediction_id"].tolist(), moved["outcome"].tolist())
        world.move(2)
    assert world.newest("drift").verdict is Verdict.HARMED
    assert world.newest("drift").evidence["drifted"] == ["income"]
    assert world.newest("performance daily").verdict is Verdict.HARMED
    subjects = {alert.subject for alert in world.control.alerts(MODEL) if alert.state is AlertState.OPEN}
    assert {"drift", "performance"} & subjects
    # Long after every policy of our own models would have acted.
    for _ in range(5):
        world.move(24 * 40)
    for kind in (Run, Rollout, Route):
        assert world.system.records(kind, MODEL) == []
    assert not {"retraining", "rollout", "rollback"} & {one.kind for one in world.system.records(Decision, MODEL)}
    assert not [one for one in world.system.records(Finding, MODEL) if one.verdict is Verdict.ERROR]


def test_nothing_of_it_can_be_predicted_retrained_or_routed(world: World) -> None:
    world.register()
    world.register(2)
    world.promote(MODEL, 1)
    world.control.move(MODEL, 2, Stage.STAGING, actor="anna", reason="ready")
    rows_to_score = {"income": [0.5], "region": ["north"]}
    for order in (
        lambda: world.system.predict(MODEL, rows_to_score),
        lambda: world.system.gateway.snapshot(MODEL, 1, now=START),
        lambda: world.control.retrain(MODEL, actor="anna", reason="try"),
        lambda: world.control.start_rollout(MODEL, 2, actor="anna", reason="try"),
        lambda: world.control.roll_back(MODEL, to=2, actor="anna", reason="try"),
    ):
        with pytest.raises(ServedElsewhere):
            order()
    # Which version is in production there is said here; going back to one is said in the same way.
    for number in (2, 1, 1):
        moved = world.control.move(MODEL, number, Stage.PRODUCTION, actor="anna", reason="so it is there")
        assert (moved.version.stage, moved.rollout) == (Stage.PRODUCTION, None)
        stages = {one.number: one.stage for one in world.control.versions(MODEL)}
        assert stages == {number: Stage.PRODUCTION, 3 - number: Stage.ARCHIVED}
    assert world.control.verify(MODEL).broken == {}
    assert world.control.log_predictions(MODEL, past(rows(5, 7), START, 2)).version == 2
    with pytest.raises(UnknownVersion):
        world.control.log_predictions(MODEL, past(rows(5, 8), START, 9))
    assert world.system.records(Route, MODEL) == []


def test_a_model_is_served_in_one_place(world: World) -> None:
    world.register()
    with pytest.raises(ModelExists, match="served elsewhere"):
        world.register(3, is_external=False, positive=None)
    world.register(4, model="own", is_external=False, positive=None)
    with pytest.raises(ModelExists, match="by Homeostat"):
        world.register(5, model="own")
    world.promote("own", 1)
    with pytest.raises(Conflict, match="logs its predictions itself"):
        world.control.log_predictions("own", past(rows(5, 8), START))


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.MULTICLASS, Task.BINARY])
def test_references_of_every_task_with_and_without_targets(world: World, task: Task) -> None:
    frame = rows(400, 6).drop(columns=["outcome", "score", "prediction"])
    rng = np.random.default_rng(2)
    if task is Task.REGRESSION:
        frame["prediction"] = frame["income"] * 2
        frame["worth"] = frame["prediction"] + rng.normal(size=400)
    else:
        classes = ["a", "b", "c"] if task is Task.MULTICLASS else ["yes", "no"]
        frame["prediction"] = rng.choice(classes, 400)
        frame["worth"] = np.where(rng.random(400) < 0.8, frame["prediction"], classes[0])
    path = world.folder / "other.csv"
    frame.to_csv(path, index=False)
    for model, target in (("with", "worth"), ("without", "")):
        given = path
        if not target:
            given = world.folder / "bare.csv"
            frame.drop(columns="worth").to_csv(given, index=False)
        registration = Registration(training=given, target=target, is_external=True)
        version = world.control.register(model, registration, actor="anna", reason="test")
        assert version.signature.task is task
        assert list(version.signature.kinds) == ["income", "region"]
        assert bool(version.metrics) == bool(target)
        world.promote(model, 1)
        block = past(frame.assign(score=0.5), START)
        if task is Task.REGRESSION:
            block.scores[:] = [None] * 400
        world.control.log_predictions(model, block)
        truth = frame["worth"].tolist()
        world.control.label(model, block.ids, truth)
        world.system.tick()
        findings = world.system.records(Finding, model)
        assert not [one for one in findings if one.verdict is Verdict.ERROR], findings
        assert any(one.check == "performance daily" and one.evidence["metrics"] for one in findings)
