"""The policy of a model: every threshold, trigger, gate and step that the loop acts by.

A field's description is its help in the settings table; its default is that of the preset `calibrated`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

Preset = Literal["calibrated", "classic", "long"]
NEVER = "never"


def described(text: str) -> msgspec.Meta:
    """The help of a setting."""
    return msgspec.Meta(description=text)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a policy file."""


class DriftPolicy(Section, frozen=True, kw_only=True):
    """How the features of a window are held against the reference."""

    window_rows: Annotated[int, described("rows in a live window")] = 1000
    minimum_rows: Annotated[int, described("rows below which a window is not judged")] = 100
    every_seconds: Annotated[float, described("seconds between two looks")] = 300.0
    ks_medium: Annotated[float, described("Kolmogorov–Smirnov p below which a feature's drift is medium")] = 0.05
    ks_high: Annotated[float, described("Kolmogorov–Smirnov p below which it is high")] = 0.01
    ks_critical: Annotated[float, described("Kolmogorov–Smirnov p below which it is critical")] = 0.001
    psi_low: Annotated[float, described("population stability index from which drift is low")] = 0.1
    psi_medium: Annotated[float, described("population stability index from which drift is medium")] = 0.15
    psi_critical: Annotated[float, described("population stability index from which drift is critical")] = 0.2
    js_medium: Annotated[float, described("Jensen–Shannon divergence (base 2) from which drift is moderate")] = 0.1
    js_high: Annotated[float, described("Jensen–Shannon divergence (base 2) from which drift is significant")] = 0.3
    chi_square_p: Annotated[float, described("chi-square p below which a categorical feature drifted")] = 0.05
    share: Annotated[float, described("share of features that must drift for the window to drift (classic)")] = 0.3
    run_length: Annotated[
        float, described("looks that a model without drift runs, on average, to one false alarm (calibrated)")
    ] = 20_000.0
    effect: Annotated[float, described("smallest effect, a difference of distributions in 0–1 (calibrated)")] = 0.1


class PredictionPolicy(Section, frozen=True, kw_only=True):
    """How the distribution of outputs is held against the reference."""

    ks_p: Annotated[
        float, described("Kolmogorov–Smirnov p of the scores below which predictions drifted (classic)")
    ] = 0.05
    effect: Annotated[float, described("smallest effect, a Kolmogorov–Smirnov distance (calibrated)")] = 0.1
    mean_shift: Annotated[
        float, described("relative shift of the mean score from which predictions drifted (classic)")
    ] = 0.2


class PerformancePolicy(Section, frozen=True, kw_only=True):
    """What counts as decay on matured labels."""

    minimum_rows: Annotated[int, described("labelled rows below which a window is not judged")] = 30
    maximum_drop: Annotated[float, described("fall of accuracy, precision or recall that counts as decay")] = 0.02
    relative_drop: Annotated[float, described("relative worsening of any metric that counts as decay")] = 0.1
    tpr_drop: Annotated[float, described("relative fall of the true-positive rate that counts as decay")] = 0.05
    fpr_rise: Annotated[float, described("relative rise of the false-positive rate that counts as decay")] = 0.5
    accuracy_floor: Annotated[float, described("accuracy that production may never be below; 0 is no floor")] = 0.0
    run_length: Annotated[
        float, described("labelled rows that a healthy model runs, on average, to one false alarm (calibrated)")
    ] = 20_000.0


class ServicePolicy(Section, frozen=True, kw_only=True):
    """What the service may be like."""

    error_rate: Annotated[float, described("share of failed rows above which the service is harmed")] = 0.01
    p95_latency_ms: Annotated[float, described("95th percentile of latency, in ms, above which it is harmed")] = 500.0


class TriggerPolicy(Section, frozen=True, kw_only=True):
    """What starts a retraining."""

    performance: Annotated[bool, described("retrain when labelled performance decays")] = True
    rows_since_change: Annotated[
        int, described("labelled rows of the new kind to wait for before decay starts a retraining (calibrated)")
    ] = 45
    recovery: Annotated[bool, described("retrain again, on more rows, while performance is not back")] = True
    drift: Annotated[
        Literal["never", "unlabelled", "always"],
        described("retrain on drift alone: never, where labels can't confirm harm in time, or always"),
    ] = "unlabelled"
    drift_share: Annotated[float, described("share of drifted features that starts a retraining")] = 0.3
    alert_count: Annotated[int, described("drift alerts that start a retraining; 0 is never")] = 0
    label_count: Annotated[int, described("new labels that start a retraining; 0 is never")] = 0
    schedule: Annotated[
        str, described("retrain by the calendar: never, daily, weekly, quarterly, or an interval such as 30d")
    ] = NEVER
    schedule_hour: Annotated[int, described("hour of the day, UTC, of scheduled retrainings")] = 2
    cooldown: Annotated[str, described("rest after a retraining that changed nothing: a duration or rows")] = "50 rows"
    cooldown_growth: Annotated[float, described("factor on the rest after each further such retraining")] = 1.6
    cooldown_share: Annotated[
        float, described("rest, at least, as a share of all labelled rows so far, history included")
    ] = 0.01
    label_lag: Annotated[str, described("wait for labels beyond which drift alone may start a retraining")] = "14d"


