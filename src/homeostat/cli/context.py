"""What a command speaks to, this machine's state or a server, and reading names as people write them."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.errors import InvalidInput

if TYPE_CHECKING:
    from homeostat.ports import ControlPlane
    from homeostat.wiring import System

# What `--server` said before the command's name. The token has no option: everybody on a machine may read those.
SERVER: ContextVar[str | None] = ContextVar("server", default=None)
SERVER_HELP = "Ask the server at this URL, instead of the state of this machine."

MOST_DIGITS = 18

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelArgument = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
VersionArgument = Annotated[str, typer.Argument(help="The version's number, such as 3.", show_default=False)]
ServerOption = Annotated[str | None, typer.Option("--server", help=SERVER_HELP, metavar="URL", show_default=False)]
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


@contextmanager
def control_plane(server: str | None) -> Iterator[ControlPlane]:
    """The server that the command names, or the settings do; else the state of this machine."""
    from homeostat.settings import load

    settings = load()
    named = server if server is not None else SERVER.get()
    url = settings.server if named is None else named
    if url:
        from homeostat.sdk import Client

        with Client(url, token=settings.token or None) as client:
            yield client
        return
    from homeostat.wiring import open_system

    opened = open_system(settings)
    try:
        yield opened.control
    finally:
        opened.close()


def version_number(text: str) -> int:
    """A version as people write it: 3 or v3."""
    digits = text.removeprefix("v")
    if not digits.isdecimal() or len(digits) > MOST_DIGITS:
        raise InvalidInput(f"A version is a number such as 3; '{text[:100]}' is not.")
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
