from __future__ import annotations

import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from homeostat.dashboard.pages import render_error, render_model, render_overview

INLINE = {"a", "b", "code", "i", "span", "time"}
NAMES = ("healthy", "degraded", "unserved", "unlabelled", "regression", "crowded")
VOID = {"meta", "link", "br", "img", "input"}


def load_samples() -> ModuleType:
    name = "dashboard_fact_samples"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "fact_samples.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def joined(words: list[str]) -> str:
    """Words with single spaces; narrow spaces inside of figures stay."""
    return re.sub(r"[ \n\t]+", " ", "".join(words)).strip()


class Reader(HTMLParser):
    """Collects elements, attributes and words, and checks that every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.sections: dict[str, list[str]] = {}
        self._section: list[str] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.handle_data(" ")
        if tag == "section":
            self._section = self.sections.setdefault(str(dict(attrs).get("id")), [])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag not in INLINE:
            self.handle_data(" ")
        if tag == "section":
            self._section = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script") and data != " ":
            return
        self.words.append(data)
        if self._section is not None:
            self._section.append(data)

    @property
    def text(self) -> str:
        """All words, whatever the spaces between them."""
        return joined(self.words)

    def section(self, name: str) -> str:
        return joined(self.sections[name])

    def values(self, *names: str) -> list[str]:
        return [value for _, attributes in self.tags for name, value in attributes.items() if name in names and value]


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """The module of sample facts."""
    return load_samples()


@pytest.fixture(scope="session")
def read() -> type[Reader]:
    """Reads a page."""
    return Reader


@pytest.fixture(scope="session")
def pages(samples: ModuleType) -> dict[str, str]:
    """Every kind of page by name."""
    found = {name: render_model(samples.page(getattr(samples, name)())) for name in NAMES}
    found["none"] = render_overview(samples.page())
    found["many"] = render_overview(samples.page(*(getattr(samples, name)() for name in NAMES[:-1])))
    found["error"] = render_error("There is no model 'x'.", "Registered: phishing.", server="ml-1")
    return found
