from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# How long an example may take says more about the machine than about the code.
# Half of the usual hundred examples, since there are many such tests.
settings.register_profile("steady", deadline=None, max_examples=50)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def small_systems() -> ModuleType:
    """The module that makes whole systems in memory."""
    return module_of("controllers_small_systems", "controllers/small_systems.py")


@pytest.fixture(scope="session")
def servers() -> ModuleType:
    """The module that starts real server processes."""
    return module_of("running_servers", "running_servers.py")


def module_of(name: str, path_in_tests: str) -> ModuleType:
    """A module that lies beside the tests, which have no packages."""
    if name not in sys.modules:
        path = Path(__file__).parent / path_in_tests
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long on a quiet machine may be several times as long on a busy one."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))
