"""Every error rate that the documentation states, measured: `make bench-statistics`.

Prints the tables, and writes docs/statistics/measured.md with its plots. `python -m benchmarks.statistics NAME ...`
runs some of them and writes nothing; `--quick` runs smaller versions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.statistics.timed import run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "statistics" / "measured.md"
IMAGES = ROOT / "docs" / "images" / "statistics"
# The longest first, so that two processes end at about the same time.
NAMES = (
    "drift_power",
    "drift_false_alarms",
    "drift_streaming",
    "loss_streams",
    "peeking",
    "label_free",
    "selective_labels",
    "clustering",
    "fairness_monitoring",
    "others_failures",
)
HEAD = """# Measured error rates

Made by `make bench-statistics`; do not edit. Each figure is a share of simulated runs; a standard error is about
√(share · (1 − share) / runs).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no simulation {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    names = options.names or NAMES
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    started = time.perf_counter()
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {name: pool.submit(run, name, quick=options.quick) for name in names}
        sections = {}
        for name, future in waiting.items():
            sections[name], seconds = future.result()
            print(f"{sections[name].markdown()}\n({name}: {seconds:.0f} s)\n", flush=True)
    print(f"All of it took {time.perf_counter() - started:.0f} s.")
    if options.names or options.quick:
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    for section in sections.values():
        for plot in section.plots:
            (IMAGES / f"{plot.name}.svg").write_text(plot.svg(), encoding="utf-8")
    PAGE.write_text("\n".join([HEAD, *(section.markdown() for section in sections.values())]), encoding="utf-8")


if __name__ == "__main__":
    main()
