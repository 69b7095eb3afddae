"""uvicorn's HTTP/1.1 with bounds, and with a short way for requests of one row.

uvicorn itself keeps headers of any size and waits for them forever, from callers whom nobody has asked for a token yet.
And a task, a scope and a chain of calls for each request cost it several times what a prediction costs: a request of
one row that is plainly right is answered without them. Everything else goes the application's way.
"""

from __future__ import annotations

import logging
import secrets
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeostat.errors import HomeostatError, InternalError, InvalidRequest, TooLarge, TooSlow
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of

MOST_HEAD = 65_536
HEAD_SECONDS = 30.0
BODY_SECONDS = 60.0
# Who sends faster than this has as long as it takes.
BODY_BYTES_A_SECOND = 50_000
# Longer bodies than this hold more than one row, or something strange.
MOST_DIRECT = 65_536
# Heads that are remembered, and the longest of them: most callers send the same one with each request.
MOST_HEADS, LONGEST_HEAD, MOST_HEADERS = 1000, 2048, 50
END_OF_HEAD = b"\r\n\r\n"
# What a head says of a protocol to change to.
UPGRADE = (b"upgrade", b"http2-settings")
_LOG = logging.getLogger("homeostat.http")


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head may take 64 KB and 30 seconds, a body `body_seconds` and one more for each 50,000 bytes.

    What can't be read as HTTP is answered with 400, a body that takes too long with 408, a head that is too large with
    431, and the connection ends. An offer to change to another protocol is passed over (RFC 9110, 7.8), body and all
    of the request are read: clients made for HTTP/2, such as Java's own, make one with their first request.
    """

    body_seconds = BODY_SECONDS

    # How many bytes came since the last part of a body, or since the last head was complete.
    _unread = 0
    # One timer a connection, which looks whether the deadline has passed: most are put off before they come.
    _timer: TimerHandle | None = None
    _deadline: float | None = None
    _patience = 0.0
    # Whether the deadline is that of a connection which is kept for a next request.
    _is_kept = False
    # Until when a body has to be there, how much of it has come, and how much had at the last look; `None`: no body.
    _due: float | None = None
    _came = 0
    _seen = 0
    # Whether the head that was just read offers another protocol, for which the parser leaves the body alone.
    _offers = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline = self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._deadline is None or self._is_kept:
            self._is_kept = False
            self._wait(HEAD_SECONDS)
        self._unread += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as found:
            # The parser says the same of whatever breaks in what it calls, and that may be no fault of the request.
            cause = found.__context__ if isinstance(found, httptools.HttpParserCallbackError) else found
            if isinstance(cause, httptools.HttpParserError):
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("")
            else:
                self._break(cause or found)
        if self._unread > MOST_HEAD and not self.transport.is_closing():
            error = TooLarge(f"The head of the request has more than {MOST_HEAD:,} bytes.")
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def _feed(self, data: bytes) -> None:
        rest = self._until_offer(data)
        while rest is not None:
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            # As uvicorn has it: what follows a request that ends the connection is no error of that request.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            rest = self._until_offer(head + rest)

    def _until_offer(self, data: bytes) -> bytes | None:
        """Parse up to the end of a head that offers another protocol, and return what follows it; `None`: all of it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._offers:
                raise httptools.HttpParserError from None
            self._offers = False
            return data[offer.args[0] :]
        return None

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(token for token in tokens if token.lower() not in UPGRADE)
            if name not in UPGRADE and (kept or not value):
                lines.append(b"%b: %b" % (name, kept))
        return b"\r\n".join(lines) + END_OF_HEAD

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers = True
            return
        self._begin_body()
        super().on_headers_complete()

    def _begin_body(self) -> None:
        self._unread = self._came = self._seen = 0
        self._wait(self.body_seconds)
        self._due = self._deadline

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers:
            return
        self._end_body()
        super().on_message_complete()

    def _end_body(self) -> None:
        self._unread = 0
        self._deadline = self._due = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's signature; errors here are JSON)
        self._refuse(HTTPStatus.BAD_REQUEST, InvalidRequest("The request is no HTTP/1.1 that can be read."))

    def _break(self, broken: BaseException) -> None:
        request_id = secrets.token_hex(8)
        _LOG.error("A request broke", exc_info=broken, extra={"said": {"request_id": request_id}})
        self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, InternalError(request_id=request_id))

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
        elif self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = self.loop.time()
        if self._deadline > now:
            self._timer = self.loop.call_later(self._deadline - now, self._look)
        elif self.flow.read_paused:
            # It is the server that is slow.
            if self._due is not None:
                self._due += self._patience
            self._wait(self._patience)
        elif self._due is None:
            self.transport.close()
        else:
            self._look_at_body(self._due + self._came / BODY_BYTES_A_SECOND - now)

    def _look_at_body(self, left: float) -> None:
        if left > 0 and self._came > self._seen:
            self._seen = self._came
            self._wait(min(left, self.body_seconds))
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, TooSlow("The body of the request did not come in time."))


