"""Quality over time for each strategy, with every decision marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.axes import axis_height, time_axis, time_scale, value_axis
from homeostat.reports.charts.scale import Linear, padded, spread, ticks
from homeostat.reports.charts.svg import (
    Floats,
    Size,
    floats,
    joined,
    label,
    line_path,
    picture,
    tag,
    text_width,
    thinned,
)
from homeostat.reports.format import (
    LOWER_IS_BETTER,
    MINUS,
    SHARES,
    SUPERSCRIPTS,
    counted,
    kind_words,
    metric_name,
    metric_value,
    percent,
    seconds,
)
from homeostat.reports.story import Mark, Story, StrategyResult

MAJOR = ("promotion", "rollback")
LANES = (("retraining", "retrained"), ("rejected", "rejected"), ("alert", "alert"))
KNOWN_LOOKS = {
    "healed": "healed",
    "static": "static",
    "periodic": "periodic",
    "no_change": "nochange",
    "majority": "major",
}
OTHER_LOOKS = ("other1", "other2", "other3", "other4")
MOST_LINES = 12
MOST_FULL_LINES = 40
LANE_HEIGHT, LANE_GAP = 16.0, 8.0
SCORES = "score over all rows"


def looks(strategies: Sequence[StrategyResult]) -> dict[str, str]:
    """The CSS class that draws each strategy: fixed for the usual ones, in turn for others."""
    found: dict[str, str] = {}
    others = 0
    for strategy in strategies:
        if strategy.name in KNOWN_LOOKS:
            found[strategy.name] = KNOWN_LOOKS[strategy.name]
        elif strategy.name not in found:
            found[strategy.name] = OTHER_LOOKS[others % len(OTHER_LOOKS)]
            others += 1
    return found


def majors(marks: Sequence[Mark]) -> list[Mark]:
    """Promotions and rollbacks in the order of their times: their numbers are their places, from 1."""
    return sorted((mark for mark in marks if mark.kind in MAJOR), key=lambda mark: seconds(mark.at))


@dataclass(frozen=True)
class Badge:
    """The numbers first to last, written as one label at x."""

    x: float
    first: int
    last: int
    rollback: bool

    @property
    def words(self) -> str:
        """What the label says."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


def badges(places: Sequence[float], rollbacks: Sequence[bool], low: float, high: float, size: float) -> list[Badge]:
    """Labels for ascending places that do not overlap: neighbours that would are written as one range of numbers.

    >>> [badge.words for badge in badges([10.0, 12.0, 90.0], [False, False, True], 0.0, 100.0, 10.0)]
    ['1–2', '3']
    """

    def placed(first: int, last: int) -> tuple[Badge, float]:
        badge = Badge((places[first] + places[last]) / 2, first + 1, last + 1, all(rollbacks[first : last + 1]))
        half = text_width(badge.words, size, bold=True) / 2 + 2
        x = min(max(badge.x, low + half), max(low + half, high - half))
        return Badge(x, badge.first, badge.last, badge.rollback), half

    done: list[tuple[Badge, float]] = []
    for index in range(len(places)):
        newest = placed(index, index)
        while done and done[-1][0].x + done[-1][1] > newest[0].x - newest[1]:
            newest = placed(done.pop()[0].first - 1, newest[0].last - 1)
        done.append(newest)
    return [badge for badge, _ in done]


def _badge_look(badge: Badge) -> str:
    if badge.rollback:
        return "b-rollback"
    return "b-promotion" if badge.first == badge.last else "b-several"


def plotted(story: Story) -> list[tuple[StrategyResult, Floats]]:
    """The strategies that have a line, healed first, at most twelve."""
    shown = [(strategy, floats(strategy.series)) for strategy in story.strategies if strategy.series]
    shown = [(strategy, values) for strategy, values in shown if np.isfinite(values).any()]
    return sorted(shown, key=lambda pair: pair[0].name != "healed")[:MOST_LINES]


