"""CloudEvents of inferences, as the logger of KServe sends them, and what stands in their bodies.

The attributes are those of https://github.com/cloudevents/spec (1.0), in the headers of a request (binary mode) or
around its data (structured mode); the types and the meaning of the id are KServe's:
https://kserve.github.io/website/latest/modelserving/logger/logger/.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from homeostat.errors import InvalidFeatures, InvalidPrediction, InvalidRequest
from homeostat.frames import Columns, label_text
from homeostat.http.duplicates import has_duplicates
from homeostat.http.errors import unreadable
from homeostat.http.inference_protocol.messages import InferBody
from homeostat.http.inference_protocol.tensors import columns_of_tensors, tensor_of
from homeostat.http.operations import Request, is_printed
from homeostat.records import Signature, Task
from homeostat.records.decoding import converted, decoder_of
from homeostat.serving.pairing import Side
from homeostat.serving.rows import columns_of_instances
from homeostat.serving.scoring import positive_index

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
# The logger passes on the type of the body that it saw, and curl calls everything a form.
EVENT_TYPES = (STRUCTURED, BATCH, "application/x-www-form-urlencoded", "application/octet-stream", "text/plain")
HEADERS = ("ce-specversion", "ce-type", "ce-id", "ce-time", "ce-inferenceservicename")
SIDES = {
    "org.kubeflow.serving.inference.request": Side.REQUEST,
    "org.kubeflow.serving.inference.response": Side.RESPONSE,
}
ANSWERS = ("prediction", "predictions", "predict", "label", "labels", "output", "output_label", "class")
SCORES = ("probability", "probabilities", "predict_proba", "output_probability", "score", "scores")
# Room for the number of a row behind the id.
LONGEST_EVENT_ID = 240
LIST_DIMENSIONS = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One half of an inference. `service` is the inference service's name, `size` that of the body in bytes."""

    side: Side
    id: str
    service: str | None
    time: datetime | None
    data: Any
    size: int


class _Structured(msgspec.Struct, kw_only=True):
    specversion: str
    type: str
    id: str
    time: str | None = None
    inferenceservicename: str | None = None
    data: Any = None
    data_base64: str | None = None


class _Tensor(msgspec.Struct, kw_only=True):
    name: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(min_length=1, max_length=LIST_DIMENSIONS)]
    data: list[Any]


class _Response(msgspec.Struct, kw_only=True):
    outputs: Annotated[list[_Tensor], msgspec.Meta(min_length=1)]


def read_events(request: Request) -> list[Event] | None:
    """The events of a request; `None` where it has none. Raises `InvalidRequest`."""
    size = len(request.content)
    if request.content_type in (STRUCTURED, BATCH):
        kind: Any = list[_Structured] if request.content_type == BATCH else _Structured
        found = decoded(request.content, kind)
        every = found if isinstance(found, list) else [found]
        if not every:
            raise InvalidRequest("The batch has no events.")
        return [
            _event(
                one.specversion, one.type, one.id, one.time, one.inferenceservicename, _data(one), size // len(every)
            )
            for one in every
        ]
    headers = request.headers
    if "ce-type" not in headers:
        return None
    return [
        _event(
            headers.get("ce-specversion", ""),
            headers["ce-type"],
            headers.get("ce-id", ""),
            headers.get("ce-time"),
            headers.get("ce-inferenceservicename"),
            decoded(request.content, Any),
            size,
        )
    ]


def decoded(content: bytes, kind: Any) -> Any:
    """JSON as a type. Raises `InvalidRequest`."""
    try:
        body = decoder_of(kind).decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise unreadable(error) from None
    if has_duplicates(content, body):
        raise InvalidRequest("An object of the body has a name twice.")
    return body