class DirectRequest:
    """A request that goes the short way; to uvicorn it looks like one of its own."""

    __slots__ = (
        "body", "disconnected", "head", "keep_alive", "more_body", "protocol", "response_complete", "response_started",
        "target",
    )  # fmt: skip

    def __init__(self, protocol: DirectProtocol, target: Any, head: list[tuple[bytes, bytes]]) -> None:
        self.protocol = protocol
        self.target = target
        self.head = head
        self.body = b""
        self.disconnected = False
        self.keep_alive = True
        self.more_body = True
        self.response_started = False
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


class Head(NamedTuple):
    """What the parser made of the bytes of a head: where the request goes, its headers, and how long its body is."""

    target: Any
    headers: list[tuple[bytes, bytes]]
    body_bytes: int


class Heads:
    """Heads that were read before. Equal bytes at the start of a message mean the same, so none is parsed twice."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, int] | None:
        """The head of a message that has come whole and alone, and where its body begins; `None`: let it be parsed."""
        end = data.find(END_OF_HEAD, 0, LONGEST_HEAD) + len(END_OF_HEAD)
        head = self._known.get(data[:end])
        return None if head is None or len(data) != end + head.body_bytes else (head, end)

    def keep(self, data: bytes, request: DirectRequest) -> None:
        """Remember the head of a message that had come whole and alone. Only its length may say where it ends."""
        end = data.find(END_OF_HEAD, 0, LONGEST_HEAD)
        lengths = [value for name, value in request.head if name in (b"content-length", b"transfer-encoding")]
        body_bytes = len(data) - end - len(END_OF_HEAD)
        if end < 0 or lengths != [b"%d" % body_bytes] or len(request.head) > MOST_HEADERS:
            return
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[data[: end + len(END_OF_HEAD)]] = Head(request.target, request.head, body_bytes)


class Direct(Protocol):
    """Who answers requests of one row."""

    def target(self, url: bytes) -> Any:
        """Where the requests of a raw path go, if they may go the short way; else `None`."""
        ...

    def take(self, request: DirectRequest) -> bool:
        """Take a request whose body is complete, to reply to it soon; `False` where it has to go the long way."""
        ...


class DirectProtocol(BoundedProtocol):
    """One connection whose requests of one row are answered by `direct`, which a subclass names."""

    direct: Direct
    heads: Heads

    # Whether the next byte begins a message, as far as the parser knows.
    _is_between = True

    def data_received(self, data: bytes) -> None:
        before: Any = self.cycle
        is_free = self._is_between and (before is None or before.response_complete)
        if is_free and not self.transport.is_closing() and (found := self.heads.find(data)) is not None:
            head, end = found
            request = DirectRequest(self, head.target, head.headers)
            request.body = data[end:]
            self.cycle = request  # type: ignore[assignment]
            self._is_kept = False
            self._end_body()
            self._unset_keepalive_if_required()
            if self.direct.take(request):
                return
            self.cycle = before
        super().data_received(data)
        made: Any = self.cycle
        if is_free and self._is_between and made is not before and type(made) is DirectRequest:
            self.heads.keep(data, made)

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

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
            and not any(name == b"content-encoding" for name, _ in self.headers)
        ):
            self._begin_body()
            self.cycle = DirectRequest(self, target, self.headers)  # type: ignore[assignment]
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        request: Any = self.cycle
        if type(request) is DirectRequest and not request.response_complete:
            self._unread = 0
            self._came += len(body)
            request.body = request.body + body if request.body else body
            if len(request.body) > MOST_DIRECT:
                self._hand_on(request)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers:
            return
        self._is_between = True
        request: Any = self.cycle
        if type(request) is DirectRequest and not request.response_complete:
            self._end_body()
            if self.direct.take(request):
                return
            self._hand_on(request)
        super().on_message_complete()

    def _hand_on(self, request: DirectRequest) -> None:
        """Let the application answer a request after all."""
        self.cycle = None  # type: ignore[assignment]
        HttpToolsProtocol.on_headers_complete(self)
        if request.body:
            HttpToolsProtocol.on_body(self, request.body)

    def reply(self, request: DirectRequest, content: bytes) -> None:
        """Send a whole response, and go on with what came behind the request."""
        request.response_started = request.response_complete = True
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
            self._is_kept = True
            self._wait(self.timeout_keep_alive)


def bounded(body_seconds: float, direct: Direct | None = None) -> type[BoundedProtocol]:
    """The protocol of a server whose callers have so many seconds for a body; `direct` answers what it can by itself.

    >>> bounded(5.0).body_seconds
    5.0
    """
    if direct is None:
        return type("OwnProtocol", (BoundedProtocol,), {"body_seconds": body_seconds})
    return type("OwnProtocol", (DirectProtocol,), {"body_seconds": body_seconds, "direct": direct, "heads": Heads()})
