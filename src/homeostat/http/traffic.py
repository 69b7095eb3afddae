"""Orders about traffic and alerts over HTTP: rollbacks, rollouts, routes, experiments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeostat.errors import Conflict, IntegrityError, UnknownModel, UnknownRecord, UnknownVersion
from homeostat.http.control_bodies import ActorBody, OrderBody, RollbackBody, RolloutBody
from homeostat.http.operations import API, LIMIT, MODEL, ONE, Operation, Parameter, Request
from homeostat.ports import ControlPlane
from homeostat.records import (
    Alert,
    Decision,
    Incident,
    Replay,
    Rollback,
    Rollout,
    RolloutComparison,
    RolloutPage,
    RouteReport,
)


def traffic_operations(control: ControlPlane) -> list[Operation]:
    """Everything that changes which version answers."""
    tag = "traffic"
    whose: dict[str, Any] = {"parameters": (MODEL,), "errors": (UnknownModel, UnknownRecord, Conflict)}
    asked: dict[str, Any] = {"parameters": (MODEL,), "errors": (UnknownModel,)}

    def roll_back(request: Request) -> Rollback:
        body: RollbackBody = request.body
        return control.roll_back(request.path["model"], to=body.to, actor=request.actor(body.actor), reason=body.reason)

    def start_rollout(request: Request) -> Rollout:
        body: RolloutBody = request.body
        return control.start_rollout(
            request.path["model"], body.version, actor=request.actor(body.actor), reason=body.reason
        )

    def change(verb: str, summary: str, order: Callable[..., Rollout]) -> Operation:
        def handle(request: Request) -> Rollout:
            body: OrderBody = request.body
            return order(request.path["model"], actor=request.actor(body.actor), reason=body.reason)

        path = f"{ONE}/rollouts/{verb}"
        return Operation("POST", path, summary, handle, Rollout, tag, body=OrderBody, body_required=False, **whose)

    return [
        Operation(
            "POST",
            f"{ONE}/rollback",
            "Put an earlier production version back",
            roll_back,
            Rollback,
            tag,
            body=RollbackBody,
            body_required=False,
            parameters=(MODEL,),
            errors=(UnknownModel, UnknownVersion, Conflict, IntegrityError),
        ),
        Operation(
            "GET",
            f"{ONE}/routes",
            "The routes of a model, and what each gateway serves",
            lambda r: control.routes(r.path["model"], limit=r.query.get("limit", 100)),
            RouteReport,
            tag,
            query=(LIMIT,),
            **asked,
        ),
        Operation(
            "GET",
            f"{ONE}/comparisons",
            "What the rollouts of a model compare",
            lambda r: {"comparisons": control.comparisons(r.path["model"])},
            list[RolloutComparison],
            tag,
            wrapped="comparisons",
            **asked,
        ),
        Operation(
            "GET",
            f"{ONE}/rollouts",
            "The rollouts of a model",
            lambda r: {"rollouts": control.rollouts(r.path["model"])},
            list[Rollout],
            tag,
            wrapped="rollouts",
            **asked,
        ),
        Operation(
            "POST",
            f"{ONE}/rollouts",
            "Roll a version out by the policy's steps",
            start_rollout,
            Rollout,
            tag,
            body=RolloutBody,
            parameters=(MODEL,),
            errors=(UnknownModel, UnknownVersion, Conflict, IntegrityError),
            status=201,
        ),
        change("pause", "Stay in the present step", control.pause),
        change("resume", "Go on with a paused rollout", control.resume),
        change("approve", "Let a rollout leave a step that waits for approval", control.approve),
        change("abort", "End a rollout, with all traffic on the version before", control.abort),
        *_history_operations(control),
    ]


def _history_operations(control: ControlPlane) -> list[Operation]:
    """What was done about traffic, and why."""
    tag = "traffic"
    decision = Parameter("decision", "The decision's id.")
    errors = (UnknownModel, UnknownRecord)
    return [
        Operation(
            "GET",
            f"{ONE}/rollouts/report",
            "The report of a rollout, as HTML",
            lambda r: control.rollout_report(r.path["model"], r.query.get("rollout")),
            RolloutPage,
            tag,
            parameters=(MODEL,),
            query=(Parameter("rollout", "The rollout's id; the newest, else."),),
            errors=errors,
        ),
        Operation(
            "GET",
            f"{ONE}/incidents",
            "The rollbacks of a model, with causes and timelines",
            lambda r: {"incidents": control.incidents(r.path["model"])},
            list[Incident],
            tag,
            wrapped="incidents",
            parameters=(MODEL,),
            errors=(UnknownModel,),
        ),
        Operation(
            "GET",
            f"{ONE}/incidents/{{incident}}",
            "One incident",
            lambda r: control.incident(r.path["model"], r.path["incident"]),
            Incident,
            tag,
            parameters=(MODEL, Parameter("incident", "The incident's id.")),
            errors=errors,
        ),
        Operation(
            "GET",
            f"{API}/decisions/{{decision}}",
            "One decision, with all that it was taken on",
            lambda r: control.decision(r.path["decision"]),
            Decision,
            tag,
            parameters=(decision,),
            errors=(UnknownRecord,),
        ),
        Operation(
            "GET",
            f"{API}/decisions/{{decision}}/replay",
            "Take a decision again",
            lambda r: control.replay(r.path["decision"]),
            Replay,
            tag,
            parameters=(decision,),
            errors=(UnknownRecord, Conflict),
        ),
    ]


def alert_operations(control: ControlPlane) -> list[Operation]:
    """Alerts, and what people do with them."""
    tag = "alerts"
    alert = Parameter("alert", "The alert's id.")
    everything = Parameter("all", "Resolved ones too.", bool)
    errors = (UnknownRecord, Conflict)

    def listed(request: Request) -> dict[str, list[Alert]]:
        found = control.alerts(request.query.get("model"), everything=request.query.get("all", False))
        return {"alerts": found}

    return [
        Operation(
            "GET",
            f"{API}/alerts",
            "Alerts",
            listed,
            list[Alert],
            tag,
            wrapped="alerts",
            query=(Parameter("model", "Only this model's."), everything),
            errors=(UnknownModel,),
        ),
        Operation(
            "POST",
            f"{API}/alerts/{{alert}}/acknowledge",
            "Say that somebody looks after an alert",
            lambda r: control.acknowledge(r.path["alert"], actor=r.actor(r.body.actor)),
            Alert,
            tag,
            body=ActorBody,
            body_required=False,
            parameters=(alert,),
            errors=errors,
        ),
        Operation(
            "POST",
            f"{API}/alerts/{{alert}}/resolve",
            "Close an alert by hand",
            lambda r: control.resolve(r.path["alert"], actor=r.actor(r.body.actor)),
            Alert,
            tag,
            body=ActorBody,
            body_required=False,
            parameters=(alert,),
            errors=errors,
        ),
    ]
