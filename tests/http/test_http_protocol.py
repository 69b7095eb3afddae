"""What comes over a connection before there is a request to speak of: it is bounded in size and in time."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from homeostat.http import protocol

HEAD = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /models/spam/predict HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
PART = b"y" * 100_000


@pytest.fixture(scope="module")
def port(app: Any, small_servers: ModuleType) -> Iterator[int]:
    """The port of a real server in a thread, whose callers may dally for a second only."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(protocol, "HEAD_SECONDS", 1.0)
        with small_servers.listening(app.server.application, protocol.bounded(1.0, app.server.direct)) as found:
            yield found


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=120)


def send(connection: socket.socket, *parts: bytes) -> bytes:
    """Send until the server has enough, then read to the end of the connection."""
    try:
        for part in parts:
            connection.sendall(part)
    except OSError:
        pass
    return read(connection)


def read(connection: socket.socket) -> bytes:
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def check_refused(said: bytes, status: int, code: str) -> None:
    head, _, content = said.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode(), said[:300]
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    reply = json.loads(content)
    assert set(reply) == {"error", "code"}
    assert reply["code"] == code
    assert b"yyy" not in said


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD, *[b"x-a: yyyyyyyyyyyyyyy\r\n" * 1000] * 100],
        [HEAD + b"x-a: ", *[PART] * 100],
        [HEAD, *[PART] * 100],
        [b"GET /", *[PART] * 100],
        [b"GET /?", *[PART] * 100],
        [CHUNKED + b"0\r\n", *[b"x-a: yyyyyyyyyyyyyyy\r\n" * 1000] * 100],
        [CHUNKED + b"1\r\ny\r\n0\r\nx-a: ", *[PART] * 100],
        [CHUNKED + b"1;", *[PART] * 100],
    ],
)
def test_heads_without_an_end_are_cut_off(port: int, parts: list[bytes]) -> None:
    with closing(connect(port)) as connection:
        said = send(connection, *parts)
        # Where more was under way than the server read, the reply may be lost to a reset.
        if said:
            check_refused(said, 431, "too_large")
        assert read(connection) == b""


