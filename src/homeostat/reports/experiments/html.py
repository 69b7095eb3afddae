"""An experiment as one HTML page that needs nothing else and runs no script."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.courses import Course, Line, arm_looks, course_chart
from homeostat.reports.charts.scale import time_range
from homeostat.reports.charts.svg import PHONE, WIDE
from homeostat.reports.experiments.story import Estimate, ExperimentStory
from homeostat.reports.format import MINUS, clipped, counted, metric_name, number, percent, seconds, when
from homeostat.stats.experiments import MetricJudgement, MetricPlan, Reading, gates

TEMPLATES = Path(__file__).parent.parent / "templates"
# Drawings, looks and rows that one page holds, so that it stays below two megabytes.
MOST_DRAWINGS = 12
MOST_LOOKS = 2_000
MOST_DECISIONS = 100
MOST_READINGS = 150
LONGEST = 400
ROLES = {
    "success": "has to become better",
    "guardrail": "must not become worse by the margin",
    "deterioration": "watched for becoming worse",
    "quality": "must not differ",
}
HEADLINES = {
    "running": "Still open",
    "win": "{winner} wins",
    "loss": "The new version is worse",
    "flat": "No difference that matters",
    "inconclusive": "Ended without a decision",
    "held": "On hold: the data can't be trusted",
}
MOST_ODDS = 1e6
NOTE_WHOLE = "For reading only: these p-values hold for one look at a size set before, and nothing is decided by them."
NOTE_SEGMENTS = (
    "For reading only. Each row is a test of its own at one look, and p-values are not adjusted: of twenty segments in "
    "which nothing differs, one on average has a p below 0.05. The verdict is that of all units together."
)
UNDECIDED = {
    "aborted": "Given up",
    "concluded": "Stopped before it was decided",
    "archived": "Ended before it was decided",
    "paused": "Paused: the control answers",
}
# The sign beside the verdict, as the drift report draws them.
SIGNS = {"win": "healthy", "loss": "harmed", "held": "harmed", "flat": "healthy"}


def render_experiment(story: ExperimentStory) -> str:
    """The report as HTML text. All words of the story are escaped, and the page forbids every script.

    Args:
        story: with any number of looks; beyond 2,000 the page draws every n-th one and the last.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("style.css.j2", "drift.css.j2", "experiment.css.j2")
    style = "\n".join(environment.get_template(name).render() for name in names)
    return environment.get_template("experiment.html.j2").render(**_page(story), style=Markup(style))  # noqa: S704 - ours


def _page(story: ExperimentStory) -> dict[str, Any]:
    judged, plan = story.latest, story.plan
    verdict = judged.verdict if judged is not None else "running"
    winner = judged.winner if judged is not None and judged.winner else ""
    domain = time_range([*(look.at for look in story.looks), *(mark.at for mark in story.decisions)])
    span = domain[1] - domain[0]
    drawings = _drawings(story, domain)
    words = clipped(judged.sentence, 900) if judged is not None else "No unit has been seen yet."
    headline = HEADLINES[verdict].format(winner=clipped(winner, 80))
    totals = judged.units if judged is not None else (story.looks[-1].units if story.looks else ())
    return {
        "story": story,
        "verdict": verdict,
        "sign": SIGNS.get(verdict, "insufficient"),
        # What never decided was ended by somebody, or by something else than its metrics.
        "headline": UNDECIDED.get(story.state, headline) if verdict in ("running", "held") else headline,
        "badge": story.state if verdict in ("running", "held") and story.state in UNDECIDED else verdict,
        "ending": clipped(story.ending, 900) if verdict in ("running", "held") else "",
        "words": words,
        # The words above hold the first one.
        "reasons": [clipped(reason, 900) for reason in judged.reasons[1:]] if judged is not None else [],
        "facts": _facts(story, span),
        "looks": arm_looks(plan.arms),
        "intervals": drawings["intervals"],
        "levels": drawings["levels"],
        "traffic": drawings["traffic"],
        "left_out": drawings["left_out"],
        "decisions": [
            (place, when(seconds(mark.at), span), mark.what, clipped(mark.why, LONGEST), mark.bad)
            for place, mark in enumerate(story.decisions[:MOST_DECISIONS], start=1)
        ],
        "decisions_left": max(0, len(story.decisions) - MOST_DECISIONS),
        "metrics": [_metric_row(each, plan.metric(each.metric)) for each in judged.metrics] if judged else [],
        "arms": _arm_rows(story, totals),
        "split": judged.split if judged is not None else None,
        "coverage": _coverage(story),
        "budget": _budget(story),
        "tables": _reading_tables(story),
        "twice": (percent(judged.multiple_exposure, 2), counted(judged.exposed_twice, "unit")) if judged else None,
        "roles": ROLES,
    }


