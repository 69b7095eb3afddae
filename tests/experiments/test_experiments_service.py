"""Experiments through a whole system in memory: what may be made, who is served what, and how they end."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from homeostat.controllers import experiment as experiment_controller
from homeostat.errors import (
    Conflict,
    ExperimentsDisagree,
    HomeostatError,
    IllegalTransition,
    InvalidExperiment,
    RangesTaken,
    UnknownModel,
    UnknownRecord,
    UnknownVersion,
    VersionInUse,
)
from homeostat.experiments import replaying
from homeostat.experiments.rules import ExperimentFacts, Judged, replay
from homeostat.experiments.service import Experiments
from homeostat.frames import Columns
from homeostat.records import (
    Arm,
    Buckets,
    ExperimentDraft,
    ExperimentMetric,
    ExperimentState,
    ExperimentVerdict,
    MetricRole,
    RampStage,
    Stage,
    Strategy,
)

S = ExperimentState
WHO = {"actor": "ann", "reason": "to know"}
ACCURACY = ExperimentMetric(name="accuracy", role=MetricRole.SUCCESS)


@pytest.fixture
def small(small_systems):
    made = small_systems.small_system(small_systems.quiet_policy())
    yield made
    made.system.close()


def draft(small_systems, new=2, **changes):
    arms = (Arm(name="control", version=1, weight=0.5), Arm(name="new", version=new, weight=0.5))
    plan = {
        "model": small_systems.MODEL,
        "name": "try",
        "arms": arms,
        "metrics": (ACCURACY,),
        "observation_seconds": 0.0,
        "label_seconds": 60.0,
        "minimum_units": 20,
    }
    return ExperimentDraft(**plan | changes)


def begin(small, small_systems, *, flipped=True, **changes):
    """An experiment of a new version that runs."""
    version = small.register(small_systems.fitted(flipped=flipped))
    control = small.system.control
    made = control.create_experiment(draft(small_systems, version.number, **changes), **WHO)
    return control.start_experiment(made.id, **WHO)


def ask(small, small_systems, rows=200, *, label=True, seconds=30.0, entities=None):
    """Rows of different entities are served, labelled, and time passes."""
    x = small.rng.uniform(0.1, 1, rows) * small.rng.choice([-1, 1], rows)
    ids = [f"ask-{small.sent + place}" for place in range(rows)]
    small.sent += rows
    answer = small.system.predict(small_systems.MODEL, Columns({"x": x}), ids=ids, entities=entities)
    small.wait(seconds)
    if label:
        small.system.label(small_systems.MODEL, ids, small_systems.truth(x).tolist())
    return answer


def run(small, small_systems, rounds=3, **asked):
    for _ in range(rounds):
        ask(small, small_systems, **asked)
        small.wait(60)
        small.system.tick()


def now(small, one):
    return small.system.control.experiment(one.id)


def test_a_worse_arm_loses_and_gives_its_traffic_back(small, small_systems):
    one = begin(small, small_systems)
    answer = ask(small, small_systems)
    assert set(answer.arm) == {f"{one.id}/control", f"{one.id}/new"}
    assert {(arm, version) for arm, version in zip(answer.arm, answer.version, strict=True)} == {
        (f"{one.id}/control", 1),
        (f"{one.id}/new", 2),
    }
    small.wait(60)
    small.system.tick()
    held = now(small, one)
    assert (held.state, held.verdict) == (S.DECIDED, ExperimentVerdict.LOSS)
    assert held.evidence["verdict"] == "loss"
    assert held.evidence["unit"] == "entities"
    assert set(ask(small, small_systems).arm) == {"control"}
    [decided] = small.decisions("experiment decided")
    again = small.system.control.replay(decided.id)
    assert (again.same, again.again.kind, again.again.reason) == (True, "decide", held.outcome)
    # What was kept decides, not what is known now: a forged one is found out.
    forged = msgspec.structs.replace(
        decided, inputs=decided.inputs | {"facts": {"now": decided.at, "judged": {"verdict": "win"}}}
    )
    assert not replaying.replay_decision(forged).same
    step = replay(msgspec.json.decode(msgspec.json.encode(decided.inputs)))
    assert (step.verdict, step.reason) == (held.verdict, held.outcome)
    concluded = small.system.control.stop_experiment(one.id, **WHO)
    assert (concluded.state, concluded.verdict) == (S.CONCLUDED, ExperimentVerdict.LOSS)
    assert small.system.control.archive_experiment(one.id, **WHO).state is S.ARCHIVED


def test_a_better_arm_wins_and_may_be_promoted(small, small_systems):
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.registry.install(small_systems.MODEL, bad.number, at=small.clock.now(), actor="ann", reason="oops")
    good = small.register(small_systems.fitted())
    arms = (Arm(name="control", version=bad.number, weight=0.5), Arm(name="new", version=good.number, weight=0.5))
    control = small.system.control
    one = control.create_experiment(draft(small_systems, arms=arms), **WHO)
    control.start_experiment(one.id, **WHO)
    run(small, small_systems, 2)
    held = now(small, one)
    assert (held.state, held.verdict, held.winner) == (S.DECIDED, ExperimentVerdict.WIN, "new")
    control.move(small_systems.MODEL, good.number, Stage.PRODUCTION, **WHO)
    assert now(small, one).state is S.DECIDED


def test_arms_that_are_alike_go_on_until_the_time_is_up(small, small_systems):
    one = begin(small, small_systems, flipped=False, maximum_seconds=400.0)
    run(small, small_systems)
    assert now(small, one).state is S.RUNNING
    looks = now(small, one).evidence["looks"]
    assert [look["units"] for look in looks] == sorted(look["units"] for look in looks)
    small.wait(400)
    small.system.tick()
    assert (now(small, one).state, now(small, one).verdict) == (S.INCONCLUSIVE, None)


def test_an_experiment_ends_with_its_last_unit(small, small_systems):
    one = begin(small, small_systems, flipped=False, maximum_units=400)
    run(small, small_systems, 1)
    assert now(small, one).state is S.RUNNING
    run(small, small_systems, 1)
    held = now(small, one)
    assert (held.state, "400 units are in" in held.outcome) == (S.INCONCLUSIVE, True)
    [decided] = small.decisions("experiment inconclusive")
    assert small.system.control.replay(decided.id).same


def test_only_what_is_ripe_counts(small, small_systems):
    one = begin(small, small_systems, flipped=False, label_seconds=1000.0, observation_seconds=100.0)
    ask(small, small_systems)
    for seconds, units in ((0, [0, 0]), (1000, [0, 0]), (80, None)):
        small.wait(seconds)
        small.system.tick()
        [line] = now(small, one).evidence["metrics"]
        assert line["units"] == (line["exposed"] if units is None else units)
        assert sum(line["exposed"]) == 200
    # A label that came too late changes nothing any more.
    before = now(small, one).evidence["metrics"]
    small.system.label(small_systems.MODEL, ["ask-0"], ["yes"])
    small.system.tick()
    assert now(small, one).evidence["metrics"] == before


def test_one_that_can_not_be_judged_stops_no_other(small, small_systems, monkeypatch):
    broken = begin(small, small_systems, name="broken", share=0.5)
    one = begin(small, small_systems, share=0.5)
    whole = experiment_controller.units_and_rows

    def judged(rows, exposures, experiment, *more, **named):
        if experiment.id == broken.id:
            raise ValueError("it can't be read")
        return whole(rows, exposures, experiment, *more, **named)

    monkeypatch.setattr(experiment_controller, "units_and_rows", judged)
    run(small, small_systems, 2)
    assert (now(small, broken).state, now(small, one).state) == (S.RUNNING, S.DECIDED)
    found = small.system.control.findings(small_systems.MODEL, check="controller experiment")
    assert [finding.evidence["code"] for finding in found][:1] == ["ValueError"]


def test_an_entity_stays_in_its_arm_and_counts_once(small, small_systems):
    one = begin(small, small_systems, flipped=False, observation_seconds=500.0, label_seconds=0.0)
    names = [f"user-{place}" for place in range(100)]
    first = ask(small, small_systems, 100, entities=names).arm
    second = ask(small, small_systems, 100, entities=names).arm
    assert list(first) == list(second)
    small.wait(600)
    small.system.tick()
    assert sum(now(small, one).evidence["units"]) == 100


def test_more_weight_only_adds_entities_in_a_new_epoch(small, small_systems):
    one = begin(small, small_systems, flipped=False)
    names = [f"user-{place}" for place in range(300)]
    before = ask(small, small_systems, 300, entities=names).arm
    small.wait(60)
    grown = small.system.control.weigh_experiment(one.id, [0.2, 0.8], **WHO)
    assert [epoch.weights for epoch in grown.epochs] == [(0.5, 0.5), (0.2, 0.8)]
    small.wait(60)
    after = ask(small, small_systems, 300, entities=names).arm
    new = f"{one.id}/new"
    assert all(now_in == new for was, now_in in zip(before, after, strict=True) if was == new)
    assert (after == new).sum() > (before == new).sum()
    small.wait(120)
    small.system.tick()
    # Who moved with the weights belongs to the epoch of the first look and is nobody's second unit.
    assert now(small, one).state is S.RUNNING
    assert (sum(now(small, one).evidence["units"]), now(small, one).evidence["exposed_twice"]) == (300, 0)


def test_pause_serves_the_control_and_resume_opens_an_epoch(small, small_systems):
    one = begin(small, small_systems, flipped=False)
    control = small.system.control
    control.pause_experiment(one.id, **WHO)
    assert set(ask(small, small_systems).arm) == {"control"}
    resumed = control.resume_experiment(one.id, **WHO)
    assert (resumed.state, len(resumed.epochs)) == (S.RUNNING, 2)
    assert f"{one.id}/new" in set(ask(small, small_systems).arm)
    with pytest.raises(IllegalTransition) as caught:
        control.resume_experiment(one.id, **WHO)
    assert "pause, weights, stop, abort" in caught.value.message


def test_an_arm_that_can_not_score_is_given_up_and_that_can_be_taken_again(small, small_systems):
    one = begin(small, small_systems, flipped=False, shadow_rows=50)
    facts = ExperimentFacts(now=small.clock.now(), judged=Judged(verdict="running"), shadowed=30, failed=0.4)
    ended = Experiments(small.system.store).advance(one, facts, {})
    assert (ended.state, ended.outcome) == (S.ABORTED, "an arm could not score 40.0% of the rows that it shadowed")
    [aborted] = small.decisions("experiment aborted")
    again = small.system.control.replay(aborted.id)
    assert (again.same, again.again.kind) == (True, "abort")


def test_shadowing_scores_beside_and_then_runs(small, small_systems):
    one = begin(small, small_systems, flipped=False, shadow_rows=50)
    assert one.state is S.SHADOWING
    route = small.system.route(small_systems.MODEL)
    assert (route.shadows, route.experiments, route.lease_until is not None) == ((2,), (), True)
    assert set(ask(small, small_systems, 40).arm) == {"control"}
    small.system.tick()
    assert now(small, one).state is S.SHADOWING
    ask(small, small_systems, 40)
    small.system.tick()
    assert now(small, one).state is S.RUNNING
    route = small.system.route(small_systems.MODEL)
    assert (route.shadows, [each.id for each in route.experiments]) == ((), [one.id])


def test_a_schedule_starts_by_itself(small, small_systems):
    small.register(small_systems.fitted())
    control = small.system.control
    one = control.create_experiment(draft(small_systems), **WHO)
    with pytest.raises(InvalidExperiment, match="future"):
        control.schedule_experiment(one.id, small.clock.now(), **WHO)
    control.schedule_experiment(one.id, small.clock.now() + timedelta(seconds=100), **WHO)
    small.system.tick()
    assert now(small, one).state is S.SCHEDULED
    small.wait(100)
    small.system.tick()
    assert now(small, one).state is S.RUNNING


def test_a_gradual_experiment_climbs(small, small_systems):
    ramp = (RampStage(share=0.2, seconds=100), RampStage(share=1.0, seconds=0))
    one = begin(small, small_systems, flipped=False, strategy=Strategy.GRADUAL, ramp=ramp)
    assert one.epochs[-1].weights == (0.9, 0.1)
    small.wait(100)
    small.system.tick()
    assert now(small, one).epochs[-1].weights == (0.5, 0.5)
    with pytest.raises(Conflict, match="strategy"):
        small.system.control.weigh_experiment(one.id, [0.5, 0.5], **WHO)


def test_your_own_metric_decides(small, small_systems):
    own = ExperimentMetric(name="revenue", role=MetricRole.SUCCESS, is_own=True, bounds=(0.0, 10.0))
    one = begin(small, small_systems, flipped=False, metrics=(own,))
    names = [f"user-{place}" for place in range(400)]
    arms = ask(small, small_systems, 400, entities=names, seconds=1).arm
    control = small.system.control
    values = np.where(arms == f"{one.id}/new", 9.0, 1.0).tolist()
    assert control.log_metric(one.id, "revenue", names, values).accepted == 400
    small.wait(100)
    small.system.tick()
    assert (now(small, one).state, now(small, one).winner) == (S.DECIDED, "new")
    for metric, value, why in (("accuracy", 1.0, "takes values of no metric"), ("revenue", 11.0, "from 0 to 10")):
        with pytest.raises(InvalidExperiment, match=why):
            control.log_metric(one.id, metric, ["a"], [value])


def test_too_many_in_one_arm_hold_it_until_they_are_few_again(small, small_systems):
    one = begin(small, small_systems, flipped=False, observation_seconds=10_000.0, maximum_seconds=1e6)
    names = [f"user-{place}" for place in range(4000)]
    ask(small, small_systems, 4000, entities=names, label=False)
    small.wait(1)
    small.system.tick()
    assert now(small, one).state is S.RUNNING
    # Only entities of the control come now: the split is no longer the planned one.
    more = [f"more-{place}" for place in range(3000)]
    found = small.system.gateway.snapshot(small_systems.MODEL, now=small.clock.now()).allocation.assign(more, more)
    only = [name for name, code in zip(more, found, strict=True) if code == 1]
    ask(small, small_systems, len(only), entities=only, label=False)
    small.system.tick()
    held = now(small, one)
    assert (held.state, bool(held.held)) == (S.HELD, True)
    assert f"{one.id}/new" in set(ask(small, small_systems, 100, label=False).arm)
    rest = [f"rest-{place}" for place in range(10_000)]
    ask(small, small_systems, 10_000, entities=rest, label=False)
    only = [f"last-{place}" for place in range(3000)]
    found = small.system.gateway.snapshot(small_systems.MODEL, now=small.clock.now()).allocation.assign(only, only)
    other = [name for name, code in zip(only, found, strict=True) if code == 2]
    ask(small, small_systems, len(other), entities=other, label=False)
    small.system.tick()
    assert (now(small, one).state, now(small, one).held) == (S.RUNNING, "")
    assert [one.kind for one in small.system.control.decisions(small_systems.MODEL)][-2:] == [
        "experiment held",
        "experiment released",
    ]


# Beside rollouts and the registry
def test_a_rollout_keeps_experiments_until_it_replaces_their_control(small, small_systems):
    one = begin(small, small_systems, flipped=False, share=0.5)
    third = small.register(small_systems.fitted())
    small.system.control.start_rollout(small_systems.MODEL, third.number, **WHO)
    route = small.system.route(small_systems.MODEL)
    assert ([each.id for each in route.experiments], route.shadows) == ([one.id], (third.number,))
    small.drive(1)
    route = small.system.route(small_systems.MODEL)
    assert [each.id for each in route.experiments] == [one.id]
    assert [arm.version for arm in route.arms] == [1, third.number]
    small.system.control.weigh_experiment(one.id, [0.9, 0.1], **WHO)
    assert small.system.route(small_systems.MODEL).arms == route.arms
    for _ in range(8):
        small.drive(1, seconds=3600)
    assert small.stages()[third.number] is Stage.PRODUCTION
    ended = now(small, one)
    assert ended.state is S.ABORTED
    assert "no longer in production" in ended.outcome
    assert small.system.route(small_systems.MODEL).experiments == ()


def test_taking_a_candidate_back_aborts_the_experiments_that_serve_it(small, small_systems):
    one = begin(small, small_systems, flipped=False)
    small.system.control.start_rollout(small_systems.MODEL, 2, **WHO)
    small.system.control.abort(small_systems.MODEL, **WHO)
    assert now(small, one).state is S.ABORTED
    assert "was archived" in now(small, one).outcome
    assert small.served_by() == {1}


def test_a_version_that_an_experiment_serves_is_not_archived(small, small_systems):
    one = begin(small, small_systems)
    with pytest.raises(VersionInUse, match=one.id):
        small.system.control.move(small_systems.MODEL, 2, Stage.ARCHIVED, **WHO)
    small.system.control.abort_experiment(one.id, **WHO)
    assert small.system.control.move(small_systems.MODEL, 2, Stage.ARCHIVED, **WHO).version.stage is Stage.ARCHIVED


def test_a_gateway_that_hears_nothing_serves_production_alone(small, small_systems):
    one = begin(small, small_systems)
    gateway = small.system.gateway
    route = small.system.route(small_systems.MODEL)
    assert route.lease_until == small.clock.now() + timedelta(seconds=one.lease_seconds)
    gateway.serve_alone(small_systems.MODEL, alone=True)
    alone = gateway.at_hand(small_systems.MODEL)
    found = gateway.predict(
        small_systems.MODEL, Columns({"x": np.linspace(0.1, 1, 50)}), now=small.clock.now(), snapshot=alone
    )
    assert set(found.arm) == {"control"}


# What can't be made
def with_arms(*weights, versions=(1, 2, 2)):
    pairs = zip(weights, versions, strict=False)
    return {"arms": tuple(Arm(name=f"arm{n}", version=v, weight=w) for n, (w, v) in enumerate(pairs))}


def metric(**changes):
    return {"metrics": (ACCURACY, ExperimentMetric(**{"name": "errors", "role": MetricRole.GUARDRAIL} | changes))}


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        (with_arms(0.5, 0.4), InvalidExperiment, "add up to 0.9"),
        (with_arms(0.5, 0.6), InvalidExperiment, "add up to 1.1"),
        (with_arms(1.5, -0.5), InvalidExperiment, "from 0 to 1"),
        (with_arms(0.0, 1.0), InvalidExperiment, "control needs a weight"),
        (with_arms(1.0), InvalidExperiment, "2 to 20 arms"),
        (with_arms(float("nan"), 0.5), InvalidExperiment, "from 0 to 1"),
        (with_arms(0.5, 0.5, versions=(1, 9)), UnknownVersion, "no version 9"),
        (with_arms(0.5, 0.5, versions=(2, 1)), Conflict, "production"),
        ({"model": "nope"}, UnknownModel, "nope"),
        ({"name": "a b"}, InvalidExperiment, "name of an experiment"),
        (metric(margin=-0.02), InvalidExperiment, "below 0"),
        (metric(margin=0.0), InvalidExperiment, "margin above 0"),
        (metric(margin=1.0), InvalidExperiment, "share below 1"),
        (metric(name="beauty", margin=1.0), InvalidExperiment, "no metric of that name"),
        (metric(name="absolute_error", margin=1.0), InvalidExperiment, "means nothing"),
        (metric(name="accuracy", margin=0.1), InvalidExperiment, "same name"),
        (metric(name="mine", is_own=True, margin=5.0, bounds=(0.0, 1.0)), InvalidExperiment, "wide as its bounds"),
        (metric(name="mine", is_own=True, margin=0.1, bounds=(1.0, 0.0)), InvalidExperiment, "in that order"),
        ({"metrics": ()}, InvalidExperiment, "1 to 20 metrics"),
        (metric() | {"metrics": metric(margin=0.1)["metrics"][1:]}, InvalidExperiment, "'success'"),
        ({"ranges": (Buckets(start=0, stop=10_001),)}, InvalidExperiment, "A range of buckets"),
        ({"ranges": (Buckets(start=5, stop=5),)}, InvalidExperiment, "A range of buckets"),
        ({"ranges": (Buckets(start=0, stop=50), Buckets(start=40, stop=60))}, InvalidExperiment, "overlap"),
        ({"share": 0.0}, InvalidExperiment, "'share'"),
        ({"share": float("nan")}, InvalidExperiment, "'share'"),
        ({"false_promotion": 0.0}, InvalidExperiment, "'false_promotion'"),
        ({"maximum_seconds": 10.0}, InvalidExperiment, "ripe in time"),
        ({"futility": 0.1}, InvalidExperiment, "maximum_units"),
        ({"strategy": Strategy.GRADUAL}, InvalidExperiment, "needs a ramp"),
        ({"ramp": (RampStage(share=1.0, seconds=1),)}, InvalidExperiment, "needs a ramp"),
        (
            {"strategy": Strategy.GRADUAL, "ramp": (RampStage(share=1.0, seconds=1), RampStage(share=0.5, seconds=1))},
            InvalidExperiment,
            "raise",
        ),
        ({"labelling_depends": True}, InvalidExperiment, "can't be compared as it is"),
        ({"labelled_positive": 0.5}, InvalidExperiment, "labelling_depends"),
    ],
)
def test_bad_drafts_are_refused_and_change_nothing(small, small_systems, changes, error, why):
    small.register(small_systems.fitted())
    before = small.system.store.revision()
    with pytest.raises(error, match=why) as caught:
        small.system.control.create_experiment(draft(small_systems, **changes), **WHO)
    assert isinstance(caught.value, HomeostatError)
    assert small.system.store.revision() == before


def test_buckets_belong_to_one_experiment(small, small_systems):
    small.register(small_systems.fitted())
    control = small.system.control
    one = control.create_experiment(draft(small_systems, ranges=(Buckets(start=0, stop=4000),)), **WHO)
    with pytest.raises(RangesTaken, match=rf"3000-4000 .* belong to experiment {one.id}. Free are: 4000-10000"):
        control.create_experiment(draft(small_systems, name="b", ranges=(Buckets(start=3000, stop=5000),)), **WHO)
    with pytest.raises(ExperimentsDisagree, match=r"60.00% left"):
        control.create_experiment(draft(small_systems, name="b", share=0.7), **WHO)
    with pytest.raises(ExperimentsDisagree, match="Put both in one"):
        control.create_experiment(draft(small_systems, name="b", share=0.1, namespace="else"), **WHO)
    with pytest.raises(Conflict, match="that name"):
        control.create_experiment(draft(small_systems, share=0.1), **WHO)
    two = control.create_experiment(draft(small_systems, name="b", share=0.6), **WHO)
    assert two.ranges == (Buckets(start=4000, stop=10_000),)
    control.abort_experiment(one.id, **WHO)
    three = control.create_experiment(draft(small_systems, name="c", share=0.1), **WHO)
    assert three.ranges == (Buckets(start=0, stop=1000),)


def test_holdouts_belong_to_no_experiment_and_get_the_control(small, small_systems):
    control = small.system.control
    one = begin(small, small_systems, flipped=False, share=0.5)
    with pytest.raises(RangesTaken, match=one.id):
        control.set_holdouts(one.namespace, [Buckets(start=4000, stop=6000)], **WHO)
    control.set_holdouts(one.namespace, [Buckets(start=5000, stop=10_000)], **WHO)
    assert [each.holdouts for each in control.namespaces()] == [(Buckets(start=5000, stop=10_000),)]
    small.system.control.start_rollout(small_systems.MODEL, 2, **WHO)
    small.drive(1)
    arms = ask(small, small_systems, 500).arm
    # The rollout's candidate gets nobody: half are in the experiment, the others are held out.
    assert set(arms) == {f"{one.id}/control", f"{one.id}/new", "control"}
    with pytest.raises(ExperimentsDisagree):
        control.create_experiment(draft(small_systems, name="b", share=0.01), **WHO)


def test_names_that_are_none(small):
    with pytest.raises(UnknownRecord):
        small.system.control.experiment("nope")
    with pytest.raises(UnknownModel):
        small.system.control.experiments("nope")
