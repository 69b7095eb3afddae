"""Seeded facts for the tests of the pages: ordinary ones and extreme ones."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from homeostat.dashboard.facts import ModelFacts, PageFacts
from homeostat.frames import Kind
from homeostat.records import (
    Alert,
    AlertState,
    Arm,
    Decision,
    Feature,
    Finding,
    GatewayReport,
    Lineage,
    Manifest,
    ModelStatus,
    Policy,
    Rollout,
    RolloutComparison,
    RolloutState,
    Route,
    ServingForm,
    Severity,
    Signature,
    Stage,
    StepKind,
    Task,
    Verdict,
    Version,
    Window,
    parse_steps,
)

NOW = datetime(2025, 9, 29, 12, 4, 30, tzinfo=UTC)
HOSTILE = "</script><script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}\x00\u202e"
MADE = 0.951
STEPS = (
    "shadow for 20 pairs",
    "canary 10% for 1h and 20 rows",
    "ab 50% for 20 rows until decided",
    "100%",
    "bake for 1h",
)


def signature(task: Task = Task.BINARY, target: str = "verdict") -> Signature:
    classes = () if task is Task.REGRESSION else ("good", "phish")
    return Signature(
        task=task,
        features=(Feature(name="links", kind=Kind.NUMERIC),),
        target=target,
        classes=classes,
        positive=classes[1] if classes else None,
    )


def version(model: str, number: int, stage: Stage, *, days: float, task: Task = Task.BINARY, **details: Any) -> Version:
    metrics = {"mae": 4.2} if task is Task.REGRESSION else {"accuracy": MADE, "roc_auc": 0.97}
    return Version(
        model=model,
        number=number,
        stage=stage,
        created_at=NOW - timedelta(days=days),
        signature=signature(task),
        manifest=Manifest(files=()),
        serving=ServingForm(format="treelite", reason="trees", rows_checked=100, largest_difference=0.0),
        lineage=Lineage(data_sha256="0" * 64, rows=12_000 + number, registered_by="ann"),
        metrics=metrics,
        parameters={"algorithm": "random_forest"},
        **details,
    )


def finding(model: str, check: str, at: datetime, verdict: Verdict, **details: Any) -> Finding:
    rows = details.pop("rows", 1_000)
    number = details.pop("version", 1)
    severity = Severity.HIGH if verdict is Verdict.HARMED else Severity.NONE
    return Finding(
        id=f"{model}:{check}:{number}:{at.isoformat()}",
        model=model,
        check=check,
        at=at,
        verdict=verdict,
        severity=details.pop("severity", severity),
        message=details.pop("message", f"{check} is {verdict.value}."),
        version=number,
        arm="production",
        window=Window(start=at - timedelta(days=1), end=at, rows=rows, name="live"),
        **details,
    )


def quality(model: str, values: Any, *, made: float = MADE, check: str = "performance daily") -> list[Finding]:
    """One look every hour until four minutes ago; NaN is a window without labels."""
    found = []
    for index, value in enumerate(values):
        at = NOW - timedelta(minutes=4, seconds=30, hours=len(values) - 1 - index)
        if math.isnan(value):
            found.append(finding(model, check, at, Verdict.NO_DATA, rows=0, message="No labelled rows in the window."))
            continue
        harmed = abs(value - made) > 0.1 * made if made > 1 else value < made - 0.02
        found.append(
            finding(
                model,
                check,
                at,
                Verdict.HARMED if harmed else Verdict.HEALTHY,
                rows=412,
                statistic=float(value),
                threshold=made,
                evidence={"metrics": {"accuracy": float(value)}},
            )
        )
    return found


def drift(model: str, looks: int, features: dict[str, float], *, judged: bool = True) -> list[Finding]:
    found = []
    for index in range(looks):
        at = NOW - timedelta(minutes=4, seconds=30, hours=looks - 1 - index)
        measured = {
            name: {
                "effect": round(effect * (index + 1) / looks, 4),
                "drifted": effect * (index + 1) / looks > 0.1,
                "severity": "high" if effect * (index + 1) / looks > 0.1 else "none",
                "dimension": "values",
                "ks": effect / 2,
                "ks_p": 1e-9,
                "psi": effect,
                "p_adjusted": 1e-7,
            }
            for name, effect in features.items()
        }
        drifted = [name for name in measured if measured[name]["drifted"]]
        verdict = Verdict.INSUFFICIENT if not judged else Verdict.HARMED if drifted else Verdict.HEALTHY
        found.append(
            finding(
                model,
                "drift",
                at,
                verdict,
                statistic=len(drifted) / len(features),
                threshold=0.3,
                message=f"{len(drifted)} of {len(features)} features drifted.",
                evidence={"features": measured, "drifted": drifted, "strength": 0.5},
            )
        )
    return found


def service(model: str, *, rate: float = 0.0005, p95: float = 2.4) -> Finding:
    harmed = rate > 0.01
    return finding(
        model,
        "service",
        NOW - timedelta(minutes=4, seconds=30),
        Verdict.HARMED if harmed else Verdict.HEALTHY,
        statistic=rate if harmed else p95,
        threshold=0.01 if harmed else 500.0,
        message="1,000 rows, 0.05% failed, p95 2.40 ms.",
        evidence={"error_rate": rate, "p95_latency_ms": p95, "rows": 1000, "failures": round(1000 * rate)},
    )


def alert(model: str, number: int, severity: Severity, **details: Any) -> Alert:
    return Alert(
        id=f"{model}-alert-{number}",
        model=model,
        subject=details.pop("subject", "performance"),
        state=AlertState.ACKNOWLEDGED if "acknowledged_by" in details else AlertState.OPEN,
        severity=severity,
        message=details.pop("message", "accuracy 0.889 against 0.951 when it was made on 412 labelled rows."),
        opened_at=NOW - timedelta(days=2),
        last_seen_at=NOW - timedelta(minutes=5),
        count=17,
        **details,
    )


def decision(model: str, number: int, kind: str, hours: float, **details: Any) -> Decision:
    return Decision(
        id=f"{model}-decision-{number}",
        model=model,
        at=NOW - timedelta(hours=hours),
        kind=kind,
        actor=details.pop("actor", "homeostat"),
        reason=details.pop("reason", f"the reason for {kind}"),
        **details,
    )


def rollout(model: str, **details: Any) -> Rollout:
    return Rollout(
        id=f"{model}-rollout-1",
        model=model,
        candidate=2,
        baseline=1,
        steps=parse_steps(STEPS),
        state=details.pop("state", RolloutState.RUNNING),
        created_at=NOW - timedelta(days=1),
        updated_at=NOW - timedelta(minutes=24),
        step=details.pop("step", 2),
        step_entered_at=NOW - timedelta(minutes=24),
        reason="better: accuracy 0.959 against 0.884",
        **details,
    )


def evidence(**details: Any) -> dict[str, Any]:
    return {
        "pairs": 312,
        "wins": 31,
        "losses": 12,
        "log_better": math.log(9.5),
        "log_worse": math.log(0.031),
        "candidate": 0.951,
        "baseline": 0.89,
        "rows_in_step": 12,
        "pairs_in_step": 9,
        **details,
    }


def status(model: str, **details: Any) -> ModelStatus:
    defaults: dict[str, Any] = {
        "task": Task.BINARY,
        "description": "Is this e-mail phishing?",
        "production": 1,
        "route": None,
        "quality": "",
        "drift": "",
        "rows": 81_489,
        "labelled": 76_232,
        "unmatched": 14,
        "rollout": None,
        "open_alerts": [],
        "last_decision": None,
    }
    return ModelStatus(model=model, **(defaults | details))


def healthy(model: str = "churn", seed: int = 3) -> ModelFacts:
    """One version that serves alone, and does what it did."""
    rng = np.random.default_rng(seed)
    route = Route(
        model=model,
        number=1,
        arms=(Arm(name="control", version=1, weight=1.0),),
        salt=model,
        at=NOW - timedelta(days=90),
        reason="the first",
    )
    served = version(model, 1, Stage.PRODUCTION, days=91)
    installed = decision(model, 1, "installed", 90 * 24, version=1, rule="by hand", actor="ann")
    return ModelFacts(
        status=status(model, route=route, last_decision=installed),
        version=served,
        findings=[
            *quality(model, MADE + rng.normal(0.002, 0.004, 72)),
            *drift(model, 40, {"links": 0.04, "length": 0.02, "weekday": 0.01}),
            service(model),
        ],
        decisions=[installed],
        rollouts=[],
        experiments=[],
        alerts=[],
        gateways=[gateway(model, 1, "gw-1")],
        versions=[served],
        policy=Policy(),
        since=NOW - timedelta(days=90),
        routes=[route],
    )


def gateway(model: str, route: int, name: str, *, silent: bool = False) -> GatewayReport:
    return GatewayReport(
        name=name,
        pid=411,
        started_at=NOW - timedelta(days=3),
        seen_at=NOW - timedelta(seconds=90 if silent else 1),
        routes={model: route},
    )


def degraded(model: str = "phishing", seed: int = 7, *, state: RolloutState = RolloutState.RUNNING) -> ModelFacts:
    """A version that decays while its successor answers half the traffic."""
    rng = np.random.default_rng(seed)
    values = MADE + rng.normal(0.0, 0.004, 120) - np.clip(np.linspace(-0.1, 0.062, 120), 0.0, None)
    values[30:36] = math.nan
    values[-1] = 0.889
    route = Route(
        model=model,
        number=3,
        arms=(Arm(name="control", version=1, weight=0.5), Arm(name="candidate", version=2, weight=0.5)),
        salt=model,
        at=NOW - timedelta(minutes=24),
        reason="phishing-rollout-1: ab 50%",
        shadows=(3,),
    )
    moving = rollout(model, state=state)
    versions = [
        version(model, 1, Stage.PRODUCTION, days=91),
        version(model, 2, Stage.STAGING, days=1),
        version(model, 3, Stage.DRAFT, days=0.1),
    ]
    decisions = [
        decision(model, 1, "installed", 90 * 24, version=1, rule="by hand", actor="ann"),
        decision(
            model,
            2,
            "alert",
            48,
            version=1,
            rule="performance",
            statistic=10.4,
            threshold=9.9,
            inputs={"finding": f"{model}:decay:1:2025"},
            reason="The loss rose to 0.089 over the last 3,321 labelled rows.",
        ),
        decision(model, 3, "retraining", 30, rule="performance", inputs={"run": f"{model}-run-1"}),
        decision(
            model,
            4,
            "candidate",
            29,
            version=2,
            rule="promotion gate",
            statistic=0.0745,
            threshold=0.01,
            inputs={"run": f"{model}-run-1"},
        ),
        decision(model, 5, "rollout", 24, version=2, rule="rollout"),
        decision(
            model,
            6,
            "step",
            0.4,
            version=2,
            rule="step",
            statistic=math.log(34.0),
            threshold=math.log(20.0),
            reason="canary 10% → ab 50%: accuracy 0.959 against 0.880 on 1,255 labelled pairs",
        ),
    ]
    alerts = [
        alert(model, 1, Severity.CRITICAL),
        alert(model, 2, Severity.MEDIUM, subject="drift", message="2 of 4 features drifted.", acknowledged_by="Ann"),
    ]
    return ModelFacts(
        status=status(model, route=route, rollout=moving, open_alerts=alerts, last_decision=decisions[-1]),
        version=versions[0],
        findings=[
            *quality(model, values),
            *quality(model, np.linspace(MADE, 0.93, 120), check="performance 30 days"),
            *drift(model, 40, {"links": 0.6, "length": 0.25, "weekday": 0.03, "hour": 0.01}),
            finding(model, "prediction", NOW - timedelta(minutes=5), Verdict.INSUFFICIENT, rows=88),
            service(model),
        ],
        decisions=decisions,
        rollouts=[
            msgspec.structs.replace(moving, id="old", state=RolloutState.ROLLED_BACK, outcome="it was worse"),
            moving,
        ],
        experiments=[
            RolloutComparison(
                id=moving.id,
                model=model,
                state=moving.state,
                step=StepKind.AB,
                arms=list(route.arms),
                began_at=moving.created_at,
                rule="paired e-process",
                evidence=evidence(),
            )
        ],
        alerts=alerts,
        gateways=[gateway(model, 3, "gw-1"), gateway(model, 2, "gw-2"), gateway(model, 3, "gw-3", silent=True)],
        versions=versions,
        policy=Policy(),
        since=NOW - timedelta(days=90),
        routes=[route],
    )


def unserved(model: str = "draft") -> ModelFacts:
    """A model whose only version was never promoted."""
    return replace(
        healthy(model),
        status=status(model, production=None, rows=0, labelled=0, unmatched=0),
        version=None,
        findings=[],
        decisions=[],
        gateways=[],
        versions=[version(model, 1, Stage.DRAFT, days=0.01)],
        since=None,
        routes=[],
    )


def unlabelled(model: str = "silent", verdict: Verdict = Verdict.NO_DATA) -> ModelFacts:
    """Served, with no labels, or too few of them, and rows that are too few to look at."""
    rows = 0 if verdict is Verdict.NO_DATA else 12
    found = [
        finding(model, check, NOW - timedelta(minutes=5), verdict, rows=rows, message=f"{rows} labelled rows.")
        for check in ("performance daily", "performance 7 days", "performance 30 days")
    ]
    return replace(
        healthy(model),
        status=status(model, labelled=rows, unmatched=0, route=healthy(model).status.route),
        findings=[*found, *drift(model, 3, {"links": 0.2}, judged=False)],
    )


def regression(model: str = "price") -> ModelFacts:
    """Numbers instead of classes."""
    made = 4.2
    held = healthy(model)
    moving = rollout(model, step=1)
    known = evidence(candidate=-3.9, baseline=-4.6)
    return replace(
        held,
        status=status(model, task=Task.REGRESSION, route=held.status.route, rollout=moving),
        version=version(model, 1, Stage.PRODUCTION, days=91, task=Task.REGRESSION),
        findings=quality(model, np.linspace(4.0, 5.1, 60), made=made),
        rollouts=[moving],
        experiments=[
            RolloutComparison(
                id=moving.id,
                model=model,
                state=moving.state,
                step=StepKind.CANARY,
                arms=[],
                began_at=moving.created_at,
                rule="",
                evidence=known,
            )
        ],
    )


def crowded(model: str = HOSTILE, *, features: int = 500) -> ModelFacts:
    """More of everything than a page can hold, with names that attack it."""
    words = HOSTILE * 8
    held = degraded(model)
    rng = np.random.default_rng(11)
    names = {f"{HOSTILE}{index}" * 3: float(effect) for index, effect in enumerate(rng.uniform(0, 0.9, features))}
    looks = [msgspec.structs.replace(one, message=words) for one in quality(model, MADE + rng.normal(-0.05, 0.04, 300))]
    longer = quality(model, MADE + rng.normal(-0.05, 0.04, 300), check="performance 30 days")
    others = [
        finding(model, check, NOW - timedelta(minutes=5), Verdict.HARMED, message=words)
        for check in ("performance 7 days", "prediction", "decay", "accuracy floor")
    ]
    kinds = ("promotion", "rollback", "alert", "retraining", "rejected", "step", HOSTILE)
    decisions = [
        decision(
            model,
            index,
            kinds[index % len(kinds)],
            1000 - index,
            reason=words,
            actor=words,
            rule=words,
            version=index,
            statistic=0.1234567,
            threshold=1e-12,
        )
        for index in range(1000)
    ]
    alerts = [alert(model, index, Severity.CRITICAL, subject=words, message=words) for index in range(60)]
    many_arms = tuple(Arm(name=words, version=index, weight=1 / 40) for index in range(40))
    assert held.status.route is not None
    route = msgspec.structs.replace(held.status.route, arms=many_arms, reason=words, shadows=tuple(range(40, 60)))
    moving = msgspec.structs.replace(rollout(model), reason=words, actor=words)
    past = [
        msgspec.structs.replace(moving, id=f"past-{index}", state=RolloutState.REJECTED, outcome=words)
        for index in range(30)
    ]
    return replace(
        held,
        status=status(
            model, description=words, route=route, rollout=moving, open_alerts=alerts, last_decision=decisions[-1]
        ),
        version=msgspec.structs.replace(
            version(model, 1, Stage.PRODUCTION, days=91), signature=signature(target=words)
        ),
        findings=[*looks, *longer, *others, *drift(model, 120, names), service(model)],
        decisions=decisions,
        rollouts=[*past, moving],
        experiments=[msgspec.structs.replace(held.experiments[0], id=moving.id)],
        alerts=alerts,
        gateways=[
            msgspec.structs.replace(gateway(model, 1, words, silent=True), name=f"{words}{index}")
            for index in range(40)
        ],
        versions=[version(model, index, Stage.ARCHIVED, days=index, tags={"note": words}) for index in range(1, 61)],
    )


def page(*models: ModelFacts, simulated: bool = False) -> PageFacts:
    return PageFacts(models=list(models), now=NOW, simulated=simulated, version="0.2.0", server="ml-1", machine_now=NOW)
