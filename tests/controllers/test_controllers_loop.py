"""The loop: one of many replicas acts, and nothing that breaks in one place stops the rest."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.controllers.clock import SimulatedClock, SystemClock
from homeostat.controllers.loop import LEASE, MOST_ROUNDS, Loop
from homeostat.controllers.views import watched
from homeostat.errors import Conflict, HomeostatError, InvalidData, StorageFailed
from homeostat.frames import Columns
from homeostat.monitoring.checks import row_losses
from homeostat.records import (
    Alert,
    AlertState,
    Finding,
    Lease,
    Model,
    RolloutPolicy,
    RolloutState,
    Severity,
    Stage,
    Task,
    Verdict,
)
from homeostat.stats.sequential import LossDetector


class Counting:
    """A controller that counts its rounds, and changes something in the first few."""

    name = "counting"

    def __init__(self, changes: int = 0, error: Exception | None = None) -> None:
        self.rounds: list[tuple[str, datetime]] = []
        self._changes = changes
        self._error = error

    def reconcile(self, view, policy, now):
        self.rounds.append((view.model, now))
        if self._error is not None:
            raise self._error
        return len(self.rounds) <= self._changes


@pytest.fixture
def small(small_systems):
    made = small_systems.small_system()
    yield made
    made.system.close()


def loops(small, *controllers, holders=("one", "two")) -> list[Loop]:
    return [replace(small.system.loop, controllers=controllers, holder=holder) for holder in holders]


def test_one_of_two_replicas_acts_until_its_lease_runs_out(small):
    counting = Counting()
    one, two = loops(small, counting)
    now = small.clock.now()
    one.run_due(now)
    two.run_due(now)
    assert len(counting.rounds) == 1
    # It renews the lease whenever it acts.
    one.run_due(now + LEASE / 2)
    two.run_due(now + LEASE)
    assert len(counting.rounds) == 2
    two.run_due(now + LEASE * 3 / 2)
    assert len(counting.rounds) == 3
    one.run_due(now + LEASE * 2)
    assert len(counting.rounds) == 3


def test_a_lease_that_is_given_back_passes_on_at_once(small):
    counting = Counting()
    one, two = loops(small, counting)
    now = small.clock.now()
    one.run_due(now)
    two.release()
    two.run_due(now)
    assert len(counting.rounds) == 1
    one.release()
    two.run_due(now)
    assert len(counting.rounds) == 2


def test_leases_are_by_model(small, small_systems):
    counting = Counting()
    one, two = loops(small, counting)
    now = small.clock.now()
    one.run_model(small_systems.MODEL, now)
    with small.system.store.read() as transaction:
        (lease,) = transaction.list(Lease)
    assert (lease.holder, lease.until) == ("one", now + LEASE)
    assert two.run_model(small_systems.MODEL, now) == 0
    assert len(counting.rounds) == 1


def test_rounds_go_on_until_nothing_changes(small):
    now = small.clock.now()
    for changes, rounds in ((0, 1), (1, 2), (3, 4), (10 * MOST_ROUNDS, MOST_ROUNDS)):
        counting, other = Counting(changes), Counting()
        (loop,) = loops(small, counting, other, holders=("one",))
        assert loop.run_due(now) == rounds - (rounds < MOST_ROUNDS)
        assert len(counting.rounds) == len(other.rounds) == rounds


@pytest.mark.parametrize("error", [StorageFailed("the disk is full"), InvalidData("a bad column")])
def test_a_controller_that_fails_is_a_finding_and_the_others_go_on(small, small_systems, error, caplog):
    failing, other = Counting(error=error), Counting()
    (loop,) = loops(small, failing, other, holders=("one",))
    now = small.clock.now()
    with caplog.at_level(logging.CRITICAL):
        loop.run_due(now)
        loop.run_due(now)
    assert len(other.rounds) == 2
    (found,) = small.system.records(Finding, small_systems.MODEL)
    assert (found.check, found.verdict) == ("controller counting", Verdict.ERROR)
    assert found.message == f"The counting controller failed: {error.message}"
    assert found.evidence == {"code": error.code}


def test_a_conflict_is_no_finding(small, small_systems):
    failing, other = Counting(error=Conflict("somebody was first")), Counting()
    (loop,) = loops(small, failing, other, holders=("one",))
    loop.run_due(small.clock.now())
    assert len(other.rounds) == 1
    assert small.system.records(Finding, small_systems.MODEL) == []


def test_whatever_a_controller_raises_is_a_finding(small, small_systems):
    failing, other = Counting(error=ZeroDivisionError("a bug")), Counting()
    (loop,) = loops(small, failing, other, holders=("one",))
    loop.run_due(small.clock.now())
    assert len(other.rounds) == 1
    assert [found.check for found in small.system.records(Finding, small_systems.MODEL)] == ["controller counting"]


def test_one_model_that_can_not_be_read_stops_no_other(small, small_systems):
    other = Model(name="other", task=Task.BINARY, target="y", created_at=small.clock.now())
    with small.system.store.begin() as transaction:
        transaction.insert(other)
    counting = Counting()
    whole = small.system.loop.view

    def view(model):
        if model == small_systems.MODEL:
            raise StorageFailed("its log can't be read")
        return whole(model)

    loop = replace(small.system.loop, controllers=(counting,), view=view)
    loop.run_due(small.clock.now())
    assert [model for model, _ in counting.rounds] == ["other"]


def test_of_several_models_the_most_critical_may_be_taken_back_first_and_before_anything_slow(small, small_systems):
    at, kinds = small.clock.now(), {"dull": 0, "worse": 0, "vital": 5}
    with small.system.store.begin() as transaction:
        for name in kinds:
            transaction.insert(Model(name=name, task=Task.BINARY, target="y", created_at=at))
        for name, severity in (("dull", Severity.MEDIUM), ("worse", Severity.CRITICAL)):
            transaction.insert(
                Alert(
                    id=f"{name}-alert-1",
                    model=name,
                    subject="drift",
                    state=AlertState.OPEN,
                    severity=severity,
                    message="moved",
                    opened_at=at,
                    last_seen_at=at,
                )
            )
    urgent, slow = Counting(), Counting()
    urgent.is_urgent = True
    seen = urgent.rounds = slow.rounds = []
    calm = small_systems.quiet_policy()

    def policy(model):
        rules = msgspec.structs.replace(calm.rollout, criticality=kinds.get(model, 0))
        return msgspec.structs.replace(calm, rollout=rules)

    replace(small.system.loop, controllers=(slow, urgent), policy=policy).run_due(at)
    order = ["vital", "worse", "dull", small_systems.MODEL]
    assert [model for model, _ in seen[:4]] == order
    # Then everybody's turn, in the same order: each of the two controllers once.
    assert [model for model, _ in seen[4:]] == [model for model in order for _ in range(2)]


def looks(small, small_systems) -> int:
    found = small.system.records(Finding, small_systems.MODEL)
    return len({finding.at for finding in found if finding.check == "service"})


def test_looks_are_taken_when_they_are_due(small, small_systems):
    every = small.system.policy(small_systems.MODEL).drift.every_seconds
    now = small.clock.now()
    for seconds, expected in ((0, 1), (1, 1), (every - 1, 1), (every, 2), (every + 1, 2), (9 * every, 3)):
        small.system.loop.run_due(now + timedelta(seconds=seconds))
        assert looks(small, small_systems) == expected, seconds


def test_a_clock_that_is_set_back_does_not_silence_monitoring(small, small_systems):
    every = small.system.policy(small_systems.MODEL).drift.every_seconds
    now = small.clock.now()
    small.system.loop.run_due(now)
    back = now - timedelta(days=30)
    small.system.loop.run_due(back)
    assert looks(small, small_systems) == 2
    small.system.loop.run_due(back + timedelta(seconds=every))
    small.system.loop.run_due(back + timedelta(seconds=2 * every))
    assert looks(small, small_systems) == 4


def test_a_new_version_in_production_is_looked_at_at_once(small, small_systems):
    small.system.tick()
    small.register(small_systems.fitted())
    small.system.registry.install(small_systems.MODEL, 2, at=small.clock.now(), actor="test", reason="another")
    small.system.tick()
    versions = {finding.version for finding in small.system.records(Finding, small_systems.MODEL)}
    assert versions == {1, 2}


def test_nothing_in_production_is_nothing_to_do(small_systems, small):
    with small.system.store.begin() as transaction:
        transaction.insert(Model(name="empty", task=Task.REGRESSION, target="y", created_at=small.clock.now()))
    small.system.tick()
    assert small.system.records(Finding, "empty") == []


def test_a_restart_in_the_middle_of_a_rollout_carries_on(small_systems):
    policy = small_systems.quiet_policy(
        rollout=RolloutPolicy(steps=("shadow for 60 pairs", "100%", "bake for 10 pairs"))
    )
    small = small_systems.small_system(policy)
    version = small.register(small_systems.fitted())
    small.system.rollouts.start(small_systems.MODEL, version.number, policy, at=small.clock.now(), reason="new")
    small.drive(1)
    # All caches are lost; the records and the log are what is left.
    small.system.views.clear()
    small.drive(3)
    assert small.rollout().state is RolloutState.COMPLETED
    assert small.stages()[version.number] is Stage.PRODUCTION


def test_the_detector_that_is_carried_along_is_the_one_over_all_labels(small, small_systems):
    system, model = small.system, small_systems.MODEL
    version = system.registry.version(model, 1)
    policy = system.policy(model)
    for rows in (1, 30, 7, 50):
        small.send(rows)
        seen = watched(system.view(model), version, policy)
        mine = seen.labelled
        losses = row_losses(version.signature.task, mine.label, mine.output, mine.score, mine.value, version.metrics)
        whole = LossDetector(system.view(model).detectors[1].baseline)
        whole.update(losses)
        assert seen.decay == pytest.approx(whole.log_statistic)
        assert len(losses) == small.sent


def test_rows_that_production_fails_on_are_counted(small, small_systems):
    small.send(50)
    held = small.system.gateway.refresh(small_systems.MODEL, now=small.clock.now())

    class Broken:
        def predict(self, columns):
            raise ArithmeticError("no")

    object.__setattr__(held.arms[0], "predictor", Broken())
    for _ in range(20):
        with pytest.raises(HomeostatError):
            small.system.predict(small_systems.MODEL, Columns({"x": np.array([0.5])}))
    small.system.tick()
    (service,) = [one for one in small.system.records(Finding, small_systems.MODEL) if one.check == "service"]
    assert service.verdict is Verdict.HARMED


def test_the_clocks():
    start = datetime(2025, 1, 1, tzinfo=UTC)
    clock = SimulatedClock(start)
    clock.advance_to(start + timedelta(days=1))
    clock.advance_to(start)
    assert clock.now() == start + timedelta(days=1)
    assert SystemClock().now().tzinfo is UTC
