"""Rows that a hostile or mistaken caller sends are refused: by name, without a trace, without an echo."""

from __future__ import annotations

import json
from typing import Any

import pytest

from homeostat.http.duplicates import has_duplicates

# A word that must come back from nowhere.
WORD = "mischief"
LINKS = '{"features": {"links": %s, "length": 1}}'
ROW = {"links": 1.0, "length": 2.0}
TENSOR = {"name": "links", "shape": [1], "datatype": "FP64", "data": [1.0]}
OTHER = TENSOR | {"name": "length"}
MATRIX = {"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}
DEEP = 100_000
FORM = "multipart/form-data; boundary=limit"


def predict(**given: Any) -> dict[str, Any]:
    return {"features": ROW, **given}


def batch(*rows: Any, **given: Any) -> dict[str, Any]:
    return {"instances": list(rows), **given}


def label(**given: Any) -> dict[str, Any]:
    return {"model": "spam", "labels": [{"prediction_id": "a", "label": "yes", **given}]}


def infer(*inputs: Any, **given: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **given}


@pytest.mark.parametrize("value", ['"' + WORD + '"', "true", "false", '""', '"1"'])
def test_a_value_of_another_type_is_refused(refuses: Any, value: str) -> None:
    refuses(400, "invalid_features", "POST", "/models/spam/predict", (LINKS % value).encode())


@pytest.mark.parametrize(
    "value",
    [
        "[1]",
        "{}",
        '{"a": 1}',
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "1e999",
        "-1e999",
        "9" * 5000,
        "0x10",
        "01",
        ".5",
        "1.",
        "+1",
        "1_0",
        '"\\ud800"',
        '"\\u12"',
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
    ],
)
def test_what_is_no_json_or_no_scalar_is_refused(refuses: Any, value: str) -> None:
    refuses(400, "invalid_request", "POST", "/models/spam/predict", (LINKS % value).encode())


def test_a_missing_value_that_the_model_can_not_answer_for_is_refused(refuses: Any) -> None:
    refuses(400, "invalid_features", "POST", "/models/spam/predict", {"features": {"links": None, "length": 1}})
    refuses(400, "invalid_features", "POST", "/models/spam/predict", {"features": [1, None]})
    refuses(400, "invalid_features", "POST", "/models/spam/batch_predict", batch(ROW, [None, 1]))
    refuses(400, "invalid_features", "POST", "/v2/models/spam/infer", infer(MATRIX | {"data": [1, None]}))


def test_numbers_that_no_float_holds_are_refused(refuses: Any) -> None:
    refuses(400, "invalid_features", "POST", "/models/spam/predict", (LINKS % ("1" + "0" * 400)).encode())


def test_numbers_beyond_what_the_served_form_holds_are_the_callers_fault(refuses: Any) -> None:
    # Trees compare 32-bit numbers, whatever they are served as.
    body = b'{"features": {"size": 1e39, "rooms": 1}}'
    refuses(400, "unanswerable", "POST", "/models/price/predict", body)


@pytest.mark.parametrize(
    "features",
    [
        {},
        [],
        [1],
        [1, 2, 3],
        {"links": 1},
        {"links": 1, WORD: 2},
        {"links": 1, "length": 2, WORD: 3},
        {"Links": 1, "length": 2},
        {"links ": 1, "length": 2},
    ],
)
def test_missing_and_unknown_features_are_refused(refuses: Any, features: Any) -> None:
    for method, target, body in (
        ("POST", "/models/spam/predict", {"features": features}),
        ("POST", "/models/spam/batch_predict", batch(ROW, features)),
    ):
        refuses(400, "invalid_features", method, target, body)


@pytest.mark.parametrize(
    "features",
    [
        {"amount": 1, "colour": 1, "member": True},
        {"amount": 1, "colour": True, "member": True},
        {"amount": 1, "colour": "red", "member": WORD},
        {"amount": 1, "colour": "red", "member": "true"},
        {"amount": 1, "colour": "red", "member": 2},
        {"amount": 1, "colour": "red", "member": 0.5},
        {"amount": "1", "colour": "red", "member": True},
        {"amount": 1, "colour": "x" * 100_001, "member": True},
    ],
)
def test_categories_and_booleans_are_held_to_their_kinds(refuses: Any, features: Any) -> None:
    refuses(400, "invalid_features", "POST", "/models/loan/predict", {"features": features})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'"' + WORD.encode() + b'"',
        b"\xff",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf" + json.dumps(predict()).encode(),
        json.dumps(predict()).encode()[:-1],
        json.dumps(predict()).encode() + WORD.encode(),
        json.dumps(predict()).encode() + b"\x00",
        json.dumps(predict()).encode() * 2,
        json.dumps(predict()).encode("utf-16"),
        b"{'features': {}}",
        b"features=1",
        b'{"features": [1, 2],}',
        b'{"fea\xfftures": [1, 2]}',
        b'{"features": {"links": 1, "\xc0\xaf": 2}}',
        b'{"features": {"links": 1, "length": 2}, "\\ud800": 1}',
        b'{"features": {"\\udc00": 1, "length": 2}}',
        b"[" * DEEP,
        b'{"features":' * DEEP,
        b'{"features":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"features": null}',
        b'{"features": 1}',
        b'{"features": "' + WORD.encode() + b'"}',
        b'{"features": {"links": 1, "length": 2}, "' + WORD.encode() + b'": 1}',
        b'{"features": {"links": 1, "links": 2, "length": 2}}',
        b'{"features": {"links": 1, "length": 2}, "features": {"links": 1, "length": 2}}',
        b'{"features": {"links": 1, "\\u006cinks": 2, "length": 2}}',
        b'{"features": {"links": 1, "length": 2}, "event_time": null, "event_time": null}',
    ],
)
def test_bodies_that_can_not_be_read_or_mean_two_things_are_refused(refuses: Any, body: bytes) -> None:
    refuses(400, "invalid_request", "POST", "/models/spam/predict", body)


