"""Axes that every chart over time shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from homeostat.reports.charts.scale import HOUR, Linear, time_ticks
from homeostat.reports.charts.svg import Size, joined, tag, text_width

AXIS_HEIGHT = 46.0


def time_scale(domain: tuple[float, float], size: Size) -> Linear:
    """Seconds since 1970 to the plot's width."""
    return Linear(domain[0], domain[1], size.plot_left, size.plot_right)


def time_axis(scale: Linear, y: float, size: Size, title: str) -> Markup:
    """Ticks, their labels, the day or year below, and the axis title at the right end."""
    parts = [tag("path", d=f"M{scale.start:.1f} {y:.1f}H{scale.end:.1f}", class_="axis")]
    free_label = free_context = -1e9
    room = size.font * (6.0 if scale.high - scale.low < 3 * HOUR else 4.4)
    for tick in time_ticks(scale.low, scale.high, int((scale.end - scale.start) / room)):
        x = scale(tick.at)
        parts.append(tag("path", d=f"M{x:.1f} {y:.1f}v5", class_="axis"))
        half = text_width(tick.label, size.font) / 2
        if x - half > free_label:
            parts.append(tag("text", tick.label, x=x, y=y + 6 + size.font, class_="mid"))
            free_label = x + half + 4
        half = text_width(tick.context, size.font) / 2
        if tick.context and x - half > free_context:
            parts.append(tag("text", tick.context, x=x, y=y + 8 + 2 * size.font, class_="mid faint"))
            free_context = x + half + 6
    if size.is_wide:
        parts.append(tag("text", title, x=size.width, y=y + 6 + size.font, class_="end faint"))
    else:
        place = y + 10 + 3 * size.font
        parts.append(tag("text", title, x=scale.end, y=place, class_="end faint"))
    return joined(parts)


def axis_height(size: Size) -> float:
    """How much room the time axis takes."""
    return AXIS_HEIGHT if size.is_wide else AXIS_HEIGHT + 12


def value_axis(scale: Linear, places: Sequence[float], words: Callable[[float], str], size: Size) -> Markup:
    """Labels left of the plot and hairlines across it."""
    parts: list[Markup] = []
    for value in places:
        y = scale(value)
        parts.append(tag("path", d=f"M{size.plot_left:.1f} {y:.1f}H{size.plot_right:.1f}", class_="grid"))
        written = words(value)
        # A value that is wider than the margin reaches into the plot rather than out of the drawing.
        x = max(size.plot_left - 8, text_width(written, size.font))
        parts.append(tag("text", written, x=x, y=y + size.font * 0.35, class_="end"))
    return joined(parts)
