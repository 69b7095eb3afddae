"""uvicorn's HTTP/1.1 with bounds: on the size of what comes around a body, and on how long a caller may dally.

uvicorn itself keeps headers of any size and waits for them forever, from callers whom nobody has asked for a token yet.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeostat.errors import HomeostatError, InvalidRequest, TooLarge, TooSlow
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of

MOST_HEAD = 65_536
HEAD_SECONDS = 30.0
BODY_SECONDS = 60.0
# Who sends faster than this has as long as it takes.
BODY_BYTES_A_SECOND = 50_000


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head may take 64 KB and 30 seconds, a body `body_seconds` and one more for each 50,000 bytes.

    What can't be read as HTTP is answered with 400, a body that takes too long with 408, a head that is too large with
    431, and the connection ends.
    """

    body_seconds = BODY_SECONDS

    # How many bytes came since the last part of a body, or since the last head was complete.
    _unread = 0
    _timer: TimerHandle | None = None
    # Until when a body has to be there, how much of it has come, and how much had at the last look; `None`: no body.
    _due: float | None = None
    _came = 0
    _seen = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._timer is None:
            self._wait(HEAD_SECONDS)
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MOST_HEAD and not self.transport.is_closing():
            error = TooLarge(f"The head of the request has more than {MOST_HEAD:,} bytes.")
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def on_headers_complete(self) -> None:
        self._unread = self._came = self._seen = 0
        self._due = self.loop.time() + self.body_seconds
        self._wait(self.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._due = None
        self._stop_waiting()
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
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, seconds: float) -> None:
        if self.flow.read_paused:
            # It is the server that is slow.
            if self._due is not None:
                self._due += seconds
            self._wait(seconds)
        elif self._due is None:
            self.transport.close()
        else:
            left = self._due + self._came / BODY_BYTES_A_SECOND - self.loop.time()
            if left > 0 and self._came > self._seen:
                self._seen = self._came
                self._wait(min(left, self.body_seconds))
            elif self.cycle.response_started:
                self.transport.close()
            else:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, TooSlow("The body of the request did not come in time."))


def bounded(body_seconds: float) -> type[BoundedProtocol]:
    """The protocol of a server whose callers have so many seconds for a body.

    >>> bounded(5.0).body_seconds
    5.0
    """
    return type("BoundedProtocol", (BoundedProtocol,), {"body_seconds": body_seconds})
