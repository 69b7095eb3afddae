"""What people and programs ask of the whole, and how it tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from homeostat.ports.experiments import ExperimentPlane
from homeostat.records import (
    Alert,
    CheckReport,
    Decision,
    Finding,
    Incident,
    KeyReport,
    KeyRole,
    LabelsAccepted,
    Model,
    ModelStatus,
    NewKey,
    PastPredictions,
    PolicyReport,
    PredictionsAccepted,
    Promotion,
    Replay,
    Rollback,
    Rollout,
    RolloutComparison,
    RolloutPage,
    RouteReport,
    Run,
    Stage,
    StageChange,
    Verification,
    Version,
)


class Notifier(Protocol):
    """Tells people."""

    def notify(self, alert: Alert, finding: Finding | None) -> None:
        """Send one alert whose state changed."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """What a new version is made from: files on this machine.

    `training` is a CSV or Parquet table with the `target` column and, perhaps, one of event `time`. `pipeline` is the
    fitted model (.skops, .onnx, XGBoost's .ubj or .json, LightGBM's .txt or .lgb, or .joblib and .pkl with
    `allow_pickle`); without one the built-in trainer fits a model. `python` names a class of the user's own instead,
    as `package.module:Class`, and `python_files` the folder, `.py` file or `.zip` that it is imported from; without
    that it is looked for where Python looks for modules.
    With `keep_training` the rows are kept, so that retrainings can use them as history.

    With `is_external` the version is served elsewhere: `training` is a table of rows that it answered, as a reference,
    with the columns of its `prediction` and its `score`, and of the `target` where it is known. `positive` names the
    class that a binary model looks for.
    """

    training: Path
    target: str
    pipeline: Path | None = None
    time: str | None = None
    allow_pickle: bool = False
    keep_training: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    is_external: bool = False
    prediction: str | None = None
    score: str | None = None
    positive: str | None = None
    python: str | None = None
    python_files: Path | None = None


class ControlPlane(ExperimentPlane, Protocol):
    """All that people and programs may ask and order: in this process, or of a server through its client.

    Every method raises the errors of `errors`: `UnknownModel`, `UnknownVersion`, `Conflict`, `InvalidInput` and below.
    """

    def status(self) -> list[ModelStatus]:
        """What is served, how it does and what is open, for every model."""
        ...

    def models(self) -> list[Model]:
        """Every model."""
        ...

    def versions(self, model: str) -> list[Version]:
        """The versions of a model, oldest first."""
        ...

    def version(self, model: str, number: int) -> Version:
        """One version."""
        ...

    def stages(self, model: str, number: int | None = None) -> list[StageChange]:
        """The moves of a model's versions between stages, or of one version, oldest first."""
        ...

    def register(self, model: str, registration: Registration, *, actor: str, reason: str) -> Version:
        """Register a version in stage draft."""
        ...

    def move(self, model: str, number: int, stage: Stage, *, actor: str, reason: str) -> Promotion:
        """Move a version to a stage. Into production it goes watched: where it is worse, the old version comes back."""
        ...

    def roll_back(self, model: str, *, to: int | None, actor: str, reason: str) -> Rollback:
        """Put an earlier production version back, and wait until the gateways say that they serve it."""
        ...

    def verify(self, model: str | None = None) -> Verification:
        """Hash every stored file again."""
        ...

    def check(self, model: str) -> CheckReport:
        """Look at a model now, act as the policy says, and return the findings."""
        ...

    def findings(self, model: str, *, check: str | None = None, limit: int = 100) -> list[Finding]:
        """The latest findings of a model, or of one check, oldest first."""
        ...

    def alerts(self, model: str | None = None, *, everything: bool = False) -> list[Alert]:
        """Live alerts, and with `everything` the resolved ones that are still kept, oldest first."""
        ...

    def acknowledge(self, alert: str, *, actor: str) -> Alert:
        """Say that somebody looks after an alert."""
        ...

    def resolve(self, alert: str, *, actor: str) -> Alert:
        """Close an alert by hand."""
        ...

    def runs(self, model: str) -> list[Run]:
        """The retrainings of a model, oldest first."""
        ...

    def retrain(self, model: str, *, actor: str, reason: str) -> Run:
        """Start a retraining by hand; it goes on by itself."""
        ...

    def wait_for_run(self, run: Run) -> Run:
        """The run once it has ended, or waits for its next try."""
        ...

    def comparisons(self, model: str) -> list[RolloutComparison]:
        """What the rollouts of a model compare, and did, oldest first."""
        ...

    def rollouts(self, model: str) -> list[Rollout]:
        """The rollouts of a model, oldest first."""
        ...

    def start_rollout(self, model: str, number: int, *, actor: str, reason: str) -> Rollout:
        """Roll a version out by the policy's steps, from the first on."""
        ...

    def pause(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Stay in the present step; guardrails go on."""
        ...

    def resume(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Go on with a paused rollout."""
        ...

    def approve(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Let a rollout leave a step that waits for a person's approval."""
        ...

    def abort(self, model: str, *, actor: str, reason: str) -> Rollout:
        """End a rollout, with all traffic on the version that was there before."""
        ...

    def rollout_report(self, model: str, rollout: str | None = None) -> RolloutPage:
        """The report of a rollout, or of the newest one."""
        ...

    def incidents(self, model: str) -> list[Incident]:
        """The rollbacks of a model with their causes and timelines, oldest first."""
        ...

    def incident(self, model: str, incident: str) -> Incident:
        """One of them."""
        ...

    def decision(self, decision: str) -> Decision:
        """One decision, with all that it was taken on."""
        ...

    def replay(self, decision: str) -> Replay:
        """Take a decision again from its record."""
        ...

    def routes(self, model: str, *, limit: int = 100) -> RouteReport:
        """The latest routes of a model, and what each gateway serves."""
        ...

    def decisions(self, model: str, *, limit: int = 0) -> list[Decision]:
        """The decisions about a model, oldest first; only the latest so many where `limit` is not 0."""
        ...

    def policy(self, model: str) -> PolicyReport:
        """The policy that holds for a model."""
        ...

    def settings(self) -> dict[str, Any]:
        """The settings by name, secrets left out."""
        ...

    def keys(self) -> list[KeyReport]:
        """Every API key that was ever made, oldest first, without the secrets."""
        ...

    def create_key(self, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str) -> NewKey:
        """Make a key that works for a time such as `90d`, or until it is revoked."""
        ...

    def revoke_key(self, name: str, *, actor: str) -> KeyReport:
        """End a key for good."""
        ...

    def label(
        self,
        model: str,
        ids: Sequence[str],
        values: Sequence[Any],
        *,
        event_time: npt.NDArray[np.datetime64] | None = None,
        source: str = "api",
        sources: Sequence[str | None] | None = None,
        confidences: Sequence[float | None] | None = None,
    ) -> LabelsAccepted:
        """Take labels in: late, twice, or before their prediction.

        `sources` and `confidences` (0 to 1) hold for single labels, where they are not `None`.
        """
        ...

    def log_predictions(self, model: str, past: PastPredictions) -> PredictionsAccepted:
        """Log what another server answered, of a model that is only watched here; each id is kept once."""
        ...
