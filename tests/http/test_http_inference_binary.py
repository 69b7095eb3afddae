"""Binary tensors of the Open Inference Protocol: every datatype in, the same answers out, in JSON or in bytes."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest

INFER = "/v2/models/{}/infer"
LENGTH = "inference-header-content-length"
ROWS = [[1.5, -0.25], [-1.0, -1.0], [0.5, 2.0]]
LOAN = [[120.0, "red", 1.0], [30.0, "blue", 0.0], [float("nan"), "größer", 1.0]]
WHOLE = ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]


def plain(app: Any, model: str, instances: list[Any]) -> dict[str, Any]:
    answer = app.post(f"/models/{model}/batch_predict", {"instances": instances})
    assert answer.status == 200, answer.content
    return answer.json


def infer(app: Any, model: str, request: tuple[bytes, dict[str, str]], **headers: str) -> Any:
    answer = app.post(INFER.format(model), request[0], headers=request[1] | headers)
    assert answer.status == 200, answer.content
    return answer


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16"])
@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", "text/plain", ""])
def test_a_matrix_of_floats_is_scored_and_logged(used: Any, wire: ModuleType, datatype: str, content_type: str) -> None:
    request = wire.request(wire.tensor("rows", ROWS, datatype), id="7")
    answer = infer(used, "spam", request, **({"content-type": content_type} if content_type else {}))
    outputs, known = wire.unpacked(answer), plain(used, "spam", ROWS)
    assert answer.json["id"] == "7"
    assert outputs["prediction"] == known["predictions"]
    assert outputs["probability"] == known["probabilities"]
    logged = used.logged("spam")
    assert [list(logged[id_]["features"].values()) for id_ in outputs["prediction_id"]] == ROWS


def test_one_tensor_a_column_in_any_order_and_shape(used: Any, wire: ModuleType) -> None:
    columns = [[row[place] for row in ROWS] for place in (0, 1)]
    known = plain(used, "spam", ROWS)["probabilities"]
    for shape in ([3], [3, 1]):
        for mixed in (False, True):
            length = wire.tensor("length", columns[1], "FP64", shape)
            if mixed:
                length = ({"name": "length", "shape": shape, "datatype": "FP64", "data": columns[1]}, b"")
            request = wire.request(length, wire.tensor("links", columns[0], "FP64", shape))
            assert wire.unpacked(infer(used, "spam", request))["probability"] == known


@pytest.mark.parametrize("datatype", WHOLE)
def test_whole_numbers_of_every_width_are_numbers_and_booleans(used: Any, wire: ModuleType, datatype: str) -> None:
    top = int(np.iinfo(wire.DTYPES[datatype]).max)
    low = int(np.iinfo(wire.DTYPES[datatype]).min)
    rows = [[top, low], [1, 0]]
    answer = infer(used, "price", wire.request(wire.tensor("rows", rows, datatype)))
    outputs = wire.unpacked(answer)
    assert outputs["prediction"] == plain(used, "price", rows)["predictions"]
    logged = used.logged("price")[outputs["prediction_id"][0]]["features"]
    assert list(logged.values()) == [float(top), float(low)]
    request = wire.request(
        wire.tensor("amount", [1, 2], datatype),
        wire.tensor("colour", ["red", "red"], "BYTES"),
        wire.tensor("member", [1, 0], datatype),
    )
    members = wire.unpacked(infer(used, "loan", request))
    assert members["probability"] == plain(used, "loan", [[1, "red", True], [2, "red", False]])["probabilities"]


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "FP64"])
def test_columns_of_every_kind(used: Any, wire: ModuleType, datatype: str) -> None:
    known = plain(used, "loan", [[row[0] if row[0] == row[0] else None, row[1], bool(row[2])] for row in LOAN])
    request = wire.request(
        wire.tensor("amount", [row[0] for row in LOAN], "FP32"),
        wire.tensor("colour", [row[1] for row in LOAN], "BYTES"),
        wire.tensor("member", [row[2] for row in LOAN], datatype),
    )
    outputs = wire.unpacked(infer(used, "loan", request))
    assert outputs["probability"] == known["probabilities"]
    logged = [used.logged("loan")[id_]["features"] for id_ in outputs["prediction_id"]]
    assert [row["colour"] for row in logged] == ["red", "blue", "größer"]
    assert np.isnan(logged[2]["amount"])


def test_a_missing_boolean_is_nan_or_null(used: Any, wire: ModuleType) -> None:
    known = plain(used, "loan", [[1, "red", None]])["probabilities"]
    colour, amount = wire.tensor("colour", ["red"], "BYTES"), wire.tensor("amount", [1], "INT8")
    request = wire.request(colour, amount, wire.tensor("member", [float("nan")], "FP32"))
    assert wire.unpacked(infer(used, "loan", request))["probability"] == known
    null = ({"name": "member", "shape": [1], "datatype": "BOOL", "data": [None]}, b"")
    assert wire.unpacked(infer(used, "loan", wire.request(colour, amount, null)))["probability"] == known


def test_replies_come_in_the_form_that_is_asked_for(used: Any, wire: ModuleType) -> None:
    known = plain(used, "spam", ROWS)
    matrix = wire.tensor("rows", ROWS, "FP64")
    every = ["prediction", "probability", "prediction_id", "version"]
    asked: list[tuple[dict[str, Any], set[str]]] = [
        ({}, set()),
        ({"parameters": {"binary_data_output": False}}, set()),
        ({"parameters": {"binary_data_output": True}}, set(every)),
        ({"outputs": [{"name": name} for name in every], "parameters": {"binary_data_output": True}}, set(every)),
        (
            {
                "outputs": [
                    {"name": name, "parameters": {"binary_data": name in ("version", "prediction")}} for name in every
                ]
            },
            {"version", "prediction"},
        ),
        (
            {
                "outputs": [{"name": "probability"}, {"name": "prediction", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            {"probability"},
        ),
    ]
    for more, binary in asked:
        answer = infer(used, "spam", wire.request(matrix, **more))
        length = answer.header(wire.LENGTH)
        assert (length is not None) == bool(binary)
        head = json.loads(answer.content[: int(length)] if length else answer.content)
        names = [one["name"] for one in more.get("outputs", [{"name": name} for name in every])]
        assert [one["name"] for one in head["outputs"]] == names
        assert {one["name"] for one in head["outputs"] if "data" not in one} == binary
        outputs = wire.unpacked(answer)
        for name, values in (
            ("prediction", known["predictions"]),
            ("probability", known["probabilities"]),
            ("version", [1, 1, 1]),
        ):
            assert outputs.get(name, values) == values
        assert len(set(outputs.get("prediction_id", range(3)))) == 3


def test_the_rows_of_one_version_and_of_a_regression(used: Any, wire: ModuleType) -> None:
    body, headers = wire.request(wire.tensor("rows", ROWS, "FP64"), parameters={"binary_data_output": True})
    answer = used.post("/v2/models/spam/versions/2/infer", body, headers=headers)
    assert wire.unpacked(answer)["version"] == [2, 2, 2]
    outputs = wire.unpacked(used.post(INFER.format("price"), body, headers=headers))
    assert outputs["prediction"] == plain(used, "price", ROWS)["predictions"]
    assert "probability" not in outputs


def test_ids_and_entities_come_with_the_rows(used: Any, wire: ModuleType) -> None:
    ids, big = ["first ☃", "second", "third"], 2**60 + 1
    for entity in (
        wire.tensor("entity", ["a", "7", "ü"], "BYTES"),
        wire.tensor("entity", [big, 7, -1], "INT64", [3, 1]),
        ({"name": "entity", "shape": [3], "datatype": "INT64", "data": [big, None, 3]}, b""),
        ({"name": "entity", "shape": [3], "datatype": "BYTES", "data": ["a", None, "c"]}, b""),
    ):
        names = [f"{one} {entity[0]}"[:200] for one in ids]
        matrix = wire.tensor("rows", ROWS, "FP32")
        outputs = wire.unpacked(
            infer(used, "spam", wire.request(entity, wire.tensor("prediction_id", names, "BYTES"), matrix))
        )
        assert outputs["prediction_id"] == names
        logged = [used.logged("spam")[id_]["entity"] for id_ in names]
        given = entity[0].get("data")
        if given is None:
            given = ["a", "7", "ü"] if entity[0]["datatype"] == "BYTES" else [big, 7, -1]
        assert logged == [name if one is None else str(one) for one, name in zip(given, names, strict=True)]


def test_columns_of_python_objects_say_of_each_value_what_it_is(used: Any, wire: ModuleType) -> None:
    known = plain(used, "loan", [[1, "red", True], [None, None, None]])["probabilities"]
    frame = {"amount": ["1", "null"], "colour": ['"red"', "null"], "member": ["true", "null"]}
    marked = {"content_type": "pd_json"}
    inputs = [
        {"name": name, "shape": [2, 1], "datatype": "BYTES", "data": data, "parameters": marked}
        for name, data in frame.items()
    ]
    assert wire.unpacked(used.post(INFER.format("loan"), {"inputs": inputs}))["probability"] == known
    for bad in ("mischief", "[1]", '"1"', "", "1 2"):
        changed = [inputs[0] | {"data": ["1", bad]}, *inputs[1:]]
        assert used.post(INFER.format("loan"), {"inputs": changed}).code == "invalid_features"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "identity"])
def test_compressed_requests_are_unpacked(used: Any, wire: ModuleType, encoding: str) -> None:
    known = plain(used, "spam", ROWS)["probabilities"]
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.lower(), bytes)
    body, headers = wire.request(wire.tensor("rows", ROWS, "FP64"))
    # The length of the JSON is that of the unpacked one.
    answer = infer(used, "spam", (pack(body), headers), **{"content-encoding": encoding})
    assert wire.unpacked(answer)["probability"] == known
    inputs = [{"name": "rows", "shape": [3, 2], "datatype": "FP64", "data": ROWS}]
    answer = infer(used, "spam", (pack(json.dumps({"inputs": inputs}).encode()), {}), **{"content-encoding": encoding})
    assert wire.unpacked(answer)["probability"] == known


def mlserver_request(**columns: tuple[list[Any], str, str | None]) -> dict[str, Any]:
    """A data frame as MLServer's pandas codec (1.7) writes it: a tensor a column, and null for what it leaves out."""
    inputs = []
    for name, (data, datatype, content_type) in columns.items():
        parameters = None if content_type is None else {"content_type": content_type, "headers": None}
        shape = [len(data), 1]
        inputs.append({"name": name, "shape": shape, "datatype": datatype, "parameters": parameters, "data": data})
    parameters = {"content_type": "pd", "headers": None}
    return {"id": None, "parameters": parameters, "inputs": inputs, "outputs": None}


