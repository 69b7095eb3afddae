"""The tables of a report, as rows of words: what the drawings show, for those who read rather than look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.heat import MOST_FEATURES
from homeostat.reports.charts.quality import looks, majors
from homeostat.reports.charts.spark import spark_range, sparkline
from homeostat.reports.charts.svg import floats
from homeostat.reports.format import (
    LOWER_IS_BETTER,
    counted,
    is_finite,
    kind_words,
    metric_name,
    metric_value,
    number,
    seconds,
    when,
)
from homeostat.reports.story import DriftMap, EvidenceTrack, Mark, Story, StrategyResult, VersionLine

MOST_VERSIONS = 200
MOST_TRACKS = 200
KEY_LENGTH = 12
MOST_COMPARED = 8


@dataclass(frozen=True)
class Cell:
    """Words of a table's cell; `best` where it is the best of its row or column."""

    words: str | Markup
    best: bool = False


@dataclass(frozen=True)
class StrategyRow:
    """One strategy: its look, its scores and the drawing of its blocks."""

    name: str
    look: str
    scores: tuple[Cell, ...]
    spark: Markup


@dataclass(frozen=True)
class MarkRow:
    """One decision; `number` is the one that the plot shows, if any."""

    number: int | None
    when: str
    kind: str
    what: str
    version: str
    reason: str


def score_names(story: Story) -> list[str]:
    """The scores that any strategy has, the story's metric first."""
    names = list(dict.fromkeys(name for strategy in story.strategies for name in strategy.scores))
    return sorted(names, key=lambda name: name != story.metric)[:4]


def best(values: Sequence[float | None], metric: str) -> float | None:
    """The best of several values of a metric; none where there is nothing to compare."""
    present = [float(value) for value in values if value is not None and is_finite(value)]
    if len(present) < 2:
        return None
    return min(present) if metric in LOWER_IS_BETTER else max(present)


def strategy_rows(story: Story) -> list[StrategyRow]:
    """The strategies with their scores, the best of each marked."""
    names = score_names(story)
    tops = {name: best([strategy.scores.get(name) for strategy in story.strategies], name) for name in names}
    style = looks(story.strategies)
    limits = spark_range([strategy.by_block for strategy in story.strategies])
    return [
        StrategyRow(
            strategy.name,
            style[strategy.name],
            tuple(_cell(strategy.scores.get(name), name, tops[name]) for name in names),
            sparkline(strategy.by_block, limits, f"spark-{index}", strategy.name, style[strategy.name]),
        )
        for index, strategy in enumerate(story.strategies)
    ]


def _cell(value: float | None, metric: str, top: float | None) -> Cell:
    return Cell(metric_value(metric, value), top is not None and value == top)


def block_rows(story: Story) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Strategy names, and for each block of rows its name and values."""
    compared: list[StrategyResult] = list(story.strategies[:MOST_COMPARED])
    blocks = max((len(strategy.by_block) for strategy in compared), default=0)
    rows = []
    for block in range(blocks):
        values = [strategy.by_block[block] if block < len(strategy.by_block) else None for strategy in compared]
        top = best(values, story.metric)
        rows.append((_block_name(block, blocks), [_cell(value, story.metric, top) for value in values]))
    return [strategy.name for strategy in compared], rows


def _block_name(block: int, blocks: int) -> str:
    return f"{round(100 * block / blocks)}–{round(100 * (block + 1) / blocks)} %"


def mark_rows(marks: Sequence[Mark], span: float) -> list[MarkRow]:
    """Every decision in order of time, promotions and rollbacks with their numbers."""
    numbers = {id(mark): place for place, mark in enumerate(majors(marks), 1)}
    return [
        MarkRow(
            numbers.get(id(mark)),
            when(seconds(mark.at), span),
            mark.kind,
            kind_words(mark.kind),
            f"v{mark.version}" if mark.version is not None else "",
            mark.reason,
        )
        for mark in sorted(marks, key=lambda mark: seconds(mark.at))
    ]


def mark_key(rows: Sequence[MarkRow]) -> list[MarkRow]:
    """The numbered decisions to list by the plot: all, or of many the rollbacks first, then the newest."""
    numbered = [row for row in rows if row.number is not None]
    ranked = sorted(numbered, key=lambda row: (row.kind != "rollback", -(row.number or 0)))
    return sorted(ranked[:KEY_LENGTH], key=lambda row: row.number or 0)


def drift_rows(drift: DriftMap, span: float) -> list[tuple[str, str, str, str]]:
    """Feature, its largest effect, when that was, and when it first passed the threshold; the largest first."""
    places = [seconds(moment) for moment in drift.times]
    rows = []
    for feature, row in zip(drift.features, drift.values, strict=True):
        values = floats(row)
        if not np.isfinite(values).any():
            rows.append((-1.0, feature, "–", "", "never"))
            continue
        peak = int(np.nanargmax(values))
        over = np.flatnonzero(np.nan_to_num(values) >= drift.threshold)
        first = when(min(places[int(index)] for index in over), span) if len(over) else "never"
        at = when(places[peak], span)
        rows.append((float(values[peak]), feature, number(float(values[peak]), 2), at, first))
    rows.sort(key=lambda row: -row[0])
    return [(feature, value, at, first) for _, feature, value, at, first in rows[:MOST_FEATURES]]


def evidence_rows(tracks: Sequence[EvidenceTrack], span: float) -> list[tuple[str, str, str, str, str]]:
    """Rollout, when it ended, labelled pairs, outcome and sentence."""
    return [
        (
            track.title,
            when(seconds(track.times[-1]), span) if track.times else "–",
            f"{max(track.pairs):,}" if track.pairs else "0",
            track.outcome,
            track.sentence,
        )
        for track in tracks[-MOST_TRACKS:]
    ]


def version_rows(versions: Sequence[VersionLine], span: float) -> list[tuple[str, str, str, str, str, str]]:
    """Number, when made, rows, metrics, stages and description of each version."""
    return [
        (
            f"v{version.number}",
            when(seconds(version.created_at), span),
            f"{version.rows:,}",
            ", ".join(f"{metric_name(name)} {metric_value(name, value)}" for name, value in version.metrics.items()),
            _stages(version, span),
            version.description,
        )
        for version in sorted(versions, key=lambda version: version.number)[-MOST_VERSIONS:]
    ]


def _stages(version: VersionLine, span: float) -> str:
    served = [(begin, end) for stage, begin, end in version.spans if stage == "production"]
    if not served:
        return "never"
    words = [f"{when(seconds(begin), span)} to {when(seconds(end), span)}" for begin, end in served[:3]]
    more = len(served) - len(words)
    return "; ".join(words) + (f"; and {counted(more, 'more time', 'more times')}" if more else "")


def series_rows(story: Story, span: float, most: int = 25) -> list[tuple[str, list[str]]]:
    """The quality plot as a table of at most `most` times."""
    compared = list(story.strategies[:MOST_COMPARED])
    order = sorted(range(len(story.times)), key=lambda index: seconds(story.times[index]))
    kept = sorted({round(index * (len(order) - 1) / max(1, most - 1)) for index in range(min(most, len(order)))})
    return [
        (
            when(seconds(story.times[order[index]]), span),
            [
                metric_value(story.metric, strategy.series[order[index]] if strategy.series else None)
                for strategy in compared
            ],
        )
        for index in kept
    ]
