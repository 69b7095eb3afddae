"""Real servers for tests: `homeostat serve` as a process of its own, on a free port and a folder of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

MEGABYTE = 1 << 20

COMMAND = [sys.executable, "-c", "from homeostat.cli import main; main()"]
START_SECONDS = 120.0
STOP_SECONDS = 120.0


@dataclass
class RunningServer:
    """A server process; `home` is the folder of its state."""

    home: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    token_file: Path | None = None
    logs: list[Path] = field(default_factory=list)

    def start(self) -> RunningServer:
        """Start it and wait until it listens."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = self.home / f"server-{len(self.logs)}.log"
        self.logs.append(log)
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--json", *self.arguments],
                cwd=self.home,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        assert self.process.stdout is not None
        said = b""
        for line in self.process.stdout:
            said += line
            if line.rstrip() == b"}":
                found = json.loads(said)
                self.url = found["url"]
                self.token_file = Path(found["token_file"]) if found["token_file"] else None
                return self
        raise AssertionError(f"The server did not start: {self.log()[-3000:]}")

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def log(self) -> str:
        """What the process that runs now, or ran last, logged."""
        return self.logs[-1].read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), and return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=120, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=120, **more)

    def wait_ready(self, seconds: float = 180.0) -> None:
        """Wait until it says that it is ready."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.get("/readyz").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"The server is not ready: {self.get('/readyz').text}")


def resident(pid: int) -> int:
    """How many bytes of memory a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def wait_until_settled(pid: int) -> None:
    """Wait until a server that has just begun has loaded what its controllers need, which nobody else waits for."""
    deadline, still, held = time.monotonic() + 60, 0, 0
    while still < 6 and time.monotonic() < deadline:
        time.sleep(0.5)
        now = resident(pid)
        still = still + 1 if abs(now - held) < MEGABYTE else 0
        held = now


def clean_environment(home: Path, **settings: str) -> dict[str, str]:
    """The environment without anybody's Homeostat settings, and with these; names are as in the settings table."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}
    kept |= {"HOMEOSTAT_HOME": str(home / "state")}
    # What the command line does for itself; here it also holds for what runs in the test's own process.
    kept |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | {"HOMEOSTAT_" + name.upper().replace(".", "__"): value for name, value in settings.items()}


@contextmanager
def running_server(home: Path, *arguments: str, **settings: str) -> Iterator[RunningServer]:
    """A server on a free port, stopped in the end whatever happened."""
    arguments = arguments if "--port" in arguments else ("--port", "0", *arguments)
    server = RunningServer(home, arguments, clean_environment(home, **settings))
    try:
        yield server.start()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def run_command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A `homeostat` command on the same folder, as a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=home,
        env=clean_environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
