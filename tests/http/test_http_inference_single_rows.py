"""A request of one row that is read value by value says what the same request says where it is read as arrays."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeostat.errors import HomeostatError
from homeostat.frames import Kind, missing
from homeostat.http.inference_protocol.framing import HEAD_LENGTH, read_frame
from homeostat.http.inference_protocol.requests import decoded
from homeostat.http.inference_protocol.single_rows import RowReader
from homeostat.http.inference_protocol.tensors import DTYPES, packed_texts
from homeostat.records import Feature, Signature, Task

NUMBERS = Signature(
    task=Task.REGRESSION,
    features=(Feature(name="x", kind=Kind.NUMERIC), Feature(name="y", kind=Kind.NUMERIC, nullable=False)),
    target="t",
)
MIXED = Signature(
    task=Task.REGRESSION,
    features=(
        Feature(name="a:b", kind=Kind.NUMERIC),
        Feature(name="is", kind=Kind.BOOLEAN),
        Feature(name="colour", kind=Kind.CATEGORICAL),
        Feature(name="text", kind=Kind.TEXT, nullable=False),
    ),
    target="t",
)
SIGNATURES = {"numbers": NUMBERS, "mixed": MIXED}

DATATYPES = st.sampled_from(["FP64", "FP32", "FP16", "INT64", "INT8", "UINT16", "BOOL", "BYTES", "FP8"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63, -(2**63), 10**400, 300, "a:b", "", 'q"\\', "é", "x" * 300, 0.5, 1e308, -0.0]),
    st.text(max_size=4),
)
SHAPES = st.sampled_from([[1], [1, 1], [1, 2], [2], [2, 1], [0], [1, 4]])
PARAMETERS = st.sampled_from(
    [{}, None, {"content_type": "str"}, {"content_type": "pd_json"}, {"content_type": "a:b"}, {"more": {"x": 1}}]
)


def around(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A tensor whose values stand in the JSON."""
    return st.fixed_dictionaries(
        {
            "name": st.sampled_from([*names, *names, "rows", "prediction_id", "entity"]),
            "shape": SHAPES,
            "datatype": DATATYPES,
            "data": st.one_of(st.lists(VALUES, max_size=4), st.lists(st.lists(VALUES, max_size=2), max_size=2)),
        },
        optional={"parameters": PARAMETERS},
    )


