"""What releases are held to, measured: `make bench-releases`.

Prints each table, from simulations with the real rollout on a simulated clock and from real servers under load, and
writes docs/releases-measured.md. `python -m benchmarks.releases NAME ...` runs some of them and writes nothing;
`--quick` runs smaller versions, as in `make bench-releases BENCH=--quick`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

# Before numpy is loaded, here and in the processes that are started: each has one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from benchmarks.releases import better, bucketing, entities, rollback, same, speed, worse  # noqa: E402
from benchmarks.statistics.section import Section  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "releases-measured.md"
HEAD = """# Measured: releases

Made by `make bench-releases`; do not edit. Rollouts are simulated with the real state machine (its rules, its service
and its records) on a simulated clock; rollbacks are timed on real servers under load.
"""
Make = Callable[[Executor, float], Section]
QUICK = 0.05


def part(whole: int, size: float, least: int = 1) -> int:
    """So many of the whole as a size says."""
    return max(least, round(whole * size))


# At size 1 each simulation of one row has as many runs as stand here.
SECTIONS: dict[str, Make] = {
    "same": lambda pool, size: same.run(pool, runs=part(1000, size)),
    "entities": lambda pool, size: entities.run(pool, runs=part(200, size)),
    "worse": lambda pool, size: worse.run(pool, runs=part(100, size), margin_runs=part(1000, size)),
    "better": lambda pool, size: better.run(pool, runs=part(100, size)),
    "rollback": lambda _, size: rollback.run(orders=part(1000, size), breaches=part(20, size, 3)),
    "speed": lambda _, size: speed.run(experiments=part(1000, size, 100), count=1_000_000),
    "bucketing": lambda pool, size: bucketing.run(pool, keys=part(1_000_000, size)),
}


def machine() -> str:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(": ")[2] for line in lines if "model name" in line]
    load = os.getloadavg()[0]
    return (
        f"Measured on {datetime.now(tz=UTC):%Y-%m-%d}: {names[0] if names else platform.machine()}, {os.cpu_count()} "
        f"cores, Python {platform.python_version()}; the load before the run was {load:.1f}"
        f"{' (the machine was not idle)' if load > 0.5 else ''}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench-releases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SECTIONS)}; same=0.1 is a tenth of the full size")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", type=Path, help="where the page goes (docs/releases-measured.md; quick: nowhere)")
    options = parser.parse_args()
    usual = QUICK if options.quick else 1.0
    try:
        sizes = {name: float(size or usual) for name, _, size in (one.partition("=") for one in options.names)}
    except ValueError:
        parser.error("a size is a number, as in same=0.1")
    unknown = set(sizes) - set(SECTIONS)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    about, began = machine(), time.perf_counter()
    shown = []
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, size in (sizes or dict.fromkeys(SECTIONS, usual)).items():
            started = time.perf_counter()
            shown.append(SECTIONS[name](pool, size).markdown())
            print(f"{shown[-1]}\n({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    print(f"All of it took {time.perf_counter() - began:.0f} s.")
    page = options.page or (None if options.names or options.quick else PAGE)
    if page is not None:
        page.write_text("\n".join([HEAD, about, *shown]), encoding="utf-8")


if __name__ == "__main__":
    main()
