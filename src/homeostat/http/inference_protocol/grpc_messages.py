"""The messages of the protocol's gRPC service, made from their field numbers: no compiler is needed to run this.

The numbers and types are those of
https://github.com/open-inference/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto.
"""

from __future__ import annotations

from functools import cache
from typing import Any

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

_NAMED = "1 string name, 2 string version"
_TENSOR = "1 string name, 2 string datatype, 3 *int64 shape"
_DATA = f"{_TENSOR}, 4 map parameters, 5 InferTensorContents contents"
_MODEL = "1 string model_name, 2 string model_version, 3 string id, 4 map parameters"
# Each field as number, type and name; * is repeated, map is one from names to InferParameter.
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, 3 *string extensions",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": (
        "1 string name, 2 *string versions, 3 string platform, 4 *ModelMetadataResponse.TensorMetadata inputs, "
        "5 *ModelMetadataResponse.TensorMetadata outputs"
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": (
        f"{_MODEL}, 5 *ModelInferRequest.InferInputTensor inputs, "
        "6 *ModelInferRequest.InferRequestedOutputTensor outputs, 7 *bytes raw_input_contents"
    ),
    "ModelInferRequest.InferInputTensor": _DATA,
    "ModelInferRequest.InferRequestedOutputTensor": "1 string name, 2 map parameters",
    "ModelInferResponse": f"{_MODEL}, 5 *ModelInferResponse.InferOutputTensor outputs, 6 *bytes raw_output_contents",
    "ModelInferResponse.InferOutputTensor": _DATA,
    "InferParameter": (
        "1 bool bool_param, 2 int64 int64_param, 3 string string_param, 4 double double_param, 5 uint64 uint64_param"
    ),
    "InferTensorContents": (
        "1 *bool bool_contents, 2 *int32 int_contents, 3 *int64 int64_contents, 4 *uint32 uint_contents, "
        "5 *uint64 uint64_contents, 6 *float fp32_contents, 7 *double fp64_contents, 8 *bytes bytes_contents"
    ),
}
CHOICE = "parameter_choice"


@cache
def message_types() -> dict[str, Any]:
    """The classes of all messages, by name.

    >>> message_types()["ModelReadyRequest"](name="iris", version="2").SerializeToString().hex()
    '0a0469726973120132'
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        parent, _, own = name.rpartition(".")
        made[name] = (made[parent].nested_type if parent else file.message_type).add(name=own)
        for field in filter(None, fields.split(", ")):
            _add_field(made[name], name, *field.split(" "))
    # A pool of its own: programs may have loaded other copies of the same messages.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def _add_field(message: Any, owner: str, number: str, kind: str, name: str) -> None:
    field = message.field.add(name=name, number=int(number), label=3 if kind.startswith("*") or kind == "map" else 1)
    kind = kind.removeprefix("*")
    if kind == "map":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, "", "1", "string", "key")
        _add_field(entry, "", "2", "InferParameter", "value")
        kind = f"{owner}.ParametersEntry"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _MESSAGE, f".{PACKAGE}.{kind}"
    if owner == "InferParameter":
        if not message.oneof_decl:
            message.oneof_decl.add(name=CHOICE)
        field.oneof_index = 0


# As descriptor.proto numbers them.
_SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
_MESSAGE = 11
