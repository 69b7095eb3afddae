"""`homeostat label import` and `homeostat log import`: tables of labels and of past predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ServerOption
from homeostat.cli.output import console, print_json, progress_bar
from homeostat.cli.tables import LastOfEach, counted, model_of, tell, where
from homeostat.errors import Conflict, InvalidInput, InvalidLabel, NotServing, UnknownVersion

if TYPE_CHECKING:
    from homeostat.connectors.feeds.chunks import Chunk
    from homeostat.connectors.feeds.labels import LabelRows
    from homeostat.ports import ControlPlane
    from homeostat.records import LabelsAccepted, Model, PastPredictions, Version

label_app = typer.Typer(help="Labels that arrive later.", no_args_is_help=True)
log_app = typer.Typer(help="Predictions that were answered elsewhere.", no_args_is_help=True)

PathArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[MODEL] PATH",
        help="The model, unless there is only one or --model names it; and the file: CSV, Parquet or JSON lines.",
        show_default=False,
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The model, where no argument names it.")]
IdOption = Annotated[str | None, typer.Option("--id-column", help="The column of prediction ids.")]
TimeOption = Annotated[str | None, typer.Option("--time-column", help="The column of event times.")]


@label_app.command("import")
def import_labels(
    path: PathArgument,
    model: ModelOption = None,
    source: Annotated[str, typer.Option("--source", help="Who says so, where no column does.")] = "import",
    id_column: IdOption = None,
    label_column: Annotated[str | None, typer.Option("--label-column", help="The column of labels.")] = None,
    time_column: TimeOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Import labels for predictions from a file: all of its rows, or none where one can't be used."""
    from homeostat.connectors.feeds import labels as feed
    from homeostat.connectors.feeds.chunks import read_file

    file, name = where(path, model)
    columns: dict[str, str] = {}

    def rows() -> Iterator[tuple[LabelRows, Chunk]]:
        for chunk in read_file(file):
            plain = feed.plain_chunk(chunk)
            if not columns:
                wanted = {feed.ID: id_column, feed.LABEL: label_column, feed.TIME: time_column}
                columns.update(feed.find_columns(list(plain.columns), **wanted))
            yield feed.label_rows(plain, columns), plain

    with context.control_plane(server) as plane, progress_bar("Labels", quiet=json) as told:
        found = model_of(plane, name)
        last = LastOfEach()
        for labels, chunk in rows():
            _check(found, labels, chunk.first, has_times=feed.TIME in columns)
            last.add(labels.ids)
            tell(told, chunk.share / 2)
        if not last.rows:
            raise InvalidInput(f"{file} has no rows.")
        kept = last.kept()
        accepted = unmatched = unknown = 0
        for labels, chunk in rows():
            places = [place for place in range(chunk.rows) if kept[chunk.first - 1 + place]]
            if places:
                with counted(accepted, "labels"):
                    answer = _send(plane, found.name, labels, places, source, has_times=feed.TIME in columns)
                accepted, unmatched = accepted + answer.accepted, unmatched + answer.unmatched
                unknown += answer.unknown_classes
            tell(told, (1 + chunk.share) / 2)
    duplicates = last.rows - int(kept.sum())
    if json:
        summary = {"model": found.name, "rows": last.rows, "accepted": accepted, "unmatched": unmatched}
        print_json({**summary, "unknown_classes": unknown, "duplicates": duplicates, "columns": columns})
        return
    waiting = f" {unmatched:,} of them wait for a prediction that is not logged." if unmatched else ""
    if unknown:
        waiting += f" {unknown:,} of them name a class that the production version does not know."
    skipped = (
        f" {duplicates:,} rows were skipped, because a later row is about the same prediction." if duplicates else ""
    )
    console().print(f"{accepted:,} labels kept of {last.rows:,} rows.{waiting}{skipped}", markup=False)


def _check(model: Model, labels: LabelRows, first: int, *, has_times: bool) -> None:
    """Raise where a label can't be kept, before any is."""
    from homeostat.feedback.labels import LONGEST_LABEL, is_finite
    from homeostat.records import Task

    for row, (value, time) in enumerate(zip(labels.values, labels.times, strict=True), start=first):
        if len(value) > LONGEST_LABEL:
            raise InvalidLabel(f"The label of row {row:,} has more than {LONGEST_LABEL:,} characters.")
        if model.task is Task.REGRESSION and not is_finite(value):
            raise InvalidLabel(f"The label of row {row:,} is no finite number, and '{model.name}' is a regression.")
        if has_times and time is None:
            raise InvalidLabel(f"Row {row:,} has no event time. Fill it in, or leave the column out.")