class DataPolicy(Section, frozen=True, kw_only=True):
    """What training data must be like."""

    minimum_rows: Annotated[int, described("fewest rows to train on")] = 40
    maximum_missing: Annotated[float, described("largest share of missing values over all features")] = 0.5
    maximum_duplicates: Annotated[float, described("largest share of exact duplicate rows")] = 1.0
    minimum_days: Annotated[float, described("fewest days that the rows must span")] = 0.0


class TrainingPolicy(Section, frozen=True, kw_only=True):
    """How a candidate is trained."""

    trainer: Annotated[str, described("the user's trainer as module:function; empty is the built-in one")] = ""
    algorithms: Annotated[tuple[str, ...], described("algorithms that the built-in trainer compares")] = (
        "random_forest",
        "gradient_boosting",
        "logistic_regression",
    )
    windows: Annotated[tuple[str, ...], described("windows of history that it compares: all, since_change, recent")] = (
        "all",
        "since_change",
        "recent",
    )
    evaluation_share: Annotated[float, described("latest share of the rows that candidates are compared on")] = 0.2
    maximum_rows: Annotated[int, described("most rows to fit on; the latest are kept")] = 10_000
    cost_false_positive: Annotated[
        float, described("what a row costs that is called positive and is not; a binary version's threshold weighs it")
    ] = 1.0
    cost_false_negative: Annotated[
        float, described("what a row costs that is positive and is not called so; with equal costs .5 stays")
    ] = 1.0
    attempts: Annotated[int, described("how often a run that breaks is tried")] = 2
    retry_after: Annotated[str, described("rest before the second try")] = "5m"


class GatePolicy(Section, frozen=True, kw_only=True):
    """What a candidate must show offline, on the same later rows as production."""

    metric: Annotated[Literal["accuracy", "roc_auc"], described("what is compared (classification)")] = "accuracy"
    minimum_gain: Annotated[float, described("gain over production, absolute; relative for regression")] = 0.01
    maximum_p: Annotated[float, described("one-sided McNemar (or sign test) p that the gain must reach")] = 0.1


class RolloutPolicy(Section, frozen=True, kw_only=True):
    """How a candidate takes over."""

    steps: Annotated[tuple[str, ...], described("the steps, in order")] = (
        "shadow for 20 pairs until decided max 20000 rows",
        "canary 10% for 1h and 20 rows",
        "ab 50% for 1h and 20 rows until decided max 20000 rows",
        "100%",
        "bake for 1h and 60 rows",
    )
    manual_steps: Annotated[tuple[str, ...], described("the steps after a promotion by hand")] = (
        "100%",
        "bake for 3d and 500 pairs",
    )
    promotion_error: Annotated[float, described("chance of promoting a candidate that is no better")] = 0.05
    rollback_error: Annotated[
        float, described("chance, in a whole rollout, of taking back a candidate that keeps to every guardrail")
    ] = 0.04
    lease: Annotated[
        str, described("how long a gateway that hears nothing goes on serving a candidate beside production")
    ] = "60s"
    at_limit: Annotated[
        Literal["reject", "hold", "roll_back"],
        described("past a step's maximum: reject the candidate, hold and tell people, or roll it back"),
    ] = "reject"
    label_window: Annotated[
        str, described("age from which a row's label counts; younger ones may be the quick ones only")
    ] = "0s"
    step_back: Annotated[bool, described("go back one step on a mild breach")] = False
    step_back_error: Annotated[float, described("chance, in a whole rollout, of going back without need")] = 0.2
    most_step_backs: Annotated[int, described("times to go back before a mild breach takes the candidate back")] = 3
    verify_after: Annotated[
        str, described("time after a rollback at which the metrics of the old version are looked at again")
    ] = "2m"
    confirm_within: Annotated[
        str, described("time after which a gateway that did not confirm a rollback makes it failed")
    ] = "30s"
    retry_after: Annotated[str, described("rest before a version that was rolled back may be tried again")] = "1h"
    most_rollbacks: Annotated[
        int,
        described("rollbacks of retrained versions in `rollback_span` that end retraining by itself; 0: never"),
    ] = 5
    rollback_span: Annotated[str, described("the time over which they are counted")] = "7d"
    criticality: Annotated[
        int, described("how much the model matters: of several, the one with the highest is looked at first")
    ] = 0


