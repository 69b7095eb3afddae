"""How a block of predictions lies in the database: its core and its features, each as one MessagePack array.

Numbers are the raw bytes of little-endian arrays, texts are lists, and what is the same in every row is written once.
All numeric features are one matrix, row by row. A block of one row costs a few microseconds to write and to read, a
large one little more than copying its bytes; Arrow's streams, which logs of earlier versions hold, cost a small block
twenty times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns
from homeostat.records import PredictionBlock

FLOAT, INTEGER, MOMENT = np.dtype("<f8"), np.dtype("<i8"), np.dtype("<M8[us]")
NARROW = np.dtype("<f4")
# The bits of a double that no float32 has.
_BEYOND_NARROW = np.uint64(2**29 - 1)
_LOOKED_AT_FIRST = 64
LAYOUTS = 256
# Below it, looking for a matrix behind the columns costs more than copying them.
MATRIX_ROWS = 512
_NONE = type(None)

Texts = str | None | list[str | None]


class Core(msgspec.Struct, array_like=True, frozen=True):
    """All of a block but its features.

    `ids` are keys of 16 bytes after each other, or texts. A single value, of numbers 8 bytes, holds for every row;
    `entity` is `True` where each row is its own. `probabilities` has `classes` numbers a row.
    """

    rows: int
    ids: bytes | list[str]
    event_time: int | bytes
    version: int | bytes
    arm: Texts
    entity: bool | Texts
    output: Texts
    score: bytes
    latency_ms: bytes
    error: Texts
    classes: int | None
    probabilities: bytes


class Features(msgspec.Struct, array_like=True, frozen=True):
    """The features of a block. `layout` is a MessagePack list that names them in order, and says which are numbers.

    With `narrow` the numbers are float32, which all of a large block can be.
    """

    rows: int
    layout: bytes
    numbers: bytes
    texts: list[Texts]
    narrow: bool = False


_encoder = msgspec.msgpack.Encoder()
_core_decoder = msgspec.msgpack.Decoder(Core)
_features_decoder = msgspec.msgpack.Decoder(Features)
_layout_decoder = msgspec.msgpack.Decoder(tuple[tuple[str, bool], ...])


def pack_core(block: PredictionBlock, keys: bytes | None) -> bytes:
    """All of a block but its features; `keys` are its ids packed, where they can be. Raises `ValueError`."""
    rows = block.rows
    probabilities = block.probabilities
    return _encoder.encode(
        Core(
            rows=rows,
            ids=_all_texts(block.ids, rows) if keys is None else keys,
            event_time=_integers(_microseconds(block.event_time), rows),
            version=_integers(np.asarray(block.version, dtype=INTEGER), rows),
            arm=_texts(block.arm, rows),
            entity=True if _is_same(block.entity, block.ids) else _texts(block.entity, rows),
            output=_texts(block.output, rows),
            score=_maybe_one(block.score, rows),
            latency_ms=_maybe_one(block.latency_ms, rows),
            error=_texts(block.error, rows),
            classes=None if probabilities is None else probabilities.shape[1],
            probabilities=b"" if probabilities is None else _floats(probabilities, rows),
        )
    )


def pack_features(columns: Columns) -> bytes:
    """Features, NaN as NaN, so that what is read back is what was scored. Raises `ValueError`."""
    rows, held = columns.rows, columns.values_by_name
    if columns.matrix is not None:
        return _packed_features(rows, tuple(held), (True,) * len(held), columns.matrix, [])
    kinds = [values.dtype.kind == "f" for values in held.values()]
    numbers = [values for values, is_number in zip(held.values(), kinds, strict=True) if is_number]
    texts = [_texts(values, rows) for values, is_number in zip(held.values(), kinds, strict=True) if not is_number]
    return _packed_features(rows, tuple(held), tuple(kinds), _matrix(numbers, rows), texts)


def _packed_features(
    rows: int, names: tuple[str, ...], kinds: tuple[bool, ...], matrix: npt.NDArray[np.float64], texts: list[Texts]
) -> bytes:
    matrix = np.ascontiguousarray(matrix, dtype=FLOAT)
    narrow = None if rows < MATRIX_ROWS else _narrowed(matrix)
    content = (matrix if narrow is None else narrow).tobytes()
    return _encoder.encode(Features(rows, _layout(names, kinds), content, texts, narrow is not None))


def unpack_core(content: bytes) -> Core:
    """The core of a block."""
    return _core_decoder.decode(content)


def unpack_features(content: bytes) -> Features:
    """The features of a block."""
    return _features_decoder.decode(content)


@lru_cache(maxsize=LAYOUTS)
def layout_of(layout: bytes) -> tuple[tuple[str, bool], ...]:
    """The names of features in order, each with whether it is a number."""
    return _layout_decoder.decode(layout)


@lru_cache(maxsize=LAYOUTS)
def _layout(names: tuple[str, ...], kinds: tuple[bool, ...]) -> bytes:
    return _encoder.encode(list(zip(names, kinds, strict=True)))


def _check(values: npt.NDArray[Any], rows: int) -> None:
    if len(values) != rows:
        raise ValueError(f"The lengths of a block's columns differ: {rows} and {len(values)}.")


def _integers(values: npt.NDArray[np.int64], rows: int) -> int | bytes:
    _check(values, rows)
    content = values.tobytes()
    # Held against each other as bytes: a comparison of numpy's costs a small block ten times as much.
    return int(values[0]) if rows and content == content[: INTEGER.itemsize] * rows else content


def _floats(values: npt.NDArray[Any], rows: int) -> bytes:
    _check(values, rows)
    return np.asarray(values, dtype=FLOAT).tobytes()


def _maybe_one(values: npt.NDArray[Any], rows: int) -> bytes:
    content = _floats(values, rows)
    # As bytes also so that -0.0 and every NaN stay what they are.
    one = content[: FLOAT.itemsize]
    return one if rows > 1 and content == one * rows else content


def _microseconds(moments: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    return (moments if moments.dtype == MOMENT else moments.astype(MOMENT)).view(INTEGER)


def _is_same(values: npt.NDArray[Any], others: npt.NDArray[Any]) -> bool:
    return values is others or values.tolist() == others.tolist()


def _all_texts(values: npt.NDArray[Any], rows: int) -> Any:
    texts: list[Any] = values.tolist()
    _check(values, rows)
    if not set(map(type, texts)) <= {str, _NONE}:
        texts = [None if text is None else _text(text) for text in texts]
    return texts


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"The log keeps texts, and a {type(value).__name__} is none.")
    return str(value)


def _texts(values: npt.NDArray[Any], rows: int) -> Texts:
    texts: list[str | None] = _all_texts(values, rows)
    if texts and texts.count(texts[0]) == rows:
        return texts[0]
    return texts


def _narrowed(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32] | None:
    """The same numbers as float32, where they are: half the bytes to write. Every NaN is a NaN."""
    flat = matrix.reshape(-1)
    for part in (flat[:_LOOKED_AT_FIRST], flat):
        if np.bitwise_or.reduce(part.view(np.uint64), initial=0) & _BEYOND_NARROW:
            return None
    with np.errstate(over="ignore", under="ignore"):
        narrow = flat.astype(NARROW)
    changed = narrow != flat
    return None if changed.any() and not np.isnan(flat[changed]).all() else narrow


def _matrix(columns: Sequence[npt.NDArray[Any]], rows: int) -> npt.NDArray[np.float64]:
    """Columns of numbers as one matrix, row by row."""
    if not columns:
        return np.empty((rows, 0))
    if set(map(len, columns)) != {rows}:
        raise ValueError(f"The lengths of a block's features differ from its {rows} rows.")
    whole = _behind(columns, rows)
    if whole is None:
        whole = np.ascontiguousarray(np.concatenate(columns, dtype=FLOAT).reshape(len(columns), rows).T)
    return whole


def _behind(columns: Sequence[npt.NDArray[Any]], rows: int) -> npt.NDArray[np.float64] | None:
    """The matrix that these are the columns of, one beside the other, where there is one."""
    first = columns[0]
    whole = first.base
    if rows < MATRIX_ROWS or not isinstance(whole, np.ndarray):
        return None
    if whole.dtype != FLOAT or whole.shape != (rows, len(columns)) or not whole.flags.c_contiguous:
        return None
    start, step = whole.__array_interface__["data"][0], FLOAT.itemsize
    for position, values in enumerate(columns):
        if (
            values.base is not whole
            or values.strides != (whole.strides[0],)
            or values.__array_interface__["data"][0] != start + position * step
            or values.dtype != FLOAT
        ):
            return None
    return whole
