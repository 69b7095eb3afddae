"""Drawings put values where the axes say."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.reports.charts.evidence import evidence_chart, evidence_range, shown_tracks
from homeostat.reports.charts.heat import MOST_FEATURES, heat_chart, heat_edges, heat_grid
from homeostat.reports.charts.quality import axis_unit, badges, looks, majors, plotted, quality_chart, quality_domain
from homeostat.reports.charts.scale import Linear, ticks
from homeostat.reports.charts.stages import shown_versions, stages_chart
from homeostat.reports.charts.svg import PHONE, WIDE, Size, text_width
from homeostat.reports.charts.traffic import traffic_chart, traffic_grid
from homeostat.reports.html import story_domain
from homeostat.reports.story import DriftMap, Mark, Story, StrategyResult, Traffic

SVG = "{http://www.w3.org/2000/svg}"
START = datetime(2024, 1, 1, tzinfo=UTC)


def parsed(drawing: str) -> ET.Element:
    return ET.fromstring(drawing)  # noqa: S314 - our own drawing


def paths(drawing: str, look: str) -> list[str]:
    root = parsed(drawing)
    return [path.get("d", "") for path in root.iter(f"{SVG}path") if look in (path.get("class") or "").split()]


def texts(drawing: str) -> list[str]:
    return ["".join(node.itertext()) for node in parsed(drawing).iter(f"{SVG}text")]


def ramp(values: list[float | None], metric: str = "accuracy", marks: tuple[Mark, ...] = ()) -> Story:
    times = tuple(START + timedelta(days=index) for index in range(len(values)))
    result = StrategyResult("healed", {metric: 0.5}, (), tuple(values))
    return Story("t", "", "h", (), metric, "y", 1, times, (result,), None, marks, None, None, (), ())


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_drawn_point_reads_back_as_its_value(size) -> None:
    values = [0.7, 0.9, 0.8, None, 0.75]
    story = ramp(values)
    domain = story_domain(story)
    drawing = quality_chart(story, size, domain, "time")
    root = parsed(drawing)
    top, bottom = float(root.get("data-top")), float(root.get("data-bottom"))
    low, high = quality_domain(story)
    y = Linear(low, high, bottom, top)
    x = Linear(*domain, size.plot_left, size.plot_right)
    (line,) = paths(drawing, "line")
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", line)]
    present = [(index, value) for index, value in enumerate(values) if value is not None]
    assert len(points) == len(present)
    for (px, py), (index, value) in zip(points, present, strict=True):
        assert y.invert(py) == pytest.approx(value, abs=0.001)
        assert x.invert(px) == pytest.approx(story.times[index].timestamp(), abs=0.01 * 86_400)


def test_tick_labels_stand_at_their_values() -> None:
    story = ramp([0.7, 0.9])
    root = parsed(quality_chart(story, WIDE, story_domain(story), "time"))
    y = Linear(*quality_domain(story), float(root.get("data-bottom")), float(root.get("data-top")))
    labels = [node for node in root.iter(f"{SVG}text") if node.get("class") == "end" and "%" in (node.text or "")]
    assert len(labels) >= 3
    for node in labels:
        value = float(node.text.split("\N{NARROW NO-BREAK SPACE}")[0]) / 100
        assert y.invert(float(node.get("y")) - WIDE.font * 0.35) == pytest.approx(value, abs=0.002)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6, 1e12])
def test_errors_of_any_scale_have_distinct_short_ticks(scale: float) -> None:
    story = ramp([scale * value for value in (1.0, 2.5, 1.7)], "mae")
    low, high = quality_domain(story)
    assert low == 0.0
    places = ticks(low, high, 8)
    unit = axis_unit(places, share=False)
    words = [unit(place) for place in places]
    assert len(set(words)) == len(words)
    assert max(map(len, words)) <= 7
    drawing = quality_chart(story, PHONE, story_domain(story), "time")
    assert "lower is better" in texts(drawing)


@pytest.mark.parametrize("name", ["year", "price", "small"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_usual_strategies_are_named_in_full(stories: dict[str, Story], name: str, size: Size) -> None:
    drawing = quality_chart(stories[name], size, story_domain(stories[name]), "time")
    assert {strategy.name for strategy, _ in plotted(stories[name])} <= set(texts(drawing))


def test_every_promotion_and_rollback_is_marked_and_numbered() -> None:
    marks = tuple(
        Mark(START + timedelta(days=at), kind, "", 1)
        for at, kind in ((1, "promotion"), (3, "rollback"), (2, "promotion"), (2.5, "retraining"), (3.2, "alert"))
    )
    story = ramp([0.5] * 5, marks=marks)
    drawing = quality_chart(story, WIDE, story_domain(story), "time")
    x = Linear(*story_domain(story), WIDE.plot_left, WIDE.plot_right)
    for look, days in (("m-promotion", (1, 2)), ("m-rollback", (3,)), ("t-retraining", (2.5,)), ("t-alert", (3.2,))):
        (path,) = paths(drawing, look)
        found = [float(at) for at in re.findall(r"M([\d.]+) ", path)]
        expected = [x((START + timedelta(days=day)).timestamp()) for day in days]
        assert found == pytest.approx(expected, abs=0.06)
    assert [mark.at.day for mark in majors(marks)] == [2, 3, 4]
    assert {"1", "2", "3"} <= set(texts(drawing))


@given(st.lists(st.tuples(st.floats(0, 700), st.booleans()), max_size=400))
def test_badges_name_every_decision_once_without_overlap(drawn: list[tuple[float, bool]]) -> None:
    drawn.sort()
    found = badges([at for at, _ in drawn], [back for _, back in drawn], 0.0, 700.0, 12.0)
    named = [index for badge in found for index in range(badge.first, badge.last + 1)]
    assert named == list(range(1, len(drawn) + 1))
    for a, b in itertools.pairwise(found):
        assert a.x + text_width(a.words, 12.0) / 2 <= b.x - text_width(b.words, 12.0) / 2


def test_hundreds_of_decisions_stay_one_path_each(samples: ModuleType) -> None:
    story = samples.crowded_story(marks=900, features=5, versions=3)
    drawing = quality_chart(story, WIDE, story_domain(story), "time")
    assert len(paths(drawing, "mark")) == 2
    drops = {float(drop) for drop in re.findall(r"v([\d.]+)", "".join(paths(drawing, "mark")))}
    assert drops == {10.0}, "crowded markers are short, so that the lines stay visible"


def test_known_strategies_keep_their_look() -> None:
    named = [StrategyResult(name, {}, (), ()) for name in ("x", "healed", "static", "y")]
    assert looks(named) == {"x": "other1", "healed": "healed", "static": "static", "y": "other2"}


def drift(rows: int, columns: int, threshold: float = 0.1) -> DriftMap:
    rng = np.random.default_rng(2)
    grid = rng.random((rows, columns))
    times = tuple(START + timedelta(hours=index) for index in range(columns))
    names = tuple(f"f{index}" for index in range(rows))
    return DriftMap(names, times, tuple(tuple(map(float, row)) for row in grid), threshold)


def test_the_heat_map_keeps_the_largest_features_and_values() -> None:
    given_map = drift(200, 1000)
    grid = heat_grid(given_map, 90)
    assert len(grid.features) == MOST_FEATURES
    assert grid.left_out == 175
    assert grid.values.shape == (25, 90)
    largest = {name: max(row) for name, row in zip(given_map.features, given_map.values, strict=True)}
    assert list(grid.features) == sorted(largest, key=lambda name: -largest[name])[:25]
    assert [row.max() for row in grid.values] == [largest[name] for name in grid.features]


def test_heat_cells_get_the_level_of_their_value() -> None:
    times = tuple(START + timedelta(days=index) for index in range(4))
    given_map = DriftMap(("a",), times, ((0.01, 0.08, None, 0.9),), 0.1, ((False, False, False, True),))
    domain = (times[0].timestamp(), times[-1].timestamp())
    drawing = heat_chart(given_map, WIDE, domain, "time")
    counts = [sum(path.count("M") for path in paths(drawing, f"l{level}")) for level in range(6)]
    assert counts == [1, 1, 0, 0, 0, 1]
    assert sum(path.count("M") for path in paths(drawing, "dots")) == 1


@given(st.floats(0, 1, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False))
def test_heat_edges_ascend_and_hold_the_threshold(threshold: float, largest: float) -> None:
    edges = heat_edges(threshold, largest)
    assert len(edges) == 7
    assert edges[0] == 0.0
    assert all(a < b or math.isclose(a, b) for a, b in itertools.pairwise(edges))
    assert edges[-1] >= largest
    if 0 < threshold < largest:
        assert edges[2] == threshold


def test_traffic_adds_up_and_reads_back() -> None:
    times = tuple(START + timedelta(hours=index) for index in range(2000))
    first = tuple(1.0 if index < 1000 else 0.25 for index in range(2000))
    traffic = Traffic(times, {1: first, 2: tuple(1 - share for share in first)})
    _, shares, versions = traffic_grid(traffic)
    assert versions == [1, 2]
    assert shares.shape[1] <= 400
    assert shares.sum(axis=0) == pytest.approx(1.0)
    drawing = traffic_chart(traffic, WIDE, (times[0].timestamp(), times[-1].timestamp()), "time")
    (area,) = paths(drawing, "c0")
    heights = [float(value) for value in re.findall(r"V([\d.]+)", area)]
    assert heights == pytest.approx([180 - 150 * 0.25, 180], abs=0.2)
    assert "v2, 75\N{NARROW NO-BREAK SPACE}%" in texts(drawing)


def test_evidence_is_drawn_on_its_log_scale(stories: dict[str, Story]) -> None:
    track = stories["year"].evidence[0]
    limits = evidence_range([track])
    drawing = evidence_chart(track, limits, "e")
    y = Linear(*limits, 150.0, 26.0)
    (line,) = paths(drawing, "e-better")
    last = float(re.findall(r"L[\d.]+ ([\d.]+)", line)[-1])
    assert y.invert(last) == pytest.approx(track.log_better[-1], abs=0.02 * (limits[1] - limits[0]))
    assert {"better", "worse", "promote 100", "roll back 20"} <= set(texts(drawing))


def test_wild_evidence_keeps_the_thresholds_in_sight(stories: dict[str, Story]) -> None:
    track = replace(
        stories["year"].evidence[0],
        times=(START,) * 3,
        pairs=(1, 2, 3),
        log_better=(0.0, math.inf, 9e4),
        log_worse=(0.0, -math.inf, math.nan),
    )
    low, high = evidence_range([track])
    assert -8 < low < 0 < math.log(100) < high < 14
    assert "nan" not in evidence_chart(track, (low, high), "e").replace("McNemar", "")


def test_rolled_back_rollouts_are_drawn_first(stories: dict[str, Story]) -> None:
    base = stories["year"].evidence
    many = (*[replace(base[0], candidate=index) for index in range(9)], base[3])
    shown = shown_tracks(many)
    assert len(shown) == 6
    assert shown[-1].outcome == "rolled back"


def test_stages_are_bars_between_their_times(stories: dict[str, Story]) -> None:
    story = stories["year"]
    domain = story_domain(story)
    root = parsed(stages_chart(story.versions, WIDE, domain, "time"))
    x = Linear(*domain, WIDE.plot_left, WIDE.plot_right)
    bars = [node for node in root.iter(f"{SVG}rect") if node.get("class") == "stage g-production"][1:]
    _, begin, end = story.versions[0].spans[0]
    assert float(bars[0].get("x")) == pytest.approx(x(begin.timestamp()), abs=0.06)
    assert float(bars[0].get("width")) == pytest.approx(x(end.timestamp()) - x(begin.timestamp()), abs=0.11)


def test_versions_that_served_are_kept(stories: dict[str, Story]) -> None:
    base = stories["year"].versions
    many = (base[0], *[replace(base[2], number=index) for index in range(6, 80)])
    shown = shown_versions(many)
    assert len(shown) == 30
    assert [version.number for version in shown] == [1, *range(51, 80)]
