"""Experiments: arms that are compared on live traffic, the buckets that they own, and what is known of them."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import ClassVar

import msgspec

from homeostat.records.nouns import Json, Mutable, Record
from homeostat.records.routes import Arm, Buckets, ExperimentRoute

# A namespace deals its entities into so many buckets.
BUCKETS = 10_000


class ExperimentState(enum.StrEnum):
    """How far an experiment is."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SHADOWING = "shadowing"
    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    DECIDED = "decided"
    INCONCLUSIVE = "inconclusive"
    CONCLUDED = "concluded"
    ARCHIVED = "archived"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        """Whether its outcome stands; all that may still happen is that it is put away."""
        return self in (ExperimentState.CONCLUDED, ExperimentState.ARCHIVED, ExperimentState.ABORTED)

    @property
    def takes_traffic(self) -> bool:
        """Whether its arms answer."""
        return self in (ExperimentState.RUNNING, ExperimentState.HELD)


class ExperimentVerdict(enum.StrEnum):
    """What an experiment that was decided says of its best arm against the control."""

    WIN = "win"
    LOSS = "loss"
    FLAT = "flat"


class Strategy(enum.StrEnum):
    """How units are dealt to arms: `random` deals each request anew, the others keep an entity in its arm.

    `gradual` raises the arms' weights by a schedule, `bandit` moves them to the arms that do better.
    """

    RANDOM = "random"
    STICKY = "sticky"
    GRADUAL = "gradual"
    BANDIT = "bandit"


class MetricRole(enum.StrEnum):
    """What a metric may do.

    A `success` wins, a `guardrail` must be shown not to fall by its margin, a `deterioration` loses where it falls by
    more than its margin, and a `quality` must not differ at all, or the experiment is held.
    """

    SUCCESS = "success"
    GUARDRAIL = "guardrail"
    DETERIORATION = "deterioration"
    QUALITY = "quality"


class ExperimentMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of an experiment, with its margin in the metric's own unit: never below zero.

    What is better, and between which bounds values lie, is known of the built-in metrics; of a user's own it has to be
    said. Their values come over the API. Within ± `minimum_effect` an arm is called no different.
    """

    name: str
    role: MetricRole
    margin: float = 0.0
    is_own: bool = False
    lower_is_better: bool = False
    bounds: tuple[float, float] | None = None
    minimum_effect: float | None = None


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which the weights of an experiment's arms stay; evidence is pooled over epochs as strata."""

    number: int
    began_at: datetime
    weights: tuple[float, ...]


class RampStage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of a gradual experiment: the share of the arms' planned weights, and for how many seconds."""

    share: float
    seconds: float


class ExperimentDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a new experiment.

    The first arm is the control and serves the model's production version; weights add up to 1. Without `ranges` the
    experiment gets `share` of its namespace, from what is free. `false_promotion` and `false_rollback` are the chances
    of calling an arm better, or worse, that is neither, over all metrics and arms. Lengths of time are in seconds.

    A unit is measured for `observation_seconds` from its first row on, its labels are waited for `label_seconds` more,
    and only then it counts. The experiment ends after `maximum_units` in all arms, where that is given, and before once
    the chance to still win by then is lower than `futility`. For each feature in `segments` the effects are shown by
    its value in a unit's first row too; nothing is decided by that.
    With `labelling_depends` which rows get labels depends on what was answered; `labelled_positive` and
    `labelled_negative` are the chances that a row gets one after either answer, by which rows are weighed.
    """

    model: str
    name: str
    arms: tuple[Arm, ...]
    metrics: tuple[ExperimentMetric, ...]
    strategy: Strategy = Strategy.STICKY
    namespace: str = ""
    ranges: tuple[Buckets, ...] = ()
    share: float = 1.0
    salt: str = ""
    false_promotion: float = 0.05
    false_rollback: float = 0.01
    minimum_units: int = 100
    maximum_seconds: float = 28 * 86400.0
    observation_seconds: float = 3600.0
    label_seconds: float = 86400.0
    shadow_seconds: float = 0.0
    shadow_rows: int = 0
    ramp: tuple[RampStage, ...] = ()
    reweigh_seconds: float = 86400.0
    maximum_units: int | None = None
    futility: float | None = None
    power: float = 0.8
    cost_false_positive: float = 1.0
    cost_false_negative: float = 1.0
    segments: tuple[str, ...] = ()
    labelling_depends: bool = False
    labelled_positive: float | None = None
    labelled_negative: float | None = None


class PlanQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What is known, or wished, of an experiment before it begins.

    A rate has a `baseline`; anything else a `mean` and the `standard_deviation` of a unit's value. What is to be found
    is an `effect`, or the `relative` one; with a `margin` it is that an arm is not worse by that. `weights` are the
    arms', the control's first; without them `arms` get the same. `units_a_day` come in all arms.
    """

    baseline: float | None = None
    mean: float | None = None
    standard_deviation: float | None = None
    effect: float | None = None
    relative: float | None = None
    margin: float | None = None
    lower_is_better: bool = False
    alpha: float = 0.05
    power: float = 0.8
    arms: int = 2
    weights: tuple[float, ...] | None = None
    units_a_day: float | None = None


