"""Makes experiments, moves them, and keeps what is known of them. Each move is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from homeostat.errors import (
    Conflict,
    ExperimentsDisagree,
    InvalidExperiment,
    RangesTaken,
    UnknownModel,
    UnknownRecord,
)
from homeostat.experiments import ranges
from homeostat.experiments.claims import check_versions, free_ranges, namespace_salt, own_ranges
from homeostat.experiments.drafts import check_name, check_weights, checked_draft
from homeostat.experiments.rules import PAST, RULE, ExperimentFacts, Move, Step, decide, ramped, recorded, target
from homeostat.journal import ACTOR, abort_experiment, latest_route, live_experiments, record_decision, rewrite_route
from homeostat.ports import ControlStore, Transaction
from homeostat.records import (
    Buckets,
    Epoch,
    Experiment,
    ExperimentDraft,
    ExperimentState,
    Lease,
    MetricValues,
    Model,
    Namespace,
    Policy,
    Strategy,
    parse_span,
    route_lease,
)

S = ExperimentState
MOST_VALUES = 10_000
LONGEST_KEY = 256


class Experiments:
    """Experiments of all models."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    # Reading
    def all(self, model: str | None = None) -> list[Experiment]:
        """All experiments, or those of a model, oldest first."""
        with self._store.read() as transaction:
            return transaction.list(Experiment, model=model)

    def get(self, id_: str) -> Experiment:
        """One experiment. Raises `UnknownRecord`."""
        with self._store.read() as transaction:
            return _require(transaction, id_)

    def live(self, model: str) -> list[Experiment]:
        """Those of a model whose outcome does not stand yet."""
        with self._store.read() as transaction:
            return live_experiments(transaction, model)

    def namespaces(self) -> list[Namespace]:
        """All namespaces."""
        with self._store.read() as transaction:
            return transaction.list(Namespace)

    def values(self, experiment: Experiment) -> list[MetricValues]:
        """The values of a user's own metrics, as they came."""
        with self._store.read() as transaction:
            return transaction.list(MetricValues, model=experiment.model, states=[experiment.id])

    # Making
    def create(self, draft: ExperimentDraft, policy: Policy, *, at: datetime, actor: str, reason: str) -> Experiment:
        """Make a draft, which owns its buckets from now on.

        Raises `InvalidExperiment` where it means nothing, `RangesTaken` where its buckets belong to others,
        `ExperimentsDisagree` where it can't run beside another one, `UnknownVersion`, `NotServing`.
        """
        with self._store.begin() as transaction:
            model = transaction.get(Model, draft.model)
            if model is None:
                raise UnknownModel(model=draft.model, known=[one.name for one in transaction.list(Model)])
            draft = checked_draft(draft, model.task)
            check_versions(transaction, draft)
            earlier = transaction.list(Experiment, model=draft.model)
            for one in earlier:
                if one.name == draft.name and not one.state.is_final:
                    raise Conflict(f"Experiment {one.id} of '{draft.model}' has that name and is {one.state.value}.")
            namespace = self._namespace(transaction, draft, at)
            id_ = f"{draft.model}-experiment-{len(earlier) + 1}"
            experiment = Experiment(
                id=id_,
                model=draft.model,
                name=draft.name,
                plan=draft,
                state=S.DRAFT,
                namespace=namespace.name,
                ranges=own_ranges(transaction, draft, namespace),
                # No salt of a namespace or a model begins so: what deals the arms is independent of what deals buckets.
                salt=f"arms/{draft.salt or id_}",
                created_at=at,
                updated_at=at,
                lease_seconds=parse_span(policy.rollout.lease).seconds,
                actor=actor,
                reason=reason,
            )
            transaction.insert(experiment)
            _told(transaction, experiment, "experiment", at=at, actor=actor, reason=reason)
            return experiment

    @staticmethod
    def _namespace(transaction: Transaction, draft: ExperimentDraft, at: datetime) -> Namespace:
        name = draft.namespace or draft.model
        for one in live_experiments(transaction, draft.model):
            if one.namespace != name:
                raise ExperimentsDisagree(
                    f"Experiment {one.id} of '{draft.model}' lies in namespace '{one.namespace}', this one would in "
                    f"'{name}': an entity could be in both, and only one version can serve it. Put both in one."
                )
        held = transaction.get(Namespace, name)
        if held is None:
            held = Namespace(name=name, salt=namespace_salt(name), created_at=at)
            transaction.insert(held)
        return held

    def set_namespace(
        self, name: str, holdouts: Sequence[Buckets], *, at: datetime, actor: str, reason: str
    ) -> Namespace:
        """Say which buckets of a namespace belong to no experiment, and make it where there is none of that name.

        Raises `RangesTaken` where a live experiment has one of them.
        """
        check_name(name, "The name of a namespace")
        kept = ranges.checked(holdouts)
        with self._store.begin() as transaction:
            inside = [one for one in live_experiments(transaction) if one.namespace == name]
            for one in inside:
                if shared := ranges.overlap(kept, one.ranges):
                    raise RangesTaken(
                        ranges=ranges.shown(shared),
                        namespace=name,
                        owner=f"experiment {one.id}",
                        free=ranges.shown(free_ranges(transaction, name)),
                    )
            held = transaction.get(Namespace, name)
            if held is None:
                held = Namespace(name=name, salt=namespace_salt(name), created_at=at, holdouts=kept)
                transaction.insert(held)
                return held
            held = transaction.replace(msgspec.structs.replace(held, holdouts=kept))
            for model in sorted({one.model for one in inside}):
                rewrite_route(transaction, model, at=at, reason=f"holdouts of namespace '{name}'")
                record_decision(
                    transaction,
                    model,
                    kind="holdouts",
                    at=at,
                    actor=actor,
                    reason=reason,
                    inputs={"namespace": name, "holdouts": msgspec.to_builtins(kept)},
                )
            return held

    # By hand
    def move(
        self,
        id_: str,
        move: Move,
        *,
        at: datetime,
        actor: str,
        reason: str,
        starts_at: datetime | None = None,
        weights: Sequence[float] = (),
    ) -> Experiment:
        """Do what a person orders. Raises `IllegalTransition`, which names what is possible."""
        with self._store.begin() as transaction:
            experiment = _require(transaction, id_)
            to = target(experiment, move)
            if move is Move.ABORT:
                ended = abort_experiment(transaction, experiment, at=at, actor=actor, reason=reason)
                _rewrite(transaction, ended, at)
                return ended
            if move is Move.SCHEDULE:
                if starts_at is None or starts_at <= at:
                    raise InvalidExperiment("An experiment is scheduled for a moment in the future; say which.")
                experiment = msgspec.structs.replace(experiment, starts_at=starts_at)
            if move is Move.REWEIGH:
                experiment = _reweighed(experiment, weights, at)
            return _moved(transaction, experiment, move, to, at=at, actor=actor, reason=reason)

    def add_values(
        self, id_: str, metric: str, entities: Sequence[str], values: Sequence[float], *, at: datetime
    ) -> MetricValues:
        """Keep values of a user's own metric. Raises `InvalidExperiment`, or `Conflict` once the experiment is over."""
        with self._store.begin() as transaction:
            experiment = _require(transaction, id_)
            found = next((one for one in experiment.plan.metrics if one.name == metric), None)
            if found is None or not found.is_own:
                own = ", ".join(one.name for one in experiment.plan.metrics if one.is_own) or "none"
                raise InvalidExperiment(f"Experiment {id_} takes values of no metric of that name. It has: {own}.")
            if experiment.state.is_final:
                raise Conflict(f"Experiment {id_} is {experiment.state.value}: values no longer count.")
            if len(entities) != len(values) or not 0 < len(values) <= MOST_VALUES:
                raise InvalidExperiment(f"Send 1 to {MOST_VALUES:,} values, with an entity each.")
            low, high = found.bounds or (-1e300, 1e300)
            if not all(low <= value <= high for value in values):
                raise InvalidExperiment(f"A value of '{metric}' is no number from {low:g} to {high:g}.")
            if not all(0 < len(entity) <= LONGEST_KEY for entity in entities):
                raise InvalidExperiment(f"An entity is a text of 1 to {LONGEST_KEY} characters.")
            kept = MetricValues(
                id=f"{id_}-values-{transaction.count(MetricValues) + 1}",
                model=experiment.model,
                experiment=id_,
                metric=metric,
                at=at,
                entities=tuple(entities),
                values=tuple(float(value) for value in values),
            )
            transaction.insert(kept)
            return kept

    # By itself
    def advance(self, experiment: Experiment, facts: ExperimentFacts, evidence: dict[str, Any]) -> Experiment:
        """Keep the evidence, and do what the rules say; returns the experiment as it is then."""
        # As it will be read back: what is equal must look equal.
        evidence = msgspec.json.decode(msgspec.json.encode(evidence))
        seen = msgspec.structs.replace(experiment, evidence=evidence)
        step = decide(seen, facts)
        if step.move is None and evidence == experiment.evidence:
            return experiment
        with self._store.begin() as transaction:
            if step.move is None:
                return transaction.replace(seen)
            return _stepped(transaction, seen, step, facts)

    def renew_lease(self, model: str, seconds: float, *, holder: str, now: datetime) -> None:
        """Say that a model's experiments are still watched. Gateways that don't hear it serve production alone."""
        length, name = timedelta(seconds=seconds), route_lease(model)
        with self._store.begin() as transaction:
            held = transaction.get(Lease, name)
            if held is None:
                transaction.insert(Lease(name=name, holder=holder, until=now + length))
            elif not now + length / 2 < held.until <= now + length:
                transaction.replace(msgspec.structs.replace(held, holder=holder, until=now + length))


