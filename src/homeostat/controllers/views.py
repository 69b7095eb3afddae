"""What the controllers know of a model: its log joined with labels, its live profiles, and facts drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from homeostat.controllers.rollout_features import RolloutFeatures
from homeostat.feedback.features import RowFeatures
from homeostat.feedback.joined import JoinedLog, Rows
from homeostat.monitoring.checks import loss_baseline, row_losses
from homeostat.monitoring.profiles import LiveProfiles
from homeostat.monitoring.service import Labelled, Watched
from homeostat.ports import PredictionLog
from homeostat.records import Policy, Rollout, Task, Version, as_datetime64, parse_span
from homeostat.registry.reference import Reference
from homeostat.registry.service import Registry
from homeostat.rollouts.entities import units_of
from homeostat.rollouts.evidence import (
    ERROR_BOUND,
    Measured,
    Pairs,
    compare,
    compare_within,
    confidence_of,
    drift_of,
    precision_of,
    share_log_evidence,
)
from homeostat.rollouts.fairness import Grouping, fairness_of, grouping_of
from homeostat.rollouts.feature_drift import drift_together, feature_drift_of, most_visits
from homeostat.rollouts.rules import SLOW_SHARE
from homeostat.rollouts.rules import Facts as RolloutFacts
from homeostat.stats.sequential import LossDetector

SERVICE_ROWS = 1_000


@dataclass(slots=True)
class ModelView:
    """Caches over the log and the registry; they are built again after a restart."""

    model: str
    task: Task
    joined: JoinedLog
    row_features: RowFeatures
    profiles: LiveProfiles
    read_reference: Callable[[int], Reference]
    rollout_features: RolloutFeatures
    references: dict[int, Reference] = field(default_factory=dict)
    detectors: dict[int, LossDetector] = field(default_factory=dict)

    def reference_of(self, number: int) -> Reference:
        """What a version is held against, read once."""
        if number not in self.references:
            self.references[number] = self.read_reference(number)
        return self.references[number]

    def follow(self) -> int:
        """Take in what was logged since the last call; returns how many rows were served."""
        self.joined.follow()
        return self.profiles.follow()


def open_view(log: PredictionLog, registry: Registry, model: str, policy: Policy) -> ModelView:
    """A fresh view of a model."""
    task = registry.model(model).task

    def read(number: int) -> Reference:
        return registry.reference(registry.version(model, number))

    # The profiles ask for references only once the view is there.
    view: ModelView
    view = ModelView(
        model=model,
        task=task,
        joined=JoinedLog(log, model, task),
        row_features=RowFeatures(log, model),
        profiles=LiveProfiles(
            log, model, lambda number: view.reference_of(number).profile, window_rows=policy.drift.window_rows
        ),
        read_reference=read,
        rollout_features=RolloutFeatures(log, model),
    )
    return view


def labelled_rows(rows: Rows, version: int) -> Labelled:
    """The labelled rows that a version scored, in the order in which the labels came."""
    output, score = rows.outputs_of(version)
    chosen = rows.by_label[~np.isnan(score[rows.by_label])]
    return Labelled(
        label=rows.label[chosen],
        output=output[chosen],
        score=score[chosen],
        value=rows.value[chosen],
        event_time=rows.event_time[chosen],
        classes=rows.classes,
    )


def watched(view: ModelView, version: Version, policy: Policy) -> Watched:
    """All that the checks of a version look at."""
    reference = view.reference_of(version.number)
    rows = view.joined.rows()
    mine = np.flatnonzero(rows.version == version.number)[-SERVICE_ROWS:]
    failed = view.joined.failure_times(version.number)
    since = rows.event_time[mine[0]] if len(mine) else 0
    labelled = labelled_rows(rows, version.number)
    losses = row_losses(view.task, labelled.label, labelled.output, labelled.score, labelled.value, version.metrics)
    detector = view.detectors.get(version.number)
    if detector is None or detector.rows > len(losses):
        detector = LossDetector(loss_baseline(version.metrics, policy.performance, view.task))
        view.detectors[version.number] = detector
    detector.update(losses[detector.rows :])
    return Watched(
        version=version,
        reference_profile=reference.profile,
        reference_scores=reference.scores,
        importances=reference.importances,
        window=view.profiles.window(version.number),
        labelled=labelled,
        decay=detector.log_statistic,
        latencies=rows.latency_ms[mine],
        failures=int((failed >= since).sum()),
    )


def pairs_of(rows: Rows, rollout: Rollout, baseline: Version) -> Pairs:
    """The labelled rows that both versions of a rollout scored since it began."""
    began = as_datetime64(rollout.created_at).astype(np.int64)
    new, new_score = rows.outputs_of(rollout.candidate)
    old, old_score = rows.outputs_of(rollout.baseline)
    known = rows.by_label
    chosen = known[~np.isnan(new_score[known]) & ~np.isnan(old_score[known]) & (rows.event_time[known] >= began)]
    signature = baseline.signature
    if signature.task is Task.REGRESSION:
        return Pairs(
            signature.task,
            rows.value[chosen],
            new_score[chosen],
            old_score[chosen],
            rows.event_time[chosen],
            error_bound=ERROR_BOUND * baseline.metrics.get("mae", 1.0) or 1.0,
            place=chosen,
            entity=None if rows.entity is None else rows.entity[chosen],
        )
    positive = rows.classes.index(signature.positive) if signature.positive in rows.classes else None
    return Pairs(
        signature.task,
        rows.label[chosen],
        new[chosen],
        old[chosen],
        rows.event_time[chosen],
        positive=positive,
        place=chosen,
        entity=None if rows.entity is None else rows.entity[chosen],
    )


def rollout_facts(view: ModelView, rollout: Rollout, baseline: Version, policy: Policy, now: datetime) -> RolloutFacts:
    """What a rollout is judged by."""
    rows = view.joined.rows()
    pairs = pairs_of(rows, rollout, baseline)
    entered = as_datetime64(rollout.step_entered_at).astype(np.int64)
    window = parse_span(policy.rollout.label_window).seconds
    ripe = int(as_datetime64(now - timedelta(seconds=window)).astype(np.int64)) if window else None
    if ripe is not None:
        pairs = pairs.take(pairs.event_time <= ripe)
    promoted = None
    judged = pairs
    if rollout.promoted_at is not None:
        judged = pairs.since(int(as_datetime64(rollout.promoted_at).astype(np.int64)))
        promoted = compare(judged, policy.guardrails.accuracy_drop)
    began = as_datetime64(rollout.created_at).astype(np.int64)
    recent = rows.event_time >= began
    candidate_rows = recent & ~np.isnan(rows.outputs_of(rollout.candidate)[1])
    answered = recent & (rows.version == rollout.candidate)
    failures = view.joined.failure_times(rollout.candidate)
    in_step = rows.event_time >= entered
    counted = in_step & rows.labelled if ripe is None else in_step & rows.labelled & (rows.event_time <= ripe)
    overdue = as_datetime64(now - timedelta(seconds=parse_span(policy.triggers.label_lag).seconds)).astype(np.int64)
    beside = recent & (rows.in_control == 1) if rollout.current.control and rows.in_control is not None else None
    scored = _Scored(
        rows.outputs_of(rollout.candidate)[1][candidate_rows],
        None if rows.entity is None else units_of(rows.entity[candidate_rows], rows.event_time[candidate_rows]),
    )
    watch = set(policy.guardrails.watch)
    own = view.reference_of(rollout.candidate).scores if watch & {"drift", "confidence"} else np.array([])
    binary, classes = view.task is Task.BINARY, view.task.is_classification
    return RolloutFacts(
        now=now,
        rows_in_step=int(in_step.sum()),
        pairs_in_step=int((pairs.event_time >= entered).sum()),
        overall=compare(pairs, policy.guardrails.accuracy_drop),
        promoted=promoted,
        positives=compare_within(judged, positives=True, margin=policy.guardrails.tpr_drop),
        negatives=compare_within(judged, positives=False, margin=policy.guardrails.fpr_rise),
        candidate_rows=int(candidate_rows.sum()),
        candidate_failures=int((failures >= began).sum()),
        candidate_p95_ms=float(np.quantile(rows.latency_ms[answered], 0.95)) if answered.any() else None,
        candidate_answered=int(answered.sum()),
        candidate_slow=int((rows.latency_ms[answered] > policy.guardrails.p95_latency_ms).sum()),
        labels_in_step=int(counted.sum()),
        due_in_step=int((in_step & (rows.labelled | (rows.event_time <= overdue))).sum()),
        control_answered=0 if beside is None else int(beside.sum()),
        control_slow=0 if beside is None else int((rows.latency_ms[beside] > policy.guardrails.p95_latency_ms).sum()),
        precision=precision_of(judged, policy.guardrails.precision_drop) if "precision" in watch else None,
        drift=_drift(view, rollout, scored, own, policy) if "drift" in watch else None,
        confidence=confidence_of(
            scored.scores, own, policy.guardrails.confidence_drop, binary=binary, units=scored.units
        )
        if "confidence" in watch and classes
        else None,
        fairness=_fairness(view, rollout, judged, policy) if "fairness" in watch else None,
        failing=failure_evidence(view, rollout.candidate, candidate_rows, int(began), policy.guardrails.error_rate),
        slowing=slow_evidence(rows, answered, policy.guardrails.p95_latency_ms),
        control_slowing=slow_evidence(rows, beside, policy.guardrails.p95_latency_ms),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """The candidate's scores, and which entity and day each is of where any has several."""

    scores: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64] | None


