"""kill -9 of one of two processes at any moment, under load: what was answered is in the log, once.

Kills of a whole server are in test_e2e_server_kill.py, a single kill of a worker is in test_e2e_server_processes.py.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from homeostat import Client
from homeostat.records import GatewayReport

MODEL = "mail"
KILLS = int(os.environ.get("E2E_WORKER_KILLS", "12"))
SETTINGS = {"serve.tick_seconds": "0.5", "serve.log_level": "warning"}


def worker_of(client: Client, first: int) -> GatewayReport | None:
    """What the process beside the first one says of itself, if it serves."""
    found = [one for one in client.routes(MODEL).gateways if one.pid != first and MODEL in one.routes]
    return found[0] if found else None


def is_worker(pid: int) -> bool:
    """Whether a process is one that the first one started to serve, and not one that looks after its resources."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill_worker(client: Client, loads: ModuleType, first: int, killed: set[int], chance: random.Random) -> bool:
    """Kill the process beside the first one at any moment: mostly once it serves again, now and then while it starts.

    Says whether it served.
    """
    if chance.random() < 0.2:
        waiting = chance.uniform(0.0, 2.0)
        time.sleep(waiting)
        fresh = [pid for pid in loads.children_of(first) if pid not in killed and is_worker(pid)]
        if fresh and (worker := worker_of(client, first)) is not None and worker.pid in killed:
            victim = max(fresh)
            killed.add(victim)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            return False

    def serving() -> int | None:
        found = worker_of(client, first)
        return found.pid if found is not None and found.pid not in killed and loads.is_alive(found.pid) else None

    victim = loads.wait_until("the other process serves", serving, 120.0)
    time.sleep(chance.uniform(0.0, 0.5))
    killed.add(victim)
    os.kill(victim, signal.SIGKILL)
    return True


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_what_was_answered_survives_kills_of_a_worker(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    chance, killed, served = random.Random(KILLS), set[int](), 0  # noqa: S311
    with (
        servers.running_server(home, "--workers", "2", **SETTINGS) as server,
        Client(server.url, timeout=120) as client,
    ):
        loads.wait_for_gateways(client, 2)
        first = server.process.pid
        with loads.load_on(server.url, home, predicting=8, labelling=1, patient=True, seed=3) as load:
            for _ in range(KILLS):
                load.wait_for(chance.randrange(1, 100))
                served += kill_worker(client, loads, first, killed, chance)
            load.wait_for(50)
            answers = load.stop()
        assert server.stop() == 0
    again = sum(one.attempts > 1 for one in answers.predictions)
    print(
        f"{KILLS} kills, {served} of them of a process that served; {len(answers.predictions)} predictions, "
        f"{again} of them sent more than once"
    )
    log = loads.read_log(home)
    loads.check_log(log, [answers])
    # Nothing is there twice, and nothing that nobody asked for.
    assert all(len(rows) == 1 for rows in log.rows.values())
    assert list(log.rows.keys() ^ {one.id for one in answers.predictions})[:5] == []
    assert served >= KILLS / 2