def _send(
    plane: ControlPlane, model: str, labels: LabelRows, places: Sequence[int], source: str, *, has_times: bool
) -> LabelsAccepted:
    import numpy as np

    return plane.label(
        model,
        [labels.ids[place] for place in places],
        [labels.values[place] for place in places],
        event_time=np.array([labels.times[place] for place in places], dtype="datetime64[us]") if has_times else None,
        source=source,
        sources=[labels.sources[place] for place in places],
        confidences=[labels.confidences[place] for place in places],
    )


@log_app.command("import")
def import_predictions(
    path: PathArgument,
    model: ModelOption = None,
    version: Annotated[str | None, typer.Option("--version", help="Who answered, where no column says it.")] = None,
    id_column: IdOption = None,
    time_column: TimeOption = None,
    prediction_column: Annotated[str | None, typer.Option("--prediction-column", help="The column of answers.")] = None,
    score_column: Annotated[str | None, typer.Option("--score-column", help="The column of scores.")] = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Import past predictions of a model that is served elsewhere: all rows, or none where one can't be used."""
    from homeostat.connectors.feeds import predictions as feed
    from homeostat.connectors.feeds.chunks import read_file
    from homeostat.records import as_datetime64
    from homeostat.serving.elsewhere import block_of

    file, name = where(path, model)
    number = None if version is None else context.version_number(version)
    columns: dict[str, str] = {}
    now = as_datetime64(datetime.now(tz=UTC))

    with context.control_plane(server) as plane, progress_bar("Predictions", quiet=json) as told:
        watched = WatchedVersions(plane, model_of(plane, name).name, number)

        def rows() -> Iterator[tuple[Version, PastPredictions, Chunk]]:
            for chunk in read_file(file):
                if not columns:
                    wanted = {
                        feed.ID: id_column,
                        feed.TIME: time_column,
                        feed.PREDICTION: prediction_column,
                        feed.SCORE: score_column,
                    }
                    columns.update(feed.find_columns(list(chunk.columns), watched[number].signature, **wanted))
                numbers = [number if one is None else one for one in feed.versions_of(chunk, columns)]
                for one, part in feed.parts_of(chunk, numbers):
                    found = watched[one]
                    past = feed.past_rows(part, columns, found.signature, version=found.number, now=now)
                    yield found, past, part

        count = 0
        for found, past, chunk in rows():
            # What can't be logged is found out before anything is.
            block_of(past, found)
            count += chunk.rows
            tell(told, chunk.share / 2)
        if not count:
            raise InvalidInput(f"{file} has no rows.")
        accepted = 0
        for _, past, chunk in rows():
            with counted(accepted, "predictions"):
                accepted += plane.log_predictions(watched.model, past).accepted
            tell(told, (1 + chunk.share) / 2)
    duplicates = count - accepted
    if json:
        summary = {"model": watched.model, "rows": count, "accepted": accepted, "duplicates": duplicates}
        print_json({**summary, "columns": columns})
        return
    skipped = f" {duplicates:,} were there already under their ids, or came twice." if duplicates else ""
    console().print(f"{accepted:,} predictions logged of {count:,} rows.{skipped}", markup=False)


class WatchedVersions:
    """The versions of a model that is served elsewhere, by number, or `None` for the one in production."""

    def __init__(self, plane: ControlPlane, model: str, number: int | None) -> None:
        from homeostat.records import Stage

        self.model = model
        self._versions = {version.number: version for version in plane.versions(model)}
        if not all(version.is_external for version in self._versions.values()):
            raise Conflict(f"Model '{model}' is served by Homeostat, which logs its predictions itself.")
        inside = [one for one in self._versions.values() if one.stage is Stage.PRODUCTION]
        self._production = inside[0] if inside else None
        if number is None and self._production is None:
            raise NotServing(model=model)

    def __getitem__(self, number: int | None) -> Version:
        if number is None and self._production is not None:
            return self._production
        if number is None or number not in self._versions:
            raise UnknownVersion(model=self.model, version=number, known=sorted(self._versions))
        return self._versions[number]
