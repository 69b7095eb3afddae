"""Tables of labels: which columns are meant, and what stands in them. SageMaker's ground truth is read too."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.connectors.feeds.chunks import Chunk
from homeostat.connectors.feeds.values import Unfit, each, id_of, label_of, moment_of, share_of, source_of
from homeostat.errors import InvalidLabel

ID, LABEL, TIME, SOURCE, CONFIDENCE = "prediction_id", "label", "event_time", "source", "confidence"
COLUMNS = (ID, LABEL, TIME, SOURCE, CONFIDENCE)
# Names by which a column is taken for what it is, where nobody says which one is meant. The first is ours.
KNOWN_AS = {
    ID: (ID, "predictionid", "inference_id", "inferenceid", "event_id", "eventid", "id"),
    LABEL: (LABEL, "ground_truth", "groundtruth", "truth", "actual", "y_true", "y", "target"),
    TIME: (TIME, "label_time", "labelled_at", "labeled_at"),
    SOURCE: (SOURCE,),
    CONFIDENCE: (CONFIDENCE,),
}
GROUND_TRUTH = "groundTruthData"
METADATA = "eventMetadata"
SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True)
class LabelRows:
    """Labels as they were read, an entry for each; what is `None` was not said."""

    ids: list[str]
    values: list[str]
    times: list[np.datetime64 | None]
    sources: list[str | None]
    confidences: list[float | None]


def plain_chunk(chunk: Chunk) -> Chunk:
    """The chunk with columns of our own, where its rows are records of SageMaker's ground truth.

    Such a record is `{"groundTruthData": {"data": "1", "encoding": "CSV"}, "eventMetadata": {"eventId": "..."},
    "eventVersion": "0"}`:
    https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html. Raises `InvalidLabel`.
    """
    if GROUND_TRUTH not in chunk.columns:
        return chunk
    truths = chunk.columns[GROUND_TRUTH]
    events = chunk.columns.get(METADATA, [None] * chunk.rows)
    return Chunk(
        {
            ID: each(events, chunk.numbers, _event_id, InvalidLabel, METADATA),
            LABEL: each(truths, chunk.numbers, _truth, InvalidLabel, GROUND_TRUTH),
        },
        chunk.first,
        chunk.share,
    )


def _event_id(event: Any) -> str:
    return id_of(event.get("eventId") if isinstance(event, dict) else None)


def _truth(truth: Any) -> str:
    if not isinstance(truth, dict) or "data" not in truth:
        raise Unfit("it has no data")
    if truth.get("encoding", "CSV") != "CSV":
        raise Unfit("its encoding is not CSV")
    data = truth["data"]
    if not isinstance(data, str):
        return label_of(data)
    try:
        fields = next(csv.reader([data], strict=True), [])
    except csv.Error:
        raise Unfit("its data are no CSV") from None
    if len(fields) != 1:
        raise Unfit("its data are not one value")
    return label_of(fields[0])


def find_columns(names: Sequence[str], **wanted: str | None) -> dict[str, str]:
    """Which column is the `prediction_id`, the `label` and so on: the one that is named, or else one that is known.

    Raises `InvalidLabel` where there is none, or where several could be meant.

    >>> find_columns(["inferenceId", "amount", "y"])
    {'prediction_id': 'inferenceId', 'label': 'y'}
    """
    found: dict[str, str] = {}
    shown = ", ".join(str(name)[:60] for name in names[:SHOWN_NAMES])
    for role, known in KNOWN_AS.items():
        named = wanted.get(role)
        if named is not None:
            if named not in names:
                raise InvalidLabel(f"There is no column '{named}'. The columns are: {shown}.")
            found[role] = named
            continue
        if role in names:
            found[role] = role
            continue
        fitting = [name for name in names if name.lower() in known]
        option = {ID: "--id-column", LABEL: "--label-column", TIME: "--time-column"}.get(role, "")
        if len(fitting) > 1:
            raise InvalidLabel(f"Several columns could be the {role}: {', '.join(fitting)}. Say which with {option}.")
        if fitting:
            found[role] = fitting[0]
        elif role in (ID, LABEL):
            raise InvalidLabel(f"No column is the {role}. Name one with {option}. The columns are: {shown}.")
    if len(set(found.values())) != len(found):
        raise InvalidLabel("One column can't be two things.")
    return found


def exact_columns(names: Sequence[str]) -> dict[str, str]:
    """The same where columns have to have our own names, and there may be no others. Raises `InvalidLabel`."""
    if any(name not in COLUMNS for name in names) or ID not in names or LABEL not in names:
        raise InvalidLabel(
            f"The columns of labels are {ID}, {LABEL} and, where you like, {TIME}, {SOURCE} and {CONFIDENCE}. One is "
            "missing, or is not known."
        )
    return {name: name for name in names}


def label_rows(chunk: Chunk, columns: dict[str, str]) -> LabelRows:
    """The labels of a chunk, checked. Raises `InvalidLabel` with the number of the first row that can't be used."""
    empty: list[Any] = [None] * chunk.rows

    def column(role: str) -> list[Any]:
        # Objects of JSON leave out what they lack, so that a later part of a file may lack a column.
        return chunk.columns.get(columns[role], empty) if role in columns else empty

    rows = chunk.numbers
    return LabelRows(
        ids=each(column(ID), rows, id_of, InvalidLabel, ID),
        values=each(column(LABEL), rows, label_of, InvalidLabel, LABEL),
        times=each(column(TIME), rows, moment_of, InvalidLabel, TIME),
        sources=each(column(SOURCE), rows, source_of, InvalidLabel, SOURCE),
        confidences=each(column(CONFIDENCE), rows, share_of, InvalidLabel, CONFIDENCE),
    )
