"""When to retrain. Pure: facts and policy in, a trigger or the reason for waiting out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from homeostat.records import (
    Finding,
    Policy,
    Rollout,
    RolloutState,
    Run,
    RunState,
    StepKind,
    Trigger,
    TriggerKind,
    Verdict,
    parse_span,
)

# A candidate that shadows is given its chance until there is so much more to learn from that a newer one should win.
FAIR_CHANCE_ROWS = 150
FAIR_CHANCE_GROWTH = 0.5
RECOVERY_ROWS = 50
LABELS_ARRIVE = 0.1
# Rests grow, but not for ever: what could not be learned yesterday may be learnt from today's rows.
MOST_GROWTH = 4.0
MOST_FAILURES = 20
WEEK, QUARTER = 7, 91


@dataclass(frozen=True, slots=True)
class Facts:
    """What the policy looks at. `findings` are the newest of each check of the production version.

    `labelled` counts the model's labelled rows so far, `history_rows` those that its first version was made from.
    `ripe_labelled_share` is the share of rows older than the accepted wait for labels that have one (`None` where no
    row is so old). `shortfall` is by how much recent performance is below the best that the model has shown, less
    what chance explains.
    """

    now: datetime
    findings: dict[str, Finding]
    runs: list[Run]
    rollouts: list[Rollout]
    labelled: int
    recent_rows: int
    shortfall: float
    ripe_labelled_share: float | None
    drift_alerts: int
    first_served_at: datetime | None
    history_rows: int = 0


def decide(facts: Facts, policy: Policy) -> Trigger | None:
    """The trigger that starts a retraining now, or `None`."""
    if any(not run.state.is_final for run in facts.runs) or _is_busy(facts.rollouts):
        return None
    if goes_round(facts.rollouts, policy, facts.now) or not _rested(facts, policy):
        return None
    for rule in (_performance, _recovery, _drift, _counts, _schedule):
        trigger = rule(facts, policy)
        if trigger is not None:
            return _with_counts(trigger, facts)
    return None


def _with_counts(trigger: Trigger, facts: Facts) -> Trigger:
    evidence = {**trigger.evidence, "labelled": facts.labelled}
    return Trigger(kind=trigger.kind, reason=trigger.reason, since=trigger.since, evidence=evidence)


def _is_busy(rollouts: list[Rollout]) -> bool:
    """Whether a candidate takes traffic, or has just taken over. One that only shadows may be followed by a newer."""
    return any(rollout.state.is_under_way and rollout.current.kind is not StepKind.SHADOW for rollout in rollouts)


def goes_round(rollouts: Sequence[Rollout], policy: Policy, now: datetime) -> bool:
    """Whether retraining was followed by a rollback so often of late that people must look before it goes on."""
    most, span = policy.rollout.most_rollbacks, parse_span(policy.rollout.rollback_span)
    if not most:
        return False
    since = now - timedelta(seconds=span.seconds)
    made = [one for one in rollouts if one.run is not None and one.state.was_rolled_back and one.updated_at >= since]
    return len(made) >= most


def fruitless(runs: list[Run], rollouts: list[Rollout]) -> int:
    """How many of the latest runs, counted from the last, changed nothing in production."""
    by_run = {rollout.run: rollout for rollout in rollouts}
    count = 0
    for run in reversed(runs):
        rollout = by_run.get(run.id)
        promoted = rollout is not None and rollout.promoted_at is not None
        given_up = (RolloutState.ABORTED, RolloutState.REJECTED)
        kept = promoted and rollout is not None and not rollout.state.was_rolled_back and rollout.state not in given_up
        if run.state is RunState.SUCCEEDED and kept:
            return count
        count += 1
    return count


def _rested(facts: Facts, policy: Policy) -> bool:
    if not facts.runs:
        return True
    last, rules = facts.runs[-1], policy.triggers
    failures = fruitless(facts.runs, facts.rollouts)
    growth = min(rules.cooldown_growth ** min(max(failures - 1, 0), MOST_FAILURES), MOST_GROWTH)
    span = parse_span(rules.cooldown)
    if facts.now < last.updated_at + timedelta(seconds=span.seconds * growth):
        return False
    rows = max(span.rows, rules.cooldown_share * (facts.labelled + facts.history_rows)) * growth
    if any(rollout.state.is_under_way and rollout.current.kind is StepKind.SHADOW for rollout in facts.rollouts):
        known = int(last.trigger.evidence.get("rows_since", 0))
        rows = max(rows, FAIR_CHANCE_ROWS, FAIR_CHANCE_GROWTH * known)
    fresh = facts.labelled - int(last.trigger.evidence.get("labelled", 0))
    if rows and fresh == 0:
        # Where no labels come, rows can't measure the rest; the longest accepted wait for labels does.
        return facts.now >= last.updated_at + timedelta(seconds=parse_span(rules.label_lag).seconds)
    return fresh >= rows


def _harmed(facts: Facts, check: str) -> Finding | None:
    finding = facts.findings.get(check)
    return finding if finding is not None and finding.verdict is Verdict.HARMED else None


def _performance(facts: Facts, policy: Policy) -> Trigger | None:
    if not policy.triggers.performance:
        return None
    if policy.preset == "classic":
        for check, finding in facts.findings.items():
            if finding.verdict is Verdict.HARMED and check.startswith(("performance", "accuracy floor")):
                return Trigger(kind=TriggerKind.PERFORMANCE, reason=finding.message, evidence={"finding": finding.id})
        return None
    floor = _harmed(facts, "accuracy floor")
    decay = _harmed(facts, "decay")
    if decay is None:
        if floor is None:
            return None
        return Trigger(kind=TriggerKind.PERFORMANCE, reason=floor.message, evidence={"finding": floor.id})
    if int(decay.evidence.get("rows_since", 0)) < policy.triggers.rows_since_change:
        # Too few rows of the new kind to learn from and to be compared on; the next look has more.
        return None
    return Trigger(
        kind=TriggerKind.PERFORMANCE,
        reason=decay.message,
        since=_moment(decay.evidence.get("since_time")),
        evidence={
            "finding": decay.id,
            "log_evidence": decay.statistic,
            "threshold": decay.threshold,
            "rows_since": decay.evidence["rows_since"],
        },
    )


def _recovery(facts: Facts, policy: Policy) -> Trigger | None:
    """Retrain again on more rows while the healed model is not yet as good as the model has been."""
    if not policy.triggers.recovery or facts.recent_rows < RECOVERY_ROWS or facts.shortfall <= 0:
        return None
    earlier = next((run for run in reversed(facts.runs) if run.trigger.since is not None), None)
    if earlier is None:
        return None
    return Trigger(
        kind=TriggerKind.RECOVERY,
        reason=f"Still {facts.shortfall:.3f} short of the best that this model has shown, and more labelled rows "
        "have come since the last retraining.",
        since=earlier.trigger.since,
        evidence={"shortfall": round(facts.shortfall, 5), "rows": facts.recent_rows},
    )


def _drift(facts: Facts, policy: Policy) -> Trigger | None:
    """Drift alone counts where labels can't confirm or refute harm in time, or where the policy says so."""
    rules = policy.triggers
    finding = _harmed(facts, "drift")
    if rules.drift == "never" or finding is None:
        return None
    if rules.drift == "unlabelled" and (
        facts.ripe_labelled_share is None or facts.ripe_labelled_share >= LABELS_ARRIVE
    ):
        return None
    if policy.preset == "classic" and (finding.statistic or 0.0) <= rules.drift_share:
        return None
    return Trigger(kind=TriggerKind.DRIFT, reason=finding.message, evidence={"finding": finding.id})


