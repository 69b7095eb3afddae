"""A look at a version: every check runs, whatever the data are like, and each leaves one finding."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.frames import Columns, Kind
from homeostat.monitoring import service
from homeostat.monitoring.profiles import WindowProfile
from homeostat.monitoring.service import Labelled, Monitoring, Watched
from homeostat.records import (
    CLASSIC,
    Feature,
    Finding,
    Lineage,
    Manifest,
    PerformancePolicy,
    Policy,
    ServingForm,
    Severity,
    Signature,
    Stage,
    Task,
    Verdict,
    Version,
    as_datetime64,
)
from homeostat.stats.profile import Profile
from homeostat.stores.memory import MemoryControlStore

NOW = datetime(2025, 4, 1, tzinfo=UTC)
CHECKS = {"drift", "prediction", "service", "decay", *(f"performance {name}" for name, _ in service.WINDOWS)}
EMPTY = np.array([], dtype=np.int64)


def version(task: Task = Task.BINARY, metrics: dict[str, float] | None = None) -> Version:
    classes = {Task.BINARY: ("no", "yes"), Task.MULTICLASS: ("a", "b", "c")}.get(task, ())
    return Version(
        model="m",
        number=3,
        stage=Stage.PRODUCTION,
        created_at=NOW,
        signature=Signature(
            task=task,
            features=(Feature(name="x", kind=Kind.NUMERIC),),
            target="y",
            classes=classes,
            positive="yes" if task is Task.BINARY else None,
        ),
        manifest=Manifest(files=()),
        serving=ServingForm(format="none", reason="none", rows_checked=0, largest_difference=0.0),
        lineage=Lineage(data_sha256="", rows=0),
        metrics=metrics or {"accuracy": 0.95, "mae": 1.0, "rmse": 1.3, "evaluation_rows": 500.0},
    )


def labelled(rows: int, *, wrong: float = 0.05, task: Task = Task.BINARY, age: timedelta = timedelta(0)) -> Labelled:
    rng = np.random.default_rng(1)
    classes = version(task).signature.classes
    label = rng.integers(0, max(len(classes), 1), rows)
    missed = rng.random(rows) < wrong
    output = np.where(missed, (label + 1) % max(len(classes), 1), label)
    score = rng.random(rows)
    moment = as_datetime64(NOW - age).astype(np.int64)
    return Labelled(label, output, score, score + missed * 2.0, np.full(rows, moment), classes)


def window(reference: Profile, columns: Columns, scores: np.ndarray | None = None) -> WindowProfile:
    scores = np.linspace(0, 1, columns.rows) if scores is None else scores
    return WindowProfile(Profile.of(columns, like=reference), scores, 0, 1)


def watched(task: Task = Task.BINARY, **changes: object) -> Watched:
    rng = np.random.default_rng(2)
    reference = Profile.of({"x": rng.normal(size=2000)})
    usual = Watched(
        version=version(task),
        reference_profile=reference,
        reference_scores=np.linspace(0, 1, 400),
        importances={"x": 1.0},
        window=window(reference, Columns({"x": rng.normal(size=500)})),
        labelled=labelled(400, task=task),
        latencies=np.full(500, 2.0),
        failures=0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def look(seen: Watched, policy: Policy | None = None) -> dict[str, Finding]:
    return {
        finding.check: finding for finding in Monitoring(MemoryControlStore()).look(seen, policy or Policy(), now=NOW)
    }


@pytest.mark.parametrize("preset", [Policy(), CLASSIC])
@pytest.mark.parametrize("task", list(Task))
def test_a_healthy_look(task, preset):
    found = look(watched(task), preset)
    floor = {"accuracy floor"} if preset is CLASSIC and task.is_classification else set()
    assert set(found) == CHECKS | floor
    wrong = {name: one.message for name, one in found.items() if one.verdict is not Verdict.HEALTHY}
    assert wrong == {}
    assert all(one.severity is Severity.NONE and one.version == 3 for one in found.values())


def test_a_look_without_anything_is_no_data_everywhere():
    seen = watched(window=None, labelled=labelled(0), latencies=np.array([]))
    found = look(seen, msgspec.structs.replace(Policy(), performance=PerformancePolicy(accuracy_floor=0.9)))
    assert {one.verdict for one in found.values()} == {Verdict.NO_DATA}


def test_harm_is_found_by_each_check():
    reference = watched().reference_profile
    moved = window(reference, Columns({"x": np.full(500, 40.0)}), np.full(500, 0.99))
    seen = watched(window=moved, labelled=labelled(400, wrong=0.6), failures=100)
    found = look(seen, CLASSIC)
    assert {one.verdict for one in found.values()} == {Verdict.HARMED}
    assert found["drift"].evidence["drifted"] == ["x"]
    assert datetime.fromisoformat(found["decay"].evidence["since_time"]) == NOW


def test_windows_hold_what_is_not_too_old():
    found = look(watched(labelled=labelled(400, age=timedelta(days=3))))
    verdicts = {name: found[f"performance {name}"].verdict for name, _ in service.WINDOWS}
    assert verdicts == {"daily": Verdict.NO_DATA, "7 days": Verdict.HEALTHY, "30 days": Verdict.HEALTHY}
    assert [found[f"performance {name}"].window.rows for name, _ in service.WINDOWS] == [0, 400, 400]


@pytest.mark.parametrize("preset", [Policy(), CLASSIC])
@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (np.full(500, 7.0), np.full(500, 7.0)),
        (np.full(500, 7.0), np.linspace(0, 9, 500)),
        (np.linspace(0, 9, 500), np.full(500, 7.0)),
        (np.linspace(0, 9, 500), np.full(500, np.nan)),
        (np.full(500, np.nan), np.linspace(0, 9, 500)),
        (np.full(500, np.nan), np.full(500, np.nan)),
        (np.linspace(0, 9, 500), np.full(500, np.inf)),
        (np.linspace(0, 9, 500), np.array([-np.inf, np.inf, np.nan, 1.0] * 125)),
        (np.full(500, -np.inf), np.linspace(0, 9, 500)),
        (np.linspace(0, 9, 500), np.array([1.7e308, -1.7e308] * 250)),
        (np.linspace(0, 9, 500), np.array([])),
        (np.array([]), np.linspace(0, 9, 500)),
        (np.linspace(0, 9, 500), np.array([3.0])),
    ],
)
def test_no_column_breaks_a_look(task, preset, reference, current):
    profile = Profile.of({"x": reference})
    odd = window(profile, Columns({"x": current}))
    seen = watched(task, reference_profile=profile, window=odd)
    with np.errstate(all="raise", under="ignore"):
        found = look(seen, preset)
    assert {name: one.message for name, one in found.items() if one.verdict is Verdict.ERROR} == {}
    few = min(len(reference), len(current)) < 100
    assert (found["drift"].verdict in (Verdict.NO_DATA, Verdict.INSUFFICIENT)) == few


@pytest.mark.parametrize("scores", [np.array([]), np.full(300, 0.5), np.full(300, np.nan), np.array([0.1])])
def test_no_scores_break_a_look(scores):
    reference = watched().reference_profile
    seen = watched(window=window(reference, Columns({"x": np.linspace(-2, 2, 300)}), scores))
    for references in (np.array([]), np.full(400, 0.5), np.linspace(0, 1, 400)):
        assert look(replace(seen, reference_scores=references))["prediction"].verdict is not Verdict.ERROR


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, ZeroDivisionError, AttributeError, RuntimeError])
@pytest.mark.parametrize("broken", ["_drift", "_predictions", "check_service", "_metrics", "_decay"])
def test_a_check_that_breaks_is_a_finding_and_the_others_run(monkeypatch, broken, error):
    def raises(*_: object, **__: object) -> None:
        raise error("as it happens")

    monkeypatch.setattr(service, broken, raises)
    found = look(watched())
    assert set(found) == CHECKS
    failed = {name for name, one in found.items() if one.verdict is Verdict.ERROR}
    expected = {
        "_drift": {"drift"},
        "_predictions": {"prediction"},
        "check_service": {"service"},
        "_metrics": {name for name in CHECKS if name.startswith("performance")},
        "_decay": {"decay"},
    }[broken]
    assert failed == expected
    for name in expected:
        assert error.__name__ in found[name].message
        assert found[name].severity is Severity.HIGH


def test_findings_are_written_once_for_a_moment():
    store = MemoryControlStore()
    monitoring = Monitoring(store)
    for _ in range(2):
        monitoring.look(watched(), Policy(), now=NOW)
    monitoring.look(watched(), Policy(), now=NOW + timedelta(minutes=5))
    with store.read() as transaction:
        assert len(transaction.list(Finding, model="m")) == 2 * len(CHECKS)
