"""Measures one server after the other, in rounds, and keeps every figure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.serving import closed_loop, environments, open_loop, own
from benchmarks.serving.closed_loop import Closed
from benchmarks.serving.model import Ask
from benchmarks.serving.open_loop import Opened
from benchmarks.serving.peers import Peer, Setting, own_bin
from benchmarks.serving.servers import Cores, Memory, NoAnswer, Server, ask_once, free_port, running

# Below what the slowest can do.
LOW_RATE = 20.0
WARM_SECONDS = 1.0
WARM_CONNECTIONS = 4
BATCH_CONNECTIONS = (1, 4)
BATCH_SECONDS = 4.0
UNKNOWN_SECONDS = 5.0
# What a server can do wrong: not start, not answer, or answer with something else. It ends that server's turn alone.
BROKEN = (
    environments.NotMade,
    NoAnswer,
    closed_loop.WrkFailed,
    OSError,
    subprocess.SubprocessError,
    ValueError,
    LookupError,
)


@dataclass(frozen=True)
class Options:
    """How long and how often."""

    seconds: float
    rounds: int
    connections: tuple[int, ...]
    cores: Cores
    folder: Path


@dataclass(frozen=True)
class Logged:
    """Rows that replies of 200 stand for, and those in the log.

    wrk hangs up at the end with a request under way on each connection: such a row may be in the log without its reply
    having been read. Fewer rows than replies are losses, whatever the loop.
    """

    replied: int
    logged: int
    may_be_more: int

    @property
    def lost(self) -> int:
        return max(self.replied - self.logged, 0)

    @property
    def unread(self) -> int:
        return max(self.logged - self.replied, 0)

    @property
    def is_right(self) -> bool:
        return self.replied <= self.logged <= self.replied + self.may_be_more


@dataclass
class Subject:
    """Who was measured with one kind of request, and all that came of it; `problem` says why it wasn't.

    `cpu` has for each number of connections the seconds of the processor that a request took.
    """

    key: str
    title: str
    version: str = ""
    rows: int = 1
    closed: dict[int, list[Closed]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)
    half: list[Opened] = field(default_factory=list)
    low: list[Opened] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)
    problem: str = ""

    def rate(self, connections: int) -> float:
        """Requests a second: the median of the rounds."""
        return median(one.rate for one in self.closed[connections])

    @property
    def best(self) -> float:
        """Requests a second at the number of connections that suits it best; 0 where nothing was measured."""
        return max((self.rate(connections) for connections in self.closed), default=0.0)

    @property
    def errors(self) -> int:
        many = sum(one.errors for ones in self.closed.values() for one in ones)
        return many + sum(one.errors for one in (*self.half, *self.low))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load(
    subject: Subject, server: Server, ask: Ask, options: Options, count: Callable[[int, float], int] | None = None
) -> None:
    """Closed loops, then open ones; with `count` the log is compared after each."""
    core, folder = options.cores.client, server.log.parent

    def check(good: int, may_be_more: int, slowest: float) -> None:
        if count is not None:
            rows = good * ask.rows
            subject.logged.append(Logged(rows, count(rows, slowest), may_be_more * ask.rows))

    def check_closed(found: Closed) -> None:
        server.wait_idle()
        # Where nothing was answered in time, nobody knows how long one takes.
        check(found.good, found.connections, found.slowest / 1000 if found.good else UNKNOWN_SECONDS)

    connections = options.connections if ask.rows == 1 else BATCH_CONNECTIONS
    seconds = options.seconds if ask.rows == 1 else max(options.seconds, BATCH_SECONDS)
    server.wait_idle()
    warm = closed_loop.run(
        server.port, ask, connections=WARM_CONNECTIONS, seconds=WARM_SECONDS, core=core, folder=folder
    )
    check_closed(warm)
    best = 0.0
    for number in connections:
        before = server.cpu_seconds()
        closed = closed_loop.run(server.port, ask, connections=number, seconds=seconds, core=core, folder=folder)
        if closed.good:
            subject.cpu.setdefault(number, []).append((server.cpu_seconds() - before) / closed.good)
        subject.closed.setdefault(number, []).append(closed)
        check_closed(closed)
        best = max(best, closed.rate)
        say(f"  {subject.title}, {number} connections: {closed.rate * ask.rows:,.0f}/s, p99 {closed.p99:.2f} ms")
    if ask.rows > 1 or best == 0.0:
        return
    for rate, into in ((best / 2, subject.half), (LOW_RATE, subject.low)):
        opened = open_loop.run(server.port, ask, rate=rate, seconds=options.seconds, core=core, folder=folder)
        into.append(opened)
        server.wait_idle()
        # All replies were waited for: not one row more than those.
        check(opened.good, opened.errors, 0.0)
        say(f"  {subject.title}, {rate:,.0f}/s: p50 {opened.p50:.2f} ms, p99 {opened.p99:.2f} ms")


def measure_peer(peer: Peer, files: Path, right: float, options: Options, subject: Subject, number: int) -> None:
    """One round of a peer. What goes wrong is kept as its problem."""
    folder = options.folder / f"{peer.key}-{number}"
    folder.mkdir()
    try:
        made = environments.make(peer.environment).joinpath("bin") if peer.environment else own_bin()
        setting = Setting(files, folder, free_port(), made)
        started = peer.start(setting)
        for command in started.before:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                raise NoAnswer((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200])
        subject.version = environments.version_of(made.parent, peer.package)
        with running(started.command, setting.port, folder, options.cores.server, started.environment) as server:
            server.wait(peer.ask)
            subject.starts.append(server.seconds)
            status, headers, content = ask_once(server.port, peer.ask)
            found = peer.read(content, headers)
            if status != 200 or (found is not None and abs(found - right) > 1e-5):
                raise NoAnswer(f"the answer is {found} with {status}, and {right} is right")
            load(subject, server, peer.ask, options)
            subject.memories.append(server.memory())
    except BROKEN as error:
        subject.problem = str(error) or type(error).__name__
        say(f"  {subject.title}: {subject.problem}")


def measure_homeostat(fresh: Path, right: float, options: Options, subjects: dict[str, Subject], number: int) -> None:
    """One round of every kind of request, each on a server and a copy of the fresh state folder of its own."""
    for body in own.bodies():
        subject = subjects[body.key]
        folder = options.folder / f"homeostat-{body.key}-{number}"
        home = folder / "state"
        folder.mkdir()
        try:
            shutil.copytree(fresh, home)
            with own.serving(home, options.cores.server, own.bodies()[0].ask) as server:
                subject.starts.append(server.seconds)
                subject.problem = own.supports(server.port, body, right)
                if not subject.problem:
                    log = own.LogReader(home)
                    # What was asked until here.
                    log.new_rows(1 + body.ask.rows)
                    load(subject, server, body.ask, options, log.new_rows)
                    subject.memories.append(server.memory())
        except BROKEN as error:
            subject.problem = str(error) or type(error).__name__
        if subject.problem:
            say(f"  {subject.title}: {subject.problem}")
