"""Whole runs: whatever a trainer does, production stays, and what is better is rolled out."""

from __future__ import annotations

import logging
import sys

import msgspec
import numpy as np
import pytest

from homeostat.errors import Conflict, InvalidTrainer
from homeostat.frames import Columns
from homeostat.records import (
    DataPolicy,
    Finding,
    RolloutState,
    Run,
    RunState,
    Stage,
    StepKind,
    TrainingPolicy,
    Trigger,
    TriggerKind,
    Verdict,
)

TRAINERS = '''
import numpy as np
from sklearn.tree import DecisionTreeClassifier

calls = []


def good(frame, target):
    calls.append(len(frame))
    return DecisionTreeClassifier(random_state=0).fit(frame, target)


def raises(frame, target):
    calls.append(len(frame))
    raise ZeroDivisionError("as it happens")


def raises_key_error(frame, target):
    return frame["no such column"]


def nonsense(frame, target):
    return 42


def nothing(frame, target):
    return None


class Odd:
    classes_ = np.array(["ham", "spam"])

    def __init__(self, value, width=2):
        self.value, self.width = value, width

    def predict(self, frame):
        return np.array(["ham"] * len(frame))

    def predict_proba(self, frame):
        return np.full((len(frame), self.width), self.value)


def gives_nan(frame, target):
    return Odd(np.nan)


def gives_infinity(frame, target):
    return Odd(np.inf)


def gives_three_columns(frame, target):
    return Odd(0.3, width=3)


class Raising(Odd):
    def predict_proba(self, frame):
        raise RuntimeError("at prediction")


def gives_one_that_raises(frame, target):
    return Raising(0.5)


def gives_what_can_not_be_served(frame, target):
    model = Odd(0.5)
    model.predict_proba = lambda frame: np.column_stack([frame["x"] <= 0, frame["x"] > 0]).astype(float)
    return model


def good_only_in_part(frame, target):
    """The model that is compared is fine, the one that ships is not."""
    calls.append(len(frame))
    model = DecisionTreeClassifier(random_state=0).fit(frame, target)
    return model if len(calls) % 2 else Odd(np.nan)


not_callable = 3
'''


@pytest.fixture
def trainers(tmp_path, monkeypatch):
    (tmp_path / "own_trainers.py").write_text(TRAINERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_trainers", raising=False)
    yield
    sys.modules.pop("own_trainers", None)


def policy_with(small_systems, trainer: str = "", *, attempts: int = 1, **parts):
    training = TrainingPolicy(
        trainer=trainer and f"own_trainers:{trainer}", attempts=attempts, algorithms=("extra_trees",)
    )
    return small_systems.quiet_policy(training=training, **parts)


def bad_production(small_systems, policy):
    """Version 1 is right, then version 2 takes its place and is always wrong; 240 rows are served and labelled."""
    small = small_systems.small_system(policy)
    small.register(small_systems.fitted(flipped=True))
    small.system.registry.install(small_systems.MODEL, 2, at=small.clock.now(), actor="test", reason="a bad one")
    for _ in range(8):
        small.send(30)
    return small


def retrain(small, small_systems) -> Run:
    run = small.system.control.retrain(small_systems.MODEL, actor="ann", reason="by hand")
    small.system.tick()
    return small.system.control.run(small_systems.MODEL, run.id)


def untouched(small, small_systems) -> bool:
    """Version 2 serves alone, and no rollout was begun."""
    served = small.served_by() == {2} and small.stages()[2] is Stage.PRODUCTION
    return served and small.system.rollouts.list(small_systems.MODEL) == []


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ("raises", "ZeroDivisionError: as it happens"),
        ("raises_key_error", "KeyError"),
        ("nonsense", "no predict"),
        ("nothing", "no predict"),
        ("gives_nan", "not finite"),
        ("gives_infinity", "not finite"),
        ("gives_three_columns", "shape"),
        ("gives_one_that_raises", "RuntimeError"),
        ("gives_what_can_not_be_served", "served"),
        ("good_only_in_part", ""),
    ],
)
def test_a_trainer_that_breaks_fails_its_run_and_production_stays(small_systems, trainers, trainer, words):
    small = bad_production(small_systems, policy_with(small_systems, trainer))
    run = retrain(small, small_systems)
    assert run.state is RunState.FAILED
    assert words in run.outcome
    assert run.version is None
    assert untouched(small, small_systems)
    decision = small.decisions("failed")[-1]
    assert decision.inputs["run"] == run.id
    assert decision.reason == run.outcome
    assert len(small.system.registry.versions(small_systems.MODEL)) == 2
    # And the loop goes on.
    small.drive(2)
    assert untouched(small, small_systems)


