"""A rollout as one HTML page that needs nothing else: its interval, its traffic, its arms, and every decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from homeostat.reports.charts.axes import time_axis
from homeostat.reports.charts.scale import Linear, ticks
from homeostat.reports.charts.svg import Size, line_path, picture, tag
from homeostat.reports.format import MINUS, clipped, number, utc

WIDTH, HEIGHT = 880.0, 248.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 48.0, 16.0, 206.0
SIZE = Size("rollout", WIDTH, LEFT, RIGHT, 12)
MOST_MARKS = 200
WORDS = 400
# Lines that are nearer than this share one label.
NEAREST = 14.0
BAD = ("rollback", "rollback failed", "rejected", "step back")


@dataclass(frozen=True)
class StoryMark:
    """A decision about the rollout, at seconds of UTC."""

    at: float
    kind: str
    words: str
    actor: str


@dataclass(frozen=True)
class Traffic:
    """Rows that each arm answered, in equal spans of time from `start` to `end` (seconds of UTC)."""

    start: float
    end: float
    candidate: Sequence[int]
    baseline: Sequence[int]


@dataclass(frozen=True)
class ArmFigures:
    """What one version did in the rollout; `quality` is on the labelled rows that it answered itself."""

    name: str
    version: int
    answered: int
    labelled: int
    failed: int
    quality: float | None
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class RolloutStory:
    """All that the page shows. After `pairs` labelled pairs the gain lay between `low` and `high`.

    With `is_by_entity` these are the first labelled pair of each entity alone.
    """

    title: str
    state: str
    step: str
    reason: str
    outcome: str
    began: float
    ended: float
    pairs: Sequence[int]
    gain: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    metric: str
    error: float
    traffic: Traffic
    arms: Sequence[ArmFigures]
    marks: Sequence[StoryMark]
    incident: Sequence[tuple[float, str]]
    is_by_entity: bool = False


def render_rollout(story: RolloutStory) -> str:
    """The page. Every word of the story is escaped; the page has no script, and loads nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    marks = list(story.marks)[-MOST_MARKS:]
    return environment.get_template("rollout.html.j2").render(
        story=story,
        interval=interval_chart(story) if len(story.pairs) > 1 else None,
        last=_last(story),
        traffic=traffic_chart(story, marks),
        marks=[
            (index + 1, _when(mark.at), mark.kind, mark.actor, clipped(mark.words, WORDS))
            for index, mark in enumerate(marks)
        ],
        left_out=len(story.marks) - len(marks),
        incident=[(_when(at), clipped(words, WORDS)) for at, words in story.incident],
        began=_when(story.began),
        ended=_when(story.ended),
        outcome=clipped(story.outcome, WORDS),
        reason=clipped(story.reason, WORDS),
        number=number,
        promoted_at=number(1 / story.error),
    )


