"""Registering a user's fitted pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeostat.backtest.data import LabelledTable
from homeostat.connectors import models as connector
from homeostat.errors import InvalidInput
from homeostat.frames import finite, to_pandas
from homeostat.records import (
    Signature,
    Version,
)
from homeostat.registry.fitted import holdout_outputs, inspect_pipeline, kinds_of, original_labels, read_pickle
from homeostat.registry.service import VersionDraft
from homeostat.retraining.first import positive_scores
from homeostat.retraining.rules import evaluation_rows, offline_metrics
from homeostat.retraining.service import describe_features
from homeostat.wiring.system import System


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
