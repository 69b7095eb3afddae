"""uvicorn's HTTP/1.1 with bounds: on the size of what comes around a body, and on how long a caller may dally.

uvicorn itself keeps headers of any size and waits for them forever, from callers whom nobody has asked for a token yet.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeostat.errors import HomeostatError, InvalidRequest, TooLarge
from homeostat.http.endpoint import JSON, SAFE
from homeostat.http.errors import reply_of

MOST_HEAD = 65_536
HEAD_SECONDS = 30.0
BODY_SECONDS = 60.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head may take 64 KB and 30 seconds; of a body something has to come every 60 seconds.

    What can't be read as HTTP is answered with 400, a head that is too large with 431, and the connection ends.
    """

    # How many bytes came since the last part of a body, or since the last head was complete.
    _unread = 0
    _timer: TimerHandle | None = None

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
        self._unread = 0
        self._wait(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._wait(BODY_SECONDS)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
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
            self._wait(seconds)
        else:
            self.transport.close()
