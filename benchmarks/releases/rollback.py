"""Rollbacks of real servers under load: how long the newer version still answers, and that none of it fails."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from benchmarks.releases.runs import Share
from benchmarks.statistics.section import Section, Table

from homeostat import Client
from homeostat.records import Rollout, Stage

TESTS = Path(__file__).parents[2] / "tests"
GATEWAYS = 4
CLIENTS = 8
PAUSE = 0.02
SETTINGS = {
    "serve.tick_seconds": "0.25",
    "serve.log_level": "warning",
    "policy.rollout.steps": "canary 50% for 1h,100%",
    "policy.rollout.manual_steps": "100%,bake for 1h",
    # The same version is tried again and again here.
    "policy.rollout.retry_after": "0s",
}
WRONG = 3


def beside_tests(name: str, path: str) -> ModuleType:
    """A module of the tests: they start the same servers, and put the same load on them."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@dataclass
class Back:
    """One rollback, with times of the clock that all processes share.

    `began` is when it was ordered, or decided; `known` when the answer said that all gateways confirm, if anybody
    waited for one.
    """

    began: float
    route: int
    newer: int
    known: float | None = None
    confirmed: int = 0
    production: int = 0


@dataclass
class Measured:
    """What came of one kind of rollback."""

    backs: list[Back]
    answers: Any
    seconds: list[float] = field(default_factory=list)
    late: int = 0

    def judge(self) -> None:
        """How long after each the last answer of the newer version came, and who got one after the confirmation."""
        said = sorted(self.answers.predictions, key=lambda one: one.received)
        received = np.array([one.received for one in said])
        for back in self.backs:
            first, last = np.searchsorted(received, [back.began, back.began + 30.0])
            newer = [one for one in said[first:last] if one.version == back.newer and one.route < back.route]
            self.seconds.append(max((one.received - back.began for one in newer), default=0.0))
            if back.known is not None:
                self.late += sum(one.sent > back.known for one in newer)


def make_home(loads: ModuleType, home: Path) -> Path:
    """Versions 1 and 2 that are right about every row, 1 in production; version 3 is wrong about every row."""
    import pandas as pd  # noqa: PLC0415
    import skops.io  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    from homeostat.ports import Registration  # noqa: PLC0415
    from homeostat.settings import load  # noqa: PLC0415
    from homeostat.wiring import open_system  # noqa: PLC0415

    loads.make_home(home)
    rows, labels = loads.make_rows()
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    turned = np.where(labels == "spam", "ham", "spam")
    frame.assign(label=turned).to_csv(home / "turned.csv", index=False)
    skops.io.dump(LogisticRegression().fit(frame, turned), home / "turned.skops")
    system = open_system(load(environment={}, overrides={"home": str(home / "state")}))
    given = Registration(training=home / "turned.csv", target="label", pipeline=home / "turned.skops")
    assert system.control.register(loads.MODEL, given, actor="benchmark", reason="a worse one").number == WRONG
    system.control.move(loads.MODEL, WRONG, Stage.STAGING, actor="benchmark", reason="it is to be tried")
    system.close()
    return home


def order(client: Client, model: str, times: int, pause: float) -> list[Back]:
    """Promote version 2 and take it back by an order, so many times."""
    found = []
    for _ in range(times):
        client.move(model, 2, Stage.PRODUCTION, actor="benchmark", reason="newer")
        time.sleep(pause)
        began = time.monotonic()
        answer = client.roll_back(model, to=None, actor="benchmark", reason="back")
        known = time.monotonic() if not answer.waiting else None
        found.append(Back(began, answer.route, 2, known, len(answer.confirmed), answer.production))
    return found


