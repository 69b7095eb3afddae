"""Addresses, methods, queries and orders that can not be are refused, and nothing is changed by them."""

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


def predict(**given: Any) -> dict[str, Any]:
    return {"features": ROW, **given}


def batch(*rows: Any, **given: Any) -> dict[str, Any]:
    return {"instances": list(rows), **given}


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_path"),
        ("GET", f"/{WORD}", 404, "unknown_path"),
        ("GET", "//", 404, "unknown_path"),
        ("GET", "/api/v1/models/", 404, "unknown_path"),
        ("GET", "/api/v1/models//versions", 404, "unknown_path"),
        ("GET", "/api/v1/status/", 404, "unknown_path"),
        ("GET", "/api/v1/models/..%2f..%2fetc%2fpasswd", 404, "unknown_path"),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, "unknown_path"),
        ("POST", "/api/v1/clock", 404, "unknown_path"),
        ("GET", f"/api/v1/models/{WORD}", 404, "unknown_model"),
        ("GET", f"/api/v1/models/{WORD}/runs", 404, "unknown_model"),
        ("GET", f"/api/v1/models/{WORD}%3Cscript%3E/policy", 404, "unknown_model"),
        ("GET", "/api/v1/models/" + "x" * 10_000, 404, "unknown_model"),
        ("GET", "/api/v1/models/%F0%9F%90%8D", 404, "unknown_model"),
        ("GET", "/api/v1/models/%ED%A0%80", 404, "unknown_model"),
        ("GET", "/api/v1/models/%00" + WORD, 400, "invalid_request"),
        ("GET", "/api/v1/models/%0d%0aset-cookie:%20a", 400, "invalid_request"),
        ("GET", f"/v2/models/{WORD}", 404, "unknown_model"),
        ("GET", f"/v2/models/{WORD}/versions/1/ready", 404, "unknown_model"),
        ("GET", "/v2/models/drafts", 409, "not_serving"),
        ("GET", "/v2/models/drafts/ready", 409, "not_serving"),
        ("GET", "/v2/models/spam/versions/99/ready", 404, "unknown_version"),
        ("GET", "/api/v1/models/spam/versions/99", 404, "unknown_version"),
        ("GET", "/api/v1/models/spam/versions/0", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/-1", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/1.0", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/1e3", 400, "invalid_request"),
        ("GET", f"/api/v1/models/spam/versions/{WORD}", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/%D9%A1", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/1000000001", 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/" + "0" * 19 + "1" + "9" * 30, 400, "invalid_request"),
        ("GET", "/api/v1/models/spam/versions/" + "9" * 5000, 400, "invalid_request"),
        ("GET", f"/api/v1/models/spam/runs/{WORD}", 404, "unknown_record"),
        ("POST", f"/api/v1/alerts/{WORD}/resolve", 404, "unknown_record"),
        ("POST", f"/api/v1/alerts/{WORD}/acknowledge", 404, "unknown_record"),
    ],
)
def test_addresses_of_nothing_are_not_found(refuses: Any, method: str, target: str, status: int, code: str) -> None:
    refuses(status, code, method, target)


@pytest.mark.parametrize(
    "query",
    [
        f"{WORD}=1",
        "x",
        "=1",
        "limit=" + WORD,
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=1&limit=1",
        "limit=1000000001",
        "limit=" + "0" * 19 + "1" + "9" * 30,
        "limit=" + "9" * 5000,
        "limit=%ff",
        "limit=%D9%A1",
        "limit=ÿ",
        "&".join(f"a{place}=1" for place in range(60)),
        "limit=1;x=2",
        "limit=1%00",
        "LIMIT=1",
    ],
)
def test_queries_that_can_not_be_are_refused(refuses: Any, query: str) -> None:
    refuses(400, "invalid_request", "GET", f"/api/v1/models/spam/decisions?{query}")


def test_queries_of_other_kinds_are_held_to_what_they_take(refuses: Any) -> None:
    for query in ("all=yes", "all=1", "all", "all=TRUE", "model=%00", "model=%1b" + WORD, "all=true&all=true"):
        refuses(400, "invalid_request", "GET", f"/api/v1/alerts?{query}")
    refuses(404, "unknown_model", "GET", f"/api/v1/alerts?model={WORD}")
    refuses(404, "unknown_version", "GET", "/api/v1/models/spam/stages?version=99")
    refuses(400, "invalid_request", "GET", "/api/v1/models/spam/stages?version=x")
    for target in ("/", "/metrics", "/livez", "/api/v1/status", "/api/v1/openapi.json", "/v2"):
        refuses(400, "invalid_request", "GET", f"{target}?{WORD}=1")
    refuses(400, "invalid_request", "POST", "/models/spam/predict?x=1", predict())


