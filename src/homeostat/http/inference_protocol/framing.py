"""From the bytes of a request to its JSON head and the binary data of each tensor after it.

The frame is that of the binary tensor data extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md): a header says how
long the JSON is, each tensor how many bytes of the rest are its own. Nothing is copied, and nothing is made that a
request merely says: tensors are views into the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from homeostat.errors import InvalidRequest
from homeostat.http.duplicates import has_duplicates
from homeostat.http.errors import unreadable
from homeostat.http.inference_protocol.messages import InferBody, InputTensor, given
from homeostat.records.decoding import decoder_of

HEAD_LENGTH = "inference-header-content-length"
MOST_DIGITS = 12
HEAD = decoder_of(InferBody)


@dataclass(frozen=True, slots=True)
class Frame:
    """A request as it came: its JSON, and for each input its bytes, or `None` where its values are in the JSON."""

    body: InferBody
    binary: tuple[memoryview | None, ...]

    @property
    def rows(self) -> int:
        """How many rows the request says that it has."""
        return self.body.inputs[0].shape[0]

    @property
    def id(self) -> str | None:
        """What the caller calls the request, which comes back with the reply."""
        return self.body.id if isinstance(self.body.id, str) else None


def read_frame(content: bytes, headers: Mapping[str, str]) -> Frame:
    """Take a request apart; `headers` are by lower-case name. Raises `InvalidRequest` where the parts do not add up."""
    length = headers.get(HEAD_LENGTH)
    if length is None:
        return framed(read_head(content), memoryview(b""))
    if not (length.isascii() and length.isdecimal() and len(length) <= MOST_DIGITS) or int(length) > len(content):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is no length of a part of this body, which has {len(content):,} bytes."
        )
    return framed(read_head(content[: int(length)]), memoryview(content)[int(length) :])


def read_head(content: bytes) -> InferBody:
    """The JSON of a request. Raises `InvalidRequest`."""
    if not content.strip():
        raise InvalidRequest("The request needs a JSON body.")
    try:
        body = HEAD.decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise unreadable(error) from None
    if has_duplicates(content, body):
        raise InvalidRequest("An object of the body has a name twice.")
    return body


def framed(body: InferBody, binary: memoryview) -> Frame:
    """Give each tensor its own part of the binary data, which they must use up. Raises `InvalidRequest`."""
    parts: list[memoryview | None] = []
    start = 0
    for tensor in body.inputs:
        size = _binary_size(tensor)
        if size is not None and size > len(binary) - start:
            raise InvalidRequest(
                f"The binary data of the inputs are longer than what follows the JSON, which is {len(binary):,} bytes. "
                "Inference-Header-Content-Length says where the JSON ends."
            )
        parts.append(None if size is None else binary[start : start + size])
        start += size or 0
    if start != len(binary):
        raise InvalidRequest(
            f"{len(binary):,} bytes follow the JSON; the inputs' binary_data_size parameters say {start:,}."
        )
    return Frame(body, tuple(parts))


def _binary_size(tensor: InputTensor) -> int | None:
    parameters, has_data = given(tensor.parameters), isinstance(tensor.data, list)
    if "shared_memory_region" in parameters:
        raise InvalidRequest("This server reads no shared memory; send the data of an input with the request.")
    size = parameters.get("binary_data_size")
    if size is None:
        if not has_data:
            raise InvalidRequest("An input has neither data nor the parameter binary_data_size.")
        return None
    if type(size) is not int or size < 0:
        raise InvalidRequest("An input's binary_data_size is no number of bytes.")
    if has_data:
        raise InvalidRequest("An input has both data and the parameter binary_data_size.")
    return size
