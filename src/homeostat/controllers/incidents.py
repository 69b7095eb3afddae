"""Follows rollbacks up: asks the gateways, looks at the metrics again, and tells people at every turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import numpy as np

from homeostat.alerts.service import Alerts
from homeostat.controllers.confirmation import WAIT_SECONDS, wait_for_gateways
from homeostat.controllers.views import ModelView, failure_evidence, slow_evidence
from homeostat.healing.rules import goes_round
from homeostat.ports import ControlStore
from homeostat.records import (
    Finding,
    GatewayReport,
    Incident,
    Policy,
    Rollout,
    RolloutState,
    Severity,
    Stage,
    Verdict,
    Version,
    as_datetime64,
)
from homeostat.rollouts.following_up import Aftermath, is_due
from homeostat.rollouts.incidents import Incidents


class IncidentController:
    """Incidents of a model."""

    name = "incidents"
    is_urgent = True

    def __init__(self, store: ControlStore, alerts: Alerts, is_gone: Callable[[GatewayReport], bool]) -> None:
        self._store = store
        self._incidents = Incidents(store)
        self._alerts = alerts
        self._is_gone = is_gone

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        changed = False
        for incident in self._incidents.open(view.model):
            held = self._tell(incident, policy)
            if not held.state.is_final:
                held = self._tell(
                    self._incidents.advance(held, self._aftermath(view, held, policy, now), policy), policy
                )
            changed |= held.revision != incident.revision
        return changed

    def _aftermath(self, view: ModelView, incident: Incident, policy: Policy, now: datetime) -> Aftermath:
        # The models' clock may have jumped past the whole wait: then the machines get their own time before it counts.
        wait = WAIT_SECONDS if is_due(incident, now, policy) else 0.0
        confirmed, waiting = wait_for_gateways(
            self._store, incident.model, incident.route, is_gone=self._is_gone, wait_seconds=wait
        )
        with self._store.read() as transaction:
            production = transaction.list(Version, model=incident.model, states=[Stage.PRODUCTION.value])
        number = production[0].number if production else None
        if incident.confirmed_at is None:
            return Aftermath(now, tuple(confirmed), tuple(waiting), number)
        rows = view.joined.rows()
        since = int(as_datetime64(incident.confirmed_at).astype(np.int64))
        mine = (rows.event_time >= since) & (rows.version == incident.to_version)
        return Aftermath(
            now,
            tuple(confirmed),
            tuple(waiting),
            number,
            answered=int(mine.sum()),
            slow=int((rows.latency_ms[mine] > policy.guardrails.p95_latency_ms).sum()),
            failures=int((view.joined.failure_times(incident.to_version) >= since).sum()),
            failing=failure_evidence(view, incident.to_version, mine, since, policy.guardrails.error_rate),
            slowing=slow_evidence(rows, mine, policy.guardrails.p95_latency_ms),
        )

    def _tell(self, incident: Incident, policy: Policy) -> Incident:
        """Tell people once of each state; what was told before a kill is not told again."""
        if incident.told is incident.state:
            return incident
        # A rollback that was confirmed at once was never seen in its first state; people hear of it all the same.
        opening = incident.told is None and incident.state is RolloutState.VERIFYING
        if opening or incident.state is not RolloutState.VERIFYING:
            finding = _finding(
                msgspec.structs.replace(incident, state=RolloutState.ROLLING_BACK) if opening else incident
            )
            self._keep(finding)
            if finding.verdict is Verdict.HEALTHY:
                self._alerts.settle(finding)
            else:
                self._alerts.take([finding], policy.alerts)
            if opening or incident.state is RolloutState.ROLLING_BACK:
                self._tell_of_loop(incident, policy)
        return self._incidents.told(incident)

    def _tell_of_loop(self, incident: Incident, policy: Policy) -> None:
        with self._store.read() as transaction:
            rollouts = transaction.list(Rollout, model=incident.model)
        if incident.rollout is None or not goes_round(rollouts, policy, incident.opened_at):
            return
        rules = policy.rollout
        finding = Finding(
            id=f"{incident.id}:loop",
            model=incident.model,
            check="retraining loop",
            at=incident.opened_at,
            verdict=Verdict.HARMED,
            severity=Severity.CRITICAL,
            message=(
                f"{rules.most_rollbacks} retrained versions were rolled back within {rules.rollback_span}, so "
                f"retraining has stopped by itself. 'homeostat retrain {incident.model}' starts one by hand."
            ),
        )
        self._keep(finding)
        self._alerts.take([finding], policy.alerts)

    def _keep(self, finding: Finding) -> None:
        with self._store.begin() as transaction:
            if transaction.get(Finding, finding.id) is None:
                transaction.insert(finding)


def _finding(incident: Incident) -> Finding:
    old, new = incident.to_version, incident.from_version
    back = f"Version {new} gave way to version {old}" if new is not None else f"Version {old} was put back"
    words, verdict, severity = {
        RolloutState.ROLLING_BACK: (f"{back}: {incident.cause}", Verdict.HARMED, Severity.HIGH),
        RolloutState.ROLLED_BACK: (f"{back}, and that holds: {incident.outcome}", Verdict.HEALTHY, Severity.NONE),
        RolloutState.ROLLBACK_FAILED: (
            f"THE ROLLBACK FAILED and needs a person. {back}, but {incident.outcome}. The cause was: {incident.cause}",
            Verdict.HARMED,
            Severity.CRITICAL,
        ),
    }[incident.state]
    return Finding(
        id=f"{incident.id}:{incident.state.value}",
        model=incident.model,
        # One subject an incident: a second rollback is news, however the first one stands.
        check=f"rollback {incident.id.rpartition('-')[2]}",
        at=incident.updated_at,
        verdict=verdict,
        severity=severity,
        message=words,
        # What was taken back is what is ill: a check of the version that serves again is not to end in alarm over it.
        version=new if incident.state is RolloutState.ROLLING_BACK else old,
        evidence={"incident": incident.id, "from": new, "to": old},
    )