@pytest.mark.parametrize("trainer", ["no_such_function", "not_callable"])
def test_a_trainer_that_can_not_be_imported(small_systems, trainers, trainer):
    small = bad_production(small_systems, policy_with(small_systems, trainer))
    with pytest.raises(InvalidTrainer):
        retrain(small, small_systems)
    assert small.system.records(Run, small_systems.MODEL) == []
    assert untouched(small, small_systems)


def test_a_trainer_that_vanishes_while_a_run_is_under_way(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "good"))
    trigger = Trigger(kind=TriggerKind.MANUAL, reason="by hand", evidence={"labelled": 240})
    policy = small.system.policy(small_systems.MODEL)
    run = small.system.retraining.start(small_systems.MODEL, trigger, 2, policy, at=small.clock.now(), seed=0)
    small_systems.with_policy(small, policy_with(small_systems, "no_such_function"))
    small.system.tick()
    (ended,) = small.system.records(Run, small_systems.MODEL)
    assert (ended.id, ended.state) == (run.id, RunState.FAILED)
    assert untouched(small, small_systems)


@pytest.mark.parametrize("trainer", ["good", ""])
def test_a_better_candidate_is_registered_and_rolled_out(small_systems, trainers, trainer):
    small = bad_production(small_systems, policy_with(small_systems, trainer))
    run = retrain(small, small_systems)
    assert (run.state, run.version) == (RunState.SUCCEEDED, 3)
    version = small.system.registry.version(small_systems.MODEL, 3)
    assert (version.lineage.run, version.lineage.parent, version.stage) == (run.id, 2, Stage.STAGING)
    assert version.metrics["accuracy"] > 0.9
    gate = small.decisions("candidate")[-1]
    assert gate.inputs["gate"]["wins"] > gate.inputs["gate"]["losses"]
    assert small.rollout().run == run.id
    small.drive(9, seconds=1300)
    assert small.rollout().state is RolloutState.COMPLETED
    assert small.served_by() == {3}


def test_no_better_is_rejected(small_systems, trainers):
    small = small_systems.small_system(policy_with(small_systems, "good"))
    for _ in range(8):
        small.send(30)
    run = retrain(small, small_systems)
    assert run.state is RunState.REJECTED
    assert "not better enough" in run.outcome
    assert small.served_by() == {1}
    assert small.system.rollouts.list(small_systems.MODEL) == []


def test_data_that_do_not_pass_reject_the_run(small_systems, trainers):
    policy = policy_with(small_systems, "good", data=DataPolicy(minimum_rows=100_000))
    small = bad_production(small_systems, policy)
    run = retrain(small, small_systems)
    assert run.state is RunState.REJECTED
    assert "100,000 are needed" in run.outcome
    assert untouched(small, small_systems)


def test_a_run_that_breaks_is_tried_again_after_its_rest(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "raises", attempts=2))
    run = retrain(small, small_systems)
    assert (run.state.is_final, run.attempts) == (False, 1)
    calls = sys.modules["own_trainers"].calls
    assert len(calls) == 1
    small.wait(299)
    small.system.tick()
    assert len(calls) == 1
    with pytest.raises(Conflict):
        retrain(small, small_systems)
    small.wait(2)
    small.system.tick()
    assert len(calls) == 2
    (ended,) = small.system.records(Run, small_systems.MODEL)
    assert (ended.state, ended.attempts) == (RunState.FAILED, 2)
    assert untouched(small, small_systems)


def test_a_second_try_that_works(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "raises", attempts=2))
    retrain(small, small_systems)
    small_systems.with_policy(small, policy_with(small_systems, "good", attempts=2))
    small.wait(400)
    small.system.tick()
    (ended,) = small.system.records(Run, small_systems.MODEL)
    assert ended.state is RunState.SUCCEEDED
    assert small.rollout().current.kind is StepKind.SHADOW


