"""Addresses, tokens, errors, and servers that are gone, slow or something else."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from typing import Any

import pytest

import homeostat
from homeostat.errors import (
    Conflict,
    HomeostatError,
    InvalidFeatures,
    InvalidInput,
    ServerUnreachable,
    StorageFailed,
    UnknownModel,
)
from homeostat.sdk import Client

SECRET = "-".join(["hush"] * 4)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "unknown_model", UnknownModel),
        (400, "invalid_features", InvalidFeatures),
        (409, "conflict", Conflict),
        (503, "storage_failed", StorageFailed),
        (418, "of_the_future", HomeostatError),
    ],
)
def test_a_refusal_is_raised_as_the_error_with_its_code(told: Any, status: int, code: str, kind: type) -> None:
    told.refuse(status, code, "said by the server")
    with Client(told.url) as client, pytest.raises(HomeostatError) as raised:
        client.models()
    assert type(raised.value) is kind
    assert raised.value.message == "said by the server"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nobody_at_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, token=SECRET) as client:
        with pytest.raises(ServerUnreachable) as raised:
            client.models()
        assert not client.ready()
    assert raised.value.code == "server_unreachable"
    assert url in raised.value.message
    assert "homeostat serve" in raised.value.message
    assert SECRET not in raised.value.message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>It works!</html>"),
        (502, b"Bad Gateway"),
        (301, b""),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"models": 7}'),
        (500, b'{"detail": "of another kind"}'),
    ],
)
def test_what_answers_is_not_homeostat(told: Any, status: int, body: bytes) -> None:
    told.say(body, status=status, content_type="text/html")
    with Client(told.url) as client, pytest.raises(ServerUnreachable, match=told.url):
        client.models()


def test_a_question_is_not_repeated_once_it_was_sent(told: Any) -> None:
    told.say(drop=True)
    with Client(told.url) as client, pytest.raises(ServerUnreachable):
        client.models()
    assert len(told.asked) == 1


def test_an_order_is_never_repeated(told: Any) -> None:
    told.say(drop=True)
    with Client(told.url) as client, pytest.raises(ServerUnreachable):
        client.check("mail")
    assert len(told.asked) == 1


def test_a_question_waits_for_a_server_that_comes_up(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    told.say({"models": []})
    sent: list[str] = []
    handle = httpx.HTTPTransport.handle_request

    def refused_once(self: Any, request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        if len(sent) == 1:
            raise httpx.ConnectError("refused", request=request)
        return handle(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refused_once)
    with Client(told.url) as client:
        assert client.models() == []
        sent.clear()
        with pytest.raises(ServerUnreachable):
            client.verify()
    assert sent == ["POST"]


def test_a_slow_answer_ends_with_the_timeout_but_long_work_has_longer(told: Any) -> None:
    told.say({"models": [], "model": "mail", "harmed": False, "findings": []}, after=0.5)
    with Client(told.url, timeout=0.1) as client:
        with pytest.raises(ServerUnreachable, match="may still be done"):
            client.models()
        assert not client.check("mail").harmed


def test_ready_is_what_the_server_says(told: Any) -> None:
    told.say({"status": "ready"})
    told.say({"status": "starting"}, status=503)
    with Client(told.url) as client:
        assert client.ready()
        assert not client.ready()
    assert {asked.target for asked in told.asked} == {"/readyz"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "127.0.0.1:8080",
        "ftp://host",
        "file:///etc/passwd",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host?token=hush-hush-hush-hush",
        "http://host/#part",
        f"http://user:{SECRET}@host",
        f"http://{SECRET}@host/path",
        f"ftp://user:{SECRET}@host",
        f"http://user:{SECRET}@[broken",
        "http://ho st",
    ],
)
def test_addresses_that_are_refused_without_showing_a_secret(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Client(url)
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("token", ["two words", "new\nline", "grün", "\x00"])
def test_tokens_that_no_header_can_carry_are_refused_without_showing_them(told: Any, token: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Client(told.url, token=token)
    assert token not in raised.value.message


def test_spaces_around_a_token_are_not_part_of_it(told: Any) -> None:
    told.say({"models": []})
    with Client(told.url, token=f" {SECRET}\n") as client:
        client.models()
    assert told.last.headers["authorization"] == f"Bearer {SECRET}"
    with Client(told.url, token="") as client:
        client.models()
    assert "authorization" not in told.last.headers


def test_the_token_is_in_no_repr_and_no_log(told: Any, caplog: pytest.LogCaptureFixture) -> None:
    told.say({"models": []})
    caplog.set_level(logging.DEBUG)
    with Client(told.url, token=SECRET) as client:
        client.models()
        assert repr(client) == f"Client('{told.url}')"
        assert SECRET not in repr(vars(client))
    assert SECRET not in caplog.text


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    told.say({"models": []})
    with Client(told.url) as client:
        assert client.models() == []


def test_homeostat_has_the_client_but_does_not_load_it() -> None:
    assert homeostat.Client is Client
    assert "Client" in dir(homeostat)
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        homeostat.Server  # noqa: B018
    program = "import sys, homeostat; print(sorted({'httpx', 'numpy', 'msgspec'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_above_nothing(told: Any, timeout: float) -> None:
    with pytest.raises(InvalidInput, match="timeout"):
        Client(told.url, timeout=timeout)
