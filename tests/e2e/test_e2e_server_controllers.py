"""The controllers of a server are a process of their own: it acts, dies and ends without the requests taking notice."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from homeostat import Client
from homeostat.records import Lease, Progress

MODEL = "mail"
# Nothing happens by itself in time: what acts was asked to.
SETTINGS = {"serve.tick_seconds": "3600", "serve.log_level": "warning"}


def controllers_of(loads: ModuleType, server: Any, other_than: int = 0) -> int:
    """The process below the server that holds the model's lease, which says who acts."""

    def holder() -> int | None:
        leases = [one for one in loads.read_store(server.home, Lease) if one.name == f"controllers:{MODEL}"]
        found = int(leases[0].holder.split(":")[1]) if leases else 0
        return found if found != other_than and found in loads.children_of(server.process.pid) else None

    return int(loads.wait_until("the controllers act", holder))


def look(loads: ModuleType, client: Client, *, rows: int, labelled: int) -> None:
    """Have the controllers look until they counted so many: on a busy machine one look takes longer than is waited."""

    def counted() -> bool:
        client.check(MODEL)
        status = client.status()[0]
        return (status.rows, status.labelled) == (rows, labelled)

    loads.wait_until("the controllers have counted", counted)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_controllers_act_apart_at_once_are_replaced_and_end_with_their_server(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    rows = loads.make_rows()[0].tolist()
    with servers.running_server(home, **SETTINGS) as server, Client(server.url, timeout=120) as client:
        first = controllers_of(loads, server)
        assert os.getpriority(os.PRIO_PROCESS, first) > os.getpriority(os.PRIO_PROCESS, server.process.pid)

        # A look that is asked for sees what was there when it was.
        for number in range(30):
            client.predict(MODEL, rows[number], prediction_id=f"row-{number}")
        look(loads, client, rows=30, labelled=0)
        client.label(MODEL, ["row-0"], ["spam"])
        look(loads, client, rows=30, labelled=1)

        # Ctrl-C goes to every process of a terminal, and stopping is the parent's to say.
        os.kill(first, signal.SIGINT)
        os.kill(first, signal.SIGKILL)
        client.predict(MODEL, rows[0], prediction_id="meanwhile")
        second = controllers_of(loads, server, other_than=first)
        look(loads, client, rows=31, labelled=1)
        assert "controllers_restarts_total 1.0" in httpx.get(f"{server.url}/metrics", timeout=120).text
        assert "Traceback" not in server.log()

        below = loads.children_of(server.process.pid)
        assert second in below
        server.kill()
        loads.wait_until("nobody acts without its server", lambda: not any(map(loads.is_alive, below)))

        # Whoever comes next takes the lease of the dead over.
        server.start()
        third = controllers_of(loads, server, other_than=second)
        assert server.stop() == 0
        assert not loads.is_alive(third)
        assert "died" not in server.log()
    # The lease was given back, and nobody waits for a look any more.
    (kept,) = [one for one in loads.read_store(home, Progress) if one.controller == "look"]
    assert kept.state["asked"] == kept.state["done"]
