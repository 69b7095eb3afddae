"""Rows, ids, labels and times of Python as JSON can carry them, read as a model in this process would read them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from homeostat.errors import InvalidFeatures, InvalidInput, InvalidLabel
from homeostat.frames import label_text, to_arrow
from homeostat.records import PastPredictions, as_datetime64

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1


def features_of(row: Any) -> dict[str, Any] | list[Any]:
    """One row: a mapping of names to values, or values in the order of the signature. Raises `InvalidFeatures`.

    >>> features_of({"size": float("nan"), "kind": "a"})
    {'size': None, 'kind': 'a'}
    """
    # A row of a pandas frame is both a list and a mapping: its order is the frame's, which is not the signature's.
    if not isinstance(row, Mapping) and hasattr(row, "to_dict"):
        row = row.to_dict()
    if isinstance(row, Mapping):
        return {str(name): plain(value, str(name)) for name, value in row.items()}
    if is_list(row):
        return [plain(value, str(position)) for position, value in enumerate(row)]
    raise InvalidFeatures(
        f"A row is a mapping of feature names to values, or a list of values; {type(row).__name__} is neither."
    )


def instances_of(rows: Any) -> list[Any]:
    """Many rows: any data frame, `frames.Columns`, or a list of rows. Raises `InvalidFeatures` or `InvalidData`."""
    if is_list(rows):
        return [features_of(row) for row in rows]
    table = to_arrow(rows)
    names = [str(name) for name in table.column_names]
    lists = [_column(table.column(position), name) for position, name in enumerate(names)]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def is_list(value: Any) -> bool:
    """Whether it is a list of rows or of values, and no frame."""
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return listed or (isinstance(value, np.ndarray) and value.ndim > 0)


def _column(column: pa.ChunkedArray, name: str) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _column(pc.cast(column, kind.value_type), name)
    if pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64())
        if pc.any(pc.is_inf(column)).as_py():
            raise infinite(name)
        return list(pc.if_else(pc.is_nan(column), None, column).to_pylist())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return list(pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64()).to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(column.to_pylist())
    return [plain(value, name) for value in column.to_pylist()]


def plain(value: Any, name: str) -> Any:
    """The value of a feature as JSON has it; missing ones are `None`. Raises `InvalidFeatures`.

    A time is its microseconds since 1970 in UTC, which is what a model is trained on; one without a zone is in UTC.

    >>> plain(np.float32(0.5), "size"), plain(np.datetime64("1970-01-02"), "day")
    (0.5, 86400000000)
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if LEAST_INTEGER <= value <= MOST_INTEGER:
            return int(value)
        raise InvalidFeatures(f"Feature '{name}' holds a whole number of more than 64 bits.", feature=name)
    if isinstance(value, float):
        if math.isinf(value):
            raise infinite(name)
        return None if math.isnan(value) else float(value)
    if isinstance(value, Decimal):
        return plain(float(value), name)
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return plain(value.item(), name)
    if label_text(value) is None:
        return None
    if isinstance(value, np.datetime64 | date):
        return int(_datetime64(value).astype(np.int64))
    raise InvalidFeatures(
        f"Feature '{name}' holds a value of type {type(value).__name__}. A feature is a number, a text, a time, "
        "true, false or missing.",
        feature=name,
    )


def infinite(name: str) -> InvalidFeatures:
    """What is wrong with a feature that no body can carry."""
    return InvalidFeatures(
        f"Feature '{name}' holds an infinite number, which JSON can't carry. Send it as missing (None).", feature=name
    )


def ids_of(ids: Iterable[Any]) -> list[str]:
    """Prediction ids as text, so that 7 and "7" are one. Raises `InvalidFeatures` where a row has none."""
    texts = [label_text(id_) for id_ in ids]
    if all(texts):
        return [str(text) for text in texts]
    raise InvalidFeatures("A row has no prediction_id. Leave them all out to have them made.")


