"""Model files that can't be read: orders are refused, production goes on, a server that starts says what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homeostat.records import Route, Stage, Version

MODEL = "mail"
ROW = {"a": 2.0, "b": 2.0, "c": 2.0}
ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "promote": (f"/api/v1/models/{MODEL}/versions/2/stage", {"stage": "production", "reason": "x"}),
    "rollout": (f"/api/v1/models/{MODEL}/rollouts", {"version": 2, "reason": "x"}),
}
COMMANDS = {
    "promote": ("model", "promote", MODEL, "2"),
    "rollout": ("rollout", "start", MODEL, "2"),
    "rollback": ("model", "rollback", MODEL, "--to", "2"),
}


def without_root(command: list[str]) -> list[str]:
    """The command so that permissions bind it: root without its right to read whatever it likes."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("Permissions do not bind root, and there is no setpriv to give that up.")
    dropped = "-dac_override,-dac_read_search"
    found = [setpriv, "--bounding-set", dropped, "--inh-caps", dropped]
    if subprocess.run([*found, "true"], check=False, capture_output=True).returncode:
        pytest.skip("Permissions do not bind root, and this machine does not let it give that up.")
    return [*found, *command]


def files_of(home: Path, loads: ModuleType, number: int) -> list[Path]:
    """The files that only this version has."""
    versions = {one.number: one for one in loads.read_store(home, Version)}
    others = {entry.sha256 for one in versions.values() if one.number != number for entry in one.manifest.files}
    own = [entry.sha256 for entry in versions[number].manifest.files if entry.path.startswith("model/")]
    return [home / "state" / "files" / sha[:2] / sha for sha in own if sha not in others]


def lock_all(home: Path, loads: ModuleType) -> Callable[[], None]:
    folder = home / "state" / "files"
    folder.chmod(0)
    return lambda: folder.chmod(0o755)


def lock_one(home: Path, loads: ModuleType) -> Callable[[], None]:
    folder = files_of(home, loads, 2)[0].parent
    folder.chmod(0)
    return lambda: folder.chmod(0o755)


def lose_all(home: Path, loads: ModuleType) -> Callable[[], None]:
    folder = home / "state" / "files"
    moved = folder.rename(home / "state" / "elsewhere")
    return lambda: void(moved.rename(folder))


def be_a_file(home: Path, loads: ModuleType) -> Callable[[], None]:
    folder = home / "state" / "files"
    moved = folder.rename(home / "state" / "elsewhere")
    folder.write_bytes(b"no folder")

    def mend() -> None:
        folder.unlink()
        moved.rename(folder)

    return mend


def truncate(home: Path, loads: ModuleType) -> Callable[[], None]:
    path = files_of(home, loads, 2)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return lambda: void(path.write_bytes(content))


def void(_: object) -> None:
    """An action whose result nobody needs."""


FAULTS = {
    "the folder is locked": (lock_all, "storage_failed"),
    "the version is locked": (lock_one, "storage_failed"),
    "the folder is gone": (lose_all, "integrity"),
    "the folder is a file": (be_a_file, "storage_failed"),
    "a file is cut short": (truncate, "integrity"),
}


@pytest.fixture(scope="module")
def servers_here(servers: ModuleType) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "COMMAND", without_root(list(servers.COMMAND)))
        yield servers


@pytest.fixture(scope="module")
def server(
    servers_here: ModuleType, loads: ModuleType, small_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    home = loads.copy_home(small_home, tmp_path_factory.mktemp("unreadable") / "home")
    with servers_here.running_server(home, **{"serve.log_level": "warning"}) as running:
        running.wait_ready()
        yield running


def state(home: Path, loads: ModuleType) -> tuple[dict[int, Stage], int]:
    stages = {one.number: one.stage for one in loads.read_store(home, Version)}
    return stages, max(one.number for one in loads.read_store(home, Route))


def check_answers(server: Any) -> None:
    answered = server.post(f"/models/{MODEL}/predict", {"features": ROW})
    assert answered.status_code == 200, answered.text
    assert answered.json()["version"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_orders_are_refused_and_production_goes_on(server, servers_here, loads, fault):
    home, (damage, code) = server.home, FAULTS[fault]
    before = state(home, loads)
    mend = damage(home, loads)
    try:
        for path, body in ORDERS.values():
            refused = server.post(path, body)
            assert (refused.status_code, refused.json()["code"]) == (503, code), refused.text
            assert "Traceback" not in refused.text
        check_answers(server)
        for name in ("promote", "rollout"):
            done = servers_here.run_command(home, *COMMANDS[name], "--server", server.url)
            assert done.returncode == 2, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
        assert state(home, loads) == before
        check_answers(server)
    finally:
        mend()
    assert server.get("/readyz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_goes_back_to_a_version_that_cannot_be_read(servers_here, loads, small_home, tmp_path, fault):
    home, (damage, _) = loads.copy_home(small_home, tmp_path / "home"), FAULTS[fault]
    # Version 2 served before, and version 1 does now.
    assert servers_here.run_command(home, *COMMANDS["promote"]).returncode == 0
    assert servers_here.run_command(home, "model", "rollback", MODEL).returncode == 0
    before = state(home, loads)
    assert before[0][1] is Stage.PRODUCTION
    mend = damage(home, loads)
    try:
        done = servers_here.run_command(home, *COMMANDS["rollback"])
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert state(home, loads) == before
    finally:
        mend()
    assert servers_here.run_command(home, *COMMANDS["rollback"]).returncode == 0
    assert state(home, loads)[0][2] is Stage.PRODUCTION


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_starts_serves_what_it_can_read(servers_here, loads, small_home, tmp_path, fault):
    home, (damage, _) = loads.copy_home(small_home, tmp_path / "home"), FAULTS[fault]
    assert servers_here.run_command(home, *COMMANDS["rollout"]).returncode == 0
    mend = damage(home, loads)
    try:
        with servers_here.running_server(home, **{"serve.log_level": "warning"}) as running:
            if fault in ("the version is locked", "a file is cut short"):
                running.wait_ready()
                check_answers(running)
                assert running.get(f"/api/v1/models/{MODEL}/routes").json()["gateways"][0]["routes"] == {MODEL: 0}
            else:
                refused = running.post(f"/models/{MODEL}/predict", {"features": ROW})
                assert refused.status_code == 503, refused.text
                assert running.get("/readyz").status_code == 503
            assert running.process.poll() is None
            mend()
            until = time.monotonic() + 60
            while not (answered := running.post(f"/models/{MODEL}/predict", {"features": ROW})).is_success:
                assert time.monotonic() < until, answered.text
                time.sleep(0.5)
            check_answers(running)
            assert running.stop() == 0
            assert "Traceback" not in running.log()
    finally:
        if (home / "state" / "elsewhere").exists() or sys.exc_info()[0] is not None:
            mend()
