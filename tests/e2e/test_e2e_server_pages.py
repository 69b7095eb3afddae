"""The status page of a real server in a real browser: it says what is served, and follows what happens."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The controllers come second to whatever else wants the processor.
PATIENCE = 120_000
MOST_BYTES = 200_000
ROOM = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def prepared(servers: ModuleType, home: Path) -> list[dict[str, Any]]:
    """A small model in production; returns rows to send with their truth."""
    made = servers.run_command(home, "init")
    assert made.returncode == 0, made.stderr
    lines = [line.split(",") for line in (home / "iris.csv").read_text().splitlines()]
    names = lines[0][:-1]
    return [{"features": dict(zip(names, map(float, line[:-1]), strict=True)), "truth": line[-1]} for line in lines[1:]]


def send(server: Any, rows: list[dict[str, Any]], *, label: bool) -> None:
    answer = server.post("/batch_predict", {"instances": [row["features"] for row in rows]})
    assert answer.status_code == 200, answer.text
    if label:
        ids = answer.json()["prediction_ids"]
        labels = [{"prediction_id": id_, "label": row["truth"]} for id_, row in zip(ids, rows, strict=True)]
        assert server.post("/api/v1/labels", {"labels": labels}).json()["accepted"] == len(rows)


@pytest.fixture
def empty_home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_the_status_page_follows_the_server(servers: ModuleType, browser: Browser, empty_home: Path) -> None:
    rows = prepared(servers, empty_home)
    # A look every second, so that the page has something to follow.
    quick = {"serve.tick_seconds": "0.5", "policy.drift.every_seconds": "1"}
    with servers.running_server(empty_home, **quick) as server:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        first = page.goto(server.url)
        assert first is not None
        assert first.status == 200
        assert len(first.body()) < MOST_BYTES
        assert "iris" in page.inner_text("h1")
        assert "version 1" in page.inner_text("main").lower()
        page.evaluate("window.loaded_once = true")
        send(server, rows[:120], label=True)
        page.get_by_text("120 labelled rows").first.wait_for(timeout=PATIENCE)
        servers.run_command(empty_home, "model", "promote", "iris", "1")
        assert page.evaluate("window.loaded_once"), "it followed without being loaded again"
        assert said == []
        assert {url.split("/")[2] for url in asked} == {server.url.split("/")[2]}, "it asks its own server only"
        page.goto(f"{server.url}/models/iris")
        assert "iris" in page.inner_text("h1")
        missing = page.goto(f"{server.url}/models/none")
        assert missing is not None
        assert missing.status == 404
        assert "No such model" in page.inner_text("body")
        context.close()
        phone = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
        page = phone.new_page()
        page.goto(server.url)
        assert page.evaluate(ROOM)
        phone.close()


def test_a_server_without_a_model_says_what_comes_next(servers: ModuleType, browser: Browser, empty_home: Path) -> None:
    with servers.running_server(empty_home) as server:
        page = browser.new_page()
        page.goto(server.url)
        assert "homeostat init" in page.inner_text("main")
        page.close()


def test_beyond_this_machine_a_browser_asks_for_the_token(
    servers: ModuleType, browser: Browser, empty_home: Path
) -> None:
    with servers.running_server(empty_home, "--host", "0.0.0.0") as server:
        assert server.get("/").status_code == 401
        assert server.get("/livez").status_code == 200
        assert server.token_file is not None
        token = server.token_file.read_text().strip()
        context = browser.new_context(http_credentials={"username": "me", "password": token})
        page = context.new_page()
        reply = page.goto(server.url)
        assert reply is not None
        assert reply.status == 200
        context.close()
        assert token not in server.log()
