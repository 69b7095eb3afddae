"""The client's part about experiments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from homeostat.errors import UnknownRecord
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
from homeostat.sdk.transport import Transport
from homeostat.sdk.values import moment

EXPERIMENTS, NAMESPACES = "/api/v1/experiments", "/api/v1/namespaces"
# Values are small, and may be sent twice without harm.
VALUES_AT_ONCE = 10_000


class ExperimentRequests:
    """Everything about experiments, asked and ordered over HTTP."""

    _transport: Transport

    def create_experiment(self, draft: ExperimentDraft, *, actor: str, reason: str) -> Experiment:
        """Make an experiment, as a draft that owns its buckets."""
        body = {"experiment": msgspec.to_builtins(draft), "actor": actor, "reason": reason}
        return self._transport.order(Experiment, EXPERIMENTS, body)

    def experiments(self, model: str | None = None) -> list[Experiment]:
        """All experiments, or those of a model, oldest first."""
        return self._transport.ask_part(list[Experiment], "experiments", EXPERIMENTS, model=model)

    def experiment(self, id_: str) -> Experiment:
        """One experiment."""
        return self._transport.ask(Experiment, _path(id_))

    def schedule_experiment(self, id_: str, at: datetime, *, actor: str, reason: str) -> Experiment:
        """Let it start by itself at a moment."""
        return self._ordered(id_, "schedule", actor, reason, at=moment(at))

    def start_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Start it now: its arms answer, or score beside production first where the plan says so."""
        return self._ordered(id_, "start", actor, reason)

    def pause_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Let the control answer for all arms; what was seen is kept."""
        return self._ordered(id_, "pause", actor, reason)

    def resume_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Go on after a pause, in a new epoch."""
        return self._ordered(id_, "resume", actor, reason)

    def weigh_experiment(self, id_: str, weights: Sequence[float], *, actor: str, reason: str) -> Experiment:
        """Give the arms other weights, in their order, in a new epoch."""
        return self._ordered(id_, "weights", actor, reason, weights=list(weights))

    def stop_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Conclude it: with its verdict, or without one where it was not decided."""
        return self._ordered(id_, "stop", actor, reason)

    def abort_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Give it up, whatever its state, unless that is final."""
        return self._ordered(id_, "abort", actor, reason)

    def archive_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        """Put it away once it is over."""
        return self._ordered(id_, "archive", actor, reason)

    def _ordered(self, id_: str, verb: str, actor: str, reason: str, **more: Any) -> Experiment:
        return self._transport.order(Experiment, f"{_path(id_)}/{verb}", {"actor": actor, "reason": reason, **more})

    def log_metric(self, id_: str, metric: str, entities: Sequence[str], values: Sequence[float]) -> ValuesAccepted:
        """Take in values of a metric of your own; the latest one of an entity counts. Many are sent in parts."""
        pairs = [{"entity": entity, "value": value} for entity, value in zip(entities, values, strict=True)]
        accepted = 0
        for start in range(0, max(len(pairs), 1), VALUES_AT_ONCE):
            body = {"metric": metric, "values": pairs[start : start + VALUES_AT_ONCE]}
            accepted += self._transport.order(ValuesAccepted, f"{_path(id_)}/values", body).accepted
        return ValuesAccepted(experiment=id_, metric=metric, accepted=accepted)

    def namespaces(self) -> list[Namespace]:
        """All namespaces."""
        return self._transport.ask_part(list[Namespace], "namespaces", NAMESPACES)

    def set_holdouts(self, namespace: str, holdouts: Sequence[Buckets], *, actor: str, reason: str) -> Namespace:
        """Say which buckets of a namespace belong to no experiment."""
        body = {"namespace": namespace, "holdouts": msgspec.to_builtins(list(holdouts))}
        return self._transport.order(Namespace, NAMESPACES, {**body, "actor": actor, "reason": reason})

    def plan_experiment(self, question: PlanQuestion) -> ExperimentPlan:
        """How many units an experiment needs; nothing is kept."""
        return self._transport.order(ExperimentPlan, f"{EXPERIMENTS}/plan", msgspec.to_builtins(question))

    def experiment_report(self, id_: str) -> ExperimentPage:
        """The report of an experiment that has run, as one HTML page."""
        return self._transport.ask(ExperimentPage, f"{_path(id_)}/report")


def _path(id_: str) -> str:
    if not id_ or "/" in id_ or set(id_) == {"."}:
        raise UnknownRecord(kind="experiment", key=id_)
    return f"{EXPERIMENTS}/{quote(id_, safe='')}"
