"""Blocks of the prediction log as Arrow tables: what is sealed, scanned and given back as blocks.

A table has a column a field and a feature, whatever form its rows lay in. `prediction_id` is a text, or 16 bytes where
every id is a UUID; `entity` is absent where every row is its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns
from homeostat.ports import FEATURE, PROBABILITY
from homeostat.records import LabelBlock, PredictionBlock
from homeostat.records import ids as prediction_ids
from homeostat.stores import packing

if TYPE_CHECKING:
    import pyarrow as pa

MATRIX = "matrix"
LAYOUT = b"features"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
# An Arrow stream begins with it, and no MessagePack array does.
STREAM = b"\xff\xff\xff\xff"

# A block as it lies in the database: its sequence number, its core, and its features where it has any.
Entry = tuple[int, bytes, "bytes | None"]


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks with the same columns, put together: their numbers, how many rows each has, and one table of all."""

    numbers: list[int]
    lengths: list[int]
    table: pa.Table

    @property
    def sequence(self) -> npt.NDArray[np.int64]:
        """The block's number for each row."""
        return np.repeat(np.array(self.numbers, dtype=np.int64), self.lengths)


def gather(entries: Sequence[Entry]) -> list[Part]:
    """Blocks as few tables: one for each set of columns, and for each form of ids."""
    groups: dict[tuple[bool, int | None, bytes | None], list[tuple[int, packing.Core, packing.Features | None]]] = {}
    for number, content, more in entries:
        core, features = _unpack(content, more)
        key = (isinstance(core.ids, bytes), core.classes, None if features is None else features.layout)
        groups.setdefault(key, []).append((number, core, features))
    return [
        Part(
            [number for number, _, _ in group],
            [core.rows for _, core, _ in group],
            _table([core for _, core, _ in group], [features for _, _, features in group if features is not None]),
        )
        for group in groups.values()
    ]


def _unpack(core: bytes, features: bytes | None) -> tuple[packing.Core, packing.Features | None]:
    if core[:4] == STREAM or (features and features[:4] == STREAM):
        core, features = _packed_anew(core, features)
    return packing.unpack_core(core), packing.unpack_features(features) if features else None


def _table(cores: list[packing.Core], features: list[packing.Features]) -> pa.Table:
    import pyarrow as pa

    lengths = [core.rows for core in cores]
    rows, text = sum(lengths), pa.string()
    columns: dict[str, pa.Array] = {
        "prediction_id": _id_array([core.ids for core in cores]),
        "event_time": pa.array(_numbers([core.event_time for core in cores], lengths, packing.INTEGER)).view(
            pa.timestamp("us", tz="UTC")
        ),
        "version": pa.array(_numbers([core.version for core in cores], lengths, packing.INTEGER)),
        "arm": pa.array(_texts([core.arm for core in cores], lengths), text),
    }
    if not all(core.entity is True for core in cores):
        entities = [_ids_of(core) if core.entity is True else core.entity for core in cores]
        columns["entity"] = pa.array(_texts(entities, lengths), text)
    columns["output"] = pa.array(_texts([core.output for core in cores], lengths), text)
    columns["score"] = pa.array(_numbers([core.score for core in cores], lengths, packing.FLOAT))
    columns["latency_ms"] = pa.array(_numbers([core.latency_ms for core in cores], lengths, packing.FLOAT))
    columns["error"] = pa.array(_texts([core.error for core in cores], lengths), text)
    if cores[0].classes:
        by_class = _matrix([core.probabilities for core in cores], rows, cores[0].classes)
        columns |= {f"{PROBABILITY}{position}": pa.array(values) for position, values in enumerate(by_class)}
    if features:
        layout = packing.layout_of(features[0].layout)
        by_feature = _matrix(
            [one.numbers for one in features],
            rows,
            sum(is_number for _, is_number in layout),
            [one.narrow for one in features],
        )
        numbers = iter(by_feature)
        texts = iter(range(len(features[0].texts)))
        for name, is_number in layout:
            if is_number:
                columns[FEATURE + name] = pa.array(next(numbers))
            else:
                position = next(texts)
                columns[FEATURE + name] = pa.array(_texts([one.texts[position] for one in features], lengths), text)
    return pa.table(columns)


