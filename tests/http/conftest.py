from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load_module(name: str) -> ModuleType:
    """A module that lies beside these tests, which have no packages."""
    whole = f"http_tests_{name}"
    if whole not in sys.modules:
        spec = importlib.util.spec_from_file_location(whole, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[whole] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[whole])
    return sys.modules[whole]


@pytest.fixture(scope="session")
def small_servers() -> ModuleType:
    """The module that builds real applications in this process."""
    return load_module("small_server")


@pytest.fixture(scope="session")
def app(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An application with small models, for tests that leave its state as it is."""
    yield from small_servers.closed(small_servers.open_server(tmp_path_factory.mktemp("app")))


@pytest.fixture(scope="module")
def used(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An application that the tests of one module may change."""
    yield from small_servers.closed(small_servers.open_server(tmp_path_factory.mktemp("used")))
