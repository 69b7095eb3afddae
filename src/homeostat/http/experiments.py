"""Experiments over HTTP: make, list, move, and the values of a user's own metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Annotated, Any

import msgspec

from homeostat.errors import Conflict, InvalidExperiment, InvalidInput, UnknownModel, UnknownRecord, UnknownVersion
from homeostat.http.control_bodies import OrderBody
from homeostat.http.data_plane import Body, Moment, check_printed
from homeostat.http.operations import API, Operation, Parameter, Request
from homeostat.ports import ControlPlane
from homeostat.records import (
    Buckets,
    Experiment,
    ExperimentDraft,
    ExperimentMetric,
    ExperimentPage,
    ExperimentPlan,
    KeyRole,
    Namespace,
    PlanQuestion,
    ValuesAccepted,
)

TAG = "experiments"
EVERY, ONE = f"{API}/experiments", f"{API}/experiments/{{experiment}}"
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Entity = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class MetricBody(ExperimentMetric, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A metric of a new experiment."""


class DraftBody(ExperimentDraft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new experiment is: a field that is not known is refused."""

    metrics: tuple[MetricBody, ...]


class ExperimentBody(OrderBody, kw_only=True):
    """A new experiment."""

    experiment: DraftBody


class ScheduleBody(OrderBody, kw_only=True):
    """When an experiment starts by itself; without an offset, in UTC."""

    at: Moment


class WeightsBody(OrderBody, kw_only=True):
    """The weights of all arms, in their order, which add up to 1."""

    weights: Annotated[list[Share], msgspec.Meta(min_length=2, max_length=20)]


class PlanBody(PlanQuestion, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known, or wished, of an experiment before it begins."""


class ValueItem(Body, kw_only=True):
    """What one entity came to."""

    entity: Entity
    value: Finite


class ValuesBody(Body, kw_only=True):
    """Values of one of the experiment's own metrics."""

    metric: Name
    values: Annotated[list[ValueItem], msgspec.Meta(min_length=1, max_length=10_000)]

    def __post_init__(self) -> None:
        check_printed("entity", (one.entity for one in self.values))


class HoldoutsBody(OrderBody, kw_only=True):
    """The buckets of a namespace that belong to no experiment."""

    namespace: Name
    holdouts: Annotated[list[Buckets], msgspec.Meta(max_length=1000)]


def experiment_operations(control: ControlPlane) -> list[Operation]:
    """Everything about experiments."""
    which: dict[str, Any] = {
        "parameters": (Parameter("experiment", "The experiment's id."),),
        "errors": (UnknownRecord, Conflict, InvalidExperiment),
    }

    def create(request: Request) -> Experiment:
        body: ExperimentBody = request.body
        return control.create_experiment(body.experiment, actor=request.actor(body.actor), reason=body.reason)

    def schedule(request: Request) -> Experiment:
        body: ScheduleBody = request.body
        at = body.at if body.at.tzinfo is not None else body.at.replace(tzinfo=UTC)
        who = {"actor": request.actor(body.actor), "reason": body.reason}
        return control.schedule_experiment(request.path["experiment"], at, **who)

    def weigh(request: Request) -> Experiment:
        body: WeightsBody = request.body
        who = {"actor": request.actor(body.actor), "reason": body.reason}
        return control.weigh_experiment(request.path["experiment"], body.weights, **who)

    def take_values(request: Request) -> ValuesAccepted:
        body: ValuesBody = request.body
        entities, values = [one.entity for one in body.values], [one.value for one in body.values]
        return control.log_metric(request.path["experiment"], body.metric, entities, values)

    def hold_out(request: Request) -> Namespace:
        body: HoldoutsBody = request.body
        who = {"actor": request.actor(body.actor), "reason": body.reason}
        return control.set_holdouts(body.namespace, body.holdouts, **who)

    def order(verb: str, summary: str, move: Callable[..., Experiment]) -> Operation:
        def handle(request: Request) -> Experiment:
            body: OrderBody = request.body
            return move(request.path["experiment"], actor=request.actor(body.actor), reason=body.reason)

        path = f"{ONE}/{verb}"
        return Operation("POST", path, summary, handle, Experiment, TAG, body=OrderBody, body_required=False, **which)

    return [
        Operation(
            "GET",
            EVERY,
            "Experiments",
            lambda r: {"experiments": control.experiments(r.query.get("model"))},
            list[Experiment],
            TAG,
            wrapped="experiments",
            query=(Parameter("model", "Only this model's."),),
            errors=(UnknownModel,),
        ),
        Operation(
            "POST",
            EVERY,
            "Make an experiment",
            create,
            Experiment,
            TAG,
            body=ExperimentBody,
            errors=(UnknownModel, UnknownVersion, Conflict, InvalidExperiment),
            status=201,
        ),
        # Nothing of that name can be an experiment's id.
        Operation(
            "POST",
            f"{EVERY}/plan",
            "How many units an experiment needs",
            lambda r: control.plan_experiment(r.body),
            ExperimentPlan,
            TAG,
            body=PlanBody,
            errors=(InvalidInput,),
            role=KeyRole.READ,
        ),
        Operation(
            "GET",
            f"{ONE}/report",
            "The report of an experiment, as HTML",
            lambda r: control.experiment_report(r.path["experiment"]),
            ExperimentPage,
            TAG,
            **which,
        ),
        Operation(
            "GET", ONE, "One experiment", lambda r: control.experiment(r.path["experiment"]), Experiment, TAG, **which
        ),
        Operation(
            "POST", f"{ONE}/schedule", "Let it start by itself", schedule, Experiment, TAG, body=ScheduleBody, **which
        ),
        order("start", "Start it", control.start_experiment),
        order("pause", "Let the control answer for all arms", control.pause_experiment),
        order("resume", "Go on after a pause", control.resume_experiment),
        Operation(
            "POST", f"{ONE}/weights", "Give its arms other weights", weigh, Experiment, TAG, body=WeightsBody, **which
        ),
        order("stop", "Conclude it", control.stop_experiment),
        order("abort", "Give it up", control.abort_experiment),
        order("archive", "Put it away", control.archive_experiment),
        Operation(
            "POST",
            f"{ONE}/values",
            "Values of your own metric",
            take_values,
            ValuesAccepted,
            TAG,
            body=ValuesBody,
            **which,
        ),
        Operation(
            "GET",
            f"{API}/namespaces",
            "Namespaces",
            lambda _: {"namespaces": control.namespaces()},
            list[Namespace],
            TAG,
            wrapped="namespaces",
        ),
        Operation(
            "POST",
            f"{API}/namespaces",
            "Say which buckets of a namespace belong to no experiment",
            hold_out,
            Namespace,
            TAG,
            body=HoldoutsBody,
            errors=(Conflict, InvalidExperiment),
        ),
    ]
