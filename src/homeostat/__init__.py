"""Keeps machine-learning models healthy in production."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # By name and on use: `import homeostat` stays light, and a module that reads the version imports no client with
    # it. What type checkers see is in the stub beside this file.
    if name == "Client":
        from importlib import import_module

        return import_module("homeostat.sdk").Client
    raise AttributeError(f"module 'homeostat' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), "Client"]
