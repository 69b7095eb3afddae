"""The life of each version: its stages as bars on lanes."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from homeostat.reports.charts.axes import axis_height, time_axis, time_scale
from homeostat.reports.charts.svg import Size, joined, label, picture, tag, text_width
from homeostat.reports.format import counted, seconds
from homeostat.reports.story import VersionLine

STAGES = ("draft", "testing", "staging", "production", "archived")
MOST_LANES = 30
LANE = 20.0


def shown_versions(versions: Sequence[VersionLine]) -> list[VersionLine]:
    """At most thirty versions: those that reached production go first, then the newest; in order of their numbers."""
    ranked = sorted(
        versions, key=lambda version: (not any(stage == "production" for stage, _, _ in version.spans), -version.number)
    )
    return sorted(ranked[:MOST_LANES], key=lambda version: version.number)


def stages_chart(versions: Sequence[VersionLine], size: Size, domain: tuple[float, float], axis_title: str) -> Markup:
    """The drawing of versions and their stages, `size` wide."""
    lanes = shown_versions(versions)
    top = 36.0 if size.is_wide else 56.0
    bottom = top + LANE * len(lanes) + 4
    x = time_scale(domain, size)
    body = [_legend(size)]
    for row, version in enumerate(lanes):
        middle = top + LANE * (row + 0.5)
        words = f"v{version.number}"
        body.append(tag("path", d=f"M{x.start:.1f} {middle:.1f}H{x.end:.1f}", class_="grid"))
        body.append(tag("text", words, x=size.plot_left - 8, y=middle + size.font * 0.35, class_="end ink"))
        for stage, begin, end in version.spans:
            left = min(max(x(seconds(begin)), x.start), x.end)
            right = min(max(x(seconds(end)), x.start), x.end)
            if seconds(end) < x.low or seconds(begin) > x.high:
                continue
            body.append(_bar(stage, left, max(right - left, 1.5), middle))
        if version.description:
            room = size.width - size.plot_right - 10
            place = middle + size.font * 0.35
            body.append(
                label(version.description, size.plot_right + 10, place, size=size.font, width=room, class_="faint")
            )
    body.append(time_axis(x, bottom, size, axis_title))
    return picture(
        f"stages-{size.name}",
        "Versions and their stages over time",
        f"{counted(len(lanes), 'version')}, one lane each, with its stages from draft to archived as bars. "
        "The table below holds the same.",
        size.width,
        bottom + axis_height(size),
        *body,
    )


def _bar(stage: str, left: float, width: float, middle: float) -> Markup:
    known = stage if stage in STAGES else "testing"
    height = 12.0 if known == "production" else 3.0 if known == "archived" else 8.0
    return tag("rect", x=left, y=middle - height / 2, width=width, height=height, rx=1.5, class_=f"stage g-{known}")


def _legend(size: Size) -> Markup:
    parts = [tag("text", "Stage of each version", x=0.0, y=size.font, class_="strong")]
    left, top = (size.plot_left + 120, size.font * 0.65) if size.is_wide else (0.0, 34.0)
    for stage in STAGES:
        parts.append(_bar(stage, left, 12.0, top))
        parts.append(tag("text", stage, x=left + 16, y=top + size.font * 0.35, class_="faint"))
        left += text_width(stage, size.font) + (34 if size.is_wide else 21)
    return joined(parts)
