"""What follows a rollback: every gateway confirms, the metrics are looked at again, and the incident ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from homeostat.records import Incident, Policy, RolloutState, Verdict, parse_span
from homeostat.records.decoding import converted
from homeostat.rollouts.budget import rollback_threshold
from homeostat.rollouts.evidence import known_or_counted
from homeostat.rollouts.rules import slow_log_evidence

# Where nobody asks anything, the metrics are waited for so many times as long.
PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is known after a rollback. The figures are of the version that was put back, since the gateways confirmed.

    `confirmed` and `waiting` name the gateways that serve the model, by whether they have the route. `failing` and
    `slowing` are log evidence by entity and day, as in `Facts`.
    """

    now: datetime
    confirmed: tuple[str, ...]
    waiting: tuple[str, ...]
    production: int | None
    answered: int = 0
    slow: int = 0
    failures: int = 0
    failing: float | None = None
    slowing: float | None = None


@dataclass(frozen=True, slots=True)
class Following:
    """What to do: `hold`, `confirm`, `restart` the wait, `end` with a verdict, or `fail`."""

    kind: str
    reason: str
    verdict: Verdict | None = None
    statistic: float | None = None
    threshold: float | None = None


def follow_up(incident: Incident, facts: Aftermath, policy: Policy) -> Following:
    """What a rollback waits for; past its time it has failed, and a person is needed."""
    waited = (facts.now - incident.updated_at).total_seconds()
    if waited < 0:
        return Following("restart", "the clock was set back")
    rules = policy.rollout
    if incident.state is RolloutState.ROLLING_BACK:
        if not facts.waiting:
            return Following("confirm", "every gateway serves it")
        if waited < parse_span(rules.confirm_within).seconds:
            return Following("hold", f"{len(facts.waiting)} gateways have not confirmed yet")
        return Following("fail", f"not confirmed by {', '.join(facts.waiting)} within {rules.confirm_within}")
    if facts.production != incident.to_version:
        return Following("end", "another version took over before the second look", Verdict.NO_DATA)
    after = parse_span(rules.verify_after).seconds
    if waited < after:
        return Following("hold", "the metrics are looked at later")
    # No data is no pass: what nobody asked is waited for, and said to be unknown in the end.
    if not facts.answered + facts.failures:
        if waited < PATIENCE * after:
            return Following("hold", "nobody has asked it anything yet")
        return Following("end", "nobody asked it anything", Verdict.NO_DATA)
    return _judge(facts, policy)


def _judge(facts: Aftermath, policy: Policy) -> Following:
    limits = policy.guardrails
    rows = f"on {facts.answered + facts.failures:,} rows"
    for name, evidence, words in (
        (
            "errors",
            known_or_counted(facts.failing, facts.answered, facts.failures, limits.error_rate),
            f"more than {limits.error_rate:.1%} of its rows fail",
        ),
        (
            "latency",
            slow_log_evidence(facts.slowing, facts.answered, facts.slow),
            f"its answers take more than {limits.p95_latency_ms:.0f} ms",
        ),
    ):
        threshold = rollback_threshold(policy, name)
        if evidence >= threshold and facts.answered + facts.failures >= limits.minimum_rows:
            return Following("fail", f"{words}, {rows}", Verdict.HARMED, evidence, threshold)
    return Following("end", f"{facts.failures} failed and {facts.slow} slow {rows}", Verdict.HEALTHY)


def replay_following(inputs: dict[str, Any], incident: Incident, policy: Policy) -> Following:
    """What the rules say of an incident's recorded facts."""
    then = msgspec.structs.replace(
        incident, state=RolloutState(inputs["state"]), updated_at=datetime.fromisoformat(inputs["waited_from"])
    )
    return follow_up(then, converted(inputs["facts"], Aftermath), policy)


def is_due(incident: Incident, now: datetime, policy: Policy) -> bool:
    """Whether the wait for the gateways is over by the clock of the models."""
    passed = now - incident.updated_at
    return incident.state is RolloutState.ROLLING_BACK and passed >= timedelta(
        seconds=parse_span(policy.rollout.confirm_within).seconds
    )
