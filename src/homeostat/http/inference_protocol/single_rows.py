"""From a request of one row to its values, one by one: arrays, which pay off for many, cost more here than a model.

Only what is plainly right is read. Whatever else comes is for `requests.decoded`, which says what is wrong with it, or
finds that nothing is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np

from homeostat.frames import Kind
from homeostat.http.inference_protocol.framing import HEAD
from homeostat.http.inference_protocol.messages import InferBody, InputTensor
from homeostat.http.inference_protocol.requests import ENTITY, PREDICTION_ID, is_name
from homeostat.http.inference_protocol.tensors import (
    BYTES,
    DATATYPES,
    DTYPES,
    FLOATS,
    JSON_ELEMENTS,
    LENGTH,
    WHOLE,
)
from homeostat.records import Feature, Signature
from homeostat.serving.decoding import Row
from homeostat.serving.rows import LONGEST_TEXT

ONE_VALUE = ([1], [1, 1])
CODES = {"i": {1: "b", 2: "h", 4: "i", 8: "q"}, "u": {1: "B", 2: "H", 4: "I", 8: "Q"}, "f": {2: "e", 4: "f", 8: "d"}}
NUMBERS = {name: struct.Struct(f"<{CODES[dtype.kind][dtype.itemsize]}") for name, dtype in DTYPES.items()}


class Unusual(Exception):
    """The request needs a closer look."""


UNREADABLE = (Unusual, msgspec.MsgspecError, struct.error, RecursionError, UnicodeError, OverflowError)


class RowReader:
    """Reads requests of one row for one signature.

    >>> from homeostat.records import Task
    >>> features = (Feature(name="x", kind=Kind.NUMERIC), Feature(name="c", kind=Kind.CATEGORICAL))
    >>> reader = RowReader(Signature(task=Task.REGRESSION, features=features, target="y"))
    >>> x, c = (
    ...     '{"name": "x", "shape": [1], "datatype": "FP64", "data": [2]}',
    ...     '{"name": "c", "shape": [1], "datatype": "BYTES", "data": ["a"]}',
    ... )
    >>> row, _ = reader.read(f'{{"inputs": [{c}, {x}]}}'.encode())
    >>> row
    Row(values=[2.0, 'a'], prediction_id=None, entity=None)
    >>> reader.read(f'{{"inputs": [{x}]}}'.encode()) is None
    True
    """

    def __init__(self, signature: Signature) -> None:
        self._features = signature.features
        self._places = {feature.name: place for place, feature in enumerate(signature.features)}
        self._known = {PREDICTION_ID, ENTITY, *self._places}
        self._numeric = {one.name: place for place, one in enumerate(signature.features) if one.kind is Kind.NUMERIC}
        # The datatypes of a tensor that holds all features, and whether its numbers need no look of their own.
        self._of_matrix = frozenset.intersection(*(frozenset(DATATYPES[one.kind]) for one in signature.features))
        self._is_plain = all(feature.kind is Kind.NUMERIC for feature in signature.features)
        self._required = [place for place, feature in enumerate(signature.features) if not feature.nullable]

    def read(self, content: bytes, head_length: int | None = None) -> tuple[Row, InferBody] | None:
        """The row of a request, and its JSON; `None` where it has more rows or needs a closer look.

        `head_length` is how many bytes the JSON has, where binary data follow it.
        """
        if head_length is not None and head_length > len(content):
            return None
        head, rest = (content, b"") if head_length is None else (content[:head_length], content[head_length:])
        try:
            body = HEAD.decode(head)
            row = self._row(body, _Binary(rest))
            # A name that stands twice has a colon too many, unless the colon of a text is escaped.
            if head.count(b":") != _colons(body) or b"\\u003" in head:
                return None
        except UNREADABLE:
            return None
        return row, body

    def _row(self, body: InferBody, binary: _Binary) -> Row:
        first, width = body.inputs[0], len(self._features)
        about: dict[str, Any] = {}
        if len(body.inputs) == 1 and first.shape == [1, width] and first.name not in self._known:
            values = self._matrix(first, binary, width)
        else:
            values = self._columns(body.inputs, binary, about)
        if isinstance(body.parameters, dict) and ENTITY in body.parameters:
            if ENTITY in about or not is_name(body.parameters[ENTITY]):
                raise Unusual
            about[ENTITY] = body.parameters[ENTITY]
        binary.end()
        return Row(values, about.get(PREDICTION_ID), about.get(ENTITY))

    def _check_missing(self, values: Sequence[Any]) -> None:
        for place in self._required:
            value = values[place]
            if value is None or value != value:  # noqa: PLR0124 (that is what NaN is)
                raise Unusual

    def _matrix(self, tensor: InputTensor, binary: _Binary, width: int) -> list[Any]:
        datatype = tensor.datatype
        if datatype not in self._of_matrix:
            raise Unusual
        if not isinstance(tensor.data, list):
            values = binary.numbers(tensor, width)
            if self._is_plain and datatype in FLOATS and all(map(math.isfinite, values)):
                return values
        else:
            nested = tensor.data[0] if len(tensor.data) == 1 else None
            values = cast("list[Any]", nested if isinstance(nested, list) else tensor.data)
            if len(values) != width:
                raise Unusual
            if self._is_plain and datatype in FLOATS and set(map(type, values)) <= {int, float}:
                return list(map(float, values))
        values = [_checked(value, datatype, feature) for value, feature in zip(values, self._features, strict=True)]
        self._check_missing(values)
        return values

    def _columns(self, inputs: Sequence[InputTensor], binary: _Binary, about: dict[str, Any]) -> list[Any]:
        features, places, numeric = self._features, self._places, self._numeric
        values: list[Any] = [Unusual] * len(features)
        for tensor in inputs:
            if tensor.shape not in ONE_VALUE:
                raise Unusual
            data = tensor.data
            if type(data) is list and len(data) == 1 and type(data[0]) is float and tensor.datatype in FLOATS:
                # Nearly every tensor of a request that has one for each column.
                place = numeric.get(tensor.name)
                if place is not None and values[place] is Unusual:
                    values[place] = data[0]
                    continue
            value = _json_value(tensor) if isinstance(tensor.data, list) else binary.value(tensor)
            place = places.get(tensor.name)
            if place is not None:
                feature = features[place]
                if tensor.datatype not in DATATYPES[feature.kind] or values[place] is not Unusual:
                    raise Unusual
                values[place] = _checked(value, tensor.datatype, feature)
            elif tensor.name in (PREDICTION_ID, ENTITY) and tensor.name not in about:
                if tensor.datatype != BYTES or not isinstance(value, str) or not is_name(value):
                    raise Unusual
                about[tensor.name] = value
            else:
                raise Unusual
        if Unusual in values:
            raise Unusual
        self._check_missing(values)
        return values


class _Binary:
    """What follows the JSON: each tensor takes its own part of it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._start = 0

    def _part(self, tensor: InputTensor) -> tuple[int, int]:
        size = tensor.parameters.get("binary_data_size") if isinstance(tensor.parameters, dict) else None
        if type(size) is not int or not 0 <= size <= len(self._content) - self._start:
            raise Unusual
        start = self._start
        self._start += size
        return start, size

    def numbers(self, tensor: InputTensor, count: int) -> list[Any]:
        dtype = DTYPES[tensor.datatype]
        start, size = self._part(tensor)
        if size != count * dtype.itemsize:
            raise Unusual
        values: list[Any] = np.frombuffer(self._content, dtype, count, start).tolist()
        return values

    def value(self, tensor: InputTensor) -> Any:
        start, size = self._part(tensor)
        if tensor.datatype == BYTES:
            if size < LENGTH.size or LENGTH.unpack_from(self._content, start)[0] != size - LENGTH.size:
                raise Unusual
            return self._content[start + LENGTH.size : start + size].decode()
        number = NUMBERS.get(tensor.datatype)
        if number is None or size != number.size:
            raise Unusual
        return number.unpack_from(self._content, start)[0]

    def end(self) -> None:
        """Raise where bytes are left that no tensor took."""
        if self._start != len(self._content):
            raise Unusual


