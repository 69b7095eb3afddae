"""Looks at what is served, when a look is due, and hands the findings to the alerts."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from homeostat.alerts.service import Alerts
from homeostat.controllers.views import ModelView, watched
from homeostat.monitoring.service import Monitoring
from homeostat.ports import ControlStore
from homeostat.records import Policy, Progress
from homeostat.registry.service import Registry


class MonitorController:
    """Monitoring and alerts of a model's production version."""

    name = "monitor"

    def __init__(
        self,
        store: ControlStore,
        registry: Registry,
        monitoring: Monitoring,
        alerts: Alerts,
    ) -> None:
        self._store = store
        self._registry = registry
        self._monitoring = monitoring
        self._alerts = alerts

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        version = self._registry.production(view.model)
        if version is None or not self._is_due(view.model, version.number, policy, now):
            return False
        findings = self._monitoring.look(watched(view, version, policy), policy, now=now)
        self._alerts.take(findings, policy.alerts)
        self._done(view.model, version.number, now)
        return True

    def _is_due(self, model: str, version: int, policy: Policy, now: datetime) -> bool:
        with self._store.read() as transaction:
            held = transaction.get(Progress, f"{self.name}:{model}")
        if held is None or held.state["version"] != version:
            return True
        wait = timedelta(seconds=policy.drift.every_seconds)
        # A clock that was set back must not silence the checks until it has caught up.
        last = datetime.fromisoformat(held.state["at"])
        return now >= last + wait or now < last

    def _done(self, model: str, version: int, now: datetime) -> None:
        state = {"at": now.isoformat(), "version": version}
        with self._store.begin() as transaction:
            held = transaction.get(Progress, f"{self.name}:{model}")
            if held is None:
                transaction.insert(Progress(controller=self.name, model=model, state=state))
            else:
                transaction.replace(msgspec.structs.replace(held, state=state))
