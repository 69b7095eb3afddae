"""The first model of a task: the built-in trainer on labelled rows, judged on the latest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns, Kind, finite, label_text, to_pandas
from homeostat.ports import Trained, TrainingRequest
from homeostat.records import Signature, Task, TrainingPolicy
from homeostat.retraining.rules import evaluation_rows, offline_metrics
from homeostat.retraining.service import describe_features
from homeostat.retraining.trainers import raw_outputs, train_builtin


@dataclass(frozen=True, slots=True)
class FirstModel:
    """A trained model; its metrics and scores come from rows that its evaluated twin had not seen."""

    trained: Trained
    signature: Signature
    metrics: dict[str, float]
    evaluation_scores: npt.NDArray[np.float64]


def train_first(
    columns: Columns,
    kinds: dict[str, Kind],
    target: npt.NDArray[Any],
    *,
    task: Task,
    target_name: str,
    classes: tuple[str, ...],
    positive: str | None,
    policy: TrainingPolicy,
    seed: int,
) -> FirstModel:
    """Train on rows in time order. Raises `TrainingFailed` where no algorithm can be fitted."""
    rows = columns.rows
    evaluation = evaluation_rows(rows, None, policy.evaluation_share)
    request = TrainingRequest(
        columns=finite(columns),
        kinds=kinds,
        target=target,
        task=task,
        classes=classes,
        change=None,
        evaluation=evaluation,
        seed=seed,
        algorithms=policy.algorithms,
        windows=("all",),
        maximum_rows=policy.maximum_rows,
    )
    trained = train_builtin(request)
    late = slice(rows - evaluation, rows)
    raw = raw_outputs(trained.evaluated, to_pandas(request.columns.take(late), kinds))
    known = tuple(label_text(value) or "" for value in getattr(trained.evaluated, "classes_", ()))
    signature = Signature(
        task=task,
        features=describe_features(columns, kinds),
        target=target_name,
        classes=tuple(label_text(value) or "" for value in getattr(trained.model, "classes_", ())),
        positive=positive,
    )
    metrics = offline_metrics(target[late], raw, known, signature)
    return FirstModel(
        trained=trained,
        signature=signature,
        metrics={**metrics, "evaluation_rows": float(evaluation)},
        evaluation_scores=positive_scores(raw, known, positive),
    )


def positive_scores(
    raw: npt.NDArray[np.float64], classes: tuple[str, ...], positive: str | None
) -> npt.NDArray[np.float64]:
    """What is logged as a row's score: the positive class' probability, the top probability, or the value."""
    if not classes:
        return raw
    if positive is not None and positive in classes and len(classes) == 2:
        return raw[:, classes.index(positive)]
    return np.asarray(raw.max(axis=1))
