"""Tables of past predictions: the features of a version, and beside them what was answered, when and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from homeostat.connectors.feeds.chunks import Chunk
from homeostat.connectors.feeds.values import (
    each,
    id_of,
    key_of,
    moment_of,
    moments,
    numbers,
    score_of,
    text_of,
    truth_of,
    whole_of,
)
from homeostat.errors import InvalidFeatures, InvalidInput, InvalidPrediction
from homeostat.frames import Columns, Kind
from homeostat.records import PastPredictions, Signature, Task

ID, TIME, PREDICTION, SCORE = "prediction_id", "event_time", "prediction", "score"
ENTITY, LATENCY, VERSION = "entity", "latency_ms", "version"
KNOWN_AS = {
    ID: (ID, "predictionid", "inference_id", "inferenceid", "event_id", "eventid", "request_id", "id"),
    TIME: (TIME, "timestamp", "time"),
    PREDICTION: (PREDICTION, "predicted", "predicted_label", "y_pred", "output"),
    SCORE: (SCORE, "probability", "y_score"),
    ENTITY: (ENTITY, "entity_id"),
    LATENCY: (LATENCY,),
    VERSION: (VERSION, "model_version"),
}
OPTIONS = {ID: "--id-column", TIME: "--time-column", PREDICTION: "--prediction-column", SCORE: "--score-column"}
SHOWN_NAMES = 20


def find_columns(names: Sequence[str], signature: Signature, **wanted: str | None) -> dict[str, str]:
    """Which column is what: the one that is named, or else one that is known and is no feature.

    Raises `InvalidInput` where there is none for what has to be there, or several could be meant.
    """
    found: dict[str, str] = {}
    for role, known in KNOWN_AS.items():
        named = wanted.get(role)
        free = [name for name in names if name not in signature.kinds]
        fitting = [named] if named is not None else [role] if role in free else [n for n in free if n.lower() in known]
        if named is not None and named not in names:
            raise InvalidInput(f"There is no column '{named}'. The columns are: {_shown(names)}.")
        if len(fitting) > 1:
            raise InvalidInput(
                f"Several columns could be the {role}: {', '.join(fitting)}. "
                f"{'Say which with ' + OPTIONS[role] if role in OPTIONS else 'Rename all but one'}."
            )
        if fitting:
            found[role] = fitting[0]
    if ID not in found:
        raise InvalidInput(
            f"No column is the prediction_id. Name one with --id-column. The columns are: {_shown(names)}."
        )
    if PREDICTION not in found and (SCORE not in found or signature.task is Task.MULTICLASS):
        raise InvalidInput(
            f"No column is the prediction. Name one with --prediction-column. There are: {_shown(names)}."
        )
    absent = [name for name in signature.kinds if name not in names]
    if absent:
        raise InvalidFeatures(f"The table lacks features: {_shown(absent)}.", missing=absent)
    if len(set(found.values())) != len(found):
        raise InvalidInput("One column can't be two things.")
    return found


def _shown(names: Sequence[str]) -> str:
    return ", ".join(str(name)[:60] for name in names[:SHOWN_NAMES])


def versions_of(chunk: Chunk, columns: dict[str, str]) -> list[int | None]:
    """Which version answered each row; `None` where nobody says."""
    return each(_column(chunk, columns, VERSION), chunk.numbers, whole_of, InvalidPrediction, VERSION)


def past_rows(
    chunk: Chunk, columns: dict[str, str], signature: Signature, *, version: int | None, now: np.datetime64
) -> PastPredictions:
    """The rows of a chunk, all of one version. Raises `InvalidPrediction` or `InvalidFeatures`."""
    rows = chunk.numbers

    def read(role: str, kind: Any) -> list[Any]:
        return each(_column(chunk, columns, role), rows, kind, InvalidPrediction, role)

    is_number = signature.task is Task.REGRESSION
    return PastPredictions(
        ids=read(ID, id_of),
        columns=_features(chunk, signature),
        answers=read(PREDICTION, score_of if is_number else text_of),
        scores=read(SCORE, score_of),
        times=moments(read(TIME, moment_of), now),
        entities=read(ENTITY, key_of),
        latencies_ms=read(LATENCY, score_of),
        version=version,
        numbers=rows,
    )


def _column(chunk: Chunk, columns: dict[str, str], role: str) -> list[Any]:
    empty: list[Any] = [None] * chunk.rows
    return chunk.columns.get(columns[role], empty) if role in columns else empty


def _features(chunk: Chunk, signature: Signature) -> Columns:
    found = {}
    empty: list[Any] = [None] * chunk.rows
    for name, kind in signature.kinds.items():
        values = chunk.columns.get(name, empty)
        if kind is Kind.NUMERIC:
            found[name] = numbers(values, chunk.numbers, InvalidFeatures, name)
        elif kind is Kind.BOOLEAN:
            found[name] = np.array(each(values, chunk.numbers, truth_of, InvalidFeatures, name), dtype=np.float64)
        else:
            texts = np.empty(len(values), dtype=object)
            texts[:] = each(values, chunk.numbers, text_of, InvalidFeatures, name)
            found[name] = texts
    return Columns(found, chunk.rows)


def parts_of(chunk: Chunk, keys: Sequence[Any]) -> Iterator[tuple[Any, Chunk]]:
    """The rows of each key; where all are of one, the chunk as it is."""
    for key in dict.fromkeys(keys):
        places = [place for place, one in enumerate(keys) if one == key]
        if len(places) == chunk.rows:
            yield key, chunk
            return
        columns = {name: [values[place] for place in places] for name, values in chunk.columns.items()}
        yield key, Chunk(columns, chunk.first, chunk.share, [chunk.numbers[place] for place in places])
