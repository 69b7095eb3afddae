"""Carries a run through its states. It can be killed anywhere: started again, it ends as it would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.errors import Conflict, HomeostatError, ServedElsewhere, TrainingFailed
from homeostat.frames import Columns, Kind, concatenate, finite, label_text
from homeostat.journal import record_decision
from homeostat.ports import ControlStore, Predictor, Trained, Trainer, TrainingRequest
from homeostat.records import (
    Feature,
    Policy,
    Run,
    RunState,
    Signature,
    Task,
    Trigger,
    Version,
    as_datetime64,
    parse_span,
)
from homeostat.retraining.rules import (
    GateResult,
    check_data,
    evaluation_rows,
    gate_classification,
    gate_regression,
    offline_metrics,
    threshold_parameters,
)
from homeostat.retraining.trainers import raw_outputs, train_builtin
from homeostat.stats.performance import roc_auc

ACTOR = "homeostat"


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows with their labels in time order; `times` are microseconds of UTC."""

    columns: Columns
    target: npt.NDArray[Any]
    times: npt.NDArray[np.int64]


class TrainingSource(Protocol):
    """Where a run takes its rows from: the history that is kept, and the log joined with its labels."""

    def extract(self, model: str, task: Task, kinds: dict[str, Kind], *, until: datetime) -> LabelledRows:
        """All labelled rows whose label had come by then."""
        ...


