from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from homeostat.reports.story import Story


def load_samples() -> ModuleType:
    name = "report_story_samples"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "story_samples.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """The module of sample stories."""
    return load_samples()


@pytest.fixture(scope="session")
def stories(samples: ModuleType) -> dict[str, Story]:
    """Every sample story by name."""
    return samples.sample_stories()
