"""A version that is served elsewhere, from a table of rows that it answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.connectors.tables import LabelledTable, prepare, read_table
from homeostat.errors import InvalidFeatures, InvalidInput, InvalidTarget
from homeostat.frames import as_text
from homeostat.ports import Registration
from homeostat.records import EXTERNAL, Signature, Task
from homeostat.registry.service import VersionDraft
from homeostat.retraining.service import describe_features
from homeostat.serving.elsewhere import outcomes
from homeostat.stats.performance import classification_metrics, regression_metrics

PREDICTION, SCORE, TIME = "prediction", "score", "event_time"
# What a table says of its rows beside the features; a feature can't be called so.
NO_FEATURES = (PREDICTION, SCORE, TIME, "prediction_id", "entity", "version", "latency_ms")
ROW = "__row__"


def external_draft(model: str, registration: Registration, seed: int) -> VersionDraft:
    """Signature and reference from the table. Raises `InvalidInput` and below where it can't be used.

    The task is read off the target, or where there is none off the predictions. Without predictions and targets in one
    table nothing is known of how good the version was, and its performance is held against no mark.
    """
    import pyarrow as pa

    if registration.pipeline is not None:
        raise InvalidInput("What is served elsewhere is registered without a pipeline; leave that out.")
    table = read_table(registration.training)
    names = table.column_names
    prediction = _column(names, registration.prediction, PREDICTION, "prediction")
    score = _column(names, registration.score, SCORE, "score")
    time = _column(names, registration.time, TIME, "time")
    target = registration.target or prediction
    if target is None:
        raise InvalidTarget("Name the column of the target, or the one of the predictions.")
    if target not in names:
        raise InvalidTarget(f"The table has no column '{target}' for the target. It has: {', '.join(names[:30])}.")
    apart = {*NO_FEATURES, prediction, score, time} - {None}
    features = [name for name in names if name not in apart and name != target]
    if not features:
        raise InvalidFeatures("The table has no column besides the target and the predictions: nothing to watch.")
    chosen = dict.fromkeys([*features, target, *([] if time is None else [time])])
    # The rows' numbers go along, so that predictions can be put into the same order.
    numbered = table.select(list(chosen)).append_column(ROW, pa.array(np.arange(table.num_rows)))
    prepared = prepare(numbered, target=target, time=time, entity=ROW, name=model)
    order = np.zeros(0) if prepared.entities is None else prepared.entities.astype(np.int64)
    rows = table.take(pa.array(order))
    signature = _signature(prepared, registration)
    output, scores = _answers(rows, prediction, score, signature)
    return VersionDraft(
        model=model,
        estimator=None,
        signature=signature,
        columns=prepared.columns,
        target=prepared.target,
        times=prepared.times if prepared.has_own_times else None,
        evaluation_scores=scores,
        metrics=_metrics(prepared, output, scores, signature) if registration.target else {},
        parameters={"estimator": EXTERNAL},
        tags=registration.tags,
        description=registration.description,
        seed=seed,
    )


def _column(names: list[str], named: str | None, usual: str, role: str) -> str | None:
    if named is None:
        return usual if usual in names else None
    if named not in names:
        raise InvalidInput(f"The table has no column '{named}' for the {role}. It has: {', '.join(names[:30])}.")
    return named


def _signature(table: LabelledTable, registration: Registration) -> Signature:
    positive = table.positive if registration.positive is None else registration.positive
    if registration.positive is not None and (table.task is not Task.BINARY or positive not in table.classes):
        raise InvalidTarget(f"'{positive}' is none of two classes of the target.")
    return Signature(
        task=table.task,
        features=describe_features(table.columns, table.kinds),
        target=table.target_name,
        classes=table.classes,
        positive=positive,
    )


def _answers(
    rows: Any, prediction: str | None, score: str | None, signature: Signature
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]] | tuple[None, None]:
    """What the rows were answered with, where the table says it."""
    if prediction is None and (score is None or signature.task is Task.MULTICLASS):
        return None, None
    count = rows.num_rows
    scores = [None] * count if score is None else rows.column(score).to_pylist()
    if any(isinstance(one, str) for one in scores):
        raise InvalidFeatures(f"The column '{score}' should hold numbers.")
    if prediction is None:
        return outcomes([None] * count, scores, signature)
    column = rows.column(prediction)
    answers = column.to_pylist() if signature.task is Task.REGRESSION else as_text(column).tolist()
    return outcomes(answers, scores, signature)


def _metrics(
    table: LabelledTable,
    output: npt.NDArray[Any] | None,
    scores: npt.NDArray[np.float64] | None,
    signature: Signature,
) -> dict[str, float]:
    """How good the answers were on the rows whose truth is known."""
    if output is None or scores is None:
        return {}
    rows = {"evaluation_rows": float(table.rows)}
    if signature.task is Task.REGRESSION:
        return regression_metrics(table.target.astype(np.float64), scores) | rows
    every = list(dict.fromkeys([*signature.classes, *output.tolist()]))
    codes = {name: code for code, name in enumerate(every)}
    positive = codes.get(signature.positive or "") if signature.task is Task.BINARY else None
    found = classification_metrics(
        np.array([codes[name] for name in table.target], dtype=np.int64),
        np.array([codes[name] for name in output], dtype=np.int64),
        classes=len(every),
        positive=positive,
        scores=None if positive is None else scores,
    )
    return found | rows
