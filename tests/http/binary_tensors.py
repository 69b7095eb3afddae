"""Requests and replies with binary tensors, put together and taken apart by hand: what the wire looks like, no more."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

DTYPES = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
LENGTH = "inference-header-content-length"


def packed(values: Any, datatype: str) -> bytes:
    """The bytes of a tensor."""
    if datatype == "BYTES":
        texts = [one if isinstance(one, bytes) else one.encode() for one in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.array(values, dtype=DTYPES[datatype]).tobytes()


def tensor(name: str, values: Any, datatype: str, shape: Sequence[int] | None = None) -> tuple[dict[str, Any], bytes]:
    """An input and its bytes."""
    content = packed(values, datatype)
    shape = list(np.shape(values)) if shape is None else list(shape)
    head = {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(content)}}
    return head, content


def request(*tensors: tuple[dict[str, Any], bytes], **more: Any) -> tuple[bytes, dict[str, str]]:
    """A body and its headers."""
    head = json.dumps({"inputs": [one for one, _ in tensors], **more}).encode()
    return head + b"".join(content for _, content in tensors), {LENGTH: str(len(head))}


def unpacked(answer: Any) -> dict[str, Any]:
    """The outputs of a reply, in whatever form each came."""
    length = answer.header(LENGTH)
    if length is None:
        return {one["name"]: one["data"] for one in answer.json["outputs"]}
    assert answer.header("content-type") == "application/octet-stream"
    head, rest = json.loads(answer.content[: int(length)]), answer.content[int(length) :]
    outputs: dict[str, Any] = {}
    for one in head["outputs"]:
        if "data" in one:
            outputs[one["name"]] = one["data"]
            continue
        size = one["parameters"]["binary_data_size"]
        content, rest = rest[:size], rest[size:]
        if one["datatype"] == "BYTES":
            outputs[one["name"]] = texts_of(content)
        else:
            outputs[one["name"]] = np.frombuffer(content, DTYPES[one["datatype"]]).tolist()
        assert len(outputs[one["name"]]) == one["shape"][0]
    assert rest == b""
    return outputs


def texts_of(content: bytes) -> list[str]:
    found = []
    while content:
        (length,) = struct.unpack("<I", content[:4])
        found.append(content[4 : 4 + length].decode())
        content = content[4 + length :]
    return found
