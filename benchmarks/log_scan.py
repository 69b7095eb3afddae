"""How fast a full prediction log is written, sealed, read in columns and joined with labels, and what it takes of disk.

Batches of rows with float32 features come over several hours and are sealed to Parquet; then all features are read, as
for a training frame, and scores are joined with late labels, as for a metric. Other sizes:
`python benchmarks/log_scan.py --rows 1000000 --labels 200000 --features 100 --hours 6`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from homeostat.feedback.labelled import LABEL, labelled_rows
from homeostat.frames import Columns
from homeostat.records import LabelBlock, PredictionBlock, as_datetime64
from homeostat.records.ids import texts_of
from homeostat.stores.sqlite import SqlitePredictionLog

BEGINNING = datetime(2026, 3, 1, tzinfo=UTC)
MODEL = "bench"
BITS_OF_TIME = 80


def uuids(at: datetime, rows: int, rng: np.random.Generator) -> list[str]:
    """Ids as a server makes them: UUIDv7 of one moment."""
    keys = rng.integers(0, 256, (rows, 16), dtype=np.uint8)
    keys[:, :6] = np.frombuffer(int(at.timestamp() * 1000).to_bytes(6, "big"), np.uint8)
    keys[:, 6] = keys[:, 6] & 0x0F | 0x70
    keys[:, 8] = keys[:, 8] & 0x3F | 0x80
    return texts_of(keys.tobytes())


def block(at: datetime, rows: int, features: int, rng: np.random.Generator) -> PredictionBlock:
    """A batch, as the gateway makes it of one matrix."""
    ids = np.array(uuids(at, rows, rng), dtype=object)
    matrix = rng.normal(size=(rows, features)).astype(np.float32).astype(np.float64)
    return PredictionBlock(
        model=MODEL,
        shadow=False,
        ids=ids,
        event_time=np.full(rows, as_datetime64(at)),
        version=np.full(rows, 1),
        arm=np.full(rows, "control", dtype=object),
        entity=ids,
        output=np.array(["no", "yes"], dtype=object)[rng.integers(0, 2, rows)],
        score=rng.random(rows).astype(np.float32).astype(np.float64),
        latency_ms=np.full(rows, 0.02),
        error=np.full(rows, None, dtype=object),
        features=Columns({f"feature_{position}": matrix[:, position] for position in range(features)}),
    )


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add what the block takes to `seconds`."""
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def fill(log: SqlitePredictionLog, given: argparse.Namespace, seconds: dict[str, float]) -> None:
    """Write all rows in batches, hour by hour, label some of them, and seal each hour as it closes."""
    rng = np.random.default_rng(0)
    batches = given.rows // given.batch
    for number in range(batches):
        at = BEGINNING + timedelta(hours=given.hours) * number / batches
        made = block(at, given.batch, given.features, rng)
        with timed(seconds, "write"):
            log.append([made])
        with timed(seconds, "seal"):
            log.seal(at)
        chosen = rng.random(given.batch) < given.labels / given.rows
        labels = made.ids[chosen]
        if len(labels):
            truth = np.array(["no", "yes"], dtype=object)[rng.integers(0, 2, len(labels))]
            log.append_labels(LabelBlock(MODEL, labels, truth, np.full(len(labels), as_datetime64(at))))
    with timed(seconds, "seal"):
        log.seal(BEGINNING + timedelta(hours=given.hours + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=48)
    given = parser.parse_args()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqlitePredictionLog(folder / "log.db", folder / "log")
        fill(log, given, seconds)
        rows = given.rows // given.batch * given.batch
        sealed, whole = size_of(folder / "log"), size_of(folder)
        features = [f"feature.feature_{position}" for position in range(given.features)]
        with timed(seconds, "first scan"):
            # The first time that a process reads a sealed file, it also holds its bytes against their hash.
            read = sum(table.num_rows for table in log.scan(MODEL, features))
        with timed(seconds, "scan"):
            frame = pa.concat_tables(log.scan(MODEL, ["event_time", *features]))
            columns = [column.to_numpy() for column in frame.columns]
        with timed(seconds, "join"):
            joined = pa.concat_tables(labelled_rows(log, MODEL, ["output", "score"]))
            right = pa.compute.mean(pa.compute.equal(joined.column("output"), joined.column(LABEL))).as_py()
        log.close()
    if read != rows or len(columns[0]) != rows or not joined.num_rows:
        raise SystemExit(f"{rows:,} rows were written, {read:,} read.")
    print(f"{rows:,} rows of {given.features} features in batches of {given.batch:,} over {given.hours} hours")
    print(f"written: {rows / seconds['write']:,.0f} rows a second; sealed: {rows / seconds['seal']:,.0f} rows a second")
    print(f"disk: {sealed / rows:.1f} bytes a row sealed, {whole / rows:.1f} with the index of ids and the labels")
    print(f"all features as columns: {seconds['scan']:.2f} s, the first time {seconds['first scan']:.2f} s")
    print(f"joined with {joined.num_rows:,} labels: {seconds['join']:.2f} s (accuracy {right:.3f})")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
