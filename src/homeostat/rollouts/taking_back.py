"""The ways in which a rollout ends, inside somebody's transaction: traffic, stages, decision and incident at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from homeostat.errors import Conflict, NothingToRollBackTo, ServedElsewhere
from homeostat.journal import kept_hash, record_decision, serve_alone
from homeostat.ports import Stages, Transaction
from homeostat.records import (
    Decision,
    Incident,
    IncidentEvent,
    Policy,
    Rollout,
    RolloutState,
    Route,
    Stage,
    StageChange,
    StepKind,
    Version,
    version_key,
)
from homeostat.rollouts.rules import Action, Facts, evidence_of, judged_of
from homeostat.stats.inference import mcnemar

ACTOR = "homeostat"
UNDER_WAY = tuple(state.value for state in RolloutState if state.is_under_way)
KINDS = {
    RolloutState.ROLLING_BACK: "rollback",
    RolloutState.ROLLED_BACK: "rollback",
    RolloutState.COMPLETED: "completed",
    RolloutState.REJECTED: "rejected",
    RolloutState.ABORTED: "aborted",
}


def active_rollout(transaction: Transaction, model: str) -> Rollout | None:
    """The rollout that is under way, or `None`."""
    return next(iter(transaction.list(Rollout, model=model, states=UNDER_WAY)), None)


def take_back(
    transaction: Transaction,
    stages: Stages,
    rollout: Rollout,
    action: Action,
    at: datetime,
    policy: Policy,
    facts: Facts | None,
    actor: str = ACTOR,
) -> Rollout:
    """Back to the baseline: all traffic, and the production stage where the candidate had it.

    A rollback of a candidate that had traffic opens an incident, which follows it up.
    """
    model = rollout.model
    reason = f"rolled back: {action.reason}" if action.kind == "roll_back" else action.reason
    stages.move(transaction, model, rollout.candidate, Stage.ARCHIVED, at=at, actor=actor, reason=reason)
    if rollout.promoted_at is not None:
        stages.move(
            transaction,
            model,
            rollout.baseline,
            Stage.PRODUCTION,
            at=at,
            actor=actor,
            reason=reason,
            is_rollback=True,
        )
    route = serve_alone(transaction, model, rollout.baseline, at=at, reason=reason)
    if action.kind != "roll_back":
        state = RolloutState.ABORTED if action.kind == "abort" else RolloutState.REJECTED
    elif rollout.current.kind is StepKind.SHADOW:
        # It answered nobody, so nobody has to be brought back.
        state = RolloutState.ROLLED_BACK
    else:
        state = RolloutState.ROLLING_BACK
    ended, decision = end_rollout(transaction, rollout, state, action.reason, at, policy, action, facts, actor)
    if state is RolloutState.ROLLING_BACK:
        open_incident(
            transaction,
            model,
            decision,
            route,
            from_version=rollout.candidate,
            to_version=rollout.baseline,
            cause=action.reason,
            rollout=rollout,
        )
    return ended


def end_rollout(
    transaction: Transaction,
    rollout: Rollout,
    state: RolloutState,
    outcome: str,
    at: datetime,
    policy: Policy,
    action: Action | None = None,
    facts: Facts | None = None,
    actor: str = ACTOR,
) -> tuple[Rollout, Decision]:
    """Write down how it ended, and why."""
    ended = transaction.replace(
        msgspec.structs.replace(rollout, state=state, outcome=outcome, updated_at=at, phase=None)
    )
    decision = record_decision(
        transaction,
        rollout.model,
        kind=KINDS.get(state, state.value),
        at=at,
        actor=actor,
        version=rollout.candidate,
        reason=f"in {step_name(rollout)}: {outcome}",
        rule=action.rule if action else "",
        statistic=action.statistic if action else None,
        threshold=action.threshold if action else None,
        inputs=decision_inputs(rollout, facts),
        config_hash=kept_hash(transaction, policy, at),
    )
    return ended, decision


def put_back(
    transaction: Transaction,
    stages: Stages,
    target: Callable[[Transaction, str, int | None], int],
    model: str,
    policy: Policy,
    *,
    to: int | None,
    at: datetime,
    actor: str,
    reason: str,
) -> int:
    """Put an earlier production version back by hand: see `Rollouts.roll_back`."""
    rollout = active_rollout(transaction, model)
    if rollout is not None and to in (None, rollout.baseline):
        take_back(transaction, stages, rollout, Action("roll_back", reason, "by hand"), at, policy, None, actor)
        if to is not None or rollout.current.kind is not StepKind.SHADOW:
            return rollout.baseline
    elif rollout is not None:
        take_back(transaction, stages, rollout, Action("abort", reason), at, policy, None, actor)
    try:
        number = target(transaction, model, to)
    except NothingToRollBackTo:
        if rollout is None:
            raise
        return rollout.baseline
    version = transaction.get(Version, version_key(model, number))
    if version is not None and version.is_external:
        raise ServedElsewhere(model=model)
    was_production = any(
        change.version == number and change.target is Stage.PRODUCTION
        for change in transaction.list(StageChange, model=model)
    )
    if version is not None and version.stage is Stage.PRODUCTION:
        raise Conflict(f"Version {number} of '{model}' is in production already; there is nothing to roll back.")
    if version is None or not was_production:
        raise Conflict(
            f"Version {number} of '{model}' never was in production; a rollback returns to a version that served "
            f"before. 'homeostat rollout start {model} {number}' tries it."
        )
    present = next(iter(transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])), None)
    if present is not None:
        stages.move(transaction, model, present.number, Stage.ARCHIVED, at=at, actor=actor, reason=reason)
    stages.move(transaction, model, number, Stage.PRODUCTION, at=at, actor=actor, reason=reason, is_rollback=True)
    route = serve_alone(transaction, model, number, at=at, reason=reason)
    decision = record_decision(
        transaction,
        model,
        kind="rollback",
        at=at,
        actor=actor,
        version=number,
        reason=reason,
        rule="by hand",
        inputs={"from": present.number if present else None, "to": number},
        config_hash=kept_hash(transaction, policy, at),
    )
    open_incident(
        transaction,
        model,
        decision,
        route,
        from_version=present.number if present else None,
        to_version=number,
        cause=reason,
        rollout=None,
    )
    return number


def open_incident(
    transaction: Transaction,
    model: str,
    decision: Decision,
    route: Route,
    *,
    from_version: int | None,
    to_version: int,
    cause: str,
    rollout: Rollout | None,
) -> Incident:
    """Begin to follow a rollback up; the route that takes the version back is written in the same transaction."""
    at = decision.at
    timeline = []
    if rollout is not None:
        timeline.append(IncidentEvent(at=rollout.created_at, what=f"rollout of version {rollout.candidate} began"))
        if rollout.promoted_at is not None:
            timeline.append(IncidentEvent(at=rollout.promoted_at, what=f"version {rollout.candidate} took over"))
        timeline.append(IncidentEvent(at=rollout.step_entered_at, what=f"step '{step_name(rollout)}' began"))
    ordered = f"version {to_version} is to have all traffic, by route {route.number} ({decision.actor})"
    timeline += [IncidentEvent(at=at, what=f"cause: {cause}"), IncidentEvent(at=at, what=ordered)]
    kept = {name: value for name, value in decision.inputs.items() if name != "facts"}
    incident = Incident(
        id=f"{model}-incident-{transaction.count(Incident, model=model) + 1}",
        model=model,
        state=RolloutState.ROLLING_BACK,
        from_version=from_version,
        to_version=to_version,
        route=route.number,
        cause=cause,
        rule=decision.rule,
        actor=decision.actor,
        opened_at=at,
        updated_at=at,
        rollout=None if rollout is None else rollout.id,
        decision=decision.id,
        evidence={**kept, "statistic": decision.statistic, "threshold": decision.threshold},
        timeline=tuple(timeline),
    )
    transaction.insert(incident)
    return incident


def step_name(rollout: Rollout) -> str:
    """The present step, such as `canary 10%`."""
    step = rollout.current
    share = f" {step.weight:.0%}" if step.kind in (StepKind.CANARY, StepKind.AB) else ""
    return "100 %" if step.kind is StepKind.FULL else f"{step.kind.value}{share}"


def decision_inputs(rollout: Rollout, facts: Facts | None) -> dict[str, Any]:
    """What a decision about a rollout keeps: with facts all that it was taken on."""
    inputs: dict[str, Any] = {"rollout": rollout.id, "baseline": rollout.baseline, "step": step_name(rollout)}
    if facts is None:
        return inputs
    judged = judged_of(rollout, facts)
    inputs |= evidence_of(rollout, facts)
    shown = mcnemar(judged.wins, judged.losses)
    inputs |= {"mcnemar_p": shown.p, "mcnemar": shown.sentence}
    return inputs