def failure_evidence(
    view: ModelView, version: int, scored: npt.NDArray[np.bool_], since: int, allowed: float
) -> float | None:
    """The evidence that a version fails too often since a moment; `None` where counts of rows say it.

    `scored` marks the rows that it did not fail on.
    """
    rows, times = view.joined.rows(), view.joined.failure_times(version)
    if rows.entity is None:
        return None
    recent = times >= since
    owner = np.concatenate([rows.entity[scored], view.joined.failed_entities(version)[recent]])
    units = units_of(owner, np.concatenate([rows.event_time[scored], times[recent]]))
    return share_log_evidence(np.arange(len(owner)) >= int(scored.sum()), units, allowed)


def slow_evidence(rows: Rows, answered: npt.NDArray[np.bool_] | None, limit_ms: float) -> float | None:
    """The evidence that more than one in twenty of these answers is slow; `None` where counts of rows say it."""
    if rows.entity is None or answered is None:
        return None
    units = units_of(rows.entity[answered], rows.event_time[answered])
    return share_log_evidence(rows.latency_ms[answered] > limit_ms, units, SLOW_SHARE)


def _drift(
    view: ModelView, rollout: Rollout, scored: _Scored, own: npt.NDArray[np.float64], policy: Policy
) -> Measured | None:
    """The scores of the whole rollout and the features of the step, against the candidate's own reference."""
    rules = policy.guardrails
    reference = view.reference_of(rollout.candidate).profile
    step = view.rollout_features.of_step(rollout, reference, until=view.joined.sequence)
    features = feature_drift_of(step, reference, rules.drift_effect, visits=most_visits(rollout, policy))
    return drift_together(drift_of(scored.scores, own, rules.drift_shift, units=scored.units), features)


