"""Blocks of the prediction log as Arrow: how they lie in SQLite and in Parquet.

In SQLite a block is two Arrow IPC streams: its core, and its features. There all numeric features are one matrix,
because thirty columns of one row cost thirty times as much to write and to read as one. In Parquet, and for whoever
reads, each feature is a column of its own.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns
from homeostat.records import LabelBlock, PredictionBlock

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE = "feature."
PROBABILITY = "probability."
MATRIX = "matrix"
LAYOUT = b"features"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
SHAPES = 256


@dataclass(frozen=True, slots=True)
class _Shape:
    """A schema, and how it stands at the beginning of a stream."""

    schema: pa.Schema
    opening: bytes


def _shape(schema: pa.Schema) -> _Shape:
    return _Shape(schema, bytes(schema.serialize()))


@lru_cache(maxsize=SHAPES)
def _core_shape(probabilities: int) -> _Shape:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return _shape(
        pa.schema(
            [
                ("prediction_id", text),
                ("event_time", pa.timestamp("us", tz="UTC")),
                ("version", pa.int64()),
                ("arm", text),
                ("entity", text),
                ("output", text),
                ("score", number),
                ("latency_ms", number),
                ("error", text),
                *((f"{PROBABILITY}{index}", number) for index in range(probabilities)),
            ]
        )
    )


@lru_cache(maxsize=SHAPES)
def _features_shape(layout: tuple[tuple[str, bool], ...]) -> _Shape:
    """The schema of a block's features; its metadata names them in order, and says which are in the matrix."""
    import pyarrow as pa

    fields = [pa.field(FEATURE + name, pa.string()) for name, is_number in layout if not is_number]
    numbers = sum(is_number for _, is_number in layout)
    if numbers:
        fields.append(pa.field(MATRIX, pa.list_(pa.float64(), numbers)))
    return _shape(pa.schema(fields, metadata={LAYOUT: json.dumps(layout)}))


@lru_cache(maxsize=SHAPES)
def _label_shape() -> _Shape:
    import pyarrow as pa

    return _shape(
        pa.schema(
            [("prediction_id", pa.string()), ("value", pa.string()), ("event_time", pa.timestamp("us", tz="UTC"))]
        )
    )


def encode_core(block: PredictionBlock) -> bytes:
    """All of a block but its features, as an Arrow IPC stream. Raises `ValueError` where lengths differ."""
    import pyarrow as pa

    text = pa.string()
    by_class = np.empty((0, block.rows)) if block.probabilities is None else block.probabilities.T
    probabilities = [pa.array(np.ascontiguousarray(column), pa.float64()) for column in by_class]
    arrays = [
        pa.array(block.ids, text),
        _times(block.event_time),
        pa.array(block.version, pa.int64()),
        pa.array(block.arm, text),
        pa.array(block.entity, text),
        pa.array(block.output, text),
        pa.array(block.score, pa.float64()),
        pa.array(block.latency_ms, pa.float64()),
        pa.array(block.error, text),
        *probabilities,
    ]
    return _encode(arrays, _core_shape(len(probabilities)))


def encode_features(columns: Columns) -> bytes:
    """Features as an Arrow IPC stream. NaN stays NaN, so that what is read back is what was scored."""
    import pyarrow as pa

    layout: list[tuple[str, bool]] = []
    texts: list[npt.NDArray[Any]] = []
    numbers: list[npt.NDArray[Any]] = []
    for name, values in columns.items():
        is_number = values.dtype.kind == "f"
        layout.append((name, is_number))
        (numbers if is_number else texts).append(values)
    arrays = [pa.array(values, pa.string()) for values in texts]
    if numbers:
        flat = np.array(numbers, dtype=np.float64).T.ravel()
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), len(numbers)))
    return _encode(arrays, _features_shape(tuple(layout)))


def encode_labels(block: LabelBlock) -> bytes:
    """A block of labels as an Arrow IPC stream."""
    import pyarrow as pa

    arrays = [pa.array(block.ids, pa.string()), pa.array(block.values, pa.string()), _times(block.event_time)]
    return _encode(arrays, _label_shape())


