"""The reference's and the current distribution of one feature, laid over each other.

Heights and lengths are shares of the values of each side, so that both compare whatever their numbers of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from homeostat.reports.charts.axes import value_axis
from homeostat.reports.charts.densities import Samples, stepped_densities
from homeostat.reports.charts.scale import Linear, ticks
from homeostat.reports.charts.svg import Size, joined, label, picture, tag, text_width
from homeostat.reports.format import MINUS, counted, number, percent
from homeostat.stats.profile import CategoricalSummary, NumericSummary

Floats = npt.NDArray[np.float64]
Pair = tuple[float, float]

PANEL = Size("panel", 380, 50, 6, 12)
TOP, HEIGHT, LEGEND = 34.0, 132.0, 16.0
ROW, NAMES, FIGURES = 27.0, 116.0, 116.0
MOST_BARS = 24
MOST_CATEGORIES = 12


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture, or none where there is nothing to draw, and what has to be said about it."""

    svg: Markup | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """Elements that take up the space from the top down to `bottom`."""

    elements: tuple[Markup, ...]
    bottom: float
    notes: tuple[str, ...] = ()


def distribution_drawing(
    before: NumericSummary | CategoricalSummary,
    after: NumericSummary | CategoricalSummary,
    *,
    ident: str,
    name: str,
    missing: Pair = (0.0, 0.0),
    samples: Samples = (None, None),
    is_boolean: bool = False,
) -> Drawing:
    """Both distributions of one feature, and below them the shares that are missing.

    Args:
        before: the reference's summary.
        after: the current one, of the same bins or categories.
        ident: what the picture's ids begin with.
        name: the feature's.
        missing: shares of rows without a usable value, in the reference and now.
        samples: some values of each side, or `None` where none were kept.
        is_boolean: whether the numbers are 0 for false and 1 for true.
    """
    if isinstance(before, CategoricalSummary) and isinstance(after, CategoricalSummary):
        part = _categories(before, after)
    elif isinstance(before, NumericSummary) and isinstance(after, NumericSummary):
        part = _numbers(before, after, samples, is_boolean=is_boolean)
    else:
        return Drawing(None, ("It is of one kind in the reference and of another now.",))
    elements, bottom = list(part.elements), part.bottom
    if max(missing) > 0:
        if elements:
            elements.append(tag("path", d=f"M0 {bottom + 5:.1f}H{PANEL.width:.0f}", class_="grid"))
            bottom += 10
        else:
            elements.append(_legend(before.count, after.count))
            bottom = TOP - 6
        elements.append(_pairs([("missing", *missing)], bottom, 1.0, is_whole=True))
        bottom += ROW
    if not elements:
        return Drawing(None, part.notes)
    words = f"Reference: {_described(before)}. Current: {_described(after)}."
    if max(missing) > 0:
        words += f" Missing: {_change(*missing)} of rows."
    svg = picture(ident, f"{name}: reference and current", words, PANEL.width, bottom + 4, *elements)
    return Drawing(svg, part.notes)


def _described(summary: NumericSummary | CategoricalSummary) -> str:
    words = counted(summary.count, "value")
    if not summary.count:
        return words
    if isinstance(summary, NumericSummary):
        span = f"from {number(summary.minimum)} to {number(summary.maximum)}"
        return f"{words}, mean {number(summary.mean)}, {span}"
    order = np.argsort(-summary.counts, kind="stable")[:3]
    shares = ", ".join(f"{summary.categories[i]} {_share(summary.counts[i] / summary.count)}" for i in order)
    return f"{words}, {shares}" if shares else words


