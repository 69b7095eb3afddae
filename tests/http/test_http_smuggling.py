"""Bytes on the wire: nobody gets a second request past the first, nor holds a connection for nothing.

Request smuggling (gunicorn CVE-2024-1135, Puma CVE-2020-11076): two readers of one connection must never disagree about
where a request ends, so that whatever could be read in two ways is refused, and the connection ends with it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from homeostat.http.protocol import BODY_SECONDS, bounded

# What a smuggler wants answered: it must never be.
SECOND = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
LINE = b"POST /models/spam/predict HTTP/1.1\r\nhost: localhost\r\n"
LENGTH = str(len(SECOND)).encode()


@pytest.fixture(scope="module")
def port(app: Any, small_servers: ModuleType) -> Iterator[int]:
    """The port of a real server in a thread."""
    with small_servers.listening(app.server.application, bounded(BODY_SECONDS, app.server.direct)) as found:
        yield found


def answers(port: int, content: bytes, *, at_least: int = 0) -> list[int]:
    """The statuses of all answers to what is sent over one connection, until the server ends it or says no more.

    So many are waited for; then it has a moment for another.
    """
    found: list[int] = []
    with closing(socket.create_connection(("127.0.0.1", port), timeout=120)) as connection:
        connection.sendall(content)
        said = b""
        try:
            while True:
                connection.settimeout(0.7 if len(found) >= at_least else 120)
                part = connection.recv(65536)
                if not part:
                    break
                said += part
                found = [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", said)]
        except (TimeoutError, ConnectionResetError):
            pass
    return found


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 0\r\ncontent-length: " + LENGTH + b"\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: +5\r\n",
        b"content-length: -5\r\n",
        b"content-length: 0x5\r\n",
        b"content-length: 5 5\r\n",
        b"content-length: 5.0\r\n",
        b"content-length: 99999999999999999999999999\r\n",
        b"content-length : 5\r\n",
        b"content-length\t: 5\r\n",
        b" content-length: 5\r\n",
        b"content-length: 5\r\n ,6\r\n",
        b"content-length: \x0b5\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"transfer-encoding: identity, chunked, identity\r\n",
        b"transfer-encoding: \x0bchunked\r\n",
        b"transfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n",
        b"x: y\rtransfer-encoding: chunked\r\n",
        b"x: y\0\r\n",
    ],
)
def test_what_has_two_ends_is_refused_and_nothing_after_it_is_answered(port: int, head: bytes) -> None:
    found = answers(port, LINE + head + b"\r\n" + b"0\r\n\r\n" + SECOND)
    assert found in ([400], []), (head, found)


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nabcdeX\r\n0\r\n\r\n",
        b"-1\r\n\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"5 \r\nabcde\r\n0\r\n\r\n"[:2] + b"\0",
        b"ffffffffffffffff1\r\nabc",
        b"5\nabcde\n0\n\n",
        b"\r\n",
    ],
)
def test_chunks_that_are_none_are_refused(port: int, body: bytes) -> None:
    found = answers(port, LINE + b"transfer-encoding: chunked\r\n\r\n" + body + SECOND, at_least=1)
    assert found == [400], (body, found)


def test_a_request_within_a_body_is_a_body(port: int) -> None:
    found = answers(port, LINE + b"content-length: " + LENGTH + b"\r\n\r\n" + SECOND + SECOND, at_least=2)
    assert found == [400, 200]


@pytest.mark.parametrize(
    "content",
    [
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\r\nset-cookie: b\r\n\r\n",
        b"GET /models/a%0d%0aset-cookie:%20b=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /livez?x=%0d%0aset-cookie:%20b=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: a%0d%0aset-cookie: b\r\n\r\n",
    ],
)
def test_nothing_that_is_sent_becomes_a_header_of_the_answer(port: int, content: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=120)) as connection:
        connection.sendall(content)
        head = connection.recv(65536).partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    assert b"b=1" not in head
