"""Server processes: started on one core, asked until they answer, measured with all their children, and ended."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.model import Ask

START_SECONDS = 180.0
STOP_SECONDS = 30.0
IDLE_SECONDS = 30.0


class NoAnswer(Exception):
    """A server did not start, or does not answer as it should; the text says why, in one line."""


@dataclass(frozen=True)
class Cores:
    """The cores that server and client are kept on; none where the machine has only one."""

    server: int | None
    client: int | None

    @staticmethod
    def found() -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2 or shutil.which("taskset") is None:
            return Cores(None, None)
        return Cores(cores[0], cores[1])

    @staticmethod
    def on(core: int | None) -> list[str]:
        """What a command begins with."""
        return [] if core is None else ["taskset", "-c", str(core)]


@dataclass(frozen=True)
class Memory:
    """Of a process and all below it, in bytes: pages in memory, and these with shared ones counted in parts."""

    resident: int
    proportional: int


def clean_environment() -> dict[str, str]:
    """The environment without anybody's Homeostat settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}


def compiled() -> dict[str, str]:
    """Lets Python keep what it compiles, as it does for whatever was installed: else each start compiles all anew."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "bench-bytecode")}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask_once(port: int, ask: Ask, seconds: float = 60.0) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and content of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", ask.path, ask.body, ask.head())
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@dataclass
class Server:
    """A process that serves; `seconds` is how long it took from its start to its first answer."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    seconds: float = 0.0

    def wait(self, ready: Ask | str) -> None:
        """Wait until a request, or a GET of a path, is answered with 200. Raises `NoAnswer`."""
        began = time.perf_counter()
        status: object = "nothing"
        while time.perf_counter() - began < START_SECONDS:
            if self.process.poll() is not None:
                raise NoAnswer(f"ended with status {self.process.returncode}: {self.last_words()}")
            try:
                status = get(self.port, ready)[0] if isinstance(ready, str) else ask_once(self.port, ready)[0]
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            if status == 200:
                self.seconds = time.perf_counter() - began
                return
            time.sleep(0.01)
        raise NoAnswer(f"no answer in {START_SECONDS:.0f} s ({status}): {self.last_words()}")

    def last_words(self) -> str:
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return (lines or ["it said nothing"])[-1].strip()[:200]

    def cpu_seconds(self) -> float:
        """What it and everything below it has used of the processor so far. It does not depend on who else is busy."""
        ticks = 0
        for pid in (self.process.pid, *children_of(self.process.pid)):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
                # utime and stime: proc(5)
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait_idle(self) -> None:
        """Wait until it does nothing: until it is done with what a client left under way when it hung up.

        Otherwise the next measurement would wait for the rest of the one before.
        """
        until, quiet = time.perf_counter() + IDLE_SECONDS, 0
        while quiet < 2 and time.perf_counter() < until:
            before = self.cpu_seconds()
            time.sleep(0.25)
            quiet = quiet + 1 if self.cpu_seconds() - before <= 0.03 else 0

    def memory(self, *, alone: bool = False) -> Memory:
        """What it holds with its children, or `alone`. A process that ends meanwhile counts as nothing."""
        resident = proportional = 0
        for pid in (self.process.pid, *(() if alone else children_of(self.process.pid))):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                    name, _, value = line.partition(":")
                    if name == "Rss":
                        resident += int(value.split()[0]) * 1024
                    elif name == "Pss":
                        proportional += int(value.split()[0]) * 1024
        return Memory(resident, proportional)


def children_of(pid: int) -> set[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    left = [pid]
    while left:
        below = parents.get(left.pop(), [])
        found.update(below)
        left += below
    return found


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, core: int | None, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A server of its own session, ended with everything below it whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"server-{port}.log"
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*Cores.on(core), *command],
            cwd=folder,
            env={**clean_environment(), **one_thread, **environment, **compiled()},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Server(process, port, log)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
