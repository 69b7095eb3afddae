"""The whole loop on a simulated clock: a model that the world left behind is healed, and a good one is left alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from homeostat.records import (
    AlertState,
    Policy,
    RolloutPolicy,
    RolloutState,
    Run,
    RunState,
    TrainingPolicy,
    TriggerKind,
    TriggerPolicy,
)


@pytest.fixture
def policy(small_systems) -> Policy:
    quiet = small_systems.quiet_policy()
    return msgspec.structs.replace(
        quiet,
        triggers=TriggerPolicy(),
        training=TrainingPolicy(algorithms=("extra_trees",)),
        rollout=RolloutPolicy(),
    )


def test_a_change_is_found_learned_and_rolled_out(small_systems, policy, monkeypatch):
    told = []
    small = small_systems.small_system(policy, on_alert=told.append)
    small.drive(10)
    assert small.system.records(Run, small_systems.MODEL) == []
    before = small_systems.truth
    # From now on everything means the contrary.
    monkeypatch.setattr(small_systems, "truth", lambda x: before(-x))
    small.drive(60, seconds=600)
    monkeypatch.undo()
    runs = small.system.records(Run, small_systems.MODEL)
    assert runs[0].trigger.kind is TriggerKind.PERFORMANCE
    assert RunState.SUCCEEDED in [run.state for run in runs]
    promoted = [one for one in small.system.rollouts.list(small_systems.MODEL) if one.promoted_at is not None]
    assert promoted[-1].state is RolloutState.COMPLETED
    answers = small.send(x=np.array([-0.5, 0.5]), label=False)
    assert answers.output.tolist() == ["spam", "ham"]
    assert "performance" in [alert.subject for alert in told]
    # One cause, one alert: it was opened once, however many checks and looks saw it.
    opened = [alert for alert in told if alert.subject == "performance" and alert.state is AlertState.OPEN]
    assert len({alert.id for alert in opened}) == 1


def test_a_model_that_is_as_good_as_it_was_is_left_alone(small_systems, policy):
    told = []
    small = small_systems.small_system(policy, on_alert=told.append)
    small.drive(60, seconds=600)
    assert small.system.records(Run, small_systems.MODEL) == []
    assert small.system.rollouts.list(small_systems.MODEL) == []
    assert [alert.subject for alert in told if alert.subject == "performance"] == []
    assert small.served_by() == {1}


def test_drift_alone_retrains_nothing_where_labels_arrive(small_systems, policy):
    small = small_systems.small_system(policy)
    for _ in range(60):
        # Other inputs, but the model is still right about them.
        small.send(x=small.rng.uniform(0.6, 1.0, 30), seconds=6 * 3600)
        small.system.tick()
    [drift] = small.system.control.findings(small_systems.MODEL, check="drift", limit=1)
    assert drift.verdict == "harmed"
    assert small.system.records(Run, small_systems.MODEL) == []


def test_drift_retrains_where_no_labels_come(small_systems, policy):
    small = small_systems.small_system(policy)
    for _ in range(80):
        small.send(x=small.rng.uniform(0.6, 1.0, 30), label=False, seconds=6 * 3600)
        small.system.tick()
    runs = small.system.records(Run, small_systems.MODEL)
    assert [run.trigger.kind for run in runs] == [TriggerKind.DRIFT]
    # Nothing was learned, as nothing can be: production stays.
    assert small.served_by() == {1}
