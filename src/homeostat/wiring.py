"""The only place that builds adapters and services, and puts them together."""

from __future__ import annotations

import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat import __version__
from homeostat.alerts.service import Alerts, CallbackNotifier, LogNotifier
from homeostat.backtest.data import LabelledTable
from homeostat.backtest.outcome import Outcome, count_false_promotions, outputs_of, strategy_scores, summarise
from homeostat.backtest.replay import Options, Replayed, initial_rows, replay
from homeostat.backtest.strategies import majority, no_change, periodic
from homeostat.backtest.telling import tell
from homeostat.connectors import models as connector
from homeostat.controllers.clock import SimulatedClock, SystemClock
from homeostat.controllers.heal import HealController
from homeostat.controllers.loop import Loop
from homeostat.controllers.monitor import MonitorController
from homeostat.controllers.retrain import RetrainController
from homeostat.controllers.roll_out import RolloutController
from homeostat.controllers.views import ModelView, open_view
from homeostat.demo.traffic import KINDS, EmailTraffic
from homeostat.demo.year import (
    LEGITIMATE,
    PHISHING,
    Moment,
    Year,
    live_through,
    measure_year,
    year_facts,
    year_headline,
)
from homeostat.demo.year import MODEL as DEMO_MODEL
from homeostat.demo.year import POLICY as DEMO_POLICY
from homeostat.demo.year import TARGET as DEMO_TARGET
from homeostat.demo.year import Findings as YearFindings
from homeostat.errors import Conflict, IntegrityError, InvalidInput, UnknownModel
from homeostat.feedback.labels import accept_labels
from homeostat.frames import Columns, Kind, concatenate, finite, to_pandas
from homeostat.journal import latest_route
from homeostat.monitoring.service import Monitoring
from homeostat.ports import Clock, CompiledModel, ControlStore, FileStore, Notifier, PredictionLog, Predictor
from homeostat.records import (
    Alert,
    Decision,
    Finding,
    Model,
    Policy,
    Rollout,
    Route,
    Run,
    ServingForm,
    Signature,
    Stage,
    Task,
    Trigger,
    TriggerKind,
    Version,
    as_datetime,
    as_datetime64,
)
from homeostat.registry.fitted import holdout_outputs, inspect_pipeline, kinds_of, original_labels, read_pickle
from homeostat.registry.service import Registry, VersionDraft, integrity_finding
from homeostat.reports.story import Story, WindowRow
from homeostat.retraining.first import positive_scores
from homeostat.retraining.rules import evaluation_rows, offline_metrics
from homeostat.retraining.service import Candidate, LabelledRows, Retraining, describe_features, join_history
from homeostat.retraining.trainers import import_trainer
from homeostat.rollouts.service import Rollouts
from homeostat.serving.gateway import Gateway, LoadedVersion, Predictions
from homeostat.serving.scoring import interpret
from homeostat.settings import Settings
from homeostat.settings import load as load_settings


class ModelCompiler:
    """The connectors for models, as the registry wants them."""

    def compile(self, model: Any, signature: Signature, reference: Columns, *, seed: int = 0) -> CompiledModel:
        return connector.compile_model(model, signature, reference, seed=seed)

    def load(self, files: Mapping[str, bytes], form: ServingForm, signature: Signature) -> Predictor:
        return connector.load_predictor(files, form, signature)


