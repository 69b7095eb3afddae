"""What is sent stays between the caller and the prediction log: the server repeats it nowhere else.

By design the log names what is made to be found again: request ids, the ids of predictions, and names that exist.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from homeostat.wiring.logs import JsonLines

CANARY = "canary7f3a9c"
TOKEN = "a-token-of-the-tests-0123456789"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ROW = {"amount": 4711.25, "colour": CANARY, "member": True}


@pytest.fixture(scope="module")
def guarded(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that asks who calls, with models."""
    home = tmp_path_factory.mktemp("canary")
    yield from small_servers.closed(small_servers.open_server(home, token=TOKEN, serve__body_bytes=100_000))


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The log as the server writes it, everything beside it that any handler could write, and tracebacks."""
    lines = JsonLines()
    return "\n".join(lines.format(record) + str(record.__dict__) for record in caplog.records)


def check(guarded: Any, caplog: pytest.LogCaptureFixture, *, of: str = CANARY) -> None:
    log = said(caplog)
    assert log
    assert of not in log
    for page in ("/", "/models/loan", "/metrics", "/health", "/api/v1/settings", "/api/v1/status", "/nothing"):
        assert of not in guarded.get(page, headers=ADMIN).content.decode()


def test_what_is_answered_with_success_is_in_the_reply_alone(guarded: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    more = {**ADMIN, "x-canary": CANARY, "user-agent": CANARY, "cookie": CANARY, "referer": CANARY}
    for target, body in (
        ("/models/loan/predict", {"features": ROW, "entity": CANARY}),
        ("/models/loan/batch_predict", {"instances": [ROW, ROW], "entities": [CANARY, None]}),
        (
            "/v2/models/loan/infer",
            {
                "id": CANARY,
                "parameters": {"entity": CANARY},
                "inputs": [
                    {"name": "amount", "shape": [1], "datatype": "FP64", "data": [4711.25]},
                    {"name": "colour", "shape": [1], "datatype": "BYTES", "data": [CANARY]},
                    {"name": "member", "shape": [1], "datatype": "BOOL", "data": [True]},
                ],
            },
        ),
        (
            "/api/v1/labels",
            {"model": "loan", "labels": [{"prediction_id": "x", "label": "True"}], "source": CANARY},
        ),
    ):
        answer = guarded.post(target, body, headers=more)
        assert answer.status == 200, (target, answer.content)
        assert "4711.25" not in said(caplog)
    check(guarded, caplog)


BAD: list[tuple[str, str, Any, dict[str, str]]] = [
    # A body that can't be read, does not fit, or is too large.
    ("POST", "/models/loan/predict", f'{{"{CANARY}'.encode(), {}),
    ("POST", "/models/loan/predict", CANARY.encode(), {}),
    ("POST", "/models/loan/predict", {CANARY: 1}, {}),
    ("POST", "/models/loan/predict", {"features": CANARY}, {}),
    ("POST", "/models/loan/predict", {"features": ROW | {CANARY: 1}}, {}),
    ("POST", "/models/loan/predict", {"features": ROW | {"amount": CANARY}}, {}),
    ("POST", "/models/loan/predict", {"features": ROW | {"member": CANARY}}, {}),
    ("POST", "/models/loan/predict", {"features": ROW, "event_time": CANARY}, {}),
    ("POST", "/models/loan/predict", {"features": ROW, "prediction_id": CANARY * 100}, {}),
    ("POST", "/models/loan/batch_predict", {"instances": [ROW, CANARY]}, {}),
    ("POST", "/models/loan/predict", CANARY.encode() * 100_000, {}),
    (
        "POST",
        "/v2/models/loan/infer",
        {"inputs": [{"name": CANARY, "shape": [1], "datatype": CANARY, "data": [1]}]},
        {},
    ),
    ("POST", "/v2/models/loan/infer", {"inputs": [], "outputs": [{"name": CANARY}]}, {}),
    ("POST", "/api/v1/labels", {"model": CANARY, "labels": [{"prediction_id": "x", "label": CANARY}]}, {}),
    ("POST", "/api/v1/labels", {"model": "price", "labels": [{"prediction_id": "x", "label": CANARY}]}, {}),
    ("POST", "/api/v1/models/loan/versions/1/stage", {"stage": CANARY}, {}),
    ("POST", "/api/v1/models/loan/rollback", {"actor": CANARY, "reason": CANARY, "to": 99}, {}),
    ("POST", "/api/v1/keys", {"name": f"{CANARY} x", "roles": ["read"]}, {}),
    ("POST", "/api/v1/keys", {"name": "x", "roles": [CANARY]}, {}),
    ("POST", "/api/v1/keys", {"name": "x", "roles": ["read"], "expires": CANARY}, {}),
    # The address: the path, the query, the method.
    ("GET", f"/{CANARY}", b"", {}),
    ("GET", f"/models/{CANARY}", b"", {}),
    ("GET", f"/v2/models/{CANARY}", b"", {}),
    ("POST", f"/models/{CANARY}/predict", {"features": ROW}, {}),
    ("GET", f"/api/v1/models/{CANARY}", b"", {}),
    ("GET", f"/api/v1/models/{CANARY}/versions", b"", {}),
    ("GET", f"/api/v1/models/loan/versions/{CANARY}", b"", {}),
    ("GET", f"/api/v1/models/loan/runs/{CANARY}", b"", {}),
    ("POST", f"/api/v1/alerts/{CANARY}/resolve", b"", {}),
    ("POST", f"/api/v1/keys/{CANARY}/revoke", b"", {}),
    ("GET", f"/api/v1/status?{CANARY}={CANARY}", b"", {}),
    ("GET", f"/api/v1/models/loan/decisions?limit={CANARY}", b"", {}),
    ("GET", f"/metrics?token={CANARY}", b"", {}),
    ("DELETE", f"/models/{CANARY}/predict", b"", {}),
    (CANARY.upper(), "/livez", b"", {}),
    # Headers: keys, names of this server, pages, types.
    ("GET", "/api/v1/status", b"", {"authorization": f"Bearer {CANARY}"}),
    ("GET", "/api/v1/status", b"", {"authorization": f"Bearer hst_{CANARY}"}),
    ("GET", "/api/v1/status", b"", {"authorization": f"Basic {CANARY}"}),
    ("GET", "/api/v1/status", b"", {"authorization": CANARY}),
    ("POST", "/models/loan/predict", {"features": ROW}, {"origin": f"http://{CANARY}.example"}),
    ("POST", "/api/v1/models/x/versions", b"x", {"content-type": CANARY}),
    ("POST", "/api/v1/models/x/versions", b"x", {"content-type": f"multipart/form-data; boundary={CANARY}"}),
    ("GET", "/nothing", b"", {"x-request-id": f"{CANARY} not an id", "x-forwarded-for": CANARY}),
]


def test_what_is_refused_is_repeated_nowhere(guarded: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for method, target, body, headers in BAD:
        answer = guarded.call(method, target, body, headers=ADMIN | headers)
        assert answer.status >= 400, (method, target, answer.content)
        for text in (answer.content.decode(), str(answer.headers)):
            assert CANARY not in text.lower(), (method, target, text)
        assert CANARY not in said(caplog).lower(), (method, target)
    check(guarded, caplog)


@pytest.mark.parametrize("place", ["training", "target", "pipeline", "tags", "actor", "time", CANARY])
def test_a_form_is_repeated_nowhere(guarded: Any, caplog: pytest.LogCaptureFixture, place: str) -> None:
    caplog.set_level(logging.DEBUG)
    name, content = "rows.csv", f"{CANARY},y\n{CANARY},1\n".encode()
    if place == "training":
        name = f"{CANARY}.exe"
    parts = [("training", name, content), ("target", None, b"y")]
    if place == "target":
        parts[1] = ("target", None, CANARY.encode())
    elif place == "pipeline":
        parts.append(("pipeline", f"{CANARY}.skops", CANARY.encode()))
    elif place != "training":
        parts.append((place, None, f"{CANARY}\x1b".encode()))
    answer = guarded.upload("/api/v1/models/fresh/versions", parts, **ADMIN)
    assert answer.status == 400
    assert CANARY not in answer.content.decode()
    check(guarded, caplog)


def test_a_key_is_shown_once_and_repeated_nowhere(guarded: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = guarded.post("/api/v1/keys", {"name": "once", "roles": ["read"]}, headers=ADMIN).json["secret"]
    header = {"authorization": f"Bearer {secret}"}
    for method, target in (("GET", "/metrics"), ("POST", "/predict"), ("GET", "/nothing"), ("GET", f"/{secret}")):
        answer = guarded.call(method, target, headers=header)
        assert secret not in answer.content.decode()
    guarded.get(f"/metrics?key={secret}", headers=header)
    guarded.post("/models/loan/predict", {"features": {secret: 1}}, headers=ADMIN)
    guarded.post("/api/v1/keys/once/revoke", headers=ADMIN)
    guarded.get("/metrics", headers=header)
    check(guarded, caplog, of=secret[4:])
    assert TOKEN not in said(caplog)
