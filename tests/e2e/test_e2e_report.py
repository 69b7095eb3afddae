"""The report in a real browser: nothing overflows, overlaps, fails to contrast, runs or is fetched."""

from __future__ import annotations

import importlib.util
import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from homeostat.reports.charts.svg import text_width
from homeostat.reports.html import render_story

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLES = Path(__file__).parent.parent / "reports" / "story_samples.py"
NAMES = ("year", "price", "small", "quiet", "lone", "crowded")

OVERFLOWS = """() => {
  const room = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > room) found.push("the page scrolls sideways");
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest(".scroll") || node.closest("thead") || (node.closest("svg") && node.tagName !== "svg")) continue;
    const box = node.getBoundingClientRect();
    if (box.width && (box.right > room + 1 || box.left < -1)) found.push(`${node.tagName}.${node.className}`);
  }
  return found;
}"""

OVERLAPS = """() => {
  const found = [];
  for (const drawing of document.querySelectorAll("svg")) {
    const frame = drawing.getBoundingClientRect();
    if (!frame.width) continue;
    const texts = [...drawing.querySelectorAll("text")].filter((node) => !node.closest("[aria-hidden=true]"));
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
  const probe = document.createElement("i");
  document.body.append(probe);
  const areas = [0, 1, 2, 3, 4, 5].map((hue) => {
    probe.style.color = `var(--c${hue})`;
    return parse(getComputedStyle(probe).color).rgb;
  });
  probe.remove();
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    if (["SCRIPT", "title", "desc"].includes(node.tagName) || node.closest("#tip")) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    if (!node.getBoundingClientRect().width) continue;
    const style = getComputedStyle(node);
    const color = parse(node.closest("svg") ? style.fill : style.color).rgb;
    const grounds = node.classList.contains("on-area") ? areas : [ground(node)];
    for (const behind of grounds)
      if (ratio(color, behind) < 4.5) found.push(`${node.textContent.slice(0, 30)} ${color} on ${behind}`);
  }
  return [...new Set(found)];
}"""


# The widest of the fonts that browsers take where the page's own are missing, for machines that have it and others.
WIDE_LETTERS = """* { font-family: "DejaVu Sans", Verdana, sans-serif !important; }"""

WIDTHS = """([letters, weight]) => {
  const pen = document.createElement("canvas").getContext("2d");
  return ["'DejaVu Sans'", "'Liberation Sans'", "Arial"].map((family) => {
    pen.font = `${weight} 100px ${family}, sans-serif`;
    return [...letters].map((letter) => pen.measureText(letter).width);
  });
}"""


def sample_stories() -> Any:
    name = "report_story_samples"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SAMPLES)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name].sample_stories()


def widened(page: str) -> str:
    """The page in letters as wide as common fonts have them."""
    return page.replace("</style>", WIDE_LETTERS + "</style>", 1)


