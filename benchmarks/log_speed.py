"""How fast single predictions are logged by many threads at once: rows a second, and how long each one waits.

Each thread appends blocks of one row with 30 features, as a server does for single requests. Other loads:
`python benchmarks/log_speed.py --threads 4 --rows 5000 --features 100 --durability power`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from homeostat.frames import Columns
from homeostat.records import PredictionBlock, as_datetime64
from homeostat.stores.sqlite import SqlitePredictionLog


def one_row(name: str, values: dict[str, np.ndarray]) -> PredictionBlock:
    """A served row, as the gateway makes it."""

    def text(value: str | None) -> np.ndarray:
        return np.array([value], dtype=object)

    return PredictionBlock(
        model="bench",
        shadow=False,
        ids=text(name),
        event_time=np.array([as_datetime64(datetime.now(tz=UTC))]),
        version=np.array([1]),
        arm=text("control"),
        entity=text(name),
        output=text("yes"),
        score=np.array([0.5]),
        latency_ms=np.array([1.0]),
        error=text(None),
        features=Columns(values),
    )


def append_rows(log: SqlitePredictionLog, number: int, rows: int, features: int, seconds: list[float]) -> None:
    """What one thread does; `seconds` takes how long each append took."""
    rng = np.random.default_rng(number)
    values = {f"feature_{position}": rng.normal(size=1) for position in range(features)}
    for row in range(rows):
        started = time.perf_counter()
        log.append([one_row(f"{number}-{row}", values)])
        seconds.append(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1_000, help="for each thread")
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--durability", choices=("process", "power"), default="process")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = SqlitePredictionLog(Path(folder) / "log.db", Path(folder) / "log", durability=given.durability)
        waits: list[list[float]] = [[] for _ in range(given.threads)]
        threads = [
            threading.Thread(target=append_rows, args=(log, number, given.rows, given.features, waits[number]))
            for number in range(given.threads)
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        began = time.perf_counter()
        read = sum(block.rows for _, block in log.features_after("bench", 0))
        reading = time.perf_counter() - began
        log.close()
    total = given.threads * given.rows
    if read != total:
        raise SystemExit(f"{total:,} rows were appended and {read:,} are there.")
    each = np.concatenate(waits) * 1000
    print(f"{given.threads} threads, {given.features} features, durability {given.durability}: {total:,} rows")
    print(f"{total / seconds:,.0f} rows a second written, {read / reading:,.0f} read")
    print(f"an append took {np.median(each):.2f} ms (median), {np.quantile(each, 0.99):.2f} ms (99th percentile)")


if __name__ == "__main__":
    main()
