"""Registering versions from files: a user's fitted pipeline, or a first model that the built-in trainer fits."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from homeostat.connectors import models as connector
from homeostat.connectors.tables import LabelledTable, prepare, read_table
from homeostat.control_plane.external import external_draft
from homeostat.errors import InvalidFeatures, InvalidInput, PythonNotAllowed
from homeostat.frames import finite, to_pandas
from homeostat.ports import Registration
from homeostat.records import Policy, Signature, Version
from homeostat.registry.fitted import (
    FittedPipeline,
    holdout_outputs,
    inspect_pipeline,
    kinds_of,
    original_labels,
    read_pickle,
)
from homeostat.registry.service import Registry, VersionDraft
from homeostat.retraining.first import positive_scores, train_first
from homeostat.retraining.rules import evaluation_rows, offline_metrics, threshold_parameters
from homeostat.retraining.service import describe_features
from homeostat.settings import Settings

# Who names the two files the wrong way round has one of these where the model should be.
TABLES = (".csv", ".csv.gz", ".parquet", ".pq")


def register_files(
    registry: Registry,
    model: str,
    registration: Registration,
    policy: Policy,
    *,
    at: datetime,
    actor: str,
    reason: str,
    seed: int,
    python_seconds: float = 60.0,
) -> Version:
    """Register a version in stage draft from a table and, unless one is to be trained, a fitted pipeline.

    Raises `InvalidInput` and below where the files can't be used; nothing is kept then.
    """
    if registration.is_external:
        return registry.register_external(external_draft(model, registration, seed), at=at, actor=actor, reason=reason)
    fitted = None
    if registration.python is not None:
        if registration.pipeline is not None:
            raise InvalidInput("A version is a fitted model's file or a Python class, not both.")
        files = connector.read_python_files(registration.python, registration.python_files)
        fitted = connector.GivenPython(registration.python, files, seconds=python_seconds)
    elif registration.python_files is not None:
        raise InvalidInput("The files of a Python class are there, but not its name: package.module:Class.")
    elif registration.pipeline is not None:
        fitted = load_pipeline(registration.pipeline, allow_pickle=registration.allow_pickle)
    table = prepare(read_table(registration.training), target=registration.target, time=registration.time, name=model)
    try:
        draft = (
            trained_draft(model, table, policy, seed)
            if fitted is None
            else fitted_draft(model, fitted, table, policy, seed)
        )
        parent = _production_of(registry, model)
        return registry.register(
            VersionDraft(
                **draft,
                tags=registration.tags,
                parent=parent,
                keep_training=registration.keep_training,
                description=registration.description,
            ),
            at=at,
            actor=actor,
            reason=reason,
        )
    except (ValueError, TypeError) as error:
        # The user's pipeline is run on the user's rows; what it raises is about those.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidFeatures(f"The model can't be used with the training data: {first}") from error


def check_runnable(version: Version, settings: Settings) -> None:
    """Raise `PythonNotAllowed` for a version that servers with these settings would not run: it gets no traffic."""
    if version.serving.format == connector.PYTHON and not settings.serve.allow_python:
        raise PythonNotAllowed


def load_pipeline(path: Path, *, allow_pickle: bool) -> Any:
    """A fitted model from a file: skops with the trusted types, another library's own format, or an allowed pickle."""
    if path.suffix in connector.SUFFIXES:
        return connector.read_model(path)
    if path.name.endswith(TABLES):
        raise InvalidInput(
            f"{path.name} is a table and no fitted model. The model's file comes first, the table after it."
        )
    if not allow_pickle:
        raise InvalidInput(
            f"{path.name} is not one of {', '.join(connector.SUFFIXES)}. A pickle can run any code when it is loaded: "
            "save the pipeline with skops.io.dump, or pass --allow-pickle if the file is of your own making."
        )
    return read_pickle(path)


