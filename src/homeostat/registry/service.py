"""The registry: writes immutable versions, moves them between stages, and loads only bytes that were hashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import (
    Conflict,
    IntegrityError,
    ModelExists,
    NotFound,
    NothingToRollBackTo,
    ServedElsewhere,
    UnknownModel,
    UnknownVersion,
    VersionInUse,
)
from homeostat.frames import Columns, content_hash, finite
from homeostat.journal import live_experiments, record_decision, serve_alone
from homeostat.ports import Compiler, ControlStore, FileStore, Predictor, Transaction
from homeostat.records import (
    FileEntry,
    Lineage,
    Manifest,
    Model,
    ServingForm,
    Signature,
    Stage,
    StageChange,
    Version,
    version_key,
)
from homeostat.registry.history import stage_change
from homeostat.registry.missing_values import with_nullable
from homeostat.registry.reference import (
    SAMPLE_ROWS,
    SCORE_ROWS,
    Reference,
    permutation_importances,
    read_reference,
    read_rows,
    write_reference,
    write_rows,
)
from homeostat.registry.rules import EXTERNAL_FORM, check_move, check_name, check_served_alike, path_to
from homeostat.stats.profile import Profile

REFERENCE = "reference.json"
SAMPLE = "reference.parquet"
TRAINING = "training.parquet"
MODEL_FOLDER = "model/"


@dataclass(frozen=True, slots=True)
class VersionDraft:
    """All that a new version is made of.

    `columns` and `target` are the rows that it was fitted on; `evaluation_scores` come from rows that the evaluated
    model had not seen. `keep_training` stores the rows, so that later retrainings can use them as history.
    """

    model: str
    estimator: Any
    signature: Signature
    columns: Columns
    target: npt.NDArray[Any]
    times: npt.NDArray[np.datetime64] | None = None
    evaluation_scores: npt.NDArray[np.float64] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    parent: int | None = None
    run: str | None = None
    keep_training: bool = False
    description: str = ""
    seed: int = 0


class Registry:
    """Models and their versions."""

    def __init__(self, store: ControlStore, files: FileStore, compiler: Compiler, *, code_version: str) -> None:
        self._store = store
        self._files = files
        self._compiler = compiler
        self._code_version = code_version

    # Writing
    def register(self, draft: VersionDraft, *, at: datetime, actor: str, reason: str) -> Version:
        """Write an immutable version in stage draft.

        Raises `CompilationFailed` where the model can't be served safely, `ModelExists` where a model of that name
        has another task or target.
        """
        check_name(draft.model)
        compiled = self._compiler.compile(draft.estimator, draft.signature, finite(draft.columns), seed=draft.seed)
        predictor = self._compiler.load(compiled.files, compiled.form, draft.signature, is_new=True)
        signature = with_nullable(draft.signature, predictor, finite(draft.columns))
        contents = {MODEL_FOLDER + path: content for path, content in compiled.files.items()}
        contents |= self._reference_files(draft, predictor)
        return self._write(draft, signature, compiled.form, contents, at=at, actor=actor, reason=reason)

    def register_external(self, draft: VersionDraft, *, at: datetime, actor: str, reason: str) -> Version:
        """Write a version that is served elsewhere, in stage draft: a signature and a reference, and no model."""
        check_name(draft.model)
        contents = self._reference_files(draft, None)
        return self._write(draft, draft.signature, EXTERNAL_FORM, contents, at=at, actor=actor, reason=reason)

    def _write(
        self,
        draft: VersionDraft,
        signature: Signature,
        form: ServingForm,
        contents: dict[str, bytes],
        *,
        at: datetime,
        actor: str,
        reason: str,
    ) -> Version:
        entries = tuple(
            FileEntry(path=path, sha256=self._files.write(content), size=len(content))
            for path, content in sorted(contents.items())
        )
        # The files are content-addressed, so a death before the transaction leaves nothing that anyone refers to.
        with self._store.begin() as transaction:
            _ensure_model(transaction, draft, at)
            if draft.run is not None:
                # A run that was killed after registering finds its version instead of writing a second one.
                for earlier in transaction.list(Version, model=draft.model):
                    if earlier.lineage.run == draft.run:
                        return earlier
            earlier_versions = transaction.list(Version, model=draft.model)
            check_served_alike(earlier_versions, form)
            numbers = [version.number for version in earlier_versions]
            version = Version(
                model=draft.model,
                number=max(numbers, default=0) + 1,
                stage=Stage.DRAFT,
                created_at=at,
                signature=signature,
                manifest=Manifest(files=entries),
                serving=form,
                lineage=Lineage(
                    data_sha256=content_hash({**draft.columns, "__target__": draft.target}),
                    rows=draft.columns.rows,
                    parent=draft.parent,
                    run=draft.run,
                    code_version=self._code_version,
                    trained_from=_moment(draft.times, 0),
                    trained_until=_moment(draft.times, -1),
                    registered_by=actor,
                ),
                metrics=_finite(draft.metrics),
                parameters=draft.parameters,
                tags=draft.tags,
            )
            transaction.insert(version)
            transaction.insert(stage_change(transaction, version, None, Stage.DRAFT, at, actor, reason, {}))
            record_decision(
                transaction,
                version.model,
                kind="registered",
                at=at,
                actor=actor,
                version=version.number,
                reason=f"{reason}. Served as {form.format}: {form.reason}",
                inputs={"manifest": version.manifest.digest, "metrics": version.metrics, "rows": draft.columns.rows},
            )
            return version

    def _reference_files(self, draft: VersionDraft, predictor: Predictor | None) -> dict[str, bytes]:
        rng = np.random.default_rng(draft.seed)
        rows = draft.columns.rows
        chosen = np.sort(rng.choice(rows, min(rows, SAMPLE_ROWS), replace=False))
        scores = draft.evaluation_scores if draft.evaluation_scores is not None else np.array([])
        if len(scores) > SCORE_ROWS:
            scores = rng.choice(scores, SCORE_ROWS, replace=False)
        kinds = draft.signature.kinds
        reference = Reference(
            profile=Profile.of(draft.columns, kinds=kinds, sample=0),
            scores=scores,
            # Without a model to ask, every feature counts as much as any other.
            importances={name: 1 / len(kinds) for name in kinds}
            if predictor is None
            else permutation_importances(
                predictor, finite(draft.columns), kinds, draft.signature.task, seed=draft.seed
            ),
        )
        files = {
            REFERENCE: write_reference(reference),
            SAMPLE: write_rows(draft.columns.take(chosen), draft.target[chosen], None),
        }
        if draft.keep_training:
            files[TRAINING] = write_rows(draft.columns, draft.target, draft.times)
        return files

    # Reading
    def model(self, name: str) -> Model:
        """The model of that name. Raises `UnknownModel`."""
        with self._store.read() as transaction:
            return require_model(transaction, name)

    def models(self) -> list[Model]:
        """All models."""
        with self._store.read() as transaction:
            return transaction.list(Model)

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first."""
        with self._store.read() as transaction:
            require_model(transaction, model)
            return transaction.list(Version, model=model)

    def version(self, model: str, number: int) -> Version:
        """One version. Raises `UnknownModel` or `UnknownVersion`."""
        with self._store.read() as transaction:
            return require_version(transaction, model, number)

    def production(self, model: str) -> Version | None:
        """The production version, or `None`."""
        with self._store.read() as transaction:
            return next(iter(transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])), None)

    def history(self, model: str, number: int | None = None) -> list[StageChange]:
        """The moves of a model's versions, or of one, oldest first."""
        with self._store.read() as transaction:
            require_model(transaction, model)
            changes = transaction.list(StageChange, model=model)
        return [change for change in changes if number is None or change.version == number]

    def read_file(self, version: Version, path: str) -> bytes:
        """One file of a version, after its hash was checked. Raises `IntegrityError` or `NotFound`."""
        entry = next((entry for entry in version.manifest.files if entry.path == path), None)
        if entry is None:
            raise NotFound(f"Version {version.number} of '{version.model}' has no file '{path}'.", path=path)
        try:
            content = self._files.read(entry.sha256)
        except NotFound:
            content = b""
        found = hashlib.sha256(content).hexdigest()
        if found != entry.sha256:
            raise IntegrityError(
                path=path, version=version.number, model=version.model, expected=entry.sha256[:12], found=found[:12]
            )
        return content

    def load(self, version: Version) -> Predictor:
        """The version ready to score, from bytes that were checked first. Raises `ServedElsewhere`."""
        if version.is_external:
            raise ServedElsewhere(model=version.model)
        files = {
            entry.path.removeprefix(MODEL_FOLDER): self.read_file(version, entry.path)
            for entry in version.manifest.files
            if entry.path.startswith(MODEL_FOLDER)
        }
        return self._compiler.load(files, version.serving, version.signature)

    def reference(self, version: Version) -> Reference:
        """What the version is held against."""
        return read_reference(self.read_file(version, REFERENCE))

    def history_rows(self, model: str) -> tuple[Columns, npt.NDArray[Any], npt.NDArray[np.datetime64] | None] | None:
        """The training rows that were kept with a version of the model: the newest that has them."""
        for version in reversed(self.versions(model)):
            if any(entry.path == TRAINING for entry in version.manifest.files):
                columns, target, times = read_rows(self.read_file(version, TRAINING))
                if target is not None:
                    return columns, target, times
        return None

    def check_readable(self, version: Version) -> None:
        """Read what serving and watching a version takes, before anything is promised to it.

        Raises `IntegrityError` for a file that is gone or changed, `StorageFailed` for one that can't be read.
        """
        for entry in version.manifest.files:
            if entry.path.startswith(MODEL_FOLDER) or entry.path == REFERENCE:
                self.read_file(version, entry.path)

    def verify(self, version: Version) -> list[str]:
        """The paths of files whose bytes are not what was registered; empty when all is well."""
        broken = []
        for entry in version.manifest.files:
            try:
                self.read_file(version, entry.path)
            except IntegrityError:
                broken.append(entry.path)
        return broken

    # Moving
    def move(
        self,
        transaction: Transaction,
        model: str,
        number: int,
        target: Stage,
        *,
        at: datetime,
        actor: str,
        reason: str,
        evidence: dict[str, Any] | None = None,
        is_rollback: bool = False,
    ) -> Version:
        """Move a version inside somebody's transaction, and keep the history."""
        version = require_version(transaction, model, number)
        if version.stage is target:
            return version
        check_move(version, target, is_rollback=is_rollback)
        moved = transaction.replace(_with_stage(version, target))
        transaction.insert(stage_change(transaction, version, version.stage, target, at, actor, reason, evidence or {}))
        return moved

    def advance(self, model: str, number: int, target: Stage, *, at: datetime, actor: str, reason: str) -> Version:
        """Move a version to a stage that is not production, through the stages between."""
        if target is Stage.PRODUCTION:
            return self.install(model, number, at=at, actor=actor, reason=reason)
        with self._store.begin() as transaction:
            version = require_version(transaction, model, number)
            if target is Stage.ARCHIVED and version.stage is Stage.PRODUCTION:
                raise Conflict(
                    f"Version {number} of '{model}' is in production; archiving it would leave nothing to serve. "
                    "Promote another version first, which archives this one."
                )
            if target is Stage.ARCHIVED:
                _check_unused(transaction, version)
            check_move(version, path_to(version.stage, target)[0])
            for stage in path_to(version.stage, target):
                version = self.move(transaction, model, number, stage, at=at, actor=actor, reason=reason)
            return version

    def install(self, model: str, number: int, *, at: datetime, actor: str, reason: str) -> Version:
        """Put a version into production at once, with all traffic: the first version of a model, usually."""
        with self._store.begin() as transaction:
            version = require_version(transaction, model, number)
            if version.stage is Stage.PRODUCTION:
                return version
            replaced = transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])
            for stage in path_to(version.stage, Stage.PRODUCTION):
                if stage is Stage.PRODUCTION:
                    for old in replaced:
                        self.move(transaction, model, old.number, Stage.ARCHIVED, at=at, actor=actor, reason=reason)
                # Whoever serves it elsewhere may go back to any version; nothing is routed here.
                back = version.is_external
                version = self.move(
                    transaction, model, number, stage, at=at, actor=actor, reason=reason, is_rollback=back
                )
            if not version.is_external:
                serve_alone(transaction, model, number, at=at, reason=reason)
            kind = "promotion" if replaced else "installed"
            record_decision(
                transaction, model, kind=kind, at=at, actor=actor, version=number, reason=reason, rule="by hand"
            )
            return version

    def rollback_target(self, transaction: Transaction, model: str, number: int | None) -> int:
        """The version that a rollback returns to: the one named, or the last that was in production before.

        Raises `NothingToRollBackTo`, or `UnknownVersion`.
        """
        require_model(transaction, model)
        if number is not None:
            return require_version(transaction, model, number).number
        present = next(iter(transaction.list(Version, model=model, states=[Stage.PRODUCTION.value])), None)
        installed = [
            change for change in transaction.list(StageChange, model=model) if change.target is Stage.PRODUCTION
        ]
        # What served before the present version first did; a version that was rolled back is none to return to.
        for position, change in enumerate(installed):
            if present is None or change.version == present.number:
                if position:
                    return installed[position - 1].version
                break
        raise NothingToRollBackTo(model=model)


