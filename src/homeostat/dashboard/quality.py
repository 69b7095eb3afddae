"""Quality over time: the metric of a window against what the version showed when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from homeostat.dashboard.condition import JUDGED, WINDOW_WORDS, is_measured, metric_of
from homeostat.dashboard.facts import QUALITY_CHECKS, ModelFacts
from homeostat.dashboard.words import VERDICT_WORDS, decision_words
from homeostat.records import Decision, Finding, Verdict
from homeostat.reports.charts.axes import axis_height, time_axis, time_scale, value_axis
from homeostat.reports.charts.quality import (
    LANE_GAP,
    LANE_HEIGHT,
    LANES,
    axis_unit,
    better_way,
    decision_lines,
    heading,
    majors,
)
from homeostat.reports.charts.scale import Linear, padded, spread, ticks, time_range
from homeostat.reports.charts.svg import Floats, Size, floats, label, line_path, picture, tag, text_width, thinned
from homeostat.reports.format import SHARES, counted, metric_name, metric_value, seconds, when
from homeostat.reports.story import Mark

SHORT_NAMES = dict(zip(QUALITY_CHECKS, ("1 day", "7 days", "30 days"), strict=True))
VERDICT_LANES = (("unjudged", "unjudged"), ("harmed", "harmed"))
# A window is drawn where so many of its looks were judged; else the next longer one.
JUDGED_SHARE = 0.3
# Time without looks is drawn up to such a share of the time with them; past it the plot would be squeezed.
MOST_SILENCE = 0.25
MOST_SAMPLES = 60
MOST_MARKS = 60
# Stretches of time of which the extremes are drawn, on a phone and on a wide screen.
BUCKETS = (32, 56)
# Room above the plot for its title, and for the numbers of promotions and rollbacks.
HEAD, BARE_HEAD = 58.0, 42.0


@dataclass(frozen=True)
class History:
    """What is drawn: looks at one window, oldest first, with its values, references and counts of labelled rows."""

    metric: str
    check: str
    looks: tuple[Finding, ...]
    longer: tuple[Finding, ...]
    marks: tuple[Mark, ...]
    end: datetime

    @property
    def judged(self) -> int:
        """How many of the looks were judged."""
        return sum(is_measured(look) for look in self.looks)


def history_of(facts: ModelFacts, now: datetime) -> History | None:
    """The looks at the shortest window that has values, and the decisions since; `None` where there was no look."""
    by_check = {
        check: sorted((finding for finding in facts.findings if finding.check == check), key=lambda one: one.at)
        for check in QUALITY_CHECKS
    }
    shares = {check: _judged_share(looks) for check, looks in by_check.items()}
    check = next(
        (name for name in QUALITY_CHECKS if shares[name] >= JUDGED_SHARE), max(shares, key=lambda n: shares[n])
    )
    looks = by_check[check]
    if not looks:
        return None
    longest = by_check[QUALITY_CHECKS[-1]] if check != QUALITY_CHECKS[-1] else []
    last = looks[-1].at
    silence = (now - last).total_seconds()
    shown = 0 <= silence <= MOST_SILENCE * max((last - looks[0].at).total_seconds(), 3600.0)
    return History(
        metric=metric_of(facts),
        check=check,
        looks=tuple(looks),
        longer=tuple(finding for finding in longest if finding.at >= looks[0].at),
        marks=marks_of(facts.decisions, looks),
        end=now if shown else last,
    )


def _judged_share(looks: Sequence[Finding]) -> float:
    return sum(is_measured(look) for look in looks) / len(looks) if looks else 0.0


def marks_of(decisions: Sequence[Decision], looks: Sequence[Finding]) -> tuple[Mark, ...]:
    """The decisions since the first look, and the looks that were not judged or found harm."""
    found = [
        Mark(decision.at, decision.kind, decision_words(decision), decision.version)
        for decision in decisions[-MOST_MARKS:]
        if decision.at >= looks[0].at
    ]
    for look in looks:
        if look.verdict is Verdict.HARMED:
            found.append(Mark(look.at, "harmed", look.message, look.version))
        elif not is_measured(look):
            found.append(Mark(look.at, "unjudged", look.message, look.version))
    return tuple(found)


def quality_line(looks: Sequence[Finding]) -> tuple[Floats, Floats, Floats]:
    """Times, values and references; a value is there only where it was judged."""
    times = np.array([seconds(look.at) for look in looks], dtype=np.float64)
    values = floats(look.statistic if is_measured(look) else None for look in looks)
    references = floats(look.threshold if is_measured(look) else None for look in looks)
    return times, values, references


def history_chart(history: History, size: Size, axis_title: str) -> Markup:
    """The drawing of quality over time, `size` wide."""
    kinds = {mark.kind for mark in history.marks}
    lanes = [(kind, words) for kind, words in (*VERDICT_LANES, *LANES) if kind in kinds]
    numbered = majors(history.marks)
    head = HEAD if numbered else BARE_HEAD
    bottom = head + (240.0 if size.is_wide else 200.0)
    foot = bottom + (LANE_GAP + LANE_HEIGHT * len(lanes) if lanes else 0.0)
    domain = history_domain(history)
    x = time_scale(domain, size)
    times, values, references = quality_line(history.looks)
    longer_times, longer_values, _ = quality_line(history.longer)
    is_share = history.metric in SHARES
    low, high = value_range(history.metric, np.concatenate([values, references, longer_values]))
    y = Linear(low, high, bottom, head)
    marked = ticks(low, high, 6 if size.is_wide else 5)
    unit = axis_unit(marked, share=is_share)
    places = np.array([x(at) for at in times])
    longer_places = np.array([x(at) for at in longer_times])
    lines = [
        ("nochange", SHORT_NAMES[QUALITY_CHECKS[-1]], longer_places, longer_values, history.longer),
        ("static", "when made", places, references, history.looks),
        ("healed", SHORT_NAMES[history.check], places, values, history.looks),
    ]
    lines = [line for line in lines if np.isfinite(line[3]).any()]
    body = [value_axis(y, marked, unit, size), decision_lines(history.marks, x, y, lanes, size)]
    for look, _, at, line, looks in lines:
        kept = thinned(at, line, BUCKETS[size.is_wide])
        runs = version_runs([looks[int(index)].version for index in kept])
        path = "".join(line_path(at[kept[run]], [y(value) for value in line[kept[run]]]) for run in runs)
        body.append(tag("path", d=path, class_=f"line s-{look}"))
    body += _names(lines, y, size, history.metric)
    body += [
        time_axis(x, foot, size, axis_title),
        heading(f"{metric_name(history.metric)} of {WINDOW_WORDS[history.check]}{unit.words}", size),
        tag("text", better_way(history.metric), x=0.0, y=size.font * 2.3, class_="faint"),
        tag("path", d="", class_="cross"),
    ]
    rollbacks = sum(mark.kind == "rollback" for mark in numbered)
    return picture(
        f"quality-{size.name}",
        f"{metric_name(history.metric)} over time",
        f"{metric_name(history.metric)} of {WINDOW_WORDS[history.check]} at "
        f"{counted(len(history.looks), 'look')}, {history.judged:,} of them judged, against that of the version when "
        "it was made. Vertical markers: "
        f"{counted(len(numbered) - rollbacks, 'promotion')} and {counted(rollbacks, 'rollback')}. "
        "The table below holds the values.",
        size.width,
        foot + axis_height(size),
        *body,
        data_chart="line",
        data_for="quality-data",
        data_left=f"{size.plot_left:.1f}",
        data_right=f"{size.plot_right:.1f}",
        data_top=f"{head:.1f}",
        data_bottom=f"{foot:.1f}",
    )


def version_runs(versions: Sequence[int | None]) -> list[slice]:
    """Where one version after the other was looked at: what two versions show is no line.

    >>> version_runs([1, 1, 2])
    [slice(0, 2, None), slice(2, 3, None)]
    """
    edges = [index for index in range(1, len(versions)) if versions[index] != versions[index - 1]]
    return [slice(start, end) for start, end in pairwise([0, *edges, len(versions)])]


def value_range(metric: str, values: Floats) -> tuple[float, float]:
    """The range that holds all values with a little room: within 0 and 1 for shares, else from 0 on."""
    ceiling = 1.0 if metric in SHARES else None
    shown = np.clip(values[np.isfinite(values)], 0.0, ceiling)
    return padded([float(value) for value in shown], floor=0.0, ceiling=ceiling)


def history_domain(history: History) -> tuple[float, float]:
    """The time range of the drawing."""
    return time_range([history.looks[0].at, history.looks[-1].at, history.end])


def _names(
    lines: Sequence[tuple[str, str, Floats, Floats, Sequence[Finding]]], y: Linear, size: Size, metric: str
) -> list[Markup]:
    """Each line's name and last value, right of the plot."""
    ends = []
    for _, _, places, values, _ in lines:
        last = int(np.flatnonzero(np.isfinite(values))[-1])
        ends.append((float(places[last]), y(float(values[last])), float(values[last])))
    heights = spread([height for _, height, _ in ends], size.font * 1.35, y.end + 6, y.start - 2)
    parts: list[Markup] = []
    left = size.plot_right + 12
    for (look, name, *_), (end, height, value), at in zip(lines, ends, heights, strict=True):
        parts.append(tag("path", d=f"M{end + 2:.1f} {height:.1f}L{left - 3:.1f} {at:.1f}", class_=f"leader s-{look}"))
        words = metric_value(metric, value) if size.is_wide else ""
        bold = look == "healed"
        room = size.width - left - (text_width(words, size.font, bold=bold) + 6 if words else 0)
        class_, middle = f"name n-{look}", at + size.font * 0.35
        parts.append(label(name, left, middle, size=size.font, width=room, class_=class_, bold=bold))
        if words:
            parts.append(tag("text", words, x=size.width, y=middle, class_=f"end {class_}"))
    return parts


