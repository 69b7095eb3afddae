"""The phishing year: the real loop on generated traffic and a simulated clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.backtest.data import LabelledTable
from homeostat.backtest.outcome import Outcome
from homeostat.backtest.replay import Replayed
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
from homeostat.frames import finite
from homeostat.records import (
    Alert,
    Rollout,
    Task,
)
from homeostat.reports.story import Story, WindowRow
from homeostat.serving.scoring import interpret
from homeostat.settings import load as load_settings
from homeostat.wiring.concluding import conclude, loader
from homeostat.wiring.system import open_system


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


def run_demo(
    *,
    seed: int = 0,
    volume_per_day: float = 500.0,
    waves: bool = False,
    state: Path | None = None,
    show: Callable[[Moment], None] | None = None,
    on_alert: Callable[[Alert], None] | None = None,
) -> DemoResult:
    """Live through the phishing year with the real loop on a simulated clock."""
    started = time.perf_counter()
    overrides: dict[str, Any] = {"seed": seed, "policy": DEMO_POLICY}
    settings = load_settings(environment={}, overrides=overrides)
    if state is not None:
        settings = replace(settings, home=state)
    clock = SimulatedClock(datetime(2024, 9, 1, tzinfo=UTC))
    system = open_system(settings, clock=clock, in_memory=state is None, on_alert=on_alert, holder="demo")
    traffic = EmailTraffic(seed, volume_per_day, waves=waves)
    year = live_through(system, traffic, clock, seed=seed, show=show)
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
    system.close()
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