class GuardrailPolicy(Section, frozen=True, kw_only=True):
    """What a candidate may not do in any step. Each guardrail that is on has its share of `rollout.rollback_error`."""

    watch: Annotated[
        tuple[str, ...],
        described(
            "guardrails that are on, of: accuracy, tpr, fpr, precision, errors, latency, drift, confidence, fairness"
        ),
    ] = ("accuracy", "tpr", "fpr", "errors", "latency", "fairness")
    accuracy_drop: Annotated[
        float, described("fall of accuracy, once the paired evidence shows that there is one, that is a breach")
    ] = 0.0
    tpr_drop: Annotated[float, described("relative fall of the true-positive rate that is a breach")] = 0.05
    fpr_rise: Annotated[float, described("relative rise of the false-positive rate that is a breach")] = 0.5
    precision_drop: Annotated[float, described("fall of precision that is a breach")] = 0.05
    error_rate: Annotated[float, described("share of failed rows above which it is a breach")] = 0.01
    p95_latency_ms: Annotated[float, described("95th percentile of latency, in ms, above which it is a breach")] = 500.0
    drift_shift: Annotated[
        float, described("shift of its scores' mean place among those of its own reference, 0 to 0.5, that is a breach")
    ] = 0.25
    drift_effect: Annotated[
        float, described("rise of the share of anything about a feature over its own reference's that is a breach")
    ] = 0.25
    confidence_drop: Annotated[
        float, described("fall of the mean confidence below that on its own reference that is a breach")
    ] = 0.1
    fairness_features: Annotated[
        tuple[str, ...], described("protected features whose groups are compared; none: fairness is not watched")
    ] = ()
    fairness_metric: Annotated[
        Literal["accuracy", "tpr", "fpr", "selection_rate"],
        described("what is compared between groups; all but accuracy are for binary models"),
    ] = "accuracy"
    fairness_gap: Annotated[
        float, described("widening of the gap between two groups, beyond the baseline's, that is a breach")
    ] = 0.05
    minimum_rows: Annotated[int, described("rows of the candidate before error rate or latency is judged")] = 20
    accuracy_share: Annotated[float, described("share of the rollback error that accuracy may spend")] = 0.4
    tpr_share: Annotated[float, described("share for the true-positive rate")] = 0.05
    fpr_share: Annotated[float, described("share for the false-positive rate")] = 0.05
    precision_share: Annotated[float, described("share for precision")] = 0.02
    errors_share: Annotated[float, described("share for the error rate")] = 0.2
    latency_share: Annotated[float, described("share for latency")] = 0.2
    drift_share: Annotated[float, described("share for drift against the candidate's own reference")] = 0.03
    confidence_share: Annotated[float, described("share for confidence")] = 0.03
    fairness_share: Annotated[float, described("share for fairness")] = 0.02

    def share(self, guardrail: str) -> float:
        """The share of the rollback error that a guardrail may spend in a whole rollout."""
        return float(getattr(self, f"{guardrail}_share"))


class AlertPolicy(Section, frozen=True, kw_only=True):
    """When people hear of it."""

    minimum_severity: Annotated[
        Literal["low", "medium", "high", "critical"], described("mildest finding that opens an alert")
    ] = "high"
    resolve_after: Annotated[int, described("healthy looks in a row that resolve an alert")] = 5
    keep_days: Annotated[float, described("days for which resolved alerts are still listed")] = 30.0


class Policy(Section, frozen=True, kw_only=True):
    """Everything that the loop acts by for one model."""

    preset: Annotated[Preset, described("calibrated (default), classic or long")] = "calibrated"
    drift: DriftPolicy = DriftPolicy()
    prediction: PredictionPolicy = PredictionPolicy()
    performance: PerformancePolicy = PerformancePolicy()
    service: ServicePolicy = ServicePolicy()
    triggers: TriggerPolicy = TriggerPolicy()
    data: DataPolicy = DataPolicy()
    training: TrainingPolicy = TrainingPolicy()
    gate: GatePolicy = GatePolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    guardrails: GuardrailPolicy = GuardrailPolicy()
    alerts: AlertPolicy = AlertPolicy()

    @property
    def config_hash(self) -> str:
        """What decisions carry, so that they can be traced to the settings they were made by."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]


CLASSIC = Policy(
    preset="classic",
    performance=PerformancePolicy(accuracy_floor=0.90),
    triggers=TriggerPolicy(
        recovery=False,
        drift="always",
        alert_count=3,
        schedule="daily",
        cooldown="24h",
        cooldown_growth=1.0,
        cooldown_share=0.0,
    ),
    data=DataPolicy(minimum_rows=1000, maximum_missing=0.1, maximum_duplicates=0.01, minimum_days=5.0),
    training=TrainingPolicy(
        algorithms=("random_forest", "gradient_boosting", "svm", "logistic_regression", "mlp"), windows=("all",)
    ),
    gate=GatePolicy(metric="roc_auc", minimum_gain=0.01, maximum_p=1.0),
    rollout=RolloutPolicy(steps=("canary 10% for 2d", "canary 50% for 3d", "100%", "bake for 2m")),
    guardrails=GuardrailPolicy(accuracy_drop=0.02),
    alerts=AlertPolicy(minimum_severity="medium"),
)
# 1 % at once, 5 % after 60 minutes, 25 % after 120, 50 % after 240, and all traffic after 480, once labels decided it.
LONG = Policy(
    preset="long",
    rollout=RolloutPolicy(
        steps=(
            "canary 1% for 60m",
            "canary 5% for 60m",
            "canary 25% for 120m",
            "ab 50% for 240m until decided max 14d",
            "100%",
            "bake for 1d",
        ),
        step_back=True,
    ),
)
PRESETS: dict[str, Policy] = {"calibrated": Policy(), "classic": CLASSIC, "long": LONG}