def _drawings(story: ExperimentStory, domain: tuple[float, float]) -> dict[str, Any]:
    plan = story.plan
    step = max(1, math.ceil(len(story.looks) / MOST_LOOKS))
    looks = [look for place, look in enumerate(story.looks) if not place % step or place == len(story.looks) - 1]
    axis = "simulated time" if story.simulated_times else "UTC"
    marks = tuple((seconds(mark.at), place, mark.bad) for place, mark in enumerate(story.decisions, start=1))
    colours = arm_looks(plan.arms)
    times = np.array([seconds(look.at) for look in looks])
    by_key: list[dict[tuple[str, str], Estimate]] = [
        {(each.metric, each.arm): each for each in look.estimates} for look in looks
    ]
    nothing = Estimate("", "", (math.nan, math.nan), math.nan, (-math.inf, math.inf), (0, 0), "no data")

    def column(metric: str, arm: str, value: Callable[[Estimate], float]) -> Any:
        return np.array([value(each.get((metric, arm), nothing)) for each in by_key], dtype=np.float64)

    def pair(course: Course) -> Markup:
        drawn = [course_chart(course, size, domain, axis) for size in (WIDE, PHONE)]
        return Markup('<div class="wide">{}</div><div class="phone">{}</div>').format(*drawn)

    intervals: list[tuple[str, str, Markup]] = []
    levels: list[tuple[str, Markup]] = []
    order = {"success": 0, "guardrail": 1, "deterioration": 2, "quality": 3}
    metrics = sorted(plan.metrics, key=lambda metric: order[metric.role])
    for place, metric in enumerate(metrics):
        name = metric_name(metric.name)
        for number_, arm in enumerate(plan.arms[1:], start=1):
            effect = column(metric.name, arm, lambda each: each.effect)
            if np.isfinite(effect).any() and len(intervals) < MOST_DRAWINGS:
                course = Course(
                    f"interval-{place}-{number_}",
                    f"{name}: {arm} less {plan.arms[0]}",
                    f"The difference in {name} and its confidence sequence at {counted(len(looks), 'look')}; the table "
                    "of metrics holds the last of them.",
                    times,
                    (Line("difference", colours[arm], effect),),
                    _signed(metric),
                    (
                        column(metric.name, arm, lambda each: each.interval[0]),
                        column(metric.name, arm, lambda each: each.interval[1]),
                    ),
                    _gates(metric),
                    marks,
                )
                intervals.append((name, arm, pair(course)))
        lines = [(plan.arms[0], plan.arms[1], 0)] + [(arm, arm, 1) for arm in plan.arms[1:]]
        drawn = tuple(
            Line(shown, colours[shown], column(metric.name, arm, (_of_control, _of_arm)[side]))
            for shown, arm, side in lines
        )
        if any(np.isfinite(line.values).any() for line in drawn) and len(levels) < MOST_DRAWINGS:
            course = Course(
                f"level-{place}",
                f"{name} by arm",
                f"{name} of each arm over time, standardised over epochs and segments.",
                times,
                drawn,
                _plain(metric),
                marks=marks,
            )
            levels.append((name, pair(course)))
    traffic = None
    if looks and any(sum(look.units) for look in looks):
        counts = np.array([look.units for look in looks], dtype=np.float64)
        course = Course(
            "traffic",
            "Units by arm",
            "Units that were assigned to each arm so far, over time.",
            times,
            tuple(Line(arm, colours[arm], counts[:, place]) for place, arm in enumerate(plan.arms)),
            number,
            marks=marks,
            floor=0.0,
        )
        traffic = pair(course)
    possible = len(plan.metrics) * (len(plan.arms) - 1)
    return {
        "intervals": intervals,
        "levels": levels,
        "traffic": traffic,
        "left_out": max(0, possible - MOST_DRAWINGS) if len(intervals) == MOST_DRAWINGS else 0,
    }