class Registrar(Protocol):
    """What a run needs of the registry."""

    def load(self, version: Version) -> Predictor: ...
    def version(self, model: str, number: int) -> Version: ...
    def register_candidate(self, candidate: Candidate, *, at: datetime) -> Version: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model that passed its gate, to be registered."""

    run: Run
    trained: Trained
    signature: Signature
    rows: LabelledRows
    evaluation_scores: npt.NDArray[np.float64]
    metrics: dict[str, float]
    reason: str


class Retraining:
    """Starts and advances runs."""

    def __init__(
        self,
        store: ControlStore,
        source: TrainingSource,
        registrar: Registrar,
        import_trainer: Callable[[str], Trainer],
    ) -> None:
        self._store = store
        self._source = source
        self._registrar = registrar
        self._import_trainer = import_trainer

    def start(
        self,
        model: str,
        trigger: Trigger,
        baseline: int,
        policy: Policy,
        *,
        at: datetime,
        seed: int,
        actor: str = ACTOR,
    ) -> Run:
        """Write a new run. Raises `Conflict` where the model has one already, or is served elsewhere."""
        if self._registrar.version(model, baseline).is_external:
            raise ServedElsewhere(model=model)
        if policy.training.trainer:
            self._import_trainer(policy.training.trainer)
        with self._store.begin() as transaction:
            number = len(transaction.list(Run, model=model)) + 1
            run = Run(
                id=f"{model}-run-{number}",
                model=model,
                state=RunState.EXTRACTING,
                trigger=trigger,
                created_at=at,
                updated_at=at,
                baseline=baseline,
                number=number,
                seed=seed + number,
            )
            transaction.insert(run)
            record_decision(
                transaction,
                model,
                kind="retraining",
                at=at,
                actor=actor,
                reason=trigger.reason,
                rule=trigger.kind.value,
                inputs={"run": run.id, **trigger.evidence},
                config_hash=policy.config_hash,
            )
        return run

    def advance(self, run: Run, policy: Policy, *, now: datetime) -> Run:
        """Carry a run to its end, or to its next try. Whatever breaks in it ends in the run, not in the loop."""
        retry = run.evidence.get("retry_at")
        if retry is not None and datetime.fromisoformat(retry) > now:
            return run
        try:
            return self._carry(run, policy, now)
        except Conflict:
            # Another replica carries this run; what it makes of it stands.
            raise
        except HomeostatError as error:
            return self._broken(run, policy, error, now)
        except Exception as error:
            broken = TrainingFailed(f"The run broke: {type(error).__name__}: {error}.")
            return self._broken(run, policy, broken, now)

    def _carry(self, run: Run, policy: Policy, now: datetime) -> Run:
        run = self._enter(run, RunState.EXTRACTING, now)
        baseline = self._registrar.version(run.model, run.baseline)
        signature = baseline.signature
        rows = self._source.extract(run.model, signature.task, signature.kinds, until=run.created_at)
        run = self._enter(run, RunState.VALIDATING, now)
        problems = check_data(rows.columns, rows.target, rows.times, signature.task, policy.data)
        if problems:
            return self._finish(run, RunState.REJECTED, f"the data did not pass: {'; '.join(problems)}", policy, now)
        run = self._enter(run, RunState.TRAINING, now)
        request = _request(run, rows, signature, policy)
        trained = self._train(request, policy)
        run = self._enter(run, RunState.EVALUATING, now)
        part = slice(rows.columns.rows - request.evaluation, rows.columns.rows)
        evaluated = _evaluate(trained, request, part)
        run = self._enter(run, RunState.GATING, now)
        gate = self._gate(baseline, rows, part, evaluated, policy)
        evidence = {"gate": gate.evidence, "training": trained.parameters, "rows": trained.rows}
        if not gate.passed:
            return self._finish(run, RunState.REJECTED, f"not better enough: {gate.reason}", policy, now, evidence)
        run = self._enter(run, RunState.REGISTERING, now)
        made = _signature_of(trained.model, signature, rows.columns)
        metrics = offline_metrics(rows.target[part], evaluated.raw, evaluated.classes, signature)
        scores = _scores(evaluated, signature)
        weighed = threshold_parameters(rows.target[part], scores, signature, policy.training)
        candidate = Candidate(
            run=run,
            trained=replace(trained, parameters={**trained.parameters, **weighed}),
            signature=made,
            rows=rows,
            evaluation_scores=scores,
            metrics={**metrics, "evaluation_rows": float(request.evaluation)},
            reason=gate.reason,
        )
        version = self._registrar.register_candidate(candidate, at=now)
        return self._finish(
            run, RunState.SUCCEEDED, f"better: {gate.reason}", policy, now, evidence, version=version.number
        )

    def _train(self, request: TrainingRequest, policy: Policy) -> Trained:
        trainer: Trainer = train_builtin
        if policy.training.trainer:
            trainer = self._import_trainer(policy.training.trainer)
        try:
            return trainer(request)
        except HomeostatError:
            raise
        except Exception as error:
            raise TrainingFailed(f"The trainer raised {type(error).__name__}: {error}.") from error

    def _gate(
        self, baseline: Version, rows: LabelledRows, part: slice, evaluated: _Evaluated, policy: Policy
    ) -> GateResult:
        held = self._registrar.load(baseline).predict(finite(rows.columns.take(part)))
        truth = rows.target[part]
        signature = baseline.signature
        if not signature.task.is_classification:
            return gate_regression(truth, evaluated.raw, held, policy.gate)
        candidate = np.array(evaluated.classes, dtype=object)[evaluated.raw.argmax(axis=1)]
        production = np.array(signature.classes, dtype=object)[held.argmax(axis=1)]
        areas: dict[str, float | None] = {"candidate_auc": None, "production_auc": None}
        positive = signature.positive
        if positive in evaluated.classes and positive in signature.classes:
            is_positive = truth == positive
            if is_positive.any() and not is_positive.all():
                areas["candidate_auc"] = roc_auc(is_positive, evaluated.raw[:, evaluated.classes.index(positive)])
                areas["production_auc"] = roc_auc(is_positive, held[:, signature.classes.index(positive)])
        return gate_classification(
            truth, candidate, production, policy.gate, accuracy_floor=policy.performance.accuracy_floor, **areas
        )

    def _enter(self, run: Run, state: RunState, now: datetime) -> Run:
        if run.state is state:
            return run
        with self._store.begin() as transaction:
            return transaction.replace(msgspec.structs.replace(run, state=state, updated_at=now))

    def _finish(
        self,
        run: Run,
        state: RunState,
        outcome: str,
        policy: Policy,
        now: datetime,
        evidence: dict[str, Any] | None = None,
        *,
        version: int | None = None,
    ) -> Run:
        with self._store.begin() as transaction:
            ended = transaction.replace(
                msgspec.structs.replace(
                    run,
                    state=state,
                    outcome=outcome,
                    updated_at=now,
                    version=version,
                    evidence={**run.evidence, **(evidence or {})},
                )
            )
            gate = (evidence or {}).get("gate", {})
            record_decision(
                transaction,
                run.model,
                kind={RunState.SUCCEEDED: "candidate", RunState.REJECTED: "rejected"}.get(state, "failed"),
                at=now,
                actor=ACTOR,
                version=version,
                reason=outcome,
                rule="promotion gate",
                statistic=gate.get("gain"),
                threshold=policy.gate.minimum_gain,
                inputs={"run": run.id, **(evidence or {})},
                config_hash=policy.config_hash,
            )
            return ended

    def _broken(self, run: Run, policy: Policy, error: HomeostatError, now: datetime) -> Run:
        with self._store.read() as transaction:
            held = transaction.get(Run, run.id) or run
        if held.state.is_final:
            return held
        attempts = held.attempts + 1
        if attempts >= policy.training.attempts:
            failed = msgspec.structs.replace(held, attempts=attempts)
            return self._finish(failed, RunState.FAILED, error.message, policy, now, {"error": error.code})
        wait = timedelta(seconds=parse_span(policy.training.retry_after).seconds)
        evidence = {**held.evidence, "retry_at": (now + wait).isoformat(), "error": error.code}
        with self._store.begin() as transaction:
            return transaction.replace(
                msgspec.structs.replace(
                    held, state=RunState.EXTRACTING, attempts=attempts, evidence=evidence, outcome=error.message
                )
            )


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Outputs of the model that did not see the evaluation rows."""

    raw: npt.NDArray[np.float64]
    classes: tuple[str, ...]


