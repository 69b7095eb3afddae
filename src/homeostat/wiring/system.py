"""One process of Homeostat: every adapter and service, built and put together here."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat import __version__
from homeostat.alerts.service import Alerts, CallbackNotifier, LogNotifier
from homeostat.control_plane.service import ControlPlaneService
from homeostat.controllers.clock import SystemClock
from homeostat.controllers.experiment import ExperimentController
from homeostat.controllers.heal import HealController
from homeostat.controllers.looks import TURN_SECONDS, Looks
from homeostat.controllers.loop import Controller, Loop
from homeostat.controllers.monitor import MonitorController
from homeostat.controllers.retrain import RetrainController
from homeostat.controllers.roll_out import release_controllers
from homeostat.controllers.seal import SealController
from homeostat.controllers.tally import Tally, TallyController, stored_tally, tally_of
from homeostat.controllers.views import ModelView, open_view
from homeostat.errors import IntegrityError, ServedElsewhere, UnknownModel
from homeostat.experiments.service import Experiments
from homeostat.feedback.labelled import LABEL, column_of, labelled_rows, moments_of
from homeostat.frames import Columns, Kind, concatenate
from homeostat.journal import latest_route
from homeostat.keys.service import Keys
from homeostat.monitoring.service import Monitoring
from homeostat.ports import FEATURE, Clock, ControlStore, FileStore, Notifier, PredictionLog, Predictor
from homeostat.records import (
    Alert,
    Finding,
    Model,
    Policy,
    Route,
    Stage,
    Task,
    Version,
)
from homeostat.records.ids import KEY_BYTES, MANY, uuid7_texts
from homeostat.registry.history import integrity_finding
from homeostat.registry.service import Registry, VersionDraft
from homeostat.retraining.service import Candidate, LabelledRows, Retraining, join_history
from homeostat.retraining.trainers import import_trainer
from homeostat.rollouts.service import Rollouts
from homeostat.serving.answering import LoadedVersion
from homeostat.serving.gateway import Gateway, Predictions
from homeostat.serving.shadows import ShadowQueue
from homeostat.settings import Settings
from homeostat.wiring.compiler import ModelCompiler
from homeostat.wiring.processes import gateway_is_gone, is_gone


class LoggedRows:
    """Training rows: the history that is kept with a version, then what was logged and labelled since."""

    def __init__(self, log: PredictionLog, registry: Registry) -> None:
        self._log = log
        self._registry = registry

    def extract(self, model: str, task: Task, kinds: dict[str, Kind], *, until: datetime) -> LabelledRows:
        """All labelled rows whose label had come by then, in time order."""
        features = [f"{FEATURE}{name}" for name in kinds]
        wanted = ["sequence", "event_time", *features]
        tables = list(labelled_rows(self._log, model, wanted, labelled_until=until))
        parts = [
            Columns(
                {
                    name: column_of(table, feature, is_number=kind.is_number)
                    for feature, (name, kind) in zip(features, kinds.items(), strict=True)
                },
                table.num_rows,
            )
            for table in tables
        ]
        columns = concatenate(parts) if parts else Columns({name: np.array([]) for name in kinds}, 0)
        target = _joined_up([column_of(table, LABEL, is_number=False) for table in tables], np.dtype(object))
        times = _joined_up([moments_of(table) for table in tables], np.dtype(np.int64))
        written = _joined_up([table.column("sequence").to_numpy() for table in tables], np.dtype(np.int64))
        # Rows of concurrent requests are logged in any order; what is learned from them must not depend on it.
        order = np.lexsort((written, times))
        if task is Task.REGRESSION:
            target = target.astype(np.float64)
        logged = LabelledRows(columns.take(order), target[order], times[order])
        return join_history(self._registry.history_rows(model), logged)


def _joined_up(parts: Sequence[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.array([], dtype=dtype)


class CandidateRegistrar:
    """Registers what a run made."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def load(self, version: Version) -> Predictor:
        return self._registry.load(version)

    def version(self, model: str, number: int) -> Version:
        return self._registry.version(model, number)

    def register_candidate(self, candidate: Candidate, *, at: datetime) -> Version:
        """Write the candidate as a version, and move it to staging: its gate is behind it."""
        run, trained = candidate.run, candidate.trained
        part = slice(candidate.rows.columns.rows - trained.rows, candidate.rows.columns.rows)
        version = self._registry.register(
            VersionDraft(
                model=run.model,
                estimator=trained.model,
                signature=candidate.signature,
                columns=candidate.rows.columns.take(part),
                target=candidate.rows.target[part],
                evaluation_scores=candidate.evaluation_scores,
                metrics=candidate.metrics,
                parameters=trained.parameters,
                tags={"trigger": run.trigger.kind.value},
                parent=run.baseline,
                run=run.id,
                seed=run.seed,
            ),
            at=at,
            actor="homeostat",
            reason=f"{run.id}: {candidate.reason}",
        )
        if version.stage is not Stage.DRAFT:
            return version
        return self._registry.advance(
            run.model, version.number, Stage.STAGING, at=at, actor="homeostat", reason="passed its gate"
        )


