"""The page holds what the story says, whatever is in it, and nothing that runs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from types import ModuleType

import pytest

from homeostat.errors import InvalidInput
from homeostat.reports.bounds import bounded
from homeostat.reports.html import render_story
from homeostat.reports.story import DriftMap, Mark, Story, StrategyResult, Traffic
from homeostat.reports.tables import mark_key, mark_rows

NAMES = ("year", "price", "small", "quiet", "lone", "crowded")
VOID = {"meta", "link", "br", "img", "input"}


class Reader(HTMLParser):
    """Collects elements, ids, words, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def pages(stories: dict[str, Story]) -> dict[str, str]:
    return {name: render_story(story) for name, story in stories.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_well_formed_small_and_needs_nothing_else(pages: dict[str, str], name: str) -> None:
    reader = Reader(pages[name])
    assert reader.open == []
    ids = [value for key, value in reader.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = [value for key, value in reader.attributes if key in ("src", "href", "srcset", "action", "data")]
    assert links == ["data:,"]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", pages[name])
    assert "@import" not in pages[name]
    assert len(pages[name].encode()) < (400_000 if name != "crowded" else 1_000_000)
    assert "nan" not in {word for key, value in reader.attributes if key == "d" for word in (value or "").split()}


def test_the_story_is_told_in_order(pages: dict[str, str], stories: dict[str, Story]) -> None:
    text = Reader(pages["year"]).text
    story = stories["year"]
    wanted = [
        story.headline,
        "Two shifts in the data",
        "Retrainings",
        "Quality over time",
        "v5 rolled back",
        "All 15 decisions",
        "Strategies compared",
        "Stretches of the data",
        "Drift by feature",
        "Traffic",
        "Evidence of the rollouts",
        "Versions",
        "Found in the data",
        "The times are simulated.",
    ]
    body = text[text.index(story.headline) :]
    places = [body.index(words) for words in wanted]
    assert places == sorted(places)


def test_every_drawing_says_what_it_shows(pages: dict[str, str]) -> None:
    drawings = re.findall(r"<svg.*?</svg>", pages["year"], re.S)
    assert len(drawings) == 4 * 2 + 4 + 5
    for drawing in drawings:
        title, description = re.search(r'aria-labelledby="(\S+) (\S+)"', drawing).groups()
        assert re.search(rf'<title id="{title}">[^<]+</title><desc id="{description}">[^<]+</desc>', drawing)


def test_hostile_words_stay_words(pages: dict[str, str], samples: ModuleType) -> None:
    reader = Reader(pages["crowded"])
    assert "img" not in reader.tags
    assert not [key for key, _ in reader.attributes if key.startswith("on")]
    assert reader.tags.count("script") == 4
    assert samples.HOSTILE in reader.text, "shown as it is"
    assert "{{7*7}}" in reader.text
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', pages["crowded"], re.S)
    assert len(blocks) == 3
    rows = json.loads(blocks[1])["rows"]
    assert all("<" not in block for block in blocks)
    assert len(rows) == 25


@pytest.mark.parametrize("letters", ["\x00\x07\x1b[31m", "\ud800", "\u2028", "&lt;b&gt;", "' onload='x"])
def test_odd_letters_are_harmless(samples: ModuleType, letters: str) -> None:
    story = samples.year_story(points=30)
    odd = replace(
        story, headline=letters, title=letters, target=letters, strategies=(replace(story.strategies[0], name=letters),)
    )
    odd = replace(odd, drift=replace(story.drift, features=(letters, *story.drift.features[1:])))
    page = render_story(odd)
    page.encode("utf-8")
    assert "\x00" not in page
    assert not [key for key, _ in Reader(page).attributes if key.startswith("on")]


def test_an_endless_story_stays_under_two_megabytes(samples: ModuleType) -> None:
    story = samples.crowded_story(marks=6000, features=400, versions=300, points=3000)
    long = "<&>'\"" * 4000
    many = {f"{long}{n}": 0.5 for n in range(40)}
    names = tuple(f"{long}{index}" for index in range(400))
    huge = replace(
        story,
        marks=tuple(replace(m, reason=long, kind=m.kind if place % 7 else long) for place, m in enumerate(story.marks)),
        strategies=tuple(replace(story.strategies[place % 5], name=names[place], scores=many) for place in range(60)),
        versions=tuple(replace(version, description=long, metrics=many) for version in story.versions),
        evidence=tuple(replace(track, sentence=long, title=long, outcome=long) for track in story.evidence * 30),
        findings=((long, long),) * 900,
        windows=tuple(replace(w, name=long, figures=dict.fromkeys(names[:30], long)) for w in story.windows * 100),
        facts=((long, long),) * 50,
        headline=long,
        subtitle=long,
        drift=replace(story.drift, features=names),
    )
    page = render_story(huge)
    assert len(page.encode()) < 2_000_000
    assert "The 4500 least important ones are left out here." in Reader(page).text


def test_missing_and_infinite_values_are_dashes(samples: ModuleType) -> None:
    story = samples.year_story(points=20)
    broken = StrategyResult(
        "healed", {"accuracy": math.nan}, (math.inf, None), (math.nan, math.inf, None) * 6 + (0.5, None)
    )
    empty = StrategyResult("static", {}, (), (None,) * 20)
    page = render_story(replace(story, strategies=(broken, empty)))
    text = Reader(page).text
    assert "nan" not in text.lower().replace("finance", "")
    assert "inf%" not in text.replace(" ", "")
    assert "–" in text


def test_a_story_without_anything_says_so(pages: dict[str, str]) -> None:
    text = Reader(pages["quiet"]).text
    assert "There are no values over time to draw" in text
    for heading in ("Drift by feature", "Traffic", "Evidence", "Stretches"):
        assert f">{heading}" not in pages["quiet"]


def test_lower_is_better_for_errors(pages: dict[str, str]) -> None:
    assert "lower is better" in Reader(pages["price"]).text
    table = pages["price"].split('<table class="strategies">')[1].split("</table>")[0]
    healed, static = table.split("<tr>")[2:4]
    assert 'class="num best"' in healed
    assert 'class="num best"' not in static


def test_many_decisions_are_listed_whole_and_summed_up(stories: dict[str, Story]) -> None:
    story = stories["crowded"]
    rows = mark_rows(story.marks, 1e9)
    key = mark_key(rows)
    assert len(rows) == 320
    assert [row.when for row in rows] == [row.when for row in mark_rows(tuple(reversed(story.marks)), 1e9)]
    assert len(key) == 12
    assert {row.kind for row in key} == {"rollback"}
    assert [row.number for row in key] == sorted(row.number for row in key)


def test_the_important_decisions_survive_the_cut(samples: ModuleType) -> None:
    at = samples.START
    marks = tuple(Mark(at + timedelta(minutes=index), "step", "", None) for index in range(5000))
    marks = (Mark(at, "rollback", "the one", 3), *marks)
    kept = bounded(replace(samples.quiet_story(), marks=marks)).marks
    assert len(kept) == 1500
    assert kept[0].kind == "rollback"


MISALIGNED = {
    "series": lambda story: replace(story, times=story.times[1:]),
    "drift": lambda story: replace(story.drift, features=story.drift.features[1:], drifted=None),
    "flags": lambda story: DriftMap(("a",), story.times[:2], ((0.1, 0.2),), 0.1, ((True,),)),
    "traffic": lambda story: Traffic(story.times, {1: (1.0,)}),
    "evidence": lambda story: replace(story.evidence[0], pairs=(1,)),
}


@pytest.mark.parametrize("which", list(MISALIGNED))
def test_misaligned_series_are_refused(stories: dict[str, Story], which: str) -> None:
    with pytest.raises(InvalidInput, match="values where"):
        MISALIGNED[which](stories["year"])


def test_equal_stories_give_equal_pages(stories: dict[str, Story], pages: dict[str, str]) -> None:
    assert render_story(stories["year"]) == pages["year"]
