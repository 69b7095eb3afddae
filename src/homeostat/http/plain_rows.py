"""Plain predictions of one row: `{"features": {...}}`, decoded straight into the signature's types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from homeostat.http.data_plane import reply_of_row
from homeostat.http.direct import Answer, PerVersion, Target
from homeostat.records import Version
from homeostat.serving.batching import Waiting
from homeostat.serving.decoding import Row, RowDecoder

DEFAULT = "/predict"
ROUTE = "/models/{model}/predict"
_PATH = re.compile(rb"/models/([A-Za-z0-9_.-]{1,100})/predict")
_ENCODER = msgspec.json.Encoder()


class PlainRows:
    """The dialect of `/predict`."""

    def __init__(self) -> None:
        self._decoders = PerVersion(RowDecoder)

    def target(self, url: bytes) -> Target | None:
        if url == b"/predict":
            return Target(self, "", DEFAULT)
        found = _PATH.fullmatch(url)
        return None if found is None else Target(self, found[1].decode(), ROUTE)

    def decode(self, content: bytes, _head: Sequence[tuple[bytes, bytes]], version: Version) -> tuple[Row, Any] | None:
        row = self._decoders.of(version).decode(content)
        return None if row is None else (row, None)

    def encode(self, waited: Waiting, _kept: Any) -> Answer:
        assert waited.answer is not None  # noqa: S101 (for the type checker: only answered rows are encoded)
        return Answer(_ENCODER.encode(reply_of_row(waited.answer, waited.place, waited.model, waited.snapshot)))