def _json_value(tensor: InputTensor) -> Any:
    assert isinstance(tensor.data, list)  # noqa: S101 (for the type checker: its callers have looked)
    values: list[Any] = tensor.data
    if len(values) == 1 and type(values[0]) is list and len(tensor.shape) > 1:
        values = values[0]
    if len(values) != 1:
        raise Unusual
    return values[0]


def _checked(value: Any, datatype: str, feature: Feature) -> Any:
    """A value as its feature holds it: a float, a text, or `None` where it is missing."""
    if value is None:
        return None
    kind = type(value)
    if not feature.kind.is_number:
        if kind is not str or len(value) > LONGEST_TEXT:
            raise Unusual
        return value
    if datatype in WHOLE:
        lowest, highest = WHOLE[datatype]
        if kind is not int or not lowest <= value <= highest:
            raise Unusual
    if feature.kind is Kind.BOOLEAN:
        if kind is str or value not in (0, 1):
            raise Unusual
    elif (kind is not float and kind is not int) or math.isinf(value):
        raise Unusual
    return float(value)


def _colons(body: InferBody) -> int:
    """How many colons the JSON of a request has where no name stands twice. Raises where that is not plain."""
    count = 1 + _of_parameters(body.parameters)
    for said in (body.id, body.model_name, body.model_version):
        if said is not msgspec.UNSET:
            count += 1 + (said.count(":") if isinstance(said, str) else 0)
    if body.outputs is not msgspec.UNSET:
        count += 1
        for output in body.outputs or ():
            count += 1 + output.name.count(":") + _of_parameters(output.parameters)
    inputs = body.inputs
    # A name, a shape and a datatype, and mostly nothing but data beside them.
    count += 3 * len(inputs) + "".join([tensor.name for tensor in inputs]).count(":")
    for tensor in inputs:
        if tensor.data is not msgspec.UNSET:
            count += 1
            if tensor.datatype == BYTES:
                count += _colons_of(tensor.data)
        if tensor.parameters is not msgspec.UNSET:
            count += _of_parameters(tensor.parameters)
            _check_parameters(tensor)
    return count


def _of_parameters(parameters: Any) -> int:
    """The colons of some parameters and of their name."""
    if not isinstance(parameters, dict):
        return 0 if parameters is msgspec.UNSET else 1
    count = 1 + len(parameters)
    for name, value in parameters.items():
        if isinstance(value, dict | list):
            raise Unusual
        count += name.count(":") + _colons_of(value)
    return count


def _colons_of(value: Any) -> int:
    if isinstance(value, list):
        return sum(_colons_of(one) for one in value)
    return value.count(":") if isinstance(value, str) else 0


def _check_parameters(tensor: InputTensor) -> None:
    parameters = tensor.parameters
    if not isinstance(parameters, dict):
        return
    is_twice = isinstance(tensor.data, list) and "binary_data_size" in parameters
    is_mixed = tensor.datatype == BYTES and parameters.get("content_type") == JSON_ELEMENTS
    if is_twice or is_mixed or "shared_memory_region" in parameters:
        raise Unusual