def breach(client: Client, loads: ModuleType, times: int, seconds: float = 60.0) -> list[Back]:
    """Give half of the traffic to a version that is always wrong, and wait until the rollout takes it back by itself.

    The labels come at once. What is timed begins with the decision, not with the first wrong answer.
    """
    found = []
    offset = time.time() - time.monotonic()
    for _ in range(times):
        started: Rollout = client.start_rollout(loads.MODEL, WRONG, actor="benchmark", reason="a worse one")
        until = time.monotonic() + seconds
        while True:
            rollout = next(one for one in client.rollouts(loads.MODEL) if one.id == started.id)
            if not rollout.state.is_under_way or time.monotonic() > until:
                break
            time.sleep(0.1)
        back = next(
            (
                one
                for one in client.decisions(loads.MODEL, limit=20)
                if one.kind == "rollback" and one.inputs.get("rollout") == started.id
            ),
            None,
        )
        if back is None:
            raise RuntimeError(f"The rollout of a version that is always wrong is {rollout.state.value}: {rollout}")
        route = client.routes(loads.MODEL).routes
        production = [one.number for one in client.versions(loads.MODEL) if one.stage is Stage.PRODUCTION]
        newest = max(one.number for one in route)
        found.append(Back(back.at.timestamp() - offset, newest, WRONG, None, 0, production[0]))
    return found


def measure(folder: Path, *, orders: int, breaches: int, pause: float = 0.15) -> tuple[Measured, Measured]:
    """Both kinds, one after the other, on one server of four gateway processes under load."""
    servers, loads = (
        beside_tests("running_servers", "running_servers.py"),
        beside_tests("served_load", "e2e/served_load.py"),
    )
    home = make_home(loads, folder / "home")
    found = []
    with (
        servers.running_server(home, "--workers", str(GATEWAYS), **SETTINGS) as server,
        Client(server.url) as client,
    ):
        loads.wait_for_gateways(client, GATEWAYS)
        for name in ("breaches", "orders"):
            with loads.load_on(server.url, home, name=name, predicting=CLIENTS, labelling=2, pause=PAUSE) as load:
                load.wait_for(200)
                backs = (
                    breach(client, loads, breaches) if name == "breaches" else order(client, loads.MODEL, orders, pause)
                )
                time.sleep(1.0)
                answers = load.stop()
            found.append(Measured(backs, answers))
            found[-1].judge()
        routes = client.routes(loads.MODEL, limit=1_000_000).routes
    # What was answered is in the log, by the version that the route gives to that entity.
    loads.check_log(loads.read_log(home), [one.answers for one in found])
    loads.check_routes(routes, [one.answers for one in found])
    return found[0], found[1]


def run(*, orders: int, breaches: int) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        by_itself, by_order = measure(Path(folder), orders=orders, breaches=breaches)
    rows: list[list[object]] = []
    for name, one in (("a breach, decided by the rollout", by_itself), ("an order by HTTP", by_order)):
        took = np.array(one.seconds) * 1000
        seconds = one.answers.seconds
        rows.append(
            [
                name,
                f"{len(took):,}",
                *(f"{np.quantile(took, share):.0f} ms" for share in (0.5, 0.99)),
                f"{took.max():.0f} ms",
                f"{len(one.answers.predictions):,} ({len(one.answers.predictions) / seconds:.0f}/s)",
                len(one.answers.failures),
            ]
        )
    verified = sum(
        one.production == 1 and one.confirmed == GATEWAYS and one.known is not None for one in by_order.backs
    )
    returned = sum(one.production == 1 for one in by_itself.backs)
    return Section(
        "Rollback",
        f"One server with {GATEWAYS} gateway processes, {CLIENTS} clients that predict and 2 that label, all on this "
        "machine. Time is from the decision, or from sending the order, until a client got the last answer of the "
        "newer version. For a breach, half of the traffic goes to a version that is always wrong; for an order, all of "
        "it goes to a newer version. Every answer was found in the log, by the version that its route gives it.",
        [
            Table(["what", "rollbacks", "p50", "p99", "longest", "requests", "failed requests"], rows),
            Table(
                ["check", "holds"],
                [
                    ["all four gateways confirmed, and the old version is in production", Share(verified, orders)],
                    ["after a breach the old version is in production", Share(returned, breaches)],
                    ["requests sent after the confirmation that the newer version answered", by_order.late],
                ],
            ),
        ],
    )
