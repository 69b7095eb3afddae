"""Starts the rollout of a run's version, and advances the one that is under way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from homeostat.controllers.views import ModelView, rollout_facts
from homeostat.ports import ControlStore
from homeostat.records import Policy, Rollout, Run, RunState
from homeostat.registry.service import Registry
from homeostat.rollouts.service import Rollouts


class RolloutController:
    """Rollouts of a model."""

    name = "rollout"

    def __init__(
        self,
        store: ControlStore,
        registry: Registry,
        rollouts: Rollouts,
        on_route: Callable[[str, datetime], None],
        *,
        holder: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._rollouts = rollouts
        self._on_route = on_route
        self._holder = holder

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        started = self._start(view, policy, now)
        rollout = self._rollouts.active(view.model)
        if rollout is None:
            return started
        baseline = self._registry.version(view.model, rollout.baseline)
        facts = rollout_facts(view, rollout, baseline, policy, now)
        following = self._rollouts.advance(rollout, facts, policy)
        changed = started or following.revision != rollout.revision
        if changed:
            self._on_route(view.model, now)
        if not following.state.is_final:
            self._rollouts.renew_lease(following, policy, holder=self._holder, now=now)
        return changed

    def _start(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        with self._store.read() as transaction:
            run = next(iter(transaction.list(Run, model=view.model, newest_first=True, limit=1)), None)
            known = {rollout.run for rollout in transaction.list(Rollout, model=view.model)}
        if run is None or run.state is not RunState.SUCCEEDED or run.version is None or run.id in known:
            return False
        self._rollouts.start(view.model, run.version, policy, at=now, reason=run.outcome, run=run.id)
        self._on_route(view.model, now)
        return True
