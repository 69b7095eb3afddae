"""From tensors to typed columns and back to bytes.

Binary tensors are little-endian, row by row, without gaps; an element of `BYTES` follows its length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidFeatures
from homeostat.frames import Columns, Kind
from homeostat.http.inference_protocol.messages import InputTensor
from homeostat.http.inference_protocol.messages import given as parameters_of
from homeostat.records import Feature, Signature
from homeostat.serving.rows import typed_values

BYTES, BOOL = "BYTES", "BOOL"
BITS = (8, 16, 32, 64)
WHOLE = {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in BITS}
WHOLE |= {f"UINT{bits}": (0, 2**bits - 1) for bits in BITS}
FLOATS = ("FP64", "FP32", "FP16")
DTYPES = {
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in BITS[1:]},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in BITS},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in BITS},
    BOOL: np.dtype("u1"),
}
# The first is the one that metadata names.
DATATYPES = {
    Kind.NUMERIC: (*FLOATS, *WHOLE),
    Kind.BOOLEAN: (BOOL, *WHOLE, *FLOATS),
    Kind.CATEGORICAL: (BYTES,),
    Kind.TEXT: (BYTES,),
}
MOST_DIMENSIONS = 2
# MLServer's data frames mark columns of mixed Python objects so: each element is JSON by itself.
JSON_ELEMENTS = "pd_json"
LENGTH = struct.Struct("<I")
_NUMBERS = {int, float, type(None)}
_ELEMENT = msgspec.json.Decoder(str | int | float | bool | None)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input: as many values as its shape says, row by row, as a view into the body or as they were in JSON.

    With `is_mixed` each value says of itself what it is, whatever the datatype says of all.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any] | list[Any]
    is_mixed: bool = False


def tensor_of(given: InputTensor, binary: memoryview | None) -> Tensor:
    """An input with its values. Raises `InvalidFeatures` where they are not what its shape and its datatype say."""
    count = math.prod(given.shape)
    values: npt.NDArray[Any] | list[Any]
    if binary is None:
        values = _json_values(given, count)
    elif given.datatype == BYTES:
        values = _binary_texts(binary, count)
    else:
        values = _binary_numbers(binary, given.datatype, count)
    is_mixed = given.datatype == BYTES and parameters_of(given.parameters).get("content_type") == JSON_ELEMENTS
    if is_mixed:
        values = [_json_element(value) for value in values]
    return Tensor(given.name, given.datatype, tuple(given.shape), values, is_mixed)


def _binary_numbers(binary: memoryview, datatype: str, count: int) -> npt.NDArray[Any]:
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidFeatures(f"An input has a datatype that is none of {', '.join((*DTYPES, BYTES))}.")
    if len(binary) != count * dtype.itemsize:
        raise InvalidFeatures(
            f"An input has {len(binary):,} bytes; its shape and its datatype say {count * dtype.itemsize:,}."
        )
    values = np.frombuffer(binary, dtype)
    if datatype == BOOL and (values > 1).any():
        raise InvalidFeatures("An input has a byte that is no BOOL, which is 0 or 1.")
    return values


def _binary_texts(binary: memoryview, count: int) -> list[Any]:
    size = len(binary)
    if count * LENGTH.size > size:
        raise InvalidFeatures(f"An input has {size:,} bytes, too few for the {count:,} texts that its shape says.")
    texts: list[Any] = []
    start = 0
    try:
        for _ in range(count):
            (length,) = LENGTH.unpack_from(binary, start)
            start += LENGTH.size
            if length > size - start:
                raise InvalidFeatures("An input has a text that is longer than the bytes that follow.")
            texts.append(str(binary[start : start + length], "utf-8"))
            start += length
    except UnicodeDecodeError:
        raise InvalidFeatures("An input has a text that is no UTF-8.") from None
    except struct.error:
        raise InvalidFeatures("An input ends within the length of a text.") from None
    if start != size:
        raise InvalidFeatures(f"An input has {size - start:,} bytes after its last text.")
    return texts


def _json_values(given: InputTensor, count: int) -> list[Any]:
    """The values row by row: they come flat, or nested just as the shape says."""
    data = given.data if isinstance(given.data, list) else []
    rows, width = (*given.shape, -1)[:2]
    values: list[Any] = data
    if list in set(map(type, data)):
        lists = [part for part in data if isinstance(part, list)]
        if len(lists) != len(data) or len(lists) != rows or any(len(part) != width for part in lists):
            raise InvalidFeatures("The lists in an input's data are not nested as its shape says.")
        values = [value for part in lists for value in part]
    if len(values) != count:
        raise InvalidFeatures(f"An input has {len(values):,} values; its shape says {count:,}.")
    if given.datatype in WHOLE:
        lowest, highest = WHOLE[given.datatype]
        whole = [value for value in values if value is not None]
        if set(map(type, whole)) - {int} or (whole and not (lowest <= min(whole) and max(whole) <= highest)):
            raise InvalidFeatures(f"An input has a value that is no {given.datatype}.")
    return values


def _json_element(text: Any) -> Any:
    try:
        return _ELEMENT.decode(text)
    except (msgspec.MsgspecError, TypeError, RecursionError):
        raise InvalidFeatures(
            "An element of an input that says it holds JSON is no number, text, boolean or null."
        ) from None


def columns_of_tensors(tensors: Sequence[Tensor], signature: Signature) -> Columns:
    """Typed columns from a tensor for each feature, or from one of rows × features. Raises `InvalidFeatures`."""
    features = signature.features
    is_matrix = len(tensors) == 1 and len(tensors[0].shape) == MOST_DIMENSIONS
    if is_matrix and all(feature.name != tensors[0].name for feature in features):
        return _from_matrix(tensors[0], features)
    given = {tensor.name: tensor for tensor in tensors}
    if len(given) != len(tensors):
        raise InvalidFeatures("Two inputs have the same name.")
    absent = [feature.name for feature in features if feature.name not in given]
    if absent:
        raise InvalidFeatures(f"Missing features: {', '.join(absent[:10])}.", missing=absent)
    if len(given) > len(features):
        raise InvalidFeatures(f"There are {len(given) - len(features)} inputs that the model does not know.")
    columns = {}
    rows = tensors[0].shape[0]
    for feature in features:
        tensor = given[feature.name]
        check_one_a_row(tensor, rows)
        _check_datatype(tensor, feature)
        columns[feature.name] = _typed(_as_numbers(tensor.values) if feature.kind.is_number else tensor.values, feature)
    return Columns(columns, rows)


def check_one_a_row(tensor: Tensor, rows: int) -> None:
    """Raise `InvalidFeatures` where a tensor has not just one value for every row."""
    if math.prod(tensor.shape) != rows or tensor.shape[0] != rows:
        # Its name is a feature's or one that the protocol gives a meaning to.
        raise InvalidFeatures(f"Input '{tensor.name}' should have the shape [{rows}] or [{rows}, 1].")


def _from_matrix(tensor: Tensor, features: Sequence[Feature]) -> Columns:
    rows, width = tensor.shape
    if width != len(features):
        raise InvalidFeatures(f"The input has {width} columns; the model takes {len(features)} features.")
    for feature in features:
        _check_datatype(tensor, feature)
    values = tensor.values if isinstance(tensor.values, np.ndarray) else _as_numbers(tensor.values)
    if not isinstance(values, np.ndarray):
        mixed = {feature.name: typed_values(values[at::width], feature) for at, feature in enumerate(features)}
        return Columns(mixed, rows)
    # Row by row, as it came: so it is scored, and so it is logged.
    matrix = _own(values).reshape(rows, width)
    # All at once: a look at each of many short columns costs more than what it finds.
    if np.isinf(matrix).any():
        raise _infinite(features[int(np.isinf(matrix).any(axis=0).argmax())])
    for place, feature in enumerate(features):
        if feature.kind is Kind.BOOLEAN:
            _check_boolean(matrix[:, place], feature)
    return Columns.of_matrix([feature.name for feature in features], matrix)


def _as_numbers(values: npt.NDArray[Any] | list[Any]) -> npt.NDArray[np.float64] | list[Any]:
    """Numbers as float64 of their own, NaN for null; a list that holds anything else stays as it is.

    A copy also of floats: what the body holds can't be written to, and need not lie where numbers should.
    """
    if not isinstance(values, np.ndarray) and not set(map(type, values)) <= _NUMBERS:
        return values
    try:
        return _own(values)
    except OverflowError:
        raise InvalidFeatures("An input has a number that no float can hold.") from None


def _own(values: npt.NDArray[Any] | list[Any]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # any bits may be a NaN
        return np.array(values, dtype=np.float64)


def _typed(values: npt.NDArray[Any] | list[Any], feature: Feature) -> npt.NDArray[Any]:
    if not isinstance(values, np.ndarray):
        return typed_values(values, feature)
    if np.isinf(values).any():
        raise _infinite(feature)
    if feature.kind is Kind.BOOLEAN:
        _check_boolean(values, feature)
    return values


def _infinite(feature: Feature) -> InvalidFeatures:
    return InvalidFeatures(f"Feature '{feature.name}' has an infinite value.", feature=feature.name)


def _check_boolean(values: npt.NDArray[np.float64], feature: Feature) -> None:
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        raise InvalidFeatures(f"Feature '{feature.name}' is boolean: its values are 0, 1 and, where missing, NaN.")


def _check_datatype(tensor: Tensor, feature: Feature) -> None:
    if tensor.datatype not in DATATYPES[feature.kind] and not tensor.is_mixed:
        raise InvalidFeatures(
            f"Feature '{feature.name}' is {feature.kind.value}; its datatype is one of "
            f"{', '.join(DATATYPES[feature.kind])}."
        )


def packed_numbers(values: npt.NDArray[Any], datatype: str) -> bytes:
    """Numbers as the bytes of a tensor."""
    return values.astype(DTYPES[datatype], copy=False).tobytes()


def packed_texts(texts: Sequence[str]) -> bytes:
    """Texts as the bytes of a tensor, each after its length.

    >>> packed_texts(["abc", ""]).hex(" ", 4)
    '030000 00616263 00000000'
    """
    parts: list[bytes] = []
    for text in texts:
        encoded = text.encode()
        parts += (LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)
