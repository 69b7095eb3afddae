"""`homeostat model`: register, list, show, promote, archive, verify, rollback."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, ServerOption, VersionArgument
from homeostat.cli.output import FOUND, console, moment, print_json, table
from homeostat.errors import InvalidInput

if TYPE_CHECKING:
    from homeostat.records import Rejected, ServingForm, Stage

app = typer.Typer(help="Models and versions.", no_args_is_help=True)


@app.command("register")
def register(
    model: ModelArgument,
    pipeline: Annotated[
        str | None,
        typer.Argument(
            help="The fitted model: .skops, .onnx, .ubj/.json (XGBoost), .txt/.lgb (LightGBM), a folder or address of "
            "MLflow (models:/NAME/3), or .joblib/.pkl.",
            show_default=False,
        ),
    ] = None,
    training: Annotated[
        Path | None, typer.Argument(help="What it was trained on: CSV or Parquet.", show_default=False)
    ] = None,
    target: Annotated[str, typer.Option("--target", help="The target's column.", show_default=False)] = "",
    external: Annotated[bool, typer.Option("--external", help="It is served elsewhere, and watched here.")] = False,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Rows that it answered: CSV or Parquet. With --external.")
    ] = None,
    prediction: Annotated[str | None, typer.Option("--prediction", help="The column of its answers.")] = None,
    score: Annotated[str | None, typer.Option("--score", help="The column of its scores.")] = None,
    positive: Annotated[str | None, typer.Option("--positive", help="The class that it looks for.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="The column with event times.")] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Load a pickle. It can run any code: only for files of your own making."),
    ] = False,
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            help="A Python class of your own, as package.module:Class, instead of a fitted model. It is run.",
        ),
    ] = None,
    python_files: Annotated[
        Path | None,
        typer.Option("--python-files", help="The folder or .py file that the class is imported from. With --python."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag, as name=value; may be repeated.")] = None,
    description: Annotated[str, typer.Option("--description", help="What the model is for.")] = "",
    to: Annotated[str, typer.Option("--to", help="The stage that it goes on to: testing or staging.")] = "draft",
    reason: ReasonOption = "registered by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Register a fitted model with its training data, as a new version in stage draft.

    With --external it is a version that is served elsewhere, with a table of rows that it answered as its reference.
    """
    from homeostat.ports import Registration
    from homeostat.records import Stage

    stage = _stage(to)
    if stage not in (Stage.DRAFT, Stage.TESTING, Stage.STAGING):
        raise InvalidInput(f"A new version is registered as draft, testing or staging, not {stage}.")
    if python is not None and training is None and pipeline is not None:
        # There is no fitted model to name before the table.
        training = Path(pipeline)
        pipeline = None
    if python_files is not None and python is None:
        raise InvalidInput("--python-files is for a Python class; name it with --python package.module:Class.")
    if external:
        if reference is None or pipeline is not None or python is not None:
            raise InvalidInput("What is served elsewhere takes no pipeline, and a table: --external --reference DATA.")
        table = reference
    else:
        apart = {"--reference": reference, "--prediction": prediction, "--score": score, "--positive": positive}
        given = [name for name, value in apart.items() if value is not None]
        if given:
            raise InvalidInput(f"{given[0]} is for what is served elsewhere; add --external.")
        if training is None or not target or (pipeline is None) is (python is None):
            raise InvalidInput(
                "Name the pipeline, what it was trained on, and the target: MODEL PIPELINE TRAINING --target Y. Of a "
                "Python class: MODEL TRAINING --target Y --python package.module:Class."
            )
        table = training
    # What a class prints while it is loaded is no part of this command's answer.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        fitted = None if pipeline is None else _model_file(pipeline, Path(folder), allow_pickle=allow_pickle)
        registration = Registration(
            training=context.existing(table),
            target=target,
            pipeline=fitted,
            time=time,
            allow_pickle=allow_pickle,
            tags=_tags(tag or []),
            description=description,
            is_external=external,
            prediction=prediction,
            score=score,
            positive=positive,
            python=python,
            python_files=python_files,
        )
        with context.control_plane(server) as plane:
            version = plane.register(model, registration, actor=context.actor(), reason=reason)
            if stage is not Stage.DRAFT:
                version = plane.move(model, version.number, stage, actor=context.actor(), reason=reason).version
    if json:
        print_json(version)
        return
    how = "It is only watched" if external else f"It is served as {version.serving.format}"
    order = f"homeostat model promote {model} {version.number}"
    following = f"'{order} --to staging', and then '{order}'" if version.stage is Stage.DRAFT else f"'{order}'"
    console().print(
        f"{model} version {version.number} registered, in {version.stage}. {how}: {version.serving.reason}.\n"
        f"Next: {following}.",
        markup=False,
    )


