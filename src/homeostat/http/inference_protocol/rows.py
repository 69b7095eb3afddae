"""Inference requests of one row, on the short way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from homeostat.errors import HomeostatError
from homeostat.http.direct import Answer, PerVersion, Target
from homeostat.http.inference_protocol.framing import HEAD_LENGTH, MOST_DIGITS
from homeostat.http.inference_protocol.replies import check_outputs, encoded_row
from homeostat.http.inference_protocol.requests import Wanted, wanted
from homeostat.http.inference_protocol.single_rows import RowReader
from homeostat.http.operations import Raw
from homeostat.records import Version
from homeostat.serving.batching import Waiting
from homeostat.serving.decoding import Row

ROUTE = "/v2/models/{model}/infer"
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9_.-]{1,100})/infer")
_LENGTH = HEAD_LENGTH.encode()
_ENCODER = msgspec.json.Encoder()


class _Asked(NamedTuple):
    outputs: Wanted
    request_id: str | None
    version: Version


class InferenceRows:
    """The dialect of `/v2/models/{model}/infer`."""

    def __init__(self) -> None:
        self._readers = PerVersion(RowReader)

    def target(self, url: bytes) -> Target | None:
        found = _PATH.fullmatch(url)
        return None if found is None else Target(self, found[1].decode(), ROUTE)

    def decode(self, content: bytes, head: Sequence[tuple[bytes, bytes]], version: Version) -> tuple[Row, Any] | None:
        lengths = [value for name, value in head if name == _LENGTH]
        if lengths and not (len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) <= MOST_DIGITS):
            return None
        read = self._readers.of(version).read(content, int(lengths[0]) if lengths else None)
        if read is None:
            return None
        row, body = read
        try:
            outputs = wanted(body)
            check_outputs(outputs, version)
        except HomeostatError:
            # The long way says what is wrong.
            return None
        return row, _Asked(outputs, body.id if isinstance(body.id, str) else None, version)

    def encode(self, waited: Waiting, kept: _Asked) -> Answer:
        assert waited.answer is not None  # noqa: S101 (for the type checker: only answered rows are encoded)
        reply = encoded_row(
            waited.answer, waited.place, kept.version, kept.outputs, model=waited.model, request_id=kept.request_id
        )
        if isinstance(reply, Raw):
            lines = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in reply.headers)
            return Answer(reply.content, reply.content_type.encode(), lines)
        return Answer(_ENCODER.encode(reply))
