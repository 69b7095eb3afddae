from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


PATIENCE = 120_000


def patient(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes contexts or pages that wait for so many milliseconds."""

    def made(**options: Any) -> Any:
        one = make(**options)
        one.set_default_timeout(PATIENCE)
        return one

    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, closed with the module: its loop must not run on while others start theirs.

    Without one the test is skipped, except in CI, where it fails.
    """
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        message = "There is no chromium on the PATH: apt-get install chromium."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=binary, args=CHROMIUM_ARGUMENTS, timeout=PATIENCE)
        # What a page waits for takes longer than playwright's half minute where everything else runs too.
        for name in ("new_context", "new_page"):
            setattr(started, name, patient(getattr(started, name)))
        yield started
        started.close()


def _beside(name: str) -> ModuleType:
    """A module that lies beside these tests, which have no packages."""
    full = f"e2e_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(scope="session")
def loads() -> ModuleType:
    """The module that puts servers under load."""
    return _beside("served_load")


@pytest.fixture(scope="session")
def hostile_bodies() -> ModuleType:
    """The module that makes requests which mean harm."""
    return _beside("hostile_bodies")


@pytest.fixture(scope="session")
def small_home(loads: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with two versions of a model; tests copy it."""
    made: Path = loads.make_home(tmp_path_factory.mktemp("small") / "home")
    return made
