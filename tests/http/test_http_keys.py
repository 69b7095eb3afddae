"""API keys: what each role may do, when a key works and when it does not, and who is said to have done it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from homeostat.http.operations import Operation
from homeostat.keys.rules import is_key, new_secret
from homeostat.records import KeyRole

TOKEN = "a-token-of-the-tests-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ROW = {"features": {"links": 1.0, "length": 2.0}}
KEYS = "/api/v1/keys"


@pytest.fixture(scope="module")
def guarded(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that asks who calls, with models."""
    yield from small_servers.closed(small_servers.open_server(tmp_path_factory.mktemp("guarded"), token=TOKEN))


@pytest.fixture(scope="module")
def secrets(guarded: Any) -> dict[str, str]:
    """A key for each role."""
    made = {}
    for role in KeyRole:
        answer = guarded.post(KEYS, {"name": f"has-{role}", "roles": [role], "actor": "anna"}, headers=ADMIN)
        assert answer.status == 201, answer.content
        made[role] = answer.json["secret"]
    return made


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


# Written out, so that a role that is lost or widened is seen: what each path needs beside the roles that include it.
EXPECTED = {
    "POST /models/{model}/predict": "predict",
    "POST /batch_predict": "predict",
    "GET /v2/models/{model}": "predict",
    "POST /v2/models/{model}/infer": "predict",
    "POST /api/v1/labels": "label",
    "GET /": "read",
    "GET /models/{model}": "read",
    "GET /metrics": "read",
    "GET /api/v1/status": "read",
    "GET /api/v1/settings": "read",
    "GET /api/v1/models/{model}/decisions": "read",
    "POST /api/v1/models/{model}/versions": "operate",
    "POST /api/v1/models/{model}/versions/{version}/stage": "operate",
    "POST /api/v1/models/{model}/rollback": "operate",
    "POST /api/v1/models/{model}/rollouts": "operate",
    "POST /api/v1/models/{model}/retrain": "operate",
    "POST /api/v1/models/{model}/check": "operate",
    "POST /api/v1/verify": "operate",
    "POST /api/v1/alerts/{alert}/resolve": "operate",
    "GET /api/v1/keys": "admin",
    "POST /api/v1/keys": "admin",
    "POST /api/v1/keys/{key}/revoke": "admin",
    "GET /health": None,
    "GET /api/v1/openapi.json": None,
    "GET /livez": None,
}
INCLUDED_IN = {
    "predict": {"predict", "admin"},
    "label": {"label", "admin"},
    "read": {"read", "operate", "admin"},
    "operate": {"operate", "admin"},
    "admin": {"admin"},
    None: set(KeyRole),
}


def test_each_operation_needs_the_role_that_is_documented(guarded: Any) -> None:
    needs = {f"{one.method} {one.path}": one.needs for one in guarded.server.application.operations}
    assert {name: needs[name] for name in EXPECTED} == EXPECTED


def test_every_operation_holds_callers_to_its_role(guarded: Any, secrets: dict[str, str]) -> None:
    def target(one: Operation) -> str:
        path = one.path.replace("{experiment}", "nobody").replace("{model}", "nobody").replace("{version}", "1")
        return (
            path.replace("{key}", "nobody")
            .replace("{alert}", "nobody")
            .replace("{run}", "nobody")
            .replace("{experiment}", "nobody")
        )

    asked = 0
    for one in guarded.server.application.operations:
        for role, secret in secrets.items():
            # A body that none takes: whoever may ask is refused for that, and changes nothing.
            body = b"" if one.method == "GET" else b'{"mischief"'
            answer = guarded.call(one.method, target(one), body, headers=bearer(secret))
            may = one.is_open or role in INCLUDED_IN[one.needs]
            assert (answer.status == 403) != may, (one.method, one.path, role, answer.content)
            assert answer.status != 401
            asked += 1
    assert asked > 200


def test_head_needs_what_get_does(guarded: Any, secrets: dict[str, str]) -> None:
    assert guarded.call("HEAD", "/metrics", headers=bearer(secrets["predict"])).status == 403
    assert guarded.call("HEAD", "/metrics", headers=bearer(secrets["read"])).status == 200


def test_other_paths_and_methods_are_told_to_any_key(guarded: Any, secrets: dict[str, str]) -> None:
    assert guarded.get("/nothing", headers=bearer(secrets["predict"])).status == 404
    assert guarded.call("DELETE", KEYS, headers=bearer(secrets["predict"])).status == 405
    assert guarded.get("/nothing").status == 401


def test_a_key_works_as_bearer_and_as_password(guarded: Any, secrets: dict[str, str]) -> None:
    both = base64.b64encode(f"anybody:{secrets['read']}".encode()).decode()
    for header in (f"Bearer {secrets['read']}", f"bearer  {secrets['read']} ", f"Basic {both}"):
        assert guarded.get("/", headers={"authorization": header}).status == 200
    for header in (secrets["read"], f"Bearer {secrets['read']}x", f"Bearer {new_secret()}", "Bearer hst_", "Basic x"):
        answer = guarded.get("/", headers={"authorization": header})
        assert (answer.status, answer.code) == (401, "unauthorized")


