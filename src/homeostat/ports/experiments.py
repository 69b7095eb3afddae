"""What people and programs ask of experiments, and order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from homeostat.records import (
    Buckets,
    Experiment,
    ExperimentDraft,
    ExperimentPage,
    ExperimentPlan,
    Namespace,
    PlanQuestion,
    ValuesAccepted,
)


class ExperimentPlane(Protocol):
    """Everything about experiments: in this process, or of a server through its client.

    What can't be raises `InvalidExperiment`; what the state of things forbids `IllegalTransition`, `RangesTaken`,
    `ExperimentsDisagree` or another `Conflict`; an id that is none `UnknownRecord`.
    """

    def create_experiment(self, draft: ExperimentDraft, *, actor: str, reason: str) -> Experiment:
        """Make an experiment, as a draft that owns its buckets."""
        ...

    def experiments(self, model: str | None = None) -> list[Experiment]:
        """All experiments, or those of a model, oldest first."""
        ...

    def experiment(self, id_: str) -> Experiment:
        """One experiment."""
        ...

    def schedule_experiment(self, id_: str, at: datetime, *, actor: str, reason: str) -> Experiment:
        """Let it start by itself at a moment."""
        ...

    def start_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Start it now: its arms answer, or score beside production first where the plan says so."""
        ...

    def pause_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Let the control answer for all arms; what was seen is kept."""
        ...

    def resume_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Go on after a pause, in a new epoch."""
        ...

    def weigh_experiment(self, id_: str, weights: Sequence[float], *, actor: str, reason: str) -> Experiment:
        """Give the arms other weights, in their order, in a new epoch."""
        ...

    def stop_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Conclude it: with its verdict, or without one where it was not decided."""
        ...

    def abort_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Give it up, whatever its state, unless that is final."""
        ...

    def archive_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Put it away once it is over."""
        ...

    def log_metric(self, id_: str, metric: str, entities: Sequence[str], values: Sequence[float]) -> ValuesAccepted:
        """Take in values of a metric of your own; the latest one of an entity counts."""
        ...

    def namespaces(self) -> list[Namespace]:
        """All namespaces."""
        ...

    def set_holdouts(self, namespace: str, holdouts: Sequence[Buckets], *, actor: str, reason: str) -> Namespace:
        """Say which buckets of a namespace belong to no experiment."""
        ...

    def plan_experiment(self, question: PlanQuestion) -> ExperimentPlan:
        """How many units an experiment needs; nothing is kept."""
        ...

    def experiment_report(self, id_: str) -> ExperimentPage:
        """The report of an experiment that has run, as one HTML page."""
        ...
