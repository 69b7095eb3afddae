"""Commands that are sent to a server: where it is named, how the token goes, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.cli.app import run
from homeostat.records import GatewayReport

WORD = "a-word-of-the-tests"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HOMEOSTAT_HOME", "HOMEOSTAT_SERVER", "HOMEOSTAT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@dataclass
class Listener:
    """A server that says the same to everything, and notes who asked."""

    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    status: int = 200
    reply: Any = None


def listening() -> Iterator[Listener]:
    state = Listener(reply={"models": []})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Authorization")))
            body = json.dumps(state.reply).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    yield from listening()


@pytest.fixture
def other() -> Iterator[Listener]:
    yield from listening()


def test_a_server_is_named_before_the_command_or_after_it(home: Path, listener: Listener) -> None:
    assert run(["status", "--server", listener.url]) == 0
    assert run(["--server", listener.url, "status"]) == 0
    assert run(["--server", listener.url, "model", "list"]) == 0
    assert [path for path, _ in listener.asked] == ["/api/v1/status", "/api/v1/status", "/api/v1/models"]
    assert not (home / ".homeostat").exists()


def test_a_server_is_named_by_the_environment_or_the_settings(
    home: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "homeostat.toml").write_text(f'server = "{listener.url}"\n')
    assert run(["status"]) == 0
    (home / "homeostat.toml").unlink()
    monkeypatch.setenv("HOMEOSTAT_SERVER", listener.url)
    assert run(["status"]) == 0
    assert len(listener.asked) == 2
    assert not (home / ".homeostat").exists()


def test_what_is_nearest_to_the_command_counts(
    home: Path, listener: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_SERVER", other.url)
    assert run(["--server", listener.url, "status"]) == 0
    assert run(["--server", other.url, "status", "--server", listener.url]) == 0
    assert (len(listener.asked), len(other.asked)) == (2, 0)
    assert run(["status"]) == 0
    assert (len(listener.asked), len(other.asked)) == (2, 1)
    assert run(["status", "--server", ""]) == 0
    assert (len(listener.asked), len(other.asked)) == (2, 1)
    assert (home / ".homeostat").exists()


def test_the_token_goes_by_the_environment_and_has_no_option(
    home: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--server", listener.url]) == 0
    monkeypatch.setenv("HOMEOSTAT_TOKEN", WORD)
    assert run(["--verbose", "status", "--server", listener.url]) == 0
    assert [said for _, said in listener.asked] == [None, f"Bearer {WORD}"]
    said = capsys.readouterr()
    assert WORD not in said.out + said.err
    assert run(["status", "--server", listener.url, "--token", WORD]) == 2


def test_a_server_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}"
    assert run(["status", "--server", url]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert url in line
    assert line.endswith("[server_unreachable]")
    assert not (home / ".homeostat").exists()


@pytest.mark.parametrize("url", ["localhost:8080", f"http://user:{WORD}@127.0.0.1:1", "ftp://host"])
def test_an_address_that_is_none(home: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert run(["status", "--server", url]) == 2
    said = capsys.readouterr().err
    assert "[invalid_input]" in said
    assert WORD not in said


def test_a_refusal_ends_as_it_would_here(home: Path, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    listener.status, listener.reply = 404, {"error": "There is no model 'mail'.", "code": "unknown_model"}
    assert run(["history", "mail", "--server", listener.url]) == 2
    assert capsys.readouterr().err.strip() == "error: There is no model 'mail'. [unknown_model]"


@pytest.mark.parametrize("command", ["drift a.csv b.csv", "demo", "backtest a.csv --target y"])
def test_commands_that_work_here_alone_take_no_server(
    home: Path, listener: Listener, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(["--server", listener.url, *command.split()]) == 2
    assert "takes no --server [invalid_input]" in capsys.readouterr().err.replace(". [", " [")
    assert listener.asked == []


def prepare(folder: Path) -> None:
    """The files that a user brings."""
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    label = pd.Series(np.where(frame["a"] + rng.normal(size=300) * 0.2 > 0, "spam", "ham"))
    frame.assign(label=label).to_csv(folder / "training.csv", index=False)
    skops.io.dump(LogisticRegression().fit(frame, label), folder / "model.skops")
    (folder / "model.pkl").write_bytes(b"not opened")
    pd.DataFrame({"prediction_id": ["one", "two"], "label": ["spam", "ham"]}).to_csv(folder / "labels.csv", index=False)


REGISTER = "model register mail model.skops training.csv --target label"


def test_a_rollback_says_who_confirmed_it_and_ends_with_1_where_somebody_did_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from homeostat.settings import load
    from homeostat.wiring import open_system

    prepare(home)
    staged = f"{REGISTER} --to staging"
    for command in (staged, staged, "model promote mail 1", "model promote mail 2"):
        assert run(command.split()) == 0
    opened = open_system(load())
    # One that is alive and stays behind, one that is ahead, and one that has gone.
    soon = datetime(2200, 1, 1, tzinfo=UTC)
    with opened.store.begin() as transaction:
        for name, route, stopped in (("behind", 1, False), ("ahead", 99, False), ("gone", 1, True)):
            transaction.insert(
                GatewayReport(name=name, pid=1, started_at=soon, seen_at=soon, routes={"mail": route}, stopped=stopped)
            )
    opened.close()
    capsys.readouterr()
    assert run(["model", "rollback", "mail"]) == 1
    said = capsys.readouterr().out
    assert "mail is served by version 1 again. Confirmed by ahead." in said
    assert "Not confirmed yet by behind." in said
    assert "gone" not in said


# Run one after the other, here and against a server, on states that are the same.
COMMANDS = [
    "status",
    "model list --json",
    "history mail",
    REGISTER + " --tag team=a --description Letters --reason first --json",
    REGISTER,
    "model show mail 1",
    "model show mail 2 --json",
    "model promote mail 1 --to testing --json",
    "model promote mail 1 --to heaven",
    "model promote mail 1 --to draft",
    "model promote mail 1",
    "model promote mail 1 --to staging",
    "model promote mail 1",
    "model promote mail 2",
    "model promote mail 2 --to staging",
    "model promote mail 2 --reason newer --json",
    "model list",
    "model list mail --json",
    "rollout status mail",
    "rollout pause mail",
    "rollout pause mail --json",
    "rollout resume mail --json",
    "rollout start mail 2",
    "model rollback mail",
    "model rollback mail",
    "model promote mail 2",
    "rollout abort mail --reason enough --json",
    "rollout status mail --json",
    "rollout abort mail",
    "check mail",
    "check mail --json",
    "status",
    "status --json",
    "history mail",
    "history mail --limit 2 --json",
    "model archive mail 2",
    "model verify",
    "model verify mail --json",
    "alert list",
    "alert list mail --all --json",
    "alert ack nothing",
    "alert resolve a/b",
    "retrain mail --json",
    "model show mail 0",
    "model show mail 99",
    "model show other 1",
    "model show mail one",
    "model show mail " + "9" * 5000,
    "model promote mail 0",
    "rollout start mail 1000000000000",
    "history a/b",
    "check ..",
    "retrain other",
    "model verify other",
    "model rollback mail --to 9",
    "model register ../mail model.skops training.csv --target label",
    "model register mail model.skops training.csv --target nope",
    "model register mail none.skops training.csv --target label",
    "model register mail model.skops none.csv --target label",
    "label import mail training.csv",
    "label import other labels.csv",
    "history mail --json",
]
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?(Z|\+00:00))?")
SPEED = re.compile(
    r"(?<=\"speedup\": )[\d.e+-]+|(?<=row_us\": )[\d.e+-]+|[\d,.]+(?= µs| and [\d,.]+ µs)|(?<=right, but )[\d.]+"
)


def outcome(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status and what was printed, without the times that pass."""
    status = run(command.split())
    said = capsys.readouterr()
    # A longer number makes a column wider.
    return status, *(re.sub(" +", " ", SPEED.sub("SPEED", MOMENT.sub("MOMENT", text))) for text in (said.out, said.err))