def interval_chart(story: RolloutStory) -> Markup:
    """The gain over labelled pairs with the interval that holds at every look."""
    bound = max(0.02, min(1.0, 1.05 * max(abs(value) for value in (*story.gain, story.low[-1], story.high[-1]))))
    bound = min(1.0, max(bound, 4 * max(abs(story.low[-1]), abs(story.high[-1])) / 2))
    x = Linear(0.0, float(max(story.pairs)), LEFT, WIDTH - RIGHT)
    y = Linear(-bound, bound, BOTTOM, TOP)
    body = []
    for value in ticks(-bound, bound, 5):
        at = y(value)
        body.append(tag("path", d=f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}", class_="zero" if value == 0 else "grid"))
        body.append(
            tag("text", f"{100 * value:+.3g}".replace("-", MINUS) if value else "0", x=LEFT - 6, y=at + 4, class_="end")
        )
    body += [tag("text", f"{value:,.0f}", x=x(value), y=BOTTOM + 18, class_="mid") for value in ticks(0.0, x.high, 6)]
    places = [x(float(count)) for count in story.pairs]
    low, high = ([y(max(-bound, min(bound, value))) for value in part] for part in (story.low, story.high))
    band = line_path([*places, *reversed(places)], [*low, *reversed(high)]) + "Z"
    body += [
        tag("path", d=band, class_="band"),
        tag("path", d=line_path(places, low), class_="edge"),
        tag("path", d=line_path(places, high), class_="edge"),
        tag("path", d=line_path(places, [y(max(-bound, min(bound, value))) for value in story.gain]), class_="gain"),
        _upright("points"),
        tag("text", "labelled pairs", x=(LEFT + WIDTH - RIGHT) / 2, y=BOTTOM + 33, class_="mid faint"),
    ]
    return picture("interval", "Gain of the candidate", _last(story), WIDTH, HEIGHT, *body)


def traffic_chart(story: RolloutStory, marks: Sequence[StoryMark]) -> Markup:
    """Rows answered by each arm over time, stacked, with a numbered line for every decision."""
    seen = story.traffic
    most = max([a + b for a, b in zip(seen.candidate, seen.baseline, strict=True)] or [1])
    x = Linear(seen.start, max(seen.end, seen.start + 1), LEFT, WIDTH - RIGHT)
    y = Linear(0.0, float(max(most, 1)), BOTTOM, TOP + 14)
    wide = (WIDTH - RIGHT - LEFT) / max(len(seen.candidate), 1)
    body = []
    for value in ticks(0.0, y.high, 4):
        body.append(tag("path", d=f"M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}", class_="grid"))
        body.append(tag("text", number(value), x=LEFT - 6, y=y(value) + 4, class_="end"))
    for index, (new, old) in enumerate(zip(seen.candidate, seen.baseline, strict=True)):
        left = LEFT + index * wide
        for count, below, look in ((old, 0, "old"), (new, old, "new")):
            if count:
                top, base = y(float(below + count)), y(float(below))
                body.append(tag("rect", x=left, y=top, width=max(wide - 1, 0.5), height=base - top, class_=look))
    places: list[float] = []
    for mark in marks:
        at = x(min(max(mark.at, x.low), x.high))
        body.append(
            tag(
                "path",
                d=f"M{at:.1f} {TOP + 2}V{BOTTOM}",
                class_=f"mark {'bad' if mark.kind in BAD else 'fine'}",
            )
        )
        places.append(at)
    body += [tag("text", words, x=at, y=TOP - 2, class_="mid") for at, words in _numbers(places)]
    body += [time_axis(x, BOTTOM, SIZE, "UTC"), _upright("rows")]
    total_new, total_old = sum(seen.candidate), sum(seen.baseline)
    words = f"The candidate answered {total_new:,} rows and the baseline {total_old:,}."
    return picture("traffic", "Traffic by arm", words, WIDTH, HEIGHT, *body)


def _upright(words: str) -> Markup:
    """The name of the vertical axis, along it."""
    middle = (TOP + BOTTOM) / 2
    return tag("text", words, x=14.0, y=middle, class_="mid", transform=f"rotate(-90 14 {middle:g})")


def _last(story: RolloutStory) -> str:
    if not story.pairs:
        return "No interval: there are no labelled pairs, or the model predicts values."
    each = ", the first one of each entity," if story.is_by_entity else ""
    return (
        f"After {story.pairs[-1]:,} labelled pairs{each} the candidate's {story.metric} is "
        f"{_points(story.gain[-1])} points from the baseline's, and between {_points(story.low[-1])} and "
        f"{_points(story.high[-1])} with {1 - story.error:.0%} confidence at every look."
    )


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", MINUS)


def _numbers(places: Sequence[float]) -> list[tuple[float, str]]:
    """The numbers of lines, from 1: those of lines that lie too near to each other in one label."""
    groups: list[list[int]] = []
    for index, at in enumerate(places):
        if groups and abs(at - places[groups[-1][0]]) < NEAREST:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [
        (places[each[0]], str(each[0] + 1) if len(each) == 1 else f"{each[0] + 1}–{each[-1] + 1}") for each in groups
    ]


def _when(at: float) -> str:
    return utc(at).strftime("%Y-%m-%d %H:%M")
