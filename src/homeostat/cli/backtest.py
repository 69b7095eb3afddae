"""`homeostat backtest`: what self-healing would have done on a user's own history."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import check_report, console, print_json, progress_bar, write_report
from homeostat.errors import InvalidSettings

SEEDS = 2**32
LONGEST_DELAY = timedelta(days=36_500)


def backtest(
    data: Annotated[Path, typer.Argument(help="A CSV (also .gz) or Parquet file.", show_default=False)],
    target: Annotated[str, typer.Option("--target", help="The column to predict.", show_default=False)],
    time: Annotated[str | None, typer.Option("--time", help="The column with event times.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="The column that says whose a row is.")] = None,
    label_delay: Annotated[
        str, typer.Option("--label-delay", help="How late labels come: a duration such as 3d, or '500 rows'.")
    ] = "0s",
    policy: Annotated[
        str | None, typer.Option("--policy", help="calibrated, classic, or a TOML file with a [policy] table.")
    ] = None,
    initial: Annotated[float, typer.Option("--initial", help="The share of rows that makes the first model.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="The seed of everything random.")] = 0,
    report: Annotated[Path | None, typer.Option("--report", help="Write the HTML report there.")] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep all state in that folder, and go on there when interrupted.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Replay a labelled table through the loop and compare: left alone, healed, refitted by the calendar."""
    from homeostat.backtest.replay import Options
    from homeostat.connectors.tables import prepare, read_table
    from homeostat.records import parse_span
    from homeostat.reports.text import story_table
    from homeostat.retraining.trainers import import_trainer
    from homeostat.wiring import run_backtest
    from homeostat.wiring.backtests import BACKTEST_MODEL

    if not 0 < initial < 1:
        raise InvalidSettings(f"--initial is a share between 0 and 1, not {initial}.")
    check_report(report)
    if not 0 <= seed < SEEDS:
        raise InvalidSettings(f"--seed is a whole number from 0 to {SEEDS - 1}, not {seed}.")
    settings = _settings(policy, seed)
    delay = parse_span(label_delay)
    if delay.seconds > LONGEST_DELAY.total_seconds():
        raise InvalidSettings(f"--label-delay is at most {LONGEST_DELAY.days} days, not {label_delay}.")
    if trainer := settings.policy_of(BACKTEST_MODEL).training.trainer:
        # Now, and not when the loop first retrains: there it would only look as if nothing could be learned.
        import_trainer(trainer)
    table = prepare(read_table(data), target=target, time=time, entity=entity, name=_name(data))
    options = Options(
        initial=initial, label_delay=timedelta(seconds=delay.seconds), label_delay_rows=delay.rows, seed=seed
    )
    with progress_bar(f"Replaying {table.rows:,} rows", quiet=json) as progress:
        result = run_backtest(table, options, settings, state=state, progress=progress)
    write_report(result.save_html, report)
    if json:
        print_json(result.to_dict())
        return
    out = console()
    out.print(story_table(result.story))
    if report is not None:
        out.print(f"Report: {report}", markup=False)
    else:
        out.print("Next: the same command with --report report.html draws all of this.", markup=False)


def _settings(policy: str | None, seed: int) -> Any:
    from homeostat.settings import load

    overrides: dict[str, Any] = {"seed": seed}
    if policy is None:
        return load(overrides=overrides)
    if policy in ("calibrated", "classic"):
        return load(overrides={**overrides, "policy.preset": policy})
    return load(Path(policy), overrides=overrides)


def _name(data: Path) -> str:
    return data.name.removesuffix(".gz").rsplit(".", 1)[0]
