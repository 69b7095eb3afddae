"""One record of each kind that a server replies with."""

from __future__ import annotations

from datetime import UTC, datetime

from homeostat.records import (
    Alert,
    AlertState,
    CheckReport,
    ClockReport,
    Decision,
    Feature,
    FileEntry,
    Finding,
    GatewayReport,
    Incident,
    IncidentEvent,
    KeyReport,
    KeyRole,
    KeyState,
    Kind,
    Lineage,
    Manifest,
    Model,
    ModelStatus,
    NewKey,
    PolicyReport,
    Promotion,
    Replay,
    Rollback,
    Rollout,
    RolloutComparison,
    RolloutPage,
    RolloutState,
    RouteReport,
    Run,
    RunState,
    ServingForm,
    Severity,
    Signature,
    Stage,
    StageChange,
    Step,
    StepKind,
    TakenAgain,
    Task,
    Trigger,
    TriggerKind,
    Verdict,
    Verification,
    Version,
    next_route,
)
from homeostat.records.routes import Arm

AT = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
MODEL = Model(name="mail", task=Task.BINARY, target="label", created_at=AT)
VERSION = Version(
    model="mail",
    number=3,
    stage=Stage.STAGING,
    created_at=AT,
    signature=Signature(
        task=Task.BINARY, features=(Feature(name="a", kind=Kind.NUMERIC),), target="label", classes=("ham", "spam")
    ),
    manifest=Manifest(files=(FileEntry(path="model.onnx", sha256="0" * 64, size=7),)),
    serving=ServingForm(format="onnx", reason="fast", rows_checked=10, largest_difference=1e-9),
    lineage=Lineage(data_sha256="1" * 64, rows=100),
    metrics={"accuracy": 0.9},
)
CHANGE = StageChange(
    id="c1", model="mail", version=3, source=None, target=Stage.DRAFT, at=AT, actor="ann", reason="new"
)
ALERT = Alert(
    id="a1",
    model="mail",
    subject="drift",
    state=AlertState.OPEN,
    severity=Severity.HIGH,
    message="it drifts",
    opened_at=AT,
    last_seen_at=AT,
)
RUN = Run(
    id="run-1",
    model="mail",
    state=RunState.TRAINING,
    trigger=Trigger(kind=TriggerKind.MANUAL, reason="by hand"),
    created_at=AT,
    updated_at=AT,
    baseline=1,
    number=1,
    seed=0,
)
ROLLOUT = Rollout(
    id="r1",
    model="mail",
    candidate=3,
    baseline=1,
    steps=(Step(kind=StepKind.SHADOW),),
    state=RolloutState.RUNNING,
    created_at=AT,
    updated_at=AT,
    step_entered_at=AT,
)
FINDING = Finding(
    id="f1", model="mail", check="drift", at=AT, verdict=Verdict.HARMED, severity=Severity.HIGH, message="m"
)
DECISION = Decision(id="d1", model="mail", at=AT, kind="rollback", actor="ann", reason="r", inputs={"pairs": 4.0})
REPLAY = Replay(
    decision=DECISION,
    again=TakenAgain(kind="roll_back", reason="r", rule="", statistic=None, threshold=None),
    same=True,
)
ARM = Arm(name="production", version=1, weight=1.0)
ROUTE = next_route(None, "mail", (ARM,), at=AT, reason="first")
STATUS = ModelStatus(
    model="mail",
    task=Task.BINARY,
    description="",
    production=1,
    route=ROUTE,
    quality="fine",
    drift="healthy",
    rows=5,
    labelled=4,
    unmatched=1,
    rollout=ROLLOUT,
    open_alerts=[ALERT],
    last_decision=DECISION,
)
COMPARISON = RolloutComparison(
    id="r1",
    model="mail",
    state=RolloutState.RUNNING,
    step=StepKind.AB,
    arms=[ARM],
    began_at=AT,
    rule="e-values",
    evidence={"wins": 3},
)
GATEWAY = GatewayReport(name="g", pid=1, started_at=AT, seen_at=AT, routes={"mail": 1})
PROMOTION = Promotion(version=VERSION, rollout=ROLLOUT)
ROLLBACK = Rollback(model="mail", production=1, route=4, confirmed=["g"], waiting=[])
INCIDENT = Incident(
    id="mail-incident-1",
    model="mail",
    state=RolloutState.ROLLED_BACK,
    from_version=3,
    to_version=1,
    route=4,
    cause="worse",
    rule="paired evidence",
    actor="homeostat",
    opened_at=AT,
    updated_at=AT,
    timeline=(IncidentEvent(at=AT, what="cause: worse"),),
)
PAGE = RolloutPage(rollout="mail-rollout-1", html="<!doctype html>")
CHECKED = CheckReport(model="mail", harmed=True, findings=[FINDING])
VERIFIED = Verification(versions=2, broken={"mail:1": ["model.onnx"]})
ROUTES = RouteReport(model="mail", routes=[ROUTE], gateways=[GATEWAY])
POLICY = PolicyReport(model="mail", config_hash="abc", policy={"preset": "calibrated"})
CLOCK = ClockReport(now=AT, rounds=3)
KEY = KeyReport(
    name="ci",
    id="0123456789",
    roles=[KeyRole.PREDICT],
    state=KeyState.LIVE,
    created_at=AT,
    created_by="ann",
    expires_at=AT,
    revoked_at=None,
    revoked_by="",
)
NEW_KEY = NewKey(key=KEY, secret="hst_0123456789_x")
