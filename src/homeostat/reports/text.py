"""A story as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeostat.reports.bounds import bounded
from homeostat.reports.charts.quality import kinds_in_words
from homeostat.reports.charts.spark import bars, spark_range
from homeostat.reports.format import LOWER_IS_BETTER, metric_name, metric_value
from homeostat.reports.story import Story
from homeostat.reports.tables import best, score_names

if TYPE_CHECKING:
    from rich.console import RenderableType


def story_table(story: Story) -> RenderableType:
    """The headline, the key figures and a table of the strategies, for `rich.print`.

    Nothing in the story's words is read as markup.
    """
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    shown = bounded(story)
    names = score_names(shown)
    tops = {name: best([strategy.scores.get(name) for strategy in shown.strategies], name) for name in names}
    limits = spark_range([strategy.by_block for strategy in shown.strategies])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("strategy", overflow="ellipsis", max_width=28, no_wrap=True)
    for name in names:
        way = " (lower is better)" if name in LOWER_IS_BETTER else ""
        table.add_column(metric_name(name) + way, justify="right", no_wrap=not way)
    table.add_column("over time", no_wrap=True)
    for strategy in shown.strategies:
        style = "bold" if strategy.name == "healed" else ""
        cells = [
            Text(
                metric_value(name, strategy.scores.get(name)),
                "bold green" if _top(strategy.scores, name, tops) else style,
            )
            for name in names
        ]
        table.add_row(Text(strategy.name, style), *cells, Text(bars(strategy.by_block, limits)))
    facts = Table.grid(padding=(0, 2))
    for name, value in shown.facts:
        facts.add_row(Text(name, "dim"), Text(value, "bold"))
    parts: list[RenderableType] = [Text(shown.headline, "bold"), Text(shown.subtitle, "dim")]
    if shown.facts:
        parts.append(Padding(facts, (1, 0, 0, 0)))
    parts.append(Padding(table, (1, 0, 0, 0)))
    if shown.marks:
        parts.append(Text(f"Decisions: {kinds_in_words(story.marks)}.", "dim"))
    return Group(*parts)


def _top(scores: dict[str, float], name: str, tops: dict[str, float | None]) -> bool:
    return tops[name] is not None and scores.get(name) == tops[name]