def _request(run: Run, rows: LabelledRows, signature: Signature, policy: Policy) -> TrainingRequest:
    change = None
    if run.trigger.since is not None:
        position = int(np.searchsorted(rows.times, as_datetime64(run.trigger.since).astype(np.int64)))
        change = position if position < rows.columns.rows else None
    training = policy.training
    return TrainingRequest(
        columns=finite(rows.columns),
        kinds=signature.kinds,
        target=rows.target,
        task=signature.task,
        classes=signature.classes,
        change=change,
        evaluation=evaluation_rows(rows.columns.rows, change, training.evaluation_share),
        seed=run.seed,
        algorithms=training.algorithms,
        windows=training.windows,
        maximum_rows=training.maximum_rows,
    )


def _evaluate(trained: Trained, request: TrainingRequest, part: slice) -> _Evaluated:
    from homeostat.frames import to_pandas

    frame = to_pandas(request.columns.take(part), request.kinds)
    try:
        raw = raw_outputs(trained.evaluated, frame)
    except Exception as error:
        raise TrainingFailed(f"The trained model raised {type(error).__name__} on later rows: {error}.") from error
    classes = tuple(label_text(value) or "" for value in getattr(trained.evaluated, "classes_", ()))
    width = (len(frame), len(classes)) if request.task.is_classification else (len(frame),)
    if raw.shape != width or not np.isfinite(raw).all():
        raise TrainingFailed(f"The trained model gave outputs of shape {raw.shape} or values that are not finite.")
    return _Evaluated(raw, classes)


def _signature_of(model: Any, baseline: Signature, columns: Columns) -> Signature:
    """The signature of a candidate: production's features, with the classes and categories that it learned."""
    classes = tuple(label_text(value) or "" for value in getattr(model, "classes_", ()))
    return msgspec.structs.replace(baseline, features=describe_features(columns, baseline.kinds), classes=classes)


CATEGORY_LIMIT = 200


def describe_features(columns: Columns, kinds: dict[str, Kind]) -> tuple[Feature, ...]:
    """Features with the categories seen, where they are few enough to list."""
    found = []
    for name, kind in kinds.items():
        categories: tuple[str, ...] = ()
        if kind is Kind.CATEGORICAL:
            seen = sorted({value for value in columns[name].tolist() if value is not None})
            categories = tuple(seen) if len(seen) <= CATEGORY_LIMIT else ()
        found.append(Feature(name=name, kind=kind, categories=categories))
    return tuple(found)


def _scores(evaluated: _Evaluated, signature: Signature) -> npt.NDArray[np.float64]:
    if not signature.task.is_classification:
        return evaluated.raw
    if signature.task is Task.BINARY and signature.positive in evaluated.classes:
        return evaluated.raw[:, evaluated.classes.index(signature.positive)]
    return np.asarray(evaluated.raw.max(axis=1))


def join_history(
    history: tuple[Columns, npt.NDArray[Any], npt.NDArray[np.datetime64] | None] | None, logged: LabelledRows
) -> LabelledRows:
    """The training rows that were kept, then the logged ones; history without times comes before everything."""
    if history is None:
        return logged
    columns, target, times = history
    stamps = np.full(columns.rows, np.iinfo(np.int64).min // 2) if times is None else times.astype(np.int64)
    names = list(logged.columns) if logged.columns.rows else list(columns)
    parts = [columns.select(names)] + ([logged.columns] if logged.columns.rows else [])
    every = np.concatenate([stamps, logged.times])
    order = np.argsort(every, kind="stable")
    return LabelledRows(concatenate(parts).take(order), np.concatenate([target, logged.target])[order], every[order])


__all__ = ["Candidate", "LabelledRows", "Retraining", "TrainingSource", "describe_features", "join_history"]
