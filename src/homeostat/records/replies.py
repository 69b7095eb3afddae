"""What the data plane and the control plane take and give: the shapes of their JSON, shared by server and client."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from homeostat.records.enums import RolloutState, StepKind, Task
from homeostat.records.nouns import Alert, Decision, Finding, Json, Version
from homeostat.records.processes import GatewayReport
from homeostat.records.rollouts import Rollout
from homeostat.records.routes import Arm, Route

SUCCESS = "success"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What every reply shares."""


# The data plane.
class Prediction(Reply, frozen=True, kw_only=True):
    """The answer for one row.

    `probability` is the positive class' of a binary model, the predicted class' of a multiclass one, and absent for
    regression. `route` is the number of the snapshot that named the version; 0 where the caller named it.
    """

    prediction: str | float
    probability: float | None
    status: str
    prediction_id: str
    model: str
    version: int
    arm: str
    route: int


class PredictionBatch(Reply, frozen=True, kw_only=True):
    """The answer for many rows: lists of `count` entries, in the order of the rows."""

    predictions: list[str | float]
    probabilities: list[float] | None
    count: int
    status: str
    prediction_ids: list[str]
    model: str
    versions: list[int]
    arms: list[str]
    route: int


class LabelsAccepted(Reply, frozen=True, kw_only=True):
    """How many labels were kept, and how many of them wait for a prediction that is not logged (yet).

    `unknown_classes` says how many of them name a class that the production version does not know: mistyped, or new.
    """

    model: str
    accepted: int
    unmatched: int
    unknown_classes: int = 0


class PredictionsAccepted(Reply, frozen=True, kw_only=True):
    """What became of predictions that were answered elsewhere.

    `accepted` rows were logged now, `duplicates` were logged before under their ids. `waiting` are the halves, requests
    or responses, of which the other half has not come yet: nothing of those is logged.
    """

    model: str
    version: int
    accepted: int
    duplicates: int
    waiting: int = 0


# The control plane.
class ValuesAccepted(Reply, frozen=True, kw_only=True):
    """How many values of a user's own metric were kept."""

    experiment: str
    metric: str
    accepted: int


class ModelStatus(Reply, frozen=True, kw_only=True):
    """What is served for a model, how it does, and what is open."""

    model: str
    task: Task
    description: str
    production: int | None
    route: Route | None
    quality: str
    drift: str
    rows: int
    labelled: int
    unmatched: int
    rollout: Rollout | None
    open_alerts: list[Alert]
    last_decision: Decision | None


class Promotion(Reply, frozen=True, kw_only=True):
    """A version that moved; into production, where another version served before, it goes by a watched rollout."""

    version: Version
    rollout: Rollout | None = None


class Rollback(Reply, frozen=True, kw_only=True):
    """Which version serves again, and which gateways confirmed it; those in `waiting` had not when the time was up."""

    model: str
    production: int
    route: int
    confirmed: list[str]
    waiting: list[str]
    incident: str | None = None


class TakenAgain(Reply, frozen=True, kw_only=True):
    """What the rules say of a decision's recorded facts now."""

    kind: str
    reason: str
    rule: str
    statistic: float | None
    threshold: float | None


class Replay(Reply, frozen=True, kw_only=True):
    """A decision as it was recorded and as it is taken again, and whether both are the same."""

    decision: Decision
    again: TakenAgain
    same: bool


class RolloutPage(Reply, frozen=True, kw_only=True):
    """The report of a rollout, as one HTML page that needs nothing else."""

    rollout: str
    html: str


class ExperimentPage(Reply, frozen=True, kw_only=True):
    """The report of an experiment, as one HTML page that needs nothing else."""

    experiment: str
    html: str


class PlannedUnits(Reply, frozen=True, kw_only=True):
    """A number of units: in all arms, in each of them, and the days that they take, where it is known how many come."""

    units: int
    by_arm: list[int]
    days: float | None


class ExperimentPlan(Reply, frozen=True, kw_only=True):
    """How many units an experiment needs to find an effect in each new arm.

    `fixed` is for one look at the end; a verdict that holds at any moment comes after `expected` units on average, and
    with the power that was asked for by `longest`. `goal` is superiority or non-inferiority; `alpha_each_arm` is one
    arm's part of `alpha`. `sentence` says the same in words.
    """

    goal: str
    effect: float
    margin: float | None
    alpha: float
    alpha_each_arm: float
    power: float
    weights: list[float]
    method: str
    fixed: PlannedUnits
    expected: PlannedUnits
    longest: PlannedUnits
    sentence: str


class CheckReport(Reply, frozen=True, kw_only=True):
    """The newest finding of each check of the production version."""

    model: str
    harmed: bool
    findings: list[Finding]


class Verification(Reply, frozen=True, kw_only=True):
    """How many versions were hashed again, and the files of each that are not what was registered."""

    versions: int
    broken: dict[str, list[str]]


class RolloutComparison(Reply, frozen=True, kw_only=True):
    """The arms of a rollout, and the rule that decides between them.

    `evidence` is what is known so far: pairs of labelled rows, wins, losses and the logarithms of the e-values.
    """

    id: str
    model: str
    state: RolloutState
    step: StepKind
    arms: list[Arm]
    began_at: datetime
    rule: str
    evidence: Json


class RouteReport(Reply, frozen=True, kw_only=True):
    """The routes of a model, oldest first, and the one that each gateway process serves."""

    model: str
    routes: list[Route]
    gateways: list[GatewayReport]


class PolicyReport(Reply, frozen=True, kw_only=True):
    """The policy that holds for a model, and the hash that its decisions carry."""

    model: str
    config_hash: str
    policy: dict[str, Any]


class ClockReport(Reply, frozen=True, kw_only=True):
    """Where the simulated clock stands, and how many rounds of the controllers did something."""

    now: datetime
    rounds: int