def right(feature: Feature) -> st.SearchStrategy[dict[str, Any]]:
    """A tensor as its feature would have it, most of the time."""
    kinds: dict[Kind, Any] = {
        Kind.NUMERIC: (
            ["FP64", "FP32"],
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 9)),
        ),
        Kind.BOOLEAN: (["BOOL", "BOOL", "INT8", "FP32"], st.sampled_from([True, False, 0, 1, 2, 1.0])),
        Kind.CATEGORICAL: (["BYTES"], st.text(max_size=5)),
        Kind.TEXT: (["BYTES"], st.sampled_from(["a", "a:b", "\u003a", ""])),
    }
    datatypes, values = kinds[feature.kind]
    return st.fixed_dictionaries(
        {
            "name": st.just(feature.name),
            "shape": st.sampled_from([[1], [1, 1]]),
            "datatype": st.sampled_from(datatypes),
            "data": st.one_of(values, st.none()).map(lambda one: [one]),
        },
        optional={"parameters": PARAMETERS},
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    which = draw(st.sampled_from(sorted(SIGNATURES)))
    features = SIGNATURES[which].features
    names = [feature.name for feature in features]
    inputs = draw(
        st.one_of(
            st.tuples(*(right(feature) for feature in features)).map(list).flatmap(st.permutations),
            st.lists(around(names), min_size=1, max_size=5),
            st.lists(VALUES, min_size=2, max_size=2).map(
                lambda values: [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": values}]
            ),
        )
    )
    body: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        body["id"] = draw(st.sampled_from(["", "7", "a:b", None]))
    if draw(st.booleans()):
        body["parameters"] = draw(
            st.sampled_from([None, {}, {"entity": "e:1"}, {"entity": 7}, {"entity": ""}, {"entity": None}, {"x": [1]}])
        )
    if draw(st.booleans()):
        body["outputs"] = draw(
            st.sampled_from([None, [], [{"name": "p:q"}], [{"name": "p", "parameters": {"a": ":"}}]])
        )
    return which, body


def by_arrays(
    content: bytes, signature: Signature, head_length: int | None = None
) -> tuple[list[Any], Any, Any] | None:
    """What the careful reading makes of a request of one row; `None` where it refuses it."""
    headers = {} if head_length is None else {HEAD_LENGTH: str(head_length)}
    try:
        rows = decoded(read_frame(content, headers), signature)
    except HomeostatError:
        return None
    assert rows.columns.rows == 1
    values = [None if missing(rows.columns[name])[0] else rows.columns[name][0] for name in signature.kinds]
    if any(value is None and not one.nullable for value, one in zip(values, signature.features, strict=True)):
        return None
    entity = None if rows.entities is None else rows.entities[0]
    return values, None if rows.ids is None else rows.ids[0], entity


def check_equal(content: bytes, signature: Signature, head_length: int | None = None) -> bool:
    """Whether the request was read value by value; then it says the same by arrays."""
    read = RowReader(signature).read(content, head_length)
    if read is None:
        return False
    row, _ = read
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in row.values]
    assert (values, row.prediction_id, row.entity) == by_arrays(content, signature, head_length)
    return True


def tensor(name: str, datatype: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": datatype, "data": [value], **more}


@given(requests())
@example(("numbers", {"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "INT8", "data": [1, 300]}]}))
@example(("numbers", {"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [[1, 2]]}]}))
@example(("numbers", {"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [10**400, 2]}]}))
@example(("mixed", {"inputs": [tensor("entity", "BYTES", "e")], "parameters": {"entity": "f"}}))
def test_values_are_those_of_arrays(asked: tuple[str, dict[str, Any]]) -> None:
    which, body = asked
    check_equal(json.dumps(body).encode(), SIGNATURES[which])
    check_equal(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"), SIGNATURES[which])


MATRIX = {"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [1.5, -2]}
COLUMNS = [
    tensor("colour", "BYTES", "r:d"),
    tensor("a:b", "INT64", 7),
    tensor("text", "BYTES", "größer", parameters={"content_type": "str"}),
    tensor("is", "BOOL", True),
]
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "a matrix": ("numbers", {"inputs": [MATRIX]}),
    "a nested matrix": ("numbers", {"inputs": [MATRIX | {"data": [[1.5, 2]]}]}),
    "whole numbers": ("numbers", {"inputs": [MATRIX | {"datatype": "INT64", "data": [1, 2]}]}),
    "a missing value": ("numbers", {"inputs": [MATRIX | {"data": [None, 2]}]}),
    "columns": ("mixed", {"inputs": COLUMNS, "id": "q:7", "parameters": {"content_type": "pd"}}),
    "missing values": (
        "mixed",
        {"inputs": [COLUMNS[2], *(one | {"data": [None]} for one in (*COLUMNS[:2], COLUMNS[3]))]},
    ),
    "names of the row": (
        "mixed",
        {"inputs": [*COLUMNS, tensor("prediction_id", "BYTES", "p:1"), tensor("entity", "BYTES", "e")]},
    ),
    "an entity for all": (
        "mixed",
        {"inputs": COLUMNS, "parameters": {"entity": 7}, "outputs": [{"name": "prediction"}]},
    ),
    "nulls": ("numbers", {"inputs": [MATRIX | {"parameters": None}], "id": None, "outputs": None, "parameters": None}),
}


@pytest.mark.parametrize("which", PLAIN)
def test_what_is_plainly_right_is_read_value_by_value(which: str) -> None:
    signature, body = PLAIN[which]
    assert check_equal(json.dumps(body).encode(), SIGNATURES[signature])


TENSOR = b'"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]'
TWICE = [
    b'{"inputs": [{%b, "data": [3, 4]}]}' % TENSOR,
    b'{"id": "\\u003a", "id": "1", "inputs": [{%b}]}' % TENSOR,
    b'{"inputs": [{%b, "parameters": {"a": 1, "a": 2}}]}' % TENSOR,
    b'{"inputs": [{%b, "parameters": {"a": {"b": 1}}}]}' % TENSOR,
    b'{"inputs": [{%b}]} {}' % TENSOR,
    b"[" * 5000,
    b"",
]


@pytest.mark.parametrize("content", TWICE)
def test_a_name_that_stands_twice_and_the_like_need_a_closer_look(content: bytes) -> None:
    assert RowReader(NUMBERS).read(content) is None


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_json_ends_where_the_header_says(more: int) -> None:
    content = json.dumps({"inputs": [MATRIX]}).encode()
    assert check_equal(content, NUMBERS, len(content) + more) == (more == 0)


def framed(inputs: list[tuple[str, str, list[int], bytes]], **more: Any) -> tuple[bytes, int]:
    """A request whose tensors come as binary data, and the length of its JSON."""
    tensors = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for name, datatype, shape, data in inputs
    ]
    head = json.dumps({"inputs": tensors, **more}).encode()
    return head + b"".join(data for *_, data in inputs), len(head)


def number(datatype: str, value: float) -> bytes:
    return np.array(value, DTYPES[datatype]).tobytes()


MATRICES = [
    (datatype, values)
    for datatype in ("FP64", "FP32", "FP16", "INT8", "INT64", "UINT32")
    for values in ((1, 2), (0, 100))
]


@pytest.mark.parametrize(("datatype", "values"), MATRICES)
def test_binary_numbers_are_read_in_every_width(datatype: str, values: tuple[int, int]) -> None:
    data = [number(datatype, value) for value in values]
    assert check_equal(*reordered(framed([("rows", datatype, [1, 2], b"".join(data))])))
    assert check_equal(*reordered(framed([("y", datatype, [1], data[1]), ("x", datatype, [1, 1], data[0])])))


def reordered(request: tuple[bytes, int]) -> tuple[bytes, Signature, int]:
    return request[0], NUMBERS, request[1]


def test_binary_texts_booleans_and_ids_are_read() -> None:
    inputs = [
        ("colour", "BYTES", [1], packed_texts(["r:d"])),
        ("is", "BOOL", [1], b"\1"),
        ("a:b", "FP32", [1], number("FP32", 0.1)),
        ("text", "BYTES", [1], packed_texts(["größer"])),
        ("prediction_id", "BYTES", [1], packed_texts(["p1"])),
        ("entity", "BYTES", [1], packed_texts(["e1"])),
    ]
    content, length = framed(inputs, outputs=[{"name": "prediction", "parameters": {"binary_data": True}}])
    assert check_equal(content, MIXED, length)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_binary_numbers_that_are_none_are_missing_or_need_a_closer_look(value: float) -> None:
    for place, name in enumerate(("x", "y")):
        pair = [1.0, 1.0]
        pair[place] = value
        content, length = framed([("rows", "FP64", [1, 2], struct.pack("<dd", *pair))])
        assert check_equal(content, NUMBERS, length) == (math.isnan(value) and name == "x")


@given(st.data())
def test_bent_binary_requests_are_refused_or_mean_the_same(data: st.DataObject) -> None:
    content, length = framed(
        [("colour", "BYTES", [1], packed_texts(["red"])), ("is", "BOOL", [1], b"\1"), ("a:b", "FP64", [1], bytes(8)),
         ("text", "BYTES", [1], packed_texts(["t"]))]
    )  # fmt: skip
    bent = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(bent) - 1))
        bent[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, 7]))
    check_equal(bytes(bent[: len(bent) - cut]), MIXED, length + data.draw(st.sampled_from([0, 0, 0, 1, -1, 10_000])))
