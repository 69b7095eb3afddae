"""From an answer to a reply: tensors in JSON, or after it as binary data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy.typing as npt

from homeostat.errors import InvalidRequest
from homeostat.http.inference_protocol.framing import HEAD_LENGTH
from homeostat.http.inference_protocol.messages import InferReply, OutputTensor
from homeostat.http.inference_protocol.requests import Wanted
from homeostat.http.inference_protocol.tensors import BYTES, packed_numbers, packed_texts
from homeostat.http.operations import Raw
from homeostat.records import Version
from homeostat.serving.gateway import Predictions

OCTETS = "application/octet-stream"
_ENCODER = msgspec.json.Encoder()


def outputs_of(version: Version) -> list[tuple[str, str]]:
    """Name and datatype of every output of a version."""
    is_class = version.signature.task.is_classification
    answer = [("prediction", "BYTES"), ("probability", "FP64")] if is_class else [("prediction", "FP64")]
    return [*answer, ("prediction_id", "BYTES"), ("version", "INT64")]


def check_outputs(wanted: Wanted, version: Version) -> None:
    """Raise `InvalidRequest` where an output is wanted that the version has not."""
    known = [name for name, _ in outputs_of(version)]
    if not set(wanted.names or ()) <= set(known):
        raise InvalidRequest(f"An output is not known. Known: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Output:
    """An output of all rows, before it takes a form."""

    name: str
    datatype: str
    values: npt.NDArray[Any]


def chosen(answer: Predictions, version: Version, wanted: Wanted) -> list[tuple[Output, bool]]:
    """The outputs that are wanted of an answer, and for each whether it is as binary data.

    `version` is the one of production, or the one that the caller named. Raises `InvalidRequest` where an output is
    wanted that it has not.
    """
    check_outputs(wanted, version)
    is_class = version.signature.task.is_classification
    values = {
        "prediction": answer.output if is_class else answer.score,
        "probability": answer.score,
        "prediction_id": answer.ids,
        "version": answer.version,
    }
    datatypes = dict(outputs_of(version))
    return [(Output(name, datatypes[name], values[name]), wanted.is_binary(name)) for name in wanted.names or datatypes]


def packed(output: Output) -> bytes:
    """An output as binary data."""
    if output.datatype == BYTES:
        return packed_texts(output.values.tolist())
    return packed_numbers(output.values, output.datatype)


def encoded(
    outputs: Sequence[tuple[Output, bool]], *, model: str, version: str, request_id: str | None
) -> InferReply | Raw:
    """The reply with these outputs, each in JSON, or where its flag is set as binary data after it."""
    tensors: list[OutputTensor] = []
    binary: list[bytes] = []
    for output, is_binary in outputs:
        tensor = OutputTensor(name=output.name, shape=[len(output.values)], datatype=output.datatype)
        if is_binary:
            binary.append(packed(output))
            tensor.parameters = {"binary_data_size": len(binary[-1])}
        else:
            tensor.data = output.values.tolist()
        tensors.append(tensor)
    reply = InferReply(model_name=model, model_version=version, outputs=tensors, id=request_id)
    if not binary:
        return reply
    head = _ENCODER.encode(reply)
    return Raw(b"".join((head, *binary)), OCTETS, headers=((HEAD_LENGTH, str(len(head))),))
