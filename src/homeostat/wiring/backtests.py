"""A backtest: the real loop in memory, or in a folder, on a simulated clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from homeostat.backtest.outcome import Outcome, outputs_of
from homeostat.backtest.replay import Options, Replayed, initial_rows, replay
from homeostat.backtest.strategies import majority, no_change, periodic
from homeostat.connectors.tables import LabelledTable
from homeostat.controllers.clock import SimulatedClock
from homeostat.records import (
    Task,
    as_datetime,
)
from homeostat.reports.story import Story
from homeostat.settings import Settings
from homeostat.wiring.concluding import conclude, loader
from homeostat.wiring.system import System, open_system


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """A backtest's figures, and the story that its report tells."""

    outcome: Outcome
    story: Story

    def to_dict(self) -> dict[str, Any]:
        """What `homeostat backtest --json` prints."""
        return self.outcome.as_json()

    def save_html(self, path: str | Path) -> None:
        """Write the self-contained report."""
        from homeostat.reports.html import render_story

        Path(path).write_text(render_story(self.story), encoding="utf-8")


def run_backtest(
    table: LabelledTable,
    options: Options,
    settings: Settings,
    *,
    state: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    after_batch: Callable[[int], None] | None = None,
) -> BacktestResult:
    """Replay a table through the real loop, and every other strategy on the same rows.

    In memory, unless `state` names a folder: then everything is kept there, and an interrupted replay goes on.
    """
    started = time.perf_counter()
    initial_rows(table, options.initial)
    clock = SimulatedClock(as_datetime(table.times[0]))
    if state is not None:
        settings = replace(settings, home=state)
    system = open_system(settings, clock=clock, in_memory=state is None, holder="backtest")
    served = _already_served(system, BACKTEST_MODEL)
    replayed = replay(
        system, table, BACKTEST_MODEL, options, clock, served=served, progress=progress, after_batch=after_batch
    )
    result = _conclude(system, table, replayed, options, started)
    system.close()
    return result


BACKTEST_MODEL = "backtest"


def _already_served(system: System, model: str) -> dict[str, tuple[Any, int]]:
    if not any(held.name == model for held in system.registry.models()):
        return {}
    task = system.registry.model(model).task
    found: dict[str, tuple[Any, int]] = {}
    for _, block in system.log.blocks_after(model, 0):
        if not block.shadow:
            values = block.score if task is Task.REGRESSION else block.output
            found.update(zip(block.ids, zip(values, block.version.tolist(), strict=True), strict=True))
    return found


def _conclude(
    system: System,
    table: LabelledTable,
    replayed: Replayed,
    options: Options,
    started: float,
) -> BacktestResult:
    model = BACKTEST_MODEL
    load = loader(system, model)
    initial = replayed.initial
    algorithm = str(replayed.first.parameters.get("algorithm", "random_forest"))
    predicted: dict[str, npt.NDArray[Any]] = {
        "healed": replayed.output,
        "static": outputs_of(*load(1), table, slice(initial, table.rows)),
        "periodic": periodic(table, initial, algorithm, seed=options.seed),
        "no_change": no_change(table, initial),
        "majority": majority(table, initial),
    }
    outcome, story = conclude(system, model, table, replayed, predicted, load, started=started)
    return BacktestResult(outcome, story)
