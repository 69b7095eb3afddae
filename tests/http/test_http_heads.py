"""Heads that were read before are not parsed again: what is taken and answered is the same as with the parser alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from homeostat.http import protocol
from homeostat.http.protocol import BODY_SECONDS, DirectProtocol, DirectRequest, Heads, bounded

HEAD = b"POST /rows HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"POST /rows HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
MESSAGES = (
    HEAD + b"12345",
    HEAD + b"\r\n\r\n1",
    HEAD.replace(b"/rows", b"/others") + b"12345",
    HEAD.replace(b"\r\n\r\n", b"\r\nx-request-id: me\r\n\r\n") + b"12345",
    HEAD.replace(b": 5", b": 0"),
    HEAD.replace(b": 5", b":5") + b"abcde",
    HEAD + b"abcde",
    HEAD.replace(b": 5", b": %d" % (len(HEAD) + 5)) + HEAD + b"12345",
    b"\r\n" + HEAD + b"12345",
    CHUNKED + b"5\r\n12345\r\n0\r\n\r\n",
    CHUNKED + b"4\r\n1234\r\n0\r\n\r\n\r\n",
    HEAD.replace(b"POST", b"GET") + b"12345",
    HEAD.replace(b"host", b"connection: close\r\nhost") + b"12345",
    HEAD.replace(b"host", b"expect: 100-continue\r\nhost") + b"12345",
    HEAD.replace(b"\r\n", b"\n") + b"\r\n\r\n1",
    HEAD.replace(b"content", b"content-length: 5\r\ncontent") + b"12345",
    HEAD.replace(b"1.1", b"1.0") + b"12345",
    b"no HTTP\r\n\r\n",
)


class Taking:
    """Takes rows that are no refusal, at once or once it is told to."""

    def __init__(self, said: list[Any], *, waits: bool) -> None:
        self.said, self.waits = said, waits
        self.waiting: list[DirectRequest] = []

    def target(self, url: bytes) -> Any:
        return url if url == b"/rows" else None

    def take(self, request: DirectRequest) -> bool:
        if request.body.startswith(b"a"):
            return False
        self.said.append(("row", request.target, list(request.head), request.body))
        self.waiting.append(request)
        if not self.waits:
            self.reply()
        return True

    def reply(self) -> None:
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            request.reply(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def served(parts: list[bytes], heads: Heads, *, waits: bool) -> list[Any]:
    """What a connection that gets these parts hands on, and what it writes."""
    said: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        said.append(("application", scope["method"], scope["path"], list(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def run() -> None:
        closing: list[bool] = []
        transport = SimpleNamespace(
            write=lambda content: said.append(("written", bytes(content))),
            is_closing=lambda: bool(closing),
            close=lambda: closing.append(True),
            get_extra_info=lambda _name, default=None: default,
            pause_reading=lambda: None,
            resume_reading=lambda: None,
            get_protocol=lambda: None,
        )
        config = Config(application, lifespan="off", log_config=None, access_log=False, date_header=False)
        config.load()
        taking = Taking(said, waits=waits)
        kind = type("Tried", (DirectProtocol,), {"direct": taking, "heads": heads, "body_seconds": BODY_SECONDS})
        connection = kind(config=config, server_state=ServerState(), app_state={})
        connection.loop = asyncio.get_running_loop()
        connection.connection_made(transport)
        for number, part in enumerate(parts):
            if closing:
                break
            connection.data_received(part)
            for _ in range(5):
                await asyncio.sleep(0)
            if number % 2:
                taking.reply()
        for _ in range(20):
            await asyncio.sleep(0)
            taking.reply()
        said.append(("closed", bool(closing)))
        connection.connection_lost(None)

    asyncio.run(run())
    return said


@st.composite
def parts_of_messages(draw: st.DrawFn) -> list[bytes]:
    """Messages one after the other, each mostly in a part of its own, some cut and some together."""
    parts: list[bytes] = []
    for message in draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6)):
        how = draw(st.sampled_from(["alone", "alone", "alone", "joined", "cut"]))
        if how == "joined" and parts:
            parts[-1] += message
        elif how == "cut":
            # Behind the head is where the rest may look like a message.
            at = draw(st.just(message.find(b"\r\n\r\n") + 4) | st.integers(1, len(message) - 1))
            parts += [message[:at], message[at:]]
        else:
            parts.append(message)
    return parts


class Forgetful(Heads):
    """Remembers nothing, so that all is parsed."""

    def find(self, data: bytes) -> None:  # type: ignore[override]
        return None


@settings(max_examples=150)
@given(st.lists(parts_of_messages(), min_size=1, max_size=3), st.booleans())
def test_remembered_heads_change_nothing(connections: list[list[bytes]], waits: bool):
    heads = Heads()
    for message in MESSAGES[:7]:
        served([message], heads, waits=False)
    for parts in connections:
        assert served(parts, heads, waits=waits) == served(parts, Forgetful(), waits=waits)


def test_equal_heads_are_parsed_once():
    heads = Heads()
    parsed: list[bytes] = []
    one, other = HEAD + b"12345", HEAD + b"67890"
    first = served([one], heads, waits=False)
    original = DirectProtocol.on_header
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectProtocol, "on_header", lambda self, *header: parsed.append(original(self, *header)))
        again = served([other, one], heads, waits=False)
    assert (parsed, len(first), len(again)) == ([], 3, 5)
    assert [entry[3] for entry in again if entry[0] == "row"] == [b"67890", b"12345"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "MOST_HEADS", 3)
    heads = Heads()
    for number in range(10):
        served([HEAD.replace(b"\r\n\r\n", b"\r\nx: %d\r\n\r\n" % number) + b"12345"], heads, waits=False)
        assert 1 <= len(heads._known) <= 3
    kept = len(heads._known)
    for long in (b"x: " + b"y" * protocol.LONGEST_HEAD, b"\r\n".join([b"x: y"] * (protocol.MOST_HEADERS + 1))):
        served([HEAD.replace(b"\r\n\r\n", b"\r\n" + long + b"\r\n\r\n") + b"12345"], heads, waits=False)
    served([CHUNKED + b"5\r\n12345\r\n0\r\n\r\n"], heads, waits=False)
    assert len(heads._known) == kept


def test_servers_remember_apart():
    direct = Taking([], waits=False)
    assert bounded(1.0, direct).heads is not bounded(1.0, direct).heads
