"""Servers under load: a state folder to serve, clients in a process of their own, and what the log holds in the end."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import msgspec
import numpy as np

from homeostat import Client
from homeostat.records import GatewayReport, Route
from homeostat.serving.routing import assign

T = TypeVar("T")
MODEL = "mail"
ROWS = 400
PROGRAM = Path(__file__).with_name("load_clients.py")


def clients() -> ModuleType:
    """The program as a module: the shapes of its files."""
    name = "load_clients"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PROGRAM)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def make_rows() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two classes far apart: every version is right about each, so that no guardrail has anything to say."""
    rng = np.random.default_rng(7)
    is_spam = np.arange(ROWS) % 2 == 0
    rows = rng.normal(size=(ROWS, 3)) * 0.4 + np.where(is_spam, 2.0, -2.0)[:, None]
    return rows.round(3), np.where(is_spam, "spam", "ham")


def make_home(home: Path) -> Path:
    """A state folder with version 1 in production, and version 2 a draft that gives other probabilities."""
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    from homeostat.ports import Registration
    from homeostat.records import Stage
    from homeostat.settings import load
    from homeostat.wiring import open_system

    home.mkdir(parents=True)
    rows, labels = make_rows()
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    frame.assign(label=labels).to_csv(home / "training.csv", index=False)
    system = open_system(load(environment={}, overrides={"home": str(home / "state")}))
    for strength in (1.0, 0.01):
        skops.io.dump(LogisticRegression(C=strength).fit(frame, labels), home / "model.skops")
        given = Registration(training=home / "training.csv", target="label", pipeline=home / "model.skops")
        version = system.control.register(MODEL, given, actor="tests", reason="for tests")
        system.control.move(MODEL, version.number, Stage.STAGING, actor="tests", reason="it is ready")
    system.control.move(MODEL, 1, Stage.PRODUCTION, actor="tests", reason="first")
    system.close()
    return home


def copy_home(template: Path, home: Path) -> Path:
    """A state folder of a test's own; nobody may be using the template."""
    return Path(shutil.copytree(template, home))


def free_port(seed: int) -> int:
    """A port that the system gives to nobody by itself.

    One of those that it gives away could be taken while a server is down, be it by a client that connects to itself.
    """
    chance = random.Random(seed)  # noqa: S311
    for _ in range(200):
        port = chance.randrange(15_000, 30_000)
        with closing(socket.socket()) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("There is no free port.")


@dataclass
class Load:
    """Clients that run until `stop`."""

    process: subprocess.Popen[bytes]
    found: Path
    answers: Any = None
    answered: int = 0

    def follow(self) -> None:
        """Count the answers while they come."""
        assert self.process.stdout is not None
        while dots := os.read(self.process.stdout.fileno(), 4096):
            self.answered += len(dots)

    def wait_for(self, more: int, seconds: float = 180.0) -> None:
        """Wait until so many more predictions were answered."""
        enough, until = self.answered + more, time.monotonic() + seconds
        while self.answered < enough:
            assert time.monotonic() < until, f"Only {self.answered} predictions were answered."
            time.sleep(0.002)

    def stop(self) -> Any:
        """Let every client finish what it has begun; returns the answers."""
        if self.answers is None:
            assert self.process.poll() is None, "The clients broke off."
            assert self.process.stdin is not None
            self.process.stdin.close()
            assert self.process.wait(120) == 0
            self.answers = msgspec.json.decode(self.found.read_bytes(), type=clients().Answers)
        return self.answers


