"""Starts rollouts, carries out what the rules decide, and takes versions back. Each transition is one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from homeostat.errors import Conflict, CoolingDown, NotServing, RolloutInProgress, ServedElsewhere, UnknownRecord
from homeostat.journal import kept_hash, record_decision, serve_alone, write_route
from homeostat.ports import ControlStore, Stages, Transaction
from homeostat.records import (
    Incident,
    Lease,
    Policy,
    Rollout,
    RolloutState,
    Stage,
    StepKind,
    Version,
    parse_span,
    parse_steps,
    route_lease,
    version_key,
)
from homeostat.rollouts.rules import Action, Facts, arms_of, decide, phase_of
from homeostat.rollouts.taking_back import (
    ACTOR,
    active_rollout,
    decision_inputs,
    end_rollout,
    put_back,
    step_name,
    take_back,
)

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
            return active_rollout(transaction, model)

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
            if production is None:
                raise NotServing(model=model)
            if production.number == candidate:
                raise Conflict(
                    f"Version {candidate} of '{model}' is in production already; a rollout needs another version to "
                    "take over from."
                )
            version = transaction.get(Version, version_key(model, candidate))
            stage = version.stage if version is not None else Stage.DRAFT
            forward = {Stage.DRAFT: (Stage.TESTING, Stage.STAGING), Stage.TESTING: (Stage.STAGING,)}
            for target in forward.get(stage, ()):
                self._stages.move(transaction, model, candidate, target, at=at, actor=actor, reason=reason)
            number = len(transaction.list(Rollout, model=model)) + 1
            attempt = self._attempt(transaction, model, candidate, policy, at, actor)
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
                attempt=attempt,
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
                config_hash=kept_hash(transaction, policy, at),
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
                    config_hash=kept_hash(transaction, policy, at),
                )
            return self._apply(transaction, rollout, at, actor, policy)

    def _attempt(
        self, transaction: Transaction, model: str, candidate: int, policy: Policy, at: datetime, actor: str
    ) -> int:
        """Which attempt of the candidate this is. Raises `CoolingDown` too soon after it was rolled back.

        What a person took back, a person may bring back at once.
        """
        tried = [rollout for rollout in transaction.list(Rollout, model=model) if rollout.candidate == candidate]
        rest = timedelta(seconds=parse_span(policy.rollout.retry_after).seconds)
        # A clock that was set back must not lock a version out until it has caught up.
        recent = {
            one.id: one.updated_at + rest
            for one in tried
            if one.state.was_rolled_back and one.updated_at <= at < one.updated_at + rest
        }
        for incident in transaction.list(Incident, model=model) if recent else ():
            if incident.rollout in recent and ACTOR in (actor, incident.actor):
                until = recent[incident.rollout].isoformat(timespec="minutes")
                raise CoolingDown(model=model, version=candidate, until=until)
        return len(tried) + 1

    def _make_room(self, transaction: Transaction, model: str, candidate: int, policy: Policy, at: datetime) -> None:
        held = active_rollout(transaction, model)
        if held is None:
            return
        if held.candidate == candidate:
            raise RolloutInProgress(model=model, candidate=candidate, rollout=held.id)
        if held.current.kind is StepKind.BAKE:
            end_rollout(transaction, held, RolloutState.COMPLETED, f"version {candidate} follows", at, policy)
        elif held.current.kind is StepKind.SHADOW:
            self._stages.move(
                transaction, model, held.candidate, Stage.ARCHIVED, at=at, actor=ACTOR, reason="superseded"
            )
            end_rollout(transaction, held, RolloutState.SUPERSEDED, f"version {candidate} came after it", at, policy)
        else:
            raise RolloutInProgress(model=model, candidate=held.candidate, rollout=held.id)

    def advance(self, rollout: Rollout, facts: Facts, policy: Policy, action: Action | None = None) -> Rollout:
        """Do what the rules say of the facts (`action`, where they were asked); returns the rollout as it is then."""
        action = action or decide(rollout, facts, policy)
        if action.kind == "hold":
            phase = phase_of(rollout, facts, policy)
            if phase is rollout.phase:
                return rollout
            with self._store.begin() as transaction:
                return transaction.replace(msgspec.structs.replace(rollout, phase=phase))
        with self._store.begin() as transaction:
            if action.kind in ("enter", "step_back"):
                return self._next_step(transaction, rollout, action, facts, policy)
            if action.kind == "complete":
                serve_alone(
                    transaction, rollout.model, rollout.candidate, at=facts.now, reason="the rollout is complete"
                )
                done, _ = end_rollout(
                    transaction, rollout, RolloutState.COMPLETED, action.reason, facts.now, policy, action, facts
                )
                return done
            return take_back(transaction, self._stages, rollout, action, facts.now, policy, facts)

    def _next_step(
        self, transaction: Transaction, rollout: Rollout, action: Action, facts: Facts, policy: Policy
    ) -> Rollout:
        back = action.kind == "step_back"
        following = transaction.replace(
            msgspec.structs.replace(
                rollout,
                step=rollout.step - 1 if back else rollout.step + 1,
                step_entered_at=facts.now,
                updated_at=facts.now,
                phase=None,
                step_backs=rollout.step_backs + back,
                stepped_back=back,
                approved_step=None,
            )
        )
        step = following.current
        promotes = step.kind is StepKind.FULL
        record_decision(
            transaction,
            rollout.model,
            kind="step back" if back else "promotion" if promotes else "step",
            at=facts.now,
            actor=ACTOR,
            version=rollout.candidate,
            reason=f"{step_name(rollout)} → {step_name(following)}: {action.reason}",
            rule=action.rule,
            statistic=action.statistic,
            threshold=action.threshold,
            inputs=decision_inputs(rollout, facts),
            config_hash=kept_hash(transaction, policy, facts.now),
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
            reason=f"{rollout.id}: {step_name(rollout)}",
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

    # By hand
    def pause(self, model: str, *, at: datetime, actor: str, reason: str) -> Rollout:
        """Stay in the present step; guardrails go on."""
        return self._set_state(model, RolloutState.RUNNING, RolloutState.PAUSED, at, actor, reason)

    def resume(self, model: str, *, at: datetime, actor: str, reason: str) -> Rollout:
        """Go on."""
        return self._set_state(model, RolloutState.PAUSED, RolloutState.RUNNING, at, actor, reason)

    def approve(self, model: str, *, at: datetime, actor: str, reason: str) -> Rollout:
        """Let the rollout leave its present step once everything else that the step asks for is there."""
        with self._store.begin() as transaction:
            rollout = _require(transaction, model)
            if not rollout.current.approval:
                raise Conflict(f"Step '{step_name(rollout)}' of rollout {rollout.id} waits for nobody's approval.")
            if rollout.is_approved:
                return rollout
            approved = transaction.replace(
                msgspec.structs.replace(rollout, approved_step=rollout.step, approved_by=actor, updated_at=at)
            )
            record_decision(
                transaction,
                model,
                kind="approved",
                at=at,
                actor=actor,
                version=rollout.candidate,
                reason=f"step '{step_name(rollout)}': {reason}",
                rule="by hand",
                inputs={"rollout": rollout.id, "position": rollout.step},
            )
            return approved

    def abort(self, model: str, policy: Policy, *, at: datetime, actor: str, reason: str) -> Rollout:
        """End it, with all traffic on the baseline."""
        with self._store.begin() as transaction:
            rollout = _require(transaction, model)
            return take_back(transaction, self._stages, rollout, Action("abort", reason), at, policy, None, actor)

    def roll_back(
        self, model: str, policy: Policy, *, to: int | None = None, at: datetime, actor: str, reason: str
    ) -> int:
        """Put an earlier production version back, whatever is under way; returns its number.

        A candidate that takes traffic gives it back to the version before it. One that only shadows serves nobody:
        it is given up, and the production version itself is what is rolled back, where there is one to return to.
        """
        with self._store.begin() as transaction:
            return put_back(
                transaction,
                self._stages,
                self._rollback_target,
                model,
                policy,
                to=to,
                at=at,
                actor=actor,
                reason=reason,
            )

    def _set_state(
        self, model: str, source: RolloutState, target: RolloutState, at: datetime, actor: str, reason: str
    ) -> Rollout:
        with self._store.begin() as transaction:
            rollout = _require(transaction, model)
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
                reason=reason,
                rule="by hand",
                inputs={"rollout": rollout.id},
            )
            return changed


def _require(transaction: Transaction, model: str) -> Rollout:
    rollout = active_rollout(transaction, model)
    if rollout is None:
        raise UnknownRecord(f"Model '{model}' has no rollout under way.", kind="rollout", key=model)
    return rollout
