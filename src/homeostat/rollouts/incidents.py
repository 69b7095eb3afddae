"""Keeps incidents: each move of one is a transaction, together with the rollout that it belongs to."""

from __future__ import annotations

import msgspec

from homeostat.errors import UnknownRecord
from homeostat.journal import kept_hash, record_decision
from homeostat.ports import ControlStore, Transaction
from homeostat.records import Incident, IncidentEvent, Policy, Rollout, RolloutState
from homeostat.rollouts.following_up import Aftermath, Following, follow_up
from homeostat.rollouts.taking_back import ACTOR

OPEN = ("open",)


class Incidents:
    """Incidents of all models."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def open(self, model: str) -> list[Incident]:
        """Those that are followed up, or whose end nobody was told of."""
        with self._store.read() as transaction:
            return transaction.list(Incident, model=model, states=OPEN)

    def list(self, model: str) -> list[Incident]:
        """All incidents of a model, oldest first."""
        with self._store.read() as transaction:
            return transaction.list(Incident, model=model)

    def get(self, model: str, incident: str) -> Incident:
        """One incident. Raises `UnknownRecord`."""
        with self._store.read() as transaction:
            found = transaction.get(Incident, incident)
        if found is None or found.model != model:
            raise UnknownRecord(kind="incident", key=incident)
        return found

    def advance(self, incident: Incident, facts: Aftermath, policy: Policy) -> Incident:
        """Do what the rules say; returns the incident as it is then."""
        following = follow_up(incident, facts, policy)
        if following.kind == "hold":
            return incident
        with self._store.begin() as transaction:
            if following.kind == "restart":
                return transaction.replace(msgspec.structs.replace(incident, updated_at=facts.now))
            if following.kind == "confirm":
                return self._confirm(transaction, incident, facts)
            return self._end(transaction, incident, following, facts, policy)

    def told(self, incident: Incident) -> Incident:
        """Write down that people know how it stands."""
        with self._store.begin() as transaction:
            return transaction.replace(msgspec.structs.replace(incident, told=incident.state))

    def _confirm(self, transaction: Transaction, incident: Incident, facts: Aftermath) -> Incident:
        who = f"is confirmed by {', '.join(facts.confirmed)}" if facts.confirmed else "has no gateway to wait for"
        _set_state(transaction, incident, RolloutState.VERIFYING)
        return transaction.replace(
            msgspec.structs.replace(
                incident,
                state=RolloutState.VERIFYING,
                updated_at=facts.now,
                confirmed_at=facts.now,
                confirmed_by=facts.confirmed,
                timeline=(*incident.timeline, IncidentEvent(at=facts.now, what=f"route {incident.route} {who}")),
            )
        )

    def _end(
        self, transaction: Transaction, incident: Incident, following: Following, facts: Aftermath, policy: Policy
    ) -> Incident:
        failed = following.kind == "fail"
        state = RolloutState.ROLLBACK_FAILED if failed else RolloutState.ROLLED_BACK
        words = f"{'failed' if failed else 'verified'}: {following.reason}"
        _set_state(transaction, incident, state)
        record_decision(
            transaction,
            incident.model,
            kind="rollback failed" if failed else "rollback verified",
            at=facts.now,
            actor=ACTOR,
            version=incident.to_version,
            reason=f"{incident.id} {words}",
            rule="follow-up",
            statistic=following.statistic,
            threshold=following.threshold,
            inputs={
                "incident": incident.id,
                "facts": msgspec.to_builtins(facts),
                "state": incident.state.value,
                "waited_from": incident.updated_at.isoformat(),
            },
            config_hash=kept_hash(transaction, policy, facts.now),
        )
        confirmed = incident.confirmed_by if incident.confirmed_at is not None else facts.confirmed
        return transaction.replace(
            msgspec.structs.replace(
                incident,
                state=state,
                updated_at=facts.now,
                confirmed_by=confirmed,
                verified_at=facts.now if following.verdict is not None else None,
                verdict=None if following.verdict is None else following.verdict.value,
                outcome=following.reason,
                timeline=(*incident.timeline, IncidentEvent(at=facts.now, what=words)),
            )
        )


def _set_state(transaction: Transaction, incident: Incident, state: RolloutState) -> None:
    """The rollout says the same as its incident; `updated_at` stays the moment at which it lost its traffic."""
    rollout = None if incident.rollout is None else transaction.get(Rollout, incident.rollout)
    if rollout is not None:
        transaction.replace(msgspec.structs.replace(rollout, state=state))
