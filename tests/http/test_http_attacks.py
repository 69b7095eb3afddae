"""Known classes of attack on model servers and registries, each by what a request can carry.

A CVE names a published case of the class in other software, not one here. Files are in
`test_http_attacks_files.py`, pages in `test_http_attacks_pages.py`, bytes on the wire in `test_http_smuggling.py`, and
requests that the server itself would send in `tests/connectors/test_connectors_outgoing.py`.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homeostat.wiring.logs import JsonLines

WORD = "mischief"
ROW = {"links": 1.0, "length": 2.0}
# Path traversal: MLflow CVE-2023-1177 and CVE-2023-6909, Ollama CVE-2024-37032.
TRAVERSALS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "..\\..\\etc\\passwd",
    "....//....//etc/passwd",
    "..;/..;/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "C:%5cWindows%5cwin.ini",
    "C:/Windows/win.ini",
    "%5c%5chost%5cshare",
    "file:%2f%2f%2fetc%2fpasswd",
    "spam%00.txt",
    "spam%00/../../etc/passwd",
    # Overlong UTF-8 of '/' and '.': CVE-2000-0884, CVE-2008-2938.
    "..%c0%af..%c0%afetc%c0%afpasswd",
    "%c0%ae%c0%ae%c0%afetc",
    "%e0%80%af",
    "%ef%bc%8fetc%ef%bc%8fpasswd",
    "%ff%fe",
    ".",
    "..",
    "%2e",
    "%2e%2e",
    "~root",
    "~",
]
ADDRESSES = [
    ("GET", "/models/{}"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/spam/versions/{}"),
    ("GET", "/api/v1/models/{}"),
    ("GET", "/api/v1/models/{}/versions"),
    ("GET", "/api/v1/models/spam/versions/{}"),
    ("GET", "/api/v1/models/spam/runs/{}"),
    ("POST", "/models/{}/predict"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/api/v1/models/{}/verify"),
    ("POST", "/api/v1/models/{}/rollback"),
    ("POST", "/api/v1/alerts/{}/resolve"),
    ("POST", "/api/v1/keys/{}/revoke"),
    ("GET", "/{}"),
    ("GET", "/static/{}"),
    ("GET", "/api/v1/{}"),
]
SECRET_FILES = (b"root:", b"[fonts]", b"/bin/", b"passwd")


def body_of(target: str) -> Any:
    return {"features": ROW} if target.endswith("/predict") else {"inputs": []} if target.endswith("/infer") else b""


@pytest.mark.parametrize("name", TRAVERSALS)
def test_path_traversal_through_names_reaches_no_file(
    app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    before = app.kept()
    opened: list[str] = []
    note_opened(monkeypatch, opened)
    for method, pattern in ADDRESSES:
        target = pattern.format(name)
        answer = app.call(method, target, body_of(target) if method == "POST" else b"")
        assert answer.status in (200, 400, 404, 405), (target, answer.status)
        if answer.status == 200:
            # What is left of the address where dots alone are names of nothing: a page, or a list.
            assert answer.header("content-type") in ("text/html; charset=utf-8", "application/json")
        assert not any(word in answer.content for word in SECRET_FILES), target
    assert not [path for path in opened if "etc" in path or "passwd" in path or "Windows" in path]
    assert app.kept() == before


def note_opened(monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> None:
    for holder, name in ((Path, "open"), (Path, "read_bytes"), (Path, "read_text")):
        real = getattr(holder, name)

        def noting(self: Path, *given: Any, _real: Any = real, **more: Any) -> Any:
            opened.append(str(self))
            return _real(self, *given, **more)

        monkeypatch.setattr(holder, name, noting)


# Commands in names, addresses and fields: MLflow, TorchServe and others took URIs from requests (CVE-2023-43654).
COMMANDS = ["$(touch {})", "`touch {}`", "; touch {}", "| touch {}", "&& touch {}", "\n touch {}", "%0atouch {}", "{}"]
URIS = [
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:1/x.skops",
    "s3://bucket/x",
    "ftp://127.0.0.1/x",
    "models:/spam/1",
    "runs:/x/y",
    "\\\\host\\share",
]


def test_what_looks_like_a_command_or_an_address_is_only_a_text(
    app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[Any] = []

    def refuse(*given: Any, **_: Any) -> Any:
        ran.append(given)
        raise AssertionError("something ran or was connected to")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(os, "system", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    mark = tmp_path / "mark"
    for text in [command.format(mark) for command in COMMANDS] + URIS:
        for target, body in (
            ("/models/spam/predict", {"features": ROW, "prediction_id": text, "entity": text}),
            ("/models/spam/predict", {"features": {"links": text, "length": 1}}),
            ("/api/v1/labels", {"model": text, "labels": [{"prediction_id": text, "label": "yes"}]}),
            ("/api/v1/models/spam/rollback", {"actor": text, "reason": text}),
            ("/api/v1/models/spam/versions/1/stage", {"stage": text}),
        ):
            assert app.post(target, body).status in (200, 400, 404, 409), (text, target)
        form = [("training", "a.csv", b"a,y\n1,2\n"), ("target", None, text.encode()), ("tags", None, b'{"uri": "x"}')]
        assert app.upload("/api/v1/models/fresh/versions", form).status == 400
        form[0] = ("training", None, text.encode())
        assert app.upload("/api/v1/models/fresh/versions", form).status == 400
    assert ran == []
    assert not mark.exists()


# JSON that costs more than it weighs.
@pytest.mark.parametrize(
    "content",
    [
        # Deep nesting.
        b'{"features": ' + b"[" * 100_000,
        b'{"features": ' + b'{"a":' * 100_000,
        b'{"features": {"links": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
        # Many keys, and many that are one (hash collisions: CVE-2012-1150).
        b'{"features": {' + b",".join(b'"k%d": 1' % place for place in range(200_000)) + b"}}",
        b'{"features": {' + b",".join([b'"k": 1'] * 200_000) + b"}}",
        b"{" + b",".join(b'"k%d": 1' % place for place in range(200_000)) + b"}",
        # Numbers whose digits are work to read (CVE-2020-10735).
        b'{"features": {"links": ' + b"9" * 1_000_000 + b', "length": 1}}',
        b'{"features": {"links": 1e' + b"9" * 1_000_000 + b', "length": 1}}',
        b'{"features": {"links": 0.' + b"0" * 1_000_000 + b'1e1000001, "length": 1, "x": 1}}',
        # Long strings, escapes and surrogates.
        b'{"prediction_id": "' + b"\\u0041" * 500_000 + b'"}',
        b'{"features": {"links": "\\ud800", "length": 1}}',
        b'{"features": {"__proto__": 1, "__class__": 1}}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
    ],
)
def test_json_that_costs_more_than_it_weighs_is_refused_soon(app: Any, content: bytes) -> None:
    before = app.kept()
    started = time.process_time()
    answer = app.post("/models/spam/predict", content)
    assert (answer.status, answer.code) in ((400, "invalid_request"), (400, "invalid_features"))
    assert len(answer.content) < 3000
    assert time.process_time() - started < 20
    assert app.kept() == before


# Log injection: what is sent breaks out of no line, and no terminal reads it as an order.
def test_lines_of_the_log_stay_lines(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hostile = "%0d%0a%7b%22level%22:%22error%22%7d%1b[2J%e2%80%a8%c2%85"
    for target in (f"/{hostile}", f"/models/{hostile}", f"/api/v1/models/{hostile}/versions", f"/livez?a={hostile}"):
        app.get(target, headers={"x-request-id": 'a"\n{"level":"error"}', "user-agent": "\x1b[2J\n"})
    records = [record for record in caplog.records if record.name == "homeostat.http"]
    assert len(records) == 4
    for record in records:
        line = JsonLines().format(record)
        assert json.loads(line)["level"] == "info"
        assert line.isprintable() or all(character >= " " for character in line)
        assert "\x1b" not in line
        assert "\n" not in line
        assert len(line) < 2000


# CSRF: a page of another site sends orders with the credentials that the browser keeps (MLflow, Jupyter and others).
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_forms_of_other_sites_order_nothing(refuses: Any, kind: str) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:9999", "http://127.0.0.1"):
        headers = {"origin": origin, "content-type": kind, "sec-fetch-site": "cross-site"}
        for target in ("/api/v1/models/spam/rollback", "/api/v1/keys", "/api/v1/verify", "/models/spam/predict"):
            refuses(403, "forbidden", "POST", target, b"{}", headers=headers)


def test_nothing_is_ordered_by_a_link(app: Any) -> None:
    # GET and HEAD change nothing, so that no image and no link of a page can.
    before = app.kept()
    for operation in app.server.application.operations:
        if operation.method == "GET":
            path = operation.path.replace("{model}", "spam").replace("{version}", "1").replace("{run}", "x")
            for method in ("GET", "HEAD"):
                assert app.call(method, path, headers={"origin": "https://evil.example"}).status in (200, 404, 503)
    assert app.kept() == before


# DNS rebinding: a name of the attacker's points at this machine (Transmission CVE-2018-5702).
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_names_that_were_pointed_here_are_not_answered(refuses: Any, host: str) -> None:
    refuses(403, "forbidden", "GET", "/api/v1/status", headers={"host": host})
    headers = {"host": host, "origin": f"http://{host}"}
    refuses(403, "forbidden", "POST", "/models/spam/predict", {"features": ROW}, headers=headers)


# Secrets are compared in constant time.
def test_tokens_and_keys_are_compared_in_constant_time(
    small_servers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "a-token-of-the-tests-0123456789"
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def noting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, token=token)):
        admin = {"authorization": f"Bearer {token}"}
        made = small.post("/api/v1/keys", {"name": "ci", "roles": ["read"]}, headers=admin).json["secret"]
        monkeypatch.setattr(hmac, "compare_digest", noting)
        # The right id with a wrong secret, an id that nobody has, and the key itself, all cost the same comparisons.
        for secret, status in ((made[:-1] + "!", 401), ("hst_0000000000" + made[14:], 401), (made, 200)):
            compared.clear()
            assert small.get("/metrics", headers={"authorization": f"Bearer {secret}"}).status == status
            assert (32, 32) in compared
            assert len(compared) == 2


# Defaults: nothing opens a server that others can reach but what was made for it.
def test_there_are_no_default_credentials(small_servers: ModuleType, tmp_path: Path) -> None:
    import base64

    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, serve__auth=True)):
        for user, password in (("admin", "admin"), ("admin", "password"), ("", ""), ("homeostat", "homeostat")):
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            for header in (f"Basic {basic}", f"Bearer {password}"):
                assert small.get("/api/v1/status", headers={"authorization": header}).status == 401


@pytest.fixture(autouse=True)
def unchanged_folder(tmp_path: Path) -> Iterator[None]:
    """Whatever is sent, nothing appears where the process works."""
    before = sorted(os.listdir())
    yield
    assert sorted(os.listdir()) == before
