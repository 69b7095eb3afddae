"""What the areas need of the outside, as protocols. Adapters live in `stores`, `connectors` and `controllers`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns, Kind
from homeostat.records import (
    Alert,
    CheckReport,
    Decision,
    Experiment,
    Finding,
    KeyReport,
    KeyRole,
    LabelBlock,
    LabelsAccepted,
    Model,
    ModelStatus,
    Mutable,
    NewKey,
    PastPredictions,
    PolicyReport,
    PredictionBlock,
    PredictionsAccepted,
    Promotion,
    Record,
    Rollback,
    Rollout,
    RouteReport,
    Run,
    ServingForm,
    Signature,
    Stage,
    StageChange,
    Task,
    Verification,
    Version,
)

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=Mutable)


class Clock(Protocol):
    """Where the time comes from: the machine, or a simulation."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class Transaction(Protocol):
    """Reads and writes of control records that happen together or not at all."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The record with that key, or `None`."""
        ...

    def list(
        self,
        kind: type[R],
        *,
        model: str | None = None,
        states: Sequence[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[R]:
        """Records in the order in which they were inserted; `states` are those of the kind's state column."""
        ...

    def count(self, kind: type[R], *, model: str | None = None) -> int:
        """How many records of a kind there are, without reading them."""
        ...

    def insert(self, record: Record) -> None:
        """Add a record. Raises `Conflict` where its key exists or a uniqueness rule forbids it."""
        ...

    def replace(self, record: M) -> M:
        """Put a record in place of the one with its key and revision; returns it with the next revision.

        Raises `StaleRevision` where somebody else was first.
        """
        ...


class ControlStore(Protocol):
    """Control state: small records, changed in transactions."""

    def begin(self) -> AbstractContextManager[Transaction]:
        """A transaction that writes. An exception inside undoes all of it."""
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view to read from."""
        ...

    def revision(self) -> int:
        """A number that differs from an earlier one whenever any process changed the store since."""
        ...

    def close(self) -> None:
        """Give back what the store holds."""
        ...


class PredictionLog(Protocol):
    """Predictions and labels: append-only, numbered in the order of writing, joined on read."""

    def append(self, blocks: Sequence[PredictionBlock]) -> int:
        """Write blocks durably, all or none; returns the last sequence number.

        Rows whose `prediction_id` is already there, in the same role and version, are left out: the first wins.
        """
        ...

    def append_labels(self, block: LabelBlock, *more: LabelBlock) -> int:
        """Write blocks of labels durably, all or none; returns the last sequence number."""
        ...

    def blocks_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        """Blocks with a higher sequence number, in order, without their features."""
        ...

    def features_after(self, model: str, sequence: int) -> list[tuple[int, PredictionBlock]]:
        """Blocks of served rows with a higher sequence number, in order, with their features."""
        ...

    def scan(
        self, model: str, columns: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pa.Table]:
        """Some columns of the served rows whose event time lies in a span (its end not included), as Arrow tables.

        For reading a lot at once: nothing but those columns is read, and files of other hours are left alone. Columns
        are `sequence`, `prediction_id`, `event_time`, `version`, `arm`, `entity`, `output`, `score`, `latency_ms`,
        `error`, `probability.NUMBER` and `feature.NAME`; one that a part does not have is null in its rows.
        `prediction_id` is a text, or 16 bytes (`records.ids`) in parts where every id is a UUID. Tables come in any
        order, each as of the moment of the call. Raises `InvalidInput` for a column that no log has.
        """
        ...

    def labels_after(self, model: str, sequence: int) -> list[tuple[int, LabelBlock]]:
        """Label blocks with a higher sequence number, in order."""
        ...

    def count_served(self, model: str, ids: Sequence[str]) -> int:
        """How many of these different ids have a served row."""
        ...

    def seal(self, before: datetime) -> int:
        """Move closed hours that ended before then to their final form; returns how many rows moved."""
        ...

    def close(self) -> None:
        """Give back what the log holds."""
        ...


class FileStore(Protocol):
    """Files addressed by the SHA-256 of their content."""

    def write(self, content: bytes) -> str:
        """Keep the content and return its SHA-256; writing the same content again changes nothing."""
        ...

    def read(self, sha256: str) -> bytes:
        """The bytes as they are stored now; who reads them checks their hash. Raises `NotFound`."""
        ...


class Predictor(Protocol):
    """A loaded version."""

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Probabilities (rows × classes, in the signature's order), or values (rows) for regression."""
        ...


@runtime_checkable
class MatrixPredictor(Predictor, Protocol):
    """A loaded version that also takes its rows as one matrix, without a cost for each column."""

    @property
    def matrix_features(self) -> tuple[str, ...]:
        """The matrix's columns, in order; empty where a feature is text, so that there is no such matrix."""
        ...

    def predict_matrix(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """As `predict`, of a float64 matrix (rows × features); infinite values count as missing."""
        ...


class CompiledModel(Protocol):
    """What registration makes of a fitted model."""

    @property
    def files(self) -> dict[str, bytes]:
        """Files to store."""
        ...

    @property
    def form(self) -> ServingForm:
        """How they are served, and why so."""
        ...


class Compiler(Protocol):
    """Turns fitted models into what may be served, and loads it."""

    def compile(self, model: Any, signature: Signature, reference: Columns, *, seed: int = 0) -> CompiledModel:
        """Compile, and prove that outputs match. Raises `CompilationFailed`."""
        ...

    def load(self, files: Mapping[str, bytes], form: ServingForm, signature: Signature) -> Predictor:
        """Make stored files serve. Raises `CompilationFailed` where they are not what they should be."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What a trainer is given: labelled rows in time order.

    `target` holds class labels (strings) or values (float64). Rows from `change` on come after the estimated change
    (`None` where there is none). `evaluation` is how many of the latest rows candidates are compared on.
    """

    columns: Columns
    kinds: dict[str, Kind]
    target: npt.NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    change: int | None
    evaluation: int
    seed: int
    algorithms: tuple[str, ...]
    windows: tuple[str, ...]
    maximum_rows: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What a trainer returns.

    `evaluated` was fitted without the evaluation rows, so that it can be compared on them; `model` is the same
    recipe fitted on all rows, and is what ships.
    """

    model: Any
    evaluated: Any
    rows: int
    parameters: dict[str, Any]


class Trainer(Protocol):
    """Fits candidates."""

    def __call__(self, request: TrainingRequest) -> Trained:
        """Fit. May raise anything: the run fails and production stays."""
        ...


class Notifier(Protocol):
    """Tells people."""

    def notify(self, alert: Alert, finding: Finding | None) -> None:
        """Send one alert whose state changed."""
        ...


class Stages(Protocol):
    """Moves versions between stages inside somebody's transaction."""

    def move(
        self,
        transaction: Transaction,
        model: str,
        number: int,
        target: Any,
        *,
        at: datetime,
        actor: str,
        reason: str,
        evidence: dict[str, Any] | None = None,
        is_rollback: bool = False,
    ) -> Any:
        """Move, and keep the history. Raises `IllegalMove` or `UnknownVersion`."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """What a new version is made from: files on this machine.

    `training` is a CSV or Parquet table with the `target` column and, perhaps, one of event `time`. `pipeline` is the
    fitted model (.skops, .onnx, XGBoost's .ubj or .json, LightGBM's .txt or .lgb, or .joblib and .pkl with
    `allow_pickle`); without one the built-in trainer fits a model.
    With `keep_training` the rows are kept, so that retrainings can use them as history.

    With `is_external` the version is served elsewhere: `training` is a table of rows that it answered, as a reference,
    with the columns of its `prediction` and its `score`, and of the `target` where it is known. `positive` names the
    class that a binary model looks for.
    """

    training: Path
    target: str
    pipeline: Path | None = None
    time: str | None = None
    allow_pickle: bool = False
    keep_training: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    is_external: bool = False
    prediction: str | None = None
    score: str | None = None
    positive: str | None = None


class ControlPlane(Protocol):
    """All that people and programs may ask and order: in this process, or of a server through its client.

    Every method raises the errors of `errors`: `UnknownModel`, `UnknownVersion`, `Conflict`, `InvalidInput` and below.
    """

    def status(self) -> list[ModelStatus]:
        """What is served, how it does and what is open, for every model."""
        ...

    def models(self) -> list[Model]:
        """Every model."""
        ...

    def versions(self, model: str) -> list[Version]:
        """The versions of a model, oldest first."""
        ...

    def version(self, model: str, number: int) -> Version:
        """One version."""
        ...

    def stages(self, model: str, number: int | None = None) -> list[StageChange]:
        """The moves of a model's versions between stages, or of one version, oldest first."""
        ...

    def register(self, model: str, registration: Registration, *, actor: str, reason: str) -> Version:
        """Register a version in stage draft."""
        ...

    def move(self, model: str, number: int, stage: Stage, *, actor: str, reason: str) -> Promotion:
        """Move a version to a stage. Into production it goes watched: where it is worse, the old version comes back."""
        ...

    def roll_back(self, model: str, *, to: int | None, actor: str, reason: str) -> Rollback:
        """Put an earlier production version back, and wait until the gateways say that they serve it."""
        ...

    def verify(self, model: str | None = None) -> Verification:
        """Hash every stored file again."""
        ...

    def check(self, model: str) -> CheckReport:
        """Look at a model now, act as the policy says, and return the findings."""
        ...

    def findings(self, model: str, *, check: str | None = None, limit: int = 100) -> list[Finding]:
        """The latest findings of a model, or of one check, oldest first."""
        ...

    def alerts(self, model: str | None = None, *, everything: bool = False) -> list[Alert]:
        """Live alerts, and with `everything` the resolved ones that are still kept, oldest first."""
        ...

    def acknowledge(self, alert: str, *, actor: str) -> Alert:
        """Say that somebody looks after an alert."""
        ...

    def resolve(self, alert: str, *, actor: str) -> Alert:
        """Close an alert by hand."""
        ...

    def runs(self, model: str) -> list[Run]:
        """The retrainings of a model, oldest first."""
        ...

    def retrain(self, model: str, *, actor: str, reason: str) -> Run:
        """Start a retraining by hand; it goes on by itself."""
        ...

    def wait_for_run(self, run: Run) -> Run:
        """The run once it has ended, or waits for its next try."""
        ...

    def experiments(self, model: str) -> list[Experiment]:
        """What is compared on live traffic, and was, oldest first."""
        ...

    def rollouts(self, model: str) -> list[Rollout]:
        """The rollouts of a model, oldest first."""
        ...

    def start_rollout(self, model: str, number: int, *, actor: str, reason: str) -> Rollout:
        """Roll a version out by the policy's steps, from the first on."""
        ...

    def pause(self, model: str, *, actor: str) -> Rollout:
        """Stay in the present step; guardrails go on."""
        ...

    def resume(self, model: str, *, actor: str) -> Rollout:
        """Go on with a paused rollout."""
        ...

    def abort(self, model: str, *, actor: str, reason: str) -> Rollout:
        """End a rollout, with all traffic on the version that was there before."""
        ...

    def routes(self, model: str, *, limit: int = 100) -> RouteReport:
        """The latest routes of a model, and what each gateway serves."""
        ...

    def decisions(self, model: str, *, limit: int = 0) -> list[Decision]:
        """The decisions about a model, oldest first; only the latest so many where `limit` is not 0."""
        ...

    def policy(self, model: str) -> PolicyReport:
        """The policy that holds for a model."""
        ...

    def settings(self) -> dict[str, Any]:
        """The settings by name, secrets left out."""
        ...

    def keys(self) -> list[KeyReport]:
        """Every API key that was ever made, oldest first, without the secrets."""
        ...

    def create_key(self, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str) -> NewKey:
        """Make a key that works for a time such as `90d`, or until it is revoked."""
        ...

    def revoke_key(self, name: str, *, actor: str) -> KeyReport:
        """End a key for good."""
        ...

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
        """Take labels in: late, twice, or before their prediction.

        `sources` and `confidences` (0 to 1) hold for single labels, where they are not `None`.
        """
        ...

    def log_predictions(self, model: str, past: PastPredictions) -> PredictionsAccepted:
        """Log what another server answered, of a model that is only watched here; each id is kept once."""
        ...
