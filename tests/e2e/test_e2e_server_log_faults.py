"""A server whose prediction log fails under it: what was answered is in the log in the end, without a restart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MODEL = "mail"
SETTINGS = {"log.wait_seconds": "0.2", "serve.tick_seconds": "0.3"}


def metric(server: Any, kind: str) -> float:
    name = f"prediction_log_{kind}_total "
    lines = server.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])


def predict(server: Any, loads: ModuleType, *names: str) -> int:
    body = {"instances": loads.make_rows()[0][: len(names)].tolist(), "prediction_ids": list(names)}
    return int(server.post(f"/models/{MODEL}/batch_predict", body).status_code)


@pytest.mark.slow
def test_rows_that_are_spilled_come_back_and_all_of_it_is_seen(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    with servers.running_server(home, **SETTINGS, **{"log.policy": "spill"}) as server:
        assert predict(server, loads, "before") == 200
        with closing(sqlite3.connect(home / "state" / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert predict(server, loads, "a", "b") == 200
            assert predict(server, loads, "c") == 200
            assert metric(server, "spilled") == 3
            loads.wait_until("health says so", lambda: "locked" in server.get("/health").json()["log"])
            findings = f"/api/v1/models/{MODEL}/findings?check=log"
            loads.wait_until("a finding", lambda: server.get(findings).json()["findings"])
            server.kill()
        server.start()
        loads.wait_until("rows of the dead process", lambda: metric(server, "replayed") == 3)
        assert set(loads.read_log(home).rows) >= {"before", "a", "b", "c"}
        assert not list((home / "state" / "spill").iterdir())
        assert server.get("/health").json()["log"] == ""


@pytest.mark.slow
def test_a_server_whose_log_is_locked_and_then_deleted_goes_on(
    servers: ModuleType, loads: ModuleType, small_home: Path, tmp_path: Path
) -> None:
    home = loads.copy_home(small_home, tmp_path / "home")
    with servers.running_server(home, **SETTINGS) as server:
        with closing(sqlite3.connect(home / "state" / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert predict(server, loads, "refused") == 503
            other.execute("COMMIT")
        assert predict(server, loads, "one", "two") == 200
        assert (metric(server, "failed"), metric(server, "written")) == (1, 2)
        for file in (home / "state").glob("log.db*"):
            file.unlink()
        assert predict(server, loads, "three") == 200
        server.kill()
    assert set(loads.read_log(home).rows) >= {"one", "two", "three"}
    assert "refused" not in loads.read_log(home).rows