def _data(event: _Structured) -> Any:
    if event.data_base64 is None:
        return event.data
    try:
        content = base64.b64decode(event.data_base64, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The data_base64 of an event is no base64.") from None
    return decoded(content, Any)


def _event(specversion: str, kind: str, id_: str, time: str | None, service: str | None, data: Any, size: int) -> Event:
    if specversion != "1.0":
        raise InvalidRequest("Events are of version 1.0 of CloudEvents.")
    side = SIDES.get(kind)
    if side is None:
        raise InvalidRequest(f"The type of an event is one of {', '.join(SIDES)}.")
    if not 0 < len(id_) <= LONGEST_EVENT_ID or not is_printed(id_):
        raise InvalidRequest(f"The id of an event has 1 to {LONGEST_EVENT_ID} characters, and no control characters.")
    try:
        moment = None if time is None else msgspec.convert(time, datetime, strict=False)
    except msgspec.ValidationError:
        raise InvalidRequest("The time of an event is no time such as 2025-01-31T12:00:00Z.") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The data of an event are a JSON object: the body of an inference's request or response.")
    return Event(side, id_, service or None, moment, data, size)


def row_ids(id_: str, rows: int) -> list[str]:
    """The prediction ids of an event's rows: its own for one row, with the row's number behind it for several.

    >>> row_ids("a", 1), row_ids("a", 2)
    (['a'], ['a-0', 'a-1'])
    """
    return [id_] if rows == 1 else [f"{id_}-{row}" for row in range(rows)]


def asked(data: dict[str, Any], signature: Signature) -> Columns:
    """The features that a request asked about: `instances` (V1), or `inputs` (V2). Raises `InvalidFeatures`."""
    if isinstance(data.get("instances"), list):
        columns = columns_of_instances(data["instances"], signature)
    elif "inputs" in data:
        try:
            body = converted(data, InferBody)
        except msgspec.ValidationError as error:
            raise unreadable(error) from None
        columns = columns_of_tensors([tensor_of(one, None) for one in body.inputs], signature)
    else:
        raise InvalidRequest("The request of an inference has 'instances' (V1) or 'inputs' (V2).")
    if not columns.rows:
        raise InvalidFeatures("The request of an inference has no rows.")
    return columns


def answered(data: dict[str, Any], signature: Signature, rows: int) -> tuple[list[Any], list[float | None]]:
    """Answers and scores of a response: `predictions` (V1), or `outputs` (V2). Raises `InvalidPrediction`."""
    if isinstance(data.get("predictions"), list):
        given = data["predictions"]
        scores: list[Any] | None = None
    elif "outputs" in data:
        try:
            given, scores = _of_tensors(converted(data, _Response).outputs)
        except msgspec.ValidationError as error:
            raise unreadable(error) from None
    else:
        raise InvalidRequest("The response of an inference has 'predictions' (V1) or 'outputs' (V2).")
    if len(given) != rows or (scores is not None and len(scores) != rows):
        raise InvalidPrediction(f"The response has another number of rows than its request, which has {rows:,}.")
    answers: list[Any] = []
    found: list[float | None] = []
    for row, value in enumerate(given):
        try:
            answer, score = _answer(value, signature)
            if scores is not None:
                likely, score = _answer(scores[row], signature)
                answer = likely if answer is None else answer
        except ValueError as error:
            raise InvalidPrediction(f"The answer of row {row:,} can't be used: {error}.", row=row) from None
        answers.append(answer)
        found.append(score)
    return answers, found


def _of_tensors(tensors: Sequence[_Tensor]) -> tuple[list[Any], list[Any] | None]:
    """Answers, and the scores beside them where there are any."""
    if len(tensors) == 1:
        return _rows_of(tensors[0]), None
    answers = [one for one in tensors if one.name.lower() in ANSWERS]
    scores = [one for one in tensors if one.name.lower() in SCORES]
    if len(answers) != 1 or len(scores) > 1:
        raise InvalidPrediction(
            "The response has several outputs. Which one is the answer is known by its name: "
            f"one of {', '.join(ANSWERS)}; and that of its scores: one of {', '.join(SCORES)}."
        )
    return _rows_of(answers[0]), _rows_of(scores[0]) if scores else None


def _rows_of(tensor: _Tensor) -> list[Any]:
    rows = tensor.shape[0]
    width = tensor.shape[1] if len(tensor.shape) == LIST_DIMENSIONS else 1
    if any(isinstance(one, list) for one in tensor.data):
        nested = [one for one in tensor.data if isinstance(one, list) and len(one) == width]
        if len(nested) != rows or len(tensor.data) != rows:
            raise InvalidPrediction("The lists in an output's data are not nested as its shape says.")
        return nested
    if len(tensor.data) != rows * width:
        raise InvalidPrediction(f"An output has {len(tensor.data):,} values; its shape says {rows * width:,}.")
    if len(tensor.shape) < LIST_DIMENSIONS:
        return list(tensor.data)
    return [tensor.data[start : start + width] for start in range(0, rows * width, width)] if width else []


def _answer(value: Any, signature: Signature) -> tuple[Any, float | None]:
    """A class, a value or probabilities as an answer and a score. Raises `ValueError`."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        return _likeliest(value, signature)
    if isinstance(value, dict) or value is None:
        raise ValueError("it is no class, no number and no list of probabilities")
    if signature.task is Task.REGRESSION:
        return value, None
    name = label_text(value)
    if name in signature.classes or isinstance(value, str):
        return name, None
    if signature.task is Task.BINARY and not isinstance(value, bool):
        return None, float(value)
    raise ValueError("it is none of the model's classes")


def _likeliest(values: list[Any], signature: Signature) -> tuple[str, float]:
    classes = signature.classes
    if len(values) != len(classes) or not all(type(one) in (int, float) and 0 <= one <= 1 for one in values):
        raise ValueError(f"it is no list of probabilities of the {len(classes)} classes")
    best = max(range(len(values)), key=values.__getitem__)
    if signature.task is not Task.BINARY:
        return classes[best], float(values[best])
    positive = positive_index(signature)
    score = float(values[positive])
    return classes[positive if score >= values[1 - positive] else 1 - positive], score
