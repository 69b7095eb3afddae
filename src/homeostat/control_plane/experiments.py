"""Orders about experiments in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from homeostat.errors import Conflict
from homeostat.experiments.planning import planned
from homeostat.experiments.rules import Move
from homeostat.experiments.service import Experiments
from homeostat.experiments.story import story_of
from homeostat.ports import Clock, ControlStore
from homeostat.records import (
    Buckets,
    Decision,
    Experiment,
    ExperimentDraft,
    ExperimentPage,
    ExperimentPlan,
    Namespace,
    PlanQuestion,
    ValuesAccepted,
)
from homeostat.registry.service import Registry
from homeostat.settings import Settings


class ExperimentOrders:
    """Implements `ports.ExperimentPlane` over the services of one process."""

    _settings: Settings
    _clock: Clock
    _store: ControlStore
    _registry: Registry
    _experiments: Experiments
    _on_route: Callable[[str], None]

    def create_experiment(self, draft: ExperimentDraft, *, actor: str, reason: str) -> Experiment:
        self._registry.model(draft.model)
        policy = self._settings.policy_of(draft.model)
        return self._experiments.create(draft, policy, at=self._clock.now(), actor=actor, reason=reason)

    def experiments(self, model: str | None = None) -> list[Experiment]:
        if model is not None:
            self._registry.model(model)
        return self._experiments.all(model)

    def experiment(self, id_: str) -> Experiment:
        return self._experiments.get(id_)

    def schedule_experiment(self, id_: str, at: datetime, *, actor: str, reason: str) -> Experiment:
        now = self._clock.now()
        return self._experiments.move(id_, Move.SCHEDULE, at=now, actor=actor, reason=reason, starts_at=at)

    def start_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.START, actor, reason)

    def pause_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.PAUSE, actor, reason)

    def resume_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.RESUME, actor, reason)

    def weigh_experiment(self, id_: str, weights: Sequence[float], *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.REWEIGH, actor, reason, weights)

    def stop_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.STOP, actor, reason)

    def abort_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.ABORT, actor, reason)

    def archive_experiment(self, id_: str, *, actor: str, reason: str) -> Experiment:
        return self._moved(id_, Move.ARCHIVE, actor, reason)

    def _moved(self, id_: str, move: Move, actor: str, reason: str, weights: Sequence[float] = ()) -> Experiment:
        moved = self._experiments.move(id_, move, at=self._clock.now(), actor=actor, reason=reason, weights=weights)
        self._on_route(moved.model)
        return moved

    def log_metric(self, id_: str, metric: str, entities: Sequence[str], values: Sequence[float]) -> ValuesAccepted:
        kept = self._experiments.add_values(id_, metric, entities, values, at=self._clock.now())
        return ValuesAccepted(experiment=id_, metric=metric, accepted=len(kept.values))

    def namespaces(self) -> list[Namespace]:
        return self._experiments.namespaces()

    def set_holdouts(self, namespace: str, holdouts: Sequence[Buckets], *, actor: str, reason: str) -> Namespace:
        held = self._experiments.set_namespace(namespace, holdouts, at=self._clock.now(), actor=actor, reason=reason)
        for model in {one.model for one in self._experiments.all() if one.namespace == namespace}:
            self._on_route(model)
        return held

    def plan_experiment(self, question: PlanQuestion) -> ExperimentPlan:
        return planned(question)

    def experiment_report(self, id_: str) -> ExperimentPage:
        one = self._experiments.get(id_)
        if not one.epochs:
            raise Conflict(f"Experiment {id_} is {one.state.value} and has not run: there is nothing to report.")
        with self._store.read() as transaction:
            decisions = transaction.list(Decision, model=one.model)
        return ExperimentPage(experiment=id_, html=story_of(one, decisions).to_html())