def _of_control(each: Estimate) -> float:
    return each.levels[0]


def _of_arm(each: Estimate) -> float:
    return each.levels[1]


def _gates(metric: MetricPlan) -> tuple[tuple[float, str], ...]:
    above, below = (metric.sign * gate for gate in gates(metric))
    if metric.role == "success":
        return ((0.0, ""), (above, "has to pass")) if above else ((0.0, ""),)
    if metric.role == "guardrail":
        return ((0.0, ""), (below, "margin"))
    return ((0.0, ""), (below, "margin")) if below else ((0.0, ""),)


def _plain(metric: MetricPlan) -> Callable[[float], str]:
    return percent if metric.bounds == (0, 1) else number


def _signed(metric: MetricPlan) -> Callable[[float], str]:
    """Differences: of shares in percentage points."""
    scale = 100.0 if metric.bounds == (0, 1) else 1.0

    def words(value: float) -> str:
        shown = number(value * scale, 3)
        return shown if shown in ("–", "0") or shown.startswith(MINUS) else f"+{shown}"

    return words


def _unit(metric: MetricPlan) -> str:
    return " points" if metric.bounds == (0, 1) else ""


def _facts(story: ExperimentStory, span: float) -> list[tuple[str, str, str]]:
    plan, judged = story.plan, story.latest
    units = sum(judged.units) if judged is not None else 0
    facts = [("State", story.state, f"model {story.model}" if story.model else ""), ("Units", f"{units:,}", "")]
    if judged is not None and judged.metrics:
        lead = judged.metrics[0]
        metric = plan.metric(lead.metric)
        facts.append(
            (
                f"{metric_name(lead.metric)}, {lead.arm}",
                _signed(metric)(lead.effect) + _unit(metric),
                _span(lead, metric),
            )
        )
    if story.looks:
        began, ended = seconds(story.looks[0].at), seconds(story.looks[-1].at)
        facts.append(("Looks", f"{len(story.looks):,}", f"{when(began, span)} to {when(ended, span)}"))
    return facts


def _span(each: MetricJudgement, metric: MetricPlan) -> str:
    low, high = each.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval yet"
    words = _signed(metric)
    return f"{words(low)} to {words(high)}{_unit(metric)}"


def _metric_row(each: MetricJudgement, metric: MetricPlan) -> dict[str, Any]:
    plain, signed = _plain(metric), _signed(metric)
    shares = each.coverage
    return {
        "metric": metric_name(each.metric),
        "role": each.role,
        "arm": each.arm,
        "standing": each.standing,
        "bad": each.standing in ("worse", "differs"),
        "good": each.standing in ("better", "not worse"),
        "control": plain(each.levels[0]),
        "level": plain(each.levels[1]),
        "effect": signed(each.effect) + _unit(metric),
        "interval": _span(each, metric),
        "lift": percent(each.lift, 1) if math.isfinite(each.lift) else "–",
        "better": _evidence(each.log_e_better, each.alpha_better),
        "worse": _evidence(each.log_e_worse, each.alpha_worse),
        "units": f"{each.units[0]:,} / {each.units[1]:,}",
        "coverage": f"{percent(shares[0])} / {percent(shares[1])}",
        "method": each.method,
        "margin": "" if not metric.margin else number(metric.margin * (100 if metric.bounds == (0, 1) else 1)),
    }


