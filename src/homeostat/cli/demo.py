"""`homeostat demo`: a year at a phishing-detection team."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import console, print_json, table

if TYPE_CHECKING:
    from homeostat.demo.year import Moment
    from homeostat.wiring import DemoResult


def demo(
    seed: Annotated[int, typer.Option("--seed", help="The seed of the traffic and of all training.")] = 0,
    waves: Annotated[bool, typer.Option("--waves", help="Add later waves of attacks: November and February.")] = False,
    report: Annotated[Path, typer.Option("--report", help="Where the HTML report goes.")] = Path("homeostat-demo.html"),
    volume: Annotated[int, typer.Option("--volume", help="E-mails a day.")] = 500,
    state: Annotated[Path | None, typer.Option("--state", help="Keep all state in that folder, to look at it.")] = None,
    json: JsonOption = False,
) -> None:
    """Watch a model decay and heal itself: a simulated year of phishing e-mail, in a minute or two."""
    from homeostat.errors import InvalidSettings
    from homeostat.wiring import run_demo

    if not report.resolve().parent.is_dir():
        raise InvalidSettings(f"There is no folder {report.resolve().parent} to write the report to.")
    if state is not None and (state / "control.db").exists():
        raise InvalidSettings(f"{state} holds state already; name a fresh folder.")

    def say(url: str) -> None:
        if not json:
            console().print(f"A server lives through the year. Watch it at {url}/ while it does.", markup=False)

    with _display(quiet=json) as show:
        result = run_demo(seed=seed, waves=waves, volume_per_day=volume, state=state, show=show, on_listening=say)
    result.save_html(report)
    if json:
        print_json({**result.outcome.as_json(), "windows": _windows(result), "report": str(report)})
        return
    _print(result, report)


@contextmanager
def _display(*, quiet: bool) -> Iterator[Callable[[Moment], None] | None]:
    """A live line on a terminal, a line a month in a pipe."""
    if quiet:
        yield None
        return
    out = console()
    if not out.is_terminal:
        yield _monthly()
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        TextColumn("[bold]{task.fields[day]}[/bold]"),
        BarColumn(bar_width=30),
        TextColumn("version {task.fields[version]}  accuracy {task.fields[accuracy]}  {task.fields[emails]} e-mails"),
        console=out,
    ) as bar:
        line = bar.add_task("", total=1.0, day="", version="", accuracy="", emails="")
        seen = [""]

        def show(moment: Moment) -> None:
            accuracy = "" if moment.accuracy is None else f"{moment.accuracy:.1%}"
            bar.update(
                line,
                completed=moment.share,
                day=moment.now.strftime("%d %b %Y"),
                version=moment.version,
                accuracy=accuracy,
                emails=f"{moment.emails:,}",
            )
            if moment.latest != seen[0]:
                seen[0] = moment.latest
                out.print(f"{moment.now:%d %b}  {_short(moment.latest)}", markup=False)

        yield show


def _monthly() -> Callable[[Moment], None]:
    out = console()
    seen = {"month": 0, "latest": ""}

    def show(moment: Moment) -> None:
        if moment.latest != seen["latest"]:
            seen["latest"] = moment.latest
            out.print(f"{moment.now:%d %b}  {_short(moment.latest)}", markup=False)
        if moment.now.month != seen["month"]:
            seen["month"] = moment.now.month
            accuracy = "" if moment.accuracy is None else f", accuracy {moment.accuracy:.1%}"
            out.print(
                f"{moment.now:%d %b}  {moment.emails:,} e-mails, version {moment.version}{accuracy}", markup=False
            )

    return show


def _short(text: str) -> str:
    return text if len(text) <= 110 else text[:109] + "…"


def _windows(result: DemoResult) -> list[dict[str, object]]:
    return [
        {"name": window.name, "version": window.version, "rows": window.rows, **window.metrics}
        for window in result.findings.windows
    ]


def _print(result: DemoResult, report: Path) -> None:
    from homeostat.demo.year import p_words

    out = console()
    found = result.findings
    out.print()
    out.print(result.story.headline, markup=False, style="bold")
    rows = [[window.name, f"{window.rows:,}", *window.figures.values()] for window in result.story.windows]
    columns = ["window", "e-mails", *(result.story.windows[0].figures if result.story.windows else ())]
    out.print(table("", columns, rows))
    out.print(
        f"Drift: {found.drift_feature} moved most (KS {found.drift_ks:.2f}, {p_words(found.drift_p)}). "
        f"McNemar, October to 23 November: {found.mcnemar_sentence} ({p_words(found.mcnemar_p)}).",
        markup=False,
    )
    outcome = result.outcome
    out.print(
        f"Retrained: {outcome.retrainings}. Promoted: {outcome.promotions}. Rolled back: {outcome.rollbacks}. "
        f"Alerts: {outcome.alerts}. It took {outcome.seconds:.0f} s.",
        markup=False,
    )
    out.print(f"Report: {report}", markup=False)
    out.print("Next: 'homeostat backtest YOUR.csv --target LABEL' shows the same on your own history.", markup=False)
