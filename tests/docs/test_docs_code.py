"""The examples run: Python blocks page by page, and the commands of the README and the quickstart with them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
WITH_COMMANDS = ("README.md", "quickstart.md")


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Line, language and text of each block to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for match in BLOCK.finditer(text)
        if match[1] == "python" or page.name in WITH_COMMANDS
    ]


class Terminal:
    """Types the commands of a page into a real shell, block by block; what was left running ends with the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shells: list[subprocess.Popen[bytes]] = []
        self._ports: dict[str, str] = {}
        scripts = Path(sys.executable).parent
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}
        self._environment["PATH"] = f"{scripts}{os.pathsep}{self._environment['PATH']}"

    def type(self, text: str) -> str:
        """Run a block as it is written; returns what it printed. The first command that fails ends the test."""
        text = re.sub(r"\b80\d\d\b", self._port, text)
        output = self._folder / f"terminal-{len(self._shells)}.txt"
        with output.open("wb") as file:
            shell = subprocess.Popen(
                ["bash", "-e", "-c", text],
                cwd=self._folder,
                env=self._environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._shells.append(shell)
        status = shell.wait(240)
        said = output.read_text(encoding="utf-8", errors="replace")
        assert status == 0, f"{text}\n{said[-3000:]}"
        assert '"error"' not in said, f"{text}\n{said[-3000:]}"
        return said

    def _port(self, found: re.Match[str]) -> str:
        """The port as it is written, or a free one where somebody else listens there."""
        written = found[0]
        if written not in self._ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", int(written)))
                    self._ports[written] = written
                except OSError:
                    probe.bind(("127.0.0.1", 0))
                    self._ports[written] = str(probe.getsockname()[1])
                    # A command that names no port takes the setting's.
                    self._environment["HOMEOSTAT_SERVE__PORT"] = self._ports[written]
        return self._ports[written]

    def port(self, written: str) -> str:
        """What stands for a port that a page names."""
        return self._ports.get(written, written)

    def close(self) -> None:
        """End everything that was left running."""
        for shell in self._shells:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
        for shell in self._shells:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    os.killpg(shell.pid, 0)
                except ProcessLookupError:
                    break
                time.sleep(0.05)


def what_a_reader_has() -> dict[str, object]:
    """The files and names that the README speaks of."""
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["visits", "spend"])
    truth = pd.Series(np.where(frame["visits"] + rng.normal(size=400) > 0, "yes", "no"), name="label")
    frame.assign(label=truth).to_csv("history.csv", index=False)
    frame.assign(label=truth).to_csv("training.csv", index=False)
    skops.io.dump(LogisticRegression().fit(frame, truth), "churn.skops")
    return {"frame": frame, "truth": truth}


def cases() -> list[object]:
    """The pages with something to run; those with commands take longer."""
    return [
        pytest.param(
            page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] if page.name in WITH_COMMANDS else []
        )
        for page in PAGES
        if blocks(page)
    ]


@pytest.mark.parametrize("page", cases())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    if page.name == "README.md":
        names |= what_a_reader_has()
    terminal = Terminal(tmp_path)
    try:
        for line, language, text in blocks(page):
            if language == "python":
                found = re.sub(r"\b80\d\d\b", lambda port: terminal.port(port[0]), text)
                # Blank lines before it make a traceback name the line of the page.
                exec(compile("\n" * (line - 1) + found, str(page), "exec"), names)  # noqa: S102
            elif "make " not in text:
                terminal.type(text)
    finally:
        terminal.close()


@pytest.mark.slow
def test_five_minutes_to_ones_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the README, typed as it is written: register, serve, predict, send labels, look."""
    monkeypatch.chdir(tmp_path)
    what_a_reader_has()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    path = text.partition("**Register.**")[2].partition("\n## ")[0]
    terminal = Terminal(tmp_path)
    try:
        said = [terminal.type(match[2]) for match in BLOCK.finditer(path)]
    finally:
        terminal.close()
    register, serve, predict, label, look = said
    assert "churn version 1 is in production" in register
    assert (tmp_path / "homeostat.toml").exists()
    assert '{"status":"ready"}' in serve
    answer = json.loads(predict)
    assert answer["prediction_id"] == "order-1"
    assert answer["prediction"] in ("yes", "no")
    assert answer["status"] == "success"
    assert 0 <= answer["probability"] <= 1
    assert json.loads(label)["accepted"] == 1
    assert "churn" in look
    assert "installed" in look


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(name: str) -> None:
    # mkdocs checks the pages in docs; these are outside of it.
    links = [link for link in LINK.findall((ROOT / name).read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
