"""Requests of one row: from the bytes of a connection to the batcher, and from there to the bytes of the reply."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from homeostat.errors import HomeostatError, InternalError
from homeostat.http.data_plane import DataPlane
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of, status_of
from homeostat.http.limits import Limits, Slot
from homeostat.http.metrics import ServerMetrics
from homeostat.http.protocol import DirectRequest
from homeostat.http.trust import Trust
from homeostat.records import KeyRole, Signature, Version
from homeostat.serving.batching import Batcher, Waiting
from homeostat.serving.decoding import Row

MOST_KEPT = 1000
Made = TypeVar("Made")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_FIXED = b"".join(b"%b: %b\r\n" % header for header in SAFE)
_LOG = logging.getLogger("homeostat.http")


class Answer(NamedTuple):
    """The body of a reply, its type, and what else its head says of it, each line with its end."""

    content: bytes
    content_type: bytes = JSON.encode()
    lines: bytes = b""


class Dialect(Protocol):
    """How requests of one row come and how they are answered on the routes of one protocol."""

    def target(self, url: bytes) -> Target | None:
        """Where the requests of a raw path go; `None` where it is none of this protocol's."""
        ...

    def decode(self, content: bytes, head: Sequence[tuple[bytes, bytes]], version: Version) -> tuple[Row, Any] | None:
        """The row of a request, and what its reply will need; `None` where it has to be looked at more closely."""
        ...

    def encode(self, waited: Waiting, kept: Any) -> Answer:
        """The reply to a row that was answered."""
        ...


class Target(NamedTuple):
    """Where a request goes: the model (empty: the default one), and the route that it is counted under."""

    dialect: Dialect
    model: str
    route: str


class PerVersion(Generic[Made]):
    """What dialects make for the signature of each version that is asked, made once."""

    def __init__(self, make: Callable[[Signature], Made]) -> None:
        self._make = make
        self._made: dict[tuple[str, int], Made] = {}

    def of(self, version: Version) -> Made:
        """What was made for a version."""
        key = (version.model, version.number)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= MOST_KEPT:
                self._made.clear()
            found = self._made[key] = self._make(version.signature)
        return found


class _Caller(NamedTuple):
    request: DirectRequest
    request_id: bytes
    started: float
    slot: Slot
    kept: Any


