"""The loop over models and controllers. A lease makes one of many replicas act; killing one anywhere is harmless."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from homeostat.controllers.views import ModelView
from homeostat.errors import Conflict, HomeostatError
from homeostat.ports import ControlStore
from homeostat.records import Alert, AlertState, Finding, Lease, Model, Policy, Severity, Verdict

_LOG = logging.getLogger("homeostat.controllers")
LEASE = timedelta(seconds=60)
MOST_ROUNDS = 20
LIVE_ALERTS = (AlertState.OPEN.value, AlertState.ACKNOWLEDGED.value)


class Controller(Protocol):
    """Looks at one model's records and moves them on."""

    name: str

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        """Do what is due; returns whether anything changed, so that another round may find more to do."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """Reconciles every model with every controller until nothing changes any more."""

    store: ControlStore
    controllers: Sequence[Controller]
    view: Callable[[str], ModelView]
    policy: Callable[[str], Policy]
    holder: str
    on_finding: Callable[[Finding], object]
    is_gone: Callable[[str], bool] = lambda _: False

    def run_due(self, now: datetime) -> int:
        """One pass over all models; returns how many rounds did something."""
        with self.store.read() as transaction:
            models = [model.name for model in transaction.list(Model)]
            worst = dict.fromkeys(models, 0)
            for alert in transaction.list(Alert, states=LIVE_ALERTS) if len(models) > 1 else ():
                worst[alert.model] = max(worst.get(alert.model, 0), alert.severity.rank)
        if len(models) == 1:
            return self.run_model(models[0], now)
        # Before anything that takes long: what may have to be taken back, the most critical model first.
        models.sort(key=lambda model: (-self._criticality(model), -worst[model]))
        urgent = sum(self.run_model(model, now, urgent_only=True) for model in models)
        return urgent + sum(self.run_model(model, now) for model in models)

    def _criticality(self, model: str) -> int:
        try:
            return self.policy(model).rollout.criticality
        except HomeostatError:
            # Its own turn says what is wrong with it.
            return 0

    def run_model(self, model: str, now: datetime, *, urgent_only: bool = False) -> int:
        """Reconcile one model until it is quiescent, if the lease can be had.

        With `urgent_only`, by those controllers only that may take a version back.
        """
        if not self._lease(model, now):
            return 0
        try:
            view, policy = self.view(model), self.policy(model)
        except Exception as error:
            # One model that can't be read must not stop the others.
            self._keep("view", model, error, now)
            return 0
        controllers = [one for one in self.controllers if not urgent_only or getattr(one, "is_urgent", False)]
        for rounds in range(MOST_ROUNDS):
            changed = [self._reconcile(controller, view, policy, now) for controller in controllers]
            if not any(changed):
                return rounds
        return MOST_ROUNDS

    def _reconcile(self, controller: Controller, view: ModelView, policy: Policy, now: datetime) -> bool:
        try:
            return controller.reconcile(view, policy, now)
        except Conflict as error:
            # Somebody else moved the record first: the next pass sees what they made of it.
            _LOG.info("%s of %s: %s", controller.name, view.model, error)
        except Exception as error:
            self._keep(controller.name, view.model, error, now)
        return False

    def _keep(self, controller: str, model: str, error: Exception, now: datetime) -> None:
        """Whatever breaks becomes a finding that people are told of, and the loop goes on."""
        _LOG.error("%s of %s failed.", controller, model, exc_info=error)
        code = error.code if isinstance(error, HomeostatError) else type(error).__name__
        finding = Finding(
            id=f"{model}:controller {controller}:{code}:{now.isoformat()}",
            model=model,
            check=f"controller {controller}",
            at=now,
            verdict=Verdict.ERROR,
            severity=Severity.HIGH,
            message=f"The {controller} controller failed: {error}",
            evidence={"code": code},
        )
        with self.store.begin() as transaction:
            if transaction.get(Finding, finding.id) is not None:
                return
            transaction.insert(finding)
        self.on_finding(finding)

    def _lease(self, model: str, now: datetime) -> bool:
        name = f"controllers:{model}"
        with self.store.begin() as transaction:
            held = transaction.get(Lease, name)
            if held is None:
                transaction.insert(Lease(name=name, holder=self.holder, until=now + LEASE))
                return True
            # A holder that is known to be dead gives nothing back; waiting for it would only lose a minute.
            if held.holder != self.holder and held.until > now and not self.is_gone(held.holder):
                return False
            transaction.replace(msgspec.structs.replace(held, holder=self.holder, until=now + LEASE))
            return True

    def release(self) -> None:
        """Give back all leases of this holder, so that another replica need not wait for them to run out."""
        with self.store.begin() as transaction:
            for lease in transaction.list(Lease):
                if lease.holder == self.holder:
                    transaction.replace(msgspec.structs.replace(lease, until=lease.until - 2 * LEASE))