class Experiment(Mutable, frozen=True, kw_only=True):
    """Arms that are compared on live traffic, and the rule that decides between them.

    `plan` is what was asked for; `ranges` are the buckets of `namespace` that the experiment owns until its state is
    final. `epochs` hold the weights that were in force, the last one those that are. `held` says why nothing is decided
    for the time being; `verdict`, `winner` and `outcome` how it ended; `evidence` what is known so far.
    """

    table: ClassVar[str] = "experiment"

    id: str
    model: str
    name: str
    plan: ExperimentDraft
    state: ExperimentState
    namespace: str
    ranges: tuple[Buckets, ...]
    salt: str
    created_at: datetime
    updated_at: datetime
    lease_seconds: float = 60.0
    starts_at: datetime | None = None
    began_at: datetime | None = None
    stage: int = 0
    stage_at: datetime | None = None
    epochs: tuple[Epoch, ...] = ()
    held: str = ""
    verdict: ExperimentVerdict | None = None
    winner: str | None = None
    outcome: str = ""
    evidence: Json = msgspec.field(default_factory=dict)
    actor: str = "homeostat"
    reason: str = ""

    @property
    def key(self) -> str:
        return self.id

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms with the weights that are in force."""
        if not self.epochs:
            return self.plan.arms
        weights = self.epochs[-1].weights
        return tuple(
            msgspec.structs.replace(arm, weight=weight) for arm, weight in zip(self.plan.arms, weights, strict=True)
        )

    @property
    def control(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def versions(self) -> frozenset[int]:
        """The versions that its arms name."""
        return frozenset(arm.version for arm in self.plan.arms)


class Namespace(Mutable, frozen=True, kw_only=True):
    """10,000 buckets that experiments share out, of one model or of many: no entity is in two of them at once.

    `holdouts` belong to no experiment: who falls into them is always served by a model's control.
    """

    table: ClassVar[str] = "namespace"

    name: str
    salt: str
    created_at: datetime
    holdouts: tuple[Buckets, ...] = ()

    @property
    def key(self) -> str:
        return self.name


class MetricValues(Record, frozen=True, kw_only=True):
    """Values of a user's own metric, as they came: the latest one of an entity counts."""

    table: ClassVar[str] = "metric_values"

    id: str
    model: str
    experiment: str
    metric: str
    at: datetime
    entities: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def key(self) -> str:
        return self.id


def routed(experiment: Experiment) -> ExperimentRoute:
    """What a route says of an experiment that takes traffic."""
    return ExperimentRoute(
        id=experiment.id,
        ranges=experiment.ranges,
        salt=experiment.salt,
        by_request=experiment.plan.strategy is Strategy.RANDOM,
        arms=experiment.arms,
    )
