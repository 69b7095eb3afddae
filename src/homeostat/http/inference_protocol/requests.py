"""From a request to what is scored: columns, prediction ids, entities, and which outputs are wanted in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from homeostat.errors import InvalidRequest
from homeostat.frames import Columns
from homeostat.http.inference_protocol.framing import Frame
from homeostat.http.inference_protocol.messages import InferBody, given
from homeostat.http.inference_protocol.tensors import (
    BYTES,
    WHOLE,
    Tensor,
    check_one_a_row,
    columns_of_tensors,
    tensor_of,
)
from homeostat.http.operations import is_printed
from homeostat.records import Signature
from homeostat.serving.gateway import LONGEST_NAME

# Inputs that are about the rows and no features, unless the model has features of these names.
PREDICTION_ID, ENTITY = "prediction_id", "entity"
NAMES = (
    f"Ids and entities are texts of 1 to {LONGEST_NAME} characters without control characters; an entity may be whole."
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The rows of a request, with an id and an entity for each where the caller named them."""

    columns: Columns
    ids: list[str] | None = None
    entities: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outputs a request asks for (`None`: all), and which of them as binary data."""

    names: tuple[str, ...] | None
    binary: frozenset[str] | None

    def is_binary(self, name: str) -> bool:
        """Whether an output goes as bytes after the JSON."""
        return self.binary is None or name in self.binary


def decoded(frame: Frame, signature: Signature) -> Decoded:
    """The rows of a request for a model with that signature.

    Raises `InvalidFeatures` where its tensors are not what the model takes, `InvalidRequest` where ids or entities are
    none.
    """
    reserved = {PREDICTION_ID, ENTITY}.difference(feature.name for feature in signature.features)
    features: list[Tensor] = []
    about: dict[str, Tensor] = {}
    for one, binary in zip(frame.body.inputs, frame.binary, strict=True):
        tensor = tensor_of(one, binary)
        if one.name in reserved:
            if one.name in about:
                raise InvalidRequest(f"Two inputs are called {one.name}.")
            about[one.name] = tensor
        else:
            features.append(tensor)
    if not features:
        raise InvalidRequest("The request has no features.")
    rows = features[0].shape[0]
    columns = columns_of_tensors(features, signature)
    entity = _entity_of_all(frame.body)
    entities: Sequence[Any] | None = None if entity is None else [entity] * rows
    if ENTITY in about:
        if entity is not None:
            raise InvalidRequest("Entities are given twice: as an input and as a parameter.")
        entities = _names(about[ENTITY], rows, (BYTES, *WHOLE), or_null=True)
    ids = _names(about[PREDICTION_ID], rows, (BYTES,)) if PREDICTION_ID in about else None
    return Decoded(columns, ids, entities)


def _names(tensor: Tensor, rows: int, datatypes: Sequence[str], *, or_null: bool = False) -> list[Any]:
    check_one_a_row(tensor, rows)
    if tensor.datatype not in datatypes:
        raise InvalidRequest(f"The datatype of the input {tensor.name} is one of {', '.join(datatypes)}.")
    values: list[Any] = tensor.values if isinstance(tensor.values, list) else tensor.values.tolist()
    if not all(is_name(value) or (or_null and value is None) for value in values):
        raise InvalidRequest(f"The input {tensor.name} has a value that is none. {NAMES}")
    if tensor.datatype == BYTES and any(isinstance(value, int) for value in values):
        raise InvalidRequest(f"The input {tensor.name} is BYTES and has a value that is no text.")
    return values


def is_name(value: Any) -> bool:
    """Whether a value can be an id or an entity."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_NAME and is_printed(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _entity_of_all(body: InferBody) -> str | int | None:
    entity = given(body.parameters).get(ENTITY)
    if entity is None:
        return None
    if not is_name(entity):
        raise InvalidRequest(f"The parameter entity is none. {NAMES}")
    return cast("str | int", entity)


def wanted(body: InferBody) -> Wanted:
    """The outputs that a request names, and their form. Raises `InvalidRequest`."""
    all_binary = _flag(given(body.parameters), "binary_data_output", otherwise=False)
    if not isinstance(body.outputs, list) or not body.outputs:
        return Wanted(None, None if all_binary else frozenset())
    binary: dict[str, bool] = {}
    for output in body.outputs:
        parameters = given(output.parameters)
        if "shared_memory_region" in parameters:
            raise InvalidRequest("This server writes to no shared memory; leave the parameter out of the output.")
        if parameters.get("classification"):
            raise InvalidRequest(
                "This server has no classification extension; the outputs prediction and probability say the class."
            )
        if output.name in binary:
            raise InvalidRequest("An output is asked for twice.")
        binary[output.name] = _flag(parameters, "binary_data", otherwise=all_binary)
    return Wanted(tuple(binary), frozenset(name for name, is_binary in binary.items() if is_binary))


def _flag(parameters: dict[str, Any], name: str, *, otherwise: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter {name} is true or false.")
    return value
