"""MLflow's scoring protocol (version 2), as its model servers speak it: /invocations, /ping and /version.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ says what a request looks like. `decode` and `encode`
know nothing of HTTP: a body becomes typed columns, an answer the reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from homeostat import __version__
from homeostat.errors import (
    HomeostatError,
    IntegrityError,
    InvalidFeatures,
    InvalidRequest,
    NotReady,
    NotServing,
    ScoringFailed,
    UnknownModel,
)
from homeostat.frames import Columns
from homeostat.http.data_plane import Body, DataPlane, Row, Scalar
from homeostat.http.duplicates import has_duplicates
from homeostat.http.errors import unreadable
from homeostat.http.health import ReadyReply
from homeostat.http.operations import MODEL, Operation, Pool, Raw, Request
from homeostat.http.tables import TABLE_TYPES, Limits, Rows, about_rows, read_table, said_about_rows
from homeostat.records import Signature
from homeostat.records.decoding import decoder_of
from homeostat.serving.gateway import Predictions
from homeostat.serving.rows import typed_values

TAG = "mlflow scoring"
JSON = "application/json"
PLAIN_TEXT = "text/plain; charset=utf-8"
PREDICTION, PROBABILITY, ALL = "prediction", "probability", "all"
SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


class SplitFrame(Body, kw_only=True):
    """A frame as pandas splits it. Without `columns` the values are in the order of the signature."""

    data: list[list[Scalar]]
    columns: list[str | int] | None = None
    index: list[Scalar | list[Scalar]] | None = None


class InvocationParams(Body, kw_only=True):
    """What `predictions` holds for each row: its prediction, its probability, or all that there is to say."""

    output: Literal["prediction", "probability", "all"] = "prediction"


class InvocationBody(Body, kw_only=True):
    """Rows in exactly one of four shapes."""

    dataframe_split: SplitFrame | None = None
    dataframe_records: list[dict[str, Scalar]] | None = None
    instances: Annotated[list[Row], msgspec.Meta(min_length=1)] | None = None
    inputs: dict[str, Scalar | list[Scalar]] | list[Row] | None = None
    params: InvocationParams | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, shape) is not None for shape in SHAPES) != 1:
            raise ValueError(f"it needs exactly one of {', '.join(SHAPES)}")


class RowAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that there is to say of one row; a regression has no probability."""

    prediction: str | int | float | bool
    prediction_id: str
    version: int
    arm: str
    probability: float | None = None


class InvocationReply(msgspec.Struct, kw_only=True):
    """A prediction for each row, and the id that a label names it by."""

    predictions: list[str | int | float | bool | RowAnswer]
    prediction_ids: list[str]


class ScoringProtocol:
    """MLflow's protocol over a data plane."""

    def __init__(self, plane: DataPlane, is_ready: Callable[[Request], Any]) -> None:
        self._plane = plane
        self._is_ready = is_ready

    def invoke(self, request: Request) -> InvocationReply:
        body: InvocationBody | None = request.body
        if request.content_type == JSON:
            body = body_of(request.content)
        output = body.params.output if body is not None and body.params is not None else PREDICTION
        limits = self._plane.limits(ignores_others=True)

        def read(signature: Signature) -> Rows:
            if output == PROBABILITY and not signature.task.is_classification:
                raise InvalidRequest("A regression has no probability to put out.")
            if body is None:
                return read_table(request.content, request.content_type, signature, limits)
            return decode(body, signature, limits)

        answer, snapshot = self._plane.score_rows(request, self._plane.model_of(request), read)
        return encode(answer, snapshot.arms[0].version.signature, output)

    def ping(self, request: Request) -> ReadyReply:
        self._is_ready(request)
        try:
            self._plane.gateway.snapshot(self._plane.default_model(), now=self._plane.clock.now())
        except HomeostatError:
            # Whoever asks may have no token: names of models are nothing to tell.
            raise NotReady("There is no default model that can be served now.") from None
        return ReadyReply()

    def version(self, _request: Request) -> Raw:
        return Raw(__version__.encode(), PLAIN_TEXT)


