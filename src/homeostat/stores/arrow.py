"""Blocks of the prediction log as Arrow tables: how they lie in SQLite and in Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homeostat.frames import Columns
from homeostat.records import LabelBlock, PredictionBlock

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE = "feature."
PROBABILITY = "probability."


def core_table(block: PredictionBlock) -> pa.Table:
    """All of a block but its features."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "prediction_id": pa.array(block.ids, pa.string()),
        "event_time": pa.array(block.event_time.astype("datetime64[us]"), pa.timestamp("us", tz="UTC")),
        "version": pa.array(block.version, pa.int64()),
        "arm": pa.array(block.arm, pa.string()),
        "entity": pa.array(block.entity, pa.string()),
        "output": pa.array(block.output, pa.string()),
        "score": pa.array(block.score, pa.float64()),
        "latency_ms": pa.array(block.latency_ms, pa.float64()),
        "error": pa.array(block.error, pa.string()),
    }
    if block.probabilities is not None:
        for index in range(block.probabilities.shape[1]):
            columns[f"{PROBABILITY}{index}"] = pa.array(np.ascontiguousarray(block.probabilities[:, index]))
    return pa.table(columns)


def features_table(columns: Columns) -> pa.Table:
    """Features as float64 and string columns. NaN stays NaN, so that what is read back is what was scored."""
    import pyarrow as pa

    return pa.table(
        {
            FEATURE + name: pa.array(values, pa.float64() if values.dtype.kind == "f" else pa.string())
            for name, values in columns.items()
        }
    )


def to_block(model: str, core: pa.Table, *, shadow: bool, features: pa.Table | None = None) -> PredictionBlock:
    """A block from its tables."""
    probabilities = [name for name in core.column_names if name.startswith(PROBABILITY)]
    probabilities.sort(key=lambda name: int(name.removeprefix(PROBABILITY)))
    return PredictionBlock(
        model=model,
        shadow=shadow,
        ids=_objects(core, "prediction_id"),
        event_time=core.column("event_time").cast("timestamp[us]").to_numpy().astype("datetime64[us]"),
        version=core.column("version").to_numpy(),
        arm=_objects(core, "arm"),
        entity=_objects(core, "entity"),
        output=_objects(core, "output"),
        score=_floats(core, "score"),
        latency_ms=_floats(core, "latency_ms"),
        error=_objects(core, "error"),
        features=Columns({}, core.num_rows) if features is None else to_features(features),
        probabilities=np.column_stack([_floats(core, name) for name in probabilities]) if probabilities else None,
    )


def to_features(table: pa.Table) -> Columns:
    """Feature columns of a table, without their prefix."""
    import pyarrow as pa

    return Columns(
        {
            name.removeprefix(FEATURE): (
                _floats(table, name) if pa.types.is_floating(table.column(name).type) else _objects(table, name)
            )
            for name in table.column_names
            if name.startswith(FEATURE)
        },
        table.num_rows,
    )


def labels_table(block: LabelBlock) -> pa.Table:
    """A block of labels."""
    import pyarrow as pa

    return pa.table(
        {
            "prediction_id": pa.array(block.ids, pa.string()),
            "value": pa.array(block.values, pa.string()),
            "event_time": pa.array(block.event_time.astype("datetime64[us]"), pa.timestamp("us", tz="UTC")),
        }
    )


def to_labels(model: str, table: pa.Table, *, source: str, confidence: float) -> LabelBlock:
    """A block of labels from its table."""
    return LabelBlock(
        model=model,
        ids=_objects(table, "prediction_id"),
        values=_objects(table, "value"),
        event_time=table.column("event_time").cast("timestamp[us]").to_numpy().astype("datetime64[us]"),
        source=source,
        confidence=confidence,
    )


def encode(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode(content: bytes) -> pa.Table:
    """A table from an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def _objects(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(table.column(name).to_pylist(), dtype=object)


def _floats(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)
