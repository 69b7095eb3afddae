"""Whom the server answers: this machine or who has the token, and never the pages of other sites."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

WORD = "mischief"
ROW = {"links": 1.0, "length": 2.0}


def predict(**given: Any) -> dict[str, Any]:
    return {"features": ROW, **given}


def label(**given: Any) -> dict[str, Any]:
    return {"model": "spam", "labels": [{"prediction_id": "a", "label": "yes", **given}]}


@pytest.mark.parametrize(
    "origin",
    [
        f"http://{WORD}.example",
        "null",
        "http://localhost",
        "http://localhost:80",
        "http://localhost:8080.example",
        "http://user@localhost:8081",
        "http://[",
        "ÿ",
        "",
        "localhost:8080",
    ],
)
def test_orders_from_pages_of_other_sites_are_refused(refuses: Any, origin: str) -> None:
    for target, body in (
        ("/models/spam/predict", predict()),
        ("/api/v1/models/spam/rollback", b""),
        ("/api/v1/labels", label()),
        ("/livez", b""),
    ):
        refuses(403, "forbidden", "POST", target, body, headers={"origin": origin})


def test_an_origin_without_a_host_is_refused(app: Any) -> None:
    before = dict(app.headers)
    app.headers.clear()
    try:
        answer = app.post("/api/v1/labels", label(), headers={"origin": "null"})
    finally:
        app.headers.update(before)
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize(
    "host",
    [
        f"{WORD}.example",
        "localhost.example:8080",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "0.0.0.0:8080",
        "[::2]:80",
        "[",
        "@",
        "localhost@evil.example",
        "2130706433",
        "localhost:8080, evil",
    ],
)
def test_other_names_of_this_machine_are_refused_without_a_token(refuses: Any, host: str) -> None:
    for target in ("/api/v1/status", "/", "/metrics", "/v2", "/nothing"):
        refuses(403, "forbidden", "GET", target, headers={"host": host})
    refuses(403, "forbidden", "POST", "/models/spam/predict", predict(), headers={"host": host})


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "LOCALHOST"])
def test_this_machines_own_names_are_answered(app: Any, host: str) -> None:
    assert app.get("/api/v1/status", headers={"host": host}).status == 200
    answer = app.post("/api/v1/models/spam/verify", headers={"host": host, "origin": f"http://{host}"})
    assert answer.status == 200


TOKEN = "a-token-of-the-tests-0123456789"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def guarded(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that asks for a token."""
    home = tmp_path_factory.mktemp("guarded")
    yield from small_servers.closed(small_servers.open_server(home, register=False, token=TOKEN))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        TOKEN,
        f"Token {TOKEN}",
        f"Basic {TOKEN}",
        "Basic !",
        "Basic ",
        basic(TOKEN, ""),
        basic("", TOKEN + "x"),
        "Bearer ÿ",
        f"Bearer {TOKEN}, Bearer x",
        "Bearer null",
    ],
)
def test_without_the_token_nothing_is_answered_but_probes(guarded: Any, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    for method, target in (
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/settings"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/health"),
        ("GET", "/v2"),
        ("GET", "/nothing"),
        ("POST", "/predict"),
        ("POST", "/api/v1/models/a/versions"),
        ("DELETE", "/api/v1/status"),
    ):
        answer = guarded.call(method, target, headers=headers)
        assert (answer.status, answer.code) == (401, "unauthorized"), target
        assert (answer.header("www-authenticate") or "").startswith("Basic ")
        assert TOKEN not in answer.content.decode()
    for target in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert guarded.get(target, headers=headers).status == 200


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} ", basic("anybody", TOKEN)])
def test_with_the_token_all_is_answered_and_it_is_never_shown(
    guarded: Any, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"authorization": header, "host": "any.example"}
    for target in ("/api/v1/status", "/api/v1/settings", "/api/v1/openapi.json", "/", "/metrics", "/v2", "/health"):
        answer = guarded.get(target, headers=headers)
        assert answer.status == 200
        assert TOKEN not in answer.content.decode()
        assert all(TOKEN not in value for _, value in answer.headers)
    assert guarded.get("/api/v1/settings", headers=headers).json["token"] == "(set)"
    assert guarded.get(f"/api/v1/status?token={TOKEN}", headers=headers).status == 400
    assert guarded.get("/api/v1/models/none", headers=headers).status == 404
    said = [str(record.__dict__) for record in caplog.records]
    assert any("/api/v1/settings" in line for line in said)
    assert all(TOKEN not in line and header not in line for line in said)


@pytest.mark.parametrize(
    "given", ["a\r\nset-cookie: b=1", "a\nb", "a b", "\xe9", "x" * 65, "", "<script>", 'a"b', "a;b", "a/b", "%0d%0a"]
)
def test_request_ids_that_could_break_a_header_or_a_log_are_not_taken_over(app: Any, given: str) -> None:
    for target in ("/livez", "/nothing", f"/api/v1/models/{WORD}"):
        answer = app.get(target, headers={"x-request-id": given})
        own = answer.header("x-request-id") or ""
        assert own != given
        assert len(own) == 16
        assert own.isalnum()
        assert answer.header("set-cookie") is None


def test_a_page_of_an_unknown_model_is_no_place_for_scripts(app: Any) -> None:
    answer = app.get("/models/%3Cscript%3Ealert(1)%3C%2fscript%3E")
    assert answer.status == 404
    answer = app.get("/models/%3Cscript%3Ealert(1)")
    assert (answer.status, answer.header("content-type")) == (404, "text/html; charset=utf-8")
    assert b"<script>alert" not in answer.content


def test_what_breaks_is_told_under_the_requests_id_and_nothing_of_it(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(WORD)

    monkeypatch.setattr(app.server.system.registry, "models", broken)
    answer = app.get("/api/v1/models", headers={"x-request-id": "one-of-mine"})
    assert (answer.status, answer.code) == (500, "internal_error")
    assert WORD not in answer.content.decode()
    assert "one-of-mine" in answer.json["error"]
    assert any(record.exc_info and WORD in str(record.exc_info[1]) for record in caplog.records)