def body_of(content: bytes) -> InvocationBody:
    """A body in JSON, in which a bare `NaN` is a missing value: Python's clients write it. Raises `InvalidRequest`.

    >>> body_of(b'{"inputs": [[1.5, NaN], ["NaN", null]]}').inputs
    [[1.5, None], ['NaN', None]]
    """
    try:
        try:
            body = _DECODER.decode(content)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"NaN" not in content:
                raise
            content = _without_nan(content)
            body = _DECODER.decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise unreadable(error) from None
    if has_duplicates(content, body):
        raise InvalidRequest("An object of the body has a name twice.")
    return body


def _without_nan(content: bytes) -> bytes:
    """The same with `null` for every NaN that stands outside of texts."""
    if b"\x01" in content or b"\x02" in content:
        # No JSON has these, and here they stand for what is escaped.
        return content
    parts = content.replace(rb"\\", b"\x01").replace(rb"\"", b"\x02").split(b'"')
    parts[::2] = [part.replace(b"NaN", b"null") for part in parts[::2]]
    return b'"'.join(parts).replace(b"\x02", rb"\"").replace(b"\x01", rb"\\")


_DECODER = decoder_of(InvocationBody)


def decode(body: InvocationBody, signature: Signature, limits: Limits) -> Rows:
    """Typed columns of a body's rows, in the signature's order.

    Columns are found by their names, in any order; those that the model does not know are passed over, as MLflow does,
    and `prediction_id`, `entity` and `event_time` are taken as what they say. Lists without names are in the order of
    the signature. Raises `InvalidFeatures` and `TooLarge`.
    """
    if body.dataframe_split is not None:
        return _of_split(body.dataframe_split, signature, limits)
    if isinstance(body.inputs, dict):
        return _of_columns(body.inputs, signature, limits)
    rows = next(rows for rows in (body.dataframe_records, body.instances, body.inputs) if rows is not None)
    limits.check_rows(len(rows))
    if all(isinstance(row, dict) for row in rows):
        return _of_records(rows, signature)
    if any(isinstance(row, dict) for row in rows):
        raise InvalidFeatures("Rows are all objects or all lists.")
    return _of_lists(rows, [feature.name for feature in signature.features], signature)


def _of_split(frame: SplitFrame, signature: Signature, limits: Limits) -> Rows:
    limits.check_rows(len(frame.data))
    if frame.columns is None:
        return _of_lists(frame.data, [feature.name for feature in signature.features], signature)
    names = [str(name) for name in frame.columns]
    limits.check_names(names, signature.kinds, about_rows(signature))
    return _of_lists(frame.data, names, signature)


def _of_lists(rows: Sequence[Any], names: Sequence[str], signature: Signature) -> Rows:
    """Rows that are lists of values, which have these names."""
    if any(len(row) != len(names) for row in rows):
        raise InvalidFeatures(f"Every row should have {len(names)} values, one for each column.")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return _typed(columns, len(rows), signature)


def _of_columns(columns: Mapping[str, Any], signature: Signature, limits: Limits) -> Rows:
    """Lists of values by name; or single values, which are one row."""
    limits.check_names(list(columns), signature.kinds, about_rows(signature))
    known = {name: columns[name] for name in (*signature.kinds, *about_rows(signature)) if name in columns}
    if not any(isinstance(values, list) for values in known.values()):
        known = {name: [value] for name, value in known.items()}
    lengths = {len(values) if isinstance(values, list) else -1 for values in known.values()}
    if len(lengths) > 1:
        raise InvalidFeatures("The inputs should be lists of one length, or all single values.")
    count = lengths.pop()
    limits.check_rows(count)
    return _typed(known, count, signature)


