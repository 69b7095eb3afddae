"""Entities that bring several rows: what is put together, and that luck of one entity is not counted ten times."""

import math
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.releases import entities as simulation
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from homeostat.controllers.views import rollout_facts
from homeostat.feedback.joined import JoinedLog
from homeostat.frames import Columns
from homeostat.records import GuardrailPolicy, PredictionBlock, RolloutPolicy, RolloutState, Task
from homeostat.rollouts.budget import GUARDRAILS
from homeostat.rollouts.entities import NONE, first_rows, means, paired_log_evidence, units_of
from homeostat.rollouts.evidence import (
    Pairs,
    compare,
    compare_within,
    drift_of,
    failure_log_evidence,
    fall_log_evidence,
    precision_of,
    rate_log_evidence,
    share_log_evidence,
)
from homeostat.rollouts.fairness import Grouping, fairness_of
from homeostat.stats.sequential import paired_log_evidence as of_counts
from homeostat.stores.memory import MemoryPredictionLog


def pairs(rows=400, seed=0, task=Task.BINARY):
    rng = np.random.default_rng(seed)
    if task is Task.REGRESSION:
        return Pairs(task, rng.normal(size=rows), rng.normal(size=rows), rng.normal(size=rows), np.arange(rows))
    truth, new, old = (rng.integers(0, 2, rows) for _ in range(3))
    return Pairs(task, truth, new, old, np.arange(rows), positive=1)


def repeated(once, each, *, together):
    """Every pair so many times, as rows of one entity."""
    order = np.repeat(np.arange(once.count), each) if together else np.tile(np.arange(once.count), each)
    taken = {name: getattr(once, name)[order] for name in ("truth", "candidate", "baseline", "event_time")}
    return replace(once, **taken, entity=order)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_copies_of_a_row_are_no_more_evidence_than_the_row(task, together):
    once = pairs(task=task)
    alone, many = compare(once, 0.01), compare(repeated(once, 10, together=together), 0.01)
    assert (many.pairs, many.entities, many.wins, many.losses) == (4000, 400, alone.wins, alone.losses)
    assert many.log_better == pytest.approx(alone.log_better, abs=1e-6)
    assert many.log_worse == pytest.approx(alone.log_worse, abs=1e-6)
    if task is Task.BINARY:
        assert many.log_beyond == pytest.approx(fall_log_evidence(alone, 0.01), abs=1e-6)
        for positives, margin in ((True, 0.05), (False, 0.5)):
            part = compare_within(once, positives=positives)
            whole = compare_within(repeated(once, 10, together=together), positives=positives, margin=margin)
            expected = rate_log_evidence(part, margin, false=not positives)
            assert whole.log_beyond == pytest.approx(expected, abs=1e-6)
        ten = repeated(once, 10, together=together)
        assert precision_of(ten, 0.05).rows <= precision_of(once, 0.05).rows + once.count
        groups = Grouping("g", ("a", "b"))
        by_one = fairness_of(once, [(groups, np.arange(400) % 2)], "accuracy", 0.05)
        by_ten = fairness_of(ten, [(groups, ten.entity % 2)], "accuracy", 0.05)
        assert by_ten.log_worse == pytest.approx(by_one.log_worse)


def test_without_second_rows_all_is_as_before():
    once = pairs()
    named = replace(once, entity=np.where(np.arange(400) < 200, np.arange(400), NONE))
    assert compare(named) == compare(once)
    assert precision_of(named, 0.05) == precision_of(once, 0.05)
    assert share_log_evidence(np.zeros(3, dtype=bool), None, 0.01) is None


@given(wins=st.integers(0, 3000), losses=st.integers(0, 3000), ties=st.integers(0, 50))
def test_the_evidence_of_means_is_that_of_counts_where_entities_have_one_row(wins, losses, ties):
    values = np.repeat([1.0, -1.0, 0.0], [wins, losses, ties])
    assert paired_log_evidence(values) == pytest.approx(of_counts(wins, losses), abs=1e-3)


def test_units_and_their_means():
    entity, day = np.array([4, NONE, 4, NONE, 4]), 86_400_000_000 * np.array([0, 0, 0, 1, 1])
    assert len(np.unique(units_of(entity))) == 3
    assert len(np.unique(units_of(entity, day))) == 4
    assert means(np.array([1.0, 7.0, 3.0, 8.0, 5.0]), units_of(entity)).tolist() == [3.0, 7.0, 8.0]
    assert first_rows(units_of(entity)).tolist() == [0, 1, 3]
    assert units_of(np.full(3, NONE)) is units_of(None) is units_of(np.arange(3)) is None
    reference = np.linspace(0, 1, 100)
    alike = drift_of(np.full(50, 0.9), reference, 0.25, units=np.zeros(50, dtype=np.int64))
    assert alike.log_worse == pytest.approx(drift_of(np.full(1, 0.9), reference, 0.25).log_worse)


