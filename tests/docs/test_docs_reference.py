"""The reference pages are complete: every setting, error code, command and option, and nothing that is gone."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import homeostat
from homeostat.backtest.outcome import Outcome
from homeostat.errors import HomeostatError
from homeostat.settings import table

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """The text under each heading of a level whose title is code, by title."""
    parts = re.split(rf"^{'#' * level} `([^`]+)`\n", text, flags=re.MULTILINE)
    return {
        title: re.split(r"^#+ ", body, flags=re.MULTILINE)[0]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_settings_page_is_what_the_table_says() -> None:
    writer = runpy.run_path(str(Path(__file__).with_name("settings_page.py")))
    assert page("settings") == writer["renewed"](page("settings")), "run: make docs-settings"
    for setting in table():
        assert f"| `{setting.name}` | {setting.help} |" in page("settings")


def error_classes() -> set[type[HomeostatError]]:
    for module in pkgutil.walk_packages(homeostat.__path__, "homeostat."):
        importlib.import_module(module.name)
    found, open_ = {HomeostatError}, [HomeostatError]
    while open_:
        below = [kind for kind in open_.pop().__subclasses__() if kind.__module__.startswith("homeostat.")]
        found |= set(below)
        open_ += below
    return found


def test_every_error_code_is_explained_and_none_that_is_gone() -> None:
    explained = sections(page("errors"), 3)
    assert set(explained) == {kind.code for kind in error_classes()}
    for code, text in explained.items():
        assert len(text.split()) >= 8, f"say what to do about {code}"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    below = getattr(command, "commands", None)
    if not below:
        yield name, command
        return
    for word, child in below.items():
        yield from commands(child, f"{name} {word}")


def options_of(command: Any) -> set[str]:
    """The long options of a command, without --help."""
    found = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    return {option for option in found if option.startswith("--")} - {"--help"}


def test_every_command_and_option_is_documented_and_none_that_is_gone() -> None:
    import typer.main

    from homeostat.cli.app import app

    root = typer.main.get_command(app)
    known = dict(commands(root, "homeostat"))
    documented = sections(page("cli"), 3)
    assert len(known) > 15
    assert set(documented) == set(known)
    for name, command in known.items():
        text = documented[name]
        assert set(re.findall(r"(?<![\w`-])`(--[a-z-]+)", text)) - {"--json"} == options_of(command) - {"--json"}, name
        for one in command.params:
            if one.param_type_name == "argument":
                assert f"{one.name.upper()}" in text, f"{name}: {one.name}"
    assert options_of(root) <= set(re.findall(r"`(--[a-z-]+)", page("cli")))


def test_the_json_of_a_backtest_is_documented() -> None:
    for field in dataclasses.fields(Outcome):
        assert f"`{field.name}`" in page("backtest")
