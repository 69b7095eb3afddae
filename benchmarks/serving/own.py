"""Homeostat as its users run it: registered and promoted by commands, served by `homeostat serve` with its defaults."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from benchmarks.serving import model
from benchmarks.serving.model import Ask
from benchmarks.serving.peers import MODEL, own_bin
from benchmarks.serving.servers import NoAnswer, Server, ask_once, clean_environment, free_port, running

BATCHES = (1_000, 10_000)
LOG_SECONDS = 20.0
QUIET_SECONDS = 1.0
INFER = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True)
class Body:
    """One way to ask Homeostat, and how its answer reads."""

    key: str
    title: str
    ask: Ask

    def probability(self, content: bytes, headers: Mapping[str, str]) -> float:
        if self.ask.path.startswith("/v2"):
            return model.read_open_inference(content, dict(headers), "probability")
        return float(msgspec.json.decode(content)["probability"])


def bodies() -> list[Body]:
    """Plain JSON first: it is what is put beside the peers."""
    found = [
        Body("plain", "plain JSON", model.by_name(f"/models/{MODEL}/predict")),
        Body("v2-json", "V2, JSON", model.open_inference(INFER, "probability")),
        Body("v2-binary", "V2, binary", model.open_inference_binary(INFER, "probability")),
    ]
    for rows in BATCHES:
        ask = model.open_inference_binary(INFER, "probability", rows)
        found.append(Body(f"v2-binary-{rows}", f"V2, binary, {rows:,} rows", ask))
    return found


def command(home: Path, *arguments: str) -> str:
    """What a `homeostat` command on a state folder prints. Raises `NoAnswer` where it fails."""
    environment = clean_environment() | {"HOMEOSTAT_HOME": str(home)}
    done = subprocess.run(
        [str(own_bin() / "homeostat"), *arguments],
        cwd=home.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise NoAnswer(f"'homeostat {arguments[0]}' ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def put_in_production(home: Path, files: Path, name: str) -> None:
    """Register the pipeline of a folder, and promote it."""
    pipeline, training = files / "model.skops", files / "training.csv"
    place = ("--target", model.TARGET, "--to", "staging")
    command(home, "model", "register", name, str(pipeline), str(training), *place)
    command(home, "model", "promote", name, "1")


@contextmanager
def serving(home: Path, core: int | None, ready: Ask | str) -> Iterator[Server]:
    """A server of one process on a state folder, which has answered."""
    port = free_port()
    started = [str(own_bin() / "homeostat"), "serve", "--port", str(port), "--workers", "1"]
    with running(started, port, home.parent, core, {"HOMEOSTAT_HOME": str(home)}) as server:
        server.wait(ready)
        yield server


class LogReader:
    """Counts the rows of a model in the log of a state folder, beside the server that writes it."""

    def __init__(self, home: Path, name: str = MODEL) -> None:
        from homeostat.stores.sqlite import SqlitePredictionLog  # noqa: PLC0415

        self._home, self._name, self._at = home, name, 0
        self._open = SqlitePredictionLog

    def new_rows(self, least: int = 0, slowest: float = 0.0) -> int:
        """Rows since the last call: read until there are `least` and no more come, or some seconds have passed.

        `slowest` is how many seconds a request may take that wrk left under way.
        """
        pause = max(QUIET_SECONDS, 1.5 * slowest)
        until = time.monotonic() + LOG_SECONDS + pause
        rows = 0
        time.sleep(pause)
        while True:
            more = self._read()
            rows += more
            if (rows >= least and not more) or time.monotonic() > until:
                return rows
            time.sleep(pause)

    def _read(self) -> int:
        rows = 0
        with closing(self._open(self._home / "log.db", self._home / "log")) as log:
            for sequence, block in log.blocks_after(self._name, self._at):
                self._at = max(self._at, sequence)
                rows += 0 if block.shadow else block.rows
        return rows


def supports(port: int, body: Body, right: float) -> str:
    """Why the server can't be asked this way, or nothing. Raises `NoAnswer` where the answer is wrong."""
    status, headers, content = ask_once(port, body.ask)
    if status != 200:
        return f"not supported ({status})"
    found = body.probability(content, headers)
    if abs(found - right) > 1e-5:
        raise NoAnswer(f"{body.title}: the answer is {found}, and {right} is right")
    return ""


@dataclass(frozen=True)
class Many:
    """One serving process with many models: seconds until all are served, and bytes, its controllers left out."""

    models: int
    seconds: float
    resident: int
    resident_of_one: int
    files: int


def with_many_models(folder: Path, models: int, core: int | None) -> Many:
    """Serve so many forests, each of another seed, and before that the first of them alone."""
    import pandas as pd  # noqa: PLC0415
    import skops.io  # noqa: PLC0415
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    home = folder / "many" / "state"
    home.parent.mkdir(parents=True)
    one = 0
    rows, labels = model.training_data()
    frame = pd.DataFrame(rows, columns=model.NAMES)
    frame.assign(**{model.TARGET: labels}).to_csv(folder / "many" / "training.csv", index=False)
    for number in range(models):
        forest = RandomForestClassifier(n_estimators=model.TREES, random_state=number).fit(frame, labels)
        skops.io.dump(forest, folder / "many" / "model.skops")
        put_in_production(home, folder / "many", f"model-{number}")
        if number == 0:
            one = _start_and_ask(home, 1, core)[1]
    files = 0
    seconds, resident = _start_and_ask(home, models, core)
    for version in msgspec.json.decode(command(home, "model", "list", "--json"))["versions"]:
        files += sum(entry["size"] for entry in version["manifest"]["files"])
    return Many(models, seconds, resident, one, files)


def _start_and_ask(home: Path, models: int, core: int | None) -> tuple[float, int]:
    """Seconds until all models are ready, and the memory once each has answered: what loads on use is loaded."""
    with serving(home, core, "/readyz") as server:
        for number in range(models):
            status, _, _ = ask_once(server.port, model.by_name(f"/models/model-{number}/predict"))
            if status != 200:
                raise NoAnswer(f"model-{number} answers with {status}")
        return server.seconds, server.memory(alone=True).resident


def import_seconds(tries: int = 7) -> float:
    """What `import homeostat` adds to the start of Python: the quickest of some tries."""

    def quickest(program: str) -> float:
        times = []
        for _ in range(tries):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, env=clean_environment())
            times.append(time.perf_counter() - began)
        return min(times)

    return quickest("import homeostat") - quickest("pass")
