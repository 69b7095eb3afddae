"""Alerts and decisions as people read them: what, when, who, why, and by which figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from homeostat.dashboard.condition import metric_words, newest
from homeostat.dashboard.facts import ModelFacts
from homeostat.dashboard.words import SEVERITY_RANK, VERDICT_WORDS, Moment, decision_words, evidence, moment, sound
from homeostat.records import Alert, Decision, Finding, Severity, Verdict
from homeostat.reports.format import counted, metric_value, number, percent

MOST_ALERTS = 8
MOST_DECISIONS = 40
FIRST_DECISIONS = 8
REASON, OLDER_REASON = 300, 120
# The rules whose figures are natural logarithms of e-values.
EVIDENCE_RULES = frozenset(
    {
        "step",
        "limit of the step",
        "paired evidence",
        "false-positive rate",
        "true-positive rate",
        "error rate",
        "latency",
    }
)
LOOKS = {
    "promotion": "up",
    "completed": "up",
    "installed": "up",
    "rollback": "down",
    "aborted": "down",
    "alert": "bad",
    "failed": "bad",
}
RUN_ENDS = frozenset({"candidate", "rejected", "failed"})
CHECK_NAMES = {
    "performance daily": "quality, 1 day",
    "performance 7 days": "quality, 7 days",
    "performance 30 days": "quality, 30 days",
    "decay": "decay of the loss",
    "accuracy floor": "accuracy floor",
    "drift": "drift of the features",
    "prediction": "drift of the scores",
    "service": "service",
}


@dataclass(frozen=True)
class AlertRow:
    """An open alert."""

    id: str
    severity: str
    subject: str
    message: str
    state: str
    opened: Moment
    last: Moment
    count: str


@dataclass(frozen=True)
class DecisionRow:
    """A decision."""

    what: str
    look: str
    at: Moment
    actor: str
    reason: str
    figures: str


@dataclass(frozen=True)
class CheckRow:
    """What a check says now."""

    name: str
    verdict: str
    words: str
    severity: str
    message: str
    rows: str
    at: Moment


def alert_rows(alerts: Sequence[Alert], now: datetime) -> list[AlertRow]:
    """Alerts, the most severe first, then the newest."""
    ranked = sorted(alerts, key=lambda alert: (-SEVERITY_RANK[alert.severity.value], -alert.last_seen_at.timestamp()))
    return [
        AlertRow(
            id=sound(alert.id, 90),
            severity=alert.severity.value,
            subject=sound(alert.subject, 60),
            message=sound(alert.message, REASON),
            state=f"acknowledged by {sound(alert.acknowledged_by, 40)}" if alert.acknowledged_by else alert.state.value,
            opened=moment(alert.opened_at, now),
            last=moment(alert.last_seen_at, now),
            count="once" if alert.count == 1 else f"{alert.count:,} times",
        )
        for alert in ranked[:MOST_ALERTS]
    ]


def alerts_words(alerts: Sequence[Alert]) -> str:
    """How many alerts are open and how bad the worst is."""
    if not alerts:
        return "no open alert"
    worst = max(alerts, key=lambda alert: SEVERITY_RANK[alert.severity.value]).severity.value
    return f"{counted(len(alerts), 'open alert')}, {'' if len(alerts) == 1 else 'the worst '}{worst}"


def decision_rows(decisions: Sequence[Decision], now: datetime) -> list[DecisionRow]:
    """The latest decisions, newest first."""
    return [
        DecisionRow(
            what=decision_words(decision),
            look=LOOKS.get(decision.kind, "plain"),
            at=moment(decision.at, now),
            actor=sound(decision.actor, 40),
            reason=sound(decision.reason, REASON if index < FIRST_DECISIONS else OLDER_REASON),
            figures=figures(decision),
        )
        for index, decision in enumerate(reversed(decisions[-MOST_DECISIONS:]))
    ]


def retraining_since(decisions: Sequence[Decision], now: datetime) -> Moment | None:
    """When the retraining began that is under way, or `None`."""
    ended = {decision.inputs.get("run") for decision in decisions if decision.kind in RUN_ENDS}
    began = [decision for decision in decisions if decision.kind == "retraining"]
    is_live = bool(began) and began[-1].inputs.get("run") not in ended
    return moment(began[-1].at, now) if is_live else None


def figures(decision: Decision) -> str:
    """The statistic that a decision was taken by, beside its threshold, in the unit of its rule."""
    statistic, threshold, rule = decision.statistic, decision.threshold, sound(decision.rule, 40)
    if statistic is None:
        return f"trigger: {rule}" if decision.kind == "retraining" and rule else rule if rule == "by hand" else ""
    check = _check_of(decision)
    if rule in EVIDENCE_RULES and decision.kind != "alert":
        side = "worse" if decision.kind in ("rollback", "rejected") and rule != "limit of the step" else "better"
        return f"{rule}: evidence for {side} {evidence(statistic)}; {evidence(threshold)} decides"
    if rule == "promotion gate":
        return f"{rule}: gain {number(statistic)}, at least {number(threshold)} needed"
    if check == "decay":
        return f"{rule}: evidence for a rise of the loss {evidence(statistic)}; {evidence(threshold)} decides"
    if check == "drift":
        return f"{rule}: {percent(statistic)} of the features drifted"
    if check is not None and check.startswith(("performance", "accuracy")):
        metric = "mae" if decision.reason.startswith("mae") else "accuracy"
        against = f", {metric_value(metric, threshold)} when it was made" if threshold is not None else ""
        return f"{rule}: {metric_words(metric)} {metric_value(metric, statistic)}{against}"
    against = f", threshold {number(threshold)}" if threshold is not None else ""
    return f"{rule or 'statistic'}: {number(statistic)}{against}"


def _check_of(decision: Decision) -> str | None:
    """The check whose finding opened an alert."""
    finding = decision.inputs.get("finding")
    if decision.kind != "alert" or not isinstance(finding, str):
        return None
    return finding.removeprefix(f"{decision.model}:").split(":")[0]


def check_rows(facts: ModelFacts, now: datetime) -> list[CheckRow]:
    """What every check said last of the version in production."""
    found = newest(facts)
    return [_check(name, found.get(check), now) for check, name in CHECK_NAMES.items() if _is_listed(check, found)]


def _is_listed(check: str, found: dict[str, Finding]) -> bool:
    """A floor is looked at only where the policy has one; each other check belongs to every model."""
    return check != "accuracy floor" or check in found


def _check(name: str, finding: Finding | None, now: datetime) -> CheckRow:
    if finding is None:
        words = VERDICT_WORDS[Verdict.PENDING]
        return CheckRow(name, "pending", words, "", "", "–", Moment("", "–", ""))
    return CheckRow(
        name=name,
        verdict=finding.verdict.value,
        words=VERDICT_WORDS[finding.verdict],
        severity="" if finding.severity is Severity.NONE else finding.severity.value,
        message=sound(finding.message, REASON),
        rows="–" if finding.window is None else f"{finding.window.rows:,}",
        at=moment(finding.at, now),
    )
