"""What a simulation leaves behind: tables as Markdown, plots as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from homeostat.reports.charts.scale import padded, ticks

COLOURS = ("#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d", "#525252", "#0369a1", "#65a30d")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 340, 64, 330, 40, 52


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers under their headings; a float is shown with four significant digits."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"| {' | '.join(self.columns)} |", "|" + " --- |" * len(self.columns)]
        lines += [f"| {' | '.join(_shown(cell) for cell in row)} |" for row in self.rows]
        return "\n".join(([f"{self.caption}\n"] if self.caption else []) + lines)


@dataclass(frozen=True)
class Plot:
    """Lines over a common axis; `levels` are horizontal lines to compare with. `log_x` spaces x by its logarithm."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False

    def svg(self) -> str:
        """The plot as a picture that needs nothing else."""
        points = {name: [(self._place(x), y) for x, y in zip(*both, strict=True)] for name, both in self.series.items()}
        xs = [x for line in points.values() for x, _ in line]
        ys = [y for line in points.values() for _, y in line if math.isfinite(y)] + list(self.levels.values())
        x_low, x_high = min(xs), max(xs)
        y_low, y_high = padded([*ys, 0.0])

        def across(x: float) -> float:
            return LEFT + (x - x_low) / ((x_high - x_low) or 1) * (WIDTH - LEFT - RIGHT)

        def up(y: float) -> float:
            return HEIGHT - BOTTOM - (y - y_low) / ((y_high - y_low) or 1) * (HEIGHT - TOP - BOTTOM)

        parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
                f'aria-label="{escape(self.title)}" font-family="system-ui, sans-serif" font-size="12">'
            ),
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="22" font-size="14" font-weight="600">{escape(self.title)}</text>',
        ]
        for value in ticks(y_low, y_high):
            parts.append(f'<path d="M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in self._marks():
            place = across(self._place(value))
            parts.append(f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,g}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(self.x_label)}</text>')
        turned = f'transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle"'
        parts.append(f"<text {turned}>{escape(self.y_label)}</text>")
        for name, level in self.levels.items():
            parts.append(f'<path d="M{LEFT} {up(level):.1f}H{WIDTH - RIGHT}" stroke="#737373" stroke-dasharray="5 4"/>')
            parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{up(level) + 4:.1f}" fill="#525252">{escape(name)}</text>')
        for number, (name, line) in enumerate(points.items()):
            colour = COLOURS[number % len(COLOURS)]
            path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line if math.isfinite(y))
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            row = TOP + 8 + 18 * number
            parts.append(f'<path d="M{WIDTH - RIGHT + 60} {row}h18" stroke="{colour}" stroke-width="3"/>')
            parts.append(f'<text x="{WIDTH - RIGHT + 84}" y="{row + 4}">{escape(name)}</text>')
        return "".join([*parts, "</svg>\n"])

    def _place(self, x: float) -> float:
        return math.log10(x) if self.log_x else x

    def _marks(self) -> list[float]:
        given = sorted({x for both in self.series.values() for x in both[0]})
        if self.log_x or len(given) <= 8:
            return given if len(given) <= 10 else given[:: -(-len(given) // 8)]
        return list(ticks(given[0], given[-1]))


@dataclass(frozen=True)
class Section:
    """One simulation's part of the page of measured figures."""

    title: str
    words: str
    tables: Sequence[Table]
    plots: Sequence[Plot] = ()

    def markdown(self) -> str:
        """The section as Markdown; plots lie beside the page in images/."""
        parts = [f"## {self.title}", self.words, *(table.markdown() for table in self.tables)]
        parts += [f"![{plot.title}](../images/statistics/{plot.name}.svg)" for plot in self.plots]
        return "\n\n".join(parts) + "\n"


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell).replace("|", "\\|")