def test_a_run_that_was_killed_anywhere_ends_as_it_would_have(small_systems, trainers):
    ends = []
    for killed_in in (None, RunState.TRAINING, RunState.GATING, RunState.REGISTERING):
        small = bad_production(small_systems, policy_with(small_systems, "good"))
        trigger = Trigger(kind=TriggerKind.MANUAL, reason="by hand", evidence={"labelled": 240})
        policy = small.system.policy(small_systems.MODEL)
        small.system.retraining.start(small_systems.MODEL, trigger, 2, policy, at=small.clock.now(), seed=0)
        if killed_in is not None:
            # As it was left by a process that died in that state.
            with small.system.store.begin() as transaction:
                (held,) = transaction.list(Run, model=small_systems.MODEL)
                transaction.replace(msgspec.structs.replace(held, state=killed_in))
        small.system.tick()
        (run,) = small.system.records(Run, small_systems.MODEL)
        ends.append((run.state, run.version, run.outcome, len(small.system.registry.versions(small_systems.MODEL))))
    assert ends == [ends[0]] * 4
    assert ends[0][0] is RunState.SUCCEEDED


def test_only_labels_that_had_come_are_learned_from(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "good"))
    retrain(small, small_systems)
    # 200 rows of history came with version 1; 240 were served and labelled.
    assert sys.modules["own_trainers"].calls[-1] == 440
    fresh = bad_production(small_systems, policy_with(small_systems, "good"))
    fresh.send(50, label=False)
    retrain(fresh, small_systems)
    assert sys.modules["own_trainers"].calls[-1] == 440


def test_infinite_values_among_the_evaluation_rows(small_systems, trainers):
    import pandas as pd
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    small = small_systems.small_system(policy_with(small_systems, "good"))
    x = np.linspace(-1, 1, 80)
    model = make_pipeline(SimpleImputer(), KNeighborsClassifier(3))
    small.register(model.fit(pd.DataFrame({"x": x}), small_systems.truth(-x)))
    small.system.registry.install(small_systems.MODEL, 2, at=small.clock.now(), actor="test", reason="a bad one")
    for _ in range(8):
        values = small.rng.uniform(-1, 1, 30)
        values[3] = np.inf
        small.send(x=values)
    assert retrain(small, small_systems).state is RunState.SUCCEEDED


def test_whatever_breaks_in_a_run_ends_in_the_run(small_systems, trainers, monkeypatch):
    small = bad_production(small_systems, policy_with(small_systems, "good"))

    def broken(*_, **__):
        raise ValueError("as it happens")

    monkeypatch.setattr(small.system.retraining._source, "extract", broken)
    assert retrain(small, small_systems).state is RunState.FAILED


def test_a_run_that_another_replica_finished_stays_finished(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "good"))
    trigger = Trigger(kind=TriggerKind.MANUAL, reason="by hand", evidence={"labelled": 240})
    policy = small.system.policy(small_systems.MODEL)
    run = small.system.retraining.start(small_systems.MODEL, trigger, 2, policy, at=small.clock.now(), seed=0)
    finished = small.system.retraining.advance(run, policy, now=small.clock.now())
    assert finished.state is RunState.SUCCEEDED
    # A replica whose lease ran out while it trained comes second.
    stale = msgspec.structs.replace(run, state=RunState.TRAINING)
    with pytest.raises(Conflict):
        small.system.retraining.advance(stale, policy, now=small.clock.now())
    (held,) = small.system.records(Run, small_systems.MODEL)
    assert held.state is RunState.SUCCEEDED


def test_a_run_by_the_policy_with_a_trainer_that_can_not_be_imported_is_a_finding(small_systems, trainers, caplog):
    policy = policy_with(small_systems, "no_such_function")
    triggers = msgspec.structs.replace(policy.triggers, label_count=100)
    small = bad_production(small_systems, msgspec.structs.replace(policy, triggers=triggers))
    with caplog.at_level(logging.CRITICAL, logger="homeostat.controllers"):
        small.system.tick()
    errors = [found for found in small.system.records(Finding, small_systems.MODEL) if found.verdict is Verdict.ERROR]
    assert [found.check for found in errors] == ["controller heal"]
    assert "own_trainers" in errors[0].message
    assert untouched(small, small_systems)


def test_rows_of_no_feature_are_not_lost(small_systems, trainers):
    small = bad_production(small_systems, policy_with(small_systems, "good"))
    small.system.predict(small_systems.MODEL, Columns({"x": np.array([np.nan])}), ids=["gap"])
    small.system.label(small_systems.MODEL, ["gap"], ["spam"])
    retrain(small, small_systems)
    assert sys.modules["own_trainers"].calls[-1] == 441
