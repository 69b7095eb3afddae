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


@pytest.fixture
def refuses(app: Any, small_servers: ModuleType) -> Iterator[Any]:
    """Calls the application, and holds each reply and the state after all of them against the rules."""
    before = app.kept()
    calls = 0

    def call(status: int, code: str | None, method: str, target: str, body: Any = b"", **more: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = app.upload(target, body, **more) if method == "FORM" else app.call(method, target, body, **more)
        assert (answer.status, answer.code) == (status, code or answer.code), answer.content
        assert small_servers.WORD not in answer.content.decode().lower()
        assert all(small_servers.WORD not in value.lower() for _, value in answer.headers)
        assert len(answer.content) < 3000
        return answer

    yield call
    assert calls
    assert app.kept() == before


@pytest.fixture(scope="session")
def wire() -> ModuleType:
    """The module that puts binary tensors together and takes them apart."""
    return load_module("binary_tensors")