def _stage(name: str) -> Stage:
    from homeostat.records import Stage

    try:
        return Stage(name)
    except ValueError:
        raise InvalidInput(f"There is no stage '{name}'. Known: {', '.join(one.value for one in Stage)}.") from None


def _model_file(source: str, folder: Path, *, allow_pickle: bool) -> Path:
    from homeostat.connectors.models import mlflow_models

    path = mlflow_models.fetched(source, folder) if mlflow_models.is_address(source) else Path(source)
    return mlflow_models.model_file(path, allow_pickle=allow_pickle) if path.is_dir() else context.existing(path)


def _tags(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"A tag is written name=value; '{text}' is not.")
        found[name] = value
    return found


@app.command("list")
def list_models(
    model: Annotated[str | None, typer.Argument(help="The versions of this model only.")] = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Models, or the versions of one."""
    with context.control_plane(server) as plane:
        names = [model] if model is not None else [held.name for held in plane.models()]
        versions = [version for name in names for version in plane.versions(name)]
    if json:
        print_json({"versions": versions})
        return
    if not versions:
        console().print("No model is registered yet. Next: 'homeostat model register --help'.", markup=False)
        return
    rows = [
        [
            version.model,
            str(version.number),
            version.stage.value,
            moment(version.created_at),
            version.serving.format,
            _quality(version.metrics),
            f"{version.lineage.rows:,}",
        ]
        for version in versions
    ]
    console().print(table("", ["model", "version", "stage", "registered", "served as", "quality", "trained on"], rows))


def _quality(metrics: dict[str, float]) -> str:
    for name in ("accuracy", "mae"):
        if name in metrics:
            return f"{name} {metrics[name]:.3f}"
    return ""


@app.command("show")
def show(model: ModelArgument, version: VersionArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """One version: manifest, signature, metrics, lineage, history."""
    number = context.version_number(version)
    with context.control_plane(server) as plane:
        found = plane.version(model, number)
        moves = plane.stages(model, number)
    if json:
        print_json({**msgspec.to_builtins(found), "history": moves})
        return
    out = console()
    out.print(f"{model} version {found.number}, {found.stage.value}", markup=False, style="bold")
    facts: list[list[str]] = [
        ["served as", f"{found.serving.format}: {found.serving.reason}"],
        ["time a row", _speed(found.serving)],
        ["largest difference", f"{found.serving.largest_difference:.3g} over {found.serving.rows_checked:,} rows"],
        *[["not taken", f"{other.format}: {other.reason}{_times(other)}"] for other in found.serving.rejected],
        ["trained on", f"{found.lineage.rows:,} rows, SHA-256 {found.lineage.data_sha256[:16]}…"],
        ["parent", "" if found.lineage.parent is None else f"version {found.lineage.parent}"],
        ["run", found.lineage.run or ""],
        ["content", f"SHA-256 {found.manifest.digest[:16]}…, {len(found.manifest.files)} files"],
        ["metrics", ", ".join(f"{name} {value:.4g}" for name, value in found.metrics.items())],
        ["features", ", ".join(f"{feature.name} ({feature.kind.value})" for feature in found.signature.features)],
        ["classes", ", ".join(found.signature.classes)],
        ["tags", ", ".join(f"{name}={value}" for name, value in found.tags.items())],
    ]
    out.print(table("", ["", ""], [fact for fact in facts if fact[1]]))
    rows = [[moment(move.at), f"{move.source or ''} → {move.target}", move.actor, move.reason] for move in moves]
    out.print(table("History", ["when", "move", "who", "why"], rows))


def _times(form: Rejected | ServingForm) -> str:
    if form.row_us is None or form.batch_row_us is None:
        return ""
    return f" ({form.row_us:,.0f} µs for one row, {form.batch_row_us:,.1f} µs a row in a batch)"


def _speed(form: ServingForm) -> str:
    before = form.original_row_us
    if before is None or form.original_batch_row_us is None:
        return ""
    original = f"the original {before:,.0f} and {form.original_batch_row_us:,.1f} µs"
    return f"{_times(form).strip(' ()')}; {original}"


@app.command("promote")
def promote(
    model: ModelArgument,
    version: VersionArgument,
    to: Annotated[str, typer.Option("--to", help="The stage: testing, staging, production, draft.")] = "production",
    reason: ReasonOption = "promoted by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Move a version forward. Into production it goes watched: where it is worse, the old version comes back.

    A draft goes to testing or staging first.
    """
    stage = _stage(to)
    number = context.version_number(version)
    with context.control_plane(server) as plane:
        moved = plane.move(model, number, stage, actor=context.actor(), reason=reason)
    if json:
        print_json(moved)
    elif moved.rollout is not None:
        console().print(
            f"{model} version {number} has all traffic, and version {moved.rollout.baseline} scores beside it. "
            f"Next: 'homeostat rollout status {model}'.",
            markup=False,
        )
    else:
        console().print(f"{model} version {number} is in {moved.version.stage.value}.", markup=False)


@app.command("archive")
def archive(
    model: ModelArgument,
    version: VersionArgument,
    reason: ReasonOption = "archived by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Put a version away."""
    from homeostat.records import Stage

    number = context.version_number(version)
    with context.control_plane(server) as plane:
        moved = plane.move(model, number, Stage.ARCHIVED, actor=context.actor(), reason=reason)
    if json:
        print_json(moved)
    else:
        console().print(f"{model} version {number} is archived.", markup=False)


@app.command("verify")
def verify(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Hash every stored file again. Ends with 1 where one is not what was registered."""
    with context.control_plane(server) as plane:
        found = plane.verify(model)
    if json:
        print_json(found)
    elif found.broken:
        for name, paths in found.broken.items():
            console().print(f"{name}: changed or missing: {', '.join(paths)}", markup=False, style="red")
    else:
        console().print(f"All files of {found.versions} versions are what was registered.", markup=False)
    if found.broken:
        raise typer.Exit(FOUND)


@app.command("rollback")
def rollback(
    model: ModelArgument,
    to: Annotated[str | None, typer.Option("--to", help="The version to return to; the last one, else.")] = None,
    reason: ReasonOption = "rolled back by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Put an earlier production version back, whatever is under way. Ends with 1 where a gateway didn't confirm it."""
    wanted = None if to is None else context.version_number(to)
    with context.control_plane(server) as plane:
        done = plane.roll_back(model, to=wanted, actor=context.actor(), reason=reason)
    if json:
        print_json(done)
    else:
        confirmed = f" Confirmed by {', '.join(done.confirmed)}." if done.confirmed else ""
        console().print(f"{model} is served by version {done.production} again.{confirmed}", markup=False)
        if done.waiting:
            console().print(f"Not confirmed yet by {', '.join(done.waiting)}.", markup=False, style="red")
    if done.waiting:
        raise typer.Exit(FOUND)
