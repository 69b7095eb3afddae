"""`homeostat rollout`: start, status, pause, resume, abort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, ServerOption, VersionArgument
from homeostat.cli.output import console, moment, print_json, table

if TYPE_CHECKING:
    from homeostat.records import Rollout

app = typer.Typer(help="Rollouts: start, status, pause, resume, abort.", no_args_is_help=True)


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
            rollout.state.value,
            rollout.current.kind.value,
            moment(rollout.created_at),
            rollout.outcome or rollout.reason,
        ]
        for rollout in rollouts
    ]
    console().print(table("", ["rollout", "versions", "state", "step", "began", "why"], rows))


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
