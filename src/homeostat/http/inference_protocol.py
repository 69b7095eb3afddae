"""The Open Inference Protocol (version 2), with JSON tensors: https://github.com/open-inference/open-inference-protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from homeostat import __version__
from homeostat.errors import (
    IntegrityError,
    InvalidFeatures,
    InvalidRequest,
    NotReady,
    NotServing,
    ScoringFailed,
    UnknownModel,
    UnknownVersion,
)
from homeostat.frames import Columns, Kind
from homeostat.http.data_plane import Body, DataPlane, Key, check_printed
from homeostat.http.operations import MODEL, VERSION, Operation, Pool, Request
from homeostat.records import Feature, Signature, Version
from homeostat.serving.answering import Snapshot
from homeostat.serving.gateway import Predictions
from homeostat.serving.rows import typed_values

PLATFORM = "homeostat"
TAG = "open inference protocol"
BITS = (8, 16, 32, 64)
WHOLE = {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in BITS}
WHOLE |= {f"UINT{bits}": (0, 2**bits - 1) for bits in BITS}
DATATYPES = {
    Kind.NUMERIC: ("FP64", "FP32", "FP16", *WHOLE),
    Kind.BOOLEAN: ("BOOL", *WHOLE),
    Kind.CATEGORICAL: ("BYTES",),
    Kind.TEXT: ("BYTES",),
}
MOST_DIMENSIONS = 2
Scalar = str | int | float | bool | None
Dimension = Annotated[int, msgspec.Meta(ge=0)]


class InferParameters(msgspec.Struct, kw_only=True):
    """Of a request's parameters `entity` says whose rows they are; others are ignored."""

    entity: Key | None = None

    def __post_init__(self) -> None:
        check_printed("entity", (self.entity,))


class InputTensor(Body, kw_only=True):
    """One feature of all rows, or with two dimensions all features of all rows."""

    name: str
    shape: Annotated[list[Dimension], msgspec.Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[Scalar | list[Scalar]]
    parameters: dict[str, Scalar] = msgspec.field(default_factory=dict)


class WantedOutput(Body, kw_only=True):
    """An output that the caller wants."""

    name: str
    parameters: dict[str, Scalar] = msgspec.field(default_factory=dict)


class InferBody(Body, kw_only=True):
    """An inference request."""

    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | None = None
    parameters: InferParameters = msgspec.field(default_factory=InferParameters)
    outputs: list[WantedOutput] | None = None


class OutputTensor(msgspec.Struct, kw_only=True):
    """An output of all rows."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferReply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An inference reply; `model_version` is the production version's, the output `version` says it for each row."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class TensorMetadata(msgspec.Struct, kw_only=True):
    """Name, type and shape of a tensor; -1 is any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, kw_only=True):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(msgspec.Struct, kw_only=True):
    """Which server this is."""

    name: str
    version: str
    extensions: list[str]


class Live(msgspec.Struct, kw_only=True):
    """Whether the server lives."""

    live: bool


class Ready(msgspec.Struct, kw_only=True):
    """Whether the server is ready."""

    ready: bool


class ModelReady(msgspec.Struct, kw_only=True):
    """Whether a model is ready."""

    name: str
    ready: bool


class InferenceProtocol:
    """The protocol's routes over the data plane."""

    def __init__(self, plane: DataPlane, versions: Any) -> None:
        self._plane = plane
        self._versions = versions

    def server(self, _request: Request) -> ServerMetadata:
        return ServerMetadata(name=PLATFORM, version=__version__, extensions=[])

    def metadata(self, request: Request) -> ModelMetadata:
        model = request.path["model"]
        held = self._plane.gateway.snapshot(model, request.path.get("version"), now=self._plane.clock.now())
        version = held.arms[0].version
        return ModelMetadata(
            name=model,
            versions=[str(one.number) for one in self._versions(model)],
            platform=f"{PLATFORM}_{version.serving.format}",
            inputs=[
                TensorMetadata(name=feature.name, datatype=DATATYPES[feature.kind][0], shape=[-1])
                for feature in version.signature.features
            ],
            outputs=[
                TensorMetadata(name=name, datatype=datatype, shape=[-1]) for name, datatype in _outputs_of(version)
            ],
        )

    def ready(self, request: Request) -> ModelReady:
        model = request.path["model"]
        self._plane.gateway.snapshot(model, request.path.get("version"), now=self._plane.clock.now())
        return ModelReady(name=model, ready=True)

    def infer(self, request: Request) -> InferReply:
        body: InferBody = request.body
        model, version = request.path["model"], request.path.get("version")
        rows = body.inputs[0].shape[0]
        self._plane.check_rows(rows)
        entity = body.parameters.entity
        wanted = dict.fromkeys(one.name for one in body.outputs or ())

        def columns(held: Snapshot) -> Columns:
            known = [name for name, _ in _outputs_of(held.arms[0].version)]
            if not set(wanted) <= set(known):
                raise InvalidRequest(f"An output is not known. Known: {', '.join(known)}.")
            return columns_of_tensors(body.inputs, held.arms[0].version.signature)

        answer, snapshot = self._plane.score(
            request,
            model,
            columns,
            version=version,
            entities=None if entity is None else [entity] * rows,
        )
        production = snapshot.arms[0].version
        outputs = _tensors(answer, production)
        if wanted:
            made = {tensor.name: tensor for tensor in outputs}
            outputs = [made[name] for name in wanted]
        return InferReply(model_name=model, model_version=str(production.number), outputs=outputs, id=body.id)


