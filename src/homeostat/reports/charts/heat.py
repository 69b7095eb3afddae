"""Drift by feature over time as a heat map."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from homeostat.reports.charts.axes import axis_height, time_axis, time_scale
from homeostat.reports.charts.scale import SHORTEST_SPAN
from homeostat.reports.charts.svg import Floats, Size, floats, joined, label, picture, tag, text_width
from homeostat.reports.format import number, seconds, when
from homeostat.reports.story import DriftMap

MOST_FEATURES = 25
LEVELS = 6
CELL, LEAST_CELL = 6.0, 1.5


@dataclass(frozen=True)
class HeatGrid:
    """The cells that are shown: features with the largest effect first, columns between `edges`, NaN for no data."""

    features: tuple[str, ...]
    left_out: int
    edges: Floats
    values: Floats
    drifted: npt.NDArray[np.bool_]


def heat_grid(drift: DriftMap, most_columns: int) -> HeatGrid:
    """The features with the largest effects, their times gathered into columns by the largest value of each."""
    times = np.array([seconds(moment) for moment in drift.times], dtype=np.float64)
    values = np.array([floats(row) for row in drift.values]).reshape(len(drift.features), len(times))
    flags = np.array(drift.drifted, dtype=bool).reshape(values.shape) if drift.drifted else np.zeros(values.shape, bool)
    order = np.argsort(times, kind="stable")
    times, values, flags = times[order], values[:, order], flags[:, order]
    largest = np.where(np.isfinite(values), values, -1.0).max(axis=1, initial=-1.0)
    rows = np.argsort(-largest, kind="stable")[:MOST_FEATURES]
    values, flags = values[rows], flags[rows]
    if len(times) > most_columns:
        edges = np.linspace(times[0], times[-1], most_columns + 1)
        column = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, most_columns - 1)
    else:
        middles = (times[1:] + times[:-1]) / 2
        half = float(np.median(np.diff(times))) / 2 if len(times) > 1 else SHORTEST_SPAN / 20
        edges = np.r_[times[:1] - half, middles, times[-1:] + half]
        column = np.arange(len(times))
    gathered = np.full((len(rows), len(edges) - 1), math.nan)
    marked = np.zeros(gathered.shape, dtype=bool)
    for place, index in enumerate(column):
        gathered[:, index] = np.fmax(gathered[:, index], values[:, place])
        marked[:, index] |= flags[:, place]
    names = tuple(drift.features[int(row)] for row in rows)
    return HeatGrid(names, len(drift.features) - len(names), edges, gathered, marked)


def heat_edges(threshold: float, largest: float) -> tuple[float, ...]:
    """Seven edges of six levels: two below the threshold, four above it that grow by the same factor.

    >>> heat_edges(0.1, 0.85)
    (0.0, 0.05, 0.1, 0.17, 0.29, 0.5, 0.85)
    """
    largest = max(largest, 1e-6) if math.isfinite(largest) else 1.0
    if not 0 < threshold < largest:
        top = max(largest, threshold) if math.isfinite(threshold) else largest
        return tuple(top * (level / LEVELS) for level in range(LEVELS + 1))
    factor = (largest / threshold) ** 0.25
    above = [threshold * factor**level for level in range(1, 4)]
    rounded = [float(f"{edge:.2g}") for edge in above]
    distinct = [threshold, *rounded, largest]
    if any(b <= a for a, b in itertools.pairwise(distinct)):
        rounded = above
    return (0.0, threshold / 2, threshold, *rounded, largest)


def heat_chart(
    drift: DriftMap, size: Size, domain: tuple[float, float], axis_title: str, *, least_top: float = 0.0
) -> Markup:
    """The drawing of effect sizes by feature and time, `size` wide; its colours go up to `least_top` or further."""
    grid = heat_grid(drift, columns_of(size))
    present = grid.values[np.isfinite(grid.values)]
    edges = heat_edges(drift.threshold, max(least_top, float(present.max())) if len(present) else 1.0)
    height = 17.0 if len(grid.features) > 4 else 24.0
    top = 52.0 if size.is_wide else 84.0
    bottom = top + height * len(grid.features)
    x = time_scale(domain, size)
    places = np.clip([x(edge) for edge in grid.edges], x.start, x.end)
    level = np.clip(np.searchsorted(edges, grid.values, side="right") - 1, 0, LEVELS - 1)
    body = [_legend(edges, drift.threshold, size)]
    for wanted in range(LEVELS):
        path: list[str] = []
        dots: list[str] = []
        for row, column in np.argwhere((level == wanted) & np.isfinite(grid.values)):
            left, width = places[column], max(places[column + 1] - places[column], LEAST_CELL)
            y = top + height * row + 0.5
            path.append(f"M{left:.1f} {y:.1f}h{width:.1f}v{height - 1:.0f}h{-width:.1f}z")
            if grid.drifted[row, column]:
                dots.append(f"M{left + width / 2:.1f} {y + height / 2 - 0.5:.1f}h.01")
        body.append(tag("path", d="".join(path), class_=f"heat l{wanted}"))
        if dots:
            body.append(tag("path", d="".join(dots), class_=f"dots {'on-light' if wanted < 4 else 'on-dark'}"))
    for row, name in enumerate(grid.features):
        middle = top + height * (row + 0.5)
        room = size.width - size.plot_right - 8
        body.append(
            label(name, size.plot_right + 8, middle + size.font * 0.35, size=size.font, width=room, class_="ink")
        )
    if size.is_wide:
        # Beside few features it begins at the bottom: below is the first time's label.
        low = bottom - text_width("features", size.font) / 2
        body.append(_sideways("features", size.plot_left - 12, min((top + bottom) / 2, low)))
    body.append(time_axis(x, bottom + 2, size, axis_title))
    description = (
        f"Effect size of drift, 0 to 1, for {len(grid.features)} features, largest first: "
        + ", ".join(grid.features[:5])
        + f". Above {number(drift.threshold, 2)} counts as drift. The table below holds the largest value of each."
    )
    return picture(
        f"heat-{size.name}",
        "Drift by feature over time",
        description,
        size.width,
        bottom + axis_height(size) + 2,
        *body,
        data_chart="heat",
        data_left=f"{size.plot_left:.1f}",
        data_right=f"{size.plot_right:.1f}",
        data_top=f"{top:.1f}",
        data_bottom=f"{bottom:.1f}",
        data_for=f"heat-data-{size.name}",
    )


def columns_of(size: Size) -> int:
    """How many columns are readable."""
    return int((size.plot_right - size.plot_left) / CELL)


def heat_samples(drift: DriftMap, size: Size, domain: tuple[float, float]) -> dict[str, object]:
    """What the tooltip of the heat map says."""
    grid = heat_grid(drift, columns_of(size))
    span = domain[1] - domain[0]
    return {
        "edges": [round((float(edge) - domain[0]) / span, 4) for edge in grid.edges],
        "t": [when(float(edge), span) for edge in grid.edges[:-1]],
        "rows": [
            [name, [number(value, 2) for value in row]] for name, row in zip(grid.features, grid.values, strict=True)
        ],
    }


def _sideways(words: str, x: float, y: float) -> Markup:
    return tag("text", words, x=x, y=y, class_="mid faint", transform=f"rotate(-90 {x:.1f} {y:.1f})")


def _legend(edges: tuple[float, ...], threshold: float, size: Size) -> Markup:
    parts = [tag("text", "Effect size of drift, 0 to 1", x=0.0, y=size.font, class_="strong")]
    swatch = 40.0 if size.is_wide else 36.0
    left = size.plot_right - swatch * LEVELS if size.is_wide else size.plot_left - 40
    top = 4.0 if size.is_wide else 28.0
    words = [number(edge, 2) for edge in edges]
    parts += [
        tag("rect", x=left + swatch * level, y=top, width=swatch - 1, height=11.0, class_=f"heat l{level}")
        for level in range(LEVELS)
    ]
    free = -1e9
    for index, text in enumerate(words):
        at, half = left + swatch * index, text_width(text, size.font) / 2
        if at - half > free:
            parts.append(tag("text", text, x=at, y=top + 14 + size.font, class_="mid faint"))
            free = at + half + 3
    if threshold in edges:
        at = left + swatch * edges.index(threshold)
        parts.append(tag("path", d=f"M{at - 0.5:.1f} {top - 3:.1f}v17", class_="threshold"))
        above = size.plot_right + 8 if size.is_wide else left + swatch * LEVELS + 6
        parts.append(tag("text", "above threshold", x=above, y=top + 10, class_="faint"))
    return joined(parts)
