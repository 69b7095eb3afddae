"""Inference requests of one row, on the short way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from homeostat.errors import HomeostatError
from homeostat.http.direct import Answer, Target
from homeostat.http.inference_protocol.framing import HEAD_LENGTH, read_frame
from homeostat.http.inference_protocol.replies import check_outputs, chosen, encoded
from homeostat.http.inference_protocol.requests import Wanted, decoded, wanted
from homeostat.http.operations import Raw
from homeostat.records import Version
from homeostat.serving.batching import Waiting
from homeostat.serving.decoding import Row

ROUTE = "/v2/models/{model}/infer"
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9_.-]{1,100})/infer")
_READ = {HEAD_LENGTH.encode(): HEAD_LENGTH}
_ENCODER = msgspec.json.Encoder()


class _Asked(NamedTuple):
    outputs: Wanted
    request_id: str | None
    version: Version


class InferenceRows:
    """The dialect of `/v2/models/{model}/infer`."""

    def target(self, url: bytes) -> Target | None:
        found = _PATH.fullmatch(url)
        return None if found is None else Target(self, found[1].decode(), ROUTE)

    def decode(self, content: bytes, head: Sequence[tuple[bytes, bytes]], version: Version) -> tuple[Row, Any] | None:
        headers = {_READ[name]: value.decode("latin-1") for name, value in head if name in _READ}
        try:
            frame = read_frame(content, headers)
            if frame.rows != 1:
                return None
            outputs = wanted(frame.body)
            check_outputs(outputs, version)
            rows = decoded(frame, version.signature)
        except HomeostatError:
            # The long way says what is wrong.
            return None
        values = [column[0] for column in rows.columns.values()]
        if any(
            not feature.nullable and _is_missing(value)
            for feature, value in zip(version.signature.features, values, strict=True)
        ):
            return None
        row = Row(
            values,
            None if rows.ids is None else rows.ids[0],
            None if rows.entities is None else rows.entities[0],
        )
        return row, _Asked(outputs, frame.id, version)

    def encode(self, waited: Waiting, kept: _Asked) -> Answer:
        assert waited.answer is not None  # noqa: S101 (for the type checker: only answered rows are encoded)
        outputs = chosen(waited.answer.row(waited.place), kept.version, kept.outputs)
        number = str(kept.version.number)
        reply = encoded(outputs, model=waited.model, version=number, request_id=kept.request_id)
        if isinstance(reply, Raw):
            lines = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in reply.headers)
            return Answer(reply.content, reply.content_type.encode(), lines)
        return Answer(_ENCODER.encode(reply))


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 (that is what NaN is)