@dataclass(slots=True)
class System:
    """One process of Homeostat: every service, wired."""

    settings: Settings
    clock: Clock
    store: ControlStore
    log: PredictionLog
    registry: Registry
    gateway: Gateway
    rollouts: Rollouts
    retraining: Retraining
    alerts: Alerts
    loop: Loop
    control: ControlPlaneService
    # Caches over the log. The controllers and these are one thread's at a time: whoever has the turn.
    views: dict[str, ModelView]
    turn: threading.RLock
    shadows: ShadowQueue | None = None

    def policy(self, model: str) -> Policy:
        """The policy that holds for a model."""
        return self.settings.policy_of(model)

    def view(self, model: str) -> ModelView:
        """The model's view, followed to the end of the log."""
        return self.loop.view(model)

    def predict(
        self,
        model: str,
        rows: Any,
        *,
        ids: Sequence[str] | None = None,
        entities: Sequence[Any] | None = None,
        event_time: npt.NDArray[np.datetime64] | None = None,
    ) -> Predictions:
        """Score rows with what the model's route names, and log them."""
        now = self.clock.now()
        self.gateway.refresh(model, now=now)
        return self.gateway.predict(model, rows, now=now, ids=ids, entities=entities, event_time=event_time)

    def label(
        self,
        model: str,
        ids: Sequence[str],
        values: Sequence[Any],
        *,
        event_time: npt.NDArray[np.datetime64] | None = None,
        source: str = "api",
    ) -> int:
        """Take labels in; returns how many."""
        return self.control.label(model, ids, values, event_time=event_time, source=source).accepted

    def tick(self) -> int:
        """Let all controllers do what is due; returns how many rounds did something."""
        with self.turn:
            return self.loop.run_due(self.clock.now())

    def records(self, kind: type[Any], model: str) -> list[Any]:
        """All records of a kind that belong to a model, oldest first."""
        with self.store.read() as transaction:
            return transaction.list(kind, model=model)

    def route(self, model: str) -> Route | None:
        """The newest route of a model."""
        with self.store.read() as transaction:
            return latest_route(transaction, model)

    def close(self) -> None:
        """Give back leases and files."""
        with self.turn:
            self.loop.release()
        if self.shadows is not None:
            self.shadows.close()
        self.log.close()
        self.store.close()


def open_system(
    settings: Settings,
    *,
    clock: Clock | None = None,
    in_memory: bool = False,
    on_alert: Callable[[Alert], None] | None = None,
    holder: str | None = None,
    on_route: Callable[[str], None] | None = None,
    on_run: Callable[[], None] | None = None,
    is_server: bool = False,
    serves: bool = True,
    acts: bool = True,
    shadows: ShadowQueue | None = None,
) -> System:
    """Open the stores of a home folder (or fresh ones in memory) and wire all services over them.

    In a server the controllers write down what people look at, `on_route` is called when this process changed a
    route, and `on_run` when there is work for the controllers. Without a server both happen in the caller's thread.
    A process of a server that does not serve loads no route; one that does not act asks the controllers, which run
    elsewhere, to look.
    With `shadows` those score behind the answer instead of before it.
    """
    clock = clock or SystemClock()
    store, log, files = _memory_stores() if in_memory else _durable_stores(settings)
    compiler = ModelCompiler(allow_python=settings.serve.allow_python, python_seconds=settings.serve.python_seconds)
    registry = Registry(store, files, compiler, code_version=__version__)
    views: dict[str, ModelView] = {}
    turn = threading.RLock()

    def view(model: str) -> ModelView:
        if model not in views:
            views[model] = open_view(log, registry, model, settings.policy_of(model))
        views[model].follow()
        return views[model]

    def load(model: str, number: int) -> LoadedVersion:
        version = registry.version(model, number)
        return LoadedVersion(version, registry.load(version))

    alerts = Alerts(store, _notifiers(settings, clock, on_alert))

    def on_integrity_error(error: IntegrityError, now: datetime) -> None:
        finding = integrity_finding(error, now)
        with store.begin() as transaction:
            if transaction.get(Finding, finding.id) is None:
                transaction.insert(finding)
        alerts.take([finding], settings.policy_of(finding.model).alerts)

    gateway = Gateway(
        latest_route=lambda model: _newest_route(store, model),
        load=load,
        log=log,
        new_ids=new_prediction_ids,
        on_integrity_error=on_integrity_error,
        later=None if shadows is None else shadows.put,
    )

    def follow_route(model: str) -> None:
        if serves:
            gateway.refresh(model, now=clock.now())
        if on_route is not None:
            on_route(model)

    def tally(model: str) -> Tally:
        if is_server:
            return stored_tally(store, model)
        with turn:
            held = views.get(model) or open_view(log, registry, model, settings.policy_of(model))
            return tally_of(_joined(held), store, registry, settings.policy_of(model), clock.now())

    def tick(model: str) -> None:
        # While a long retraining has the turn, what the controllers found before is the answer.
        if turn.acquire(timeout=TURN_SECONDS):
            try:
                loop.run_model(model, clock.now())
            finally:
                turn.release()

    retraining = Retraining(store, LoggedRows(log, registry), CandidateRegistrar(registry), import_trainer)
    rollouts = Rollouts(store, registry, registry.rollback_target)
    experiments = Experiments(store)
    holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    controllers: list[Controller] = [
        MonitorController(store, registry, Monitoring(store), alerts),
        *release_controllers(
            store, registry, rollouts, alerts, lambda model, _: follow_route(model), gateway_is_gone, holder=holder
        ),
        ExperimentController(registry, experiments, lambda model, _: follow_route(model), holder=holder),
        HealController(store, registry, retraining, seed=settings.seed),
        RetrainController(store, retraining),
        SealController(log),
    ]
    if is_server:
        controllers.append(TallyController(store, registry))
    loop = Loop(
        store=store,
        controllers=controllers,
        view=view,
        policy=settings.policy_of,
        on_finding=lambda finding: alerts.take([finding], settings.policy_of(finding.model).alerts),
        holder=holder,
        is_gone=is_gone,
    )
    control = ControlPlaneService(
        settings=settings,
        clock=clock,
        store=store,
        log=log,
        registry=registry,
        rollouts=rollouts,
        experiments=experiments,
        retraining=retraining,
        alerts=alerts,
        tick=tick if acts else Looks(store).have,
        tally=tally,
        on_route=follow_route,
        on_run=(on_run or (lambda: None)) if acts else Looks(store).wake,
        is_gone=gateway_is_gone,
        on_integrity_error=lambda error: on_integrity_error(error, clock.now()),
        keys=Keys(store),
    )
    return System(
        settings=settings,
        clock=clock,
        store=store,
        log=log,
        registry=registry,
        gateway=gateway,
        rollouts=rollouts,
        retraining=retraining,
        alerts=alerts,
        loop=loop,
        control=control,
        views=views,
        turn=turn,
        shadows=shadows,
    )


