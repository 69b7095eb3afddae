"""A story as one HTML file that needs nothing else: no network, no script to be read, no fonts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from homeostat.reports.bounds import bounded
from homeostat.reports.charts.evidence import evidence_chart, evidence_range, shown_tracks
from homeostat.reports.charts.heat import MOST_FEATURES, heat_chart, heat_samples
from homeostat.reports.charts.quality import looks, metric_title, plotted, quality_chart, quality_samples
from homeostat.reports.charts.scale import time_range
from homeostat.reports.charts.stages import shown_versions, stages_chart
from homeostat.reports.charts.svg import PHONE, WIDE, Size
from homeostat.reports.charts.traffic import traffic_chart
from homeostat.reports.format import counted, metric_name, number, seconds, when
from homeostat.reports.story import Story
from homeostat.reports.tables import (
    block_rows,
    drift_rows,
    evidence_rows,
    mark_key,
    mark_rows,
    score_names,
    series_rows,
    strategy_rows,
    version_rows,
)

TEMPLATES = Path(__file__).parent / "templates"


def render_story(story: Story) -> str:
    """The whole report as HTML text, under 2 MB whatever the story.

    Names, reasons and all other words of the story are escaped, and the page forbids every script but its own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("script.js.j2").render()
    return environment.get_template("report.html.j2").render(
        **page(bounded(story), story),
        style=Markup(environment.get_template("style.css.j2").render()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def story_domain(story: Story) -> tuple[float, float]:
    """The time range that all drawings share."""
    return time_range(
        [
            *story.times,
            *(mark.at for mark in story.marks),
            *(story.drift.times if story.drift else ()),
            *(story.traffic.times if story.traffic else ()),
        ]
    )


def page(story: Story, whole: Story) -> dict[str, Any]:
    """What the template shows of a story that was cut from the whole one."""
    domain = story_domain(story)
    span = domain[1] - domain[0]
    axis_title = "simulated time" if story.simulated_times else "event time, UTC"
    marks = mark_rows(story.marks, span)
    key = mark_key(marks)
    compared, blocks = block_rows(story)

    def pair(draw: Callable[[Size], Markup]) -> Markup:
        return Markup('<div class="wide">{}</div><div class="phone">{}</div>').format(draw(WIDE), draw(PHONE))

    has_lines = bool(plotted(story))
    drift, traffic = story.drift, story.traffic
    has_traffic = traffic is not None and bool(traffic.times) and bool(traffic.shares)
    tracks = shown_tracks(story.evidence)
    limits = evidence_range(tracks)
    lanes = shown_versions(story.versions)
    instants = [when(seconds(moment), span) for moment in story.times]
    return {
        "story": story,
        "metric": metric_name(story.metric),
        "metric_title": metric_title(story.metric),
        "span_words": f"{when(domain[0], span)} to {when(domain[1], span)}" if story.times else "",
        "rows_words": counted(story.rows, "row"),
        "looks": looks(story.strategies),
        "quality": pair(lambda size: quality_chart(story, size, domain, axis_title)) if has_lines else None,
        "quality_data": _data(quality_samples(story, domain, instants)) if has_lines else None,
        "has_gain": {"healed", "static"} <= {strategy.name for strategy, _ in plotted(story)},
        "series": series_rows(story, span) if has_lines else [],
        "key": key,
        "numbered": sum(row.number is not None for row in marks),
        "marks": marks,
        "marks_left_out": len(whole.marks) - len(story.marks),
        "score_names": [metric_name(name) for name in score_names(story)],
        "strategies": strategy_rows(story),
        "compared": compared,
        "blocks": blocks,
        "drift": pair(lambda size: heat_chart(drift, size, domain, axis_title)) if drift else None,
        "drift_data": {size.name: _data(heat_samples(drift, size, domain)) for size in (WIDE, PHONE)} if drift else {},
        "drift_rows": drift_rows(drift, span) if drift else [],
        "drift_shown": min(len(drift.features), MOST_FEATURES) if drift else 0,
        "drift_left_out": max(0, len(drift.features) - MOST_FEATURES) if drift else 0,
        "drift_threshold": number(drift.threshold, 2) if drift else "",
        "drift_flagged": drift is not None and drift.drifted is not None,
        "traffic": pair(lambda size: traffic_chart(traffic, size, domain, axis_title))
        if traffic is not None and has_traffic
        else None,
        "tracks": [(track, evidence_chart(track, limits, f"evidence-{index}")) for index, track in enumerate(tracks)],
        "tracks_left_out": len(story.evidence) - len(tracks),
        "evidence_rows": evidence_rows(story.evidence, span),
        "stages": pair(lambda size: stages_chart(story.versions, size, domain, axis_title)) if lanes else None,
        "versions": version_rows(story.versions, span),
        "versions_left_out": len(story.versions) - len(lanes),
        "figures": list(dict.fromkeys(name for window in story.windows for name in window.figures))[:8],
    }


def _data(content: object) -> Markup:
    """JSON that is safe inside a script element: nothing in it can close the element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 - the letters that matter to HTML were just replaced