def _of_records(rows: Sequence[Any], signature: Signature) -> Rows:
    columns: dict[str, list[Any]] = {}
    for feature in signature.features:
        try:
            columns[feature.name] = [row[feature.name] for row in rows]
        except KeyError:
            lacking = next(place for place, row in enumerate(rows) if feature.name not in row)
            raise InvalidFeatures(
                f"Row {lacking} lacks the feature '{feature.name}'. A missing value is null.", feature=feature.name
            ) from None
    for name in about_rows(signature):
        if any(name in row for row in rows):
            columns[name] = [row.get(name) for row in rows]
    return _typed(columns, len(rows), signature)


def _typed(columns: Mapping[str, Sequence[Any]], count: int, signature: Signature) -> Rows:
    typed = {feature.name: typed_values(columns[feature.name], feature) for feature in signature.features}
    given = {name: columns[name] for name in about_rows(signature) if name in columns}
    return Rows(Columns(typed, count), **said_about_rows(given))


def encode(answer: Predictions, signature: Signature, output: str) -> InvocationReply:
    """The reply to an answer: predictions, probabilities, or all that there is to say of each row."""
    is_class = signature.task.is_classification
    scores, ids = answer.score.tolist(), answer.ids.tolist()
    if output == PROBABILITY:
        return InvocationReply(predictions=scores, prediction_ids=ids)
    found: list[Any] = scores
    if is_class:
        as_trained = labels_as_trained(signature.classes)
        found = [as_trained.get(text, text) for text in answer.output.tolist()]
    if output == ALL:
        about = zip(found, ids, answer.version.tolist(), answer.arm.tolist(), scores, strict=True)
        found = [
            RowAnswer(
                prediction=prediction,
                prediction_id=id_,
                version=version,
                arm=arm,
                probability=score if is_class else None,
            )
            for prediction, id_, version, arm, score in about
        ]
    return InvocationReply(predictions=found, prediction_ids=ids)


def labels_as_trained(classes: Sequence[str]) -> Mapping[str, str | int | bool]:
    """What a model's own `predict` gives for each class: classes are kept as texts, and MLflow's callers know numbers.

    Where all are whole numbers they are numbers, where they are true and false they are booleans, else texts.

    >>> labels_as_trained(["0", "1"]), labels_as_trained(["false", "true"]), labels_as_trained(["1", "many"])
    ({'0': 0, '1': 1}, {'false': False, 'true': True}, {'1': '1', 'many': 'many'})
    """
    if all(_WHOLE.fullmatch(text) for text in classes):
        return {text: int(text) for text in classes}
    if set(classes) <= {"false", "true"}:
        return {text: text == "true" for text in classes}
    return {text: text for text in classes}


def operations(plane: DataPlane, is_ready: Callable[[Request], Any]) -> list[Operation]:
    """The protocol's routes; `is_ready` raises `NotReady` where the server is starting or stopping."""
    protocol = ScoringProtocol(plane, is_ready)
    made = [
        Operation(
            "POST",
            f"{prefix}/invocations",
            f"Predict rows {whose} as MLflow's model servers do",
            protocol.invoke,
            InvocationReply,
            TAG,
            body=InvocationBody,
            # JSON too is read here: other decoders know no NaN.
            also_takes=(JSON, *TABLE_TYPES),
            parameters=parameters,
            errors=(UnknownModel, NotServing, ScoringFailed, IntegrityError),
            pool=Pool.PREDICT,
        )
        for prefix, whose, parameters in (
            ("", "with the default model", ()),
            ("/models/{model}", "with a model", (MODEL,)),
        )
    ]
    made.append(
        Operation(
            "GET",
            "/ping",
            "Whether the default model can be served",
            protocol.ping,
            ReadyReply,
            TAG,
            errors=(NotReady,),
            pool=Pool.PREDICT,
            is_open=True,
        )
    )
    made.append(
        Operation(
            "GET",
            "/version",
            "The version of this server",
            protocol.version,
            str,
            TAG,
            content_type=PLAIN_TEXT,
            pool=Pool.PREDICT,
        )
    )
    return made