def _evidence(log_e: float, alpha: float) -> str:
    # How far beyond a million to one is of no use to anybody.
    bound = math.log(MOST_ODDS)
    if log_e > bound:
        odds = f"over {number(MOST_ODDS, 1)}"
    elif log_e < -bound / 2:
        odds = f"under {1 / math.sqrt(MOST_ODDS):g}"
    else:
        odds = number(math.exp(log_e), 2)
    return f"{odds} of {number(1 / alpha, 3)}"


def _arm_rows(story: ExperimentStory, totals: tuple[int, ...]) -> list[dict[str, str]]:
    plan, judged = story.plan, story.latest
    seen = sum(totals)
    rows = []
    for place, arm in enumerate(plan.arms):
        expected = judged.split.expected[place] if judged is not None and judged.split.expected else math.nan
        verdict = (
            "control" if not place else judged.arm_verdicts.get(arm, "running") if judged is not None else "running"
        )
        chance = judged.chance_to_win.get(arm, math.nan) if judged is not None else math.nan
        rows.append(
            {
                "arm": arm,
                "weight": percent(plan.weights[-1][place]),
                "units": f"{totals[place]:,}" if place < len(totals) else "0",
                "share": percent(totals[place] / seen) if seen else "–",
                "expected": percent(expected / seen) if seen else "–",
                "verdict": verdict,
                "chance": percent(chance) if place else "",
            }
        )
    return rows


def _coverage(story: ExperimentStory) -> list[tuple[str, list[str], str, bool]]:
    judged = story.latest
    if judged is None:
        return []
    rows = []
    for check in judged.coverage:
        shares = [percent(n / units) if units else "–" for n, units in zip(check.counts, judged.units, strict=True)]
        rows.append((metric_name(check.name), shares, check.sentence, check.failed))
    return rows


def _budget(story: ExperimentStory) -> list[dict[str, str]]:
    judged = story.latest
    if judged is None:
        return []
    return [
        {
            "metric": metric_name(each.metric),
            "arm": each.arm,
            "promotion": percent(each.alpha_better, 2) if each.role in ("success", "guardrail") else "–",
            "rollback": percent(each.alpha_worse, 2) if each.role != "quality" else "–",
        }
        for each in judged.metrics
    ]


def _reading_tables(story: ExperimentStory) -> list[tuple[str, str, str, list[dict[str, str]], int]]:
    whole = [row for row in story.readings if row.segment is None]
    parts = [row for row in story.readings if row.segment is not None]
    return [
        (
            name,
            title,
            note,
            [_reading_row(row, story) for row in rows[:MOST_READINGS]],
            max(0, len(rows) - MOST_READINGS),
        )
        for name, title, note, rows in (
            ("readings", "As of a fixed sample", NOTE_WHOLE, whole),
            ("segments", "By segment", NOTE_SEGMENTS, parts),
        )
    ]


def _reading_row(row: Reading, story: ExperimentStory) -> dict[str, str]:
    metric = story.plan.metric(row.metric)
    plain, signed = _plain(metric), _signed(metric)
    segment = "all" if row.segment is None else str(row.segment)
    if row.segment is not None and row.segment < len(story.segments):
        segment = story.segments[row.segment]
    low, high = row.interval
    return {
        "metric": metric_name(row.metric),
        "arm": row.arm,
        "segment": segment,
        "units": f"{row.units[0]:,} / {row.units[1]:,}",
        "control": plain(row.levels[0]),
        "level": plain(row.levels[1]),
        "effect": signed(row.effect),
        "interval": f"{signed(low)} to {signed(high)}" if math.isfinite(low) and math.isfinite(high) else "–",
        "p": number(row.p, 2),
        "size": number(row.effect_size, 2),
        "power": percent(row.power, 0),
        "days": number(row.days_to_go, 2),
    }