def without_groups(view: ModelView, rollout: Rollout, policy: Policy) -> list[str]:
    """The protected features that guardrail `fairness` can't watch, because the candidate has no groups of them."""
    if "fairness" not in policy.guardrails.watch:
        return []
    return [name for name, grouping in _groupings(view, rollout, policy).items() if grouping is None]


def _groupings(view: ModelView, rollout: Rollout, policy: Policy) -> dict[str, Grouping | None]:
    names = policy.guardrails.fairness_features
    if not names:
        return {}
    reference = view.reference_of(rollout.candidate).profile
    return {name: grouping_of(name, reference) for name in names}


def _fairness(view: ModelView, rollout: Rollout, judged: Pairs, policy: Policy) -> Measured | None:
    """How much further apart the candidate puts the groups of protected features than the baseline."""
    rules = policy.guardrails
    if not rules.fairness_features or judged.place is None:
        return None
    groupings = [one for one in _groupings(view, rollout, policy).values() if one is not None]
    if not groupings:
        return None
    groups = view.rollout_features.groups(rollout, groupings, view.joined, view.joined.rows().count)
    of_pairs = [(one, codes[judged.place]) for one, codes in groups]
    return fairness_of(judged, of_pairs, rules.fairness_metric, rules.fairness_gap)


def ripe_share(rows: Rows, now: datetime, lag: timedelta) -> float | None:
    """The share of rows older than the accepted wait that have a label; `None` where there are none so old."""
    ripe = rows.event_time < as_datetime64(now - lag).astype(np.int64)
    return float(rows.labelled[ripe].mean()) if ripe.any() else None