class DirectPredictions:
    """Answers requests of one row that are plainly right; it declines whatever needs a closer look.

    Where the application would refuse a request, or answer anything but what is answered here, it is the application's.
    """

    def __init__(
        self, plane: DataPlane, dialects: Sequence[Dialect], trust: Trust, limits: Limits, metrics: ServerMetrics
    ) -> None:
        self._plane = plane
        self._dialects = dialects
        self._trust = trust
        self._limits = limits
        self._metrics = metrics
        self._batcher = Batcher(plane.gateway, clock=plane.clock.now, deliver=self._deliver)
        self._targets: dict[bytes, Target] = {}
        self._collected: list[Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prefix = secrets.token_hex(4)
        self._count = 0

    def target(self, url: bytes) -> Target | None:
        """Where the requests of a raw path go; `None` where they go the long way."""
        found = self._targets.get(url)
        if found is None:
            found = next((one for dialect in self._dialects if (one := dialect.target(url)) is not None), None)
            if found is not None:
                if len(self._targets) >= MOST_KEPT:
                    self._targets.clear()
                self._targets[url] = found
        return found

    def take(self, request: DirectRequest) -> bool:
        """Take a request, to reply to it once its row is scored and logged; `False` where it needs a closer look."""
        started = time.perf_counter()
        plane = self._plane
        target: Target = request.target
        model = target.model or plane.default_at_hand()
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
        decoded = target.dialect.decode(request.body, request.head, version)
        if decoded is None:
            return False
        row, kept = decoded
        scope["client"] = request.protocol.client
        request_id = self._request_id(request.head)
        try:
            slot = self._limits.enter(scope)
        except HomeostatError as error:
            self._refuse(request, request_id, error)
            self._count_refusal(request, request_id, model, version.number, error, started)
            return True
        if not self._collected:
            # Whatever is read in this round of the loop goes to the batcher together.
            # Its own loop each time: one application may be served again after its server has stopped.
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._hand_over)
        caller = _Caller(request, request_id, started, slot, kept)
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
        try:
            self._batcher.submit(collected)
        except HomeostatError as error:
            # The server stops; whoever was read in this very moment is told.
            for one in collected:
                one.error = error
                self._reply([one])

    def _deliver(self, group: list[Waiting]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._reply, group)
        except RuntimeError:
            _LOG.warning("%d rows were logged and their callers are gone: the server has stopped.", len(group))

    def _reply(self, group: list[Waiting]) -> None:
        now = time.perf_counter()
        seconds: dict[int, list[float]] = {}
        head = b"HTTP/1.1 200 OK\r\n" + _date(group[0].caller.request) + _FIXED
        routes: Counter[str] = Counter()
        for one in group:
            request, request_id, started, slot, kept = one.caller
            slot.leave()
            if one.answer is not None:
                try:
                    content, content_type, lines = request.target.dialect.encode(one, kept)
                except Exception as broken:  # the others of the group must be answered whatever happens
                    one.answer, one.error = None, broken
            if one.answer is None:
                error = _told(one.error, request_id)
                self._refuse(request, request_id, error)
                number = one.snapshot.arms[0].version.number
                self._count_refusal(request, request_id, one.model, number, error, started)
                continue
            request.reply(
                b"%bcontent-type: %b\r\n%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
                % (head, content_type, lines, len(content), request_id, content)
            )
            seconds.setdefault(int(one.answer.version[one.place]), []).append(now - started)
            routes[request.target.route] += 1
        for route, requests in routes.items():
            self._metrics.count_http("POST", route, 200, requests)
        for version, taken in seconds.items():
            self._metrics.observe_requests(group[0].model, {version: len(taken)}, 200, taken)

    @staticmethod
    def _refuse(request: DirectRequest, request_id: bytes, error: HomeostatError) -> None:
        status = HTTPStatus(status_of(type(error)))
        content = msgspec.json.encode(reply_of(error))
        more = b"content-type: application/json\r\n"
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            more += b"retry-after: %d\r\n" % error.data.get("retry_after", 1)
        request.reply(
            b"HTTP/1.1 %d %b\r\n%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
            % (status, status.phrase.encode(), _date(request), _FIXED, more, len(content), request_id, content)
        )

    def _count_refusal(
        self,
        request: DirectRequest,
        request_id: bytes,
        model: str,
        version: int,
        error: HomeostatError,
        started: float,
    ) -> None:
        status = int(status_of(type(error)))
        self._metrics.count_http("POST", request.target.route, status)
        seconds = time.perf_counter() - started
        self._metrics.observe_request(model, {version: 0}, status, seconds)
        # Rows that are answered are in the prediction log; those that are not would be nowhere.
        if _LOG.isEnabledFor(logging.INFO):
            said = {"request_id": request_id.decode(), "method": "POST", "path": request.target.route}
            said |= {"ms": round(seconds * 1000, 3), "model": model, "status": status, "code": error.code}
            _LOG.info("request", extra={"said": said})

    def close(self) -> None:
        """Answer what waits, and stop."""
        self._batcher.close()


def _told(error: BaseException | None, request_id: bytes) -> HomeostatError:
    """What a caller is told of an error; what is no error of ours is in the log alone."""
    if isinstance(error, HomeostatError):
        return error
    _LOG.error("A request of one row broke", exc_info=error, extra={"said": {"request_id": request_id.decode()}})
    return InternalError(request_id=request_id.decode())


def _date(request: DirectRequest) -> bytes:
    """The lines that uvicorn puts into every reply."""
    return b"".join(b"%b: %b\r\n" % header for header in request.protocol.server_state.default_headers)
