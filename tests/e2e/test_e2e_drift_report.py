"""Drift reports in a real browser: nothing overflows, overlaps, is too faint to read, runs, or is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from homeostat.reports.drift import DriftReport
from homeostat.stats.drift.comparison import compare_profiles
from homeostat.stats.profile import Profile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=alert(1)>"
NAMES = ("harmed", "healthy", "no_data", "fragment")

OVERFLOWS = """() => {
  const room = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > room) found.push("the page scrolls sideways");
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest("thead") || (node.closest("svg") && node.tagName !== "svg")) continue;
    const box = node.getBoundingClientRect();
    if (box.width && (box.right > room + 1 || box.left < -1)) found.push(`${node.tagName}.${node.className}`);
  }
  return found;
}"""

OVERLAPS = """() => {
  const found = [];
  for (const drawing of document.querySelectorAll("figure svg")) {
    const frame = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll("text")];
    const boxes = texts.map((node) => node.getBoundingClientRect());
    boxes.forEach((a, i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        found.push(`${texts[i].textContent} leaves its drawing`);
      for (let j = i + 1; j < boxes.length; j++) {
        const b = boxes[j];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 1.5) found.push(`${texts[i].textContent} | ${texts[j].textContent}`);
      }
    });
  }
  return found;
}"""

FAINT = """() => {
  const parse = (words) => {
    const parts = words.match(/[\\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const light = (rgb) => {
    const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.alpha === 1) return color.rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("main *, .homeostat-drift *")) {
    if (["title", "desc"].includes(node.tagName)) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    if (!node.getBoundingClientRect().width) continue;
    const style = getComputedStyle(node);
    const color = parse(node.closest("svg") ? style.fill : style.color).rgb;
    const behind = ground(node);
    if (ratio(color, behind) < 4.5) found.push(`${node.textContent.slice(0, 30)} ${color} on ${behind}`);
  }
  return [...new Set(found)];
}"""

# What notebooks say of tables: stripes in their own colours, and right-aligned cells.
NOTEBOOK = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>.out table {{ table-layout: fixed; }} .out tbody tr:nth-child(odd) {{ background: #f5f5f5; }}
.out dl dt {{ float: left; width: 20%; }} p {{ color: #123456; }}</style></head>
<body><p id="before">Before</p><div class="out">{}</div></body></html>"""


def frame(rows: int, shift: float, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gone = rng.normal(size=rows)
    gone[rng.random(rows) < 0.02 + 0.6 * shift] = np.nan
    names = np.array(
        [HOSTILE, "web", "a category with a very long name", *(f"shop {one}" for one in range(20))], dtype=object
    )
    channel = rng.choice(names, rows)
    channel[: int(0.2 * shift * rows)] = "new"
    return {
        "amount": rng.normal(3 * shift, 1, rows),
        "income": rng.lognormal(8 + shift, 2, rows),
        "ratio": rng.standard_cauchy(rows) + 2 * shift,
        "mostly_zero": np.where(rng.random(rows) < 0.9 - 0.3 * shift, 0.0, rng.gamma(2, 20, rows)),
        "time": 1.7e9 + rng.random(rows) * 1000 + 300 * shift,
        "tiny": rng.normal(size=rows) * 1e-9,
        "year": rng.integers(2005, 2025, rows) + 3.0 * shift,
        "constant": np.full(rows, 5.0) + shift,
        "never": np.full(rows, np.nan),
        "is_new": rng.random(rows) < 0.3 + 0.4 * shift,
        "gone": gone,
        "channel": channel,
        "body": np.array([f"thanks for order {one:05d} " * (1 + int(3 * shift)) for one in range(rows)], dtype=object),
        HOSTILE: rng.normal(shift, 1, rows),
        "a_feature_with_a_name_that_goes_on_and_on_" * 8: rng.normal(shift, 1, rows),
        **{f"noise_{one}": rng.normal(size=rows) for one in range(30)},
    }


def compared(rows: int, shift: float) -> DriftReport:
    reference = Profile.of(frame(2_000, 0.0, 1))
    current = Profile.of(frame(rows, shift, 2), like=reference)
    return DriftReport(
        compare_profiles(reference, current),
        reference,
        current,
        lost={"a_lost_column_with_a_long_name_" * 5: "the current table lacks it"},
        added=(HOSTILE,),
        methods={"amount": {"wasserstein": 1.5}},
    )


@pytest.fixture(scope="session")
def drift_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("drift")
    files = {}
    for name, report in {
        "harmed": compared(800, 1.0),
        "healthy": compared(800, 0.0),
        "no_data": compared(0, 0.0),
    }.items():
        assert report.verdict == name
        files[name] = report.save_html(folder / f"{name}.html")
    files["fragment"] = folder / "fragment.html"
    files["fragment"].write_text(NOTEBOOK.format(compared(800, 1.0)._repr_html_()), encoding="utf-8")
    return files


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """The page, and at the end the proof that nothing was fetched, said on the console, or popped up."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    fetched: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert trouble == []
    assert [url for url in fetched if not url.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_a_drift_report_fits_and_reads_in_both_schemes(
    browser: Browser, drift_files: dict[str, Path], name: str, width: int
) -> None:
    with opened(browser, drift_files[name], width) as page:
        assert page.evaluate(OVERFLOWS) == []
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(FAINT) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(FAINT) == []


@pytest.mark.parametrize(("name", "width"), [("harmed", 360), ("healthy", 800)])
def test_a_drift_report_fits_where_letters_are_wide(
    browser: Browser, drift_files: dict[str, Path], tmp_path: Path, name: str, width: int
) -> None:
    # The widest of the fonts that browsers take where the page's own are missing.
    style = """* { font-family: "DejaVu Sans", Verdana, sans-serif !important; }"""
    wide = tmp_path / "wide.html"
    text = drift_files[name].read_text(encoding="utf-8")
    wide.write_text(text.replace("</style>", style + "</style>", 1), encoding="utf-8")
    with opened(browser, wide, width) as page:
        assert page.evaluate(OVERFLOWS) == []
        assert page.evaluate(OVERLAPS) == []


def test_the_verdict_and_the_advice_are_above_the_fold(browser: Browser, drift_files: dict[str, Path]) -> None:
    with opened(browser, drift_files["harmed"]) as page:
        assert page.locator("h1").inner_text() == "The data drifted"
        for part in (".badge", "h1", ".advice", ".facts"):
            box = page.locator(part).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 900
        assert page.title() == "Drift report: The data drifted"


def test_a_fragment_leaves_the_page_around_it_alone(browser: Browser, drift_files: dict[str, Path]) -> None:
    with opened(browser, drift_files["fragment"]) as page:
        assert page.evaluate("getComputedStyle(document.querySelector('#before')).color") == "rgb(18, 52, 86)"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert page.locator(".homeostat-drift article").count() == 8


def test_both_sides_are_told_apart_by_more_than_their_hue(browser: Browser, drift_files: dict[str, Path]) -> None:
    width = "getComputedStyle(document.querySelector('path.area.{}')).strokeWidth"
    with opened(browser, drift_files["harmed"]) as page:
        assert page.evaluate(width.format("reference")) == "1px"
        assert page.evaluate(width.format("current")) == "2px"


def test_the_looks_above_would_find_a_fault(browser: Browser, drift_files: dict[str, Path], tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.html"
    style = ".lead{color:#bbb}.kicker{width:1500px}.feature svg .mid{font-size:60px}"
    text = drift_files["harmed"].read_text(encoding="utf-8")
    spoiled.write_text(text.replace("</style>", style + "</style>"), encoding="utf-8")
    with opened(browser, spoiled) as page:
        assert any("P.kicker" in words for words in page.evaluate(OVERFLOWS))
        assert any("features drifted" in words for words in page.evaluate(FAINT))
        assert page.evaluate(OVERLAPS) != []
