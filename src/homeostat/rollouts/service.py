"""Starts rollouts, carries out what the rules decide, and takes versions back. Each transition is one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from homeostat.errors import Conflict, NothingToRollBackTo, RolloutInProgress, ServedElsewhere, UnknownRecord
from homeostat.journal import record_decision, serve_alone, write_route
from homeostat.ports import ControlStore, Stages, Transaction
from homeostat.records import (
    Lease,
    Policy,
    Rollout,
    RolloutState,
    Stage,
    StageChange,
    StepKind,
    Version,
    parse_span,
    parse_steps,
    route_lease,
    version_key,
)
from homeostat.rollouts.rules import Action, Facts, arms_of, decide, evidence_of, judged_of
from homeostat.stats.inference import mcnemar

ACTOR = "homeostat"
LIVE = tuple(state.value for state in RolloutState if not state.is_final)
RollbackTarget = Callable[[Transaction, str, int | None], int]


class Rollouts:
    """Rollouts of all models."""

    def __init__(self, store: ControlStore, stages: Stages, rollback_target: RollbackTarget) -> None:
        self._store = store
        self._stages = stages
        self._rollback_target = rollback_target

    def list(self, model: str) -> list[Rollout]:
        """All rollouts of a model, oldest first."""
        with self._store.read() as transaction:
            return transaction.list(Rollout, model=model)

    def active(self, model: str) -> Rollout | None:
        """The one that is under way, or `None`."""
        with self._store.read() as transaction:
            return _active(transaction, model)

    def start(
        self,
        model: str,
        candidate: int,
        policy: Policy,
        *,
        at: datetime,
        reason: str,
        actor: str = ACTOR,
        run: str | None = None,
        by_hand: bool = False,
    ) -> Rollout:
        """Begin to roll a version out, in the first step.

        One that only shadows is superseded, one that bakes is completed; raises `RolloutInProgress` where another
        takes traffic, and `Conflict` where the candidate serves already.
        """
        texts = policy.rollout.manual_steps if by_hand else policy.rollout.steps
        steps = parse_steps(texts)
        with self._store.begin() as transaction:
            self._make_room(transaction, model, candidate, policy, at)
            production = next(iter(transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])), None)
            if production is not None and production.is_external:
                raise ServedElsewhere(model=model)
            if production is None or production.number == candidate:
                raise Conflict(
                    f"Version {candidate} of '{model}' is in production already, or nothing is; a rollout needs "
                    "another version to take over from."
                )
            version = transaction.get(Version, version_key(model, candidate))
            stage = version.stage if version is not None else Stage.DRAFT
            forward = {Stage.DRAFT: (Stage.TESTING, Stage.STAGING), Stage.TESTING: (Stage.STAGING,)}
            for target in forward.get(stage, ()):
                self._stages.move(transaction, model, candidate, target, at=at, actor=actor, reason=reason)
            number = len(transaction.list(Rollout, model=model)) + 1
            rollout = Rollout(
                id=f"{model}-rollout-{number}",
                model=model,
                candidate=candidate,
                baseline=production.number,
                steps=steps,
                state=RolloutState.RUNNING,
                created_at=at,
                updated_at=at,
                step_entered_at=at,
                run=run,
                reason=reason,
                actor=actor,
            )
            transaction.insert(rollout)
            record_decision(
                transaction,
                model,
                kind="rollout",
                at=at,
                actor=actor,
                version=candidate,
                reason=reason,
                rule="rollout",
                inputs={"rollout": rollout.id, "baseline": production.number, "steps": list(texts)},
                config_hash=policy.config_hash,
            )
            if rollout.current.kind is StepKind.FULL:
                record_decision(
                    transaction,
                    model,
                    kind="promotion",
                    at=at,
                    actor=actor,
                    version=candidate,
                    reason=reason,
                    rule="by hand" if by_hand else "rollout",
                    inputs={"rollout": rollout.id, "baseline": production.number},
                    config_hash=policy.config_hash,
                )
            return self._apply(transaction, rollout, at, actor, policy)

    def _make_room(self, transaction: Transaction, model: str, candidate: int, policy: Policy, at: datetime) -> None:
        held = _active(transaction, model)
        if held is None:
            return
        if held.current.kind is StepKind.BAKE:
            self._end(transaction, held, RolloutState.COMPLETED, f"version {candidate} follows", at, policy)
        elif held.current.kind is StepKind.SHADOW:
            self._stages.move(
                transaction, model, held.candidate, Stage.ARCHIVED, at=at, actor=ACTOR, reason="superseded"
            )
            self._end(transaction, held, RolloutState.SUPERSEDED, f"version {candidate} is newer", at, policy)
        else:
            raise RolloutInProgress(model=model, candidate=held.candidate, rollout=held.id)

    def advance(self, rollout: Rollout, facts: Facts, policy: Policy) -> Rollout:
        """Look at the facts and do what the rules say; returns the rollout as it is then."""
        action = decide(rollout, facts, policy)
        if action.kind == "hold":
            return rollout
        with self._store.begin() as transaction:
            if action.kind == "enter":
                return self._next_step(transaction, rollout, action, facts, policy)
            if action.kind == "complete":
                serve_alone(
                    transaction, rollout.model, rollout.candidate, at=facts.now, reason="the rollout is complete"
                )
                return self._end(
                    transaction, rollout, RolloutState.COMPLETED, action.reason, facts.now, policy, action, facts
                )
            return self._take_back(transaction, rollout, action, facts.now, policy, facts)

    def _next_step(
        self, transaction: Transaction, rollout: Rollout, action: Action, facts: Facts, policy: Policy
    ) -> Rollout:
        following = transaction.replace(
            msgspec.structs.replace(rollout, step=rollout.step + 1, step_entered_at=facts.now, updated_at=facts.now)
        )
        step = following.current
        promotes = step.kind is StepKind.FULL
        record_decision(
            transaction,
            rollout.model,
            kind="promotion" if promotes else "step",
            at=facts.now,
            actor=ACTOR,
            version=rollout.candidate,
            reason=f"{_step_name(rollout)} → {_step_name(following)}: {action.reason}",
            rule=action.rule,
            statistic=action.statistic,
            threshold=action.threshold,
            inputs=_inputs(rollout, facts),
            config_hash=policy.config_hash,
        )
        return self._apply(transaction, following, facts.now, ACTOR, policy)

    def _apply(self, transaction: Transaction, rollout: Rollout, at: datetime, actor: str, policy: Policy) -> Rollout:
        """Give the step its route, and the stages where the candidate takes over."""
        step = rollout.current
        if step.kind is StepKind.FULL and rollout.promoted_at is None:
            reason = f"rollout {rollout.id}"
            self._stages.move(
                transaction, rollout.model, rollout.baseline, Stage.ARCHIVED, at=at, actor=actor, reason=reason
            )
            self._stages.move(
                transaction,
                rollout.model,
                rollout.candidate,
                Stage.PRODUCTION,
                at=at,
                actor=actor,
                reason=reason,
                # An archived version that a person promotes again is brought back as a rollback would.
                is_rollback=True,
            )
            rollout = transaction.replace(msgspec.structs.replace(rollout, promoted_at=at))
        arms, shadows = arms_of(rollout, step)
        leased = at + timedelta(seconds=parse_span(policy.rollout.lease).seconds)
        write_route(
            transaction,
            rollout.model,
            arms,
            at=at,
            reason=f"{rollout.id}: {_step_name(rollout)}",
            shadows=shadows,
            lease_until=leased if step.kind.names_candidate else None,
        )
        return rollout

    def renew_lease(self, rollout: Rollout, policy: Policy, *, holder: str, now: datetime) -> None:
        """Say that the candidate is still watched. Gateways that do not hear it in time serve production alone."""
        if not rollout.current.kind.names_candidate:
            return
        length = timedelta(seconds=parse_span(policy.rollout.lease).seconds)
        name = route_lease(rollout.model)
        with self._store.read() as transaction:
            held = transaction.get(Lease, name)
        if held is not None and now + length / 2 < held.until <= now + length:
            return
        with self._store.begin() as transaction:
            held = transaction.get(Lease, name)
            if held is None:
                transaction.insert(Lease(name=name, holder=holder, until=now + length))
            else:
                transaction.replace(msgspec.structs.replace(held, holder=holder, until=now + length))

    def _take_back(
        self,
        transaction: Transaction,
        rollout: Rollout,
        action: Action,
        at: datetime,
        policy: Policy,
        facts: Facts | None,
        actor: str = ACTOR,
    ) -> Rollout:
        """Back to the baseline: all traffic, and the production stage where the candidate had it."""
        reason = f"rolled back: {action.reason}" if action.kind == "roll_back" else action.reason
        self._stages.move(
            transaction, rollout.model, rollout.candidate, Stage.ARCHIVED, at=at, actor=actor, reason=reason
        )
        if rollout.promoted_at is not None:
            self._stages.move(
                transaction,
                rollout.model,
                rollout.baseline,
                Stage.PRODUCTION,
                at=at,
                actor=actor,
                reason=reason,
                is_rollback=True,
            )
        serve_alone(transaction, rollout.model, rollout.baseline, at=at, reason=reason)
        state = {"roll_back": RolloutState.ROLLED_BACK, "abort": RolloutState.ABORTED}.get(
            action.kind, RolloutState.REJECTED
        )
        return self._end(transaction, rollout, state, action.reason, at, policy, action, facts, actor)

    def _end(
        self,
        transaction: Transaction,
        rollout: Rollout,
        state: RolloutState,
        outcome: str,
        at: datetime,
        policy: Policy,
        action: Action | None = None,
        facts: Facts | None = None,
        actor: str = ACTOR,
    ) -> Rollout:
        ended = transaction.replace(msgspec.structs.replace(rollout, state=state, outcome=outcome, updated_at=at))
        kinds = {
            RolloutState.ROLLED_BACK: "rollback",
            RolloutState.COMPLETED: "completed",
            RolloutState.REJECTED: "rejected",
            RolloutState.ABORTED: "aborted",
        }
        record_decision(
            transaction,
            rollout.model,
            kind=kinds.get(state, state.value),
            at=at,
            actor=actor,
            version=rollout.candidate,
            reason=f"in {_step_name(rollout)}: {outcome}",
            rule=action.rule if action else "",
            statistic=action.statistic if action else None,
            threshold=action.threshold if action else None,
            inputs=_inputs(rollout, facts),
            config_hash=policy.config_hash,
        )
        return ended

    # By hand
    def pause(self, model: str, *, at: datetime, actor: str) -> Rollout:
        """Stay in the present step; guardrails go on."""
        return self._set_state(model, RolloutState.RUNNING, RolloutState.PAUSED, at, actor)

    def resume(self, model: str, *, at: datetime, actor: str) -> Rollout:
        """Go on."""
        return self._set_state(model, RolloutState.PAUSED, RolloutState.RUNNING, at, actor)

    def abort(self, model: str, policy: Policy, *, at: datetime, actor: str, reason: str) -> Rollout:
        """End it, with all traffic on the baseline."""
        with self._store.begin() as transaction:
            rollout = _require_active(transaction, model)
            return self._take_back(transaction, rollout, Action("abort", reason), at, policy, None, actor)

    def roll_back(
        self, model: str, policy: Policy, *, to: int | None = None, at: datetime, actor: str, reason: str
    ) -> int:
        """Put an earlier production version back, whatever is under way; returns its number.

        A candidate that takes traffic gives it back to the version before it. One that only shadows serves nobody:
        it is given up, and the production version itself is what is rolled back, where there is one to return to.
        """
        with self._store.begin() as transaction:
            rollout = _active(transaction, model)
            if rollout is not None and to in (None, rollout.baseline):
                self._take_back(transaction, rollout, Action("roll_back", reason), at, policy, None, actor)
                if to is not None or rollout.current.kind is not StepKind.SHADOW:
                    return rollout.baseline
            elif rollout is not None:
                self._take_back(transaction, rollout, Action("abort", reason), at, policy, None, actor)
            try:
                number = self._rollback_target(transaction, model, to)
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
            if version is None or version.stage is Stage.PRODUCTION or not was_production:
                raise Conflict(
                    f"Version {number} of '{model}' is in production already, or never was; a rollback returns to a "
                    f"version that served before. 'homeostat model promote {model} {number}' rolls it out."
                )
            present = next(iter(transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])), None)
            if present is not None:
                self._stages.move(transaction, model, present.number, Stage.ARCHIVED, at=at, actor=actor, reason=reason)
            self._stages.move(
                transaction, model, number, Stage.PRODUCTION, at=at, actor=actor, reason=reason, is_rollback=True
            )
            serve_alone(transaction, model, number, at=at, reason=reason)
            record_decision(
                transaction,
                model,
                kind="rollback",
                at=at,
                actor=actor,
                version=number,
                reason=reason,
                rule="by hand",
                inputs={"from": present.number if present else None, "to": number},
                config_hash=policy.config_hash,
            )
            return number

    def _set_state(self, model: str, source: RolloutState, target: RolloutState, at: datetime, actor: str) -> Rollout:
        with self._store.begin() as transaction:
            rollout = _require_active(transaction, model)
            if rollout.state is not source:
                raise Conflict(f"Rollout {rollout.id} is {rollout.state.value}, not {source.value}.")
            changed = transaction.replace(msgspec.structs.replace(rollout, state=target, updated_at=at))
            record_decision(
                transaction,
                model,
                kind="paused" if target is RolloutState.PAUSED else "resumed",
                at=at,
                actor=actor,
                version=rollout.candidate,
                reason="by hand",
                inputs={"rollout": rollout.id},
            )
            return changed


def _active(transaction: Transaction, model: str) -> Rollout | None:
    return next(iter(transaction.list(Rollout, model=model, states=LIVE)), None)


def _require_active(transaction: Transaction, model: str) -> Rollout:
    rollout = _active(transaction, model)
    if rollout is None:
        raise UnknownRecord(f"Model '{model}' has no rollout under way.", kind="rollout", key=model)
    return rollout


def _step_name(rollout: Rollout) -> str:
    step = rollout.current
    share = f" {step.weight:.0%}" if step.kind in (StepKind.CANARY, StepKind.AB) else ""
    return "100 %" if step.kind is StepKind.FULL else f"{step.kind.value}{share}"


def _inputs(rollout: Rollout, facts: Facts | None) -> dict[str, Any]:
    inputs: dict[str, Any] = {"rollout": rollout.id, "baseline": rollout.baseline, "step": _step_name(rollout)}
    if facts is None:
        return inputs
    judged = judged_of(rollout, facts)
    inputs |= evidence_of(rollout, facts)
    shown = mcnemar(judged.wins, judged.losses)
    inputs |= {"mcnemar_p": shown.p, "mcnemar": shown.sentence}
    return inputs