def quality_domain(story: Story) -> tuple[float, float]:
    """The range of the quality axis: within 0 and 1 for shares; from zero for errors unless that would flatten them."""
    values = [float(value) for _, series in plotted(story) for value in series[np.isfinite(series)]]
    if story.metric in SHARES:
        return padded(values, floor=0.0, ceiling=1.0)
    low, high = padded(values)
    if values and min(values) >= 0 and min(values) < 0.6 * max(values):
        low = 0.0
    return low, high


def quality_chart(story: Story, size: Size, domain: tuple[float, float], axis_title: str) -> Markup:
    """The drawing of quality over time, `size` wide."""
    lanes = [(kind, words) for kind, words in LANES if any(mark.kind == kind for mark in story.marks)]
    head = 58.0
    bottom = head + (300.0 if size.is_wide else 230.0)
    foot = bottom + (LANE_GAP + LANE_HEIGHT * len(lanes) if lanes else 0.0)
    x = time_scale(domain, size)
    low, high = quality_domain(story)
    y = Linear(low, high, bottom, head)
    lines = plotted(story)
    times = np.array([seconds(moment) for moment in story.times], dtype=np.float64)
    order = np.argsort(times, kind="stable")
    places = np.array([x(at) for at in times[order]])
    series = {strategy.name: values[order] for strategy, values in lines}

    marked = ticks(low, high, 8 if size.is_wide else 6)
    unit = axis_unit(marked, share=story.metric in SHARES)
    body = [
        _initial(story, x, head, bottom, size),
        value_axis(y, marked, unit, size),
        _gap(series, places, y),
        decision_lines(story.marks, x, y, lanes, size),
    ]
    style = looks(story.strategies)
    for strategy, _ in reversed(lines):
        values = series[strategy.name]
        kept = thinned(places, values, 160 if size.is_wide else 90)
        path = line_path(places[kept], [y(value) for value in values[kept]])
        body.append(tag("path", d=path, class_=f"line s-{style[strategy.name]}"))
    body += [
        _names(story, places, series, y, size),
        time_axis(x, foot, size, axis_title),
        heading(f"{metric_name(story.metric)}, rolling{unit.words}", size, beside=SCORES if size.is_wide else ""),
        tag("text", better_way(story.metric), x=0.0, y=size.font * 2.3, class_="faint"),
        tag("path", d="", class_="cross"),
    ]
    if size.is_wide:
        body.append(tag("text", SCORES, x=size.width, y=size.font, class_="end faint"))
    names = ", ".join(strategy.name for strategy, _ in lines)
    numbered = majors(story.marks)
    rollbacks = sum(mark.kind == "rollback" for mark in numbered)
    description = (
        f"{metric_title(story.metric)} of {names}. Vertical markers: "
        f"{counted(len(numbered) - rollbacks, 'promotion')} and {counted(rollbacks, 'rollback')}. "
        "The tables below hold the values."
    )
    return picture(
        f"quality-{size.name}",
        f"{metric_name(story.metric)} over time",
        description,
        size.width,
        foot + axis_height(size),
        *body,
        data_chart="quality",
        data_left=f"{size.plot_left:.1f}",
        data_right=f"{size.plot_right:.1f}",
        data_top=f"{head:.1f}",
        data_bottom=f"{foot:.1f}",
    )


def heading(words: str, size: Size, *, beside: str = "") -> Markup:
    """What is drawn, at the top left, cut to the width that the words at the top right leave."""
    room = size.width - (text_width(beside, size.font) + 12 if beside else 0)
    return label(words, 0.0, size.font, size=size.font, width=room, class_="strong", bold=True)


def metric_title(metric: str) -> str:
    """The axis title of a metric, saying which way is good."""
    return f"{metric_name(metric)}, rolling ({better_way(metric)})"


def better_way(metric: str) -> str:
    """Which way a metric should go."""
    return f"{'lower' if metric in LOWER_IS_BETTER else 'higher'} is better"


