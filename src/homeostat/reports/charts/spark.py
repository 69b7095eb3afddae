"""A line of a few words' size: one value for each block of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from homeostat.reports.charts.scale import Linear
from homeostat.reports.charts.svg import floats, line_path, picture, tag

WIDTH, HEIGHT = 120.0, 30.0
BARS = "▁▂▃▄▅▆▇█"


def spark_range(rows: Sequence[Sequence[float | None]]) -> tuple[float, float]:
    """One range for all sparklines, so that they compare."""
    values = [float(value) for row in rows for value in floats(row) if math.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def sparkline(values: Sequence[float | None], limits: tuple[float, float], ident: str, name: str, look: str) -> Markup:
    """The drawing of one row's blocks, with a dot at its last value."""
    x = Linear(0.0, max(1.0, len(values) - 1.0), 4.0, WIDTH - 4)
    y = Linear(limits[0], limits[1], HEIGHT - 4, 4.0)
    array = floats(values)
    points = [y(float(value)) for value in array]
    body = [
        tag("path", d=line_path([x(float(index)) for index in range(len(points))], points), class_=f"line s-{look}")
    ]
    present = [index for index, value in enumerate(array) if math.isfinite(value)]
    if present:
        last = present[-1]
        body.append(tag("circle", cx=x(float(last)), cy=points[last], r=2.5, class_=f"dot f-{look}"))
    description = "One value for each tenth of the rows, on the same scale in every line of the table."
    return picture(ident, f"{name} by block", description, WIDTH, HEIGHT, *body)


def bars(values: Sequence[float | None], limits: tuple[float, float]) -> str:
    """Values as bars of text, a space where there is none.

    >>> bars([0.0, 0.5, None, 1.0], (0.0, 1.0))
    '▁▅ █'
    """
    low, high = limits
    return "".join(
        " "
        if value is None or not math.isfinite(value)
        else BARS[min(len(BARS) - 1, max(0, round((value - low) / (high - low) * (len(BARS) - 1))))]
        for value in values
    )
