"""kill -9 of a server at any moment, under load: what was answered is in the log, once, and the loop goes on."""

from __future__ import annotations

import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homeostat import Client

MODEL = "mail"
SECONDS = 200.0
# So many starts lie between two waits until the controllers have acted.
LOOKS = 15
# They read the whole log first, beside the requests that are answered meanwhile.
LOOK_SECONDS = 240.0
SETTINGS = {"serve.tick_seconds": "0.2", "policy.drift.every_seconds": "1", "serve.log_level": "warning"}


@dataclass
class Kills:
    """What happened to the server: seconds that starts took, and that controllers took after some to look at the model.

    Some kills come `in_start`, before it listens.
    """

    starts: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    in_start: int = 0
    kills: int = 0


def kill_and_start(server: Any, load: Any, chance: random.Random, kills: Kills) -> None:
    """Kill it once it has answered some requests, and start it; now and then kill it while it starts."""
    load.wait_for(chance.randrange(1, 100))
    time.sleep(chance.uniform(0, 0.02))
    server.kill()
    kills.kills += 1
    if chance.random() < 0.2:

        def kill() -> None:
            # The process of that moment, which is not the one of now.
            server.process.kill()

        killer = threading.Timer(chance.uniform(0.2, statistics.median(kills.starts)), kill)
        killer.start()
        try:
            server.start()
        except AssertionError:
            kills.in_start += 1
        killer.join()
        server.kill()
        kills.kills += 1
    started = time.monotonic()
    server.start()
    kills.starts.append(time.monotonic() - started)


def run_kills(
    servers: ModuleType, loads: ModuleType, home: Path, *, kills: int, seconds: float, seed: int
) -> tuple[Kills, Any]:
    """Kill a server under load again and again, then look at everything that was answered."""
    chance, done, port = random.Random(seed), Kills(), loads.free_port(seed)  # noqa: S311
    until = time.monotonic() + seconds
    began = time.monotonic()
    with (
        servers.running_server(home, "--port", str(port), **SETTINGS) as server,
        Client(server.url, timeout=120) as client,
    ):
        done.starts.append(time.monotonic() - began)
        with loads.load_on(server.url, home, predicting=8, labelling=1, patient=True, pause=0.05, seed=seed) as load:
            while done.kills < kills and time.monotonic() < until:
                kill_and_start(server, load, chance, done)
                if len(done.starts) % LOOKS == 0:
                    done.looks.append(wait_for_the_loop(client, server))
            load.wait_for(20)
            answers = load.stop()
        done.looks.append(wait_for_the_loop(client, server))
        # Now it has seen all that came.
        report = client.check(MODEL)
        status = client.status()[0]
        assert server.stop() == 0
    assert not report.harmed, [finding.message for finding in report.findings]
    log = loads.read_log(home)
    loads.check_log(log, [answers])
    assert status.rows == len(log.rows) == sum(len(rows) for rows in log.rows.values())
    assert status.labelled == len(log.labels)
    # Nothing is there that nobody asked for.
    assert list(log.rows.keys() ^ {one.id for one in answers.predictions})[:5] == []
    return done, answers


def wait_for_the_loop(client: Client, server: Any) -> float:
    """Wait until the controllers of the server that runs now have looked at the model; returns the seconds."""
    started, began = datetime.now(tz=UTC), time.monotonic()
    while not (found := client.findings(MODEL, limit=1)) or found[0].at < started:
        assert time.monotonic() - began < LOOK_SECONDS, f"The controllers stand still. {server.log()[-3000:]}"
        time.sleep(0.1)
    return time.monotonic() - began


def tell(kills: Kills, answers: Any) -> None:
    """The figures, for whoever looks at the output."""
    again = sum(one.attempts > 1 for one in answers.predictions)
    print(
        f"{kills.kills} kills, {kills.in_start} of them while it started; {len(answers.predictions)} predictions, "
        f"{again} of them sent more than once; {sum(len(one.ids) for one in answers.labels)} labels; "
        f"a start took median {statistics.median(kills.starts):.2f} s, max {max(kills.starts):.2f} s, "
        f"the first look after one median {statistics.median(kills.looks):.2f} s, max {max(kills.looks):.2f} s"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_answered_survives_kill_after_kill(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    kills, answers = run_kills(servers, loads, home, kills=100, seconds=SECONDS, seed=2)
    tell(kills, answers)
    assert kills.kills >= 10
    assert any(one.attempts > 1 for one in answers.predictions)