def axis_unit(places: Sequence[float], *, share: bool) -> AxisUnit:
    """How to write tick values: short, and so that no two read the same.

    >>> unit = axis_unit([0.0, 5e5, 1e6, 1.5e6], share=False)
    >>> unit(5e5), unit.words
    ('0.5', ', in millions')
    """
    step = min((b - a for a, b in itertools.pairwise(places)), default=1.0)
    if share:
        return AxisUnit(share=True, places=max(0, -math.floor(math.log10(step * 100) + 1e-9)))
    largest = max((abs(place) for place in places), default=0.0)
    power = 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0
    power = power if power >= 6 or power <= -3 else 0
    return AxisUnit(share=False, places=max(0, -math.floor(math.log10(step) - power + 1e-9)), power=power)


@dataclass(frozen=True)
class AxisUnit:
    """Writes tick values as per cent, or as multiples of a power of ten that the axis title names."""

    share: bool
    places: int
    power: int = 0

    def __call__(self, value: float) -> str:
        if self.share:
            return percent(value, self.places)
        return "0" if value == 0 else f"{value / 10.0**self.power:,.{self.places}f}".replace("-", MINUS)

    @property
    def words(self) -> str:
        """The unit for the axis title, empty where values are written in full."""
        if self.power == 6:
            return ", in millions"
        return f", in 10{str(self.power).translate(SUPERSCRIPTS)}" if self.power else ""


def _initial(story: Story, x: Linear, top: float, bottom: float, size: Size) -> Markup:
    if story.initial_until is None:
        return Markup("")
    end = min(max(x(seconds(story.initial_until)), x.start), x.end)
    width = end - x.start
    parts = [tag("rect", x=x.start, y=top, width=width, height=bottom - top, class_="initial")]
    words = "first training" if size.is_wide else "training"
    if text_width(words, size.font) + 8 < width:
        parts.append(tag("text", words, x=x.start + width / 2, y=bottom - 8, class_="mid faint"))
    return joined(parts)


def _gap(series: dict[str, Floats], places: Floats, y: Linear) -> Markup:
    """Shading between healed and static: what healing was worth."""
    if "healed" not in series or "static" not in series or len(places) < 2:
        return Markup("")
    above, below = series["healed"], series["static"]
    both = np.isfinite(above) & np.isfinite(below)
    grid = np.linspace(places[0], places[-1], 240)
    known = places[both]
    if len(known) < 2:
        return Markup("")
    healed, static = np.interp(grid, known, above[both]), np.interp(grid, known, below[both])
    inside = (grid >= known[0]) & (grid <= known[-1])
    grid, healed, static = grid[inside], healed[inside], static[inside]
    if len(grid) < 2:
        return Markup("")
    upper = [f"{at:.1f} {y(value):.1f}" for at, value in zip(grid, healed, strict=True)]
    lower = [f"{at:.1f} {y(value):.1f}" for at, value in zip(grid[::-1], static[::-1], strict=True)]
    return tag("path", d=f"M{'L'.join(upper)}L{'L'.join(lower)}Z", class_="gain")


