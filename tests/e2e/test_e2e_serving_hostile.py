"""Tens of thousands of bent requests: none breaks the server, and the right ones between them are answered right.

Floods, slow senders and long bodies are in tests/http/test_http_memory.py; here it is what stands in the bodies.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homeostat import Client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MODEL = "mail"
REQUESTS = int(os.environ.get("E2E_HOSTILE_REQUESTS", "8000"))
MEGABYTE = 1 << 20
MOST_GROWTH = 40 * MEGABYTE
# Of so many requests one is right.
RIGHT_EVERY = 10
SHOWN = 5


class Caller:
    """One connection, opened anew where the server ended it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content; status 0 where no answer came."""
        try:
            self._socket.sendall(request)
            first = self._replies.readline()
            status, headers = int(first.split()[1]), {}
            while (line := self._replies.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            content = self._replies.read(int(headers.get("content-length", 0)))
        except (OSError, IndexError):
            self.close()
            self._open()
            return 0, {}, b""
        if headers.get("connection", "").lower() == "close":
            self.close()
            self._open()
        return status, headers, content

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def complaint(request: bytes, reply: tuple[int, dict[str, str], bytes], marker: str) -> str:
    """What is wrong with the answer to a bent request, or nothing."""
    status, headers, content = reply
    if not 200 <= status < 500:
        return f"status {status} {content[:200]!r}"
    if status >= 400:
        said = json.loads(content)
        if set(said) != {"error", "code"}:
            return f"an error of another form: {content[:200]!r}"
        return f"it repeats what was sent: {content[:300]!r}" if marker in content.decode() else ""
    if headers.get("content-type", "").startswith("application/json"):
        chance = json.loads(content).get("probability")
        if chance is not None and not (math.isfinite(chance) and 0 <= chance <= 1):
            return f"a probability of {chance}"
    return ""


def attack(
    servers: ModuleType, server: Any, loads: ModuleType, bodies: ModuleType, count: int
) -> tuple[Counter[int], list[str]]:
    """Bent requests with right ones between them; returns the statuses, and the ids of the right ones."""
    rows = loads.make_rows()[0].tolist()[:60]
    with Client(server.url, timeout=120) as client:
        known = [client.predict(MODEL, row, prediction_id=f"known-{place}") for place, row in enumerate(rows)]
    statuses: Counter[int] = Counter()
    complaints: list[str] = []
    ids = [f"known-{place}" for place in range(len(rows))]
    at_first, pid = 0, server.process.pid
    with closing(Caller(server.port)) as caller:
        for number, bent in enumerate(islice(bodies.requests(MODEL, rows, seed=5), count)):
            reply = caller.ask(bent)
            statuses[reply[0]] += 1
            found = complaint(bent, reply, bodies.MARKER)
            if found:
                complaints.append(f"{found} after {bent[:600]!r}")
                assert len(complaints) < SHOWN, complaints
            if number % RIGHT_EVERY == 0:
                place = number // RIGHT_EVERY % len(rows)
                ids.append(f"right-{number}")
                body = json.dumps({"features": rows[place], "prediction_id": ids[-1]}).encode()
                path = f"/models/{MODEL}/predict"
                status, _, content = caller.ask(bodies.request(path, body, {"content-type": "application/json"}))
                said = json.loads(content)
                assert status == 200, content
                assert said["prediction"] == known[place].prediction
                assert said["probability"] == pytest.approx(known[place].probability, abs=1e-9)
            if number == max(count // 5, WARM):
                # What is loaded and allotted once is there by now.
                at_first = servers.resident(pid)
    assert complaints == []
    grown = servers.resident(pid) - at_first
    print(f"{count} bent requests: {dict(sorted(statuses.items()))}, {grown / MEGABYTE:.1f} MB more")
    assert grown < MOST_GROWTH, f"{grown / MEGABYTE:.1f} MB more than after the first fifth"
    return statuses, ids


# So many requests have loaded whatever loads on use.
WARM = 250


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bent_requests_break_nothing(
    servers: ModuleType, loads: ModuleType, hostile_bodies: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    with servers.running_server(home, **{"serve.log_level": "warning"}) as server:
        server.wait_ready()
        servers.wait_until_settled(server.process.pid)
        statuses, ids = attack(servers, server, loads, hostile_bodies, REQUESTS)
        # They were bent indeed, and most were refused for it.
        assert sum(many for status, many in statuses.items() if status >= 400) > REQUESTS / 2
        assert server.get("/readyz").status_code == 200
        assert "Traceback" not in server.log()
        assert server.stop() == 0
    log = loads.read_log(home)
    assert [id_ for id_ in ids if len(log.rows.get(id_, ())) != 1][:SHOWN] == []
