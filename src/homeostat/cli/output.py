"""How commands speak: tables on a terminal, JSON on request, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from homeostat.errors import InvalidSettings

if TYPE_CHECKING:
    from rich.console import Console

FOUND = 1
BAD_INPUT = 2


def console(*, error: bool = False) -> Console:
    """A console for words to people; in a pipe it prints plain text."""
    from rich.console import Console

    return Console(stderr=error, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")


def check_report(report: Path | None) -> None:
    """Refuse a report that can't be written before the work for it is done."""
    if report is None:
        return
    if not report.resolve().parent.is_dir():
        raise InvalidSettings(f"There is no folder {report.resolve().parent} to write the report to.")
    if report.is_dir() or not os.access(report if report.exists() else report.parent, os.W_OK):
        raise InvalidSettings(f"The report can't be written to {report}; name a file that can be written.")


def write_report(save: Callable[[Path], object], report: Path | None) -> None:
    """Write a report where one was asked for."""
    if report is None:
        return
    try:
        save(report)
    except OSError as error:
        raise InvalidSettings(f"The report can't be written to {report}: {error.strerror}.") from error


LONGEST_NAME = 32


def table(title: str, columns: list[str], rows: list[list[str]]) -> Any:
    """A table for people."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        # What a row is called is what the next command is given: it is never cut short.
        longest = max((len(row[place]) for row in rows), default=0) if not place else 0
        made.add_column(column, min_width=min(longest, LONGEST_NAME) or None, overflow="fold")
    for row in rows:
        # Text, not markup: names are input.
        made.add_row(*[Text(cell) for cell in row])
    return made


def moment(value: datetime | None, *, seconds: bool = False) -> str:
    """A time as people read it, to the second where that matters."""
    return "" if value is None else value.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


@contextmanager
def progress_bar(words: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, and nothing in a pipe."""
    out = console(error=True)
    if quiet or not out.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    ) as bar:
        task = bar.add_task(words, total=1.0)
        yield lambda done, total: bar.update(task, completed=done / max(total, 1))
