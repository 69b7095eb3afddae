"""`homeostat key`: the secret is shown once, and bad input changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homeostat.cli.app import run
from homeostat.keys.rules import is_key


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HOMEOSTAT_HOME", "HOMEOSTAT_SERVER", "HOMEOSTAT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_key_from_making_it_to_its_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "list"]) == 0
    assert "no keys" in capsys.readouterr().out
    assert run(["key", "create", "ci", "--role", "predict", "--role", "label", "--expires", "90d"]) == 0
    said = capsys.readouterr()
    secret = said.out.strip()
    assert is_key(secret)
    assert secret not in said.err
    assert "'ci' (predict, label)" in said.err
    assert run(["key", "list"]) == 0
    shown = capsys.readouterr().out
    assert "ci" in shown
    assert "live" in shown
    assert secret not in shown
    assert run(["key", "revoke", "ci"]) == 0
    capsys.readouterr()
    assert run(["key", "list", "--json"]) == 0
    (key,) = json.loads(capsys.readouterr().out)["keys"]
    assert (key["name"], key["state"], key["roles"]) == ("ci", "revoked", ["predict", "label"])
    assert run(["key", "create", "other", "--role", "admin", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert is_key(made["secret"])
    assert made["key"]["expires_at"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "ci"],
        ["create", "ci", "--role", "root"],
        ["create", "ci", "--role", ""],
        ["create", "a b", "--role", "read"],
        ["create", "token", "--role", "read"],
        ["create", "ci", "--role", "read", "--expires", "soon"],
        ["revoke", "nobody"],
    ],
)
def test_bad_input_ends_with_2(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(["key", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run(["key", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"keys": []}
