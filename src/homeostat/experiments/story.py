"""What an experiment is judged by, and what its report is told from. Pure: records in, plans and stories out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from homeostat.experiments.drafts import METRICS
from homeostat.records import Decision, Experiment, ExperimentMetric, ExperimentVerdict
from homeostat.records.decoding import converted
from homeostat.reports.experiments import ExperimentStory, Look, Marked
from homeostat.stats.experiments import Judgement, MetricPlan, Plan, Reading

# What the command line says where nobody gave a reason.
BY_HAND = "by hand"
# What is none where there is none; every other gap in what was kept is a number that is not finite.
_MAY_LACK = ("winner", "segment")


def plan_of(experiment: Experiment) -> Plan:
    """How an experiment is judged."""
    plan = experiment.plan
    return Plan(
        arms=tuple(arm.name for arm in plan.arms),
        weights=tuple(epoch.weights for epoch in experiment.epochs),
        metrics=tuple(_metric_plan(metric, experiment) for metric in plan.metrics),
        alpha=plan.false_promotion,
        rollback_error=plan.false_rollback,
        minimum_units=plan.minimum_units,
        maximum_units=plan.maximum_units,
        power=plan.power,
        futility=plan.futility,
    )


def _metric_plan(metric: ExperimentMetric, experiment: Experiment) -> MetricPlan:
    plan = experiment.plan
    known = METRICS.get(metric.name)
    bounds = metric.bounds
    costs = max(plan.cost_false_positive, plan.cost_false_negative)
    if metric.name == "cost" and not metric.is_own and costs > metric.margin:
        bounds = (0.0, costs)
    return MetricPlan(
        name=metric.name,
        role=metric.role.value,
        margin=metric.margin,
        lower_is_better=metric.lower_is_better,
        bounds=bounds,
        minimum_effect=metric.minimum_effect,
        needs_label=known is not None and known.needs_label,
    )


def story_of(experiment: Experiment, decisions: Iterable[Decision]) -> ExperimentStory:
    """All that the page of an experiment shows, from its record and its model's decisions."""
    kept = experiment.evidence
    looks = tuple(Look.of(datetime.fromisoformat(look["at"]), look) for look in kept.get("looks", ()))
    segments, rows = _segments(kept.get("by_segment", ()))
    own = [one for one in decisions if one.inputs.get("experiment") == experiment.id]
    return ExperimentStory(
        name=f"{experiment.id} '{experiment.name}'",
        model=experiment.model,
        state=experiment.state.value,
        plan=plan_of(experiment),
        looks=looks,
        latest=_read(kept, Judgement) if "metrics" in kept else None,
        decisions=tuple(_marked(one) for one in own),
        readings=tuple(_read(row, Reading) for row in (*kept.get("readings", ()), *rows)),
        segments=segments,
        description="" if experiment.reason == BY_HAND else experiment.reason,
        ending=experiment.outcome,
    )


def _segments(kept: Iterable[dict[str, Any]]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The names of segments, and the rows of their tables with their places among those."""
    names: dict[str, int] = {}
    rows = []
    for row in kept:
        place = names.setdefault(f"{row['feature']}: {row['segment']}", len(names))
        rows.append({name: value for name, value in row.items() if name != "feature"} | {"segment": place})
    return tuple(names), rows


def _marked(decision: Decision) -> Marked:
    what = decision.kind.removeprefix("experiment ")
    lost = f"({ExperimentVerdict.LOSS.value})" in decision.reason
    return Marked(decision.at, what, decision.reason, bad=lost or what in ("held", "aborted"))


def _read(kept: dict[str, Any], kind: Any) -> Any:
    """A result of the statistics from what was kept of it: what was no finite number is one again."""
    return converted(_numbers(kept), kind)


def _numbers(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _numbers(one, key) for key, one in value.items()}
    if isinstance(value, list | tuple):
        if name.endswith("interval"):
            open_ends = (-math.inf, math.inf)
            return [end if one is None else one for one, end in zip(value, open_ends, strict=True)]
        return [_numbers(one) for one in value]
    return math.nan if value is None and name not in _MAY_LACK else value