def decision_lines(
    marks: Sequence[Mark],
    x: Linear,
    y: Linear,
    lanes: Sequence[tuple[str, str]],
    size: Size,
) -> Markup:
    """Promotions and rollbacks as numbered lines across the plot, and a lane below it for each other kind of mark."""
    top, bottom = y.end, y.start
    numbered = [mark for mark in majors(marks) if x.low <= seconds(mark.at) <= x.high]
    crowded = len(numbered) > (MOST_FULL_LINES if size.is_wide else MOST_FULL_LINES // 3)
    parts: list[Markup] = []
    for kind in MAJOR:
        places = sorted({round(x(seconds(mark.at)), 1) for mark in numbered if mark.kind == kind})
        if not places:
            continue
        drop = 10.0 if crowded else bottom - top
        parts.append(
            tag("path", d="".join(f"M{at:.1f} {top:.1f}v{drop:.1f}" for at in places), class_=f"mark m-{kind}")
        )
        glyph = "l3.5 6h-7z" if kind == "promotion" else "m-3.5 0h7l-3.5 6z"
        heads = "".join(f"M{at:.1f} {top - 7:.1f}{glyph}" for at in places)
        parts.append(tag("path", d=heads, class_=f"head h-{kind}"))
    at = [x(seconds(mark.at)) for mark in numbered]
    backs = [mark.kind == "rollback" for mark in numbered]
    parts += [
        tag("text", badge.words, x=badge.x, y=top - 11, class_=f"mid badge {_badge_look(badge)}")
        for badge in badges(at, backs, x.start - 10, x.end + 20, size.font)
    ]
    for row, (kind, words) in enumerate(lanes):
        middle = bottom + LANE_GAP + LANE_HEIGHT * (row + 0.5)
        place, room = middle + size.font * 0.35, size.plot_left - 8
        parts.append(label(words, room, place, size=size.font, width=room, class_="end faint"))
        inside = [seconds(mark.at) for mark in marks if mark.kind == kind and x.low <= seconds(mark.at) <= x.high]
        path = "".join(f"M{place:.1f} {middle - 4:.1f}v8" for place in sorted({round(x(at), 1) for at in inside}))
        parts.append(tag("path", d=path, class_=f"tick t-{kind}"))
    if lanes:
        parts.append(tag("path", d=f"M{x.start:.1f} {bottom:.1f}H{x.end:.1f}", class_="grid"))
    return joined(parts)


def _names(story: Story, places: Floats, series: dict[str, Floats], y: Linear, size: Size) -> Markup:
    lines, style = plotted(story), looks(story.strategies)
    ends = []
    for strategy, _ in lines:
        last = int(np.flatnonzero(np.isfinite(series[strategy.name]))[-1])
        ends.append((float(places[last]), y(float(series[strategy.name][last]))))
    heights = spread([height for _, height in ends], size.font * 1.35, y.end + 6, y.start - 2)
    parts: list[Markup] = []
    left = size.plot_right + 12
    for (strategy, _), (end, height), at in zip(lines, ends, heights, strict=True):
        look = style[strategy.name]
        bold = look == "healed"
        leader = f"M{end + 2:.1f} {height:.1f}L{left - 3:.1f} {at:.1f}"
        parts.append(tag("path", d=leader, class_=f"leader s-{look}"))
        words = metric_value(story.metric, strategy.scores.get(story.metric)) if size.is_wide else ""
        room = size.width - left - (text_width(words, size.font, bold=bold) + 6 if words else 0)
        class_, middle = f"name n-{look}", at + size.font * 0.35
        parts.append(label(strategy.name, left, middle, size=size.font, width=room, class_=class_, bold=bold))
        if words:
            parts.append(tag("text", words, x=size.width, y=middle, class_=f"end {class_}"))
    return joined(parts)


def quality_samples(story: Story, domain: tuple[float, float], words: Sequence[str]) -> dict[str, object]:
    """What the tooltip of the quality plot says: places between 0 and 1, and values in words."""
    lines = plotted(story)
    times = np.array([seconds(moment) for moment in story.times], dtype=np.float64)
    order = np.argsort(times, kind="stable")
    kept = order[np.unique(np.linspace(0, len(order) - 1, 200).astype(np.intp))] if len(order) else order
    return {
        "x": [round((float(times[index]) - domain[0]) / (domain[1] - domain[0]), 4) for index in kept],
        "t": [words[index] for index in kept],
        "s": [
            [strategy.name, [metric_value(story.metric, values[index]) for index in kept]] for strategy, values in lines
        ],
    }


def kinds_in_words(marks: Sequence[Mark]) -> str:
    """How many decisions of each kind there were, the most frequent first.

    >>> from datetime import UTC, datetime
    >>> kinds_in_words([Mark(datetime(2024, 1, 1, tzinfo=UTC), "alert", "", None)])
    'alert opened 1'
    """
    counts: dict[str, int] = {}
    for mark in marks:
        counts[mark.kind] = counts.get(mark.kind, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{kind_words(kind)} {count:,}" for kind, count in ranked)
