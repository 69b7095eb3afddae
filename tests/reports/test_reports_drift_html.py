"""The drift report as a page and as a piece for notebooks: whole, escaped, small, and in need of nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from homeostat.reports.charts.densities import stepped_densities
from homeostat.reports.charts.distributions import distribution_drawing
from homeostat.reports.drift import DriftReport
from homeostat.reports.drift.html import SCOPE, scoped
from homeostat.stats.drift.comparison import compare_profiles
from homeostat.stats.profile import NumericSummary, Profile

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "link", "br", "img", "input"}


class Reader(HTMLParser):
    """Collects elements, attributes and words, and checks that every element is closed in order."""

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


def frame(rows: int, shift: float = 0.0, *, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gone = rng.normal(size=rows)
    gone[rng.random(rows) < 0.02 + 0.5 * shift] = np.nan
    names = np.array([HOSTILE, "web", "half", *(f"shop {place}" for place in range(17))], dtype=object)
    channel = rng.choice(names, rows)
    channel[: int(rows * 0.1 * shift)] = "brand new"
    return {
        "amount": rng.normal(4 * shift, 1, rows),
        "income": rng.lognormal(8 + shift, 2, rows),
        "cauchy": rng.standard_cauchy(rows) + shift,
        "mostly_zero": np.where(rng.random(rows) < 0.9, 0.0, rng.gamma(2, 20, rows)),
        "stars": rng.choice([1.0, 2.0, 3.0, 4.0, 5.0], rows) + shift,
        "is_new": rng.random(rows) < 0.3 + 0.4 * shift,
        "gone": gone,
        "never": np.full(rows, np.nan),
        "constant": np.full(rows, 7.0),
        "channel": channel,
        "body": np.array(
            [f"word {place:05d} thanks for it " * (1 + int(rng.integers(3) + 3 * shift)) for place in range(rows)],
            dtype=object,
        ),
        HOSTILE: rng.normal(shift, 1, rows),
        "\x1b[31m\u202e" + "n" * 300: rng.normal(size=rows),
    }


def compared(reference: dict[str, np.ndarray], current: dict[str, np.ndarray], **settings: str) -> DriftReport:
    before = Profile.of(reference)
    after = Profile.of(current, like=before)
    return DriftReport(compare_profiles(before, after, **settings), before, after)


def many(features: int, drifted: int, name: str = "") -> DriftReport:
    rng = np.random.default_rng(6)
    names = [f"{name}{place:03d}" for place in range(features)]
    return compared(
        {one: rng.normal(size=2_000) for one in names},
        {one: rng.normal(1.0 * (place < drifted), 1, 400) for place, one in enumerate(names)},
    )


@pytest.fixture(scope="module")
def reports() -> dict[str, DriftReport]:
    reference = frame(800)
    nothing = {"never": np.full(100, np.nan)}
    return {
        "harmed": compared(reference, frame(400, 1.0, seed=2)),
        "classic": compared(reference, frame(400, 1.0, seed=2), preset="classic"),
        "healthy": compared(reference, frame(400, seed=3)),
        "insufficient": compared(reference, frame(20, seed=4)),
        "one": compared(reference, frame(1, seed=4)),
        "no_data": compared(reference, frame(0)),
        "no_reference": compared(frame(0), frame(0)),
        "empty": compared({}, {}),
        "all_missing": compared(nothing, nothing),
    }


NAMES = ("harmed", "classic", "healthy", "insufficient", "one", "no_data", "no_reference", "empty", "all_missing")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["page", "fragment"])
def test_any_report_is_well_formed_escaped_and_needs_nothing_else(
    reports: dict[str, DriftReport], name: str, form: str
) -> None:
    text = reports[name].to_html() if form == "page" else reports[name]._repr_html_()
    reader = Reader(text)
    assert reader.open == []
    assert not {"script", "img", "object", "iframe"} & set(reader.tags)
    assert not any(key.startswith("on") for key, _ in reader.attributes)
    ids = [value for key, value in reader.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = [value for key, value in reader.attributes if key in ("src", "href", "srcset", "action", "data")]
    assert links == (["data:,"] if form == "page" else [])
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"@import|url\(|@font-face", text)
    assert not any(
        "nan" in (value or "") for key, value in reader.attributes if key in ("d", "x", "y", "width", "height")
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    text.encode("utf-8")
    assert len(text.encode()) < 200_000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("harmed", "The data drifted"),
        ("healthy", "No drift found"),
        ("insufficient", "Too few rows to tell"),
        ("no_data", "No rows to compare"),
    ],
)
def test_the_verdict_is_in_words_with_a_shape_and_advice(
    reports: dict[str, DriftReport], name: str, words: str
) -> None:
    report = reports[name]
    assert report.verdict == name
    page = report.to_html()
    text = Reader(page).text
    assert f'<div class="verdict v-{name}">' in page
    assert f"<h1>{words}</h1>" in page
    assert page.index('<svg class="sign"') < page.index("<h1>")
    assert name.replace("_", " ") in text
    assert text.index(words) < text.index("What to do") < text.index("Reference rows")
    assert report.advice in text
    assert (f"severity {report.severity}" in text) == (name == "harmed")


def test_signs_differ_by_shape(reports: dict[str, DriftReport]) -> None:
    signs = set()
    for name in ("harmed", "healthy", "insufficient", "no_data"):
        found = re.search(r'<svg class="sign".*?</svg>', reports[name].to_html())
        assert found is not None
        signs.add(found[0])
    assert len(signs) == 4


def test_every_feature_has_a_picture_or_says_why_not(reports: dict[str, DriftReport]) -> None:
    report = reports["harmed"]
    page = report.to_html()
    text = Reader(page).text
    assert page.count('<article class="feature') == len(report.features)
    assert page.count("<figure>") == len(report.features)
    assert "Neither side holds a value." in text
    assert "The scale is logarithmic." in text
    assert "Outside the picture, which leaves out the far tails" in text
    assert re.search(r"Cut off at the top: \S+\s% → \S+\s% of values near 0\.", text)
    assert "never seen before" in text
    assert "mean word length" in text
    for one in report.features.values():
        if one.drifted and "<" not in one.name and "\x1b" not in one.name:
            assert one.words in text
    assert "not judged" not in text


def test_drifted_features_come_first(reports: dict[str, DriftReport]) -> None:
    report = reports["harmed"]
    page = report.to_html()
    rows = re.findall(
        r'<tr( class="drifted")?><th scope="row"', page[page.index('id="features"') : page.index('id="others"')]
    )
    count = sum(one.drifted for one in report.features.values())
    assert [bool(row) for row in rows] == [True] * count + [False] * (len(report.features) - count)
    assert page.index('id="drifted"') < page.index('id="features"') < page.index('id="others"')


def test_what_too_few_rows_show_is_not_judged(reports: dict[str, DriftReport]) -> None:
    page = reports["insufficient"].to_html()
    assert page.count("not judged") == 1 + 2 * len(reports["insufficient"].features)
    assert 'class="quiet">none' not in page


def test_lost_and_added_columns_and_further_results_are_shown_escaped(reports: dict[str, DriftReport]) -> None:
    result = SimpleNamespace(estimate=0.97, p=0.0004, sentence=f"Apart: {HOSTILE}")
    report = replace(
        reports["harmed"],
        lost={HOSTILE: f"lost {HOSTILE}"},
        added=("new_one", HOSTILE, "half\ud800"),
        together={f"joint{HOSTILE}": result},
        methods={"amount": {"wasserstein": result}},
    )
    for text in (report.to_html(), report._repr_html_()):
        reader = Reader(text)
        text.encode("utf-8")
        assert reader.open == []
        assert not {"script", "img"} & set(reader.tags)
        assert f"not compared: lost {HOSTILE}" in reader.text
        assert "new_one" in reader.text
        assert f"Apart: {HOSTILE}" in reader.text
    assert "wasserstein 0.97 0.0004" in Reader(report.to_html()).text.replace(
        "wasserstein0.970.0004", "wasserstein 0.97 0.0004"
    )


def test_a_long_name_is_cut_and_kept_as_a_tooltip(reports: dict[str, DriftReport]) -> None:
    page = reports["harmed"].to_html()
    assert "n" * 61 not in Reader(page).text
    assert re.search(r'title="[^"]*n{100}', page)


def test_200_features_draw_the_drifted_and_20_others_below_a_megabyte() -> None:
    page = many(200, 30).to_html()
    assert page.count('<article class="feature') == 50
    assert page.count('<th scope="row"') == 200
    assert len(page.encode()) < 1_000_000
    assert "The 20 of 170 that lie nearest to drifting" in page


def test_hostile_names_of_many_drifted_features_stay_below_a_megabyte() -> None:
    page = many(400, 400, "<&\"'>" * 40).to_html()
    assert len(page.encode()) < 1_000_000
    drawn = page.count('<article class="feature')
    assert 20 < drawn < 400
    assert f"{400 - drawn} more drifted features are in the table below." in page
    assert "200 more features, 200 of them drifted, are left out here" in page


def test_a_fragment_is_compact_and_its_style_leaves_its_surroundings_alone() -> None:
    fragment = many(60, 12)._repr_html_()
    assert "<html" not in fragment
    assert fragment.count('<article class="feature') == 8
    assert fragment.count('<th scope="row"') == 20
    assert "4 more features drifted" in fragment
    style = fragment[fragment.index("<style>") + 7 : fragment.index("</style>")]
    assert style.count("{") == style.count("}")
    style = re.sub(r":is\([^)]*\)", "", style)
    for selectors in re.findall(r"([^{}@]+)\{[^{}]*\}", style):
        assert all(one.strip().startswith(f".{SCOPE}") for one in selectors.split(","))
    assert "prefers-color-scheme: dark" in style


def test_scoping_keeps_media_and_drops_what_is_not_used() -> None:
    style = ":root { --a: 1; } @media (max-width: 9px) { .a, .gone { x: y; } } #tip { z: 1; } p { q: r; }"
    assert scoped(style, "s", '<p class="a">') == (
        ".s { --a: 1; }\n@media (max-width: 9px) {\n.s .a { x: y; }\n}\n.s p { q: r; }"
    )


def summaries(before: np.ndarray, after: np.ndarray, *, sample: int = 1_000) -> tuple[tuple, tuple]:
    reference = Profile.of({"x": before}, sample=sample)
    current = Profile.of({"x": after}, like=reference, sample=sample)
    samples = tuple(one.sample.columns["x"] if sample else None for one in (reference, current))
    return (reference.features["x"], current.features["x"]), samples


def test_steps_hold_the_shares_of_the_values() -> None:
    rng = np.random.default_rng(7)
    before, after = rng.normal(size=50_000), rng.normal(1, 1, 20_000)
    sides, samples = summaries(before, after)
    found = stepped_densities(sides, samples)
    assert found is not None
    assert found.spikes == ()
    for row, values in enumerate((before, after)):
        counted = np.histogram(values, found.grid)[0] / len(values)
        # Values lie unevenly within the outer bins, which hold 1/80 each; elsewhere evenness is near the truth.
        assert np.abs(counted - found.shares[row]).max() < 0.012
        assert found.outside[row] == pytest.approx(1 - counted.sum(), abs=0.01)


def test_the_sample_tells_how_values_lie_beyond_the_references_range() -> None:
    rng = np.random.default_rng(8)
    after = rng.normal(100, 1, 5_000)
    after[0] = 1e9
    sides, samples = summaries(rng.normal(size=5_000), after)
    found = stepped_densities(sides, samples)
    assert found is not None
    assert found.grid[-1] < 1e5 or found.outside[1] > 0
    within = stepped_densities(*summaries(rng.normal(size=5_000), rng.normal(100, 1, 5_000)))
    assert within is not None
    middle = (within.grid[:-1] + within.grid[1:]) / 2
    assert (middle * within.shares[1]).sum() == pytest.approx(100, abs=1)
    assert within.shares[1][(middle > 10) & (middle < 90)].sum() < 0.01


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.array([1e308, -1e308] * 60), np.array([-1e308, 1e308] * 20)),
        (np.linspace(-1, 1, 300) * 1.7e308, np.linspace(-1, 1, 100) * 1.7e308),
        (np.linspace(5e-324, 1e-300, 300), np.linspace(0, 1e-310, 100)),
        (np.r_[np.zeros(500), np.full(5, np.inf)], np.r_[np.ones(40), -np.inf]),
        (np.full(50, 3.0), np.linspace(-5, 9, 200)),
        (1.7e9 + np.arange(300.0), 1.7e9 + np.arange(500.0)),
        (np.random.default_rng(1).lognormal(0, 30, 500), np.random.default_rng(2).lognormal(9, 30, 500)),
        (np.arange(300.0), np.full(50, np.nan)),
        (np.full(50, np.nan), np.arange(300.0)),
    ],
)
@pytest.mark.parametrize("sample", [0, 1_000])
@pytest.mark.filterwarnings("error")
def test_extreme_numbers_are_drawn_or_explained(before: np.ndarray, after: np.ndarray, sample: int) -> None:
    sides, samples = summaries(before, after, sample=sample)
    drawing = distribution_drawing(*sides, ident="x", name="x", missing=(0.0, 0.5), samples=samples)
    assert drawing.svg is not None
    assert not re.search(r'(d|x|y|width|height)="[^"]*(nan|inf)', str(drawing.svg))
    assert Reader(str(drawing.svg)).open == []


def test_a_summary_without_a_sample_is_drawn_too() -> None:
    rng = np.random.default_rng(9)
    sides, _ = summaries(rng.normal(size=500), rng.normal(5, 1, 300), sample=0)
    assert isinstance(sides[0], NumericSummary)
    drawing = distribution_drawing(*sides, ident="x", name="x")
    assert 'class="area reference"' in str(drawing.svg)
    assert 'class="area current"' in str(drawing.svg)


def test_values_outside_the_reference_are_bars_of_their_own() -> None:
    sides, samples = summaries(np.array([1.0, 2.0, 3.0] * 50), np.array([0.0, 2.0, 2.5, 9.0] * 20))
    drawing = distribution_drawing(*sides, ident="x", name="x", samples=samples)
    words = Reader(str(drawing.svg)).text
    assert "<1" in words
    assert ">3" in words
    assert drawing.notes == ("A value between two of these counts with the higher one.",)
