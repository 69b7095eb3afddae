"""When to retrain, as tables: facts and policy in, a trigger or none out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from homeostat.healing.rules import (
    FAIR_CHANCE_GROWTH,
    FAIR_CHANCE_ROWS,
    LABELS_ARRIVE,
    MOST_FAILURES,
    MOST_GROWTH,
    RECOVERY_ROWS,
    Facts,
    decide,
    fruitless,
    next_due,
)
from homeostat.records import (
    CLASSIC,
    Finding,
    Policy,
    Rollout,
    RolloutState,
    Run,
    RunState,
    Severity,
    StepKind,
    Trigger,
    TriggerKind,
    TriggerPolicy,
    Verdict,
    parse_span,
    parse_steps,
)

POLICY = Policy()
ENOUGH = POLICY.triggers.rows_since_change
NOW = datetime(2025, 6, 11, 12, tzinfo=UTC)  # a Wednesday
STEPS = parse_steps(("shadow for 5 pairs", "canary 10% for 1h", "ab 50% for 1h", "100%", "bake for 1h"))
POSITION = {step.kind: place for place, step in enumerate(STEPS)}


def found(check: str, verdict: Verdict = Verdict.HARMED, statistic: float | None = None, **evidence: Any) -> Finding:
    return Finding(
        id=f"m:{check}",
        model="m",
        check=check,
        at=NOW,
        verdict=verdict,
        severity=Severity.HIGH,
        message=f"{check} says so",
        statistic=statistic,
        evidence=evidence,
    )


def decay(rows_since: int) -> Finding:
    since = (NOW - timedelta(days=2)).isoformat()
    return found("decay", statistic=12.0, rows_since=rows_since, since_time=since)


def run(
    number: int = 1,
    state: RunState = RunState.REJECTED,
    *,
    ended: timedelta = timedelta(days=30),
    labelled: int = 0,
    since: datetime | None = None,
    kind: TriggerKind = TriggerKind.PERFORMANCE,
    **evidence: Any,
) -> Run:
    return Run(
        id=f"m-run-{number}",
        model="m",
        state=state,
        trigger=Trigger(kind=kind, reason="then", since=since, evidence={"labelled": labelled, **evidence}),
        created_at=NOW - ended,
        updated_at=NOW - ended,
        baseline=1,
        number=number,
        seed=1,
    )


def rollout(step: StepKind, state: RolloutState = RolloutState.RUNNING, *, run_number: int | None = None) -> Rollout:
    taken = step in (StepKind.FULL, StepKind.BAKE)
    return Rollout(
        id=f"m-rollout-{run_number}",
        model="m",
        candidate=2,
        baseline=1,
        steps=STEPS,
        state=state,
        created_at=NOW,
        updated_at=NOW,
        step=POSITION[step],
        step_entered_at=NOW,
        promoted_at=NOW if taken else None,
        run=None if run_number is None else f"m-run-{run_number}",
    )


def facts(*findings: Finding, **changes: Any) -> Facts:
    quiet: dict[str, Any] = {
        "now": NOW,
        "runs": [],
        "rollouts": [],
        "labelled": 10_000,
        "recent_rows": 0,
        "shortfall": 0.0,
        "ripe_labelled_share": 1.0,
        "drift_alerts": 0,
        "first_served_at": NOW - timedelta(days=365),
    }
    return Facts(findings={finding.check: finding for finding in findings}, **(quiet | changes))


def triggers(base: Policy = POLICY, **changes: Any) -> Policy:
    return msgspec.structs.replace(base, triggers=msgspec.structs.replace(base.triggers, **changes))


def kind_of(known: Facts, policy: Policy = POLICY) -> str | None:
    trigger = decide(known, policy)
    return None if trigger is None else trigger.kind.value


@pytest.mark.parametrize(
    ("findings", "changes", "policy", "kind"),
    [
        # Labelled performance
        ((), {}, POLICY, None),
        ((decay(ENOUGH),), {}, POLICY, "performance"),
        ((decay(ENOUGH - 1),), {}, POLICY, None),
        ((decay(ENOUGH),), {}, triggers(performance=False), None),
        ((found("decay", Verdict.HEALTHY, rows_since=ENOUGH),), {}, POLICY, None),
        ((found("decay", Verdict.ERROR, rows_since=ENOUGH),), {}, POLICY, None),
        ((found("decay", Verdict.NO_DATA),), {}, POLICY, None),
        ((found("accuracy floor"),), {}, POLICY, "performance"),
        ((found("accuracy floor", Verdict.HEALTHY),), {}, POLICY, None),
        # Windows of fixed length raise alerts; in calibrated they retrain nothing.
        ((found("performance daily"),), {}, POLICY, None),
        ((found("performance daily"),), {}, CLASSIC, "performance"),
        ((found("accuracy floor"),), {}, CLASSIC, "performance"),
        ((found("performance daily", Verdict.INSUFFICIENT),), {}, triggers(CLASSIC, schedule="never"), None),
        ((found("performance daily"),), {}, triggers(CLASSIC, performance=False, schedule="never"), None),
        # Drift: nothing where labels arrive, or where nothing is old enough to know.
        ((found("drift", statistic=0.9),), {}, POLICY, None),
        ((found("drift", statistic=0.9),), {"ripe_labelled_share": None}, POLICY, None),
        ((found("drift", statistic=0.9),), {"ripe_labelled_share": LABELS_ARRIVE}, POLICY, None),
        ((found("drift", statistic=0.9),), {"ripe_labelled_share": 0.0}, POLICY, "drift"),
        ((found("drift", statistic=0.9),), {"ripe_labelled_share": 0.0}, triggers(drift="never"), None),
        ((found("drift", statistic=0.9),), {}, triggers(drift="always"), "drift"),
        ((found("drift", Verdict.HEALTHY, 0.9),), {"ripe_labelled_share": 0.0}, POLICY, None),
        ((found("prediction", statistic=0.9),), {"ripe_labelled_share": 0.0}, POLICY, None),
        ((found("drift", statistic=0.31),), {}, triggers(CLASSIC, schedule="never"), "drift"),
        ((found("drift", statistic=0.30),), {}, triggers(CLASSIC, schedule="never"), None),
        # Counts
        ((), {"drift_alerts": 99}, POLICY, None),
        ((), {"drift_alerts": 2}, triggers(alert_count=3), None),
        ((), {"drift_alerts": 3}, triggers(alert_count=3), "alert_count"),
        ((), {"labelled": 499}, triggers(label_count=500), None),
        ((), {"labelled": 500}, triggers(label_count=500), "label_count"),
        ((), {"labelled": 900, "runs": [run(labelled=500)]}, triggers(label_count=500), None),
        ((), {"labelled": 1000, "runs": [run(labelled=500)]}, triggers(label_count=500), "label_count"),
        # Recovery: only after a retraining for a change, and on enough rows of the healed version.
        ((), {"shortfall": 0.1, "recent_rows": RECOVERY_ROWS}, POLICY, None),
        ((), {"shortfall": 0.1, "recent_rows": RECOVERY_ROWS, "runs": [run(since=NOW)]}, POLICY, "recovery"),
        ((), {"shortfall": 0.1, "recent_rows": RECOVERY_ROWS, "runs": [run(since=None)]}, POLICY, None),
        ((), {"shortfall": 0.1, "recent_rows": RECOVERY_ROWS - 1, "runs": [run(since=NOW)]}, POLICY, None),
        ((), {"shortfall": 0.0, "recent_rows": RECOVERY_ROWS, "runs": [run(since=NOW)]}, POLICY, None),
        (
            (),
            {"shortfall": 0.1, "recent_rows": RECOVERY_ROWS, "runs": [run(since=NOW)]},
            triggers(recovery=False),
            None,
        ),
        # Schedule
        ((), {}, triggers(schedule="daily"), "schedule"),
        ((), {}, triggers(schedule="never"), None),
        ((), {"first_served_at": None}, triggers(schedule="daily"), None),
        ((), {"first_served_at": NOW - timedelta(hours=1)}, triggers(schedule="daily"), None),
        ((), {"runs": [run(ended=timedelta(days=29))]}, triggers(schedule="30d"), None),
        ((), {"runs": [run(ended=timedelta(days=30))]}, triggers(schedule="30d"), "schedule"),
    ],
)
def test_what_starts_a_retraining(findings, changes, policy, kind):
    assert kind_of(facts(*findings, **changes), policy) == kind


def test_a_trigger_says_why_since_when_and_on_how_many_labels():
    trigger = decide(facts(decay(ENOUGH + 5)), POLICY)
    assert trigger is not None
    assert trigger.since == NOW - timedelta(days=2)
    assert trigger.reason == "decay says so"
    assert trigger.evidence["labelled"] == 10_000
    assert trigger.evidence["rows_since"] == ENOUGH + 5
    assert trigger.evidence["finding"] == "m:decay"


@pytest.mark.parametrize("state", [state for state in RunState if not state.is_final])
def test_a_run_under_way_is_enough(state):
    assert kind_of(facts(decay(ENOUGH), runs=[run(state=state)])) is None


@pytest.mark.parametrize(
    ("rollouts", "busy"),
    [
        ([rollout(StepKind.SHADOW)], False),
        ([rollout(StepKind.CANARY)], True),
        ([rollout(StepKind.CANARY, RolloutState.PAUSED)], True),
        ([rollout(StepKind.AB)], True),
        ([rollout(StepKind.FULL)], True),
        ([rollout(StepKind.BAKE)], True),
        ([rollout(StepKind.BAKE, RolloutState.COMPLETED)], False),
        ([rollout(StepKind.CANARY, RolloutState.ROLLED_BACK)], False),
        ([rollout(StepKind.AB, RolloutState.REJECTED)], False),
    ],
)
def test_nothing_starts_while_a_candidate_takes_traffic_or_bakes(rollouts, busy):
    known = facts(decay(ENOUGH), rollouts=rollouts, runs=[run()])
    assert (kind_of(known) is None) == busy


def test_rest_by_time():
    policy = triggers(cooldown="24h", cooldown_growth=1.0, cooldown_share=0.0)
    for hours, kind in ((23.9, None), (24, "performance")):
        known = facts(decay(ENOUGH), runs=[run(ended=timedelta(hours=hours), labelled=10_000)])
        assert kind_of(known, policy) == kind


def test_rest_by_rows_whatever_the_time():
    policy = triggers(cooldown="80 rows", cooldown_growth=1.0, cooldown_share=0.0)
    for fresh, kind in ((79, None), (80, "performance")):
        known = facts(decay(ENOUGH), runs=[run(ended=timedelta(days=900), labelled=10_000 - fresh)])
        assert kind_of(known, policy) == kind


def test_rest_is_at_least_a_share_of_all_labelled_rows():
    policy = triggers(cooldown="1 rows", cooldown_growth=1.0, cooldown_share=0.05)
    for fresh, kind in ((499, None), (500, "performance")):
        assert kind_of(facts(decay(ENOUGH), runs=[run(labelled=10_000 - fresh)]), policy) == kind
    # Rows that the first version was made from count as well.
    for fresh, kind in ((999, None), (1000, "performance")):
        known = facts(decay(ENOUGH), runs=[run(labelled=10_000 - fresh)], history_rows=10_000)
        assert kind_of(known, policy) == kind


@pytest.mark.parametrize("failed", [1, 2, 4, MOST_FAILURES + 1, MOST_FAILURES + 40])
def test_rest_grows_with_runs_that_changed_nothing(failed):
    policy = triggers(cooldown="50 rows", cooldown_growth=1.5, cooldown_share=0.0)
    rest = 50 * min(1.5 ** min(failed - 1, MOST_FAILURES), MOST_GROWTH)
    for fresh, kind in ((int(rest) - 1, None), (int(rest) + 1, "performance")):
        runs = [run(number, labelled=100_000 - fresh) for number in range(1, failed + 1)]
        assert kind_of(facts(decay(ENOUGH), runs=runs, labelled=100_000), policy) == kind


@pytest.mark.parametrize(
    ("runs", "rollouts", "count"),
    [
        ([], [], 0),
        ([run(1), run(2)], [], 2),
        ([run(1, RunState.FAILED)], [], 1),
        ([run(1, RunState.SUCCEEDED)], [], 1),
        ([run(1, RunState.SUCCEEDED)], [rollout(StepKind.SHADOW, RolloutState.REJECTED, run_number=1)], 1),
        ([run(1, RunState.SUCCEEDED)], [rollout(StepKind.BAKE, RolloutState.ROLLED_BACK, run_number=1)], 1),
        ([run(1, RunState.SUCCEEDED)], [rollout(StepKind.BAKE, RolloutState.COMPLETED, run_number=1)], 0),
        ([run(1, RunState.SUCCEEDED)], [rollout(StepKind.BAKE, run_number=1)], 0),
        ([run(1, RunState.SUCCEEDED), run(2)], [rollout(StepKind.BAKE, RolloutState.COMPLETED, run_number=1)], 1),
    ],
)
def test_fruitless_runs(runs, rollouts, count):
    assert fruitless(runs, rollouts) == count


def test_a_candidate_that_shadows_is_given_its_chance():
    policy = triggers(cooldown="1 rows", cooldown_growth=1.0, cooldown_share=0.0)
    known = 10 * FAIR_CHANCE_ROWS
    for rows_since, needed in ((0, FAIR_CHANCE_ROWS), (known, FAIR_CHANCE_GROWTH * known)):
        for fresh, kind in ((needed - 1, None), (needed, "performance")):
            last = run(labelled=100_000 - int(fresh), rows_since=rows_since)
            shadowing = facts(decay(ENOUGH), runs=[last], rollouts=[rollout(StepKind.SHADOW)], labelled=100_000)
            assert kind_of(shadowing, policy) == kind, (rows_since, fresh)


def test_the_default_rest_is_by_rows_and_classic_by_a_day():
    assert parse_span(TriggerPolicy().cooldown).rows > 0
    assert parse_span(CLASSIC.triggers.cooldown).seconds == 86_400


@pytest.mark.parametrize(
    ("schedule", "hour", "since", "due"),
    [
        ("daily", 2, "2025-06-11T01:59", "2025-06-11T02:00"),
        ("daily", 2, "2025-06-11T02:00", "2025-06-12T02:00"),
        ("daily", 2, "2025-06-11T12:00", "2025-06-12T02:00"),
        ("daily", 0, "2025-12-31T23:59", "2026-01-01T00:00"),
        ("daily", 2, "2024-02-28T12:00", "2024-02-29T02:00"),
        ("weekly", 2, "2025-06-11T12:00", "2025-06-18T02:00"),
        ("quarterly", 2, "2025-06-11T12:00", "2025-09-10T02:00"),
        ("12h", 2, "2025-06-11T12:00", "2025-06-12T00:00"),
        ("30d", 2, "2025-06-11T12:00", "2025-07-11T12:00"),
    ],
)
def test_when_a_schedule_is_due(schedule, hour, since, due):
    start = datetime.fromisoformat(since).replace(tzinfo=UTC)
    assert next_due(schedule, hour, start) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_missed_times_are_not_caught_up_on():
    policy = triggers(schedule="daily", cooldown="0s", cooldown_share=0.0)
    assert kind_of(facts(first_served_at=NOW - timedelta(days=40)), policy) == "schedule"
    assert kind_of(facts(runs=[run(ended=timedelta(minutes=1), labelled=0)]), policy) is None
