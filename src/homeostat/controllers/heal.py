"""Asks the policy whether to retrain, and starts the run."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from homeostat.controllers.views import ModelView, labelled_rows, ripe_share
from homeostat.healing.rules import RECOVERY_ROWS, Facts, decide
from homeostat.monitoring.checks import NORMAL_90, row_losses
from homeostat.ports import ControlStore
from homeostat.records import (
    Alert,
    Finding,
    Policy,
    Rollout,
    RolloutState,
    Run,
    Stage,
    StageChange,
    Task,
    Version,
    as_datetime,
    parse_span,
)
from homeostat.registry.service import Registry
from homeostat.retraining.service import Retraining

RECENT_FINDINGS = 40
GIVEN_UP = (RolloutState.REJECTED, RolloutState.ABORTED)
RECENT_ROWS = 400


class HealController:
    """Healing of a model."""

    name = "heal"

    def __init__(self, store: ControlStore, registry: Registry, retraining: Retraining, *, seed: int) -> None:
        self._store = store
        self._registry = registry
        self._retraining = retraining
        self._seed = seed

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        version = self._registry.production(view.model)
        # What is served elsewhere is retrained and routed there: here its findings become alerts, and nothing more.
        if version is None or version.is_external:
            return False
        facts = self._facts(view, version, policy, now)
        trigger = decide(facts, policy)
        if trigger is None:
            return False
        self._retraining.start(view.model, trigger, version.number, policy, at=now, seed=self._seed)
        return True

    def _facts(self, view: ModelView, version: Version, policy: Policy, now: datetime) -> Facts:
        model = view.model
        with self._store.read() as transaction:
            findings = transaction.list(Finding, model=model, newest_first=True, limit=RECENT_FINDINGS)
            runs = transaction.list(Run, model=model)
            rollouts = transaction.list(Rollout, model=model)
            # Alerts pile up over the years, and few policies count them.
            alerts = transaction.list(Alert, model=model) if policy.triggers.alert_count else []
            changes = transaction.list(StageChange, model=model)
        newest: dict[str, Finding] = {}
        for finding in findings:
            if finding.version == version.number:
                newest.setdefault(finding.check, finding)
        since_run = runs[-1].created_at if runs else None
        rows = view.joined.rows()
        # What a version that was taken back had promised is no mark to measure others by.
        taken_back = {
            rollout.candidate for rollout in rollouts if rollout.state.was_rolled_back or rollout.state in GIVEN_UP
        }
        served = {change.version for change in changes if change.target is Stage.PRODUCTION} - taken_back
        recent, shortfall = _shortfall(view, self._registry, version, served, policy)
        lag = timedelta(seconds=parse_span(policy.triggers.label_lag).seconds)
        return Facts(
            now=now,
            findings=newest,
            runs=runs,
            rollouts=rollouts,
            labelled=int(rows.labelled.sum()),
            recent_rows=recent,
            shortfall=shortfall,
            ripe_labelled_share=ripe_share(rows, now, lag),
            drift_alerts=sum(
                1 for alert in alerts if alert.subject == "drift" and (since_run is None or alert.opened_at > since_run)
            ),
            history_rows=self._registry.version(model, 1).lineage.rows,
            first_served_at=as_datetime(np.datetime64(int(rows.event_time[0]), "us")) if rows.count else None,
        )


def _shortfall(
    view: ModelView, registry: Registry, version: Version, served: set[int], policy: Policy
) -> tuple[int, float]:
    """How far recent performance is below the best reference of any version that served, less what chance explains."""
    labelled = labelled_rows(view.joined.rows(), version.number)
    references = [registry.version(view.model, number).metrics for number in sorted(served)]
    recent = slice(max(0, labelled.rows - RECENT_ROWS), labelled.rows)
    count = recent.stop - recent.start
    if count < RECOVERY_ROWS:
        return count, 0.0
    if view.task is Task.REGRESSION:
        best = min((metrics["mae"] for metrics in references if "mae" in metrics), default=None)
        if best is None:
            return count, 0.0
        errors = np.abs(labelled.value[recent] - labelled.score[recent])
        noise = NORMAL_90 * float(errors.std()) / count**0.5
        return count, float(errors.mean()) - best * (1 + policy.performance.relative_drop) - noise
    best = max((metrics["accuracy"] for metrics in references if "accuracy" in metrics), default=None)
    if best is None:
        return count, 0.0
    losses = row_losses(
        view.task,
        labelled.label[recent],
        labelled.output[recent],
        labelled.score[recent],
        labelled.value[recent],
        version.metrics,
    )
    mean = float(losses.mean())
    noise = NORMAL_90 * (mean * (1 - mean) / count) ** 0.5
    return count, mean - (1 - best) - policy.performance.maximum_drop - noise