def trained_draft(model: str, table: LabelledTable, policy: Policy, seed: int) -> dict[str, Any]:
    """What the built-in trainer makes of a table, as the fields of a version's draft."""
    first = train_first(
        table.columns,
        table.kinds,
        table.target,
        task=table.task,
        target_name=table.target_name,
        classes=table.classes,
        positive=table.positive,
        policy=policy.training,
        seed=seed,
    )
    return {
        "model": model,
        "estimator": first.trained.model,
        "signature": first.signature,
        "columns": table.columns,
        "target": table.target,
        "times": table.times if table.has_own_times else None,
        "evaluation_scores": first.evaluation_scores,
        "metrics": first.metrics,
        "parameters": {
            **first.trained.parameters,
            **threshold_parameters(
                table.target[table.rows - len(first.evaluation_scores) :],
                first.evaluation_scores,
                first.signature,
                policy.training,
            ),
        },
        "seed": seed,
    }


def fitted_draft(model: str, estimator: Any, table: LabelledTable, policy: Policy, seed: int) -> dict[str, Any]:
    """A fitted pipeline and the rows that it was fitted on, as the fields of a version's draft.

    Its quality is stated by the same recipe fitted without the latest fifth of the rows, on those rows. A model that
    can't be fitted anew (a graph, a booster's file) gets no figures: those on its own training rows would flatter it.
    """
    if isinstance(estimator, connector.Given):
        return given_draft(model, estimator, table, seed)
    fitted = inspect_pipeline(estimator, table.columns, table.target_name, table.task)
    kinds = kinds_of(fitted.features, table.kinds)
    columns = table.columns.select(kinds)
    frame = to_pandas(finite(columns), kinds)
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
    return {
        "model": model,
        "estimator": estimator,
        "signature": signature,
        "columns": columns,
        "target": table.target,
        "times": table.times if table.has_own_times else None,
        "evaluation_scores": scores,
        "metrics": {
            **offline_metrics(table.target[late], raw, classes, signature),
            "evaluation_rows": float(evaluation),
        },
        "parameters": {
            "estimator": type(estimator).__name__,
            **threshold_parameters(table.target[late], scores, signature, policy.training),
        },
        "seed": seed,
    }


def given_draft(model: str, given: connector.Given, table: LabelledTable, seed: int) -> dict[str, Any]:
    """A model from another library's file and the rows that it was fitted on, as the fields of a version's draft."""
    fitted = _inspect_given(given, table)
    kinds = kinds_of(fitted.features, table.kinds)
    columns = table.columns.select(kinds)
    if isinstance(given, connector.GivenGraph):
        given.settled(finite(columns))
    return {
        "model": model,
        "estimator": fitted.estimator,
        "signature": Signature(
            task=table.task,
            features=describe_features(columns, kinds),
            target=table.target_name,
            classes=fitted.classes,
            positive=table.positive if table.positive in fitted.classes else None,
        ),
        "columns": columns,
        "target": table.target,
        "times": table.times if table.has_own_times else None,
        "parameters": {"estimator": getattr(given, "entry", type(given).__name__)},
        "seed": seed,
    }


def _inspect_given(given: connector.Given, table: LabelledTable) -> FittedPipeline:
    """Hold a model of another library against the training data. Raises `InvalidInput` where they do not fit."""
    names = given.features or tuple(table.columns)
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise InvalidFeatures(f"The training data lacks features: {', '.join(absent)}.", missing=absent)
    if len(names) != (given.width or len(names)):
        raise InvalidFeatures(
            f"The model takes {given.width} features without names; the training data has {len(names)} besides "
            f"'{table.target_name}'. Leave only the features, in their order."
        )
    texts = [name for name in names if not table.kinds[name].is_number]
    if texts and not given.frame:
        raise InvalidFeatures(f"The model takes numbers, but these features are text: {', '.join(texts[:10])}.")
    bound = given.with_classes(table.classes)
    return FittedPipeline(bound, names, bound.classes_)


def _production_of(registry: Registry, model: str) -> int | None:
    if all(held.name != model for held in registry.models()):
        return None
    production = registry.production(model)
    return None if production is None else production.number
