"""Requests of one row: from the bytes of a connection to the batcher, and from there to the bytes of the reply."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from homeostat.errors import HomeostatError, InternalError
from homeostat.http.data_plane import DataPlane, reply_of_row
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of, status_of
from homeostat.http.limits import Limits, Slot
from homeostat.http.metrics import ServerMetrics
from homeostat.http.protocol import DirectRequest
from homeostat.http.trust import Trust
from homeostat.records import KeyRole
from homeostat.serving.batching import Batcher, Waiting
from homeostat.serving.decoding import RowDecoder

MOST_KEPT = 1000
DEFAULT = "/predict"
ROUTE = "/models/{model}/predict"
_PATH = re.compile(rb"/models/([A-Za-z0-9_.-]{1,100})/predict")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_FIXED = b"".join(b"%b: %b\r\n" % header for header in ((b"content-type", JSON.encode()), *SAFE))
_ENCODER = msgspec.json.Encoder()
_LOG = logging.getLogger("homeostat.http")


class _Caller(NamedTuple):
    request: DirectRequest
    request_id: bytes
    started: float
    slot: Slot


class DirectPredictions:
    """Answers plain predictions of one row that are plainly right; it declines whatever needs a closer look.

    Where the application would refuse a request, or answer anything but what is answered here, it is the application's.
    """

    def __init__(self, plane: DataPlane, trust: Trust, limits: Limits, metrics: ServerMetrics) -> None:
        self._plane = plane
        self._trust = trust
        self._limits = limits
        self._metrics = metrics
        self._batcher = Batcher(plane.gateway, clock=plane.clock.now, deliver=self._deliver)
        self._targets: dict[bytes, str] = {b"/predict": ""}
        self._decoders: dict[tuple[str, int], RowDecoder] = {}
        self._collected: list[Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prefix = secrets.token_hex(4)
        self._count = 0

    def target(self, url: bytes) -> str | None:
        """The model that a raw path names, empty for the default one; `None` where it is no path of predictions."""
        found = self._targets.get(url)
        if found is None and (match := _PATH.fullmatch(url)):
            if len(self._targets) >= MOST_KEPT:
                self._targets = {b"/predict": ""}
            found = self._targets[url] = match[1].decode()
        return found

    def take(self, request: DirectRequest) -> bool:
        """Take a request, to reply to it once its row is scored and logged; `False` where it needs a closer look."""
        started = time.perf_counter()
        plane = self._plane
        model = request.target or plane.default_at_hand()
        snapshot = None if model is None else plane.gateway.at_hand(model)
        if model is None or snapshot is None:
            return False
        scope: dict[str, Any] = {"headers": request.head, "method": "POST", "state": {}}
        try:
            self._trust.check(scope, is_open=False)
            scope["state"]["caller"].check(KeyRole.PREDICT)
        except HomeostatError:
            return False
        version = snapshot.arms[0].version
        decoder = self._decoders.get((model, version.number))
        if decoder is None:
            if len(self._decoders) >= MOST_KEPT:
                self._decoders.clear()
            decoder = self._decoders[model, version.number] = RowDecoder(version.signature)
        row = decoder.decode(request.body)
        if row is None:
            return False
        scope["client"] = request.protocol.client
        request_id = self._request_id(request.head)
        try:
            slot = self._limits.enter(scope)
        except HomeostatError as error:
            self._refuse(request, request_id, error)
            self._count_refusal(request, model, version.number, error, started)
            return True
        if not self._collected:
            # Whatever is read in this round of the loop goes to the batcher together.
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._hand_over)
        caller = _Caller(request, request_id, started, slot)
        self._collected.append(Waiting(model, snapshot, row, caller))
        return True

    def _request_id(self, head: list[tuple[bytes, bytes]]) -> bytes:
        for name, value in head:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                return value
        self._count += 1
        return f"{self._prefix}{self._count & 0xFFFFFFFF:08x}".encode()

    def _hand_over(self) -> None:
        collected, self._collected = self._collected, []
        self._batcher.submit(collected)

    def _deliver(self, group: list[Waiting]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reply, group)

    def _reply(self, group: list[Waiting]) -> None:
        now = time.perf_counter()
        seconds: dict[int, list[float]] = {}
        head = b"HTTP/1.1 200 OK\r\n" + _date(group[0].caller.request) + _FIXED
        for one in group:
            request, request_id, started, slot = one.caller
            slot.leave()
            if one.answer is None:
                error = _told(one.error, request_id)
                self._refuse(request, request_id, error)
                self._count_refusal(request, one.model, one.snapshot.arms[0].version.number, error, started)
                continue
            reply = reply_of_row(one.answer, one.place, one.model, one.snapshot)
            content = _ENCODER.encode(reply)
            request.reply(
                b"%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (head, len(content), request_id, content)
            )
            seconds.setdefault(reply.version, []).append(now - started)
        self._count_answers(group, seconds)

    def _count_answers(self, group: list[Waiting], seconds: dict[int, list[float]]) -> None:
        model = group[0].model
        answered = sum(map(len, seconds.values()))
        if answered:
            defaults = sum(not one.caller.request.target for one in group if one.answer is not None)
            for route, requests in ((DEFAULT, defaults), (ROUTE, answered - defaults)):
                if requests:
                    self._metrics.count_http("POST", route, 200, requests)
        for version, taken in seconds.items():
            self._metrics.observe_answers(model, version, taken)

    @staticmethod
    def _refuse(request: DirectRequest, request_id: bytes, error: HomeostatError) -> None:
        status = HTTPStatus(status_of(type(error)))
        content = _ENCODER.encode(reply_of(error))
        more = b""
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            more = b"retry-after: %d\r\n" % error.data.get("retry_after", 1)
        request.reply(
            b"HTTP/1.1 %d %b\r\n%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
            % (status, status.phrase.encode(), _date(request), _FIXED, more, len(content), request_id, content)
        )

    def _count_refusal(
        self, request: DirectRequest, model: str, version: int, error: HomeostatError, started: float
    ) -> None:
        status = int(status_of(type(error)))
        self._metrics.count_http("POST", ROUTE if request.target else DEFAULT, status)
        self._metrics.observe_request(model, {version: 0}, status, time.perf_counter() - started)

    def close(self) -> None:
        """Answer what waits, and stop."""
        self._batcher.close()


def _told(error: BaseException | None, request_id: bytes) -> HomeostatError:
    """What a caller is told of an error; what is no error of ours is in the log alone."""
    if isinstance(error, HomeostatError):
        return error
    _LOG.error("POST %s broke", ROUTE, exc_info=error, extra={"said": {"request_id": request_id.decode()}})
    return InternalError(request_id=request_id.decode())


def _date(request: DirectRequest) -> bytes:
    """The lines that uvicorn puts into every reply."""
    return b"".join(b"%b: %b\r\n" % header for header in request.protocol.server_state.default_headers)
