"""`homeostat init`: settings with comments, and a first model in production."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption
from homeostat.cli.output import console, print_json
from homeostat.errors import InvalidInput

if TYPE_CHECKING:
    from homeostat.records import Version

SETTINGS = Path("homeostat.toml")
EXAMPLE = Path("iris.csv")
EXAMPLE_TARGET = "species"


def init(
    data: Annotated[
        Path | None, typer.Argument(help="Labelled rows to learn from: CSV or Parquet.", show_default=False)
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="The column to predict.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="The column with event times.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model's name; the file's, else.")] = None,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", help="A fitted pipeline (.skops), instead of training one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write homeostat.toml, and put a first model into production: from a file, or a small example."""
    from homeostat.ports import Registration
    from homeostat.records import Stage

    if data is None and (target is not None or pipeline is not None):
        raise InvalidInput("--target and --pipeline belong to a file of rows. Name it: homeostat init DATA --target Y.")
    if data is not None and target is None:
        raise InvalidInput(f"Which column of {data} is to be predicted? Say --target COLUMN.")
    given = _example() if data is None else context.existing(data)
    name = model or _model_name(given)
    registration = Registration(
        training=given,
        target=target or EXAMPLE_TARGET,
        time=time,
        pipeline=None if pipeline is None else context.existing(pipeline),
        description="Which iris is it?" if data is None else "",
    )
    wrote = _write_settings()
    with context.system() as system:
        control = system.control
        if any(held.name == name for held in control.models()):
            raise InvalidInput(
                f"Model '{name}' is there already. 'homeostat model register {name}' adds a version, --model names "
                "another model."
            )
        version = control.register(name, registration, actor=context.actor(), reason="the first version")
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            version = control.move(
                name, version.number, stage, actor=context.actor(), reason="the first version"
            ).version
        port = system.settings.serve.port
    if json:
        print_json({"settings": str(SETTINGS), "wrote_settings": wrote, "model": name, "version": version.number})
        return
    out = console()
    if wrote:
        out.print(f"{SETTINGS} holds the settings, each with its default and what it is for.", markup=False)
    out.print(
        f"{name} version {version.number} is in production: {_quality(version)}, served as {version.serving.format}.",
        markup=False,
    )
    out.print("Next: 'homeostat serve', and then, in another terminal:", markup=False)
    out.print(f"  curl -s localhost:{port}/models/{name}/predict -d '{_request(version, given)}'", markup=False)


def _example() -> Path:
    """A small table that everybody knows, written to the working folder."""
    from sklearn.datasets import load_iris

    if not EXAMPLE.exists():
        found = load_iris(as_frame=True)
        frame = found.frame.rename(columns=lambda name: re.sub(r" \(cm\)", "", name).replace(" ", "_"))
        frame[EXAMPLE_TARGET] = [found.target_names[code] for code in frame.pop("target")]
        frame.sample(frac=1, random_state=0).to_csv(EXAMPLE, index=False)
    return EXAMPLE


def _model_name(path: Path) -> str:
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.") or "model"
    return name[:100]


def _quality(version: Version) -> str:
    for name in ("accuracy", "mae"):
        if name in version.metrics:
            rows = int(version.metrics.get("evaluation_rows", 0))
            return f"{name} {version.metrics[name]:.3f} on {rows:,} rows that it had not seen"
    return "registered"


def _request(version: Version, path: Path) -> str:
    """The first row of the table as the body of a request."""
    import msgspec

    from homeostat.connectors.tables import read_table
    from homeostat.frames import to_columns

    kinds = version.signature.kinds
    row = to_columns(read_table(path).slice(0, 1), kinds)
    features: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = row[name][0]
        missing = value is None or value != value  # noqa: PLR0124 (that is what NaN is)
        features[name] = None if missing else value if not kind.is_number else float(value)
        if kind == "boolean" and not missing:
            features[name] = bool(value)
    return msgspec.json.encode({"features": features}).decode().replace("'", "'\\''")


def _write_settings() -> bool:
    """Write the settings file with everything commented out; one that is there stays as it is."""
    if SETTINGS.exists():
        return False
    SETTINGS.write_text(settings_text(), encoding="utf-8")
    return True


def settings_text() -> str:
    """Every setting with its default, as comments of a TOML file."""
    from homeostat.settings import table

    lines = [
        "# Settings of Homeostat. Take away the '#' before a line to change it; what stands here is the default.",
        "# HOMEOSTAT_ and the name in capitals, with __ for each dot, sets the same from the environment.",
        "# [models.NAME.policy...] holds what differs for one model.",
    ]
    section = ""
    for setting in table():
        *above, name = setting.name.split(".")
        if ".".join(above) != section:
            section = ".".join(above)
            lines += ["", f"[{section}]"]
        lines += [f"# {setting.help}", f"# {name} = {_toml(setting.default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