@contextmanager
def load_on(url: str, folder: Path, *, name: str = "load", **plan: Any) -> Iterator[Load]:
    """Clients on a server while the block runs."""
    rows, labels = make_rows()
    whole = clients().Plan(url=url, model=MODEL, name=name, features=rows.tolist(), labels=labels.tolist(), **plan)
    plan_file, found = folder / f"{name}-plan.json", folder / f"{name}-answers.json"
    plan_file.write_bytes(msgspec.json.encode(whole))
    command = [sys.executable, str(PROGRAM), str(plan_file), str(found)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    load = Load(process, found)
    follower = threading.Thread(target=load.follow, daemon=True)
    follower.start()
    try:
        yield load
    finally:
        if load.answers is None:
            process.kill()
        process.wait(120)
        follower.join(60)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def wait_until(what: str, holds: Callable[[], T | None], seconds: float = 180.0) -> T:
    """Wait until something is true; returns what it is then."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < until, f"Waited in vain until {what}."
        time.sleep(0.05)


def wait_for_gateways(client: Client, count: int) -> list[GatewayReport]:
    """Wait until so many processes serve the model; returns what they say of themselves."""

    def serving() -> list[GatewayReport] | None:
        found = [one for one in client.routes(MODEL).gateways if MODEL in one.routes]
        return found if len(found) == count else None

    return wait_until(f"{count} gateways serve the model", serving)


class Begun:
    """A request that the server has begun and can't end: it asked for the body, which was not sent yet."""

    def __init__(self, url: str, name: str) -> None:
        rows, _ = make_rows()
        port = int(url.rsplit(":", 1)[1])
        self.ids = [f"{name}-{number}" for number in range(len(rows))]
        self._body = msgspec.json.encode({"instances": rows.tolist(), "prediction_ids": self.ids})
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        head = (
            f"POST /models/{MODEL}/batch_predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        said = self._read(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 100"), said

    def finish(self) -> int:
        """Send the body; returns the status of the answer."""
        self._socket.sendall(self._body)
        said = self._read(b"\r\n\r\n")
        self._socket.close()
        return int(said.split(b" ", 2)[1])

    def _read(self, end: bytes) -> bytes:
        found = b""
        while end not in found:
            part = self._socket.recv(65536)
            assert part, f"The connection was cut off after {found!r}."
            found += part
        return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])
                if parent == pid:
                    found |= {int(entry.name), *children_of(int(entry.name))}
    return found


def read_store(home: Path, kind: type[Any]) -> list[Any]:
    """All control records of a kind."""
    from homeostat.stores.sqlite import SqliteControlStore

    with closing(SqliteControlStore(home / "state" / "control.db")) as store, store.read() as transaction:
        return transaction.list(kind)


@dataclass(frozen=True)
class Logged:
    """A served row of the log."""

    version: int
    arm: str
    entity: str
    output: str
    score: float


@dataclass(frozen=True)
class Log:
    """The whole log of the model: every served row (more than one where an id is there twice), and all labels."""

    rows: dict[str, list[Logged]]
    labels: dict[str, list[str]]


def read_log(home: Path) -> Log:
    """What the log holds, as anybody may read it."""
    from homeostat.stores.sqlite import SqlitePredictionLog

    log = SqlitePredictionLog(home / "state" / "log.db", home / "state" / "log")
    rows: dict[str, list[Logged]] = {}
    labels: dict[str, list[str]] = {}
    for _, block in log.blocks_after(MODEL, 0):
        if not block.shadow:
            parts = zip(block.ids, block.version, block.arm, block.entity, block.output, block.score, strict=True)
            for id_, version, arm, entity, output, score in parts:
                rows.setdefault(id_, []).append(Logged(int(version), arm, entity, output, float(score)))
    for _, given in log.labels_after(MODEL, 0):
        for id_, label in zip(given.ids, given.values, strict=True):
            labels.setdefault(id_, []).append(str(label))
    log.close()
    return Log(rows, labels)


def check_log(log: Log, answers: Iterable[Any]) -> None:
    """Every answered prediction is in the log once, as it was answered; every label that was taken is there."""
    for one in answers:
        assert one.failures == []
        for said in one.predictions:
            held = log.rows.get(said.id, [])
            assert len(held) == 1, f"{said.id} is in the log {len(held)} times"
            (row,) = held
            assert row.entity == said.entity
            # Where an answer was cut off, the row of the first try is what the log keeps.
            if said.attempts == 1:
                assert (row.version, row.arm, row.output) == (said.version, said.arm, said.prediction), said
                assert abs(row.score - said.probability) < 1e-9, said
        for given in one.labels:
            assert given.status == 200
            for id_, label in zip(given.ids, given.labels, strict=True):
                assert label in log.labels.get(id_, []), f"the label of {id_} is lost"
                assert given.attempts > 1 or log.labels[id_] == [label]


def check_routes(routes: Sequence[Route], answers: Iterable[Any]) -> Counter[int]:
    """Every answer names the version that its route gives to its entity; returns how many each version gave."""
    by_number = {route.number: route for route in routes}
    versions: Counter[int] = Counter()
    for one in answers:
        by_route: dict[int, list[Any]] = {}
        for said in one.predictions:
            by_route.setdefault(said.route, []).append(said)
        for number, part in by_route.items():
            route = by_number[number]
            chosen = assign(route, [said.entity for said in part])
            for said, position in zip(part, chosen.tolist(), strict=True):
                arm = route.arms[position]
                assert (said.version, said.arm) == (arm.version, arm.name), said
                versions[said.version] += 1
    return versions


def quantile_ms(answers: Iterable[Any], share: float) -> float:
    """A quantile of the time from sending to having the answer, in milliseconds."""
    return float(np.quantile([said.received - said.sent for one in answers for said in one.predictions], share) * 1000)