def require_model(transaction: Transaction, name: str) -> Model:
    """The model of that name. Raises `UnknownModel`."""
    found = transaction.get(Model, name)
    if found is None:
        raise UnknownModel(model=name, known=[model.name for model in transaction.list(Model)])
    return found


def require_version(transaction: Transaction, model: str, number: int) -> Version:
    """That version of the model. Raises `UnknownModel` or `UnknownVersion`."""
    require_model(transaction, model)
    found = transaction.get(Version, version_key(model, number))
    if found is None:
        known = [version.number for version in transaction.list(Version, model=model)]
        raise UnknownVersion(model=model, version=number, known=known)
    return found


def _check_unused(transaction: Transaction, version: Version) -> None:
    """Raise `VersionInUse` where a live experiment serves the version."""
    for one in live_experiments(transaction, version.model):
        if version.number in one.versions:
            raise VersionInUse(version=version.number, model=version.model, experiment=one.id, state=one.state.value)


def _with_stage(version: Version, stage: Stage) -> Version:
    import msgspec

    return msgspec.structs.replace(version, stage=stage)


def _ensure_model(transaction: Transaction, draft: VersionDraft, at: datetime) -> None:
    held = transaction.get(Model, draft.model)
    task, target = draft.signature.task, draft.signature.target
    if held is None:
        transaction.insert(
            Model(name=draft.model, task=task, target=target, created_at=at, description=draft.description)
        )
    elif held.task is not task or held.target != target:
        raise ModelExists(
            f"Model '{draft.model}' is {held.task.value} on '{held.target}'; this version is {task.value} on "
            f"'{target}'. Register it under another name.",
            model=draft.model,
        )


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    # A metric that is not defined (one class only, say) is left out: JSON has no NaN.
    return {name: float(value) for name, value in metrics.items() if np.isfinite(value)}


def _moment(times: npt.NDArray[np.datetime64] | None, position: int) -> datetime | None:
    from homeostat.records import as_datetime

    return None if times is None or not len(times) else as_datetime(times[position])