def test_data_frames_come_as_mlserver_sends_them(used: Any, wire: ModuleType) -> None:
    known = plain(used, "loan", [[1.5, "red", True], [None, "blue", False]])
    amount, colour = ([1.5, None], "FP64", None), (["red", "blue"], "BYTES", "str")
    for member in (
        ([True, False], "BOOL", None),
        ([True, False], "BOOL", "np"),
        ([1, 0], "INT64", None),
        # A column of Python objects.
        (["true", "false"], "BYTES", "pd_json"),
    ):
        answer = used.post(INFER.format("loan"), mlserver_request(amount=amount, colour=colour, member=member))
        assert answer.status == 200, answer.content
        # Nothing is null in the reply, which the codec would read as another type.
        assert b"null" not in answer.content
        assert "id" not in answer.json
        assert wire.unpacked(answer)["prediction"] == known["predictions"]
        assert wire.unpacked(answer)["probability"] == known["probabilities"]


def test_an_array_comes_as_mlserver_sends_it(used: Any, wire: ModuleType) -> None:
    marked = {"content_type": "np", "headers": None}
    rows = {
        "name": "input-1",
        "shape": [3, 2],
        "datatype": "FP32",
        "parameters": marked,
        "data": [1.5, -0.25, -1.0, -1.0, 0.5, 2.0],
    }
    wanted = [{"name": "probability", "parameters": None}]
    answer = used.post(INFER.format("spam"), {"id": "x", "parameters": marked, "inputs": [rows], "outputs": wanted})
    assert wire.unpacked(answer) == {"probability": plain(used, "spam", ROWS)["probabilities"]}


