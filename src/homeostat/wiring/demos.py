"""The phishing year: a real server on a simulated clock, and generated traffic that comes over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.backtest.outcome import Outcome
from homeostat.backtest.replay import Replayed
from homeostat.connectors.tables import LabelledTable
from homeostat.controllers.clock import SimulatedClock
from homeostat.demo.traffic import KINDS, EmailTraffic
from homeostat.demo.year import (
    LEGITIMATE,
    PHISHING,
    Moment,
    Year,
    live_through,
    measure_year,
    year_facts,
    year_headline,
)
from homeostat.demo.year import MODEL as DEMO_MODEL
from homeostat.demo.year import POLICY as DEMO_POLICY
from homeostat.demo.year import TARGET as DEMO_TARGET
from homeostat.demo.year import Findings as YearFindings
from homeostat.errors import HomeostatError
from homeostat.frames import finite
from homeostat.records import Rollout, Task
from homeostat.reports.story import Story, WindowRow
from homeostat.sdk import Client
from homeostat.serving.scoring import interpret
from homeostat.settings import PREFIX
from homeostat.settings import load as load_settings
from homeostat.wiring.concluding import conclude, loader
from homeostat.wiring.system import System, open_system


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The year's figures, and the story that its report tells."""

    findings: YearFindings
    outcome: Outcome
    story: Story

    def save_html(self, path: str | Path) -> None:
        """Write the self-contained report."""
        from homeostat.reports.html import render_story

        Path(path).write_text(render_story(self.story), encoding="utf-8")


CHUNK = 20_000
STOP_SECONDS = 60.0


def run_demo(
    *,
    seed: int = 0,
    volume_per_day: float = 500.0,
    waves: bool = False,
    state: Path | None = None,
    show: Callable[[Moment], None] | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> DemoResult:
    """Live through the phishing year: a real server process on a simulated clock, asked over HTTP by several clients.

    `state` keeps the server's folder; `on_listening` is told the server's address, where its page can be watched.
    """
    started = time.perf_counter()
    traffic = EmailTraffic(seed, volume_per_day, waves=waves)
    overrides: dict[str, Any] = {"seed": seed, "policy": DEMO_POLICY}
    with tempfile.TemporaryDirectory(prefix="homeostat-demo-") as folder:
        home = state if state is not None else Path(folder) / "state"
        settings = replace(load_settings(environment={}, overrides=overrides), home=home)
        with simulated_server(home, {"seed": seed, "policy": DEMO_POLICY}) as url, Client(url, timeout=300.0) as client:
            if on_listening is not None:
                on_listening(url)
            year = live_through(client, traffic, folder=Path(folder), show=show)
        system = open_system(settings, clock=SimulatedClock(traffic.end), holder="demo")
        try:
            return _concluded(system, year, seed=seed, started=started)
        finally:
            system.close()


@contextmanager
def simulated_server(home: Path, settings: dict[str, Any]) -> Iterator[str]:
    """A server process on a free port that lives by a simulated clock; yields its address, and stops it in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= _variables({**settings, "home": str(home.resolve()), "serve": {"log_level": "warning"}})
    command = [sys.executable, "-c", "from homeostat.cli import main; main()", "serve", "--simulated", "--port", "0"]
    with tempfile.TemporaryDirectory(prefix="homeostat-demo-") as folder:
        said = Path(folder) / "server.log"
        with said.open("wb") as log:
            # The working folder is an empty one: settings that lie about elsewhere are not the demo's.
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and arguments)
                [*command, "--json"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log
            )
        try:
            yield _address(process, said)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    answer = b""
    for line in process.stdout:
        answer += line
        if line.rstrip() == b"}":
            return str(msgspec.json.decode(answer)["url"])
    tail = said.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise HomeostatError(f"The demo's server did not start. It said: {tail.strip() or 'nothing'}")


def _variables(settings: dict[str, Any], above: str = PREFIX) -> dict[str, str]:
    """Settings as the environment has them."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _variables(value, f"{above}{name.upper()}__")
        else:
            found[above + name.upper()] = ",".join(value) if isinstance(value, list) else str(value)
    return found


def _concluded(system: System, year: Year, *, seed: int, started: float) -> DemoResult:
    """The figures and the story of a year that is over, from what the server left behind."""
    rollouts: list[Rollout] = system.records(Rollout, DEMO_MODEL)
    table = _year_table(year)
    load = loader(system, DEMO_MODEL)
    scored: dict[int, tuple[npt.NDArray[Any], npt.NDArray[np.float64]]] = {}

    def outputs(number: int, rows: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        if number not in scored:
            predictor, version = load(number)
            # In stretches, so that the copies that scoring needs stay small.
            parts = [
                interpret(predictor.predict(finite(year.columns.take(slice(at, at + CHUNK)))), version.signature)
                for at in range(0, year.rows, CHUNK)
            ]
            scored[number] = (
                np.concatenate([part.output for part in parts]),
                np.concatenate([part.score for part in parts]),
            )
        return scored[number][0][rows], scored[number][1][rows]

    findings = measure_year(year, outputs, rollouts)
    predicted = {"healed": year.output, "static": outputs(1, slice(0, year.rows))[0]}
    replayed = Replayed(0, system.registry.version(DEMO_MODEL, 1), year.output, year.version, year.labels_used, 0.0)
    outcome, story = conclude(
        system,
        DEMO_MODEL,
        table,
        replayed,
        predicted,
        load,
        started=started,
        title="A year at a phishing-detection team",
        subtitle=f"{year.rows:,} e-mails, labels days late, simulated with seed {seed}; every figure is computed",
        headline=year_headline(findings),
        facts=year_facts(findings),
        windows=tuple(
            WindowRow(
                name=window.name,
                rows=window.rows,
                figures={
                    "TPR": f"{window.metrics['tpr']:.1%}",
                    "FPR": f"{window.metrics['fpr']:.1%}",
                    "precision": f"{window.metrics['precision']:.1%}",
                    "ROC-AUC": f"{window.metrics['roc_auc']:.3f}",
                    "false alerts / 1,000": f"{window.false_alerts_a_thousand:.1f}",
                },
            )
            for window in findings.windows
        ),
    )
    return DemoResult(findings, outcome, story)


def _year_table(year: Year) -> LabelledTable:
    return LabelledTable(
        name="phishing year",
        columns=year.columns,
        kinds=dict(KINDS),
        target_name=DEMO_TARGET,
        target=year.label,
        task=Task.BINARY,
        classes=(LEGITIMATE, PHISHING),
        positive=PHISHING,
        times=year.times,
        entities=None,
        has_own_times=False,
        findings=(),
    )
