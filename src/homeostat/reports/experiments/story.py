"""What the report of an experiment is told from: its plan, every look at it, and every decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from homeostat.stats.experiments import Judgement, Plan, Reading


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was known of one metric of one arm at one look; numbers are NaN and intervals infinite where nothing was."""

    metric: str
    arm: str
    levels: tuple[float, float]
    effect: float
    interval: tuple[float, float]
    units: tuple[int, int]
    standing: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the experiment: units assigned by arm, and the estimates."""

    at: datetime
    units: tuple[int, ...]
    estimates: tuple[Estimate, ...]

    @classmethod
    def of(cls, at: datetime, judgement: Judgement | Mapping[str, Any]) -> Self:
        """A look from its judgement, or from what `Judgement.to_dict` wrote of it."""
        told = judgement.to_dict() if isinstance(judgement, Judgement) else judgement
        estimates = tuple(
            Estimate(
                each["metric"],
                each["arm"],
                (_number(each["levels"][0]), _number(each["levels"][1])),
                _number(each["effect"]),
                (_number(each["interval"][0], -math.inf), _number(each["interval"][1], math.inf)),
                (each["units"][0], each["units"][1]),
                each["standing"],
            )
            for each in told["metrics"]
        )
        return cls(at, tuple(told["units"]), estimates)


@dataclass(frozen=True, slots=True)
class Marked:
    """A decision of the experiment, marked in every drawing: what was done and why; `bad` for losses, holds, aborts."""

    at: datetime
    what: str
    why: str
    bad: bool = False


@dataclass(frozen=True)
class ExperimentStory:
    """Everything that the page of an experiment shows.

    `looks` are in the order of time; `latest` is the last one's judgement, in full. `decisions` hold every change of
    state and of the weights. `readings` is the table as of a fixed sample, overall and by segment, whose names are
    `segments`. `description` says what is tested, `ending` how it ended, where it did.
    """

    name: str
    model: str
    state: str
    plan: Plan
    looks: tuple[Look, ...]
    latest: Judgement | None = None
    decisions: tuple[Marked, ...] = ()
    readings: tuple[Reading, ...] = ()
    segments: tuple[str, ...] = ()
    description: str = ""
    ending: str = ""
    simulated_times: bool = False

    def to_html(self) -> str:
        """The report as one page of HTML that needs nothing else."""
        from homeostat.reports.experiments.html import render_experiment

        return render_experiment(self)

    def save_html(self, path: str | Path) -> Path:
        """Write the report as one HTML file."""
        target = Path(path)
        target.write_text(self.to_html(), encoding="utf-8")
        return target


def _number(value: float | None, missing: float = math.nan) -> float:
    return missing if value is None else float(value)