def test_a_large_head_is_answered(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(HEAD + b"x-a: " + b"y" * 66_000)
        check_refused(read(connection), 431, "too_large")
    with closing(connect(port)) as connection:
        connection.sendall(HEAD + b"x-a: " + b"y" * 60_000 + b"\r\nconnection: close\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx y: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
        POST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_refused_like_everything_else(port: int, said: bytes) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(said)
        check_refused(read(connection), 400, "invalid_request")


@pytest.mark.parametrize("said", [POST + b"content-length: 5\r\n\r\n{", CHUNKED + b"5\r\n{"])
def test_who_keeps_a_body_back_is_told_and_dropped(port: int, said: bytes) -> None:
    started = time.monotonic()
    with closing(connect(port)) as connection:
        connection.sendall(said)
        check_refused(read(connection), 408, "too_slow")
    assert 0.5 < time.monotonic() - started < 60


@pytest.mark.parametrize("said", [b"", b"GE", HEAD, b"\r\n"])
def test_who_dallies_is_dropped(port: int, said: bytes) -> None:
    started = time.monotonic()
    with closing(connect(port)) as connection:
        connection.sendall(said)
        assert read(connection) == b""
    assert 0.5 < time.monotonic() - started < 60


def test_a_head_that_comes_byte_by_byte_has_to_be_done_in_time(port: int) -> None:
    started = time.monotonic()
    said = b""
    with closing(connect(port)) as connection:
        connection.sendall(HEAD + b"x-a: ")
        connection.settimeout(0.05)
        while time.monotonic() - started < 60:
            try:
                connection.sendall(b"y")
                said = connection.recv(100)
                break
            except TimeoutError:
                continue
            except OSError:
                break
    assert said == b""
    assert 0.5 < time.monotonic() - started < 60


def drip(port: int, sizes: Iterable[int], pause: float) -> bytes:
    """Send a body in parts with a pause before each, until an answer comes; what it is."""
    with closing(connect(port)) as connection:
        connection.sendall(POST + b"content-length: 10000000\r\n\r\n")
        connection.settimeout(pause)
        for size in sizes:
            connection.sendall(b"y" * size)
            try:
                return connection.recv(65536)
            except TimeoutError:
                continue
    return b""


def test_a_body_that_comes_byte_by_byte_has_to_be_done_in_time(port: int) -> None:
    # R-U-Dead-Yet; of heads it is Slowloris (CVE-2007-6750).
    started = time.monotonic()
    check_refused(drip(port, itertools.repeat(1, 600), 0.1), 408, "too_slow")
    assert 0.5 < time.monotonic() - started < 60


def test_a_large_body_may_take_its_time_as_long_as_it_comes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten times the bytes a second that are asked for, and longer than the second that any body has.
    monkeypatch.setattr(protocol, "BODY_BYTES_A_SECOND", 20_000)
    assert drip(port, itertools.repeat(60_000, 7), 0.3) == b""


def test_a_connection_is_kept_and_requests_may_follow_at_once(port: int) -> None:
    with closing(connect(port)) as connection, connection.makefile("rb") as replies:
        for _ in range(3):
            connection.sendall((HEAD + b"\r\n") * 200)
            for _ in range(200):
                assert replies.readline() == b"HTTP/1.1 200 OK\r\n"
                while replies.readline() != b"\r\n":
                    pass
                assert json.loads(replies.read(len(b'{"status":"alive"}'))) == {"status": "alive"}
            # Longer than a head may take: between requests uvicorn's own limit holds.
            time.sleep(1.2)
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert replies.readline().split()[1] in (b"400", b"404", b"405")


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"
ROW = b'{"features":{"links":1.0,"length":-0.5}}'
BODIES = {
    "length": [b"content-length: %d\r\n" % len(ROW), ROW],
    "chunks": [b"transfer-encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW)],
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("cut", [0, 1, 60, 190])
def test_an_offer_of_another_protocol_is_passed_over_and_the_body_is_read(port: int, body: str, cut: int) -> None:
    # Java's HttpClient offers HTTP/2 with the first request of every connection.
    lines, content = BODIES[body]
    request = POST + OFFER + lines + b"\r\n" + content
    for path in (request, request.replace(b"/models/spam/predict", b"/models/spam/%70redict")):
        with closing(connect(port)) as connection, connection.makefile("rb") as replies:
            for said in (path, path, POST + lines + b"\r\n" + content):
                connection.sendall(said[:cut])
                time.sleep(0.02 if cut else 0)
                connection.sendall(said[cut:])
                assert replies.readline() == b"HTTP/1.1 200 OK\r\n"
                head = b"".join(iter(replies.readline, b"\r\n"))
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert json.loads(replies.read(length))["status"] == "success"


def test_an_application_may_be_served_again(app: Any, small_servers: ModuleType) -> None:
    lines, content = BODIES["length"]
    for _ in range(2):
        own = protocol.bounded(60.0, app.server.direct)
        with small_servers.listening(app.server.application, own) as port, closing(connect(port)) as connection:
            connection.sendall(POST + lines + b"\r\n" + content)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_breaks_in_the_server_is_no_fault_of_the_request(app: Any, small_servers: ModuleType) -> None:
    class Broken:
        def target(self, url: bytes) -> Any:
            return url

        def take(self, request: Any) -> bool:
            raise RuntimeError("secret")

    lines, content = BODIES["length"]
    with small_servers.listening(app.server.application, protocol.bounded(60.0, Broken())) as port:
        for offer in (b"", OFFER):
            with closing(connect(port)) as connection:
                connection.sendall(POST + offer + lines + b"\r\n" + content)
                said = read(connection)
            check_refused(said, 500, "internal_error")
            assert b"secret" not in said


def test_offers_may_be_pipelined_and_still_end_the_connection(port: int) -> None:
    lines, content = BODIES["length"]
    request = POST + OFFER + lines + b"\r\n" + content
    last = request.replace(b"connection: Upgrade", b"connection: close, Upgrade")
    with closing(connect(port)) as connection:
        connection.sendall(request + HEAD + b"\r\n" + request + last)
        said = read(connection)
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert said.count(b'"status":"success"') == 3
    with closing(connect(port)) as connection:
        connection.sendall(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n")
        check_refused(read(connection), 400, "invalid_request")


def test_one_row_that_is_packed_goes_the_long_way(port: int) -> None:
    packed = gzip.compress(ROW)
    for content, status in ((packed, b"200"), (ROW, b"400"), (packed, b"200")):
        with closing(connect(port)) as connection:
            more = b"content-encoding: gzip\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(content)
            connection.sendall(POST + more + content)
            assert read(connection).split(b" ")[1] == status
