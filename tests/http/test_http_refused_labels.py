"""Labels and tensors that can not be kept or scored are refused whole."""

from __future__ import annotations

from typing import Any

import pytest

# A word that must come back from nowhere.
WORD = "mischief"
LINKS = '{"features": {"links": %s, "length": 1}}'
ROW = {"links": 1.0, "length": 2.0}
TENSOR = {"name": "links", "shape": [1], "datatype": "FP64", "data": [1.0]}
OTHER = TENSOR | {"name": "length"}
MATRIX = {"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}
DEEP = 100_000
FORM = "multipart/form-data; boundary=limit"


def label(**given: Any) -> dict[str, Any]:
    return {"model": "spam", "labels": [{"prediction_id": "a", "label": "yes", **given}]}


def infer(*inputs: Any, **given: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **given}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        ({"model": "spam"}, 400, "invalid_request"),
        ({"model": "spam", "labels": []}, 400, "invalid_request"),
        ({"model": "spam", "labels": [{"prediction_id": "a"}]}, 400, "invalid_request"),
        ({"model": "spam", "labels": [{"label": "yes"}]}, 400, "invalid_request"),
        (label(label=None), 400, "invalid_request"),
        (label(label=[]), 400, "invalid_request"),
        (label(label={}), 400, "invalid_request"),
        (label(label=""), 400, "invalid_label"),
        (label(label="x" * 1001), 400, "invalid_label"),
        (label(label=WORD * 10_000), 400, "invalid_label"),
        (label(prediction_id=""), 400, "invalid_request"),
        (label(prediction_id=7), 400, "invalid_request"),
        (label(prediction_id="x" * 257), 400, "invalid_request"),
        (label(prediction_id="a\0b"), 400, "invalid_request"),
        (label(event_time=WORD), 400, "invalid_request"),
        (label(event_time="0001-01-01T00:00:00Z"), 400, "invalid_request"),
        (label(event_time="9999-12-31T23:59:59Z"), 400, "invalid_request"),
        (label(confidence=2), 400, "invalid_request"),
        (label() | {WORD: 1}, 400, "invalid_request"),
        (label() | {"source": ""}, 400, "invalid_request"),
        (label() | {"source": " "}, 400, "invalid_input"),
        (label() | {"source": "x" * 101}, 400, "invalid_request"),
        (label() | {"source": "a\nb"}, 400, "invalid_request"),
        (label() | {"model": WORD}, 404, "unknown_model"),
        (label() | {"model": ""}, 404, "unknown_model"),
        (label() | {"model": None}, 404, "unknown_model"),
        (label(label="NaN") | {"model": "price"}, 400, "invalid_label"),
        (label(label="inf") | {"model": "price"}, 400, "invalid_label"),
        (label(label=WORD) | {"model": "price"}, 400, "invalid_label"),
        (label(label=True) | {"model": "price"}, 400, "invalid_label"),
        (label(label="1_000") | {"model": "price"}, 400, "invalid_label"),
        (label(label="\u0661") | {"model": "price"}, 400, "invalid_label"),
        (b'{"model": "price", "labels": [{"prediction_id": "a", "label": NaN}]}', 400, "invalid_request"),
        (b'{"model": "price", "labels": [{"prediction_id": "a", "label": 1e999}]}', 400, "invalid_request"),
        (b'{"model": "price", "labels": [{"prediction_id": "a", "label": %s}]}' % (b"9" * 500), 400, "invalid_label"),
        (b'{"model": "spam", "labels": [{"prediction_id": "\\ud800", "label": "yes"}]}', 400, "invalid_request"),
        (b'{"model": "spam", "labels": [{"prediction_id": "a", "label": "\\ud800"}]}', 400, "invalid_request"),
    ],
)
def test_labels_that_can_not_be_kept_are_refused(refuses: Any, body: Any, status: int, code: str) -> None:
    refuses(status, code, "POST", "/api/v1/labels", body)