class LoggedRows:
    """Training rows: the history that is kept with a version, then what was logged and labelled since."""

    def __init__(self, log: PredictionLog, registry: Registry, view: Callable[[str], ModelView]) -> None:
        self._log = log
        self._registry = registry
        self._view = view

    def extract(self, model: str, task: Task, kinds: dict[str, Kind], *, until: datetime) -> LabelledRows:
        """All labelled rows whose label had come by then, in time order."""
        view = self._view(model)
        view.joined.follow()
        rows = view.joined.rows()
        blocks = [block for _, block in self._log.features_after(model, 0)]
        # The joined table and the log hold the served rows in the same order; the log may have grown since.
        chosen = np.flatnonzero(rows.labelled & (rows.label_time <= as_datetime64(until).astype(np.int64)))
        columns = Columns({name: np.array([]) for name in kinds}, 0)
        if len(chosen):
            columns = concatenate([block.features.select(kinds) for block in blocks]).take(chosen)
        if task is Task.REGRESSION:
            target: npt.NDArray[Any] = rows.value[chosen]
        else:
            target = np.array(rows.classes, dtype=object)[rows.label[chosen]] if len(chosen) else np.array([], object)
        logged = LabelledRows(columns, target, rows.event_time[chosen])
        return join_history(self._registry.history_rows(model), logged)


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
    on_integrity_error: Callable[[IntegrityError, datetime], None]
    views: dict[str, ModelView] = field(default_factory=dict)

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
        task = self.registry.model(model).task
        return accept_labels(
            self.log, model, task, ids, values, now=self.clock.now(), event_time=event_time, source=source
        )

    def tick(self) -> int:
        """Let all controllers do what is due."""
        return self.loop.run_due(self.clock.now())

    def promote(self, model: str, number: int, *, actor: str, reason: str) -> Rollout | Version:
        """Put a version into production: at once where nothing is, else as a watched rollout."""
        now = self.clock.now()
        self.registry.version(model, number)
        if self.registry.production(model) is None:
            return self.registry.install(model, number, at=now, actor=actor, reason=reason)
        rollout = self.rollouts.start(
            model, number, self.policy(model), at=now, reason=reason, actor=actor, by_hand=True
        )
        self.gateway.refresh(model, now=now)
        return rollout

    def roll_back(self, model: str, *, to: int | None, actor: str, reason: str) -> int:
        """Put an earlier production version back."""
        now = self.clock.now()
        number = self.rollouts.roll_back(model, self.policy(model), to=to, at=now, actor=actor, reason=reason)
        self.gateway.refresh(model, now=now)
        return number

    def retrain(self, model: str, *, actor: str, reason: str) -> Run:
        """Start a run by hand and carry it to its end; a rollout follows where it passes its gate."""
        now = self.clock.now()
        production = self.registry.production(model)
        if production is None:
            raise Conflict(f"Model '{model}' has no production version to compare with.")
        labelled = int(self.view(model).joined.rows().labelled.sum())
        trigger = Trigger(kind=TriggerKind.MANUAL, reason=reason, evidence={"labelled": labelled})
        run = self.retraining.start(
            model, trigger, production.number, self.policy(model), at=now, seed=self.settings.seed, actor=actor
        )
        self.tick()
        with self.store.read() as transaction:
            return transaction.get(Run, run.id) or run

    def decisions(self, model: str) -> list[Decision]:
        """Every decision of a model, oldest first."""
        self.registry.model(model)
        with self.store.read() as transaction:
            return transaction.list(Decision, model=model)

    def records(self, kind: type[Any], model: str) -> list[Any]:
        """All records of a kind that belong to a model, oldest first."""
        with self.store.read() as transaction:
            return transaction.list(kind, model=model)

    def newest_findings(self, model: str, version: int) -> dict[str, Finding]:
        """The newest finding of each check of a version."""
        found: dict[str, Finding] = {}
        with self.store.read() as transaction:
            for finding in transaction.list(Finding, model=model, newest_first=True, limit=200):
                if finding.version == version:
                    found.setdefault(finding.check, finding)
        return found

    def route(self, model: str) -> Route | None:
        """The newest route of a model."""
        with self.store.read() as transaction:
            return latest_route(transaction, model)

    def keep_integrity_findings(self, versions: Sequence[Version]) -> None:
        """Read every file of some versions, and keep a finding and an alert for each that was changed."""
        now = self.clock.now()
        for version in versions:
            for path in self.registry.verify(version):
                try:
                    self.registry.read_file(version, path)
                except IntegrityError as error:
                    self.on_integrity_error(error, now)

    def close(self) -> None:
        """Give back leases and files."""
        self.loop.release()
        self.log.close()
        self.store.close()


