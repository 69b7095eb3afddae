"""Gathers what the report of a rollout shows, from the log and the decisions."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt

from homeostat.controllers.views import pairs_of
from homeostat.feedback.joined import NONE, JoinedLog, Rows
from homeostat.ports import ControlStore, PredictionLog
from homeostat.records import Decision, Incident, Policy, Rollout, Task, Version, as_datetime64
from homeostat.reports.rollouts import ArmFigures, RolloutStory, StoryMark, Traffic, render_rollout
from homeostat.rollouts.entities import first_rows, units_of
from homeostat.rollouts.evidence import Pairs
from homeostat.rollouts.taking_back import step_name
from homeostat.stats.sequential import paired_difference_interval

POINTS, BINS = 160, 48


def rollout_report(
    store: ControlStore,
    log: PredictionLog,
    task: Task,
    rollout: Rollout,
    baseline: Version,
    policy: Policy,
    *,
    now: datetime,
) -> str:
    """One HTML page; what was logged after the rollout ended is left out."""
    joined = JoinedLog(log, rollout.model, task)
    joined.follow()
    rows = joined.rows()
    with store.read() as transaction:
        decisions = transaction.list(Decision, model=rollout.model)
        incident = next(
            (one for one in transaction.list(Incident, model=rollout.model) if one.rollout == rollout.id), None
        )
    end = now if rollout.state.is_under_way else rollout.updated_at
    if incident is not None:
        end = incident.updated_at
    first, last = (int(as_datetime64(moment).astype(np.int64)) for moment in (rollout.created_at, end))
    inside = (rows.event_time >= first) & (rows.event_time <= max(last, first))
    pairs = pairs_of(rows, rollout, baseline)
    pairs = pairs.take(pairs.event_time <= last)
    units = units_of(pairs.entity)
    if units is not None:
        # The interval is of independent pairs: of each entity it has the first one.
        pairs = pairs.take(first_rows(units))
    count, gain, low, high = _interval(pairs, policy.rollout.promotion_error)
    marks = [
        StoryMark(at=one.at.timestamp(), kind=one.kind, words=one.reason, actor=one.actor)
        for one in decisions
        if one.inputs.get("rollout") == rollout.id
        or (incident is not None and one.inputs.get("incident") == incident.id)
    ]
    return render_rollout(
        RolloutStory(
            title=f"{rollout.model}: version {rollout.baseline} → {rollout.candidate}",
            state=rollout.state.value.replace("_", " "),
            step=step_name(rollout),
            reason=rollout.reason,
            outcome=rollout.outcome,
            began=rollout.created_at.timestamp(),
            ended=max(end, rollout.created_at).timestamp(),
            pairs=count,
            gain=gain,
            low=low,
            high=high,
            metric="accuracy" if task.is_classification else "mean absolute error",
            error=policy.rollout.promotion_error,
            is_by_entity=units is not None,
            traffic=_traffic(rows, inside, rollout, first, max(last, first + 1)),
            arms=[_figures(joined, rows, inside, number, name) for number, name in _arms(rollout)],
            marks=marks,
            incident=[] if incident is None else [(event.at.timestamp(), event.what) for event in incident.timeline],
        )
    )


def _arms(rollout: Rollout) -> list[tuple[int, str]]:
    return [(rollout.candidate, "candidate"), (rollout.baseline, "baseline")]


def _interval(pairs: Pairs, error: float) -> tuple[list[int], list[float], list[float], list[float]]:
    """The difference of accuracy with its confidence sequence after so many pairs; classification only."""
    if not pairs.count or not pairs.task.is_classification:
        return [], [], [], []
    right, held = pairs.candidate == pairs.truth, pairs.baseline == pairs.truth
    wins, losses = np.cumsum(right & ~held), np.cumsum(~right & held)
    places = np.unique(np.linspace(0, pairs.count - 1, POINTS).astype(np.int64))
    count = places + 1
    low, high = paired_difference_interval(wins[places], losses[places], count, alpha=error)
    gain = (wins[places] - losses[places]) / count
    return count.tolist(), gain.tolist(), low.tolist(), high.tolist()


def _traffic(rows: Rows, inside: npt.NDArray[np.bool_], rollout: Rollout, first: int, last: int) -> Traffic:
    edges = np.linspace(first, last, BINS + 1)
    counts = {
        name: np.histogram(rows.event_time[inside & (rows.version == number)], edges)[0].tolist()
        for number, name in _arms(rollout)
    }
    return Traffic(start=first / 1e6, end=last / 1e6, candidate=counts["candidate"], baseline=counts["baseline"])


def _figures(joined: JoinedLog, rows: Rows, inside: npt.NDArray[np.bool_], number: int, name: str) -> ArmFigures:
    mine = inside & (rows.version == number)
    labelled = mine & (rows.label != NONE)
    failed = joined.failure_times(number)
    began = rows.event_time[inside].min() if inside.any() else 0
    quality = None
    if labelled.any():
        quality = (
            float((rows.output[labelled] == rows.label[labelled]).mean())
            if rows.classes
            else float(np.abs(rows.score[labelled] - rows.value[labelled]).mean())
        )
    return ArmFigures(
        name=name,
        version=number,
        answered=int(mine.sum()),
        labelled=int(labelled.sum()),
        failed=int((failed >= began).sum()),
        quality=quality,
        p50_ms=float(np.quantile(rows.latency_ms[mine], 0.5)) if mine.any() else None,
        p95_ms=float(np.quantile(rows.latency_ms[mine], 0.95)) if mine.any() else None,
    )