def _stepped(transaction: Transaction, experiment: Experiment, step: Step, facts: ExperimentFacts) -> Experiment:
    assert step.move is not None  # noqa: S101 (checked by the caller)
    inputs, now = recorded(experiment, facts), facts.now
    to = target(experiment, step.move)
    if step.move is Move.ABORT:
        ended = abort_experiment(transaction, experiment, at=now, actor=ACTOR, reason=step.reason, inputs=inputs)
        _rewrite(transaction, ended, now)
        return ended
    if step.move is Move.HOLD:
        experiment = msgspec.structs.replace(experiment, held=step.reason)
    if step.move is Move.RELEASE:
        experiment = msgspec.structs.replace(experiment, held="")
    if step.move is Move.ADVANCE and step.weights is not None:
        experiment = _with_epoch(experiment, step.weights, now)
        experiment = msgspec.structs.replace(experiment, stage=step.stage or 0, stage_at=now)
    if step.move in (Move.DECIDE, Move.GIVE_UP):
        experiment = msgspec.structs.replace(
            experiment, verdict=step.verdict, winner=step.winner, outcome=step.reason, held=""
        )
    return _moved(transaction, experiment, step.move, to, at=now, actor=ACTOR, reason=step.reason, inputs=inputs)


def _moved(
    transaction: Transaction,
    experiment: Experiment,
    move: Move,
    to: ExperimentState,
    *,
    at: datetime,
    actor: str,
    reason: str,
    inputs: dict[str, Any] | None = None,
) -> Experiment:
    """Take an experiment to a state, with the decision and the route that belong to it."""
    changes: dict[str, Any] = {"state": to, "updated_at": at}
    if move is Move.START:
        changes["stage_at"] = at
        check_versions(transaction, experiment.plan)
    if to is S.RUNNING and experiment.began_at is None:
        weights = ramped(experiment, 0)
        changes |= {"began_at": at, "stage_at": at, "epochs": (Epoch(number=1, began_at=at, weights=weights),)}
    elif move is Move.RESUME:
        # Who was served by the control meanwhile is not what they were.
        changes["epochs"] = _with_epoch(experiment, experiment.epochs[-1].weights, at).epochs
    if move is Move.STOP and experiment.state not in (S.DECIDED, S.INCONCLUSIVE):
        changes |= {"outcome": f"stopped before it was decided: {reason}", "held": ""}
    moved = transaction.replace(msgspec.structs.replace(experiment, **changes))
    _told(transaction, moved, f"experiment {PAST[move]}", at=at, actor=actor, reason=reason, inputs=inputs)
    _rewrite(transaction, moved, at)
    return moved