def _counts(facts: Facts, policy: Policy) -> Trigger | None:
    rules = policy.triggers
    if rules.alert_count and facts.drift_alerts >= rules.alert_count:
        return Trigger(
            kind=TriggerKind.ALERT_COUNT,
            reason=f"{facts.drift_alerts} drift alerts since the last retraining.",
            evidence={"alerts": facts.drift_alerts},
        )
    before = int(facts.runs[-1].trigger.evidence.get("labelled", 0)) if facts.runs else 0
    if rules.label_count and facts.labelled - before >= rules.label_count:
        fresh = facts.labelled - before
        return Trigger(kind=TriggerKind.LABEL_COUNT, reason=f"{fresh:,} new labels.", evidence={"new_labels": fresh})
    return None


def _schedule(facts: Facts, policy: Policy) -> Trigger | None:
    schedule, hour = policy.triggers.schedule, policy.triggers.schedule_hour
    since = facts.runs[-1].created_at if facts.runs else facts.first_served_at
    if since is None or schedule == "never":
        return None
    due = next_due(schedule, hour, since)
    if facts.now < due:
        return None
    evidence: dict[str, Any] = {"schedule": schedule, "due": due.isoformat()}
    return Trigger(kind=TriggerKind.SCHEDULE, reason=f"Due by the schedule ({schedule}).", evidence=evidence)


def next_due(schedule: str, hour: int, since: datetime) -> datetime:
    """The first time after `since` at which the schedule is due; missed times are not caught up on.

    >>> from datetime import UTC
    >>> next_due("daily", 2, datetime(2025, 1, 1, 12, tzinfo=UTC)).isoformat()
    '2025-01-02T02:00:00+00:00'
    """
    days = {"daily": 1, "weekly": WEEK, "quarterly": QUARTER}.get(schedule)
    if days is None:
        return since + timedelta(seconds=parse_span(schedule).seconds)
    due = since.replace(hour=hour, minute=0, second=0, microsecond=0)
    if due <= since:
        due += timedelta(days=1)
    return due + timedelta(days=days - 1)


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
