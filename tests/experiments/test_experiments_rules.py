"""The state machine of experiments: every move from every state, and what happens by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from homeostat.errors import IllegalTransition
from homeostat.experiments.rules import (
    BY_HAND,
    TRANSITIONS,
    ExperimentFacts,
    Judged,
    Move,
    decide,
    legal_moves,
    ramped,
    recorded,
    replay,
    target,
)
from homeostat.records import (
    Arm,
    Buckets,
    Epoch,
    Experiment,
    ExperimentDraft,
    ExperimentMetric,
    ExperimentState,
    MetricRole,
    RampStage,
    Strategy,
)

S = ExperimentState
NOW = datetime(2025, 1, 1, tzinfo=UTC)
# What people and time may do, written down a second time.
LEGAL = {
    S.DRAFT: {"schedule", "start", "weights", "abort"},
    S.SCHEDULED: {"schedule", "start", "weights", "abort"},
    S.SHADOWING: {"weights", "abort", "expose"},
    S.RUNNING: {"pause", "weights", "stop", "abort", "hold", "decide", "give up", "advance"},
    S.PAUSED: {"resume", "weights", "stop", "abort"},
    S.HELD: {"stop", "abort", "release", "give up"},
    S.DECIDED: {"stop", "abort"},
    S.INCONCLUSIVE: {"stop", "abort"},
    S.CONCLUDED: {"archive"},
    S.ARCHIVED: set(),
    S.ABORTED: {"archive"},
}


def experiment(state=S.RUNNING, **changes):
    plan = {
        "model": "mail",
        "name": "new",
        "arms": (Arm(name="control", version=1, weight=0.5), Arm(name="new", version=2, weight=0.5)),
        "metrics": (ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS),),
        "maximum_seconds": 1000.0,
    }
    plan |= {name: changes.pop(name) for name in list(changes) if name in ExperimentDraft.__struct_fields__}
    return Experiment(
        **{
            "id": "mail-experiment-1",
            "model": "mail",
            "name": "new",
            "plan": ExperimentDraft(**plan),
            "state": state,
            "namespace": "mail",
            "ranges": (Buckets(start=0, stop=10_000),),
            "salt": "s",
            "created_at": NOW,
            "updated_at": NOW,
            "stage_at": NOW,
            "began_at": NOW,
            "epochs": (Epoch(number=1, began_at=NOW, weights=(0.5, 0.5)),),
        }
        | changes
    )


def facts(verdict="running", *, after=10.0, winner=None, **more):
    judged = Judged(verdict=verdict, winner=winner, reasons=("so",))
    return ExperimentFacts(now=NOW + timedelta(seconds=after), judged=judged, **more)


@pytest.mark.parametrize("move", list(Move))
@pytest.mark.parametrize("state", list(S))
def test_every_move_from_every_state(state, move):
    one = experiment(state)
    if move.value in LEGAL[state]:
        assert target(one, move) is TRANSITIONS[move][state]
        return
    with pytest.raises(IllegalTransition) as caught:
        target(one, move)
    assert caught.value.data["legal"] == [each.value for each in BY_HAND if each.value in LEGAL[state]]
    assert f"is {state.value}: '{move.value}' is not possible" in caught.value.message


def test_abort_ends_every_state_that_is_not_final_and_nothing_leaves_the_archive():
    assert {state for state in S if "abort" in legal_moves(state)} == {state for state in S if not state.is_final}
    assert not any(S.ARCHIVED in sources for sources in TRANSITIONS.values())


def test_a_start_goes_by_shadowing_where_there_is_any():
    assert target(experiment(S.DRAFT, shadow_rows=5), Move.START) is S.SHADOWING
    assert target(experiment(S.DRAFT, shadow_seconds=5), Move.START) is S.SHADOWING


@pytest.mark.parametrize(
    ("one", "seen", "move"),
    [
        (experiment(S.DRAFT), facts("win"), None),
        (experiment(S.SCHEDULED, starts_at=NOW + timedelta(seconds=11)), facts(), None),
        (experiment(S.SCHEDULED, starts_at=NOW + timedelta(seconds=10)), facts(), Move.START),
        (experiment(S.SHADOWING, shadow_seconds=11), facts(), None),
        (experiment(S.SHADOWING, shadow_seconds=10), facts(), Move.EXPOSE),
        (experiment(S.SHADOWING, shadow_rows=5), facts(shadowed=4), None),
        (experiment(S.SHADOWING, shadow_rows=5), facts(shadowed=5), Move.EXPOSE),
        (experiment(S.SHADOWING, shadow_rows=5), facts(shadowed=5, failed=0.02), Move.ABORT),
        (experiment(), facts(), None),
        (experiment(), facts("win", winner="new"), Move.DECIDE),
        (experiment(), facts("loss", winner="new"), Move.DECIDE),
        (experiment(), facts("flat"), Move.DECIDE),
        (experiment(), facts("inconclusive"), Move.GIVE_UP),
        (experiment(), facts("held"), Move.HOLD),
        (experiment(), facts(after=1000), Move.GIVE_UP),
        (experiment(), facts("win", after=1000), Move.DECIDE),
        (experiment(S.HELD, held="so"), facts("held"), None),
        (experiment(S.HELD, held="so"), facts("held", after=1000), Move.GIVE_UP),
        (experiment(S.HELD, held="so"), facts("win"), Move.RELEASE),
        (experiment(S.PAUSED), facts("win", after=5000), None),
        (experiment(S.DECIDED), facts("loss", after=5000), None),
    ],
)
def test_what_happens_by_itself(one, seen, move):
    step = decide(one, seen)
    assert step.move is move
    if move is not None:
        # Whatever the rules do is legal, and is done again from the record.
        target(one, move)
        inputs = msgspec.json.decode(msgspec.json.encode(recorded(one, seen)))
        assert replay(inputs) == step


def test_a_gradual_experiment_climbs_its_ramp():
    ramp = (RampStage(share=0.1, seconds=5), RampStage(share=0.5, seconds=20), RampStage(share=1.0, seconds=0))
    one = experiment(strategy=Strategy.GRADUAL, ramp=ramp)
    assert ramped(one, 0) == (0.95, 0.05)
    assert decide(one, facts(after=4)).move is None
    step = decide(one, facts(after=5))
    assert (step.move, step.weights, step.stage) == (Move.ADVANCE, (0.75, 0.25), 1)
    assert decide(msgspec.structs.replace(one, stage=1), facts(after=19)).move is None
    assert decide(msgspec.structs.replace(one, stage=1), facts(after=20)).weights == (0.5, 0.5)
    assert decide(msgspec.structs.replace(one, stage=2), facts(after=500)).move is None


def test_a_bandit_takes_the_weights_that_it_is_given():
    one = experiment(strategy=Strategy.BANDIT, reweigh_seconds=10.0)
    assert decide(one, facts(after=9, weights=(0.3, 0.7))).move is None
    assert decide(one, facts(weights=(0.3, 0.7))).weights == (0.3, 0.7)
    assert decide(one, facts()).move is None
