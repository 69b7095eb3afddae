"""The page of an experiment: whole, escaped, in need of nothing else, and true to its looks."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest

from homeostat.reports.charts.courses import Course, Line, course_chart, value_range
from homeostat.reports.charts.svg import WIDE
from homeostat.reports.experiments import ExperimentStory, Look, Marked
from homeostat.stats.experiments import MetricPlan, Plan, Summary, Units, judge_summary, readings

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
BEGAN = datetime(2024, 3, 1, tzinfo=UTC)
VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def story() -> ExperimentStory:
    rng = np.random.default_rng(0)
    n = 6000
    arm = rng.integers(0, 2, n)
    right = (rng.random(n) < np.where(arm == 1, 0.92, 0.85)).astype(float)
    metrics = (
        MetricPlan("accuracy", bounds=(0, 1)),
        MetricPlan("errors", "guardrail", 0.02, lower_is_better=True, bounds=(0, 1)),
        MetricPlan("latency_ms", "deterioration", lower_is_better=True),
    )
    plan = Plan(("v3", "v4"), ((0.5, 0.5),), metrics)
    values = {"accuracy": right, "errors": (rng.random(n) < 0.01).astype(float), "latency_ms": rng.gamma(4, 5, n)}
    units = Units(plan.arms, arm, np.zeros(n, int), np.arange(n), values, rng.integers(0, 2, n))
    looks, summary = [], None
    for start in range(0, n, 200):
        summary = Summary.of(units.take(slice(start, start + 200)), plan, after=summary)
        judged = judge_summary(summary, plan)
        looks.append(Look.of(BEGAN + timedelta(hours=start / 100), judged))
    decisions = (Marked(BEGAN, "started", "50 % each"), Marked(looks[-1].at, "v4 wins", judged.reasons[0]))
    rows = readings(summary, plan, units_a_day=2400, by_segment=True)
    return ExperimentStory(
        "fraud-v4", "fraud", "decided", plan, tuple(looks), judged, decisions, rows, ("card", "wire")
    )


def test_the_page_is_whole_and_fetches_nothing(story, tmp_path):
    page = story.save_html(tmp_path / "report.html").read_text(encoding="utf-8")
    found = Reader(page)
    assert not found.open
    assert "script" not in found.tags
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "url(" not in page
    assert len(page) < 400_000
    for words in ("v4 wins", "The difference over time", "not worse", "Can the data be trusted?", "card", "wire"):
        assert words in found.text


def test_every_decision_is_marked_in_every_drawing(story):
    page = story.to_html()
    # Three differences, three levels and the traffic, each for screens and for phones.
    assert page.count("<svg xmlns") == 14
    assert page.count('class="mark m-promotion"') == 14 * len(story.decisions)


def test_looks_are_the_same_from_judgements_and_from_what_they_wrote(story):
    written = json.loads(json.dumps(story.latest.to_dict(), allow_nan=False))
    assert Look.of(BEGAN, story.latest) == Look.of(BEGAN, written) == replace(story.looks[-1], at=BEGAN)
    first = story.looks[0].estimates[2]
    assert first.interval == (-math.inf, math.inf)


def test_words_from_outside_are_escaped(story):
    plan = Plan(("v3", HOSTILE), story.plan.weights, (MetricPlan(HOSTILE, bounds=(0, 1)),))
    arm = np.repeat([0, 1], 500)
    units = Units(plan.arms, arm, np.zeros(1000, int), np.arange(1000), {HOSTILE: arm.astype(float)})
    judged = judge_summary(Summary.of(units, plan), plan)
    looks = (Look.of(BEGAN, judged), Look.of(BEGAN + timedelta(days=1), judged))
    hostile = ExperimentStory(
        HOSTILE, HOSTILE, HOSTILE, plan, looks, judged, (Marked(BEGAN, HOSTILE, HOSTILE, True),), (), (), HOSTILE
    )
    page = hostile.to_html()
    assert "<script" not in page
    assert "<img" not in page
    assert not Reader(page).open


def test_an_experiment_without_units_has_a_page(story):
    empty = ExperimentStory("new", "fraud", "draft", story.plan, ())
    found = Reader(empty.to_html())
    assert "No unit has been seen yet." in found.text
    assert "Nothing has been decided." in found.text


def test_a_band_that_begins_unbounded_does_not_flatten_the_drawing():
    size = 100
    times = np.arange(size) * 3600.0
    low, high = -1.0 / np.arange(1, size + 1), 1.0 / np.arange(1, size + 1)
    low[:20], high[:20] = -np.inf, np.inf
    course = Course("x", "x", "x", times, (Line("x", "healed", np.zeros(size)),), str, (low, high), ((0.0, ""),))
    bottom, top = value_range(course)
    assert -0.05 < bottom < 0 < top < 0.05
    drawn = str(course_chart(course, WIDE, (0.0, times[-1]), "UTC"))
    assert "nan" not in drawn
    assert "inf" not in drawn
