"""From an answer to a reply: tensors in JSON, or after it as binary data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
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


_ABOUT_ROW = {"prediction_id": BYTES, "version": "INT64"}
_OF_CLASSES = {"prediction": BYTES, "probability": "FP64", **_ABOUT_ROW}
_OF_VALUES = {"prediction": "FP64", **_ABOUT_ROW}


def outputs_of(version: Version) -> Mapping[str, str]:
    """The datatype of every output of a version, by name."""
    return _OF_CLASSES if version.signature.task.is_classification else _OF_VALUES


def check_outputs(wanted: Wanted, version: Version) -> None:
    """Raise `InvalidRequest` where an output is wanted that the version has not."""
    known = outputs_of(version)
    if not known.keys() >= set(wanted.names or ()):
        raise InvalidRequest(f"An output is not known. Known: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Output:
    """An output of all rows, before it takes a form."""

    name: str
    datatype: str
    values: npt.NDArray[Any] | list[Any]

    @property
    def listed(self) -> list[Any]:
        """The values as Python has them."""
        return self.values if isinstance(self.values, list) else self.values.tolist()


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
    datatypes = outputs_of(version)
    return [(Output(name, datatypes[name], values[name]), wanted.is_binary(name)) for name in wanted.names or datatypes]


def encoded_row(
    answer: Predictions, place: int, version: Version, wanted: Wanted, *, model: str, request_id: str | None
) -> InferReply | Raw:
    """The reply to a request of one row, which is at that place of the answer. `wanted` has passed `check_outputs`."""
    datatypes = outputs_of(version)
    is_class = version.signature.task.is_classification
    outputs = []
    for name in wanted.names or datatypes:
        value: Any
        if name == "prediction_id":
            value = answer.ids[place]
        elif name == "version":
            value = int(answer.version[place])
        else:
            value = answer.output[place] if is_class and name == "prediction" else float(answer.score[place])
        outputs.append((Output(name, datatypes[name], [value]), wanted.is_binary(name)))
    return encoded(outputs, model=model, version=str(version.number), request_id=request_id)


def packed(output: Output) -> bytes:
    """An output as binary data."""
    if output.datatype == BYTES:
        return packed_texts(output.listed)
    return packed_numbers(np.asarray(output.values), output.datatype)


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
            tensor.data = output.listed
        tensors.append(tensor)
    reply = InferReply(model_name=model, model_version=version, outputs=tensors, id=request_id)
    if not binary:
        return reply
    head = _ENCODER.encode(reply)
    return Raw(b"".join((head, *binary)), OCTETS, headers=((HEAD_LENGTH, str(len(head))),))
