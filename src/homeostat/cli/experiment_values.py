"""`homeostat experiment values`: a table with the values of a metric of the user's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ServerOption
from homeostat.cli.output import console, print_json, progress_bar
from homeostat.cli.tables import counted, tell
from homeostat.errors import InvalidData, InvalidExperiment

# As many as an experiment takes at once.
AT_ONCE = 10_000


def values(
    experiment: Annotated[str, typer.Argument(help="The experiment's id.", show_default=False)],
    metric: Annotated[str, typer.Argument(help="The metric, which has to be one of your own.", show_default=False)],
    path: Annotated[Path, typer.Argument(help="A table: CSV, Parquet or JSON lines.", show_default=False)],
    entity_column: Annotated[str, typer.Option("--entity-column", help="The column of entities.")] = "entity",
    value_column: Annotated[str, typer.Option("--value-column", help="The column of values.")] = "value",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Take in values of a metric of your own: all rows of a table, or none where one can't be used."""
    entities, numbers = _read(context.existing(path), entity_column, value_column)
    accepted = 0
    with context.control_plane(server) as plane, progress_bar("Values", quiet=json) as told:
        for start in range(0, len(numbers), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            with counted(accepted, "values"):
                accepted += plane.log_metric(experiment, metric, entities[part], numbers[part]).accepted
            tell(told, min(1.0, (start + AT_ONCE) / len(numbers)))
    if json:
        print_json({"experiment": experiment, "metric": metric, "accepted": accepted})
        return
    console().print(
        f"{accepted:,} values of {metric} kept. Next: 'homeostat experiment status {experiment}'.", markup=False
    )


def _read(path: Path, entity_column: str, value_column: str) -> tuple[list[str], list[float]]:
    """All entities and values. Raises `InvalidData`, or `InvalidExperiment` with the number of a row."""
    from homeostat.connectors.feeds.chunks import read_file
    from homeostat.connectors.feeds.values import each, id_of

    entities: list[str] = []
    numbers: list[float] = []
    for chunk in read_file(path):
        for name in (entity_column, value_column):
            if name not in chunk.columns:
                has = ", ".join(list(chunk.columns)[:20])
                raise InvalidData(
                    f"{path} has no column '{name}'. It has: {has}. Name the right one with --entity-column or "
                    "--value-column."
                )
        entities += each(chunk.columns[entity_column], chunk.numbers, id_of, InvalidExperiment, entity_column)
        numbers += each(chunk.columns[value_column], chunk.numbers, _number, InvalidExperiment, value_column)
    if not numbers:
        raise InvalidData(f"{path} has no rows.")
    return entities, numbers


def _number(value: object) -> float:
    from homeostat.connectors.feeds.values import Unfit, number_of

    number = number_of(value)
    if not math.isfinite(number):
        raise Unfit("it is no finite number")
    return number
