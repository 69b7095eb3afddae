"""One simulation run in a process of its own, with how long it took."""

from __future__ import annotations

import importlib
import time

from benchmarks.statistics.section import Section


def run(name: str, *, quick: bool) -> tuple[Section, float]:
    """The section that `benchmarks.statistics.<name>` makes, and the seconds that it took."""
    started = time.perf_counter()
    section = importlib.import_module(f"benchmarks.statistics.{name}").run(quick=quick)
    return section, time.perf_counter() - started
