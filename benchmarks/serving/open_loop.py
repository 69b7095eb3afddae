"""Open loop: requests at a constant rate, whether or not earlier ones are answered.

A request's time counts from the moment it was due, not from when it could be sent: where a server stands still for a
second, all that was due in that second is late, and says so. A closed loop hides this ("coordinated omission"): its
client waits, and sends nothing meanwhile. https://www.scylladb.com/2021/04/22/on-coordinated-omission/

Run as a program it reads a `Plan` as JSON from its first argument and writes an `Opened` to standard output. It turns
round and round between its sockets and the clock, so it wants a core of its own.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.serving.model import Ask
from benchmarks.serving.servers import Cores

ROOT = Path(__file__).parents[2]
CONNECTIONS = 64
# After the last request was due, so long is waited for answers.
PATIENCE_SECONDS = 10.0
END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    """What to send, how often and for how long; `request` is the whole request in base64."""

    port: int
    request: str
    rate: float
    seconds: float
    connections: int = CONNECTIONS


@dataclass(frozen=True)
class Opened:
    """What came of it; latencies in milliseconds, from the moment a request was due.

    `sent` counts requests that went out: those that were not answered in the end are among the errors.
    `late_ms` is the 99th percentile of how long after its moment the client itself came to a request while it had a
    free connection: what of the latencies is the client's own.
    """

    rate: float
    sent: int
    good: int
    errors: int
    seconds: float
    p50: float
    p99: float
    p999: float
    late_ms: float


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 of none.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5), quantile([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    at = -(-len(ordered) * share // 1)
    return ordered[max(int(at), 1) - 1]


class Connection:
    """One connection with at most one request under way, which was due at `due`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = self._open()
        self.due = 0.0
        self._read = bytearray()
        self._wanted = -1

    def _open(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)  # noqa: FBT003
        return made

    def send(self, request: bytes, due: float) -> None:
        """Send it. What the kernel does not take at once is sent before anything else is done."""
        self.due = due
        self._read.clear()
        self._wanted = -1
        try:
            sent = self.socket.send(request)
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            self.socket.settimeout(10)
            self.socket.sendall(request[sent:])
            self.socket.setblocking(False)  # noqa: FBT003

    def receive(self) -> int:
        """The status, once the answer is complete; 0 before. Raises `OSError` where the connection ended."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionResetError
        self._read += part
        if self._wanted < 0:
            end = self._read.find(END_OF_HEAD)
            if end < 0:
                return 0
            head = bytes(self._read[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            size = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else None
            self._wanted = end + 4 + size if size is not None else 0
        if len(self._read) < self._wanted or (self._wanted == 0 and not self._read.endswith(LAST_CHUNK)):
            return 0
        return int(self._read[9:12])

    def renew(self) -> None:
        self.socket.close()
        self.socket = self._open()


class Meter:
    """Sends by the clock and notes what comes back."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._request = b64decode(plan.request)
        self._poll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._errors = 0
        self._waiting: set[int] = set()

    def run(self) -> Opened:
        """Everything that the plan says."""
        for _ in range(self._plan.connections):
            self._add(Connection(self._plan.port))
        count, gap = max(round(self._plan.rate * self._plan.seconds), 1), 1.0 / self._plan.rate
        gc.disable()
        began = time.perf_counter()
        sent = 0
        until = began + count * gap + PATIENCE_SECONDS
        # Whether a free connection was there when the next request became due: then lateness is this program's.
        had_idle = True
        while (sent < count or self._waiting) and (now := time.perf_counter()) < until:
            while sent < count and self._idle and (due := began + sent * gap) <= now:
                if had_idle:
                    self._late.append(now - due)
                self._begin(self._idle.popleft(), due)
                sent += 1
                now = time.perf_counter()
            had_idle = bool(self._idle)
            for fd, _ in self._poll.poll(0):
                self._finish(self._by_fd[fd])
        ended = time.perf_counter()
        gc.enable()
        for one in self._by_fd.values():
            one.socket.close()
        self._poll.close()
        # What was due and never went out, and what went out and never came back, has failed.
        errors = self._errors + len(self._waiting) + count - sent
        ms = [value * 1000 for value in self._latencies]
        return Opened(
            rate=self._plan.rate,
            sent=sent,
            good=len(ms),
            errors=errors,
            seconds=ended - began,
            p50=quantile(ms, 0.5),
            p99=quantile(ms, 0.99),
            p999=quantile(ms, 0.999),
            late_ms=quantile(self._late, 0.99) * 1000,
        )

    def _add(self, connection: Connection) -> None:
        fd = connection.socket.fileno()
        self._by_fd[fd] = connection
        self._poll.register(fd, select.EPOLLIN)
        self._idle.append(connection)

    def _begin(self, connection: Connection, due: float) -> None:
        self._waiting.add(connection.socket.fileno())
        try:
            connection.send(self._request, due)
        except OSError:
            self._lost(connection)

    def _finish(self, connection: Connection) -> None:
        fd = connection.socket.fileno()
        try:
            status = connection.receive()
        except OSError:
            self._lost(connection)
            return
        if status == 0:
            return
        if fd in self._waiting:
            self._waiting.discard(fd)
            if status == 200:
                self._latencies.append(time.perf_counter() - connection.due)
            else:
                self._errors += 1
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        """A connection ended: a request that was under way on it has failed; a new one takes its place."""
        fd = connection.socket.fileno()
        if fd in self._waiting:
            self._waiting.discard(fd)
            self._errors += 1
        else:
            self._idle.remove(connection)
        self._poll.unregister(fd)
        del self._by_fd[fd]
        try:
            connection.renew()
        except OSError:
            return
        self._add(connection)


def run(
    port: int, ask: Ask, *, rate: float, seconds: float, core: int | None, folder: Path, connections: int = CONNECTIONS
) -> Opened:
    """Ask one thing at a constant rate, from a process of its own."""
    request = b64encode(ask.as_bytes(port)).decode("ascii")
    plan = folder / "open-loop.json"
    plan.write_text(json.dumps(asdict(Plan(port, request, rate, seconds, connections))), encoding="utf-8")
    command = [*Cores.on(core), sys.executable, "-m", "benchmarks.serving.open_loop", str(plan)]
    wait = seconds + PATIENCE_SECONDS + 120
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=wait, check=True)
    return Opened(**json.loads(done.stdout))


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(asdict(Meter(plan).run())))


if __name__ == "__main__":
    main()