def block(ids, entities, *, shadow=False):
    rows = len(ids)
    return PredictionBlock(
        model="m",
        shadow=shadow,
        ids=np.array(ids, dtype=object),
        event_time=np.arange(rows).astype("M8[us]"),
        version=np.full(rows, 1 + shadow),
        arm=np.full(rows, "control", dtype=object),
        entity=np.array(entities, dtype=object),
        output=np.full(rows, "1", dtype=object),
        score=np.full(rows, np.nan if shadow else 0.5),
        latency_ms=np.ones(rows),
        error=np.full(rows, "it failed" if shadow else None, dtype=object),
        features=Columns({}, rows),
    )


def test_the_log_says_whose_rows_they_are():
    log = MemoryPredictionLog()
    joined = JoinedLog(log, "m", Task.BINARY)
    log.append([block(["a", "b", "c"], ["me", "b", "me"])])
    log.append([block(["c", "b"], ["me", "b"], shadow=True)])
    joined.follow()
    assert joined.rows().entity.tolist() == [0, NONE, 0]
    assert joined.failed_entities(2).tolist() == [0, NONE]


def send_alike(small, model, truth, *, entities, each=10):
    """Some entities bring the same row so many times."""
    values = np.repeat(small.rng.uniform(0.1, 0.9, entities), each)
    first, small.sent = small.sent, small.sent + len(values)
    ids = [f"id-{first + place}" for place in range(len(values))]
    owners = [f"user-{(first + place) // each}" for place in range(len(values))]
    small.system.predict(model, Columns({"x": values}), ids=ids, entities=owners)
    small.wait(60)
    small.system.label(model, ids, truth(values).tolist())


def test_a_rollout_counts_entities_and_its_decisions_replay(small_systems):
    rules = GuardrailPolicy(watch=GUARDRAILS, p95_latency_ms=1e9, fairness_features=("x",))
    policy = small_systems.quiet_policy(
        guardrails=rules, rollout=RolloutPolicy(steps=("shadow for 1000 pairs", "canary 10% for 1h", "100%"))
    )
    small, model = small_systems.small_system(policy), small_systems.MODEL
    # It is wrong on all of these rows up to 0.5, and the baseline on none.
    version = small.register(small_systems.fitted(cut=0.5))
    small.system.rollouts.start(model, version.number, policy, at=small.clock.now(), reason="new")
    send_alike(small, model, small_systems.truth, entities=6)
    view, baseline = small.system.view(model), small.system.registry.version(model, 1)
    facts = rollout_facts(view, small.rollout(), baseline, policy, small.clock.now())
    overall = facts.overall
    assert (overall.pairs, overall.entities, overall.wins) == (60, 6, 0)
    assert overall.log_worse == pytest.approx(of_counts(overall.losses, 0), abs=1e-6)
    assert facts.failing == pytest.approx(failure_log_evidence(6, 0, rules.error_rate))
    assert facts.drift.log_worse < 5
    small.system.tick()
    assert small.rollout().state is RolloutState.RUNNING
    for _ in range(20):
        send_alike(small, model, small_systems.truth, entities=6)
        small.system.tick()
        if not small.rollout().state.is_under_way:
            break
    assert small.rollout().state is RolloutState.REJECTED
    decision = small.decisions("rejected")[-1]
    assert small.system.control.replay(decision.id).same
    page = small.system.control.rollout_report(model, small.rollout().id).html
    assert "the first one of each entity" in page
    small.system.close()


@pytest.mark.slow
@pytest.mark.parametrize("guardrail", [name for name in simulation.GUARDRAILS if name != "precision"])
def test_ten_rows_an_entity_raise_no_false_alarms(guardrail):
    runs = range(60)
    limit = float(stats.binom.ppf(0.999, len(runs), simulation.ERROR))
    worlds = list(simulation.WORLDS)
    # At the edge of what is allowed; bets on each row act many times as often.
    rows, by_entity = simulation.alarms(guardrail, worlds[0], runs)
    assert by_entity <= limit < rows
    for world in worlds[2:]:
        assert simulation.alarms(guardrail, world, runs)[1] <= limit


@pytest.mark.slow
def test_ten_rows_an_entity_do_not_hide_a_worse_precision():
    rng = np.random.default_rng(0)
    entity = np.repeat(np.arange(800), 10)
    truth = (rng.random(800) < np.where(np.arange(800) % 2 == 0, 0.4, 0.9))[entity].astype(np.int64)
    ones = np.ones(len(entity), dtype=np.int64)
    found = precision_of(Pairs(Task.BINARY, truth, ones, ones, np.arange(8000), positive=1, entity=entity), 0.05)
    assert found.log_worse > math.log(1000)
    assert simulation.alarms("precision", next(iter(simulation.WORLDS)), range(8))[1] <= 2
