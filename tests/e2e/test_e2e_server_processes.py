"""Several processes of one server, and several commands and servers on one state folder: they act as one."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from homeostat import Client
from homeostat.records import GatewayReport, Stage

MODEL = "mail"
SETTINGS = {
    "serve.tick_seconds": "0.5",
    "serve.log_level": "warning",
    "policy.rollout.manual_steps": "100%,bake for 1h",
}


def answers_of(client: Client, loads: ModuleType, *, count: int = 40, name: str) -> list[int]:
    """The versions that answer so many entities now."""
    rows = loads.make_rows()[0].tolist()
    return [
        client.predict(MODEL, rows[number], entity=f"entity-{number}", prediction_id=f"{name}-{number}").version
        for number in range(count)
    ]


def gateways_met(server: Any, connections: int) -> set[str]:
    """The names of the processes that take new connections: each goes to whichever takes it first."""
    found = set()
    for _ in range(connections):
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
            connection.request("GET", "/health")
            found.add(json.loads(connection.getresponse().read())["gateway"])
    return found


def metric(server: Any, name: str) -> float:
    """The value of a metric without labels."""
    lines = httpx.get(f"{server.url}/metrics", timeout=120).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def named(client: Client, name: str) -> list[GatewayReport]:
    """What the gateway of a name says of itself."""
    return [one for one in client.routes(MODEL).gateways if one.name == name]


@pytest.mark.slow
def test_workers_share_the_load_and_one_that_dies_is_replaced(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    with (
        servers.running_server(home, "--workers", "2", **SETTINGS) as server,
        Client(server.url, timeout=120) as client,
    ):
        first, other = sorted(loads.wait_for_gateways(client, 2), key=lambda one: one.pid != server.process.pid)
        assert first.pid == server.process.pid != other.pid
        with loads.load_on(server.url, home, predicting=8, labelling=1) as load:
            load.wait_for(300)
            answers = [load.stop()]
        assert gateways_met(server, 300) == {first.name, other.name}
        for pid in (first.pid, other.pid):
            assert (home / "state" / "metrics" / str(server.port) / f"counter_{pid}.db").exists()
        assert metric(server, "prediction_log_written_total") == len(answers[0].predictions)

        with loads.load_on(server.url, home, name="second", predicting=8, labelling=1, patient=True) as load:
            load.wait_for(50)
            os.kill(other.pid, signal.SIGKILL)
            load.wait_for(50)
            replaced = loads.wait_until(
                "the dead worker is replaced",
                lambda: next((one for one in named(client, other.name) if one.pid != other.pid), None),
            )
            load.wait_for(50)
            answers.append(load.stop())
        assert loads.is_alive(replaced.pid)
        assert not loads.is_alive(other.pid)
        # What the dead one counted is not forgotten; what it wrote without answering counts as well, and what it wrote
        # without counting it does not.
        written = sum(len(one.predictions) for one in answers)
        again = sum(said.attempts > 1 for one in answers for said in one.predictions)
        assert abs(metric(server, "prediction_log_written_total") - written) <= again
        below, port = loads.children_of(server.process.pid), server.port
        assert replaced.pid in below
        server.kill()
        loads.wait_until("no process of the killed server is left", lambda: not any(map(loads.is_alive, below)))
        with closing(socket.socket()) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
    loads.check_log(loads.read_log(home), answers)


@pytest.mark.slow
def test_a_gateway_and_a_controller_of_their_own_act_as_one_and_a_candidate_needs_both(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    settings = SETTINGS | {"policy.rollout.steps": "canary 50% for 1h,100%", "policy.rollout.lease": "2s"}
    with ExitStack() as stack:
        gateway = stack.enter_context(servers.running_server(home, "--gateway-only", **settings))
        controller = stack.enter_context(servers.running_server(home, "--controller-only", **settings))
        serving, ordering = Client(gateway.url, timeout=120), Client(controller.url, timeout=120)
        assert httpx.get(f"{gateway.url}/api/v1/status", timeout=120).status_code == 404
        assert controller.post(f"/models/{MODEL}/predict", {"features": [0, 0, 0]}).status_code == 404

        looks = count()

        def versions(name: str) -> set[int]:
            return set(answers_of(serving, loads, name=f"{name}-{next(looks)}"))

        assert versions("first") == {1}
        serving.label(MODEL, [f"first-0-{number}" for number in range(40)], ["spam", "ham"] * 20)
        (only,) = loads.wait_for_gateways(ordering, 1)
        assert only.pid == gateway.process.pid
        loads.wait_until("the controller counted the labels", lambda: ordering.status()[0].labelled == 40)

        ordering.move(MODEL, 2, Stage.PRODUCTION, actor="tests", reason="newer")
        loads.wait_until("the gateway serves version 2", lambda: versions("promoted") == {2})
        back = ordering.roll_back(MODEL, to=None, actor="tests", reason="back")
        assert (back.production, back.confirmed, back.waiting) == (1, [only.name], [])
        assert versions("back") == {1}

        ordering.start_rollout(MODEL, 2, actor="tests", reason="careful")
        loads.wait_until("the gateway serves the candidate too", lambda: versions("canary") == {1, 2})
        controller.kill()
        loads.wait_until("the gateway serves production alone", lambda: versions("alone") == {1})
        assert gateway.get("/health").json()["models"][MODEL]["production_alone"]
        controller.start()
        loads.wait_until("the candidate is watched and served again", lambda: versions("again") == {1, 2})
        assert Client(controller.url, timeout=120).rollouts(MODEL)[-1].state == "running"
        assert gateway.stop() == 0
        assert controller.stop() == 0
    log = loads.read_log(home)
    assert all(len(rows) == 1 for rows in log.rows.values())


READING = ("status", "model list --json", f"history {MODEL}", f"rollout status {MODEL}", "alert list")
WRITING = (
    f"model promote {MODEL} 2",
    f"check {MODEL}",
    f"label import {MODEL} labels.csv",
    f"model rollback {MODEL}",
    f"model verify {MODEL}",
)


def run_commands(
    servers: ModuleType, loads: ModuleType, home: Path, sequences: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Sequences of commands, each in turn, all sequences and a server at once; returns how long the commands took."""
    seconds: dict[str, list[float]] = {}
    lines = ["prediction_id,label", *(f"early-{number},spam" for number in range(200))]
    (home / "labels.csv").write_text("\n".join(lines), encoding="utf-8")

    def run(commands: Sequence[str]) -> None:
        for command in commands:
            began = time.monotonic()
            done = servers.run_command(home, *command.split(), **SETTINGS)
            seconds.setdefault(command, []).append(time.monotonic() - began)
            said = done.stdout + done.stderr
            assert "Traceback" not in said, f"{command}: {said[-3000:]}"
            assert "locked" not in said, f"{command}: {said[-3000:]}"
            # Two who promote and take back at once may contradict each other; that is said, and nothing is broken.
            # A check that finds a rollback, which the other may have just ordered, ends with 1.
            fine = (0, 2) if "promote" in command or "rollback" in command else (0, 1) if "check" in command else (0,)
            assert done.returncode in fine, f"{command}: {said[-3000:]}"

    with servers.running_server(home, **SETTINGS) as server, Client(server.url, timeout=120) as client:
        loads.wait_for_gateways(client, 1)
        with loads.load_on(server.url, home, predicting=4, labelling=1, pause=0.02) as load:
            load.wait_for(20)
            with ThreadPoolExecutor(len(sequences)) as pool:
                for one in [pool.submit(run, commands) for commands in sequences]:
                    one.result()
            answers = load.stop()
        routes = client.routes(MODEL, limit=100_000).routes
        assert server.stop() == 0
        assert "locked" not in server.log()
        assert "exception" not in server.log()
    loads.check_log(loads.read_log(home), [answers])
    loads.check_routes(routes, [answers])
    slowest = max(said.received - said.sent for said in answers.predictions)
    print(f"{len(answers.predictions)} predictions meanwhile, the slowest {slowest:.2f} s")
    for command, took in seconds.items():
        print(f"  {command}: {', '.join(f'{one:.1f}' for one in took)} s")
    return seconds


@pytest.mark.slow
def test_commands_and_a_server_share_a_state_folder(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    both = [one for pair in zip(WRITING, READING, strict=True) for one in pair]
    run_commands(servers, loads, home, [both, both[3:] + both[:3]])
