"""What a page shows: records of each model, drawn through the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from homeostat.errors import UnknownModel
from homeostat.ports import ControlPlane
from homeostat.records import (
    Alert,
    Decision,
    Finding,
    GatewayReport,
    ModelStatus,
    Policy,
    Rollout,
    RolloutComparison,
    Route,
    Stage,
    Version,
)
from homeostat.records.decoding import converted

QUALITY_CHECKS = ("performance daily", "performance 7 days", "performance 30 days")
# How many findings of each check a page draws: histories of quality and drift, and of the others the newest.
HISTORY = {
    **dict.fromkeys(QUALITY_CHECKS, 300),
    "drift": 120,
    "prediction": 1,
    "service": 1,
    "decay": 1,
    "accuracy floor": 1,
}
CARD_HISTORY = {**dict.fromkeys(HISTORY, 1), QUALITY_CHECKS[0]: 60}
MOST_DECISIONS = 60
MOST_ROLLOUTS = 8


@dataclass(frozen=True)
class ModelFacts:
    """What a page shows of one model.

    Lists are oldest first; `findings` are those of all checks together. `since` is when the served version went into
    production, `policy` the one that holds. `routes` are the latest ones; the newest is also in `status`.
    """

    status: ModelStatus
    version: Version | None
    findings: list[Finding]
    decisions: list[Decision]
    rollouts: list[Rollout]
    experiments: list[RolloutComparison]
    alerts: list[Alert]
    gateways: list[GatewayReport]
    versions: list[Version]
    policy: Policy | None = None
    since: datetime | None = None
    routes: list[Route] = field(default_factory=list)


@dataclass(frozen=True)
class PageFacts:
    """What a page shows: its models, and the server that is asked.

    `now` is the time that the models live by, simulated where `simulated` says so; `machine_now` is the machine's, by
    which gateways report. Without it they are the same.
    """

    models: list[ModelFacts]
    now: datetime
    simulated: bool
    version: str
    server: str
    machine_now: datetime | None = None


def read_facts(control: ControlPlane, model: str) -> ModelFacts:
    """Everything that the page of one model shows. Raises `UnknownModel`."""
    known = {status.model: status for status in control.status()}
    if model not in known:
        raise UnknownModel(model=model, known=sorted(known))
    return _whole(control, known[model])


def read_all(control: ControlPlane) -> list[ModelFacts]:
    """What the page of all models shows: of a single one everything, of each of several what its card needs."""
    known = control.status()
    return [_whole(control, status) for status in known] if len(known) == 1 else [_card(control, one) for one in known]


def _whole(control: ControlPlane, status: ModelStatus) -> ModelFacts:
    model = status.model
    versions = control.versions(model)
    report = control.routes(model, limit=1)
    return ModelFacts(
        status=status,
        version=next((version for version in versions if version.number == status.production), None),
        findings=_findings(control, model, HISTORY),
        decisions=control.decisions(model, limit=MOST_DECISIONS),
        rollouts=control.rollouts(model)[-MOST_ROLLOUTS:],
        experiments=control.comparisons(model)[-MOST_ROLLOUTS:],
        alerts=list(status.open_alerts),
        gateways=report.gateways,
        versions=versions,
        policy=converted(control.policy(model).policy, Policy),
        since=_since(control, status),
        routes=report.routes,
    )


def _card(control: ControlPlane, status: ModelStatus) -> ModelFacts:
    return ModelFacts(
        status=status,
        version=None if status.production is None else control.version(status.model, status.production),
        findings=_findings(control, status.model, CARD_HISTORY),
        decisions=[] if status.last_decision is None else [status.last_decision],
        rollouts=[] if status.rollout is None else [status.rollout],
        experiments=[],
        alerts=list(status.open_alerts),
        gateways=[],
        versions=[],
        policy=converted(control.policy(status.model).policy, Policy),
        since=_since(control, status),
    )


def _findings(control: ControlPlane, model: str, history: dict[str, int]) -> list[Finding]:
    return [finding for check, most in history.items() for finding in control.findings(model, check=check, limit=most)]


def _since(control: ControlPlane, status: ModelStatus) -> datetime | None:
    if status.production is None:
        return None
    moves = control.stages(status.model, status.production)
    return next((move.at for move in reversed(moves) if move.target is Stage.PRODUCTION), None)
