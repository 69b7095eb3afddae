"""Binary tensors and packed bodies that are not what they say are refused, by name and without a trace."""

from __future__ import annotations

import gzip
import struct
import zlib
from types import ModuleType
from typing import Any

import pytest

INFER = "/v2/models/{}/infer"
ROWS = [[1.5, -0.25], [-1.0, -1.0], [0.5, 2.0]]
LENGTH = "inference-header-content-length"
# Twice what a body may have, in a few thousand bytes.
BOMB = 20_000_000


def test_lengths_of_the_json_that_are_none_are_refused(refuses: Any, wire: ModuleType) -> None:
    body, headers = wire.request(wire.tensor("rows", ROWS, "FP64"))
    right = int(headers[LENGTH])
    wrong = ("", " ", "-1", "+5", "1.0", "1e3", "0x10", "x", "¹", "9" * 13, "9" * 5000, str(len(body) + 1), "0", "1")
    for length in (*wrong, str(right - 1), str(right + 1), str(len(body)), f"{right}, {right}"):
        refuses(400, "invalid_request", "POST", INFER.format("spam"), body, headers={LENGTH: length})
    # Without the header all of it is JSON.
    refuses(400, "invalid_request", "POST", INFER.format("spam"), body)
    refuses(400, "invalid_request", "POST", INFER.format("spam"), body[:right])
    refuses(400, "invalid_request", "POST", INFER.format("spam"), b"", headers={LENGTH: "0"})


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"binary_data_size": 47}},
        {"parameters": {"binary_data_size": 49}},
        {"parameters": {"binary_data_size": 0}},
        {"parameters": {"binary_data_size": -48}},
        {"parameters": {"binary_data_size": 2**64 + 48}},
        {"parameters": {"binary_data_size": "48"}},
        {"parameters": {"binary_data_size": 48.0}},
        {"parameters": {"binary_data_size": True}},
        {"parameters": {"binary_data_size": [48]}},
        {"parameters": {"binary_data_size": {}}},
        {"parameters": {"binary_data_size": None}},
        {"parameters": {}},
        {"parameters": None},
        {"parameters": []},
        {"parameters": {"binary_data_size": 48, "shared_memory_region": "mischief"}},
        {"data": [[1, 2], [3, 4], [5, 6]]},
        {"data": []},
        {"shape": [3]},
        {"shape": [2, 2]},
        {"shape": [6, 1]},
        {"shape": [3, 2, 1]},
        {"shape": [3, -2]},
        {"shape": [3, 2**62]},
        {"shape": [3, 2**64]},
        {"shape": [0, 2]},
        {"shape": []},
        {"shape": None},
        {"datatype": "FP32"},
        {"datatype": "FP128"},
        {"datatype": "BF16"},
        {"datatype": "BYTES"},
        {"datatype": "BOOL"},
        {"datatype": "mischief"},
        {"datatype": ""},
        {"name": "links"},
    ],
)
def test_tensors_that_do_not_add_up_are_refused(refuses: Any, wire: ModuleType, change: dict[str, Any]) -> None:
    head, content = wire.tensor("rows", ROWS, "FP64")
    body, headers = wire.request((head | change, content))
    refuses(400, None, "POST", INFER.format("spam"), body, headers=headers)
    refuses(400, None, "POST", "/v2/models/spam/versions/1/infer", body, headers=headers)


def test_more_rows_than_a_batch_takes_are_refused_before_anything_is_made_of_them(
    refuses: Any, wire: ModuleType
) -> None:
    head, content = wire.tensor("rows", ROWS, "FP64")
    for shape in ([50_001, 2], [2**62, 2], [2**63, 4], [10**30, 0]):
        body, headers = wire.request((head | {"shape": shape}, content))
        refuses(413, "too_large", "POST", INFER.format("spam"), body, headers=headers)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_the_model_can_not_answer_for_are_refused(refuses: Any, wire: ModuleType, value: float) -> None:
    for rows in ([[1.0, value]], [[value, 1.0], *ROWS]):
        for datatype in ("FP64", "FP32", "FP16"):
            body, headers = wire.request(wire.tensor("rows", rows, datatype))
            refuses(400, None, "POST", INFER.format("spam"), body, headers=headers)
            parts = [
                wire.tensor(name, [row[at] for row in rows], datatype) for at, name in enumerate(("links", "length"))
            ]
            body, headers = wire.request(*parts)
            refuses(400, None, "POST", INFER.format("spam"), body, headers=headers)


