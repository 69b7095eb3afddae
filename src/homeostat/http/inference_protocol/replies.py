"""From an answer to a reply: tensors in JSON, or after it as binary data."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

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


def encoded(
    answer: Predictions, version: Version, wanted: Wanted, *, model: str, request_id: str | None
) -> InferReply | Raw:
    """The reply for an answer; `version` is the one of production, or the one that the caller named.

    Raises `InvalidRequest` where an output is wanted that the version has not.
    """
    check_outputs(wanted, version)
    datatypes = dict(outputs_of(version))
    tensors: list[OutputTensor] = []
    binary: list[bytes] = []
    for name in wanted.names or datatypes:
        values, datatype = _values(answer, version, name), datatypes[name]
        tensor = OutputTensor(name=name, shape=[len(answer.ids)], datatype=datatype)
        if wanted.is_binary(name):
            packed = packed_texts(values.tolist()) if datatype == BYTES else packed_numbers(values, datatype)
            tensor.parameters = {"binary_data_size": len(packed)}
            binary.append(packed)
        else:
            tensor.data = values.tolist()
        tensors.append(tensor)
    reply = InferReply(model_name=model, model_version=str(version.number), outputs=tensors, id=request_id)
    if not binary:
        return reply
    head = _ENCODER.encode(reply)
    return Raw(b"".join((head, *binary)), OCTETS, headers=((HEAD_LENGTH, str(len(head))),))


def _values(answer: Predictions, version: Version, name: str) -> np.ndarray[Any, Any]:
    is_class = version.signature.task.is_classification
    return {
        "prediction": answer.output if is_class else answer.score,
        "probability": answer.score,
        "prediction_id": answer.ids,
        "version": answer.version,
    }[name]
