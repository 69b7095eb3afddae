"""Starts the rollout of a run's version, and advances the one that is under way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from homeostat.alerts.service import Alerts
from homeostat.controllers.confirmation import wait_for_gateways
from homeostat.controllers.incidents import IncidentController
from homeostat.controllers.views import ModelView, rollout_facts, without_groups
from homeostat.errors import Conflict
from homeostat.journal import latest_route
from homeostat.ports import ControlStore
from homeostat.records import (
    Finding,
    GatewayReport,
    Policy,
    Rollout,
    Run,
    RunState,
    Severity,
    Stage,
    Verdict,
)
from homeostat.registry.service import Registry
from homeostat.rollouts.rules import LIMIT, Facts, decide
from homeostat.rollouts.service import Rollouts

_LOG = logging.getLogger("homeostat.controllers")
TO_BE_TRIED = (Stage.TESTING, Stage.STAGING)
# A gateway follows a route within milliseconds: it is worth so many seconds to find that the step can be left now.
SHORT_WAIT = 0.5


def release_controllers(
    store: ControlStore,
    registry: Registry,
    rollouts: Rollouts,
    alerts: Alerts,
    on_route: Callable[[str, datetime], None],
    is_gone: Callable[[GatewayReport], bool],
    *,
    holder: str,
) -> tuple[RolloutController, IncidentController]:
    """What carries versions to production, and what follows up those that were taken back."""
    rollout = RolloutController(store, registry, rollouts, alerts, on_route, is_gone, holder=holder)
    return rollout, IncidentController(store, alerts, is_gone)


class RolloutController:
    """Rollouts of a model."""

    name = "rollout"
    is_urgent = True

    def __init__(
        self,
        store: ControlStore,
        registry: Registry,
        rollouts: Rollouts,
        alerts: Alerts,
        on_route: Callable[[str, datetime], None],
        is_gone: Callable[[GatewayReport], bool],
        *,
        holder: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._rollouts = rollouts
        self._alerts = alerts
        self._on_route = on_route
        self._is_gone = is_gone
        self._holder = holder

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        started = self._start(view, policy, now)
        rollout = self._rollouts.active(view.model)
        if rollout is None:
            return started
        baseline = self._registry.version(view.model, rollout.baseline)
        facts = self._with_gateways(rollout, rollout_facts(view, rollout, baseline, policy, now), policy)
        self._tell_of_no_groups(view, rollout, policy, now)
        action = decide(rollout, facts, policy)
        if action.kind == "hold" and action.rule == LIMIT:
            self._tell_of_limit(rollout, action.reason, policy, now)
        following = self._rollouts.advance(rollout, facts, policy, action)
        changed = started or following.revision != rollout.revision
        if changed:
            self._on_route(view.model, now)
        if following.state.is_under_way:
            self._rollouts.renew_lease(following, policy, holder=self._holder, now=now)
        return changed

    def _with_gateways(self, rollout: Rollout, facts: Facts, policy: Policy) -> Facts:
        """The same with how many gateways serve the step's route: a step that one of them lacks is not left."""
        if not rollout.current.kind.names_candidate:
            return facts
        with self._store.read() as transaction:
            route = latest_route(transaction, rollout.model)
        number = 0 if route is None else route.number
        ready, waiting = wait_for_gateways(self._store, rollout.model, number, is_gone=self._is_gone, wait_seconds=0.0)
        if waiting and decide(rollout, facts, policy).kind == "enter":
            ready, waiting = wait_for_gateways(
                self._store, rollout.model, number, is_gone=self._is_gone, wait_seconds=SHORT_WAIT
            )
        return replace(facts, gateways=len(ready) + len(waiting), gateways_ready=len(ready))

    def _tell_of_limit(self, rollout: Rollout, reason: str, policy: Policy, now: datetime) -> None:
        """A step that is held past its maximum waits for a person, who is told once."""
        what = f"held:{rollout.step}:{rollout.step_backs}"
        self._tell(rollout, what, "rollout limit", Verdict.HARMED, reason, policy, now)

    def _tell_of_no_groups(self, view: ModelView, rollout: Rollout, policy: Policy, now: datetime) -> None:
        """A protected feature that makes no groups is not watched, which a person has to know."""
        for name in without_groups(view, rollout, policy):
            message = (
                f"guardrail 'fairness' does not watch '{name}': the candidate has no such feature, or it has no two "
                "groups. Mend policy.guardrails.fairness_features."
            )
            self._tell(rollout, f"fairness:{name}", "rollout fairness", Verdict.ERROR, message, policy, now)

    def _tell(
        self, rollout: Rollout, what: str, check: str, verdict: Verdict, reason: str, policy: Policy, now: datetime
    ) -> None:
        finding = Finding(
            id=f"{rollout.id}:{what}",
            model=rollout.model,
            check=check,
            at=now,
            verdict=verdict,
            severity=Severity.HIGH,
            message=f"{rollout.id}: {reason}",
            version=rollout.candidate,
        )
        with self._store.begin() as transaction:
            if transaction.get(Finding, finding.id) is not None:
                return
            transaction.insert(finding)
        self._alerts.take([finding], policy.alerts)

    def _start(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        with self._store.read() as transaction:
            run = next(iter(transaction.list(Run, model=view.model, newest_first=True, limit=1)), None)
            known = {rollout.run for rollout in transaction.list(Rollout, model=view.model)}
        if run is None or run.state is not RunState.SUCCEEDED or run.version is None or run.id in known:
            return False
        if self._registry.version(view.model, run.version).stage not in TO_BE_TRIED:
            # A person has put it away, or in place, meanwhile.
            return False
        try:
            self._rollouts.start(view.model, run.version, policy, at=now, reason=run.outcome, run=run.id)
        except Conflict as error:
            # It is started once its rest, or the rollout that takes traffic, is over: that one is watched till then.
            _LOG.info("Version %s of %s waits: %s", run.version, view.model, error)
            return False
        self._on_route(view.model, now)
        return True
