"""Frozen nouns and enums: the words of the design. Every record serialises to JSON with msgspec."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from homeostat.frames import Kind
from homeostat.records.enums import (
    AlertState,
    RunState,
    Severity,
    Stage,
    Task,
    TriggerKind,
    Verdict,
)

Json = dict[str, Any]
# The serving form of a version that has no files to be served from.
EXTERNAL = "external"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every stored record shares: a table, and a key that is unique in it."""

    table: ClassVar[str] = ""

    @property
    def key(self) -> str:
        """The record's key in its table."""
        raise NotImplementedError


class Mutable(Record, frozen=True, kw_only=True):
    """A record that is replaced whole by compare-and-swap on its revision."""

    revision: int = 0


# The signature of a version: names, kinds and order of its features, and its outputs.
class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a model; `nullable` says whether the model answers where its value is missing."""

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    nullable: bool = True


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a version takes and gives.

    `classes` are the labels in the order of the score columns; empty for regression. `positive` is the class that
    a binary model looks for.
    """

    task: Task
    features: tuple[Feature, ...]
    target: str
    classes: tuple[str, ...] = ()
    positive: str | None = None

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each feature, in order."""
        return {feature.name: feature.kind for feature in self.features}


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a version: its name, the hash that addresses its content, and its size in bytes."""

    path: str
    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Every file of a version with its SHA-256."""

    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """One SHA-256 over all entries: what identifies the version's content."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from."""

    data_sha256: str
    rows: int
    parent: int | None = None
    run: str | None = None
    code_version: str = ""
    trained_from: datetime | None = None
    trained_until: datetime | None = None
    registered_by: str = ""


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A serving format that was tried at registration and not taken.

    Where it ran: `largest_difference` from the original's outputs. Where it agreed: `row_us` and `batch_row_us`, the
    microseconds for one row alone and for a row of a batch of 64.
    """

    format: str
    reason: str
    largest_difference: float | None = None
    row_us: float | None = None
    batch_row_us: float | None = None


class ServingForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is served, and why so.

    `largest_difference` is the largest absolute difference from the original's outputs over `rows_checked` rows;
    `speedup` is the original's time for one row over the compiled form's. The times that it comes from are microseconds
    for one row alone and for a row of a batch of 64, of this form and of the original, all measured in one go; versions
    that were registered before they were kept have none.
    """

    format: str
    reason: str
    rows_checked: int
    largest_difference: float
    speedup: float | None = None
    row_us: float | None = None
    batch_row_us: float | None = None
    original_row_us: float | None = None
    original_batch_row_us: float | None = None
    rejected: tuple[Rejected, ...] = ()
    trusted_types: tuple[str, ...] = ()


class Model(Mutable, frozen=True, kw_only=True):
    """A named prediction task."""

    table: ClassVar[str] = "model"

    name: str
    task: Task
    target: str
    created_at: datetime
    description: str = ""

    @property
    def key(self) -> str:
        return self.name


class Version(Mutable, frozen=True, kw_only=True):
    """An immutable trained artifact; only its stage ever changes."""

    table: ClassVar[str] = "version"

    model: str
    number: int
    stage: Stage
    created_at: datetime
    signature: Signature
    manifest: Manifest
    serving: ServingForm
    lineage: Lineage
    metrics: dict[str, float] = {}
    parameters: Json = {}
    tags: dict[str, str] = {}

    @property
    def key(self) -> str:
        return version_key(self.model, self.number)

    @property
    def is_external(self) -> bool:
        """Whether it is served elsewhere: watched here, and never loaded, routed or retrained."""
        return self.serving.format == EXTERNAL


def version_key(model: str, number: int) -> str:
    """The key of a version, such as `phishing:3`."""
    return f"{model}:{number}"


class StageChange(Record, frozen=True, kw_only=True):
    """One move of a version, never altered."""

    table: ClassVar[str] = "stage_change"

    id: str
    model: str
    version: int
    source: Stage | None
    target: Stage
    at: datetime
    actor: str
    reason: str
    evidence: Json = {}

    @property
    def key(self) -> str:
        return self.id


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One version with a share of the traffic."""

    name: str
    version: int
    weight: float


class Route(Record, frozen=True, kw_only=True):
    """What the gateway serves for a model: an immutable numbered snapshot."""

    table: ClassVar[str] = "route"

    model: str
    number: int
    arms: tuple[Arm, ...]
    salt: str
    at: datetime
    reason: str
    shadows: tuple[int, ...] = ()
    lease_until: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.model}:{self.number:09d}"


def next_route(
    previous: Route | None,
    model: str,
    arms: tuple[Arm, ...],
    *,
    at: datetime,
    reason: str,
    shadows: tuple[int, ...] = (),
    lease_until: datetime | None = None,
) -> Route:
    """The snapshot that follows another; it keeps the salt, so that entities stay where they are."""
    return Route(
        model=model,
        number=1 if previous is None else previous.number + 1,
        arms=arms,
        salt=model if previous is None else previous.salt,
        at=at,
        reason=reason,
        shadows=shadows,
        lease_until=lease_until,
    )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a check looked at."""

    start: datetime | None
    end: datetime
    rows: int
    name: str = ""


class Finding(Record, frozen=True, kw_only=True):
    """A check's result."""

    table: ClassVar[str] = "finding"

    id: str
    model: str
    check: str
    at: datetime
    verdict: Verdict
    severity: Severity
    message: str
    version: int | None = None
    arm: str | None = None
    window: Window | None = None
    statistic: float | None = None
    threshold: float | None = None
    evidence: Json = {}

    @property
    def key(self) -> str:
        return self.id


class Alert(Mutable, frozen=True, kw_only=True):
    """A deduplicated, stateful message to people."""

    table: ClassVar[str] = "alert"

    id: str
    model: str
    subject: str
    state: AlertState
    severity: Severity
    message: str
    opened_at: datetime
    last_seen_at: datetime
    count: int = 1
    healthy_in_a_row: int = 0
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    finding: str | None = None

    @property
    def key(self) -> str:
        return self.id


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """Why a retraining starts."""

    kind: TriggerKind
    reason: str
    since: datetime | None = None
    evidence: Json = {}


class Run(Mutable, frozen=True, kw_only=True):
    """One retraining: extract → validate data → train → evaluate → gate → register."""

    table: ClassVar[str] = "run"

    id: str
    model: str
    state: RunState
    trigger: Trigger
    created_at: datetime
    updated_at: datetime
    baseline: int
    number: int
    seed: int
    attempts: int = 0
    version: int | None = None
    outcome: str = ""
    evidence: Json = {}

    @property
    def key(self) -> str:
        return self.id

    @property
    def is_under_way(self) -> bool:
        """Whether somebody works on it now: it has neither ended nor waits for its next try."""
        return not self.state.is_final and "retry_at" not in self.evidence


class Decision(Record, frozen=True, kw_only=True):
    """Something the system did by itself or a person ordered: append-only."""

    table: ClassVar[str] = "decision"

    id: str
    model: str
    at: datetime
    kind: str
    actor: str
    reason: str
    version: int | None = None
    rule: str = ""
    statistic: float | None = None
    threshold: float | None = None
    inputs: Json = {}
    config_hash: str = ""

    @property
    def key(self) -> str:
        return self.id
