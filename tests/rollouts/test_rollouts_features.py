"""Guardrails that look at features: drift against the candidate's own reference, and gaps between groups."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.controllers.rollout_features import RolloutFeatures
from homeostat.controllers.views import rollout_facts
from homeostat.errors import InvalidSettings
from homeostat.feedback.joined import JoinedLog
from homeostat.frames import Columns, Kind
from homeostat.records import (
    Finding,
    GuardrailPolicy,
    PredictionBlock,
    Rollout,
    RolloutPolicy,
    RolloutState,
    StepKind,
    Task,
    Verdict,
    as_datetime64,
    parse_steps,
)
from homeostat.rollouts.budget import GUARDRAILS, check_guardrails
from homeostat.rollouts.evidence import Measured, Pairs
from homeostat.rollouts.fairness import NONE, fairness_of, grouping_of
from homeostat.rollouts.feature_drift import drift_together, feature_drift_of, most_visits
from homeostat.settings import load
from homeostat.stats.profile import Profile
from homeostat.stores.sqlite import SqlitePredictionLog

ROWS = 1_000
COLOURS = np.array(["red", "green", "blue", "red"] * (ROWS // 4), dtype=object)
TEXTS = np.array([f"an offer for you number {place}" for place in range(ROWS)], dtype=object)
REFERENCE = Profile.of(
    {"x": np.linspace(0, 1, ROWS), "colour": COLOURS, "member": np.arange(ROWS) % 2 == 0, "body": TEXTS},
    kinds={"body": Kind.TEXT, "colour": Kind.CATEGORICAL},
    sample=0,
)
MARGIN = 0.25


def table(**changes: object) -> dict[str, object]:
    columns = {"x": np.linspace(0, 1, ROWS), "colour": COLOURS, "member": np.arange(ROWS) % 2 == 0, "body": TEXTS}
    return columns | changes


def step_like(**changes: object) -> Profile:
    return Profile.of(table(**changes), like=REFERENCE, sample=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.linspace(0.6, 1, ROWS)}, "'x' is above 0."),
        ({"x": np.linspace(0, 1, ROWS) / 4}, "'x' is up to 0."),
        ({"x": np.linspace(2, 3, ROWS)}, "'x' is above 1 in 100.0% of rows, and was in 0.0%"),
        ({"x": np.where(np.arange(ROWS) % 2, np.nan, 0.5)}, "'x' is missing or infinite in 50.0% of rows"),
        ({"colour": np.full(ROWS, "blue", dtype=object)}, "'colour' is 'blue' in 100.0% of rows, and was in 25.0%"),
        ({"colour": np.full(ROWS, "pink", dtype=object)}, "'colour' is none of its most frequent categories"),
        ({"colour": np.full(ROWS, None, dtype=object)}, "'colour' is missing in 100.0%"),
        ({"member": np.ones(ROWS, dtype=bool)}, "'member' is "),
        ({"body": np.full(ROWS, "no", dtype=object)}, "'body' is a text whose "),
    ],
)
def test_drift_of_one_feature_is_found_and_named(changes, words):
    found = feature_drift_of(step_like(**changes), REFERENCE, MARGIN)
    assert found.what.startswith(words)
    assert found.log_worse > 50
    assert found.value - found.reference > MARGIN


def test_what_lies_within_the_margin_is_no_evidence():
    for changes in ({}, {"x": np.linspace(0.2, 1, ROWS)}, {"colour": np.roll(COLOURS, 1)}):
        assert feature_drift_of(step_like(**changes), REFERENCE, MARGIN).log_worse < 0
    assert feature_drift_of(REFERENCE.empty(), REFERENCE, MARGIN) is None
    # No rise is beyond what is left, and a margin of 0 allows for what the reference never had.
    assert feature_drift_of(step_like(x=np.full(ROWS, 5.0)), REFERENCE, 1.0) is None
    assert math.isfinite(feature_drift_of(step_like(x=np.full(ROWS, 5.0)), REFERENCE, 0.0).log_worse)


def test_the_evidence_depends_on_counts_alone_and_is_shared_by_the_steps():
    moved = np.random.default_rng(1).permutation(np.linspace(0.5, 1, ROWS))
    whole = feature_drift_of(step_like(x=moved), REFERENCE, MARGIN)
    first, second = (
        Profile.of({name: values[part] for name, values in table(x=moved).items()}, like=REFERENCE, sample=0)
        for part in (slice(0, 300), slice(300, None))
    )
    assert feature_drift_of(second + first, REFERENCE, MARGIN) == whole
    assert feature_drift_of(step_like(x=moved), REFERENCE, MARGIN, visits=5).log_worse == pytest.approx(
        whole.log_worse - math.log(5)
    )


def test_scores_and_features_have_half_of_the_guardrail_each(small_systems):
    scores, features = Measured(9, 0.8, 0.5, 5.0), Measured(9, 0.9, 0.1, 9.0, "'x' is odd")
    both = drift_together(scores, features)
    assert both.what == "'x' is odd"
    assert both.log_worse == pytest.approx(math.log((math.exp(5) + math.exp(9)) / 2))
    assert drift_together(scores, None).log_worse == pytest.approx(math.log((math.exp(5) + 1) / 2))
    assert drift_together(None, None) is None
    policy = small_systems.quiet_policy()
    assert most_visits(rollout_of(), policy) == 3
    assert most_visits(rollout_of(), changed(policy, step_back=True)) == 3 + 2 * policy.rollout.most_step_backs


def changed(policy, **parts):
    return msgspec.structs.replace(policy, rollout=msgspec.structs.replace(policy.rollout, **parts))


def rollout_of(**changes) -> Rollout:
    now = datetime(2025, 5, 1, tzinfo=UTC)
    made = Rollout(
        id="m-rollout-1",
        model="m",
        candidate=2,
        baseline=1,
        steps=parse_steps(("canary 10% for 1h", "100%", "bake for 1h")),
        state=RolloutState.RUNNING,
        created_at=now,
        updated_at=now,
        step_entered_at=now,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("feature", "names", "values", "codes"),
    [
        ("colour", ("red", "blue", "green"), ["green", "red", None, "pink"], [2, 0, NONE, NONE]),
        ("member", ("false", "true"), [0.0, 1.0, math.nan], [0, 1, NONE]),
        ("x", 4, [0.1, 0.3, 0.6, 9.0, math.nan], [0, 1, 2, 3, NONE]),
        ("body", None, [], []),
        ("nothing", None, [], []),
    ],
)
def test_groups_are_the_categories_or_bins_of_the_reference(feature, names, values, codes):
    found = grouping_of(feature, REFERENCE)
    if names is None:
        assert found is None
        return
    assert found.names == names if isinstance(names, tuple) else len(found.names) == names
    given = np.array(values, dtype=object if isinstance(names, tuple) and feature == "colour" else float)
    assert found.codes(given).tolist() == codes


def test_categories_beyond_the_most_frequent_are_one_group():
    many = np.array([f"c{place % 12}" for place in range(1200)] + ["c0"] * 9, dtype=object)
    found = grouping_of("c", Profile.of({"c": many}, kinds={"c": Kind.CATEGORICAL}))
    assert found.names[-1] == "other"
    assert len(found.names) == 7
    assert found.codes(np.array(["c0", "new"], dtype=object)).tolist() == [0, 6]
    assert grouping_of("c", Profile.of({"c": np.full(9, "one", dtype=object)}, kinds={"c": Kind.CATEGORICAL})) is None


def pairs_of_groups(new, old, *, truth=None, positive=1, task=Task.BINARY) -> Pairs:
    """Rows of two groups in turn; `new` and `old` say by group how often a version is right."""
    rng = np.random.default_rng(3)
    rows = 4_000
    group = np.arange(rows) % 2
    actual = rng.integers(0, 2, rows) if truth is None else np.full(rows, truth)
    said = [np.where(rng.random(rows) < np.array(part)[group], actual, 1 - actual) for part in (new, old)]
    return Pairs(task, actual, said[0], said[1], np.arange(rows), positive=positive)


GROUPS = grouping_of("member", REFERENCE)
CODES = np.arange(4_000) % 2


@pytest.mark.parametrize(
    ("new", "old", "metric", "harmed"),
    [
        ((0.9, 0.7), (0.9, 0.9), "accuracy", True),
        ((0.7, 0.9), (0.9, 0.9), "accuracy", True),
        ((0.9, 0.7), (0.9, 0.9), "tpr", True),
        # A gain of one group alone widens the gap too.
        ((0.95, 0.75), (0.75, 0.75), "accuracy", True),
        # Both lose alike; a gap is as wide as it was; it closes; it turns round and is no wider.
        ((0.7, 0.7), (0.9, 0.9), "accuracy", False),
        ((0.9, 0.7), (0.9, 0.7), "accuracy", False),
        ((0.8, 0.8), (0.95, 0.65), "accuracy", False),
        ((0.75, 0.9), (0.9, 0.75), "accuracy", False),
        ((0.9, 0.88), (0.9, 0.9), "accuracy", False),
        # Right and wrong calls of both classes leave the share of positive ones where it was.
        ((0.9, 0.7), (0.9, 0.9), "selection_rate", False),
    ],
)
def test_a_gap_that_widens_is_harm_and_one_that_does_not_is_none(new, old, metric, harmed):
    found = fairness_of(pairs_of_groups(new, old), [(GROUPS, CODES)], metric, 0.05)
    assert (found.log_worse > 12) is harmed
    assert (found.log_worse <= 0) is not harmed
    if harmed:
        assert found.value - found.reference > 0.05
        assert "where 'member' is 'true' and" in found.what or "where 'member' is 'false' and" in found.what


def test_fairness_is_judged_only_where_its_metric_and_its_groups_are():
    pairs = pairs_of_groups((0.9, 0.5), (0.9, 0.9))
    alone = np.where(CODES == 0, 0, NONE)
    assert fairness_of(pairs, [(GROUPS, alone)], "accuracy", 0.05) is None
    several = pairs_of_groups((0.9, 0.5), (0.9, 0.9), task=Task.MULTICLASS)
    assert fairness_of(several, [(GROUPS, CODES)], "tpr", 0.05) is None
    assert fairness_of(several, [(GROUPS, CODES)], "accuracy", 0.05).log_worse > 12
    number = pairs_of_groups((0.9, 0.5), (0.9, 0.9), task=Task.REGRESSION)
    assert fairness_of(number, [(GROUPS, CODES)], "accuracy", 0.05) is None
    # Groups in which no row enters say nothing: no row here is negative.
    assert fairness_of(pairs_of_groups((0.9, 0.5), (0.9, 0.9), truth=1), [(GROUPS, CODES)], "fpr", 0.05) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("fairness_gap", -0.1), ("fairness_gap", 1.0), ("drift_effect", -0.1), ("fairness_metric", "luck")],
)
def test_a_margin_of_the_wrong_sign_or_a_metric_that_there_is_not_is_refused(name, value):
    with pytest.raises(InvalidSettings, match=name):
        load(environment={}, overrides={f"policy.guardrails.{name}": value})


def test_all_guardrails_together_keep_to_the_budget_by_their_default_shares():
    everything = GuardrailPolicy(watch=GUARDRAILS)
    check_guardrails(everything)
    assert sum(everything.share(name) for name in GUARDRAILS) == pytest.approx(1.0)


# In a whole system
def guarded(small_systems, watch, **parts):
    # Labels are there and all other guardrails are off: what acts is the one that is watched.
    steps = ("shadow for 10 rows", "canary 10% for 1h and 10 rows", "ab 50% for 30d", "100%")
    rules = GuardrailPolicy(watch=(watch,), **parts)
    return small_systems.quiet_policy(guardrails=rules, rollout=RolloutPolicy(steps=steps))


@pytest.fixture
def started(small_systems):
    """A system with a rollout of another version under a policy."""
    made = []

    def start(policy, **fitted):
        small = small_systems.small_system(policy)
        made.append(small)
        version = small.register(small_systems.fitted(**fitted))
        small.system.rollouts.start(small_systems.MODEL, version.number, policy, at=small.clock.now(), reason="new")
        return small

    yield start
    for one in made:
        one.system.close()


def facts_of(small, small_systems, policy):
    view = small.system.view(small_systems.MODEL)
    return rollout_facts(
        view, small.rollout(), small.system.registry.version(small_systems.MODEL, 1), policy, small.clock.now()
    )


def replays(small, kind):
    decision = small.decisions(kind)[-1]
    kept = small.system.control.replay(decision.id)
    assert kept.same, kept
    # What is kept goes through the database as JSON.
    assert json.loads(msgspec.json.encode(decision.inputs["facts"])) == decision.inputs["facts"]
    return decision


def test_features_that_drift_in_a_step_take_the_candidate_back(started, small_systems):
    policy = guarded(small_systems, "drift")
    small = started(policy)
    small.drive(2, seconds=1900)
    small.drive(3, seconds=1900)
    assert small.rollout().current.kind is StepKind.AB
    assert facts_of(small, small_systems, policy).drift.log_worse < 0
    for _ in range(6):
        small.send(60, x=np.linspace(0.6, 0.99, 60))
        small.system.tick()
    assert small.rollout().state.was_rolled_back
    assert small.stages()[1] == "production"
    decision = replays(small, "rollback")
    assert decision.rule == "drift"
    assert "'x' is above " in decision.reason
    (incident,) = small.system.control.incidents(small_systems.MODEL)
    assert "'x' is above " in incident.cause


def test_a_candidate_that_shadows_is_judged_by_what_production_answers(started, small_systems):
    small = started(guarded(small_systems, "drift"))
    small.send(60, x=np.linspace(0.6, 0.99, 60))
    small.system.tick()
    assert small.rollout().state is RolloutState.REJECTED
    assert "'x' is above " in replays(small, "rejected").reason


def test_a_group_that_loses_takes_the_candidate_back_and_is_named(started, small_systems):
    policy = guarded(small_systems, "fairness", fairness_features=("x", "age"))
    # It is wrong where 0 < x <= 0.5, one of the four bins, and right everywhere else.
    small = started(policy, cut=0.5)
    small.drive(3, seconds=1900)
    seen = facts_of(small, small_systems, policy)
    assert seen.fairness.value > 0.5
    # A process that starts again reads the same from the log.
    small.system.views.clear()
    assert facts_of(small, small_systems, policy) == seen
    for _ in range(12):
        small.drive(1)
        if not small.rollout().state.is_under_way:
            break
    assert small.rollout().state in (RolloutState.REJECTED, RolloutState.ROLLING_BACK, RolloutState.VERIFYING)
    decision = replays(small, "rejected" if small.rollout().state is RolloutState.REJECTED else "rollback")
    assert decision.rule == "fairness"
    assert "accuracy is " in decision.reason
    assert "where 'x' is 'above " in decision.reason
    # The protected feature that the model does not have was told of, once.
    told = [one for one in small.system.records(Finding, small_systems.MODEL) if one.check == "rollout fairness"]
    assert [one.verdict for one in told] == [Verdict.ERROR]
    assert "'age'" in told[0].message


def test_without_a_protected_feature_fairness_is_not_watched(started, small_systems):
    small = started(guarded(small_systems, "fairness"), cut=0.5)
    small.drive(5, seconds=1900)
    assert small.rollout().state is RolloutState.RUNNING
    assert facts_of(small, small_systems, guarded(small_systems, "fairness")).fairness is None
    assert not [one for one in small.system.records(Finding, small_systems.MODEL) if one.check == "rollout fairness"]


def test_rows_of_the_span_are_read_once_from_a_log_on_disk_whatever_was_before(tmp_path):
    log = SqlitePredictionLog(tmp_path / "log.db", tmp_path / "sealed")
    rollout = rollout_of(step_entered_at=rollout_of().created_at + timedelta(hours=2))
    reference = Profile.of({"x": np.linspace(0, 1, 100)}, sample=0)
    features, joined = RolloutFeatures(log, "m"), JoinedLog(log, "m", Task.BINARY)

    def add(hour: float, value: float, version: int) -> None:
        at = as_datetime64(rollout.created_at + timedelta(hours=hour))
        log.append([block_of(f"{hour}", at, value, version)])
        joined.follow()

    grouping = grouping_of("x", reference)
    assert features.of_step(rollout, reference, until=joined.sequence).rows == 0
    for hour, value, version in ((-1, 0.1, 2), (1, 0.1, 2), (2, 0.9, 2), (2.5, 0.9, 1), (3, 0.9, 2)):
        add(hour, value, version)
        features.of_step(rollout, reference, until=joined.sequence)
    # Blocks that the joined log has not read yet wait.
    log.append([block_of("late", as_datetime64(rollout.created_at + timedelta(hours=4)), 0.6, 2)])
    assert features.of_step(rollout, reference, until=joined.sequence).rows == 6
    [(_, codes)] = features.groups(rollout, [grouping], joined, joined.rows().count)
    assert codes.tolist() == [NONE] * 3 + [0] * 3 + [3] * 9
    joined.follow()
    found = features.of_step(rollout, reference, until=joined.sequence)
    assert found.rows == 9
    assert found.features["x"].counts.sum() == 9
    [(_, codes)] = features.groups(rollout, [grouping], joined, joined.rows().count)
    assert codes[-3:].tolist() == [2, 2, 2]
    # A new step begins anew, from the same log.
    later = msgspec.structs.replace(rollout, step=1, step_entered_at=rollout.created_at + timedelta(hours=3))
    assert features.of_step(later, reference, until=joined.sequence).rows == 6
    again = RolloutFeatures(log, "m")
    assert again.of_step(rollout, reference, until=joined.sequence).rows == 9
    log.close()


def block_of(name: str, at: np.datetime64, value: float, version: int) -> PredictionBlock:
    def column(one: object) -> np.ndarray:
        return np.array([one] * 3, dtype=object)

    return PredictionBlock(
        model="m",
        shadow=False,
        ids=np.array([f"{name}-{row}" for row in range(3)], dtype=object),
        event_time=np.full(3, at),
        version=np.full(3, version, dtype=np.int64),
        arm=column("control"),
        entity=column(None),
        output=column("spam"),
        score=np.full(3, 0.9),
        latency_ms=np.full(3, 1.0),
        error=column(None),
        features=Columns({"x": np.full(3, value)}),
    )
