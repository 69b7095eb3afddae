"""The pages in a real browser: they fit, read, refresh themselves, and say when the server is away."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest

from homeostat.dashboard.pages import render_error, render_model, render_overview

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TESTS = Path(__file__).parent.parent
NAMES = ("healthy", "degraded", "unserved", "unlabelled", "regression", "crowded")
EVERY = 2_000
UNFOLD = "document.querySelectorAll('details').forEach((node) => { node.open = true; })"


def loaded(name: str, path: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def samples() -> ModuleType:
    return loaded("dashboard_fact_samples", TESTS / "dashboard" / "fact_samples.py")


@pytest.fixture(scope="module")
def looks() -> ModuleType:
    """What the report's tests look for in any page: overflow, overlap, faint letters."""
    return loaded("e2e_report_looks", TESTS / "e2e" / "test_e2e_report.py")


@pytest.fixture(scope="module")
def pages(samples: ModuleType) -> dict[str, str]:
    found = {name: render_model(samples.page(getattr(samples, name)())) for name in NAMES}
    found["many"] = render_overview(
        samples.page(*(getattr(samples, name)() for name in NAMES[:-1]), samples.crowded(features=20))
    )
    found["none"] = render_overview(samples.page())
    found["error"] = render_error(f"No {samples.HOSTILE}", samples.HOSTILE * 9, server=samples.HOSTILE)
    return found


class Site:
    """A server on a free port that answers every path with one page."""

    def __init__(self, page: str) -> None:
        self.page, self.status, self.drops = page, 200, False
        self.paths: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.paths.append(self.path)
                if site.drops:
                    self.close_connection = True
                    return
                content = site.page.encode()
                self.send_response(site.status)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def asked(self) -> int:
        return len(self.paths)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/models/phishing"


@contextmanager
def served(page: str) -> Iterator[Site]:
    site = Site(page)
    yield site
    site.server.shutdown()
    site.server.server_close()


@contextmanager
def watched(browser: Browser, site: Site, *, trouble: bool = False, **options: Any) -> Iterator[Page]:
    """The page with a clock that the test moves, and the proof that it asked nobody but its own server."""
    context = browser.new_context(**options)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    # It stands still until the test moves it: a busy machine must not bring a turn of its own.
    now = datetime.now(tz=UTC)
    page.clock.install(time=now)
    page.clock.pause_at(now + timedelta(seconds=1))
    page.goto(site.url)
    page.evaluate("window.loaded_once = true")
    yield page
    context.close()
    assert trouble or said == []
    assert set(site.paths) == {"/models/phishing"}
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(site.url).netloc}


def after_refresh(page: Page, words: str) -> None:
    """One turn of the refresh, and wait for what it brings."""
    page.clock.run_for(EVERY + 100)
    page.wait_for_function("(words) => document.body.innerText.includes(words)", arg=words)


# How it looks
SIZES = [*[(name, width) for name in (*NAMES, "many", "none", "error") for width in (1280, 360)], ("degraded", 768)]


@pytest.mark.parametrize(("name", "width"), SIZES)
def test_a_page_fits_and_reads_in_both_schemes(
    browser: Browser, pages: dict[str, str], looks: ModuleType, tmp_path: Path, name: str, width: int
) -> None:
    file = tmp_path / f"{name}.html"
    file.write_text(pages[name], encoding="utf-8")
    with looks.opened(browser, file, width) as page:
        page.evaluate(UNFOLD)
        assert page.evaluate(looks.OVERFLOWS) == []
        assert page.evaluate(looks.OVERLAPS) == []
        assert page.evaluate(looks.FAINT) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(looks.FAINT) == []
        assert page.evaluate(looks.OVERFLOWS) == []


