"""Keeps machine-learning models healthy in production."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


# Where each public name lives. They are imported by name and on use: `import homeostat` stays light, and a module that
# reads the version imports no client with it. What type checkers see is in the stub beside this file.
_PLACES = {
    "Client": "homeostat.sdk",
    "DriftReport": "homeostat.reports.drift",
    "Profile": "homeostat.stats.profile",
    "analyze_experiment": "homeostat.analysis.experiments",
    "compare": "homeostat.analysis.compare",
    "compare_models": "homeostat.analysis.models",
    "estimate_performance": "homeostat.analysis.performance",
    "sample_size": "homeostat.stats.inference",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'homeostat' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