def test_requests_come_as_kserve_sends_them(used: Any, wire: ModuleType) -> None:
    named = {"id": "0f8608f5-4858-4a27-b891-8990eb89ebeb", "model_name": "loan"}
    known = plain(used, "loan", [[1, "red", True], [2, "blue", False]])["probabilities"]
    columns = (
        wire.tensor("amount", [1, 2], "FP32", [2, 1]),
        wire.tensor("colour", ["red", "blue"], "BYTES", [2, 1]),
        wire.tensor("member", [True, False], "BOOL", [2, 1]),
    )
    octets = {"content-type": "application/octet-stream", "accept-encoding": "gzip, deflate, br"}
    for more in ({}, {"parameters": {"binary_data_output": True}}):
        answer = infer(used, "loan", wire.request(*columns, **named, **more), **octets)
        assert wire.unpacked(answer)["probability"] == known
        # The client takes the whole reply for JSON where no header says how much of it is.
        assert (answer.header(LENGTH) is None) == (not more)
        assert answer.header("content-encoding") is None
    flat = [
        {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [1.0, 2.0]},
        {"name": "colour", "shape": [2, 1], "datatype": "BYTES", "data": ["red", "blue"]},
        {"name": "member", "shape": [2, 1], "datatype": "BOOL", "data": [True, False]},
    ]
    answer = used.post(INFER.format("loan"), {**named, "inputs": flat, "outputs": [{"name": "probability"}]})
    assert (answer.json["id"], wire.unpacked(answer)) == (named["id"], {"probability": known})
    # The same id again is another request: its rows have ids of their own.
    before = len(used.logged("loan"))
    assert used.post(INFER.format("loan"), {**named, "inputs": flat}).status == 200
    assert len(used.logged("loan")) == before + 2