def told(outcome: tuple[int, str, str]) -> tuple[int, str, str]:
    """An outcome with an error's code alone: a server never repeats the names that it was sent, a command does."""
    status, said, error = outcome
    return status, said, error.rpartition("[")[2] if status == 2 else error


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server over the state of a folder; its controllers have looked once and rest until they are asked.

    So do those of commands.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", "from homeostat.cli import main; main()", "serve", "--port", "0", "--json"],
        cwd=folder,
        env={**os.environ, "HOMEOSTAT_SERVE__TICK_SECONDS": "3600"},
        stdout=subprocess.PIPE,
        stderr=(folder / "server.log").open("wb"),
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        url = json.loads("".join([*takewhile(lambda line: line != "}\n", lines), "}"]))["url"]
        until = time.monotonic() + 120
        while '"message":"watching"' not in (folder / "server.log").read_text(encoding="utf-8"):
            assert time.monotonic() < until, "the controllers never looked"
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


@pytest.mark.slow
def test_every_command_says_the_same_here_and_of_a_server(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough that no table breaks a moment in two: half of one would not be known as such.
    monkeypatch.setenv("COLUMNS", "400")
    prepare(home)
    (home / "there").mkdir()
    here = {(number, command): outcome(command, capsys) for number, command in enumerate(COMMANDS)}
    with serving(home / "there") as url:
        monkeypatch.setenv("HOMEOSTAT_HOME", str(home / "unused"))
        monkeypatch.setenv("HOMEOSTAT_SERVER", url)
        there = {(number, command): outcome(command, capsys) for number, command in enumerate(COMMANDS)}
    assert not (home / "unused").exists()
    differing = [key for key in here if told(here[key]) != told(there[key])]
    # A server has a gateway that confirms; nothing here serves.
    assert [command for _, command in differing] == ["model rollback mail"]
    (rolled_back,) = differing
    status, said, _ = there[rolled_back]
    assert (status, re.sub(r" Confirmed by \S+\.", "", said)) == here[rolled_back][:2]
    assert {status for status, _, _ in here.values()} == {0, 1, 2}