def history_samples(history: History) -> dict[str, object]:
    """What the tooltip says: places between 0 and 1, times and values in words."""
    low, high = history_domain(history)
    kept = _sampled(history.looks, MOST_SAMPLES)
    return {
        "x": [round((seconds(look.at) - low) / (high - low), 4) for look in kept],
        "t": [when(seconds(look.at), high - low) for look in kept],
        "s": [
            [SHORT_NAMES[history.check], [value_words(look, history.metric) for look in kept]],
            ["when made", [metric_value(history.metric, look.threshold) for look in kept]],
            ["labelled rows", [rows_words(look) for look in kept]],
            ["version", [f"v{look.version}" if look.version is not None else "–" for look in kept]],
        ],
    }


def _sampled(looks: Sequence[Finding], most: int) -> list[Finding]:
    chosen = np.unique(np.linspace(0, len(looks) - 1, most).round()) if looks else np.array([])
    return [looks[int(index)] for index in chosen]


def value_words(look: Finding, metric: str) -> str:
    """A look's value, or why there is none."""
    if look.verdict not in JUDGED:
        return VERDICT_WORDS[look.verdict]
    return metric_value(metric, look.statistic)


def rows_words(look: Finding) -> str:
    """How many rows a look was at."""
    return "–" if look.window is None else f"{look.window.rows:,}"


@dataclass(frozen=True)
class QualityRow:
    """One look in the table."""

    when: str
    version: str
    value: str
    reference: str
    rows: str
    verdict: str
    words: str


def history_rows(history: History, most: int = 12) -> list[QualityRow]:
    """The plot as a table, the newest look first."""
    low, high = history_domain(history)
    return [
        QualityRow(
            when=when(seconds(look.at), min(high - low, 7 * 86_400.0)),
            version=f"v{look.version}" if look.version is not None else "–",
            value=value_words(look, history.metric),
            reference=metric_value(history.metric, look.threshold),
            rows=rows_words(look),
            verdict=look.verdict.value,
            words=VERDICT_WORDS[look.verdict],
        )
        for look in reversed(_sampled(history.looks, most))
    ]