def _id_array(parts: Sequence[bytes | list[str]]) -> pa.Array:
    import pyarrow as pa

    if isinstance(parts[0], bytes):
        whole = b"".join(parts)  # type: ignore[arg-type]
        return pa.Array.from_buffers(
            pa.binary(prediction_ids.KEY_BYTES), len(whole) // prediction_ids.KEY_BYTES, [None, pa.py_buffer(whole)]
        )
    return pa.array([id_ for part in parts for id_ in part], pa.string())


def _ids_of(core: packing.Core) -> list[str]:
    return prediction_ids.texts_of(core.ids) if isinstance(core.ids, bytes) else core.ids


def _numbers(values: Sequence[int | bytes], lengths: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """One array of what blocks hold: raw bytes, or one number for all rows of a block."""
    contents: list[bytes] = []
    for value, length in zip(values, lengths, strict=True):
        content = value if isinstance(value, bytes) else value.to_bytes(dtype.itemsize, "little", signed=True)
        contents.append(content * length if len(content) < length * dtype.itemsize else content)
    return np.frombuffer(b"".join(contents), dtype)


def _matrix(contents: Sequence[bytes], rows: int, columns: int, narrow: Sequence[bool] = ()) -> npt.NDArray[np.float64]:
    """Matrices that lie row by row, as one, a column each; those that are `narrow` are of float32."""
    if any(narrow):
        kinds = (packing.NARROW if one else packing.FLOAT for one in narrow)
        values = np.concatenate(
            [np.frombuffer(content, kind) for content, kind in zip(contents, kinds, strict=True)], dtype=packing.FLOAT
        )
    else:
        values = np.frombuffer(b"".join(contents), packing.FLOAT)
    return np.ascontiguousarray(values.reshape(rows, columns).T)


def _texts(values: Sequence[Any], lengths: Sequence[int]) -> list[str | None]:
    """One list of what blocks hold: lists, or one text for all rows of a block."""
    found: list[str | None] = []
    for value, length in zip(values, lengths, strict=True):
        if isinstance(value, list):
            found += value
        elif length == 1:
            found.append(value)
        else:
            found += [value] * length
    return found


def to_blocks(model: str, table: pa.Table, lengths: Sequence[int], *, shadow: bool) -> list[PredictionBlock]:
    """The blocks of those lengths that lie in one table after each other."""
    ids = id_texts(table)
    by_class = probability_names(table.column_names)
    whole = PredictionBlock(
        model=model,
        shadow=shadow,
        ids=ids,
        event_time=_moments(table),
        version=table.column("version").to_numpy(),
        arm=_objects(table, "arm"),
        entity=_objects(table, "entity") if "entity" in table.column_names else ids,
        output=_objects(table, "output"),
        score=_floats(table, "score"),
        latency_ms=_floats(table, "latency_ms"),
        error=_objects(table, "error"),
        features=_to_columns(table),
        probabilities=np.column_stack([_floats(table, name) for name in by_class]) if by_class else None,
    )
    if len(lengths) == 1:
        return [whole]
    ends = np.cumsum(lengths).tolist()
    return [whole.take(slice(end - length, end)) for length, end in zip(lengths, ends, strict=True)]


def probability_names(names: Sequence[str]) -> list[str]:
    """The columns of probabilities, in the order of the classes."""
    found = [name for name in names if name.startswith(PROBABILITY)]
    return sorted(found, key=lambda name: int(name.removeprefix(PROBABILITY)))


def id_texts(table: pa.Table) -> npt.NDArray[Any]:
    """The ids of a table as texts."""
    import pyarrow as pa

    column = table.column("prediction_id")
    if pa.types.is_string(column.type):
        return _objects(table, "prediction_id")
    found = np.empty(table.num_rows, dtype=object)
    found[:] = [id_ for chunk in column.chunks for id_ in prediction_ids.texts_of(prediction_ids.key_bytes(chunk))]
    return found


def _to_columns(table: pa.Table) -> Columns:
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


# Labels, which come in larger parts, are Arrow IPC streams: one form for ids that are all UUIDs, one for all others.
@lru_cache(maxsize=2)
def _label_schema(*, are_keys: bool) -> tuple[pa.Schema, bytes]:
    import pyarrow as pa

    id_type = pa.binary(prediction_ids.KEY_BYTES) if are_keys else pa.string()
    schema = pa.schema(
        [("prediction_id", id_type), ("value", pa.string()), ("event_time", pa.timestamp("us", tz="UTC"))]
    )
    return schema, bytes(schema.serialize())


def _label_batch(block: LabelBlock) -> tuple[pa.RecordBatch, bytes]:
    import pyarrow as pa

    keys = prediction_ids.packed(block.ids) if block.rows else None
    schema, opening = _label_schema(are_keys=keys is not None)
    # As numbers first: the direct way costs as much as all other columns of a small block together.
    moments = pa.array(block.event_time.astype("datetime64[us]").astype(np.int64))
    arrays = [
        pa.array(block.ids, pa.string()) if keys is None else _id_array([keys]),
        pa.array(block.values, pa.string()),
        moments.view(pa.timestamp("us", tz="UTC")),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), opening


def label_table(block: LabelBlock) -> pa.Table:
    """Labels in columns: `prediction_id`, 16 bytes where all are UUIDs, else a text; `value`; `event_time`."""
    import pyarrow as pa

    return pa.Table.from_batches([_label_batch(block)[0]])


def encode_labels(block: LabelBlock) -> bytes:
    """A block of labels as an Arrow IPC stream of its table."""
    # What Arrow's own writer writes, without setting one up for each block: the schema, the rows, the end.
    batch, opening = _label_batch(block)
    return b"".join((opening, batch.serialize(), END_OF_STREAM))


def decode(content: bytes) -> pa.Table:
    """A table from an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def to_labels(model: str, table: pa.Table, *, source: str, confidence: float) -> LabelBlock:
    """A block of labels from its table."""
    return LabelBlock(
        model=model,
        ids=id_texts(table),
        values=_objects(table, "value"),
        event_time=_moments(table),
        source=source,
        confidence=confidence,
    )


# Logs of earlier versions hold Arrow IPC streams: the core, and the features with a column each or as one matrix.
def _packed_anew(core: bytes, features: bytes | None) -> tuple[bytes, bytes | None]:
    """A block whose core or features are Arrow streams, in the present form."""
    if core[:4] == STREAM:
        [block] = to_blocks("", table := decode(core), [table.num_rows], shadow=False)
        core = packing.pack_core(block, prediction_ids.packed(block.ids))
    if features and features[:4] == STREAM:
        features = packing.pack_features(_to_columns(_typed_features(decode(features))))
    return core, features


def _typed_features(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    layout = (table.schema.metadata or {}).get(LAYOUT)
    if layout is None:
        return table
    values = np.empty((0, table.num_rows))
    if MATRIX in table.column_names:
        column = table.column(MATRIX)
        flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
        values = np.ascontiguousarray(flat.reshape(table.num_rows, column.type.list_size).T)
    numbers = iter(values)
    return pa.table(
        {
            FEATURE + name: pa.array(next(numbers)) if is_number else table.column(FEATURE + name)
            for name, is_number in json.loads(layout)
        }
    )


def _objects(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table.column(name).to_numpy(), dtype=object)


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def _moments(table: pa.Table) -> npt.NDArray[np.datetime64]:
    return np.asarray(table.column("event_time").cast("timestamp[us]").to_numpy().astype("datetime64[us]"))