def test_other_methods_are_refused_with_those_that_are_allowed(refuses: Any) -> None:
    for method, target, allowed in (
        ("GET", "/models/spam/predict", "POST"),
        ("PUT", "/models/spam/predict", "POST"),
        ("HEAD", "/api/v1/labels", "POST"),
        ("DELETE", "/api/v1/models/spam", "GET, HEAD"),
        ("POST", "/api/v1/models", "GET, HEAD"),
        ("PATCH", "/", "GET, HEAD"),
        ("TRACE", "/api/v1/status", "GET, HEAD"),
        ("OPTIONS", "/api/v1/models/spam/versions", "GET, HEAD, POST"),
        (WORD.upper(), "/metrics", "GET, HEAD"),
    ):
        if method == "HEAD":
            continue
        assert refuses(405, "method_not_allowed", method, target).header("allow") == allowed


def test_a_refused_head_has_no_body(app: Any) -> None:
    answer = app.call("HEAD", "/api/v1/labels")
    assert (answer.status, answer.header("allow"), answer.content) == (405, "POST", b"")
    answer = app.call("HEAD", f"/api/v1/models/{WORD}")
    assert (answer.status, answer.content) == (404, b"")


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        ("versions/2/stage", b"", 400, "invalid_request"),
        ("versions/2/stage", {}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": WORD}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": None}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", WORD: 1}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", "actor": ""}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", "actor": "x" * 201}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", "actor": "\x1b[2J"}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", "reason": "x" * 1001}, 400, "invalid_request"),
        ("versions/2/stage", {"stage": "testing", "reason": "a\0b"}, 400, "invalid_request"),
        ("versions/2/stage", b'{"stage": "testing", "reason": "\\ud800"}', 400, "invalid_request"),
        ("versions/2/stage", {"stage": "draft"}, 409, "illegal_move"),
        ("versions/2/stage", {"stage": "production"}, 409, "illegal_move"),
        ("versions/1/stage", {"stage": "archived"}, 409, "conflict"),
        ("versions/1/stage", {"stage": "testing"}, 409, "illegal_move"),
        ("versions/1/stage", {"stage": "draft"}, 409, "illegal_move"),
        ("versions/99/stage", {"stage": "testing"}, 404, "unknown_version"),
        ("rollback", b"", 409, "nothing_to_roll_back_to"),
        ("rollback", {"to": 0}, 400, "invalid_request"),
        ("rollback", {"to": "1"}, 400, "invalid_request"),
        ("rollback", {"to": 1.5}, 400, "invalid_request"),
        ("rollback", {"to": 10**30}, 400, "invalid_request"),
        ("rollback", {"to": 99}, 404, "unknown_version"),
        ("rollouts", b"", 400, "invalid_request"),
        ("rollouts", {"version": 99}, 404, "unknown_version"),
        ("rollouts", {"version": 1}, 409, "conflict"),
        ("rollouts", {"version": True}, 400, "invalid_request"),
        ("rollouts/pause", b"", 404, "unknown_record"),
        ("rollouts/resume", b"", 404, "unknown_record"),
        ("rollouts/abort", b"", 404, "unknown_record"),
        ("rollouts/abort", {"actor": 1}, 400, "invalid_request"),
        ("verify", {"x": 1}, 400, "invalid_request"),
        ("check", WORD.encode(), 400, "invalid_request"),
        ("retrain", [], 400, "invalid_request"),
    ],
)
def test_orders_that_can_not_be_are_refused(refuses: Any, target: str, body: Any, status: int, code: str) -> None:
    refuses(status, code, "POST", f"/api/v1/models/spam/{target}", body)


def test_orders_about_unknown_or_unserved_models_are_refused(refuses: Any) -> None:
    for target, body in (("rollback", b""), ("rollouts/pause", b""), ("retrain", b""), ("check", b""), ("verify", b"")):
        refuses(404, "unknown_model", "POST", f"/api/v1/models/{WORD}/{target}", body)
    refuses(404, "unknown_model", "POST", f"/api/v1/models/{WORD}/rollouts", {"version": 1})
    refuses(404, "unknown_model", "POST", f"/api/v1/models/{WORD}/versions/1/stage", {"stage": "testing"})
    refuses(409, "conflict", "POST", "/api/v1/models/drafts/retrain")
    refuses(409, "nothing_to_roll_back_to", "POST", "/api/v1/models/drafts/rollback")
    refuses(409, "illegal_move", "POST", "/api/v1/models/drafts/rollouts", {"version": 1})
    refuses(409, "not_serving", "POST", "/models/drafts/predict", predict())
    refuses(404, "unknown_model", "POST", f"/models/{WORD}/predict", predict())
    refuses(404, "unknown_model", "POST", "/predict", predict())
    refuses(404, "unknown_model", "POST", "/batch_predict", batch(ROW))