def _outputs_of(version: Version) -> list[tuple[str, str]]:
    is_class = version.signature.task.is_classification
    answer = [("prediction", "BYTES"), ("probability", "FP64")] if is_class else [("prediction", "FP64")]
    return [*answer, ("prediction_id", "BYTES"), ("version", "INT64")]


def _tensors(answer: Predictions, version: Version) -> list[OutputTensor]:
    is_class = version.signature.task.is_classification
    data = {
        "prediction": answer.output.tolist() if is_class else answer.score.tolist(),
        "probability": answer.score.tolist(),
        "prediction_id": answer.ids.tolist(),
        "version": answer.version.tolist(),
    }
    return [
        OutputTensor(name=name, shape=[len(answer.ids)], datatype=datatype, data=data[name])
        for name, datatype in _outputs_of(version)
    ]


def columns_of_tensors(inputs: Sequence[InputTensor], signature: Signature) -> Columns:
    """Typed columns from a tensor for each feature, or from one of rows × features. Raises `InvalidFeatures`."""
    features = signature.features
    if len(inputs) == 1 and len(inputs[0].shape) == MOST_DIMENSIONS and inputs[0].name not in signature.kinds:
        return _from_matrix(inputs[0], features)
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise InvalidFeatures("Two inputs have the same name.")
    absent = [feature.name for feature in features if feature.name not in given]
    if absent:
        raise InvalidFeatures(f"Missing features: {', '.join(absent[:10])}.", missing=absent)
    if len(given) > len(features):
        raise InvalidFeatures(f"There are {len(given) - len(features)} inputs that the model does not know.")
    columns = {}
    rows = inputs[0].shape[0]
    for feature in features:
        tensor = given[feature.name]
        if math.prod(tensor.shape) != rows or tensor.shape[0] != rows:
            raise InvalidFeatures(f"Input '{feature.name}' should have the shape [{rows}] or [{rows}, 1].")
        _check_datatype(tensor, feature)
        columns[feature.name] = typed_values(_values(tensor), feature)
    return Columns(columns, rows)


def _from_matrix(tensor: InputTensor, features: Sequence[Feature]) -> Columns:
    rows, width = tensor.shape
    if width != len(features):
        raise InvalidFeatures(f"The input has {width} columns; the model takes {len(features)} features.")
    for feature in features:
        _check_datatype(tensor, feature)
    values = _values(tensor)
    return Columns(
        {feature.name: typed_values(values[place::width], feature) for place, feature in enumerate(features)}, rows
    )


def _check_datatype(tensor: InputTensor, feature: Feature) -> None:
    if tensor.datatype not in DATATYPES[feature.kind]:
        raise InvalidFeatures(
            f"Feature '{feature.name}' is {feature.kind.value}; its datatype is one of "
            f"{', '.join(DATATYPES[feature.kind])}."
        )


def _values(tensor: InputTensor) -> list[Any]:
    """The values row by row: they come flat, or nested just as the shape says."""
    rows, width = (*tensor.shape, -1)[:2]
    lists = [part for part in tensor.data if isinstance(part, list)]
    if lists and (len(lists) != len(tensor.data) or len(lists) != rows or any(len(part) != width for part in lists)):
        raise InvalidFeatures("The lists in an input's data are not nested as its shape says.")
    values: list[Any] = [value for part in lists for value in part] if lists else tensor.data
    if len(values) != math.prod(tensor.shape):
        raise InvalidFeatures(f"An input has {len(values):,} values; its shape says {math.prod(tensor.shape):,}.")
    if tensor.datatype in WHOLE:
        lowest, highest = WHOLE[tensor.datatype]
        if any(value is not None and not (type(value) is int and lowest <= value <= highest) for value in values):
            raise InvalidFeatures(f"An input has a value that is no {tensor.datatype}.")
    return values


def operations(plane: DataPlane, versions: Any, is_ready: Any) -> list[Operation]:
    """The protocol's routes."""
    protocol = InferenceProtocol(plane, versions)
    made: list[Operation] = []

    def add(method: str, path: str, summary: str, handle: Any, reply: Any, **more: Any) -> None:
        # Probes too: slow orders to the control plane must not make a server look dead.
        made.append(Operation(method, path, summary, handle, reply, TAG, pool=Pool.PREDICT, **more))

    add("GET", "/v2", "Which server this is", protocol.server, ServerMetadata)
    add("GET", "/v2/health/live", "Whether it lives", lambda _: Live(live=True), Live, is_open=True)
    add("GET", "/v2/health/ready", "Whether it is ready", is_ready, Ready, is_open=True, errors=(NotReady,))
    for suffix, parameters, errors in (
        ("", (MODEL,), (UnknownModel, NotServing, IntegrityError)),
        ("/versions/{version}", (MODEL, VERSION), (UnknownModel, UnknownVersion, IntegrityError)),
    ):
        path = f"/v2/models/{{model}}{suffix}"
        shared: dict[str, Any] = {"parameters": parameters, "errors": errors}
        add("GET", path, "What a model takes and gives", protocol.metadata, ModelMetadata, **shared)
        add("GET", f"{path}/ready", "Whether a model is ready", protocol.ready, ModelReady, **shared)
        shared["errors"] = (*errors, ScoringFailed)
        add(
            "POST",
            f"{path}/infer",
            "Predict rows given as tensors",
            protocol.infer,
            InferReply,
            body=InferBody,
            **shared,
        )
    return made
