"""The part of the control plane that changes traffic: rollouts, rollbacks, incidents, and decisions taken again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from homeostat.control_plane.orders import explained
from homeostat.control_plane.registration import check_runnable
from homeostat.control_plane.rollout_report import rollout_report
from homeostat.controllers.confirmation import wait_for_gateways
from homeostat.errors import Conflict, IntegrityError, NothingToRollBackTo, UnknownRecord
from homeostat.experiments import replaying as experiments
from homeostat.journal import latest_route
from homeostat.ports import Clock, ControlStore, PredictionLog
from homeostat.records import (
    Decision,
    GatewayReport,
    Incident,
    Replay,
    Rollback,
    Rollout,
    RolloutPage,
    RolloutState,
    StepKind,
    Version,
    version_key,
)
from homeostat.registry.rules import check_promotable
from homeostat.registry.service import Registry
from homeostat.rollouts.following_up import Aftermath
from homeostat.rollouts.incidents import Incidents
from homeostat.rollouts.replaying import find_decision, replay_decision
from homeostat.rollouts.service import Rollouts
from homeostat.rollouts.taking_back import active_rollout
from homeostat.settings import Settings


class ReleasesPlane:
    """What `ControlPlaneService` does about traffic, over the services that it holds."""

    _settings: Settings
    _clock: Clock
    _store: ControlStore
    _log: PredictionLog
    _registry: Registry
    _rollouts: Rollouts
    _on_route: Callable[[str], None]
    _is_gone: Callable[[GatewayReport], bool]
    _on_integrity_error: Callable[[IntegrityError], None]

    @explained
    def roll_back(self, model: str, *, to: int | None, actor: str, reason: str) -> Rollback:
        policy = self._settings.policy_of(model)
        self._check_target(model, to)
        number = self._rollouts.roll_back(model, policy, to=to, at=self._clock.now(), actor=actor, reason=reason)
        route, (confirmed, waiting) = self._carried_out(model)
        incidents = Incidents(self._store)
        incident = next((one for one in reversed(incidents.open(model)) if one.route == route), None)
        if incident is not None and incident.state is RolloutState.ROLLING_BACK and not waiting:
            # Where the controllers saw the same first, theirs holds.
            with suppress(Conflict):
                facts = Aftermath(self._clock.now(), tuple(confirmed), (), production=number)
                incidents.advance(incident, facts, policy)
        return Rollback(
            model=model,
            production=number,
            route=route,
            confirmed=confirmed,
            waiting=waiting,
            incident=None if incident is None else incident.id,
        )

    def _check_target(self, model: str, to: int | None) -> None:
        """Refuse to go back to a version that nobody can load. What gateways hold by the present route they have."""
        with self._store.read() as transaction:
            rollout, route = active_rollout(transaction, model), latest_route(transaction, model)
            if rollout is not None and to in (None, rollout.baseline) and rollout.current.kind is not StepKind.SHADOW:
                return
            try:
                number = self._registry.rollback_target(transaction, model, to)
            except NothingToRollBackTo:
                # Which of several reasons that has is said where it is tried.
                return
            version = transaction.get(Version, version_key(model, number))
        if version is not None and not version.is_external and (route is None or number not in route.versions):
            self._check_readable(version)

    def _check_readable(self, version: Version) -> None:
        try:
            self._registry.check_readable(version)
        except IntegrityError as error:
            self._on_integrity_error(error)
            raise

    def _carried_out(self, model: str) -> tuple[int, tuple[list[str], list[str]]]:
        self._on_route(model)
        with self._store.read() as transaction:
            route = latest_route(transaction, model)
        number = 0 if route is None else route.number
        return number, wait_for_gateways(self._store, model, number, is_gone=self._is_gone)

    def rollouts(self, model: str) -> list[Rollout]:
        self._registry.model(model)
        return self._rollouts.list(model)

    @explained
    def start_rollout(self, model: str, number: int, *, actor: str, reason: str) -> Rollout:
        version = self._registry.version(model, number)
        # A rollout ends in production, so what holds of a promotion holds of it: a draft is not ready to be tried.
        check_promotable(version)
        check_runnable(version, self._settings)
        self._check_readable(version)
        policy = self._settings.policy_of(model)
        rollout = self._rollouts.start(model, number, policy, at=self._clock.now(), reason=reason, actor=actor)
        self._on_route(model)
        return rollout

    def pause(self, model: str, *, actor: str, reason: str) -> Rollout:
        self._registry.model(model)
        return self._rollouts.pause(model, at=self._clock.now(), actor=actor, reason=reason)

    def resume(self, model: str, *, actor: str, reason: str) -> Rollout:
        self._registry.model(model)
        return self._rollouts.resume(model, at=self._clock.now(), actor=actor, reason=reason)

    def approve(self, model: str, *, actor: str, reason: str) -> Rollout:
        self._registry.model(model)
        return self._rollouts.approve(model, at=self._clock.now(), actor=actor, reason=reason)

    @explained
    def abort(self, model: str, *, actor: str, reason: str) -> Rollout:
        self._registry.model(model)
        policy = self._settings.policy_of(model)
        rollout = self._rollouts.abort(model, policy, at=self._clock.now(), actor=actor, reason=reason)
        self._carried_out(model)
        return rollout

    def rollout_report(self, model: str, rollout: str | None = None) -> RolloutPage:
        task = self._registry.model(model).task
        known = self._rollouts.list(model)
        found = next((one for one in reversed(known) if rollout in (None, one.id)), None)
        if found is None:
            raise UnknownRecord(kind="rollout", key=rollout or model)
        baseline = self._registry.version(model, found.baseline)
        policy = self._settings.policy_of(model)
        html = rollout_report(self._store, self._log, task, found, baseline, policy, now=self._clock.now())
        return RolloutPage(rollout=found.id, html=html)

    def incidents(self, model: str) -> list[Incident]:
        self._registry.model(model)
        return Incidents(self._store).list(model)

    def incident(self, model: str, incident: str) -> Incident:
        self._registry.model(model)
        return Incidents(self._store).get(model, incident)

    def decision(self, decision: str) -> Decision:
        return find_decision(self._store, decision)

    def replay(self, decision: str) -> Replay:
        kept = find_decision(self._store, decision)
        found = experiments.replay_decision(kept) if experiments.replays(kept) else replay_decision(self._store, kept)
        # The facts are long, and the decision itself has them.
        inputs = {name: value for name, value in found.decision.inputs.items() if name not in ("facts", "before")}
        return msgspec.structs.replace(found, decision=msgspec.structs.replace(found.decision, inputs=inputs))
