"""Orders about rollouts that mean nothing, and candidates that come while another one takes traffic."""

from __future__ import annotations

import msgspec
import pytest

from homeostat.errors import IllegalMove, RolloutInProgress
from homeostat.records import Phase, RolloutState, Run, RunState, Stage

WHO = {"actor": "ann", "reason": "to see"}


@pytest.fixture
def small(small_systems):
    made = small_systems.small_system()
    yield made
    made.system.close()


def made_by_a_run(small, small_systems, stage=Stage.STAGING):
    """A version that a retraining ended with, and its run."""
    version = small.register(small_systems.fitted(), stage=stage)
    run = small.system.control.retrain(small_systems.MODEL, **WHO)
    with small.system.store.begin() as transaction:
        held = transaction.get(Run, run.id)
        transaction.replace(
            msgspec.structs.replace(held, state=RunState.SUCCEEDED, version=version.number, outcome="better")
        )
    return version


def test_a_draft_goes_into_no_rollout(small, small_systems):
    drafted = small.register(small_systems.fitted(), stage=Stage.DRAFT)
    before = len(small.system.control.decisions(small_systems.MODEL))
    with pytest.raises(IllegalMove, match="--to staging") as refused:
        small.system.control.start_rollout(small_systems.MODEL, drafted.number, **WHO)
    assert refused.value.code == "illegal_move"
    assert small.stages()[drafted.number] is Stage.DRAFT
    assert not small.system.control.rollouts(small_systems.MODEL)
    assert len(small.system.control.decisions(small_systems.MODEL)) == before
    small.system.control.move(small_systems.MODEL, drafted.number, Stage.TESTING, **WHO)
    assert small.system.control.start_rollout(small_systems.MODEL, drafted.number, **WHO).state is RolloutState.RUNNING
    assert small.stages()[drafted.number] is Stage.STAGING


def test_a_candidate_of_a_run_waits_for_the_rollout_that_takes_traffic_which_goes_on(small, small_systems):
    first = small.register(small_systems.fitted())
    small.system.control.start_rollout(small_systems.MODEL, first.number, **WHO)
    small.drive(1)
    assert small.rollout().current.kind.value == "canary"
    second = made_by_a_run(small, small_systems)
    with pytest.raises(RolloutInProgress):
        small.system.control.start_rollout(small_systems.MODEL, second.number, **WHO)
    small.drive(3)
    # The one under way is looked at all the same, and its lease renewed.
    assert (small.rollout().candidate, small.rollout().phase) == (first.number, Phase.HOLDING)
    small.drive(12, seconds=900)
    began = [(one.candidate, one.state) for one in small.system.control.rollouts(small_systems.MODEL)]
    assert [number for number, _ in began] == [first.number, second.number]
    assert began[0][1] is RolloutState.COMPLETED


def test_guardrails_hold_while_a_candidate_of_a_run_waits(small, small_systems):
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.control.start_rollout(small_systems.MODEL, bad.number, **WHO)
    small.send(30, label=False)
    # In the canary before anybody knows how bad it is.
    with small.system.store.begin() as transaction:
        held = small.rollout()
        transaction.replace(msgspec.structs.replace(held, step=1))
    made_by_a_run(small, small_systems)
    small.drive(3)
    assert small.rollout(0).state.was_rolled_back


@pytest.mark.parametrize("stage", [Stage.ARCHIVED, Stage.DRAFT])
def test_a_candidate_that_a_person_put_away_is_not_rolled_out(small, small_systems, stage):
    version = made_by_a_run(small, small_systems)
    small.system.control.move(small_systems.MODEL, version.number, stage, **WHO)
    small.drive(3)
    assert not small.system.control.rollouts(small_systems.MODEL)