def test_the_same_name_twice_is_seen_wherever_it_stands() -> None:
    for text in (
        '{"a": {"b": ":", "b": ":"}}',
        '{"a": [{"b": 1}, {"b": 1, "b": 1}]}',
        '{"a": "2025-01-01T00\\u003a00:00Z", "a": 1}',
    ):
        assert has_duplicates(text.encode(), json.loads(text))
    for text in ('{"a": {"a": [{"a": "a:a", "b:": 1}]}}', "{}", '[{"a": 1}, {"a": 1}]', '{"\\"a\\":": 1}'):
        assert not has_duplicates(text.encode(), json.loads(text))


def test_orders_and_labels_with_a_name_twice_are_refused(refuses: Any) -> None:
    for target, body in (
        ("/api/v1/models/spam/versions/2/stage", '{"stage": "testing", "stage": "archived"}'),
        ("/api/v1/labels", '{"model": "spam", "labels": [{"prediction_id": "a", "label": "no", "label": "yes"}]}'),
        ("/api/v1/labels", '{"model": "spam", "model": "price", "labels": [{"prediction_id": "a", "label": 1}]}'),
        ("/v2/models/spam/infer", json.dumps(infer(MATRIX))[:-1] + ', "parameters": {"entity": 1, "entity": 2}}'),
        ("/v2/models/spam/infer", json.dumps(infer(MATRIX))[:-1] + ', "parameters": {"a": ' + "[" * DEEP),
        ("/v2/models/spam/infer", json.dumps(infer(MATRIX))[:-1] + ', "id": null, "id": null}'),
        ("/v2/models/spam/infer", json.dumps(infer(MATRIX))[:-1] + ', "id": null, "outputs": null, "id": "a:b"}'),
    ):
        refuses(400, "invalid_request", "POST", target, body.encode())


@pytest.mark.parametrize(
    "given",
    [{"prediction_id": value} for value in ("", "x" * 257, 7, 1.5, [], "a\0b", "a\nb", "\x1b[2J" + WORD)]
    + [{"entity": value} for value in ("", "x" * 257, 1.5, True, {}, [1], "\0", "\x7f")]
    + [{"event_time": value} for value in (WORD, "", 17, "2025-01-01", "2025-02-30T00:00:00Z", "2025-01-01T00:00Z")]
    + [{"event_time": value} for value in ("2025-01-01T25:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")]
    + [
        {"event_time": value}
        for value in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0099-12-31T00:00:00Z")
    ],
)
def test_ids_entities_and_times_that_can_not_be_are_refused(refuses: Any, given: dict[str, Any]) -> None:
    (name, value), plural = next(iter(given.items())), {"entity": "entities"}
    refuses(400, "invalid_request", "POST", "/models/spam/predict", predict(**given))
    several = {plural.get(name, f"{name}s"): [value]}
    refuses(400, "invalid_request", "POST", "/models/spam/batch_predict", batch(ROW, **several))


def test_halves_of_surrogate_pairs_are_refused_in_ids(refuses: Any) -> None:
    for name in ("prediction_id", "entity"):
        body = f'{{"features": [1, 2], "{name}": "\\ud800"}}'.encode()
        refuses(400, "invalid_request", "POST", "/models/spam/predict", body)
    refuses(400, None, "POST", "/models/spam/predict", b'{"features": [1, 2], "entity": %s}' % (b"9" * 400))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (batch(), "invalid_request"),
        (batch(ROW, prediction_ids=[]), "invalid_request"),
        (batch(ROW, prediction_ids=["a", "b"]), "invalid_request"),
        (batch(ROW, prediction_ids=[None]), "invalid_request"),
        (batch(ROW, ROW, prediction_ids=["a", "a"]), "invalid_features"),
        (batch(ROW, entities=[]), "invalid_request"),
        (batch(ROW, event_times=[None]), "invalid_request"),
        (batch(1), "invalid_request"),
        (batch(None), "invalid_request"),
        (batch([[1, 2]]), "invalid_request"),
        (batch(ROW, [1]), "invalid_features"),
        ({"instances": {"links": [1], "length": [2]}}, "invalid_request"),
        ({"instances": [ROW], "model": "spam"}, "invalid_request"),
    ],
)
def test_batches_that_do_not_fit_are_refused_whole(refuses: Any, body: Any, code: str) -> None:
    refuses(400, code, "POST", "/models/spam/batch_predict", body)


def test_batches_with_too_many_rows_are_refused(refuses: Any) -> None:
    refuses(413, "too_large", "POST", "/models/spam/batch_predict", batch(*[[1, 2]] * 50_001))
    many = {"model": "spam", "labels": [{"prediction_id": "a", "label": "yes"}] * 50_001}
    refuses(413, "too_large", "POST", "/api/v1/labels", many)


def test_bodies_that_are_too_large_are_refused_however_they_come(refuses: Any) -> None:
    part = b" " * (1 << 20)
    for target in ("/models/spam/predict", "/api/v1/labels", "/api/v1/models/spam/rollback", "/api/v1/verify"):
        refuses(413, "too_large", "POST", target, parts=[part] * 100)
    refuses(413, "too_large", "POST", "/models/spam/predict", part * 100)
    # What goes on without an end is not read to its end.
    answer = refuses(413, "too_large", "POST", "/models/spam/predict", parts=[part] * 400)
    assert answer.header("connection") == "close"