def _numbers(before: NumericSummary, after: NumericSummary, samples: Samples, *, is_boolean: bool) -> _Part:
    sides = (before, after)
    if not before.count and not after.count:
        return _Part((), 0.0, ("Neither side holds a value.",))
    if not before.count:
        return _Part((), 0.0, (f"The reference holds no values to compare with; now there are {_described(after)}.",))
    notes = [] if after.count else ["There are no current values, so the reference is drawn alone."]
    endless = tuple(side.infinite / side.rows if side.rows else 0.0 for side in sides)
    if max(endless) > 0:
        notes.append(f"Infinite values, which are not drawn: {_change(*endless)} of rows.")
    known = [side for side in sides if side.count]
    if is_boolean and all(side.minimum >= 0 and side.maximum <= 1 for side in known):
        true = [side.mean for side in sides]
        rows = [("false", 1 - true[0], 1 - true[1]), ("true", true[0], true[1])]
        part = _rows(rows, (before.count, after.count))
    elif _is_discrete(before, samples[0]):
        part = _bars(before, after, samples[1])
    else:
        part = _densities(sides, samples)
    return _Part(part.elements, part.bottom, (*notes, *part.notes))


def _is_discrete(before: NumericSummary, sample: Floats | None) -> bool:
    """Whether each bin of the reference holds a single value, and there are few of them."""
    values = before.edges[1:]
    if not 1 <= len(values) <= MOST_BARS:
        return False
    present = np.empty(0) if sample is None else sample[np.isfinite(sample)]
    if len(present):
        return bool(np.isin(present, values).all())
    return bool((values == np.floor(values)).all())


def _bars(before: NumericSummary, after: NumericSummary, sample: Floats | None) -> _Part:
    """Values one by one; what lies outside the reference's range is a bar of its own."""
    values = before.edges[1:]
    names = [f"<{_short(values[0])}", *map(_short, values.tolist()), f">{_short(values[-1])}"]
    shares = np.array([side.counts / max(1, side.count) for side in (before, after)])
    kept = np.ones(len(names), dtype=bool)
    kept[[0, -1]] = shares[:, [0, -1]].any(axis=0)
    names, shares = [name for name, keep in zip(names, kept, strict=True) if keep], shares[:, kept]
    y = Linear(0.0, float(shares.max(initial=0.0)) * 1.04 or 1.0, TOP + HEIGHT, TOP)
    slot = (PANEL.plot_right - PANEL.plot_left) / len(names)
    width = min(18.0, slot * 0.4)
    middles = [PANEL.plot_left + slot * (place + 0.5) for place in range(len(names))]
    paths = [
        "".join(
            f"M{middle + shift:.1f} {y.start:.1f}V{y(float(share)):.1f}h{width:.1f}V{y.start:.1f}z"
            for middle, share in zip(middles, side, strict=True)
            if share
        )
        for side, shift in ((shares[0], -width), (shares[1], 0.0))
    ]
    elements = (
        _legend(before.count, after.count),
        _heights(y),
        *(tag("path", d=d, class_=f"bar {side}") for d, side in zip(paths, ("reference", "current"), strict=True) if d),
        _labels(names, middles, y.start),
    )
    between = sample is not None and bool(
        np.setdiff1d(sample[(sample > values[0]) & (sample < values[-1])], values).size
    )
    notes = ("A value between two of these counts with the higher one.",) if between else ()
    return _Part(elements, y.start + 10 + PANEL.font, notes)


def _densities(sides: tuple[NumericSummary, NumericSummary], samples: Samples) -> _Part:
    """Shares of the values in equal steps over the range that matters."""
    found = stepped_densities(sides, samples)
    if found is None:
        return _Part((), 0.0, ("Its values lie too far apart to be drawn.",))
    y = Linear(0.0, found.cap * 1.04, TOP + HEIGHT, TOP)
    x = Linear(0.0, float(len(found.grid) - 1), PANEL.plot_left, PANEL.plot_right)
    elements = [_legend(sides[0].count, sides[1].count), _heights(y)]
    for row, name in enumerate(("reference", "current")):
        if sides[row].count:
            elements.append(tag("path", d=_steps(found.shares[row], x, y), class_=f"area {name}"))
    elements += [
        tag("path", d=f"M{x(spike - 0.6):.1f} {y.end + 12:.1f}L{x(spike + 1.6):.1f} {y.end + 6:.1f}", class_="break")
        for spike in found.spikes
    ]
    elements.append(_scale(float(found.grid[0]), float(found.grid[-1]), y.start, is_log=found.is_log))
    notes = []
    if max(found.outside) > 1e-6:
        notes.append(f"Outside the picture, which leaves out the far tails: {_change(*found.outside)} of values.")
    if found.is_log:
        notes.append("The scale is logarithmic.")
    for spike, peak in zip(found.spikes, found.peaks, strict=True):
        notes.append(f"Cut off at the top: {_change(*found.shares[:, spike])} of values near {number(peak, 2)}.")
    return _Part(tuple(elements), y.start + 10 + PANEL.font, tuple(notes))


