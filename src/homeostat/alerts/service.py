"""Keeps alerts and tells people about the changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from homeostat.alerts.rules import continued, deserves, opened, subject_of, worst
from homeostat.errors import Conflict, UnknownRecord
from homeostat.journal import record_decision
from homeostat.ports import ControlStore, Notifier
from homeostat.records import Alert, AlertPolicy, AlertState, Finding, Severity

LIVE = (AlertState.OPEN.value, AlertState.ACKNOWLEDGED.value)
_LOG = logging.getLogger("homeostat.alerts")
_LEVELS = {Severity.CRITICAL: logging.ERROR, Severity.HIGH: logging.WARNING}


class LogNotifier:
    """Writes alerts to the log."""

    def notify(self, alert: Alert, finding: Finding | None) -> None:  # noqa: ARG002
        level = logging.INFO if alert.state is AlertState.RESOLVED else _LEVELS.get(alert.severity, logging.INFO)
        _LOG.log(level, "%s %s %s: %s", alert.state.value, alert.severity.value, alert.subject, alert.message)


class CallbackNotifier:
    """Calls a function with each alert that changed."""

    def __init__(self, callback: Callable[[Alert], None]) -> None:
        self._callback = callback

    def notify(self, alert: Alert, finding: Finding | None) -> None:  # noqa: ARG002
        self._callback(alert)


class Alerts:
    """Alerts of all models."""

    def __init__(self, store: ControlStore, notifiers: Sequence[Notifier]) -> None:
        self._store = store
        self._notifiers = list(notifiers)

    def take(self, findings: Sequence[Finding], policy: AlertPolicy) -> list[Alert]:
        """Open, continue or resolve alerts for the findings of one look; returns those that people were told of."""
        by_subject: dict[tuple[str, str], list[Finding]] = {}
        for finding in findings:
            by_subject.setdefault((finding.model, subject_of(finding)), []).append(finding)
        told: list[tuple[Alert, Finding]] = []
        with self._store.begin() as transaction:
            for (model, subject), group in by_subject.items():
                finding = worst(group)
                live = transaction.list(Alert, model=model, states=LIVE)
                held = next((alert for alert in live if alert.subject == subject), None)
                if held is None:
                    if not deserves(finding, policy):
                        continue
                    alert = opened(finding, transaction.count(Alert, model=model) + 1)
                    transaction.insert(alert)
                    record_decision(
                        transaction,
                        model,
                        kind="alert",
                        at=finding.at,
                        actor="homeostat",
                        reason=finding.message,
                        rule=subject,
                        version=finding.version,
                        statistic=finding.statistic,
                        threshold=finding.threshold,
                        inputs={"alert": alert.id, "finding": finding.id, "severity": finding.severity.value},
                    )
                    told.append((alert, finding))
                    continue
                following, tell = continued(held, finding, policy)
                if following is not held:
                    following = transaction.replace(following)
                if tell:
                    told.append((following, finding))
        for alert, finding in told:
            self._tell(alert, finding)
        return [alert for alert, _ in told]

    def settle(self, finding: Finding) -> None:
        """Resolve the alert on what a finding is about: it is over, and needs no further looks."""
        with self._store.begin() as transaction:
            live = transaction.list(Alert, model=finding.model, states=LIVE)
            held = next((alert for alert in live if alert.subject == subject_of(finding)), None)
            if held is None:
                return
            settled = transaction.replace(
                msgspec.structs.replace(
                    held, state=AlertState.RESOLVED, resolved_at=finding.at, message=finding.message, finding=finding.id
                )
            )
        self._tell(settled, finding)

    def list(
        self, model: str | None = None, *, live_only: bool = False, resolved_since: datetime | None = None
    ) -> list[Alert]:
        """Alerts, oldest first; those that were resolved before `resolved_since` are left out."""
        with self._store.read() as transaction:
            alerts = transaction.list(Alert, model=model, states=LIVE if live_only else ())
        return [
            alert
            for alert in alerts
            if alert.resolved_at is None or resolved_since is None or alert.resolved_at >= resolved_since
        ]

    def acknowledge(self, alert_id: str, *, by: str, at: datetime) -> Alert:
        """Somebody looks after it. Raises `UnknownRecord`, or `Conflict` where it is resolved."""
        fields: dict[str, object] = {"state": AlertState.ACKNOWLEDGED, "acknowledged_by": by}
        return self._change(alert_id, fields, kind="acknowledged", by=by, at=at)

    def resolve(self, alert_id: str, *, by: str, at: datetime) -> Alert:
        """Close it by hand."""
        return self._change(alert_id, {"state": AlertState.RESOLVED, "resolved_at": at}, kind="resolved", by=by, at=at)

    def _change(self, alert_id: str, fields: dict[str, object], *, kind: str, by: str, at: datetime) -> Alert:
        with self._store.begin() as transaction:
            alert = transaction.get(Alert, alert_id)
            if alert is None:
                raise UnknownRecord(kind="alert", key=alert_id)
            if alert.state is AlertState.RESOLVED:
                raise Conflict(f"Alert '{alert_id}' is resolved already.", alert=alert_id)
            record_decision(
                transaction,
                alert.model,
                kind=kind,
                at=at,
                actor=by,
                reason=f"{alert_id}, by hand",
                rule=alert.subject,
                inputs={"alert": alert_id, "severity": alert.severity.value},
            )
            return transaction.replace(msgspec.structs.replace(alert, **fields))

    def _tell(self, alert: Alert, finding: Finding) -> None:
        for notifier in self._notifiers:
            try:
                notifier.notify(alert, finding)
            except Exception:
                # A channel that is down must not stop the loop; the alert itself is kept.
                _LOG.exception("Alert %s could not be sent by %s.", alert.id, type(notifier).__name__)