def entities_of(entities: Sequence[Any], ids: Sequence[Any] | None) -> list[str]:
    """Entities as text. A row without one is its own: it goes by its id, or by a key that nobody else has."""
    own = [label_text(id_) for id_ in ids] if ids is not None and len(ids) == len(entities) else [None] * len(entities)
    return [label_text(entity) or id_ or uuid.uuid4().hex for entity, id_ in zip(entities, own, strict=True)]


def moment(value: Any) -> str:
    """A point in time as RFC 3339; one without a zone is in UTC. Raises `InvalidInput`.

    >>> moment(datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)), moment(np.datetime64("2025-01-02"))
    ('2025-01-02T03:04:05.000000Z', '2025-01-02T00:00:00.000000Z')
    """
    if isinstance(value, str):
        return value
    if label_text(value) is not None and isinstance(value, np.datetime64 | date):
        return f"{np.datetime_as_string(_datetime64(value), unit='us')}Z"
    raise InvalidInput(f"A point in time is a datetime or a text such as 2025-01-02T03:04:05Z, not {value!r:.50}.")


def moments_of(values: Iterable[Any]) -> list[str]:
    """Event times of rows. Raises `InvalidFeatures` where a row has none."""
    try:
        return _moments(values)
    except InvalidInput as error:
        raise InvalidFeatures(f"Every row needs an event time where any has one. {error.message}") from error


def _moments(values: Iterable[Any]) -> list[str]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M" and not np.isnat(values).any():
        # All at once: one by one they cost more than sending them does.
        return [f"{text}Z" for text in np.datetime_as_string(values.astype("datetime64[us]"), unit="us").tolist()]
    return [moment(value) for value in values]


def _datetime64(value: np.datetime64 | date) -> np.datetime64:
    if isinstance(value, np.datetime64):
        exact: np.datetime64 = value.astype("datetime64[us]")
        return exact
    if not isinstance(value, datetime):
        return np.datetime64(value, "us")
    return as_datetime64(value if value.tzinfo is not None else value.replace(tzinfo=UTC))


def labels_of(
    ids: Sequence[Any],
    values: Sequence[Any],
    times: Iterable[Any] | None,
    *,
    sources: Sequence[str | None] | None = None,
    confidences: Sequence[float | None] | None = None,
) -> list[dict[str, Any]]:
    """Labels as they are sent. Raises `InvalidLabel` where one has no id, no value, or no time while others have."""
    if len(ids) != len(values):
        raise InvalidLabel(f"There are {len(ids)} ids and {len(values)} values.")
    labels: list[dict[str, Any]] = []
    for id_, value in zip(ids, values, strict=True):
        name, text = label_text(id_), label_text(value)
        if not name or not text:
            raise InvalidLabel("Every label needs a prediction_id and a value.")
        labels.append({"prediction_id": name, "label": text})
    if times is not None:
        try:
            moments = _moments(times)
        except InvalidInput as error:
            raise InvalidLabel(f"Every label needs an event time where any has one. {error.message}") from error
        if len(moments) != len(labels):
            raise InvalidLabel("Every label needs an event time where any has one.")
        for label, at in zip(labels, moments, strict=True):
            label["event_time"] = at
    for name, given in (("source", sources), ("confidence", confidences)):
        if given is None:
            continue
        if len(given) != len(labels):
            raise InvalidLabel(f"There are {len(labels)} labels and {len(given)} entries for their {name}.")
        for label, one in zip(labels, given, strict=True):
            if one is not None:
                label[name] = one
    return labels


def predictions_of(past: PastPredictions) -> list[dict[str, Any]]:
    """Predictions that were answered elsewhere as they are sent. Raises `InvalidFeatures`."""
    return [
        {
            "prediction_id": id_,
            "features": features,
            "prediction": answer,
            "score": score,
            "event_time": at,
            "entity": entity,
            "latency_ms": latency,
        }
        for id_, features, answer, score, at, entity, latency in zip(
            past.ids,
            instances_of(past.columns),
            past.answers,
            past.scores,
            moments_of(past.times),
            past.entities,
            past.latencies_ms,
            strict=True,
        )
    ]