def open_system(
    settings: Settings,
    *,
    clock: Clock | None = None,
    in_memory: bool = False,
    on_alert: Callable[[Alert], None] | None = None,
    on_findings: Callable[[list[Finding]], None] | None = None,
    on_rollout_look: Callable[..., None] | None = None,
    holder: str | None = None,
) -> System:
    """Open the stores of a home folder (or fresh ones in memory) and wire all services over them."""
    clock = clock or SystemClock()
    store, log, files = _memory_stores() if in_memory else _durable_stores(settings)
    registry = Registry(store, files, ModelCompiler(), code_version=__version__)
    views: dict[str, ModelView] = {}

    def view(model: str) -> ModelView:
        if model not in views:
            views[model] = open_view(log, registry, model, settings.policy_of(model))
        views[model].follow()
        return views[model]

    def load(model: str, number: int) -> LoadedVersion:
        version = registry.version(model, number)
        return LoadedVersion(version, registry.load(version))

    def newest_route(model: str) -> Route | None:
        with store.read() as transaction:
            if transaction.get(Model, model) is None:
                raise UnknownModel(model=model, known=[known.name for known in transaction.list(Model)])
            return latest_route(transaction, model)

    notifiers: list[Notifier] = [LogNotifier()]
    if on_alert is not None:
        notifiers.append(CallbackNotifier(on_alert))
    alerts = Alerts(store, notifiers)

    def on_integrity_error(error: IntegrityError, now: datetime) -> None:
        finding = integrity_finding(error, now)
        with store.begin() as transaction:
            if transaction.get(Finding, finding.id) is None:
                transaction.insert(finding)
        alerts.take([finding], settings.policy_of(finding.model).alerts)

    gateway = Gateway(
        latest_route=newest_route, load=load, log=log, new_id=new_prediction_id, on_integrity_error=on_integrity_error
    )
    retraining = Retraining(store, LoggedRows(log, registry, view), CandidateRegistrar(registry), import_trainer)
    rollouts = Rollouts(store, registry, registry.rollback_target)
    loop = Loop(
        store=store,
        controllers=(
            MonitorController(store, registry, Monitoring(store), alerts, on_findings),
            RolloutController(
                store, registry, rollouts, lambda model, now: _refresh(gateway, model, now), on_rollout_look
            ),
            HealController(store, registry, retraining, seed=settings.seed),
            RetrainController(store, retraining),
        ),
        view=view,
        policy=settings.policy_of,
        holder=holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
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
        on_integrity_error=on_integrity_error,
        views=views,
    )


def _refresh(gateway: Gateway, model: str, now: datetime) -> None:
    gateway.refresh(model, now=now)


def _memory_stores() -> tuple[ControlStore, PredictionLog, FileStore]:
    from homeostat.stores.memory import MemoryControlStore, MemoryFileStore, MemoryPredictionLog

    return MemoryControlStore(), MemoryPredictionLog(), MemoryFileStore()


def _durable_stores(settings: Settings) -> tuple[ControlStore, PredictionLog, FileStore]:
    from homeostat.stores.files import FolderFileStore
    from homeostat.stores.sqlite import SqliteControlStore, SqlitePredictionLog

    home = settings.home
    return (
        SqliteControlStore(home / "control.db", durability=settings.durability),
        SqlitePredictionLog(home / "log.db", home / "log", durability=settings.durability),
        FolderFileStore(home / "files"),
    )


def new_prediction_id(now: datetime) -> str:
    """A UUIDv7 (RFC 9562): sortable by time, unique without asking anybody."""
    milliseconds = int(now.timestamp() * 1000)
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(76)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def to_json(record: Any) -> Any:
    """A record as plain data."""
    return msgspec.to_builtins(record)


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """A backtest's figures, and the story that its report tells."""

    outcome: Outcome
    story: Story

    def to_dict(self) -> dict[str, Any]:
        """What `homeostat backtest --json` prints."""
        return self.outcome.as_json()

    def save_html(self, path: str | Path) -> None:
        """Write the self-contained report."""
        from homeostat.reports.html import render_story

        Path(path).write_text(render_story(self.story), encoding="utf-8")


def run_backtest(
    table: LabelledTable,
    options: Options,
    settings: Settings,
    *,
    state: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    after_batch: Callable[[int], None] | None = None,
) -> BacktestResult:
    """Replay a table through the real loop, and every other strategy on the same rows.

    In memory, unless `state` names a folder: then everything is kept there, and an interrupted replay goes on.
    """
    started = time.perf_counter()
    initial_rows(table, options.initial)
    clock = SimulatedClock(as_datetime(table.times[0]))
    if state is not None:
        settings = replace(settings, home=state)
    system = open_system(settings, clock=clock, in_memory=state is None, holder="backtest")
    model = BACKTEST_MODEL
    served = _already_served(system, model)
    replayed = replay(system, table, model, options, clock, served=served, progress=progress, after_batch=after_batch)
    pending = _periodic_elsewhere(table, replayed, options.seed)
    result = _conclude(system, table, replayed, pending, settings, model, started)
    system.close()
    return result


BACKTEST_MODEL = "backtest"


def _already_served(system: System, model: str) -> dict[str, tuple[Any, int]]:
    if not any(held.name == model for held in system.registry.models()):
        return {}
    task = system.registry.model(model).task
    found: dict[str, tuple[Any, int]] = {}
    for _, block in system.log.blocks_after(model, 0):
        if not block.shadow:
            values = block.score if task is Task.REGRESSION else block.output
            found.update(zip(block.ids, zip(values, block.version.tolist(), strict=True), strict=True))
    return found


