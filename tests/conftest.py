from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small_systems() -> ModuleType:
    """The module that makes whole systems in memory."""
    name = "controllers_small_systems"
    if name not in sys.modules:
        path = Path(__file__).parent / "controllers" / "small_systems.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