@pytest.mark.parametrize(("name", "width"), [("degraded", 360), ("crowded", 1280), ("many", 360)])
def test_a_page_fits_where_letters_are_wide(
    browser: Browser, pages: dict[str, str], looks: ModuleType, tmp_path: Path, name: str, width: int
) -> None:
    file = tmp_path / f"{name}.html"
    file.write_text(looks.widened(pages[name]), encoding="utf-8")
    with looks.opened(browser, file, width) as page:
        page.evaluate(UNFOLD)
        assert page.evaluate(looks.OVERFLOWS) == []
        assert page.evaluate(looks.OVERLAPS) == []


def test_a_saved_page_says_that_it_is_one(
    browser: Browser, pages: dict[str, str], looks: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "saved.html"
    file.write_text(pages["degraded"], encoding="utf-8")
    with looks.opened(browser, file) as page:
        assert page.locator("#live").inner_text() == "Saved, as of 29 Sep 2025, 12:04:30 UTC"


def test_what_is_wrong_and_what_is_done_is_above_the_fold(
    browser: Browser, pages: dict[str, str], looks: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "degraded.html"
    file.write_text(pages["degraded"], encoding="utf-8")
    with looks.opened(browser, file) as page:
        for words in ("h1", "#serving .arms >> nth=0", "#alerts li >> nth=0"):
            box = page.locator(words).bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 800


def test_the_page_can_be_used_from_the_keyboard(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site, watched(browser, site) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").is_visible()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.locator("#d-drift summary").focus()
        page.keyboard.press("Enter")
        assert page.locator("#d-drift table").is_visible()


# How it refreshes
def test_the_page_follows_the_server_without_a_reload(
    browser: Browser, pages: dict[str, str], samples: ModuleType
) -> None:
    with served(pages["degraded"]) as site, watched(browser, site) as page:
        assert page.title() == "phishing: degraded – Homeostat"
        page.locator("#d-drift summary").click()
        page.locator("#d-gateways summary").click()
        page.locator("#d-quality summary").focus()
        page.evaluate("window.scrollTo(0, 900)")
        better = replace(samples.healthy("phishing"), decisions=samples.degraded().decisions)
        changed = replace(
            samples.degraded(), findings=[*better.findings, *samples.degraded().findings[-160:]], alerts=[]
        )
        changed = replace(
            changed, findings=better.findings, status=msgspec.structs.replace(changed.status, rollout=None)
        )
        site.page = render_model(samples.page(changed))
        after_refresh(page, "phishing is healthy")
        assert page.title() == "phishing: healthy – Homeostat"
        assert page.evaluate("window.loaded_once")
        assert page.evaluate("window.scrollY") == 900
        assert page.locator("#d-drift").get_attribute("open") is not None
        assert page.locator("#d-gateways").get_attribute("open") is None
        assert page.evaluate("document.activeElement.parentElement.id") == "d-quality"
        told = page.locator("[role=status][aria-live=polite]")
        assert told.inner_text().startswith("phishing is healthy")
        assert page.locator("#live-words").inner_text().startswith("Live, ")


def test_a_tooltip_works_before_and_after_a_refresh(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site, watched(browser, site, viewport={"width": 1280, "height": 900}) as page:
        for turn in range(2):
            for section, words in (("quality", "when made"), ("drift", "Sep 2025")):
                drawing = page.locator(f"#{section} svg:visible[data-chart]")
                drawing.scroll_into_view_if_needed()
                drawing.hover(position={"x": 500, "y": 110})
                tip = page.locator("#tip")
                tip.wait_for(state="visible")
                assert words in tip.inner_text()
                page.mouse.move(5, 5)
                tip.wait_for(state="hidden")
            if turn == 0:
                asked = site.asked
                after_refresh(page, "Live, ")
                assert site.asked == asked + 1


def test_a_server_that_is_away_is_told_and_asked_less_and_less(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site, watched(browser, site, trouble=True) as page:
        site.drops = True
        after_refresh(page, "Not reached since")
        assert "(no answer); trying every 4 s" in page.locator("#live").inner_text()
        assert "not reached" in page.locator("#told").inner_text()
        assert page.locator("h1").inner_text().startswith("phishing is degraded"), "what was known stays"
        since = page.locator("#live").inner_text().split(" (")[0]
        for before, wait in ((4, 8), (8, 16), (16, 30), (30, 30)):
            asked = site.asked
            page.clock.run_for(1_000 * before + 100)
            page.wait_for_function("(words) => document.body.innerText.includes(words)", arg=f"trying every {wait} s")
            # At last the words stay as they are, and the request may come after them.
            until = time.monotonic() + 60
            while site.asked == asked:
                assert time.monotonic() < until
                page.wait_for_timeout(10)
        assert page.locator("#live").inner_text().startswith(since)
        site.drops = False
        page.clock.run_for(31_000)
        page.wait_for_function("() => document.getElementById('live').dataset.state === 'live'")
        assert page.locator("#told").inner_text() == "The server is reached again."


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (500, "broken", "it answers 500"),
        (401, "who are you", "it answers 401"),
        (200, "<html><main id='main'><h1>Please log in</h1></main></html>", "something else answers"),
        (200, "", "something else answers"),
    ],
)
def test_a_foreign_answer_does_not_replace_what_is_known(
    browser: Browser, pages: dict[str, str], status: int, content: str, words: str
) -> None:
    with served(pages["degraded"]) as site, watched(browser, site, trouble=True) as page:
        site.status, site.page = status, content
        after_refresh(page, words)
        assert page.locator("h1").inner_text().startswith("phishing is degraded")


def test_a_hidden_page_asks_nothing_until_it_is_seen(browser: Browser, pages: dict[str, str]) -> None:
    hide = (
        "(hidden) => { Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    with served(pages["degraded"]) as site, watched(browser, site) as page:
        after_refresh(page, "Live, ")
        page.evaluate(hide, True)
        asked = site.asked
        page.clock.run_for(60_000)
        assert site.asked == asked
        page.evaluate(hide, False)
        for _ in range(1000):
            # It was live before, so that its state does not tell when it has asked.
            if site.asked > asked:
                break
            page.wait_for_timeout(100)
        page.wait_for_function("() => document.getElementById('live').dataset.state === 'live'")
        assert site.asked == asked + 1


def test_selected_text_is_not_taken_away(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site, watched(browser, site) as page:
        page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        after_refresh(page, "Held while text is selected")
        assert page.evaluate("getSelection().toString()").startswith("phishing is degraded")
        page.evaluate("getSelection().removeAllRanges()")
        after_refresh(page, "Live, ")


def test_a_new_version_of_the_server_is_loaded_anew(
    browser: Browser, pages: dict[str, str], samples: ModuleType
) -> None:
    with served(pages["degraded"]) as site, watched(browser, site) as page:
        site.page = render_model(replace(samples.page(samples.degraded()), version="0.3.0"))
        after_refresh(page, "Homeostat 0.3.0")
        assert page.evaluate("window.loaded_once") is None


def test_scripts_in_an_answer_do_not_run(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site, watched(browser, site, trouble=True) as page:
        attack = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 2'><b id=forged>forged</b>"
        site.page = pages["degraded"].replace("</footer>", f"{attack}</footer>")
        after_refresh(page, "forged")
        page.wait_for_timeout(200)
        assert page.evaluate("window.attacked") is None


def test_hostile_names_do_nothing(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["crowded"]) as site, watched(browser, site) as page:
        after_refresh(page, "Live, ")
        assert page.locator("img").count() == 0
        drawing = page.locator("#drift svg:visible[data-chart]")
        drawing.scroll_into_view_if_needed()
        drawing.hover(position={"x": 400, "y": 90})
        assert page.locator("#tip").is_visible()
        assert page.locator("#tip img, #tip script").count() == 0


def test_without_scripts_the_page_reads_and_reloads(browser: Browser, pages: dict[str, str]) -> None:
    with served(pages["degraded"]) as site:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(site.url)
        assert page.locator("h1").inner_text().startswith("phishing is degraded")
        assert page.locator("#live").inner_text() == "As of 29 Sep 2025, 12:04:30 UTC"
        assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "15"
        page.locator("#d-older summary, #d-drift summary").first.click()
        context.close()
