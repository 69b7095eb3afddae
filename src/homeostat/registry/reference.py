"""What a version is held against later: profile, row sample, scores and importances of what it was trained on."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns, Kind
from homeostat.ports import Predictor
from homeostat.records import Task
from homeostat.stats.profile import Profile

Floats = npt.NDArray[np.float64]
SAMPLE_ROWS = 2_000
IMPORTANCE_ROWS = 300
SCORE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Reference:
    """`scores` come from rows that the evaluated model had not seen; empty where there were none."""

    profile: Profile
    scores: Floats
    importances: dict[str, float]


def write_reference(reference: Reference) -> bytes:
    """As JSON."""
    return msgspec.json.encode(
        {
            "profile": reference.profile.to_dict(),
            "scores": [round(float(score), 6) for score in reference.scores],
            "importances": reference.importances,
        }
    )


def read_reference(content: bytes) -> Reference:
    """From JSON."""
    data = msgspec.json.decode(content)
    return Reference(
        profile=Profile.from_dict(data["profile"]),
        scores=np.array(data["scores"], dtype=np.float64),
        importances=data["importances"],
    )


def write_rows(columns: Columns, target: npt.NDArray[Any] | None, times: npt.NDArray[np.datetime64] | None) -> bytes:
    """Rows as Parquet, with the target in the column `__target__` and their times in `__time__`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays: dict[str, Any] = {
        f"f.{name}": pa.array(values, pa.float64() if values.dtype.kind == "f" else pa.string())
        for name, values in columns.items()
    }
    if target is not None:
        arrays["__target__"] = pa.array(target, pa.float64() if target.dtype.kind == "f" else pa.string())
    if times is not None:
        arrays["__time__"] = pa.array(times.astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return sink.getvalue()


def read_rows(content: bytes) -> tuple[Columns, npt.NDArray[Any] | None, npt.NDArray[np.datetime64] | None]:
    """What `write_rows` wrote: features, target and times."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))

    def values(name: str) -> npt.NDArray[Any]:
        column = table.column(name)
        if pa.types.is_floating(column.type):
            return np.asarray(column.to_numpy(), dtype=np.float64)
        return np.array(column.to_pylist(), dtype=object)

    names = [name for name in table.column_names if name.startswith("f.")]
    target = values("__target__") if "__target__" in table.column_names else None
    times = None
    if "__time__" in table.column_names:
        times = table.column("__time__").cast("timestamp[us]").to_numpy().astype("datetime64[us]")
    return Columns({name.removeprefix("f."): values(name) for name in names}, table.num_rows), target, times


def permutation_importances(
    predictor: Predictor, columns: Columns, kinds: dict[str, Kind], task: Task, *, seed: int
) -> dict[str, float]:
    """How much the outputs move when one feature's values are shuffled, as shares that add up to 1.

    It is measured on outputs, not on loss, so that it needs no labels (Breiman 2001, with the model's own output as
    the target).
    """
    rng = np.random.default_rng(seed)
    rows = min(columns.rows, IMPORTANCE_ROWS)
    sample = columns.take(np.sort(rng.choice(columns.rows, rows, replace=False)))
    base = predictor.predict(sample)
    moved: dict[str, float] = {}
    # All shuffled copies are scored in one call: one call a feature would cost more in overhead than in scoring.
    order = rng.permutation(rows)
    names = list(kinds)
    stacked = {
        name: np.concatenate([sample[name][order] if other == name else sample[name] for other in names])
        for name in names
    }
    outputs = predictor.predict(Columns(stacked, rows * len(names)))
    scale = 1.0 if task.is_classification else float(np.std(base)) or 1.0
    for position, name in enumerate(names):
        changed = outputs[position * rows : (position + 1) * rows]
        moved[name] = float(np.mean(np.abs(changed - base)) / scale)
    total = sum(moved.values())
    return {name: round(value / total, 6) if total else 1.0 / len(names) for name, value in moved.items()}