def _newest_route(store: ControlStore, model: str) -> Route | None:
    """The route that a gateway is to serve. Raises `UnknownModel` or `ServedElsewhere`."""
    with store.read() as transaction:
        if transaction.get(Model, model) is None:
            raise UnknownModel(model=model, known=[known.name for known in transaction.list(Model)])
        route = latest_route(transaction, model)
        if route is None and any(one.is_external for one in transaction.list(Version, model=model)):
            raise ServedElsewhere(model=model)
        return route


def _notifiers(settings: Settings, clock: Clock, on_alert: Callable[[Alert], None] | None) -> list[Notifier]:
    notifiers: list[Notifier] = [LogNotifier()]
    if on_alert is not None:
        notifiers.append(CallbackNotifier(on_alert))
    # What happens in simulated time is nobody's alert.
    if settings.alerts.webhook and isinstance(clock, SystemClock):
        from homeostat.connectors.outgoing import Outgoing
        from homeostat.connectors.webhooks import WebhookNotifier

        private = settings.alerts.allow_private
        outgoing = Outgoing(allow_private=private)
        notifiers.append(WebhookNotifier(settings.alerts.webhook, outgoing, allow_private=private))
    return notifiers


def _joined(view: ModelView) -> ModelView:
    """The view with its labels up to date. Its profiles are left as they are: reading rows for them costs the most."""
    view.joined.follow()
    return view


def _memory_stores() -> tuple[ControlStore, PredictionLog, FileStore]:
    from homeostat.stores.memory import MemoryControlStore, MemoryFileStore, MemoryPredictionLog

    return MemoryControlStore(), MemoryPredictionLog(), MemoryFileStore()


def _durable_stores(settings: Settings) -> tuple[ControlStore, PredictionLog, FileStore]:
    from homeostat.stores.files import FolderFileStore
    from homeostat.stores.sqlite import SqliteControlStore, SqlitePredictionLog

    home = settings.home
    return (
        SqliteControlStore(home / "control.db", durability=settings.durability),
        SqlitePredictionLog(
            home / "log.db",
            home / "log",
            durability=settings.durability,
            policy=settings.log.policy,
            spill_folder=Path(settings.log.spill) if settings.log.spill else home / "spill",
            wait_seconds=settings.log.wait_seconds,
            queue_appends=settings.log.queue_appends,
            queue_bytes=settings.log.queue_bytes,
        ),
        FolderFileStore(home / "files"),
    )


def new_prediction_ids(now: datetime, count: int) -> list[str]:
    """UUIDv7s (RFC 9562): sortable by time, unique without asking anybody."""
    moment = f"{int(now.timestamp() * 1000) & (1 << 48) - 1:012x}"
    head = f"{moment[:8]}-{moment[8:]}-7"
    if count >= MANY:
        return uuid7_texts(bytes.fromhex(moment), secrets.token_bytes(KEY_BYTES * count))
    random = secrets.token_hex(10 * count)
    found = []
    for start in range(0, 20 * count, 20):
        # The variant is the two highest bits of a digit: 10.
        own = random[start : start + 20]
        found.append(f"{head}{own[:3]}-{_VARIANT[own[3]]}{own[4:7]}-{own[7:19]}")
    return found


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