def _steps(shares: Floats, x: Linear, y: Linear) -> str:
    """A stepped outline, closed along the bottom."""
    heights = [f"{y(min(float(share), y.high)):.1f}" for share in shares]
    pieces = [f"M{x(0.0):.1f} {y.start:.1f}"]
    for place, height in enumerate(heights):
        if place and height != heights[place - 1]:
            pieces.append(f"H{x(float(place)):.1f}V{height}")
        elif not place:
            pieces.append(f"V{height}")
    return "".join(pieces) + f"H{x(float(len(heights))):.1f}V{y.start:.1f}z"


def _heights(y: Linear) -> Markup:
    """Shares left of the plot, and the line that it stands on."""
    places = ticks(0.0, y.high, 3)
    step = places[1] if len(places) > 1 else y.high
    digits = 0 if step >= 0.01 else 1 if step >= 0.001 else 2
    axis = tag("path", d=f"M{PANEL.plot_left:.1f} {y.start:.1f}H{PANEL.plot_right:.1f}", class_="axis")
    return joined([value_axis(y, places, lambda value: percent(value, digits), PANEL), axis])


def _scale(low: float, high: float, y: float, *, is_log: bool) -> Markup:
    """Round values below the plot."""
    if is_log:
        x = Linear(math.log10(low), math.log10(high), PANEL.plot_left, PANEL.plot_right)
        powers = range(math.ceil(x.low), math.floor(x.high) + 1)
        found = list(powers)[:: max(1, -(-len(powers) // 6))]
        return _labels([_short(10.0**power) for power in found], [x(float(power)) for power in found], y)
    x = Linear(low, high, PANEL.plot_left, PANEL.plot_right)
    values = ticks(low, high, 5)
    step = values[1] - values[0] if len(values) > 1 else high - low
    largest = max(abs(value) for value in values) if values else 1.0
    digits = 2 + max(1, math.ceil(math.log10(largest / step))) if largest and step > 0 else 3
    return _labels([_short(value, min(digits, 12)) for value in values], [x(value) for value in values], y)


def _labels(names: list[str], middles: list[float], y: float) -> Markup:
    """Ticks with their words, as far as these have room; those of open bars come first."""
    parts = []
    taken: list[Pair] = []
    for name, middle in sorted(zip(names, middles, strict=True), key=lambda one: one[0][0] not in "<>"):
        half = text_width(name, PANEL.font) / 2
        place = min(max(middle, half), PANEL.width - half)
        if all(place + half + 6 <= left or place - half - 6 >= right for left, right in taken):
            parts.append(tag("path", d=f"M{middle:.1f} {y:.1f}v4", class_="axis"))
            parts.append(tag("text", name, x=place, y=y + 6 + PANEL.font, class_="mid"))
            taken.append((place - half, place + half))
    return joined(parts)


def _categories(before: CategoricalSummary, after: CategoricalSummary) -> _Part:
    """The categories whose shares changed most, and the rest in one."""
    sides = (before, after)
    if not before.count and not after.count:
        return _Part((), 0.0, ("Neither side holds a value.",))
    old, new = (side.counts / max(1, side.count) for side in sides)
    order = np.lexsort((-old, -np.abs(new - old)))
    shown, rest = order[:MOST_CATEGORIES], order[MOST_CATEGORIES:]
    rows = [(before.categories[i] or "(empty text)", float(old[i]), float(new[i])) for i in shown]
    other = [side.other / max(1, side.count) for side in sides]
    if len(rest) or max(other) > 0:
        name = counted(len(rest), "other", "others") if max(other) == 0 else "all others"
        rows.append((name, float(old[rest].sum()) + other[0], float(new[rest].sum()) + other[1]))
    unseen = [side.unseen / max(1, side.count) for side in sides]
    if max(unseen) > 0:
        rows.insert(0, ("never seen before", unseen[0], unseen[1]))
    return _rows(rows, (before.count, after.count))


def _rows(rows: list[tuple[str, float, float]], counts: tuple[int, int]) -> _Part:
    # A side without values has no shares, which is something else than shares of 0.
    known = [(name, old if counts[0] else math.nan, new if counts[1] else math.nan) for name, old, new in rows]
    top = max((max(0.0, old, new) for _, old, new in known), default=0.0)
    notes = tuple(
        f"The {name} data hold no values."
        for name, count in zip(("reference", "current"), counts, strict=True)
        if not count
    )
    return _Part((_legend(*counts), _pairs(known, TOP - 6, top or 1.0)), TOP - 6 + ROW * len(rows), notes)


def _pairs(rows: list[tuple[str, float, float]], top: float, most: float, *, is_whole: bool = False) -> Markup:
    """A row for each name with both shares as bars; where `is_whole`, on a track of all rows."""
    x = Linear(0.0, most, NAMES + 8, PANEL.width - FIGURES)
    parts: list[Markup] = []
    for place, (name, old, new) in enumerate(rows):
        y = top + ROW * place + 3
        baseline = y + 10 + PANEL.font * 0.35
        parts.append(label(name, NAMES, baseline, size=PANEL.font, width=NAMES, class_="end ink"))
        if is_whole:
            parts.append(tag("rect", x=x.start, y=y, width=x.end - x.start, height=20.0, class_="track"))
        for shift, share, side in ((0.0, old, "reference"), (10.0, new, "current")):
            if share > 0:
                width = max(1.5, x(share) - x.start)
                parts.append(tag("rect", x=x.start, y=y + shift, width=width, height=10.0, class_=f"bar {side}"))
        parts.append(tag("text", _change(old, new), x=PANEL.width, y=baseline, class_="end"))
    if not is_whole:
        parts.append(tag("path", d=f"M{x.start:.1f} {top:.1f}v{ROW * len(rows):.1f}", class_="axis"))
    return joined(parts)


def _legend(before: int, after: int) -> Markup:
    """Which is which, and of how many values."""
    parts: list[Markup] = []
    left = 0.0
    for side, count in (("reference", before), ("current", after)):
        words = f"{side}, {counted(count, 'value') if count < 1e6 else number(count) + ' values'}"
        if left:
            left = min(left, PANEL.width - 20 - text_width(words, PANEL.font, bold=True))
        parts.append(tag("rect", x=left + 1, y=3.0, width=14.0, height=10.0, class_=f"area {side}"))
        parts.append(tag("text", words, x=left + 20, y=PANEL.font, class_=f"n-{side}"))
        left = PANEL.width / 2 + 4
    return joined(parts)


def _share(share: float) -> str:
    """A share with a tenth of a per cent, and no false 0.

    >>> _share(0.0), _share(0.0001).split(), _share(0.123).split()
    ('0', ['<0.1', '%'], ['12.3', '%'])
    """
    if share == 0:
        return "0"
    if 0 < share < 0.0005:
        return "<" + percent(0.001)
    return percent(share, 0 if share == 1 else 1)


def _change(old: float, new: float) -> str:
    return f"{_share(old)} → {_share(new)}"


def _short(value: float, digits: int = 4) -> str:
    """A value as an axis has it: whole numbers below ten thousand as they are, so that years read as years.

    >>> _short(2024.0), _short(-3.0), _short(0.25), _short(50_000.0)
    ('2024', '−3', '0.25', '50,000')
    """
    if value == round(value) and abs(value) < 10_000:
        return f"{MINUS if value < 0 else ''}{abs(value):.0f}"
    if digits > 4 and 1e-3 < abs(value) < 1e12:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{MINUS if value < 0 else ''}{abs(value):,.{places}f}"
    return number(value, digits)
