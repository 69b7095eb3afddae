"""The page about HTTP has exactly the operations that a server answers, each with all that it takes, and it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest

from homeostat.http.errors import STATUS, status_of
from homeostat.settings import ServeSettings, load
from homeostat.wiring.server import build_server

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """The text under each heading that names an operation."""
    parts = re.split(r"^### `([A-Z]+ /[^`]*)`\n", PAGE, flags=re.MULTILINE)
    return {
        title: re.split(r"^#+ ", body, flags=re.MULTILINE)[0]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """All that a server can have, the simulation included."""
    home = tmp_path_factory.mktemp("reference")
    server = build_server(load(environment={}, overrides={"home": str(home)}), simulated=True)
    found = list(server.application.operations)
    server.close()
    return found


def test_every_operation_is_on_the_page_and_none_that_is_gone(operations: list[Any]) -> None:
    assert len(operations) > 40
    titles = re.findall(r"^### `([A-Z]+ /[^`]*)`\n", PAGE, flags=re.MULTILINE)
    assert sorted(titles) == sorted(f"{one.method} {one.path}" for one in operations)


def test_all_that_an_operation_takes_is_named(operations: list[Any]) -> None:
    for one in operations:
        text = sections()[f"{one.method} {one.path}"]
        # A body may be one of a struct or many of it.
        kinds = [kind for kind in (one.body, *get_args(one.body)) if isinstance(kind, type)]
        names = [field.name for kind in kinds for field in msgspec.structs.fields(kind)]
        for name in names + [field.name for field in one.form]:
            assert f"`{name}`" in text, f"{one.method} {one.path} takes {name}"
        for parameter in one.query:
            assert f"`?{parameter.name}=" in text, f"{one.method} {one.path}?{parameter.name}="
        for name in re.findall(r"`\?([a-z_]+)=", text):
            assert name in [parameter.name for parameter in one.query], f"{one.method} {one.path}?{name}="
        assert len(text.split()) >= 2
        assert one.is_open == ("needs no token" in text.lower()), one.path
        if one.status != HTTPStatus.OK:
            assert str(one.status) in text


def test_every_status_of_an_error_is_explained(operations: list[Any]) -> None:
    explained = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, flags=re.MULTILINE)}
    assert {int(status_of(kind)) for one in operations for kind in one.errors} <= explained
    # 431 is said before there is an operation.
    explained -= {431}
    assert explained == {int(status) for status in STATUS.values()}


def test_the_limits_are_those_of_the_settings() -> None:
    serve = ServeSettings()
    for name, shown in (("body_bytes", "10 MB"), ("upload_bytes", "1 GB"), ("batch_rows", "50,000")):
        assert f"| {shown} | `serve.{name}` |" in PAGE
    assert (serve.body_bytes, serve.upload_bytes, serve.batch_rows) == (10_000_000, 1_000_000_000, 50_000)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_examples_run(servers: ModuleType, tmp_path: Path) -> None:
    made = servers.run_command(tmp_path, "init")
    assert made.returncode == 0, made.stderr
    with servers.running_server(tmp_path) as server:
        server.wait_ready()
        blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
        assert len(blocks) >= 8
        said = {}
        for block in blocks:
            ran = subprocess.run(
                ["bash", "-ec", block.replace("localhost:8080", f"localhost:{server.port}")],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert ran.returncode == 0, (block, ran.stdout, ran.stderr)
            assert ran.stdout.startswith("{")
            said[block] = ran.stdout
    # The reply that the page shows stands directly below what was asked.
    shown = re.search(r"^```sh\n([^`]*)^```\s*^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert shown is not None
    promised, got = (msgspec.json.decode(text.encode()) for text in (shown[2], said[shown[1]]))
    assert list(got) == list(promised)
    assert got.pop("probability") == pytest.approx(promised.pop("probability"), abs=0.01)
    assert got == promised
