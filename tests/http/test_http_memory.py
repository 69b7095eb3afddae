"""A server process that hostile callers work on keeps its size and its metrics, and goes on serving."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MEGABYTE = 1 << 20
REQUESTS = 5000
MOST_GROWTH = 30 * MEGABYTE
AT_ONCE = 50
GOOD = {"features": {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}}


class Attacker:
    """Speaks to a server in bytes of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, requests: Iterable[bytes]) -> Counter[int]:
        """Send requests over one connection, many at a time, and count the statuses of the replies."""
        statuses: Counter[int] = Counter()
        left = list(requests)
        with closing(self.connect()) as connection, connection.makefile("rb") as replies:
            while left:
                now, left = left[:AT_ONCE], left[AT_ONCE:]
                connection.sendall(b"".join(now))
                statuses.update(read_status(replies) for _ in now)
        return statuses

    def ask_long(self, head: bytes, parts: Iterator[bytes]) -> int:
        """Send one long request, and return the status of its reply."""
        with closing(self.connect()) as connection, connection.makefile("rb") as replies:
            connection.sendall(head)
            for part in parts:
                connection.sendall(part)
            return read_status(replies)


def read_status(replies: Any) -> int:
    """The status of the next reply, which is read to its end."""
    status = int(replies.readline().split()[1])
    length = 0
    while (line := replies.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    assert len(replies.read(length)) == length
    return status


def request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def long_bodies(attacker: Attacker, count: int) -> Counter[int]:
    """Bodies of 100 MB, half of them in chunks, and one that is announced and never sent."""
    statuses: Counter[int] = Counter()
    part = b" " * MEGABYTE
    target = b"POST /models/iris/predict HTTP/1.1\r\nhost: localhost\r\n"
    for place in range(count):
        if place % 2:
            head = target + b"transfer-encoding: chunked\r\n\r\n"
            parts = iter([b"%x\r\n%s\r\n" % (len(part), part)] * 100 + [b"0\r\n\r\n"])
        else:
            head = target + b"content-length: %d\r\n\r\n" % (100 * MEGABYTE)
            parts = iter([part] * 100)
        statuses[attacker.ask_long(head, parts)] += 1
    with closing(attacker.connect()) as connection:
        connection.sendall(target + b"content-length: 100000000000\r\n\r\n" + part)
    return statuses


def endless_heads(attacker: Attacker) -> None:
    """Headers, an address and trailers of 100 MB, which nobody has asked a token for yet."""
    post = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    for begin in (b"GET / HTTP/1.1\r\n", b"GET /", b"GET / HTTP/1.1\r\nx-a: ", post):
        part = b"x-a: 1\r\n" * 100_000 if begin.endswith(b"\n") else b"y" * MEGABYTE
        with closing(attacker.connect()) as connection, suppress(OSError):
            connection.sendall(begin)
            for _ in range(100):
                connection.sendall(part)


def half_requests(attacker: Attacker, count: int) -> None:
    """Connections that stop in the middle of a line, a header or a body, stay for a while, and are dropped."""
    halves = (
        b"POST /models/iris/pre",
        b"POST /models/iris/predict HTTP/1.1\r\nhost: local",
        b"POST /models/iris/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{",
        b"POST /models/iris/predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    )
    with ExitStack() as stack:
        for place in range(count):
            stack.enter_context(closing(attacker.connect())).sendall(halves[place % len(halves)])


def hostile(attacker: Attacker, size: int) -> None:
    """All of it, so many times."""
    assert long_bodies(attacker, max(2, size // 250)) == {413: max(2, size // 250)}
    half_requests(attacker, min(size, 300))
    endless_heads(attacker)
    words = [secrets.token_urlsafe(12) for _ in range(size)]
    assert attacker.ask(request("GET", f"/{word}") for word in words) == {404: size}
    assert attacker.ask(request("GET", f"/api/v1/models/{word}") for word in words) == {404: size}
    assert attacker.ask(request("GET", f"/models/{word}") for word in words[: size // 10]) == {404: size // 10}
    scored = json.dumps(GOOD).encode()
    assert attacker.ask(request("POST", f"/models/{word}/predict", scored) for word in words) == {404: size}
    bad = [
        b'{"features": {"sepal_length": "long"}}',
        b'{"features": [1, 2, 3, "4"]}',
        b"{" * 1000,
        b'{"features": ' + b"[" * 5000,
        b'{"features": {"a": 1, "a": 1}}',
        b'{"features": [1, 2, 3, 4], "prediction_id": ""}',
        b"\xff" * 1000,
        b"",
    ]
    refused = attacker.ask(request("POST", "/models/iris/predict", bad[place % len(bad)]) for place in range(size))
    assert refused == {400: size}
    labels = [json.dumps({"model": word, "labels": [{"prediction_id": word, "label": 1}]}).encode() for word in words]
    assert attacker.ask(request("POST", "/api/v1/labels", body) for body in labels[: size // 4]) == {404: size // 4}
    # What is no method at all is refused by the parser, which ends the connection.
    for word in (*words[:20], "PROPFIND", "TRACE"):
        assert set(attacker.ask([request(word, "/")])) <= {400, 405}


@pytest.mark.slow
def test_a_server_keeps_its_size_whatever_it_is_sent(servers: ModuleType, tmp_path: Path) -> None:
    assert servers.run_command(tmp_path, "init").returncode == 0
    with servers.running_server(tmp_path) as server:
        server.wait_ready()
        pid, attacker = server.process.pid, Attacker(server.port)
        assert server.post("/models/iris/predict", GOOD).status_code == 200
        # What is loaded and allotted once is there before it is measured.
        hostile(attacker, 100)
        servers.wait_until_settled(pid)
        before, files, series = servers.resident(pid), open_files(pid), server.get("/metrics").text.count("\n")
        hostile(attacker, REQUESTS)
        grown = servers.resident(pid) - before
        assert grown < MOST_GROWTH, f"{grown / MEGABYTE:.1f} MB more than before"
        assert open_files(pid) <= files + 5
        assert server.get("/metrics").text.count("\n") <= series + 5
        reply = server.post("/models/iris/predict", GOOD | {"prediction_id": "after"})
        assert (reply.status_code, reply.json()["prediction"]) == (200, "setosa")
        assert server.get("/readyz").status_code == 200
        status = server.get("/api/v1/models/iris").json()
        assert status["production"] == 1
        assert "exception" not in server.log()
        assert server.stop() == 0
