"""What requests and replies of the Open Inference Protocol look like in JSON."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from homeostat.http.data_plane import Body

Scalar = str | int | float | bool | None
# Left out or null, which some clients send for everything that they leave out.
Absent = msgspec.UnsetType | None
Dimension = Annotated[int, msgspec.Meta(ge=0)]


def _parameters(**known: Any) -> msgspec.Meta:
    """Parameters are open: those that nobody knows are ignored, these are described."""
    return msgspec.Meta(extra_json_schema={"properties": {name: {"type": kind} for name, kind in known.items()}})


InferParameters = Annotated[dict[str, Any], _parameters(entity=["string", "integer"], binary_data_output="boolean")]
InputParameters = Annotated[dict[str, Any], _parameters(binary_data_size="integer", content_type="string")]
OutputParameters = Annotated[dict[str, Any], _parameters(binary_data="boolean")]


def given(parameters: dict[str, Any] | Absent) -> dict[str, Any]:
    """Parameters, none where they were left out."""
    return parameters if isinstance(parameters, dict) else {}


class InputTensor(Body, kw_only=True):
    """One feature of all rows, or with two dimensions all features of all rows."""

    name: str
    shape: Annotated[list[Dimension], msgspec.Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[Scalar | list[Scalar]] | Absent = msgspec.UNSET
    parameters: InputParameters | Absent = msgspec.UNSET


class WantedOutput(Body, kw_only=True):
    """An output that the caller wants."""

    name: str
    parameters: OutputParameters | Absent = msgspec.UNSET


class InferBody(Body, kw_only=True):
    """An inference request. Which model and version it is for is said by the address."""

    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | Absent = msgspec.UNSET
    parameters: InferParameters | Absent = msgspec.UNSET
    outputs: list[WantedOutput] | Absent = msgspec.UNSET
    model_name: str | Absent = msgspec.UNSET
    model_version: str | Absent = msgspec.UNSET


class OutputTensor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An output of all rows; where its values come as bytes after the JSON, a parameter says how many bytes."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


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


class TensorConfig(msgspec.Struct, kw_only=True):
    """A tensor as a model configuration writes it."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(msgspec.Struct, kw_only=True):
    """The part of Triton's model configuration that says something here; dimensions include the rows."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


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


class IndexBody(Body, kw_only=True):
    """What of the repository is wanted: all, or what is ready."""

    ready: bool = False


class IndexEntry(msgspec.Struct, kw_only=True):
    """A version and whether it serves, in Triton's words."""

    name: str
    version: str
    state: str
    reason: str


class LoadBody(Body, kw_only=True):
    """Parameters of loading or unloading a model."""

    parameters: dict[str, Any] | None = None


class ModelLoaded(msgspec.Struct, kw_only=True):
    """The model's route, as it is served from now on."""

    name: str
    load: bool


class ModelUnloaded(msgspec.Struct, kw_only=True):
    """Nothing serves the model."""

    name: str
    unload: bool
