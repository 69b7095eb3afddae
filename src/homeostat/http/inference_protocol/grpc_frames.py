"""Between the gRPC service's messages and the frames and outputs that HTTP has too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeostat.errors import InvalidFeatures, InvalidRequest
from homeostat.http.inference_protocol.framing import Frame
from homeostat.http.inference_protocol.grpc_messages import CHOICE, message_types
from homeostat.http.inference_protocol.messages import InferBody, InputTensor, WantedOutput
from homeostat.http.inference_protocol.replies import Output, packed
from homeostat.http.inference_protocol.tensors import BYTES, MOST_DIMENSIONS

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def frame_of(message: Any) -> Frame:
    """A `ModelInferRequest` as a frame. Raises `InvalidRequest` where its parts do not fit together."""
    if not message.inputs:
        raise InvalidRequest("The request has no inputs.")
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(
            f"There are {len(message.inputs)} inputs and {len(raw)} raw_input_contents; each has one, or none has."
        )
    inputs = [_input(tensor, is_raw=bool(raw)) for tensor in message.inputs]
    outputs = [WantedOutput(name=one.name, parameters=_parameters(one.parameters)) for one in message.outputs]
    body = InferBody(inputs=inputs, outputs=outputs, parameters=_parameters(message.parameters), id=message.id or None)
    return Frame(body, tuple(memoryview(one) for one in raw) if raw else (None,) * len(inputs))


def _input(tensor: Any, *, is_raw: bool) -> InputTensor:
    shape = list(tensor.shape)
    if not 1 <= len(shape) <= MOST_DIMENSIONS or min(shape) < 0:
        raise InvalidRequest("The shape of an input is [rows] or [rows, columns].")
    filled = {field.name for field, _ in tensor.contents.ListFields()}
    if is_raw and filled:
        raise InvalidRequest("An input has contents, and there are raw_input_contents too.")
    wanted = CONTENTS.get(tensor.datatype)
    if filled - {wanted}:
        raise InvalidRequest(f"An input's contents are not those of its datatype, which are {wanted or 'raw'}.")
    data: list[Any] = list(getattr(tensor.contents, wanted)) if wanted else []
    if tensor.datatype == BYTES:
        try:
            data = [one.decode() for one in data]
        except UnicodeDecodeError:
            raise InvalidFeatures("An input has a text that is no UTF-8.") from None
    return InputTensor(
        name=tensor.name,
        shape=shape,
        datatype=tensor.datatype,
        data=data,
        parameters=_parameters(tensor.parameters),
    )


def _parameters(given: Any) -> dict[str, Any]:
    chosen = {name: value.WhichOneof(CHOICE) for name, value in given.items()}
    return {name: getattr(given[name], choice) for name, choice in chosen.items() if choice is not None}


def reply_of(outputs: Sequence[Output], *, model: str, version: str, request_id: str | None, is_raw: bool) -> Any:
    """A `ModelInferResponse`; raw where the request was."""
    reply = message_types()["ModelInferResponse"](model_name=model, model_version=version, id=request_id or "")
    for output in outputs:
        tensor = reply.outputs.add(name=output.name, datatype=output.datatype, shape=[len(output.values)])
        if is_raw:
            reply.raw_output_contents.append(packed(output))
        else:
            values = output.listed
            values = [one.encode() for one in values] if output.datatype == BYTES else values
            getattr(tensor.contents, CONTENTS[output.datatype]).extend(values)
    return reply
