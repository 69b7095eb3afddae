"""Opening a system for a command, and reading names as people write them."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.errors import InvalidInput

if TYPE_CHECKING:
    from homeostat.wiring import System

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelArgument = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
VersionArgument = Annotated[str, typer.Argument(help="The version's number, such as 3.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the history.")]


@contextmanager
def system(**overrides: Any) -> Iterator[System]:
    """The system of this working directory's settings."""
    from homeostat.settings import load
    from homeostat.wiring import open_system

    opened = open_system(load(overrides=overrides))
    try:
        yield opened
    finally:
        opened.close()


def version_number(text: str) -> int:
    """A version as people write it: 3 or v3."""
    digits = text.removeprefix("v")
    if not digits.isdecimal():
        raise InvalidInput(f"A version is a number such as 3; '{text}' is not.")
    return int(digits)


def actor() -> str:
    """Who is at the keyboard."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def existing(path: Path) -> Path:
    """A file that is there."""
    if not path.is_file():
        raise InvalidInput(f"There is no file {path}.")
    return path
