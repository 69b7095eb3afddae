"""Which version served which share of the traffic."""

from __future__ import annotations

import itertools

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.axes import axis_height, time_axis, time_scale, value_axis
from homeostat.reports.charts.scale import Linear, spread
from homeostat.reports.charts.svg import Floats, Size, floats, label, picture, tag, text_width
from homeostat.reports.format import counted, percent, seconds
from homeostat.reports.story import Traffic

HUES = 6
MOST_COLUMNS = 400
MOST_END_NAMES = 6


def traffic_grid(traffic: Traffic, most: int = MOST_COLUMNS) -> tuple[Floats, Floats, list[int]]:
    """Times, shares (versions first, each column adding up to 1 or all zero) and version numbers."""
    times = np.array([seconds(moment) for moment in traffic.times], dtype=np.float64)
    order = np.argsort(times, kind="stable")
    versions = sorted(traffic.shares)
    shares = np.array([np.nan_to_num(floats(traffic.shares[version])) for version in versions])
    shares = np.clip(shares.reshape(len(versions), len(times))[:, order], 0.0, None)
    times = times[order]
    if len(times) > most:
        edges = np.linspace(times[0], times[-1], most + 1)
        column = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, most - 1)
        starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
        sizes = np.diff(np.r_[starts, len(times)])
        shares = np.add.reduceat(shares, starts, axis=1) / sizes
        times = np.add.reduceat(times, starts) / sizes
    total = shares.sum(axis=0)
    return times, shares / np.where(total > 0, total, 1.0), versions


def traffic_chart(traffic: Traffic, size: Size, domain: tuple[float, float], axis_title: str) -> Markup:
    """The drawing of traffic shares stacked by version, oldest at the bottom."""
    times, shares, versions = traffic_grid(traffic)
    top, bottom = 30.0, 30.0 + (150.0 if size.is_wide else 120.0)
    x = time_scale(domain, size)
    y = Linear(0.0, 1.0, bottom, top)
    places = np.array([x(at) for at in times])
    half = float(np.median(np.diff(places))) / 2 if len(places) > 1 else 4.0
    edges = np.clip(np.r_[places[:1] - half, (places[1:] + places[:-1]) / 2, places[-1:] + half], x.start, x.end)
    stack = np.vstack([np.zeros(len(times)), np.cumsum(shares, axis=0)])
    body: list[Markup] = [value_axis(y, (0.0, 0.5, 1.0), lambda value: percent(value, 0), size)]
    taken: list[tuple[float, float, float]] = []
    names: list[Markup] = []
    for index, version in enumerate(versions):
        body.append(tag("path", d=_area(edges, stack[index], stack[index + 1], y), class_=f"area c{index % HUES}"))
        names += _inner_name(f"v{version}", edges, (stack[index], stack[index + 1]), y, size.font, taken=taken)
    body += names
    body += _end_names(versions, shares, stack, y, size)
    body += [
        tag("text", "Share of served rows by version", x=0.0, y=size.font, class_="strong"),
        time_axis(x, bottom, size, axis_title),
    ]
    return picture(
        f"traffic-{size.name}",
        "Traffic by version over time",
        f"Share of served rows for {counted(len(versions), 'version')}, stacked, the oldest at the bottom.",
        size.width,
        bottom + axis_height(size),
        *body,
    )


def _area(edges: Floats, low: Floats, high: Floats, y: Linear) -> str:
    """A stepped band, written only where it is not empty and where a level changes."""
    pieces: list[str] = []
    present = np.flatnonzero(high - low > 1e-9)
    if not len(present):
        return ""
    breaks = np.flatnonzero(np.diff(present) > 1) + 1
    for run in np.split(present, breaks):
        upper = [f"M{edges[run[0]]:.1f} {y(high[run[0]]):.1f}"]
        for before, at in itertools.pairwise(run):
            if abs(high[at] - high[before]) > 1e-4:
                upper.append(f"H{edges[at]:.1f}V{y(high[at]):.1f}")
        upper.append(f"H{edges[run[-1] + 1]:.1f}V{y(low[run[-1]]):.1f}")
        for after, at in zip(run[::-1], run[-2::-1], strict=False):
            if abs(low[at] - low[after]) > 1e-4:
                upper.append(f"H{edges[after]:.1f}V{y(low[at]):.1f}")
        upper.append(f"H{edges[run[0]]:.1f}Z")
        pieces.append("".join(upper))
    return "".join(pieces)


def _inner_name(
    words: str,
    edges: Floats,
    band: tuple[Floats, Floats],
    y: Linear,
    font: float,
    *,
    taken: list[tuple[float, float, float]],
) -> list[Markup]:
    """The version's name inside its band, at the widest stretch where the band is high enough."""
    low, high = band
    need = text_width(words, font) + 8
    tall = (high - low) * abs(y.end - y.start) > font * 1.5
    best: tuple[float, int, int] | None = None
    start: int | None = None
    for index in range(len(tall) + 1):
        if index < len(tall) and tall[index]:
            start = index if start is None else start
        elif start is not None:
            width = float(edges[index] - edges[start])
            if width >= need and (best is None or width > best[0]):
                best = (width, start, index)
            start = None
    if best is None:
        return []
    _, first, last = best
    at = float(edges[first] + edges[last]) / 2
    column = int(np.clip(np.searchsorted(edges, at, side="right") - 1, first, last - 1))
    height = y((low[column] + high[column]) / 2)
    box = (at - need / 2, at + need / 2, height)
    if any(box[0] < right and left < box[1] and abs(height - other) < font * 1.4 for left, right, other in taken):
        return []
    taken.append(box)
    return [tag("text", words, x=at, y=height + font * 0.35, class_="mid on-area")]


def _end_names(versions: list[int], shares: Floats, stack: Floats, y: Linear, size: Size) -> list[Markup]:
    """The versions that serve at the end, named right of the plot."""
    if not shares.size:
        return []
    present = [index for index in np.argsort(-shares[:, -1], kind="stable") if shares[index, -1] > 0][:MOST_END_NAMES]
    heights = spread(
        [y((stack[index, -1] + stack[index + 1, -1]) / 2) for index in present], size.font * 1.3, y.end + 6, y.start - 4
    )
    room = size.width - size.plot_right - 10
    return [
        label(
            f"v{versions[index]}, {percent(float(shares[index, -1]), 0)}",
            size.plot_right + 10,
            height + size.font * 0.35,
            size=size.font,
            width=room,
            class_="ink",
        )
        for index, height in zip(present, heights, strict=True)
    ]
