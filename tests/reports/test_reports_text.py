"""The summary for the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from homeostat.reports.story import Story
from homeostat.reports.text import story_table


def printed(story: Story, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(story_table(story))
    return console.file.getvalue()


def test_the_summary_has_headline_facts_and_strategies(stories: dict[str, Story]) -> None:
    story = stories["year"]
    text = printed(story)
    assert story.headline in text
    assert all(value in text for _, value in story.facts)
    for strategy in story.strategies:
        (line,) = [line for line in text.splitlines() if line.startswith(strategy.name)]
        assert f"{100 * strategy.scores['accuracy']:.1f}" in line
        assert len(set(line) & set("▁▂▃▄▅▆▇█")) >= 1
    assert "Decisions: promoted 4" in text


@pytest.mark.parametrize("name", ["price", "small", "quiet", "lone", "crowded"])
@pytest.mark.parametrize("width", [60, 120])
def test_any_story_can_be_printed(stories: dict[str, Story], name: str, width: int) -> None:
    text = printed(stories[name], width)
    assert stories[name].headline[:20] in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= width


def test_words_are_not_read_as_markup(stories: dict[str, Story]) -> None:
    quiet = stories["quiet"]
    named = replace(quiet.strategies[0], name="[bold]s")
    story = replace(quiet, headline="[red]x[/] [link=a]b", strategies=(named,))
    text = printed(story)
    assert "[red]x[/] [link=a]b" in text
    assert "[bold]s" in text
