"""Closed loop: wrk sends the next request on a connection once the last is answered, as fast as it can."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.model import Ask
from benchmarks.serving.servers import Cores

SCRIPT = Path(__file__).with_name("closed_loop.lua")
TIMEOUT_SECONDS = 30
MISSING = "This needs wrk: apt-get install wrk (or build it: https://github.com/wg/wrk)"


class WrkFailed(Exception):
    """wrk did not say what it should."""


@dataclass(frozen=True)
class Closed:
    """What wrk measured; latencies in milliseconds. `good` are replies that were read and had no status of an error."""

    connections: int
    good: int
    errors: int
    seconds: float
    p50: float
    p99: float
    p999: float
    slowest: float

    @property
    def rate(self) -> float:
        """Good replies a second."""
        return self.good / self.seconds if self.seconds else 0.0


def find_wrk() -> str:
    """Where wrk is. Ends the program where it is nowhere."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit(MISSING)
    return found


def parse(said: str, connections: int) -> Closed:
    """Read what the script's `done` wrote. Raises `WrkFailed`."""
    line = next((line for line in said.splitlines() if line.startswith("result {")), None)
    if line is None:
        raise WrkFailed(f"wrk said: {said.strip()[-300:]!r}")
    found = json.loads(line.removeprefix("result "))
    broken = found["connect"] + found["read"] + found["write"] + found["timeout"]
    return Closed(
        connections=connections,
        # wrk counts a reply with a status of 400 and more among its requests.
        good=found["requests"] - found["status"],
        errors=found["status"] + broken,
        seconds=found["microseconds"] / 1e6,
        p50=found["p50"] / 1000,
        p99=found["p99"] / 1000,
        p999=found["p999"] / 1000,
        slowest=found["max"] / 1000,
    )


def run(port: int, ask: Ask, *, connections: int, seconds: float, core: int | None, folder: Path) -> Closed:
    """Ask one thing over so many connections for a while. Raises `WrkFailed`."""
    body = folder / "body.bin"
    body.write_bytes(ask.body)
    headers = [part for pair in ask.head().items() for part in pair]
    options = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", f"--timeout={TIMEOUT_SECONDS}s"]
    url = f"http://127.0.0.1:{port}{ask.path}"
    command = [*Cores.on(core), find_wrk(), *options, "-s", str(SCRIPT), url, "--", str(body), *headers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    return parse(done.stdout + done.stderr, connections)