def test_one_bad_label_keeps_all_of_its_request_out(refuses: Any) -> None:
    several = [{"prediction_id": str(place), "label": place} for place in range(100)]
    body = {"model": "price", "labels": [*several, {"prediction_id": "last", "label": "dear"}]}
    refuses(400, "invalid_label", "POST", "/api/v1/labels", body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (infer(), 400),
        (infer(TENSOR), 400),
        (infer(TENSOR, TENSOR), 400),
        (infer(TENSOR, OTHER, TENSOR | {"name": WORD}), 400),
        (infer(TENSOR | {"name": WORD}, OTHER), 400),
        (infer(TENSOR | {"shape": [2]}, OTHER), 400),
        (infer(TENSOR | {"shape": [2]}, OTHER | {"shape": [2]}), 400),
        (infer(TENSOR, OTHER | {"shape": [2], "data": [1, 2]}), 400),
        (infer(TENSOR | {"shape": []}, OTHER), 400),
        (infer(TENSOR | {"shape": [1, 1, 1]}, OTHER), 400),
        (infer(TENSOR | {"shape": [-1]}, OTHER), 400),
        (infer(TENSOR | {"shape": [1.5]}, OTHER), 400),
        (infer(TENSOR | {"shape": ["1"]}, OTHER), 400),
        (infer(TENSOR | {"shape": [0], "data": []}, OTHER | {"shape": [0], "data": []}), 400),
        (infer(TENSOR | {"shape": [10**12]}, OTHER | {"shape": [10**12]}), 413),
        (infer(TENSOR | {"shape": [10**30]}, OTHER | {"shape": [10**30]}), 413),
        (infer(MATRIX | {"shape": [10**12, 2]}), 413),
        (infer(MATRIX | {"shape": [10**12, 0], "data": []}), 413),
        (infer(MATRIX | {"shape": [1, 10**12]}), 400),
        (infer(MATRIX | {"shape": [0, 2], "data": []}), 400),
        (infer(MATRIX | {"shape": [1, 3]}), 400),
        (infer(MATRIX | {"shape": [2, 2]}), 400),
        (infer(MATRIX | {"data": [1.0]}), 400),
        (infer(MATRIX | {"data": [1.0, WORD]}), 400),
        (infer(MATRIX | {"data": [1.0, True]}), 400),
        (infer(MATRIX | {"data": [[1.0], [2.0]]}), 400),
        (infer(MATRIX | {"data": [1.0, [2.0]]}), 400),
        (infer(MATRIX | {"data": [[1.0, 2.0], []]}), 400),
        (infer(TENSOR | {"data": [[1.0]]}, OTHER), 400),
        (infer(MATRIX | {"data": [[[1.0, 2.0]]]}), 400),
        (infer(MATRIX | {"data": {"0": 1}}), 400),
        (infer(MATRIX | {"datatype": "BYTES"}), 400),
        (infer(MATRIX | {"datatype": "BOOL"}), 400),
        (infer(MATRIX | {"datatype": WORD}), 400),
        (infer(MATRIX | {"datatype": "fp64"}), 400),
        (infer(MATRIX | {"datatype": "INT64", "data": [1.5, 2]}), 400),
        (infer(MATRIX | {"datatype": "INT8", "data": [128, 2]}), 400),
        (infer(MATRIX | {"datatype": "UINT16", "data": [-1, 2]}), 400),
        (infer(MATRIX | {"datatype": "UINT8", "data": [True, 2]}), 400),
        (infer(MATRIX | {WORD: 1}), 400),
        (infer(MATRIX, **{WORD: 1}), 400),
        (infer(MATRIX, id=7), 400),
        (infer(MATRIX, outputs=[{"name": WORD}]), 400),
        (infer(MATRIX, outputs=[{"name": "prediction"}, {"name": WORD}]), 400),
        (infer(MATRIX, parameters={"entity": ""}), 400),
        (infer(MATRIX, parameters={"entity": "a\0"}), 400),
        (b'{"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [NaN, 1]}]}', 400),
    ],
)
def test_tensors_that_are_not_what_they_say_are_refused(refuses: Any, body: Any, status: int) -> None:
    refuses(status, None, "POST", "/v2/models/spam/infer", body)
    refuses(status, None, "POST", "/v2/models/spam/versions/1/infer", body)


def test_a_text_is_no_category_under_another_datatype(refuses: Any) -> None:
    tensors = [
        {"name": "amount", "shape": [1], "datatype": "FP64", "data": [1]},
        {"name": "colour", "shape": [1], "datatype": "BYTES", "data": ["red"]},
        {"name": "member", "shape": [1], "datatype": "BOOL", "data": [True]},
    ]
    for place, change in ((1, {"datatype": "FP64"}), (1, {"data": [1]}), (2, {"data": ["true"]}), (2, {"data": [2]})):
        changed = [one | change if at == place else one for at, one in enumerate(tensors)]
        refuses(400, "invalid_features", "POST", "/v2/models/loan/infer", infer(*changed))
    # One matrix is of one datatype, which none of these three kinds share.
    mixed = {"name": "rows", "shape": [1, 3], "datatype": "BYTES", "data": ["1", "red", "true"]}
    refuses(400, "invalid_features", "POST", "/v2/models/loan/infer", infer(mixed))


def test_who_writes_nan_is_told_what_a_missing_value_is(app: Any) -> None:
    for target, body in (
        ("/models/spam/predict", b'{"features": {"links": NaN, "length": 2}}'),
        ("/models/spam/batch_predict", b'{"instances": [[1, -Infinity]]}'),
        ("/api/v1/labels", b'{"prediction_id": "a", "label": NaN}'),
    ):
        answer = app.post(target, body)
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert "a missing value is null" in answer.json["error"]
