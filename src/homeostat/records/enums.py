"""The enums of the design: stages, verdicts, severities and the states of what moves."""

from __future__ import annotations

import enum


class Task(enum.StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def is_classification(self) -> bool:
        """Whether outputs are classes."""
        return self is not Task.REGRESSION


class Stage(enum.StrEnum):
    """Where a version is in its life."""

    DRAFT = "draft"
    TESTING = "testing"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class Verdict(enum.StrEnum):
    """What a check came to."""

    PENDING = "pending"
    NO_DATA = "no_data"
    INSUFFICIENT = "insufficient"
    HEALTHY = "healthy"
    HARMED = "harmed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Severity(enum.StrEnum):
    """How much a finding matters, in ascending order."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for none to 4 for critical."""
        return list(Severity).index(self)


class AlertState(enum.StrEnum):
    """How far people are with an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class TriggerKind(enum.StrEnum):
    """What starts a retraining."""

    DRIFT = "drift"
    PERFORMANCE = "performance"
    RECOVERY = "recovery"
    SCHEDULE = "schedule"
    LABEL_COUNT = "label_count"
    ALERT_COUNT = "alert_count"
    MANUAL = "manual"


class RunState(enum.StrEnum):
    """How far a retraining run is."""

    EXTRACTING = "extracting"
    VALIDATING = "validating"
    TRAINING = "training"
    EVALUATING = "evaluating"
    GATING = "gating"
    REGISTERING = "registering"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self in (RunState.SUCCEEDED, RunState.REJECTED, RunState.FAILED)


class StepKind(enum.StrEnum):
    """What a rollout step does with traffic."""

    SHADOW = "shadow"
    CANARY = "canary"
    AB = "ab"
    FULL = "full"
    BAKE = "bake"

    @property
    def names_candidate(self) -> bool:
        """Whether the candidate is not yet the production version in this step."""
        return self not in (StepKind.FULL, StepKind.BAKE)


class Phase(enum.StrEnum):
    """What a rollout that is under way is doing in its step."""

    PENDING = "pending"
    WARMING = "warming"
    HOLDING = "holding"
    EVALUATING = "evaluating"
    AWAITING_APPROVAL = "awaiting_approval"
    PROMOTING = "promoting"
    BAKING = "baking"


class RolloutState(enum.StrEnum):
    """How far a rollout is, or an incident: those go from `rolling_back` on."""

    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"

    @property
    def is_under_way(self) -> bool:
        """Whether the candidate may still take over: a model has one such rollout at most."""
        return self in (RolloutState.RUNNING, RolloutState.PAUSED)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the rollout."""
        return not self.is_under_way and self not in (RolloutState.ROLLING_BACK, RolloutState.VERIFYING)

    @property
    def was_rolled_back(self) -> bool:
        """Whether the candidate lost the traffic that it had; the old version has it from the first such state on."""
        return self in (
            RolloutState.ROLLING_BACK,
            RolloutState.VERIFYING,
            RolloutState.ROLLED_BACK,
            RolloutState.ROLLBACK_FAILED,
        )
