"""Values over time by arm, and an estimate in its narrowing interval: the drawings of experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.axes import axis_height, time_axis, time_scale, value_axis
from homeostat.reports.charts.scale import Linear, padded, spread, ticks
from homeostat.reports.charts.svg import Floats, Size, joined, label, line_path, picture, tag, text_width, thinned

BUCKETS = 200
MOST_NUMBERED = 40


@dataclass(frozen=True)
class Line:
    """A line with the CSS class of its look."""

    name: str
    look: str
    values: Floats


@dataclass(frozen=True)
class Course:
    """What is drawn over time.

    `band` are the two ends of an interval, infinite where it is not known; `gates` are values that decide, with their
    words; `marks` are times of decisions with their numbers and whether they are bad news.
    """

    ident: str
    title: str
    description: str
    times: Floats
    lines: tuple[Line, ...]
    words: Callable[[float], str]
    band: tuple[Floats, Floats] | None = None
    gates: tuple[tuple[float, str], ...] = ()
    marks: tuple[tuple[float, int, bool], ...] = ()
    floor: float | None = None
    ceiling: float | None = None


def value_range(course: Course) -> tuple[float, float]:
    """What is drawn: every gate, the lines, and of a band what it was in its later half, since it begins unbounded."""
    values = [value for value, _ in course.gates]
    if course.band is None:
        for line in course.lines:
            values += line.values[np.isfinite(line.values)].tolist()
    else:
        # The lines of an estimate lie within its band, and stray where the band is still wide.
        known = np.flatnonzero(np.isfinite(course.band[0]) & np.isfinite(course.band[1]))
        later = known[len(known) // 3 :]
        for line in course.lines:
            finite = line.values[later][np.isfinite(line.values[later])] if len(later) else np.zeros(0)
            values += finite.tolist()
        for end in course.band:
            values += end[later].tolist()
    return padded(values, floor=course.floor, ceiling=course.ceiling)


def course_chart(course: Course, size: Size, domain: tuple[float, float], axis_title: str) -> Markup:
    """The drawing, `size` wide."""
    top = 30.0
    bottom = top + (230.0 if size.is_wide else 190.0)
    x = time_scale(domain, size)
    low, high = value_range(course)
    y = Linear(low, high, bottom, top)
    order = np.argsort(course.times, kind="stable")
    places = np.array([x(at) for at in course.times[order]])
    body = [value_axis(y, ticks(low, high, 6 if size.is_wide else 5), course.words, size)]
    body += [_marks(course, x, top, bottom, size)]
    if course.band is not None and len(places):
        body.append(_band(course.band[0][order], course.band[1][order], places, y))
    wanted: list[tuple[float, str, str]] = []
    for gate, words in course.gates:
        at = y(min(max(gate, low), high))
        body.append(tag("path", d=f"M{x.start:.1f} {at:.1f}H{x.end:.1f}", class_="bound" if gate else "threshold"))
        if words:
            wanted.append((at, words, "faint"))
    for line in course.lines:
        shown = np.where(np.isfinite(line.values), np.clip(line.values, low, high), np.nan)[order]
        present = np.flatnonzero(np.isfinite(shown))
        if not len(present):
            continue
        kept = thinned(places, shown, BUCKETS)
        heights = [y(value) if math.isfinite(value) else math.nan for value in shown[kept]]
        body.append(tag("path", d=line_path(places[kept], heights), class_=f"line course s-{line.look}"))
        wanted.append((y(float(shown[present[-1]])), line.name, f"name n-{line.look}"))
    rooms = size.width - size.plot_right - 8
    for (_, words, class_), at in zip(
        wanted, spread([one[0] for one in wanted], size.font * 1.35, top, bottom), strict=True
    ):
        body.append(
            label(words, size.plot_right + 8, at + size.font * 0.35, size=size.font, width=rooms, class_=class_)
        )
    body.append(time_axis(x, bottom, size, axis_title))
    return picture(
        f"{course.ident}-{size.name}",
        course.title,
        course.description,
        size.width,
        bottom + axis_height(size),
        *body,
    )


def _band(lower: Floats, upper: Floats, places: Floats, y: Linear) -> Markup:
    """The area between both ends, cut at the plot's."""
    low, high = np.clip(lower, y.low, y.high), np.clip(upper, y.low, y.high)
    kept = np.union1d(thinned(places, low, BUCKETS), thinned(places, high, BUCKETS))
    if len(kept) < 2:
        return Markup("")
    over = "".join(f"{'L' if i else 'M'}{places[i]:.1f} {y(float(high[i])):.1f}" for i in kept)
    # The first place has to begin the path, whatever its index.
    over = "M" + over[1:]
    under = "".join(f"L{places[i]:.1f} {y(float(low[i])):.1f}" for i in kept[::-1])
    return tag("path", d=f"{over}{under}Z", class_="sequence")


def _marks(course: Course, x: Linear, top: float, bottom: float, size: Size) -> Markup:
    """A line for each decision, with its number above where there is room."""
    parts: list[Markup] = []
    free = -math.inf
    for at, number, bad in course.marks:
        place = min(max(x(at), x.start), x.end)
        look = "rollback" if bad else "promotion"
        parts.append(tag("path", d=f"M{place:.1f} {top - 6:.1f}V{bottom:.1f}", class_=f"mark m-{look}"))
        half = text_width(str(number), size.font, bold=True) / 2 + 2
        if place - half > free and number <= MOST_NUMBERED:
            parts.append(tag("text", str(number), x=place, y=top - 10, class_=f"mid badge b-{look}"))
            free = place + half
    return joined(parts)


def arm_looks(arms: Sequence[str]) -> dict[str, str]:
    """The look of each arm: the control is grey, the others have colours of their own."""
    colours = ("healed", "periodic", "nochange", "other1", "other2", "other3", "other4")
    return {arm: "static" if not place else colours[(place - 1) % len(colours)] for place, arm in enumerate(arms)}
