"""`homeostat rollout`: start, status, pause, resume, approve, abort, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
        live = next((one for one in rollouts if one.state.is_under_way), None)
        known = plane.comparisons(model) if live is not None and not json else []
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
    if live is not None:
        evidence = next((one.evidence for one in known if one.id == live.id), {})
        console().print(_progress(live, evidence), markup=False)


def _progress(rollout: Rollout, evidence: Mapping[str, Any]) -> str:
    """What the present step asks for, what there is of it, and what a person may do."""
    from homeostat.records import Phase, RolloutState, written_step

    # Nobody has looked at a step that has just begun.
    seen = evidence if evidence.get("position") == rollout.step else {}
    rows, pairs, labels = (seen.get(f"{name}_in_step", 0) for name in ("rows", "pairs", "labels"))
    words = (
        f"{rollout.id} is in step {rollout.step + 1} of {len(rollout.steps)}, '{written_step(rollout.current)}': "
        f"{rows:,} rows, {pairs:,} labelled pairs and {labels:,} labelled rows in it so far"
    )
    order = "homeostat rollout"
    if rollout.state is RolloutState.PAUSED:
        return f"{words}. It is paused, and its guardrails hold: '{order} resume {rollout.model}' lets it go on."
    if rollout.phase is Phase.AWAITING_APPROVAL:
        return f"{words}. It waits for a person: '{order} approve {rollout.model}', or '{order} abort {rollout.model}'."
    return f"{words}."


@app.command("pause")
def pause(
    model: ModelArgument,
    reason: ReasonOption = "paused by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Stay in the present step; guardrails go on."""
    with context.control_plane(server) as plane:
        rollout = plane.pause(model, actor=context.actor(), reason=reason)
    _say(rollout, json=json)


@app.command("resume")
def resume(
    model: ModelArgument,
    reason: ReasonOption = "resumed by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with a paused rollout."""
    with context.control_plane(server) as plane:
        rollout = plane.resume(model, actor=context.actor(), reason=reason)
    _say(rollout, json=json)


@app.command("approve")
def approve(
    model: ModelArgument,
    reason: ReasonOption = "approved by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Let a rollout leave its step, which waits for a person."""
    with context.control_plane(server) as plane:
        rollout = plane.approve(model, actor=context.actor(), reason=reason)
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
