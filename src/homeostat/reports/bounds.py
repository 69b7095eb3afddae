"""Cuts a story to what a page can hold: whatever comes in, the report stays readable and under two megabytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from homeostat.reports.format import clipped, seconds
from homeostat.reports.story import DriftMap, Mark, Story, StrategyResult

Value = TypeVar("Value")

NAME = 80
WORDS = 400
MOST_MARKS = 1500
MOST_STRATEGIES = 24
MOST_SCORES = 6
MOST_FACTS = 6
MOST_ROWS = 100
MOST_FIGURES = 8
LEAST_WORDS = 24
MARK_LETTERS, TABLE_LETTERS = 90_000, 24_000
FIRST_KINDS = ("rollback", "promotion", "rejected", "retraining")


def bounded(story: Story) -> Story:
    """The story with long words cut, long lists shortened and text that can't be encoded replaced."""
    return replace(
        story,
        title=_words(story.title, NAME * 2),
        subtitle=_words(story.subtitle, WORDS),
        headline=_words(story.headline, WORDS),
        facts=tuple((_words(name, NAME), _words(value, NAME)) for name, value in story.facts[:MOST_FACTS]),
        metric=_words(story.metric, NAME),
        target=_words(story.target, NAME),
        strategies=tuple(_strategy(strategy) for strategy in story.strategies[:MOST_STRATEGIES]),
        marks=tuple(_marks(kept_marks(story.marks))),
        drift=_drift(story.drift),
        evidence=tuple(
            replace(
                track,
                title=_words(track.title, _fair(len(story.evidence), NAME)),
                outcome=_words(track.outcome, _fair(len(story.evidence), NAME)),
                sentence=_words(track.sentence, _fair(len(story.evidence), WORDS)),
            )
            for track in story.evidence
        ),
        versions=tuple(
            replace(
                version,
                description=_words(version.description, _fair(len(story.versions), NAME * 2)),
                metrics=_few(version.metrics, 3, _fair(len(story.versions), NAME)),
            )
            for version in story.versions
        ),
        windows=tuple(
            replace(
                window,
                name=_words(window.name, NAME),
                figures={
                    name: _words(text, NAME // 2)
                    for name, text in _few(window.figures, MOST_FIGURES, NAME // 2).items()
                },
            )
            for window in story.windows[: MOST_ROWS // 2]
        ),
        findings=tuple(
            (_words(name, NAME), _words(words, _fair(len(story.findings), WORDS)))
            for name, words in story.findings[:MOST_ROWS]
        ),
        made_by=_words(story.made_by, NAME),
    )


def kept_marks(marks: tuple[Mark, ...]) -> list[Mark]:
    """The decisions in order of time; past 1,500 of them the less important and the older ones are left out."""
    ordered = sorted(marks, key=lambda mark: seconds(mark.at))
    if len(ordered) <= MOST_MARKS:
        return ordered
    rank = {kind: place for place, kind in enumerate(FIRST_KINDS)}
    order = sorted(range(len(ordered)), key=lambda index: (rank.get(ordered[index].kind, len(rank)), -index))
    return [ordered[index] for index in sorted(order[:MOST_MARKS])]


def _strategy(strategy: StrategyResult) -> StrategyResult:
    return replace(
        strategy,
        name=_words(strategy.name, NAME),
        scores=_few(strategy.scores, MOST_SCORES, NAME // 2),
        by_block=strategy.by_block[:20],
    )


def _marks(marks: list[Mark]) -> list[Mark]:
    most = _fair(len(marks), WORDS, MARK_LETTERS)
    return [replace(mark, kind=_words(mark.kind, min(most, NAME)), reason=_words(mark.reason, most)) for mark in marks]


def _fair(count: int, most: int, letters: int = TABLE_LETTERS) -> int:
    """How long each of `count` texts may be, so that all of them stay within so many letters."""
    return max(LEAST_WORDS, min(most, letters // max(1, count)))


def _drift(drift: DriftMap | None) -> DriftMap | None:
    if drift is None or not drift.features or not drift.times:
        return None
    return replace(drift, features=tuple(_words(name, NAME * 2) for name in drift.features))


def _few(items: dict[str, Value], most: int, letters: int) -> dict[str, Value]:
    return {_words(name, letters): items[name] for name in list(items)[:most]}


def _words(text: str, most: int) -> str:
    """Words that can be encoded, without control characters."""
    sound = clipped(text, most).encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter >= " " or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in sound)
