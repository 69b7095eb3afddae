"""Rollouts, what is written down of a version that was taken back, and the policies that decisions were taken under."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from homeostat.records.enums import Phase, RolloutState, StepKind
from homeostat.records.nouns import Json, Mutable, Record


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollout.

    It is left once `seconds` passed and `rows` were served by all arms and `pairs` labelled pairs and `labels` labelled
    rows were seen since it began, where `until_decided` the evidence for the candidate suffices, and where `approval` a
    person agreed. Past `max_seconds` or `max_rows` without that, the policy says what becomes of the rollout. With
    `control`, as many entities as the candidate has are drawn the same way to be its control.
    """

    kind: StepKind
    weight: float = 0.0
    seconds: float = 0.0
    rows: int = 0
    pairs: int = 0
    labels: int = 0
    until_decided: bool = False
    max_seconds: float | None = None
    max_rows: int | None = None
    approval: bool = False
    control: bool = False


class Rollout(Mutable, frozen=True, kw_only=True):
    """A candidate taking over traffic by steps.

    `phase` is what it does in its step while it is under way, as of the last look. `attempt` counts the rollouts of
    this candidate. `step_backs` counts how often it went back a step, and `stepped_back` says whether that was its
    last move. `approved_step` is the step that a person let it leave. `updated_at` is the last change before its
    rollback was followed up: see `Incident`.
    """

    table: ClassVar[str] = "rollout"

    id: str
    model: str
    candidate: int
    baseline: int
    steps: tuple[Step, ...]
    state: RolloutState
    created_at: datetime
    updated_at: datetime
    step: int = 0
    step_entered_at: datetime
    promoted_at: datetime | None = None
    run: str | None = None
    actor: str = "homeostat"
    reason: str = ""
    outcome: str = ""
    evidence: Json = msgspec.field(default_factory=dict)
    phase: Phase | None = None
    attempt: int = 1
    step_backs: int = 0
    stepped_back: bool = False
    approved_step: int | None = None
    approved_by: str | None = None

    @property
    def key(self) -> str:
        return self.id

    @property
    def current(self) -> Step:
        """The step that the rollout is in."""
        return self.steps[self.step]

    @property
    def is_approved(self) -> bool:
        """Whether a person let it leave its present step."""
        return self.approved_step == self.step


class IncidentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an incident's timeline."""

    at: datetime
    what: str


class Incident(Mutable, frozen=True, kw_only=True):
    """A version that was taken back: why, and how the old one was put back.

    `state` goes from `rolling_back` (the route is written) over `verifying` (every gateway serves it) to `rolled_back`,
    or to `rollback_failed`. `verdict` is what the metrics of the version that was put back said: healthy, harmed, or
    `no_data` where nobody asked it anything. `told` is the last state that people were told of.
    """

    table: ClassVar[str] = "incident"

    id: str
    model: str
    state: RolloutState
    from_version: int | None
    to_version: int
    route: int
    cause: str
    rule: str
    actor: str
    opened_at: datetime
    updated_at: datetime
    rollout: str | None = None
    decision: str | None = None
    evidence: Json = msgspec.field(default_factory=dict)
    timeline: tuple[IncidentEvent, ...] = ()
    confirmed_by: tuple[str, ...] = ()
    confirmed_at: datetime | None = None
    verified_at: datetime | None = None
    verdict: str | None = None
    outcome: str = ""
    told: RolloutState | None = None

    @property
    def key(self) -> str:
        return self.id

    @property
    def is_open(self) -> bool:
        """Whether it is still followed up, or people have not heard of its end."""
        return not self.state.is_final or self.told is not self.state


class KeptPolicy(Record, frozen=True, kw_only=True):
    """A policy by its hash, so that a decision can be taken again as it was."""

    table: ClassVar[str] = "policy"

    config_hash: str
    at: datetime
    policy: Json

    @property
    def key(self) -> str:
        return self.config_hash
