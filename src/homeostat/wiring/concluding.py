"""From a finished replay to its figures and its story."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from homeostat.backtest.outcome import Outcome, count_false_promotions, strategy_scores, summarise
from homeostat.backtest.replay import Replayed
from homeostat.backtest.telling import tell
from homeostat.connectors.tables import LabelledTable
from homeostat.ports import Predictor
from homeostat.records import Alert, Finding, Rollout, Run, Version
from homeostat.reports.story import Story
from homeostat.wiring.system import System

Load = Callable[[int], tuple[Predictor, Version]]


def loader(system: System, model: str) -> Load:
    """Loads versions by number, each once."""
    loaded: dict[int, tuple[Predictor, Version]] = {}

    def load(number: int) -> tuple[Predictor, Version]:
        if number not in loaded:
            version = system.registry.version(model, number)
            loaded[number] = (system.registry.load(version), version)
        return loaded[number]

    return load


def conclude(
    system: System,
    model: str,
    table: LabelledTable,
    replayed: Replayed,
    predicted: dict[str, npt.NDArray[Any]],
    load: Load,
    *,
    started: float,
    **told: Any,
) -> tuple[Outcome, Story]:
    """Figures of every strategy and of what the loop did; `told` replaces parts of the story."""
    decisions = system.control.decisions(model)
    rollouts: list[Rollout] = system.records(Rollout, model)
    outcome = summarise(
        table,
        {name: strategy_scores(table, replayed.initial, values) for name, values in predicted.items()},
        decisions,
        system.records(Run, model),
        rollouts,
        false_promotions=count_false_promotions(table, rollouts, load),
        alerts=len(system.records(Alert, model)),
        labels_used=replayed.labels_used,
        seconds=time.perf_counter() - started,
    )
    story = tell(
        table,
        replayed,
        predicted,
        outcome,
        decisions=decisions,
        findings=system.records(Finding, model),
        rollouts=rollouts,
        versions=system.registry.versions(model),
        changes=system.registry.history(model),
        joined=system.view(model).joined.rows(),
        policy=system.policy(model),
        **told,
    )
    return outcome, story
