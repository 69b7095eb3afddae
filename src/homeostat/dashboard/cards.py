"""The page of several models: one card for each that fits, a line for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from homeostat.dashboard.condition import Condition, condition_of, drifted_words, metric_of, newest, quality_finding
from homeostat.dashboard.facts import ModelFacts
from homeostat.dashboard.quality import SHORT_NAMES, History, history_of, quality_line, rows_words, value_range
from homeostat.dashboard.timeline import alerts_words
from homeostat.dashboard.words import (
    SEVERITY_RANK,
    VERDICT_WORDS,
    Moment,
    decision_words,
    moment,
    rollout_words,
    sound,
    step_name,
)
from homeostat.records import Rollout, Verdict
from homeostat.reports.charts.scale import Linear
from homeostat.reports.charts.svg import line_path, picture, tag, thinned
from homeostat.reports.format import counted, metric_name, metric_value

MOST_CARDS = 30
MOST_LINES = 200
WIDTH, HEIGHT = 288.0, 52.0
LEAST_POINTS = 2


@dataclass(frozen=True)
class Card:
    """The essentials of one model."""

    name: str
    link: str
    condition: Condition
    served: str
    since: Moment | None
    quality: str
    quality_note: str
    spark: Markup | None
    drift: str
    drift_verdict: str
    alerts: str
    alerts_verdict: str
    rollout: str
    last: str
    last_at: Moment | None


def link_of(model: str) -> str:
    """The address of a model's page."""
    return f"/models/{quote(sound(model, 200), safe='')}"


def ranked(models: Sequence[ModelFacts], now: datetime, *, simulated: bool) -> list[tuple[ModelFacts, Condition]]:
    """The models with how they are, those first that need somebody, then those with the worst alerts, then by name."""
    judged = [(facts, condition_of(facts, now, simulated=simulated)) for facts in models]
    return sorted(judged, key=lambda pair: (-pair[1].rank, -_worst_alert(pair[0]), pair[0].status.model))


def _worst_alert(facts: ModelFacts) -> int:
    return max((SEVERITY_RANK[alert.severity.value] for alert in facts.alerts), default=0)


def card_of(facts: ModelFacts, condition: Condition, index: int, now: datetime) -> Card:
    """The card of one model."""
    status, found = facts.status, newest(facts)
    quality, drift = quality_finding(found), found.get("drift")
    metric, history = metric_of(facts), history_of(facts, now)
    last = status.last_decision
    return Card(
        name=sound(status.model),
        link=link_of(status.model),
        condition=condition,
        served="nothing is served" if status.production is None else f"version {status.production}",
        since=None if facts.since is None else moment(facts.since, now),
        quality=metric_value(metric, None if quality is None else quality.statistic),
        quality_note=metric_name(metric)
        if quality is None
        else f"{metric_name(metric)}, {SHORT_NAMES[quality.check]}, {rows_words(quality)} labelled rows",
        spark=None if history is None else spark_of(history, f"spark-{index}", sound(status.model)),
        drift=f"drift: {VERDICT_WORDS[Verdict.PENDING]}"
        if drift is None
        else f"{drifted_words(drift)} drifted"
        if drift.verdict in (Verdict.HEALTHY, Verdict.HARMED)
        else f"drift: {VERDICT_WORDS[drift.verdict]}",
        drift_verdict="pending" if drift is None else drift.verdict.value,
        alerts=alerts_words(facts.alerts),
        alerts_verdict="harmed" if facts.alerts else "healthy",
        rollout="no rollout" if status.rollout is None else rollout_line(status.rollout),
        last="" if last is None else decision_words(last),
        last_at=None if last is None else moment(last.at, now),
    )


def rollout_line(rollout: Rollout) -> str:
    """A rollout in few words."""
    state = "" if rollout.state == "running" else f", {rollout_words(rollout)}"
    return f"rollout: v{rollout.candidate} in {step_name(rollout.current)}{state}"


def spark_of(history: History, ident: str, name: str) -> Markup | None:
    """The metric over time and, dashed, its reference, as a small drawing; `None` where fewer than two values are."""
    times, values, references = quality_line(history.looks)
    if int(np.isfinite(values).sum()) < LEAST_POINTS:
        return None
    low, high = value_range(history.metric, np.concatenate([values, references]))
    x = Linear(float(times[0]), max(float(times[-1]), float(times[0]) + 1.0), 2.0, WIDTH - 6)
    y = Linear(low, high, HEIGHT - 4, 4.0)
    places = np.array([x(at) for at in times])
    kept = thinned(places, values, 24)
    # Both sides of each change, so that the reference is drawn as steps.
    changes = references[1:] != references[:-1]
    edges = np.flatnonzero(np.r_[True, changes] | np.r_[changes, True])
    last = int(np.flatnonzero(np.isfinite(values))[-1])
    return picture(
        ident,
        f"{metric_name(history.metric)} of {name} over time",
        f"From {metric_value(history.metric, float(values[np.isfinite(values)][0]))} to "
        f"{metric_value(history.metric, float(values[last]))} over {counted(len(history.looks), 'look')}; the dashed "
        "line is what the version showed when it was made.",
        WIDTH,
        HEIGHT,
        tag(
            "path",
            d=line_path(places[edges], [y(value) for value in references[edges]]),
            class_="bound",
        ),
        tag("path", d=line_path(places[kept], [y(value) for value in values[kept]]), class_="line s-healed"),
        tag("circle", cx=places[last], cy=y(float(values[last])), r=3, class_="dot f-healed"),
    )