def _periodic_elsewhere(table: LabelledTable, replayed: Replayed, seed: int) -> Callable[[], npt.NDArray[Any]]:
    """Blind retraining needs nothing of the loop, so it runs beside what follows."""
    algorithm = str(replayed.first.parameters.get("algorithm", "extra_trees"))
    return lambda: periodic(table, replayed.initial, algorithm, seed=seed)


def _conclude(
    system: System,
    table: LabelledTable,
    replayed: Replayed,
    pending: Callable[[], npt.NDArray[Any]],
    settings: Settings,
    model: str,
    started: float,
) -> BacktestResult:
    loaded: dict[int, tuple[Predictor, Version]] = {}

    def load(number: int) -> tuple[Predictor, Version]:
        if number not in loaded:
            version = system.registry.version(model, number)
            loaded[number] = (system.registry.load(version), version)
        return loaded[number]

    initial = replayed.initial
    predicted: dict[str, npt.NDArray[Any]] = {
        "healed": replayed.output,
        "static": outputs_of(*load(1), table, slice(initial, table.rows)),
        "periodic": pending(),
        "no_change": no_change(table, initial),
        "majority": majority(table, initial),
    }
    strategies = {name: strategy_scores(table, initial, values) for name, values in predicted.items()}
    decisions = system.decisions(model)
    rollouts: list[Rollout] = system.records(Rollout, model)
    outcome = summarise(
        table,
        strategies,
        decisions,
        system.records(Run, model),
        rollouts,
        false_promotions=count_false_promotions(table, rollouts, load),
        alerts=len(system.records(Alert, model)),
        labels_used=replayed.labels_used,
        seconds=time.perf_counter() - started,
    )
    story = tell(
        table,
        replayed,
        predicted,
        outcome,
        decisions=decisions,
        findings=system.records(Finding, model),
        rollouts=rollouts,
        versions=system.registry.versions(model),
        changes=system.registry.history(model),
        joined=system.view(model).joined.rows(),
        policy=settings.policy_of(model),
    )
    return BacktestResult(outcome, story)


def load_pipeline(path: Path, *, allow_pickle: bool) -> Any:
    """A fitted pipeline from a file: skops with the trusted types, or a pickle where the user opted in."""
    if path.suffix == ".skops":
        return connector.load_skops(path.read_bytes())
    if not allow_pickle:
        raise InvalidInput(
            f"{path} is not a .skops file. A pickle can run any code when it is loaded: save the pipeline with "
            "skops.io.dump, or pass --allow-pickle if the file is of your own making."
        )
    return read_pickle(path)


def register_fitted(
    system: System,
    model: str,
    estimator: Any,
    table: LabelledTable,
    *,
    tags: dict[str, str],
    description: str,
    actor: str,
    reason: str,
) -> Version:
    """Register a fitted pipeline with its training data as a new version in stage draft.

    Its quality is stated by the same recipe fitted without the latest fifth of the rows, on those rows.
    """
    fitted = inspect_pipeline(estimator, table.columns, table.target_name, table.task)
    kinds = kinds_of(fitted.features, table.kinds)
    columns = table.columns.select(kinds)
    frame = to_pandas(finite(columns), kinds)
    policy = system.policy(model)
    evaluation = evaluation_rows(table.rows, None, policy.training.evaluation_share)
    raw, classes = holdout_outputs(estimator, frame, original_labels(estimator, table.target), evaluation)
    signature = Signature(
        task=table.task,
        features=describe_features(columns, kinds),
        target=table.target_name,
        classes=fitted.classes,
        positive=table.positive if table.positive in fitted.classes else None,
    )
    late = slice(table.rows - evaluation, table.rows)
    scores = positive_scores(raw, classes, signature.positive)
    production = next((held for held in system.registry.models() if held.name == model), None)
    parent = system.registry.production(model) if production is not None else None
    return system.registry.register(
        VersionDraft(
            model=model,
            estimator=estimator,
            signature=signature,
            columns=columns,
            target=table.target,
            times=table.times if table.has_own_times else None,
            evaluation_scores=scores,
            metrics={
                **offline_metrics(table.target[late], raw, classes, signature),
                "evaluation_rows": float(evaluation),
            },
            parameters={"estimator": type(estimator).__name__},
            tags=tags,
            parent=parent.number if parent is not None else None,
            keep_training=True,
            description=description,
            seed=system.settings.seed,
        ),
        at=system.clock.now(),
        actor=actor,
        reason=reason,
    )


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The year's figures, and the story that its report tells."""

    findings: YearFindings
    outcome: Outcome
    story: Story

    def save_html(self, path: str | Path) -> None:
        """Write the self-contained report."""
        from homeostat.reports.html import render_story

        Path(path).write_text(render_story(self.story), encoding="utf-8")