@pytest.fixture(scope="session")
def report_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    files = {}
    for name, story in sample_stories().items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(render_story(story), encoding="utf-8")
    return files


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light", **options: Any) -> Iterator[Page]:
    """The page, and at the end the proof that nothing was fetched, said on the console, or popped up."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
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


SIZES = [*[(name, width) for name in NAMES for width in (1280, 390)], ("year", 360), ("crowded", 360), ("year", 800)]


@pytest.mark.parametrize(("name", "width"), SIZES)
def test_a_report_fits_and_reads_in_both_schemes(
    browser: Browser, report_files: dict[str, Path], name: str, width: int
) -> None:
    with opened(browser, report_files[name], width) as page:
        page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        assert page.evaluate(OVERFLOWS) == []
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(FAINT) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(FAINT) == []
        assert page.evaluate(OVERFLOWS) == []


@pytest.mark.parametrize(("name", "width"), [("year", 390), ("lone", 1280), ("crowded", 1280), ("crowded", 360)])
def test_a_report_fits_where_letters_are_wide(
    browser: Browser, report_files: dict[str, Path], tmp_path: Path, name: str, width: int
) -> None:
    file = tmp_path / "wide.html"
    file.write_text(widened(report_files[name].read_text(encoding="utf-8")), encoding="utf-8")
    with opened(browser, file, width) as page:
        page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        assert page.evaluate(OVERFLOWS) == []
        assert page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize(("weight", "bold"), [(400, False), (700, True)])
def test_no_letter_is_wider_than_drawings_reckon(
    browser: Browser, report_files: dict[str, Path], weight: int, bold: bool
) -> None:
    letters = string.ascii_letters + string.digits + string.punctuation + " ·–—…−±×≤≥→²³⁻éßÄÜ€\N{NARROW NO-BREAK SPACE}"
    with opened(browser, report_files["quiet"]) as page:
        for widths in page.evaluate(WIDTHS, [letters, weight]):
            found = zip(letters, widths, strict=True)
            assert [letter for letter, width in found if width > text_width(letter, 100.0, bold=bold)] == []


def test_the_looks_above_would_find_a_fault(browser: Browser, report_files: dict[str, Path], tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.html"
    page_text = report_files["year"].read_text(encoding="utf-8")
    style = ".note{color:#bbb}.kicker{width:1500px}svg .name{transform:translate(-900px,14px)}svg .mid{font-size:60px}"
    spoiled.write_text(page_text.replace("</style>", style + "</style>"), encoding="utf-8")
    with opened(browser, spoiled) as page:
        assert any("P.kicker" in words for words in page.evaluate(OVERFLOWS))
        assert any("Shaded" in words for words in page.evaluate(FAINT))
        overlaps = page.evaluate(OVERLAPS)
        assert any("leaves its drawing" in words for words in overlaps)
        assert any("Mar | Apr" in words for words in overlaps)


def test_the_scheme_changes_the_colours(browser: Browser, report_files: dict[str, Path]) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with opened(browser, report_files["year"], scheme=scheme) as page:
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(252, 251, 248)", "rgb(19, 23, 28)"]


def test_one_drawing_of_each_pair_is_seen(browser: Browser, report_files: dict[str, Path]) -> None:
    for width, seen in ((1280, "quality-wide-t"), (390, "quality-phone-t")):
        with opened(browser, report_files["year"], width, java_script_enabled=False) as page:
            drawn = page.locator("#quality svg:visible")
            assert drawn.count() == 1
            assert drawn.get_attribute("aria-labelledby").split()[0] == seen


def test_the_quality_plot_is_above_the_fold(browser: Browser, report_files: dict[str, Path]) -> None:
    with opened(browser, report_files["year"]) as page:
        box = page.locator("#quality svg:visible").bounding_box()
        assert box["y"] < 520
        assert box["y"] + box["height"] < 960


def test_the_page_reads_without_scripts(browser: Browser, report_files: dict[str, Path]) -> None:
    with opened(browser, report_files["year"], java_script_enabled=False) as page:
        assert page.locator("h1").inner_text().startswith("Healing kept accuracy")
        assert page.locator("#quality svg:visible text", has_text="healed").is_visible()
        page.locator("summary", has_text="All 15 decisions").click()
        assert page.locator("tr", has_text="330 pairs").is_visible()
        assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize(("section", "words"), [("quality", "no_change"), ("drift", "url_length")])
def test_pointing_at_a_plot_names_its_values(
    browser: Browser, report_files: dict[str, Path], section: str, words: str
) -> None:
    with opened(browser, report_files["year"]) as page:
        drawing = page.locator(f"#{section} svg:visible")
        drawing.scroll_into_view_if_needed()
        drawing.hover(position={"x": 500, "y": 90})
        tip = page.locator("#tip")
        assert tip.is_visible()
        assert words in tip.inner_text()
        assert "2024" in tip.inner_text()
        page.mouse.move(5, 5)
        assert tip.is_hidden()


def test_hostile_names_do_nothing(browser: Browser, report_files: dict[str, Path]) -> None:
    with opened(browser, report_files["crowded"]) as page:
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 4
        drawing = page.locator("#drift svg:visible")
        drawing.scroll_into_view_if_needed()
        drawing.hover(position={"x": 400, "y": 90})
        assert page.locator("#tip").is_visible()
        assert page.locator("#tip img, #tip script").count() == 0


def test_scripts_that_are_not_the_pages_own_are_refused(browser: Browser, tmp_path: Path) -> None:
    story = sample_stories()["quiet"]
    file = tmp_path / "forged.html"
    forged = "<script>document.title = 'forged'</script></main>"
    file.write_text(render_story(story).replace("</main>", forged), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(file.as_uri())
    assert page.title() == story.title
    assert any("Content Security Policy" in words for words in refused)
    context.close()


def test_paper_shows_the_folded_tables_in_light_colours(browser: Browser, report_files: dict[str, Path]) -> None:
    with opened(browser, report_files["year"], 700, "dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("#quality .wide").is_visible()
        assert page.locator("#quality .phone").is_hidden()
        assert page.locator("tr", has_text="330 pairs").bounding_box()["height"] > 0