def mutated(rng: random.Random, wire: ModuleType, good: tuple[bytes, dict[str, str]]) -> tuple[bytes, dict[str, str]]:
    """A frame that went wrong somewhere: its bytes, its length, its JSON or its tensors."""
    body, headers = good
    length = int(headers[LENGTH])
    head: dict[str, Any] = json.loads(body[:length])
    content = body[length:]
    way = rng.randrange(8)
    if way == 0:
        return body[: rng.randrange(len(body))], headers
    if way == 1:
        return body, {LENGTH: str(rng.choice((length + rng.randint(-9, 9), rng.randrange(2 * len(body)), 2**63)))}
    if way == 2:
        broken = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        return bytes(broken), headers
    tensor = rng.choice(head["inputs"])
    if way == 3:
        tensor["datatype"] = rng.choice((*wire.DTYPES, "BYTES", "BF16", "", 7, None))
    elif way == 4:
        sizes = (0, 1, -1, 2, 3, 2**31, 2**32, 2**63, 2**64, 10**40, 1.5, "2", None, True)
        tensor["shape"] = [rng.choice(sizes) for _ in range(rng.randrange(4))]
    elif way == 5:
        size = tensor["parameters"]["binary_data_size"]
        sizes = (size - 1, size + 1, -size, 0, 2**63, 10**40, str(size), None)
        tensor["parameters"]["binary_data_size"] = rng.choice(sizes)
    elif way == 6:
        head["inputs"].append(dict(rng.choice(head["inputs"])))
        tensor["name"] = rng.choice(("links", "rows", "", "entity", "prediction_id", "\x00"))
    else:
        nan = rng.choice((b"\xff", b"\x7f", b"\x80", b"\x00", b"\x01"))
        content = nan * len(content) if rng.random() < 0.5 else content + nan * rng.randint(1, 64)
    made = json.dumps(head).encode()
    return made + content, {LENGTH: str(len(made))}


def test_frames_that_went_wrong_never_break_the_server(used: Any, wire: ModuleType) -> None:
    rng = random.Random(11)  # noqa: S311 (nothing is secret)
    loan = wire.request(
        wire.tensor("amount", [120, 30], "INT16"),
        wire.tensor("colour", ["red", "größer"], "BYTES"),
        wire.tensor("member", [True, False], "BOOL"),
        parameters={"binary_data_output": True},
    )
    good = {"spam": wire.request(wire.tensor("rows", ROWS, "FP32"), outputs=[{"name": "probability"}]), "loan": loan}
    known = {
        name: wire.unpacked(used.post(INFER.format(name), frame[0], headers=frame[1]))["probability"]
        for name, frame in good.items()
    }
    statuses: Counter[int] = Counter()
    for turn in range(1500):
        name = rng.choice(("spam", "loan"))
        body, headers = mutated(rng, wire, good[name])
        answer = used.post(INFER.format(name), body, headers=headers)
        statuses[answer.status] += 1
        assert answer.status in (200, 400, 413), (body, headers, answer.content)
        if answer.status != 200:
            assert answer.code in ("invalid_request", "invalid_features", "unanswerable", "too_large")
        if turn % 100 == 0:
            answer = used.post(INFER.format(name), good[name][0], headers=good[name][1])
            assert wire.unpacked(answer)["probability"] == known[name]
    assert statuses[400] > 800
    assert statuses[200] > 20
    assert statuses[413] > 5
