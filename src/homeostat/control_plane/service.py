"""The control plane in this process: the services behind every order and every question."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.alerts.service import Alerts
from homeostat.control_plane.experiments import ExperimentOrders
from homeostat.control_plane.orders import explained
from homeostat.control_plane.registration import check_runnable, register_files
from homeostat.control_plane.releases import ReleasesPlane
from homeostat.controllers.tally import Tally
from homeostat.errors import Conflict, IntegrityError, NotServing, UnknownRecord
from homeostat.experiments.service import Experiments
from homeostat.feedback.labels import accept_labels, count_unknown
from homeostat.frames import label_text
from homeostat.journal import latest_route
from homeostat.keys.service import Keys
from homeostat.ports import Clock, ControlStore, PredictionLog, Registration
from homeostat.records import (
    Alert,
    CheckReport,
    Decision,
    Finding,
    GatewayReport,
    KeyReport,
    KeyRole,
    LabelsAccepted,
    Model,
    ModelStatus,
    NewKey,
    PastPredictions,
    PolicyReport,
    PredictionsAccepted,
    Promotion,
    Rollout,
    RolloutComparison,
    Route,
    RouteReport,
    Run,
    Stage,
    StageChange,
    Trigger,
    TriggerKind,
    Verdict,
    Verification,
    Version,
)
from homeostat.registry.rules import check_promotable
from homeostat.registry.service import Registry, require_model
from homeostat.retraining.service import Retraining
from homeostat.rollouts.rules import arms_of
from homeostat.rollouts.service import Rollouts
from homeostat.serving.elsewhere import block_of
from homeostat.settings import Settings, shown

RECENT_FINDINGS = 200
POLL_SECONDS = 0.2
QUALITY_CHECKS = ("performance daily", "performance 7 days", "performance 30 days")


class ControlPlaneService(ReleasesPlane, ExperimentOrders):
    """Implements `ports.ControlPlane` over the services of one process.

    `tick` lets the controllers do what is due, of one model or of all; `tally` counts a model's log; `on_route` makes
    the gateway of this process follow a route that was just written, and `on_run` the controllers look for a run.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        store: ControlStore,
        log: PredictionLog,
        registry: Registry,
        rollouts: Rollouts,
        experiments: Experiments,
        retraining: Retraining,
        alerts: Alerts,
        tick: Callable[[str], object],
        tally: Callable[[str], Tally],
        on_route: Callable[[str], None],
        on_run: Callable[[], None],
        is_gone: Callable[[GatewayReport], bool],
        on_integrity_error: Callable[[IntegrityError], None],
        keys: Keys,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._log = log
        self._registry = registry
        self._rollouts = rollouts
        self._experiments = experiments
        self._retraining = retraining
        self._alerts = alerts
        self._tick = tick
        self._tally = tally
        self._on_route = on_route
        self._on_run = on_run
        self._is_gone = is_gone
        self._on_integrity_error = on_integrity_error
        self.key_service = keys

    # What is served, and how it does
    def status(self) -> list[ModelStatus]:
        return [self.status_of(model.name) for model in self._registry.models()]

    def status_of(self, model: str) -> ModelStatus:
        """The same for one model. Raises `UnknownModel`."""
        held = self._registry.model(model)
        production = self._registry.production(model)
        findings = self._newest(model, production.number) if production else {}
        tally = self._tally(model)
        with self._store.read() as transaction:
            route = latest_route(transaction, model)
            last = next(iter(transaction.list(Decision, model=model, newest_first=True, limit=1)), None)
        return ModelStatus(
            model=model,
            task=held.task,
            description=held.description,
            production=production.number if production else None,
            route=route,
            quality=_quality(findings),
            drift=findings["drift"].verdict.value if "drift" in findings else "not looked at",
            rows=tally.rows,
            labelled=tally.labelled,
            unmatched=tally.unmatched,
            rollout=self._rollouts.active(model),
            open_alerts=self._alerts.list(model, live_only=True),
            last_decision=last,
        )

    def _newest(self, model: str, version: int) -> dict[str, Finding]:
        found: dict[str, Finding] = {}
        with self._store.read() as transaction:
            for finding in transaction.list(Finding, model=model, newest_first=True, limit=RECENT_FINDINGS):
                if finding.version == version:
                    found.setdefault(finding.check, finding)
        return found

    def check(self, model: str) -> CheckReport:
        self._registry.model(model)
        self._tick(model)
        production = self._registry.production(model)
        findings = list(self._newest(model, production.number).values()) if production else []
        harmed = any(finding.verdict in (Verdict.HARMED, Verdict.ERROR) for finding in findings)
        return CheckReport(model=model, harmed=harmed, findings=findings)

    def findings(self, model: str, *, check: str | None = None, limit: int = 100) -> list[Finding]:
        with self._store.read() as transaction:
            require_model(transaction, model)
            states = () if check is None else (check,)
            found = transaction.list(Finding, model=model, states=states, newest_first=True, limit=limit)
        return found[::-1]

    def decisions(self, model: str, *, limit: int = 0) -> list[Decision]:
        with self._store.read() as transaction:
            require_model(transaction, model)
            found = transaction.list(Decision, model=model, newest_first=True, limit=limit or None)
        return found[::-1]

    # Models and versions
    def models(self) -> list[Model]:
        return self._registry.models()

    def versions(self, model: str) -> list[Version]:
        return self._registry.versions(model)

    def version(self, model: str, number: int) -> Version:
        return self._registry.version(model, number)

    def stages(self, model: str, number: int | None = None) -> list[StageChange]:
        if number is not None:
            self._registry.version(model, number)
        return self._registry.history(model, number)

    @explained
    def register(self, model: str, registration: Registration, *, actor: str, reason: str) -> Version:
        return register_files(
            self._registry,
            model,
            registration,
            self._settings.policy_of(model),
            at=self._clock.now(),
            actor=actor,
            reason=reason,
            seed=self._settings.seed,
            python_seconds=self._settings.serve.python_seconds,
        )

    @explained
    def move(self, model: str, number: int, stage: Stage, *, actor: str, reason: str) -> Promotion:
        now = self._clock.now()
        version = self._registry.version(model, number)
        if stage is not Stage.PRODUCTION:
            return Promotion(version=self._registry.advance(model, number, stage, at=now, actor=actor, reason=reason))
        if version.stage is Stage.PRODUCTION:
            return Promotion(version=version)
        check_promotable(version)
        check_runnable(version, self._settings)
        self._check_readable(version)
        # Which version is in production elsewhere is said, not tried: there is no traffic here to try it on.
        if self._registry.production(model) is None or version.is_external:
            installed = self._registry.install(model, number, at=now, actor=actor, reason=reason)
            if not installed.is_external:
                self._on_route(model)
            return Promotion(version=installed)
        policy = self._settings.policy_of(model)
        rollout = self._rollouts.start(model, number, policy, at=now, reason=reason, actor=actor, by_hand=True)
        self._on_route(model)
        return Promotion(version=self._registry.version(model, number), rollout=rollout)

    def verify(self, model: str | None = None) -> Verification:
        names = [model] if model is not None else [held.name for held in self._registry.models()]
        versions = [version for name in names for version in self._registry.versions(name)]
        broken = {}
        for version in versions:
            paths = self._registry.verify(version)
            if paths:
                broken[f"{version.model}:{version.number}"] = paths
            for path in paths:
                try:
                    self._registry.read_file(version, path)
                except IntegrityError as error:
                    self._on_integrity_error(error)
        return Verification(versions=len(versions), broken=broken)

    # Traffic: the rest is `ReleasesPlane`'s
    def comparisons(self, model: str) -> list[RolloutComparison]:
        rollouts = self.rollouts(model)
        live = self._tally(model).evidence
        last = self._last_evidence(model) if any(one.id not in live for one in rollouts) else {}
        return [self._comparison(rollout, live.get(rollout.id) or last.get(rollout.id, {})) for rollout in rollouts]

    def _comparison(self, rollout: Rollout, evidence: dict[str, Any]) -> RolloutComparison:
        policy = self._settings.policy_of(rollout.model).rollout
        arms, _ = arms_of(rollout, rollout.current)
        return RolloutComparison(
            id=rollout.id,
            model=rollout.model,
            state=rollout.state,
            step=rollout.current.kind,
            arms=list(arms),
            began_at=rollout.created_at,
            rule=(
                f"paired e-process over the rows that both versions scored: promoted from 1/{policy.promotion_error:g} "
                f"on, taken back within a total error of {policy.rollback_error:g}"
            ),
            evidence=evidence,
        )

    def _last_evidence(self, model: str) -> dict[str, dict[str, Any]]:
        """What the last decision about each rollout was taken on."""
        found: dict[str, dict[str, Any]] = {}
        with self._store.read() as transaction:
            for decision in transaction.list(Decision, model=model):
                if "pairs" in decision.inputs and "rollout" in decision.inputs:
                    kept = {name: value for name, value in decision.inputs.items() if name != "facts"}
                    found[decision.inputs["rollout"]] = kept
        return found

    def routes(self, model: str, *, limit: int = 100) -> RouteReport:
        with self._store.read() as transaction:
            require_model(transaction, model)
            routes = transaction.list(Route, model=model, newest_first=True, limit=limit)
            gateways = [gateway for gateway in transaction.list(GatewayReport) if not gateway.stopped]
        return RouteReport(model=model, routes=routes[::-1], gateways=gateways)

    # Retraining
    def runs(self, model: str) -> list[Run]:
        with self._store.read() as transaction:
            require_model(transaction, model)
            return transaction.list(Run, model=model)

    def run(self, model: str, run: str) -> Run:
        """One run. Raises `UnknownRecord`."""
        with self._store.read() as transaction:
            require_model(transaction, model)
            found = transaction.get(Run, run)
        if found is None or found.model != model:
            raise UnknownRecord(kind="run", key=run)
        return found

    @explained
    def retrain(self, model: str, *, actor: str, reason: str) -> Run:
        self._registry.model(model)
        production = self._registry.production(model)
        if production is None:
            raise Conflict(f"Model '{model}' has no production version to compare with.")
        trigger = Trigger(kind=TriggerKind.MANUAL, reason=reason, evidence={"labelled": self._tally(model).labelled})
        run = self._retraining.start(
            model,
            trigger,
            production.number,
            self._settings.policy_of(model),
            at=self._clock.now(),
            seed=self._settings.seed,
            actor=actor,
        )
        self._on_run()
        return run

    def wait_for_run(self, run: Run) -> Run:
        # Where another process holds the model's lease, its controllers carry the run on.
        while True:
            self._tick(run.model)
            found = self.run(run.model, run.id)
            if not found.is_under_way:
                return found
            time.sleep(POLL_SECONDS)

    # Alerts
    def alerts(self, model: str | None = None, *, everything: bool = False) -> list[Alert]:
        if model is not None:
            self._registry.model(model)
        policy = self._settings.policy if model is None else self._settings.policy_of(model)
        since = self._clock.now() - timedelta(days=policy.alerts.keep_days)
        return self._alerts.list(model, live_only=not everything, resolved_since=since)

    def acknowledge(self, alert: str, *, actor: str) -> Alert:
        return self._alerts.acknowledge(alert, by=actor, at=self._clock.now())

    def resolve(self, alert: str, *, actor: str) -> Alert:
        return self._alerts.resolve(alert, by=actor, at=self._clock.now())

    # What it is run by
    def policy(self, model: str) -> PolicyReport:
        import msgspec

        self._registry.model(model)
        policy = self._settings.policy_of(model)
        return PolicyReport(model=model, config_hash=policy.config_hash, policy=msgspec.to_builtins(policy))

    def settings(self) -> dict[str, Any]:
        return shown(self._settings)

    # Who may ask
    def keys(self) -> list[KeyReport]:
        return self.key_service.list()

    def create_key(self, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str) -> NewKey:
        return self.key_service.create(name, roles, expires=expires, actor=actor)

    def revoke_key(self, name: str, *, actor: str) -> KeyReport:
        return self.key_service.revoke(name, actor=actor)

    # Labels
    def label(
        self,
        model: str,
        ids: Sequence[str],
        values: Sequence[Any],
        *,
        event_time: npt.NDArray[np.datetime64] | None = None,
        source: str = "api",
        sources: Sequence[str | None] | None = None,
        confidences: Sequence[float | None] | None = None,
    ) -> LabelsAccepted:
        task = self._registry.model(model).task
        accepted = accept_labels(
            self._log,
            model,
            task,
            ids,
            values,
            now=self._clock.now(),
            event_time=event_time,
            source=source,
            sources=sources,
            confidences=confidences,
        )
        names = {label_text(id_) or "" for id_ in ids}
        unmatched = len(names) - self._log.count_served(model, sorted(names))
        production = self._registry.production(model)
        unknown = count_unknown(values, () if production is None else production.signature.classes)
        return LabelsAccepted(model=model, accepted=accepted, unmatched=unmatched, unknown_classes=unknown)

    # Predictions that were answered elsewhere
    def external_version(self, model: str, number: int | None) -> Version:
        """The version of a model that is only watched here: that one, or the one in production. Raises `Conflict`."""
        self._registry.model(model)
        version = self._registry.production(model) if number is None else self._registry.version(model, number)
        if version is None:
            raise NotServing(model=model)
        if not version.is_external:
            raise Conflict(
                f"Model '{model}' is served by Homeostat, which logs its predictions itself. Register what is served "
                "elsewhere under another name: 'homeostat model register NAME --external --reference DATA'."
            )
        return version

    def log_predictions(self, model: str, past: PastPredictions) -> PredictionsAccepted:
        version = self.external_version(model, past.version)
        block = block_of(past, version)
        names = sorted(set(past.ids))
        fresh = len(names) - self._log.count_served(model, names)
        self._log.append([block])
        return PredictionsAccepted(model=model, version=version.number, accepted=fresh, duplicates=block.rows - fresh)


def _quality(findings: dict[str, Finding]) -> str:
    """What the longest window that is judged says."""
    for check in reversed(QUALITY_CHECKS):
        if check in findings and findings[check].verdict is not Verdict.NO_DATA:
            return findings[check].message
    return "no labels yet"