def test_booleans_and_texts_are_held_to_what_they_are(refuses: Any, wire: ModuleType) -> None:
    amount, member = wire.tensor("amount", [1, 2], "FP64"), wire.tensor("member", [True, False], "BOOL")
    colour = wire.tensor("colour", ["red", "blue"], "BYTES")
    wrong: list[tuple[Any, ...]] = [(amount, colour, wire.tensor("member", [2, 0], "UINT8"))]
    wrong += [(amount, colour, (member[0], b"\x02\x00")), (amount, colour, (member[0], b"\xff\x01"))]
    wrong += [(amount, colour, wire.tensor("member", [0.5, 0], "FP32")), (wire.tensor("amount", [1, 0], "BOOL"),)]
    wrong.append((amount, wire.tensor("colour", [1, 2], "INT32"), member))
    texts = [
        b"",
        b"\0" * 7,
        b"\xff\xff\xff\xff" + b"\0" * 8,
        struct.pack("<I", 3) + b"red" + struct.pack("<I", 4) + b"blu",
        struct.pack("<I", 3) + b"red" + struct.pack("<I", 4) + b"blue" + b"x",
        struct.pack("<I", 3) + b"red" + b"\1\0",
        struct.pack("<I", 2) + b"\xff\xfe" + struct.pack("<I", 4) + b"blue",
        struct.pack("<I", 3) + b"\xed\xa0\x80" + struct.pack("<I", 0),
        struct.pack("<I", 100_001) + b"x" * 100_001 + struct.pack("<I", 0),
        wire.packed(["red", "blue", "rose"], "BYTES"),
        wire.packed(["red"], "BYTES"),
    ]
    for content in texts:
        head = colour[0] | {"parameters": {"binary_data_size": len(content)}}
        wrong.append((amount, (head, content), member))
    for tensors in wrong:
        body, headers = wire.request(*tensors)
        refuses(400, "invalid_features", "POST", INFER.format("loan"), body, headers=headers)


def test_ids_entities_and_parameters_that_are_none_are_refused(refuses: Any, wire: ModuleType) -> None:
    matrix = wire.tensor("rows", ROWS, "FP64")
    ids = wire.tensor("prediction_id", ["a", "b", "c"], "BYTES")
    names = ("prediction_id", "entity")
    wrong: list[tuple[list[Any], dict[str, Any]]] = [([matrix, ids, ids], {}), ([ids], {})]
    for name in names:
        texts = (["a", "b"], ["a", "b", ""], ["a", "b", "x" * 257], ["a", "b", "\x1b"])
        wrong += [([matrix, wire.tensor(name, values, "BYTES")], {}) for values in texts]
        wrong.append(([matrix, wire.tensor(name, [1.0, 2.0, 3.0], "FP64")], {}))
        mixed = {"name": name, "shape": [3], "datatype": "BYTES"}
        wrong += [([matrix, (mixed | {"data": [one, "b", "c"]}, b"")], {}) for one in (1, True, 1.5)]
    null = {"name": "prediction_id", "shape": [3], "datatype": "BYTES", "data": [None, "b", "c"]}
    wrong += [([matrix, (null, b"")], {}), ([matrix, wire.tensor("prediction_id", [1, 2, 3], "INT64")], {})]
    wrong.append(([matrix, wire.tensor("prediction_id", ["a", "a", "b"], "BYTES")], {}))
    wrong.append(([matrix, wire.tensor("entity", ["a", "b", "c"], "BYTES")], {"parameters": {"entity": "d"}}))
    wrong += [([matrix], {"parameters": {"entity": value}}) for value in (1.5, True, [], {}, "", "\0", "x" * 257)]
    wrong += [([matrix], {"parameters": {"binary_data_output": value}}) for value in (1, "true", [])]
    for parameters in (
        {"binary_data": 1},
        {"binary_data": "true"},
        {"classification": 3},
        {"shared_memory_region": "mischief"},
    ):
        wrong.append(([matrix], {"outputs": [{"name": "prediction", "parameters": parameters}]}))
    wrong.append(([matrix], {"outputs": [{"name": "prediction"}, {"name": "prediction"}]}))
    wrong.append(([matrix], {"outputs": [{"name": "mischief"}]}))
    for tensors, more in wrong:
        body, headers = wire.request(*tensors, **more)
        refuses(400, None, "POST", INFER.format("spam"), body, headers=headers)


def test_packed_bodies_are_unpacked_within_bounds_or_refused(refuses: Any, wire: ModuleType) -> None:
    whole, headers = wire.request(wire.tensor("rows", ROWS, "FP64"))
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}
    for encoding, packed in pack.items():
        target = INFER.format("spam")
        given = headers | {"content-encoding": encoding}
        good = packed(whole)
        bad = (b"", b"x", good[:-1], good[:-9], good[1:], good + b"x", good * 2, whole)
        for body in (*bad, pack["deflate" if encoding == "gzip" else "gzip"](whole)):
            refuses(400, "invalid_request", "POST", target, body, headers=given)
        refuses(413, "too_large", "POST", target, packed(b" " * BOMB), headers=given)
        refuses(413, "too_large", "POST", target, packed(packed(b" " * BOMB) + b" " * 10_000_001), headers=given)
    for encoding in ("br", "zstd", "gzip, gzip", "mischief", "gzip;q=1"):
        refuses(400, "invalid_request", "POST", INFER.format("spam"), whole, headers={"content-encoding": encoding})