def _times(values: npt.NDArray[np.datetime64]) -> pa.Array:
    import pyarrow as pa

    # As numbers first: the direct way costs as much as all other columns of a small block together.
    moments = pa.array(values.astype("datetime64[us]").astype(np.int64))
    return moments.view(pa.timestamp("us", tz="UTC"))


def _encode(arrays: list[pa.Array], shape: _Shape) -> bytes:
    import pyarrow as pa

    # What Arrow's own writer writes, without setting one up for each block: the schema, the rows, the end.
    batch = pa.RecordBatch.from_arrays(arrays, schema=shape.schema)
    return b"".join((shape.opening, batch.serialize(), END_OF_STREAM))


def decode(content: bytes) -> pa.Table:
    """A table from an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def layout_of(table: pa.Table) -> Hashable:
    """What two tables must have in common to be put together."""
    metadata = table.schema.metadata or {}
    return (*table.column_names, metadata.get(LAYOUT))


def typed_features(table: pa.Table) -> pa.Table:
    """Features with a column each, named with their prefix, in the order in which they were given."""
    import pyarrow as pa

    layout = (table.schema.metadata or {}).get(LAYOUT)
    if layout is None:
        return table
    numbers = iter(_matrix(table))
    return pa.table(
        {
            FEATURE + name: pa.array(next(numbers)) if is_number else table.column(FEATURE + name)
            for name, is_number in json.loads(layout)
        }
    )


def _matrix(table: pa.Table) -> npt.NDArray[np.float64]:
    """The numeric features, a row each."""
    if MATRIX not in table.column_names:
        return np.empty((0, table.num_rows))
    column = table.column(MATRIX)
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return np.ascontiguousarray(values.reshape(table.num_rows, column.type.list_size).T)


def to_blocks(
    model: str, core: pa.Table, lengths: Sequence[int], *, shadow: bool, features: pa.Table | None = None
) -> list[PredictionBlock]:
    """The blocks of those lengths that lie in one table after each other; `features` are those of the same rows."""
    probabilities = [name for name in core.column_names if name.startswith(PROBABILITY)]
    probabilities.sort(key=lambda name: int(name.removeprefix(PROBABILITY)))
    whole = PredictionBlock(
        model=model,
        shadow=shadow,
        ids=_objects(core, "prediction_id"),
        event_time=_moments(core),
        version=core.column("version").to_numpy(),
        arm=_objects(core, "arm"),
        entity=_objects(core, "entity"),
        output=_objects(core, "output"),
        score=_floats(core, "score"),
        latency_ms=_floats(core, "latency_ms"),
        error=_objects(core, "error"),
        features=Columns({}, core.num_rows) if features is None else _to_columns(features, core.num_rows),
        probabilities=np.column_stack([_floats(core, name) for name in probabilities]) if probabilities else None,
    )
    if len(lengths) == 1:
        return [whole]
    ends = np.cumsum(lengths).tolist()
    return [whole.take(slice(end - length, end)) for length, end in zip(lengths, ends, strict=True)]


def _to_columns(table: pa.Table, rows: int) -> Columns:
    import pyarrow as pa

    layout = (table.schema.metadata or {}).get(LAYOUT)
    if layout is not None:
        numbers = iter(_matrix(table))
        return Columns(
            {
                name: next(numbers) if is_number else _objects(table, FEATURE + name)
                for name, is_number in json.loads(layout)
            },
            rows,
        )
    return Columns(
        {
            name.removeprefix(FEATURE): (
                _floats(table, name) if pa.types.is_floating(table.column(name).type) else _objects(table, name)
            )
            for name in table.column_names
            if name.startswith(FEATURE)
        },
        rows,
    )


def to_labels(model: str, table: pa.Table, *, source: str, confidence: float) -> LabelBlock:
    """A block of labels from its table."""
    return LabelBlock(
        model=model,
        ids=_objects(table, "prediction_id"),
        values=_objects(table, "value"),
        event_time=_moments(table),
        source=source,
        confidence=confidence,
    )


def _objects(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table.column(name).to_numpy(), dtype=object)


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def _moments(table: pa.Table) -> npt.NDArray[np.datetime64]:
    return np.asarray(table.column("event_time").cast("timestamp[us]").to_numpy().astype("datetime64[us]"))
