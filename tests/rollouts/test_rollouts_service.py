"""Rollouts through a whole system in memory: stages, routes, decisions, and the way back from everywhere."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from homeostat.errors import Conflict, NothingToRollBackTo, RolloutInProgress, UnknownRecord, UnknownVersion
from homeostat.records import GuardrailPolicy, RolloutPolicy, RolloutState, Stage, StepKind
from homeostat.rollouts.rules import replay

# What it takes from the start to be in that step.
TO_REACH = {
    StepKind.SHADOW: (),
    StepKind.CANARY: (60.0,),
    StepKind.AB: (60.0, 3600.0),
    StepKind.BAKE: (60.0, 3600.0, 60.0),
}


@pytest.fixture
def small(small_systems):
    made = small_systems.small_system()
    yield made
    made.system.close()


@pytest.fixture
def policy(small_systems):
    return small_systems.quiet_policy()


def begin(small, small_systems, policy, *, flipped=False, cut=0.0):
    version = small.register(small_systems.fitted(flipped=flipped, cut=cut))
    return small.system.rollouts.start(small_systems.MODEL, version.number, policy, at=small.clock.now(), reason="new")


def reach(small, step: StepKind):
    for seconds in TO_REACH[step]:
        small.drive(1, seconds=seconds)
    assert small.rollout().current.kind is step
    assert small.rollout().state is RolloutState.RUNNING


def test_from_start_to_end(small, small_systems, policy):
    model = small_systems.MODEL
    begin(small, small_systems, policy)
    assert small.served_by() == {1}
    reach(small, StepKind.SHADOW)
    small.drive(1)
    assert small.served_by() == {1, 2}
    shares = [(small.send(400, label=False, seconds=0).version == 2).mean()]
    small.drive(1, seconds=3600)
    shares.append((small.send(400, label=False, seconds=0).version == 2).mean())
    assert shares[0] == pytest.approx(0.1, abs=0.06)
    assert shares[1] == pytest.approx(0.5, abs=0.1)
    small.drive(1)
    assert small.stages() == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION}
    assert small.served_by() == {2}
    small.drive(2)
    assert small.rollout().state is RolloutState.COMPLETED
    route = small.system.route(model)
    assert ([arm.version for arm in route.arms], route.shadows) == ([2], ())
    kinds = [decision.kind for decision in small.system.control.decisions(model) if decision.version == 2]
    assert kinds[-6:] == ["rollout", "step", "step", "promotion", "step", "completed"]


def test_every_decision_by_the_rules_can_be_taken_again(small, small_systems, policy):
    begin(small, small_systems, policy)
    small.drive(8, seconds=1300)
    begin(small, small_systems, policy, flipped=True)
    small.drive(4, seconds=1300)
    assert [rollout.state for rollout in small.system.rollouts.list(small_systems.MODEL)] == [
        RolloutState.COMPLETED,
        RolloutState.REJECTED,
    ]
    actions = {"step": "enter", "promotion": "enter", "completed": "complete", "rejected": "reject"}
    replayed = 0
    for decision in small.system.control.decisions(small_systems.MODEL):
        if "facts" not in decision.inputs:
            continue
        rollout = next(
            one for one in small.system.rollouts.list(small_systems.MODEL) if one.id == decision.inputs["rollout"]
        )
        assert decision.config_hash == policy.config_hash
        again = replay(msgspec.json.decode(msgspec.json.encode(decision.inputs)), rollout, policy)
        assert (again.kind, again.rule, again.statistic, again.threshold) == (
            actions[decision.kind],
            decision.rule,
            decision.statistic,
            decision.threshold,
        )
        assert again.reason in decision.reason
        replayed += 1
    assert replayed == 6


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("step", list(TO_REACH))
def test_rollback_by_hand_from_every_state_that_is_not_final(small, small_systems, policy, step, paused):
    begin(small, small_systems, policy)
    reach(small, step)
    if paused:
        small.system.rollouts.pause(small_systems.MODEL, at=small.clock.now(), actor="ann", reason="a holiday")
    assert small.system.control.roll_back(small_systems.MODEL, to=None, actor="ann", reason="odd").production == 1
    assert small.served_by() == {1}
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}
    assert small.rollout().state.was_rolled_back
    told = small.decisions("rollback")[-1]
    assert (told.actor, told.version) == ("ann", 2)
    assert "odd" in told.reason
    small.drive(3)
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}


@pytest.mark.parametrize("step", list(TO_REACH))
def test_a_candidate_that_is_worse_is_taken_back_in_any_step(small, small_systems, policy, step):
    begin(small, small_systems, policy)
    reach(small, step)
    replace_candidate(small, small_systems, Flipped(small_systems.fitted(flipped=True)))
    small.drive(12)
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}
    assert small.served_by() == {1}
    ended = small.rollout()
    assert ended.state is (RolloutState.REJECTED if step is StepKind.SHADOW else RolloutState.ROLLED_BACK)
    decision = small.decisions("rejected" if step is StepKind.SHADOW else "rollback")[-1]
    assert decision.actor == "homeostat"
    assert decision.inputs["losses"] > decision.inputs["wins"]
    assert replay(decision.inputs, ended, policy).rule == decision.rule


def replace_candidate(small, small_systems, predictor):
    """From now on version 2, as the gateway holds it, is something else."""
    held = small.system.gateway.refresh(small_systems.MODEL, now=small.clock.now())
    for loaded in (*held.arms, *held.shadows):
        if loaded.version.number == 2:
            object.__setattr__(loaded, "predictor", predictor)


class Flipped:
    """A loaded version that has gone wrong."""

    def __init__(self, estimator) -> None:
        self._estimator = estimator

    def predict(self, columns):
        import pandas as pd

        return self._estimator.predict_proba(pd.DataFrame({"x": columns["x"]}))


class Broken:
    """A loaded version that fails on every row."""

    def predict(self, columns):
        raise ArithmeticError("no")


@pytest.mark.parametrize("step", [StepKind.SHADOW, StepKind.CANARY, StepKind.AB])
def test_a_candidate_that_fails_is_taken_back_and_costs_nobody_an_answer(small, small_systems, policy, step):
    begin(small, small_systems, policy)
    reach(small, step)
    replace_candidate(small, small_systems, Broken())
    for _ in range(20):
        assert set(small.send(30).version.tolist()) == {1}
        small.system.tick()
    assert small.rollout().state in (RolloutState.REJECTED, RolloutState.ROLLED_BACK)
    assert small.rollout().outcome.endswith("of the candidate's rows failed")
    assert small.stages()[1] is Stage.PRODUCTION


def test_a_promotion_by_hand_takes_over_at_once_and_is_taken_back_when_it_is_bad(small, small_systems):
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.control.move(small_systems.MODEL, bad.number, Stage.PRODUCTION, actor="ann", reason="I know better")
    assert small.served_by() == {2}
    assert small.stages() == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION}
    promotion = small.decisions("promotion")[-1]
    assert (promotion.actor, promotion.version) == ("ann", 2)
    started = small.decisions("rollout")[-1]
    assert started.inputs["steps"] == list(small.system.policy(small_systems.MODEL).rollout.manual_steps)
    small.drive(3)
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}
    assert small.served_by() == {1}
    assert small.rollout().state.was_rolled_back
    assert small.decisions("rollback")[-1].actor == "homeostat"


def test_a_newer_candidate_supersedes_one_that_shadows(small, small_systems, policy):
    begin(small, small_systems, policy)
    begin(small, small_systems, policy)
    states = [rollout.state for rollout in small.system.rollouts.list(small_systems.MODEL)]
    assert states == [RolloutState.SUPERSEDED, RolloutState.RUNNING]
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED, 3: Stage.STAGING}
    assert small.system.route(small_systems.MODEL).shadows == (3,)
    small.drive(9, seconds=1300)
    assert small.stages()[3] is Stage.PRODUCTION


@pytest.mark.parametrize("step", [StepKind.CANARY, StepKind.AB])
def test_a_second_rollout_is_refused_while_one_takes_traffic(small, small_systems, policy, step):
    begin(small, small_systems, policy)
    reach(small, step)
    before = small.system.route(small_systems.MODEL)
    with pytest.raises(RolloutInProgress):
        begin(small, small_systems, policy)
    assert small.system.route(small_systems.MODEL) == before
    assert len(small.system.rollouts.list(small_systems.MODEL)) == 1
    assert small.rollout().current.kind is step


def test_one_that_bakes_is_completed_by_its_follower(small, small_systems, policy):
    begin(small, small_systems, policy)
    reach(small, StepKind.BAKE)
    begin(small, small_systems, policy)
    first, second = small.system.rollouts.list(small_systems.MODEL)
    assert (first.state, second.state) == (RolloutState.COMPLETED, RolloutState.RUNNING)
    assert second.baseline == 2
    route = small.system.route(small_systems.MODEL)
    assert ([arm.version for arm in route.arms], route.shadows) == ([2], (3,))


def test_the_version_that_serves_can_not_be_rolled_out(small, small_systems, policy):
    with pytest.raises(Conflict):
        small.system.rollouts.start(small_systems.MODEL, 1, policy, at=small.clock.now(), reason="again")
    with pytest.raises(UnknownVersion):
        small.system.rollouts.start(small_systems.MODEL, 9, policy, at=small.clock.now(), reason="none such")
    assert small.system.rollouts.list(small_systems.MODEL) == []


def test_abort_pause_and_resume(small, small_systems, policy):
    rollouts, model = small.system.rollouts, small_systems.MODEL
    for order in (rollouts.pause, rollouts.resume):
        with pytest.raises(UnknownRecord):
            order(model, at=small.clock.now(), actor="ann", reason="a holiday")
    begin(small, small_systems, policy)
    with pytest.raises(Conflict):
        rollouts.resume(model, at=small.clock.now(), actor="ann", reason="a holiday")
    rollouts.pause(model, at=small.clock.now(), actor="ann", reason="a holiday")
    small.drive(3)
    assert small.rollout().current.kind is StepKind.SHADOW
    rollouts.resume(model, at=small.clock.now(), actor="ann", reason="back at work")
    small.drive(1)
    assert small.rollout().current.kind is StepKind.CANARY
    rollouts.abort(model, policy, at=small.clock.now(), actor="ann", reason="enough")
    assert small.served_by() == {1}
    assert small.rollout().state is RolloutState.ABORTED
    assert [small.decisions(kind)[-1].actor for kind in ("paused", "resumed", "aborted")] == ["ann"] * 3
    assert [small.decisions(kind)[-1].reason for kind in ("paused", "resumed")] == ["a holiday", "back at work"]
    with pytest.raises(UnknownRecord):
        rollouts.abort(model, policy, at=small.clock.now(), actor="ann", reason="twice")


def test_rollback_with_nothing_to_return_to(small, small_systems, policy):
    with pytest.raises(NothingToRollBackTo):
        small.system.control.roll_back(small_systems.MODEL, to=None, actor="ann", reason="why not")
    assert small.served_by() == {1}
    version = small.register(small_systems.fitted())
    with pytest.raises(Conflict, match="in production already"):
        small.system.control.roll_back(small_systems.MODEL, to=1, actor="ann", reason="r")
    with pytest.raises(Conflict, match="never was"):
        small.system.control.roll_back(small_systems.MODEL, to=version.number, actor="ann", reason="never served")
    with pytest.raises(UnknownVersion):
        small.system.control.roll_back(small_systems.MODEL, to=77, actor="ann", reason="none such")
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.STAGING}


def test_rollback_after_the_end_and_to_a_version_by_its_number(small, small_systems, policy):
    model = small_systems.MODEL
    for _ in range(2):
        begin(small, small_systems, policy)
        small.drive(9, seconds=1300)
    assert small.stages() == {1: Stage.ARCHIVED, 2: Stage.ARCHIVED, 3: Stage.PRODUCTION}
    assert small.system.control.roll_back(model, to=1, actor="ann", reason="the oldest").production == 1
    assert small.served_by() == {1}
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED, 3: Stage.ARCHIVED}
    with pytest.raises(Conflict):
        small.system.control.roll_back(model, to=1, actor="ann", reason="it is there")


def test_a_rollback_while_a_candidate_only_shadows_takes_production_back(small, small_systems, policy):
    # Version 2 is bad, and a successor already shadows: whoever orders a rollback means version 2.
    begin(small, small_systems, policy)
    small.drive(9, seconds=1300)
    begin(small, small_systems, policy)
    assert small.stages() == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION, 3: Stage.STAGING}
    assert small.system.control.roll_back(small_systems.MODEL, to=None, actor="ann", reason="2 is bad").production == 1
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED, 3: Stage.ARCHIVED}
    assert small.served_by() == {1}
    assert small.system.rollouts.active(small_systems.MODEL) is None


def test_a_rollback_to_another_version_ends_what_is_under_way(small, small_systems, policy):
    for _ in range(2):
        begin(small, small_systems, policy)
        small.drive(9, seconds=1300)
    begin(small, small_systems, policy)
    reach(small, StepKind.AB)
    assert small.system.control.roll_back(small_systems.MODEL, to=1, actor="ann", reason="all of them").production == 1
    assert small.rollout().state is RolloutState.ABORTED
    assert [number for number, stage in small.stages().items() if stage is Stage.PRODUCTION] == [1]
    assert small.served_by() == {1}


def test_undecided_past_its_limit_is_given_up(small_systems):
    steps = ("ab 50% until decided max 100 rows", "100%")
    policy = small_systems.quiet_policy(rollout=RolloutPolicy(steps=steps))
    small = small_systems.small_system(policy)
    begin(small, small_systems, policy)
    small.drive(5)
    assert small.rollout().state is RolloutState.REJECTED
    assert small.served_by() == {1}
    assert small.decisions("rejected")[-1].rule == "limit of the step"


def test_latency_is_judged_on_the_rows_that_the_candidate_answered(small_systems):
    policy = small_systems.quiet_policy(guardrails=GuardrailPolicy(p95_latency_ms=0.0))
    small = small_systems.small_system(policy)
    begin(small, small_systems, policy)
    small.drive(1)
    # In the shadow step nobody waits for it.
    assert small.rollout().state is RolloutState.RUNNING
    small.send(600)
    small.system.tick()
    assert small.rollout().state.was_rolled_back
    assert small.decisions("rollback")[-1].rule == "latency"


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(small, small_systems, policy):
    rollout = begin(small, small_systems, policy)
    small.send(30)
    small.system.view(small_systems.MODEL)
    stale = small.system.rollouts.active(small_systems.MODEL)
    small.system.rollouts.pause(small_systems.MODEL, at=small.clock.now(), actor="ann", reason="a holiday")
    from homeostat.controllers.views import rollout_facts

    facts = rollout_facts(
        small.system.view(small_systems.MODEL), stale, small.system.registry.version(small_systems.MODEL, 1),
        policy, small.clock.now() + timedelta(hours=1),
    )  # fmt: skip
    with pytest.raises(Conflict):
        small.system.rollouts.advance(stale, facts, policy)
    assert small.rollout().state is RolloutState.PAUSED
    assert small.rollout().step == rollout.step