def _rewrite(transaction: Transaction, experiment: Experiment, at: datetime) -> None:
    if latest_route(transaction, experiment.model) is not None:
        rewrite_route(transaction, experiment.model, at=at, reason=f"{experiment.id} is {experiment.state.value}")


def _told(
    transaction: Transaction,
    experiment: Experiment,
    kind: str,
    *,
    at: datetime,
    actor: str,
    reason: str,
    inputs: dict[str, Any] | None = None,
) -> None:
    verdict = f" ({experiment.verdict.value})" if experiment.verdict is not None else ""
    record_decision(
        transaction,
        experiment.model,
        kind=kind,
        at=at,
        actor=actor,
        reason=f"{experiment.id} '{experiment.name}'{verdict}: {reason}",
        rule=RULE if inputs else "by hand",
        inputs=inputs or {"experiment": experiment.id, "state": experiment.state.value},
    )


def _reweighed(experiment: Experiment, weights: Sequence[float], at: datetime) -> Experiment:
    plan = experiment.plan
    given = check_weights(weights, len(plan.arms))
    if plan.strategy in (Strategy.GRADUAL, Strategy.BANDIT):
        raise Conflict(
            f"The weights of {experiment.id} are set by its strategy, '{plan.strategy.value}'. Make a sticky "
            "experiment to set them by hand."
        )
    if not experiment.epochs:
        arms = tuple(msgspec.structs.replace(arm, weight=weight) for arm, weight in zip(plan.arms, given, strict=True))
        return msgspec.structs.replace(experiment, plan=msgspec.structs.replace(plan, arms=arms))
    return _with_epoch(experiment, given, at)


def _with_epoch(experiment: Experiment, weights: tuple[float, ...], at: datetime) -> Experiment:
    number = len(experiment.epochs) + 1
    epoch = Epoch(number=number, began_at=at, weights=weights)
    return msgspec.structs.replace(experiment, epochs=(*experiment.epochs, epoch))


def _require(transaction: Transaction, id_: str) -> Experiment:
    found = transaction.get(Experiment, id_)
    if found is None:
        raise UnknownRecord(kind="experiment", key=id_)
    return found
