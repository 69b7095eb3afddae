"""A whole system in memory on a simulated clock: one model of one number, and versions of known quality."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from homeostat.controllers.clock import SimulatedClock
from homeostat.frames import Columns, Kind
from homeostat.records import (
    Feature,
    GuardrailPolicy,
    Policy,
    RolloutPolicy,
    ServicePolicy,
    Signature,
    Stage,
    Task,
    TriggerPolicy,
    Version,
    as_datetime64,
)
from homeostat.registry.service import VersionDraft
from homeostat.settings import load
from homeostat.wiring import System, open_system

MODEL = "mail"
START = datetime(2025, 3, 3, 8, tzinfo=UTC)
CLASSES = ("ham", "spam")
STEPS = ("shadow for 10 pairs", "canary 10% for 1h and 10 rows", "ab 50% for 10 rows", "100%", "bake for 10 pairs")
SIGNATURE = Signature(
    task=Task.BINARY,
    features=(Feature(name="x", kind=Kind.NUMERIC),),
    target="kind",
    classes=CLASSES,
    positive="spam",
)


def quiet_policy(**parts: Any) -> Policy:
    """A policy under which nothing retrains by itself, and slow test machines break no guardrail."""
    base = Policy(
        triggers=TriggerPolicy(performance=False, recovery=False, drift="never"),
        rollout=RolloutPolicy(steps=STEPS),
        guardrails=GuardrailPolicy(p95_latency_ms=1e9),
        service=ServicePolicy(p95_latency_ms=1e9),
    )
    return msgspec.structs.replace(base, **parts)


def truth(x: np.ndarray) -> np.ndarray:
    return np.array(CLASSES, dtype=object)[(x > 0).astype(int)]


def fitted(*, flipped: bool = False, cut: float = 0.0) -> DecisionTreeClassifier:
    x = np.linspace(-1, 1, 81)
    said = truth(-x if flipped else x - cut)
    return DecisionTreeClassifier(random_state=0).fit(pd.DataFrame({"x": x}), said)


@dataclass
class Small:
    """The system with what the tests do to it."""

    system: System
    clock: SimulatedClock
    rng: np.random.Generator
    sent: int = 0

    def register(self, estimator: Any, *, stage: Stage = Stage.STAGING, accuracy: float = 0.98) -> Version:
        x = np.linspace(-1, 1, 200)
        draft = VersionDraft(
            model=MODEL,
            estimator=estimator,
            signature=SIGNATURE,
            columns=Columns({"x": x}),
            target=truth(x),
            times=np.full(200, as_datetime64(START - timedelta(days=9))) + np.arange(200) * np.timedelta64(1, "h"),
            evaluation_scores=np.linspace(0, 1, 100),
            metrics={"accuracy": accuracy, "evaluation_rows": 100.0},
            keep_training=not self.system.registry.models(),
        )
        registry, now = self.system.registry, self.clock.now()
        version = registry.register(draft, at=now, actor="test", reason="made")
        if stage is Stage.DRAFT:
            return version
        return registry.advance(MODEL, version.number, stage, at=now, actor="test", reason="made")

    def send(self, rows: int = 30, *, label: bool = True, seconds: float = 60.0, x: np.ndarray | None = None) -> Any:
        """Rows are served, time passes, and labels come."""
        values = self.rng.uniform(-1, 1, rows) if x is None else x
        values = np.where(np.abs(values) < 0.05, 0.3, values)
        ids = [f"id-{self.sent + i}" for i in range(len(values))]
        self.sent += len(values)
        answer = self.system.predict(MODEL, Columns({"x": values}), ids=ids)
        self.wait(seconds)
        if label:
            self.system.label(MODEL, ids, truth(values).tolist())
        return answer

    def wait(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now() + timedelta(seconds=seconds))

    def drive(self, rounds: int, *, rows: int = 30, seconds: float = 60.0) -> None:
        for _ in range(rounds):
            self.send(rows, seconds=seconds)
            self.system.tick()

    def served_by(self, rows: int = 200) -> set[int]:
        """The versions that answer now."""
        return set(self.send(rows, label=False, seconds=0).version.tolist())

    def stages(self) -> dict[int, Stage]:
        return {version.number: version.stage for version in self.system.registry.versions(MODEL)}

    def rollout(self, number: int = -1) -> Any:
        return self.system.rollouts.list(MODEL)[number]

    def decisions(self, kind: str) -> list[Any]:
        return [decision for decision in self.system.control.decisions(MODEL) if decision.kind == kind]


def small_system(
    policy: Policy | None = None, *, on_alert: Any = None, accuracy: float = 0.98, home: Path | None = None
) -> Small:
    """A system with version 1 in production, which is always right; with a home its state is in files there."""
    policy = policy or quiet_policy()
    settings = replace(load(environment={}), policy=policy, seed=1)
    if home is not None:
        settings = replace(settings, home=home)
    clock = SimulatedClock(START)
    system = open_system(settings, clock=clock, in_memory=home is None, on_alert=on_alert, holder="one")
    small = Small(system, clock, np.random.default_rng(5))
    small.register(fitted(), accuracy=accuracy)
    small.system.registry.install(MODEL, 1, at=START, actor="test", reason="the first")
    return small


def with_policy(small: Small, policy: Policy) -> None:
    """The same stores under another policy from now on."""
    settings = replace(small.system.settings, policy=policy)
    small.system.settings = settings
    object.__setattr__(small.system.loop, "policy", settings.policy_of)