def run_demo(
    *,
    seed: int = 0,
    volume_per_day: float = 500.0,
    waves: bool = False,
    state: Path | None = None,
    show: Callable[[Moment], None] | None = None,
    on_alert: Callable[[Alert], None] | None = None,
) -> DemoResult:
    """Live through the phishing year with the real loop on a simulated clock."""
    started = time.perf_counter()
    overrides: dict[str, Any] = {"seed": seed, "policy": DEMO_POLICY}
    settings = load_settings(environment={}, overrides=overrides)
    if state is not None:
        settings = replace(settings, home=state)
    clock = SimulatedClock(datetime(2024, 9, 1, tzinfo=UTC))
    system = open_system(settings, clock=clock, in_memory=state is None, on_alert=on_alert, holder="demo")
    traffic = EmailTraffic(seed, volume_per_day, waves=waves)
    year = live_through(system, traffic, clock, seed=seed, show=show)
    rollouts: list[Rollout] = system.records(Rollout, DEMO_MODEL)
    table = _year_table(year)
    loaded: dict[int, tuple[Predictor, Version]] = {}
    scored: dict[int, tuple[npt.NDArray[Any], npt.NDArray[np.float64]]] = {}

    def load(number: int) -> tuple[Predictor, Version]:
        if number not in loaded:
            version = system.registry.version(DEMO_MODEL, number)
            loaded[number] = (system.registry.load(version), version)
        return loaded[number]

    def outputs(number: int, rows: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        if number not in scored:
            predictor, version = load(number)
            one = interpret(predictor.predict(finite(year.columns)), version.signature)
            scored[number] = (one.output, one.score)
        return scored[number][0][rows], scored[number][1][rows]

    findings = measure_year(year, outputs, rollouts)
    predicted = {"healed": year.output, "static": outputs(1, slice(0, year.rows))[0]}
    decisions = system.decisions(DEMO_MODEL)
    strategies = {name: strategy_scores(table, 0, values) for name, values in predicted.items()}
    outcome = summarise(
        table,
        strategies,
        decisions,
        system.records(Run, DEMO_MODEL),
        rollouts,
        false_promotions=count_false_promotions(table, rollouts, load),
        alerts=len(system.records(Alert, DEMO_MODEL)),
        labels_used=year.labels_used,
        seconds=time.perf_counter() - started,
    )
    replayed = Replayed(0, system.registry.version(DEMO_MODEL, 1), year.output, year.version, year.labels_used, 0.0)
    story = tell(
        table,
        replayed,
        predicted,
        outcome,
        decisions=decisions,
        findings=system.records(Finding, DEMO_MODEL),
        rollouts=rollouts,
        versions=system.registry.versions(DEMO_MODEL),
        changes=system.registry.history(DEMO_MODEL),
        joined=system.view(DEMO_MODEL).joined.rows(),
        policy=settings.policy_of(DEMO_MODEL),
        title="A year at a phishing-detection team",
        subtitle=f"{year.rows:,} e-mails, labels days late, simulated with seed {seed}; every figure is computed",
        headline=year_headline(findings),
        facts=year_facts(findings),
        windows=tuple(
            WindowRow(
                name=window.name,
                rows=window.rows,
                figures={
                    "TPR": f"{window.metrics['tpr']:.1%}",
                    "FPR": f"{window.metrics['fpr']:.1%}",
                    "precision": f"{window.metrics['precision']:.1%}",
                    "ROC-AUC": f"{window.metrics['roc_auc']:.3f}",
                    "false alerts / 1,000": f"{window.false_alerts_a_thousand:.1f}",
                },
            )
            for window in findings.windows
        ),
    )
    system.close()
    return DemoResult(findings, outcome, story)


def _year_table(year: Year) -> LabelledTable:
    return LabelledTable(
        name="phishing year",
        columns=year.columns,
        kinds=dict(KINDS),
        target_name=DEMO_TARGET,
        target=year.label,
        task=Task.BINARY,
        classes=(LEGITIMATE, PHISHING),
        positive=PHISHING,
        times=year.times,
        entities=None,
        has_own_times=False,
        findings=(),
    )