def test_a_key_is_made_listed_and_revoked(guarded: Any) -> None:
    made = guarded.post(
        KEYS, {"name": "short", "roles": ["read", "predict"], "expires": "1h", "actor": "anna"}, headers=ADMIN
    )
    secret = made.json["secret"]
    assert is_key(secret)
    assert made.json["key"]["roles"] == ["predict", "read"]
    assert made.json["key"]["expires_at"]
    assert guarded.get("/api/v1/status", headers=bearer(secret)).status == 200
    listed = guarded.get(KEYS, headers=ADMIN)
    assert "short" in [one["name"] for one in listed.json["keys"]]
    assert secret[15:] not in listed.content.decode()
    again = guarded.post(KEYS, {"name": "short", "roles": ["read"]}, headers=ADMIN)
    assert (again.status, again.code) == (409, "conflict")
    # The log and the list show both.
    for key in (made.json["key"]["id"], "short"):
        answer = guarded.post(f"{KEYS}/{key}/revoke", {"actor": "bert"}, headers=ADMIN)
        assert (answer.status, answer.json["state"], answer.json["revoked_by"]) == (200, "revoked", "bert")
        assert guarded.get("/api/v1/status", headers=bearer(secret)).status == 401
    assert guarded.post(f"{KEYS}/nobody/revoke", headers=ADMIN).code == "unknown_record"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "roles": []},
        {"name": "x", "roles": ["root"]},
        {"name": "x", "roles": ["admin"] * 6},
        {"name": "", "roles": ["read"]},
        {"name": "a/b", "roles": ["read"]},
        {"name": "token", "roles": ["read"]},
        {"name": "x" * 65, "roles": ["read"]},
        {"name": "x", "roles": ["read"], "expires": "mischief"},
        {"name": "x", "roles": ["read"], "expires": "0d"},
        {"name": "x", "roles": ["read"], "expires": "99999d"},
        {"name": "x", "roles": ["read"], "secret": "mischief"},
        {"name": "x", "roles": ["read"], "actor": "a\x1b[2J"},
    ],
)
def test_keys_that_can_not_be_are_refused(guarded: Any, body: Any) -> None:
    before = guarded.kept()
    answer = guarded.post(KEYS, body, headers=ADMIN)
    assert answer.status == 400
    assert "mischief" not in answer.content.decode()
    assert guarded.kept() == before


def test_an_expired_key_is_refused_by_the_machines_clock(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = guarded.post(KEYS, {"name": "brief", "roles": ["read"], "expires": "60s"}, headers=ADMIN)
    header = bearer(made.json["secret"])
    assert guarded.get("/metrics", headers=header).status == 200
    now = guarded.server.keys._now()
    monkeypatch.setattr(guarded.server.keys, "_now", lambda: now + 61)
    assert guarded.get("/metrics", headers=header).status == 401


def test_what_was_done_with_a_key_says_so(
    guarded: Any, secrets: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    operator = bearer(secrets["operate"])
    stages = "/api/v1/models/spam/versions/2/stage"
    for headers, body in (
        (operator, {"stage": "testing"}),
        (operator, {"stage": "draft", "actor": "anna"}),
        (ADMIN, {"stage": "testing", "actor": "anna"}),
    ):
        assert guarded.post(stages, body, headers=headers).status == 200
    said = [one.actor for one in guarded.control.stages("spam", 2)[-3:]]
    assert said == ["has-operate", "anna (key has-operate)", "anna"]
    lines = [record.said for record in caplog.records if hasattr(record, "said") and "path" in record.said]
    assert [line["key"] for line in lines] == ["has-operate", "has-operate", "token"]
    answer = guarded.post("/models/spam/predict", ROW, headers=bearer(secrets["predict"]))
    assert answer.status == 200
    everything = str([record.__dict__ for record in caplog.records])
    for secret in (*secrets.values(), TOKEN):
        assert secret not in everything


def test_a_pickle_needs_an_admin(small_servers: ModuleType, tmp_path: Any) -> None:
    server = small_servers.open_server(tmp_path, register=False, token=TOKEN, serve__allow_pickle=True)
    for small in small_servers.closed(server):
        made = small.post(KEYS, {"name": "ops", "roles": ["operate"]}, headers=ADMIN).json["secret"]
        parts = [
            ("training", "rows.csv", b"a,y\n1,0\n"),
            ("target", None, b"y"),
            ("pipeline", "a.pkl", b"."),
            ("allow_pickle", None, b"true"),
        ]
        target = "/api/v1/models/fresh/versions"
        assert small.upload(target, parts, **bearer(made)).status == 403
        assert small.upload(target, parts, **ADMIN).status == 400


def test_auth_on_this_machine_without_a_token_lets_nobody_in_by_leaving_it_out(
    small_servers: ModuleType, tmp_path: Any
) -> None:
    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, serve__auth=True)):
        for headers in ({}, {"authorization": ""}, {"authorization": "Bearer "}, {"authorization": "Basic Og=="}):
            assert small.get("/api/v1/status", headers=headers).status == 401
        secret = small.control.create_key("reader", [KeyRole.READ], expires=None, actor="anna").secret
        assert small.get("/api/v1/status", headers=bearer(secret)).status == 200
        described = small.get("/api/v1/openapi.json", headers=bearer(secret)).json
        assert described["security"] == [{"token": []}]
        assert described["paths"]["/api/v1/keys"]["post"]["security"] == [{"token": ["admin"]}]
        assert described["paths"]["/livez"]["get"]["security"] == []


def test_a_server_that_asks_nobody_says_that_keys_are_optional(app: Any) -> None:
    described = app.get("/api/v1/openapi.json").json
    assert described["paths"]["/metrics"]["get"]["security"] == [{}, {"token": ["read"]}]
