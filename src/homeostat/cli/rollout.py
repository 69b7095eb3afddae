"""`homeostat rollout`: start, status, pause, resume, approve, abort, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, ServerOption, VersionArgument
from homeostat.cli.output import check_report, console, moment, print_json, table, write_report

if TYPE_CHECKING:
    from homeostat.records import Rollout

app = typer.Typer(help="Rollouts: start, status, pause, resume, approve, abort, report.", no_args_is_help=True)


@app.command("start")
def start(
    model: ModelArgument,
    version: VersionArgument,
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Roll a version out by the policy's steps, from shadow on."""
    number = context.version_number(version)
    with context.control_plane(server) as plane:
        rollout = plane.start_rollout(model, number, actor=context.actor(), reason=reason)
    _say(rollout, json=json)


@app.command("status")
def status(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """All rollouts of a model, oldest first."""
    with context.control_plane(server) as plane:
        rollouts = plane.rollouts(model)
    if json:
        print_json({"model": model, "rollouts": rollouts})
        return
    if not rollouts:
        console().print(f"Model '{model}' has had no rollout.", markup=False)
        return
    rows = [
        [
            rollout.id,
            f"{rollout.baseline} → {rollout.candidate}",
            rollout.state.value.replace("_", " "),
            rollout.current.kind.value,
            "" if rollout.phase is None else rollout.phase.value.replace("_", " "),
            moment(rollout.created_at),
            rollout.outcome or rollout.reason,
        ]
        for rollout in rollouts
    ]
    console().print(table("", ["rollout", "versions", "state", "step", "phase", "began", "why"], rows))


@app.command("pause")
def pause(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Stay in the present step; guardrails go on."""
    with context.control_plane(server) as plane:
        rollout = plane.pause(model, actor=context.actor())
    _say(rollout, json=json)


@app.command("resume")
def resume(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Go on with a paused rollout."""
    with context.control_plane(server) as plane:
        rollout = plane.resume(model, actor=context.actor())
    _say(rollout, json=json)


@app.command("approve")
def approve(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Let a rollout leave its step, which waits for a person."""
    with context.control_plane(server) as plane:
        rollout = plane.approve(model, actor=context.actor())
    _say(rollout, json=json)


@app.command("report")
def report(
    model: ModelArgument,
    rollout: Annotated[str | None, typer.Option("--rollout", help="The rollout's id; the newest, else.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("rollout.html"),
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Write an HTML page of a rollout: its interval, traffic, arms and decisions."""
    check_report(output)
    with context.control_plane(server) as plane:
        page = plane.rollout_report(model, rollout)
    write_report(lambda path: path.write_text(page.html, encoding="utf-8"), output)
    if json:
        print_json({"rollout": page.rollout, "report": str(output)})
    else:
        console().print(f"The report of {page.rollout} is in {output}.", markup=False)


@app.command("abort")
def abort(
    model: ModelArgument,
    reason: ReasonOption = "aborted by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """End a rollout, with all traffic on the version that was there before."""
    with context.control_plane(server) as plane:
        rollout = plane.abort(model, actor=context.actor(), reason=reason)
    _say(rollout, json=json)


def _say(rollout: Rollout, *, json: bool) -> None:
    if json:
        print_json(rollout)
        return
    console().print(
        f"{rollout.id}: version {rollout.candidate} is {rollout.state.value}, step {rollout.current.kind.value}. "
        f"Next: 'homeostat rollout status {rollout.model}'.",
        markup=False,
    )
