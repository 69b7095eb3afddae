"""uvicorn's HTTP/1.1 with bounds, and with a short way for requests of one row.

uvicorn itself keeps headers of any size and waits for them forever, from callers whom nobody has asked for a token yet.
And a task, a scope and a chain of calls for each request cost it several times what a prediction costs: a request of
one row that is plainly right is answered without them. Everything else goes the application's way.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeostat.errors import HomeostatError, InvalidRequest, TooLarge
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of

MOST_HEAD = 65_536
HEAD_SECONDS = 30.0
BODY_SECONDS = 60.0
# Longer bodies than this hold more than one row, or something strange.
MOST_DIRECT = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head may take 64 KB and 30 seconds; of a body something has to come every 60 seconds.

    What can't be read as HTTP is answered with 400, a head that is too large with 431, and the connection ends.
    """

    # How many bytes came since the last part of a body, or since the last head was complete.
    _unread = 0
    # One timer a connection, which looks whether the deadline has passed: most are put off before they come.
    _timer: TimerHandle | None = None
    _deadline: float | None = None
    _patience = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._deadline is None:
            self._wait(HEAD_SECONDS)
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MOST_HEAD and not self.transport.is_closing():
            error = TooLarge(f"The head of the request has more than {MOST_HEAD:,} bytes.")
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def on_headers_complete(self) -> None:
        self._unread = 0
        self._wait(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._wait(BODY_SECONDS)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._deadline = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's signature; errors here are JSON)
        self._refuse(HTTPStatus.BAD_REQUEST, InvalidRequest("The request is no HTTP/1.1 that can be read."))

    def _refuse(self, status: HTTPStatus, error: HomeostatError) -> None:
        content = msgspec.json.encode(reply_of(error))
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(content)).encode()),
            *SAFE,
            (b"connection", b"close"),
        ]
        lines = [f"HTTP/1.1 {int(status)} {status.phrase}".encode(), *(b": ".join(header) for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", content]))
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        self._deadline, self._patience = self.loop.time() + seconds, seconds
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        elif self.flow.read_paused:
            # It is the server that is slow.
            self._wait(self._patience)
        else:
            self.transport.close()


class DirectRequest:
    """A request that goes the short way; to uvicorn it looks like one of its own."""

    __slots__ = ("body", "disconnected", "head", "keep_alive", "more_body", "protocol", "response_complete", "target")

    def __init__(self, protocol: DirectProtocol, target: str, head: list[tuple[bytes, bytes]]) -> None:
        self.protocol = protocol
        self.target = target
        self.head = head
        self.body = b""
        self.disconnected = False
        self.keep_alive = True
        self.more_body = True
        self.response_complete = False

    @property
    def message_event(self) -> DirectRequest:
        """What uvicorn wakes when something happened; here nobody sleeps."""
        return self

    def set(self) -> None:
        """Nothing to wake."""

    def reply(self, content: bytes) -> None:
        """Send a whole response, head and all."""
        self.protocol.reply(self, content)


class Direct(Protocol):
    """Who answers requests of one row."""

    def target(self, url: bytes) -> str | None:
        """The route that a raw path belongs to, where its requests may go the short way."""
        ...

    def take(self, request: DirectRequest) -> bool:
        """Take a request whose body is complete, to reply to it soon; `False` where it has to go the long way."""
        ...


class DirectProtocol(BoundedProtocol):
    """One connection whose requests of one row are answered by `direct`, which a subclass names."""

    direct: Direct

    def on_headers_complete(self) -> None:
        before: Any = self.cycle
        if (
            (before is None or before.response_complete)
            and (target := self.direct.target(self.url)) is not None
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        ):
            self._unread = 0
            self._wait(BODY_SECONDS)
            self.cycle = DirectRequest(self, target, self.headers)  # type: ignore[assignment]
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        request: Any = self.cycle
        if type(request) is DirectRequest and not request.response_complete:
            self._unread = 0
            self._wait(BODY_SECONDS)
            request.body = request.body + body if request.body else body
            if len(request.body) > MOST_DIRECT:
                self._hand_on(request)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        request: Any = self.cycle
        if type(request) is DirectRequest and not request.response_complete:
            self._unread = 0
            self._deadline = None
            if self.direct.take(request):
                return
            self._hand_on(request)
        super().on_message_complete()

    def _hand_on(self, request: DirectRequest) -> None:
        """Let the application answer a request after all."""
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        if request.body:
            super().on_body(request.body)

    def reply(self, request: DirectRequest, content: bytes) -> None:
        """Send a whole response, and go on with what came behind the request."""
        request.response_complete = True
        self.server_state.total_requests += 1
        if request.disconnected or self.transport.is_closing():
            return
        self.transport.write(content)
        if not request.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.flow.resume_reading()
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._wait(self.timeout_keep_alive)
