"""`homeostat decision` and `homeostat incident`: what was done, why, and whether it would be done again."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ServerOption
from homeostat.cli.output import FOUND, console, moment, print_json, table

app = typer.Typer(help="Decisions: list, show, replay.", no_args_is_help=True)
incident_app = typer.Typer(help="Rollbacks with their causes and timelines: list, show.", no_args_is_help=True)
DecisionArgument = Annotated[str, typer.Argument(help="The decision's id.", show_default=False)]


@app.command("list")
def list_decisions(
    model: ModelArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The latest so many.")] = 20,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """The latest decisions about a model, oldest first."""
    with context.control_plane(server) as plane:
        decisions = plane.decisions(model, limit=limit)
    if json:
        print_json({"model": model, "decisions": decisions})
        return
    rows = [[one.id, moment(one.at), one.kind, one.actor, one.reason] for one in decisions]
    console().print(table("", ["decision", "when", "what", "who", "why"], rows))


@app.command("show")
def show(decision: DecisionArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """One decision, with all that it was taken on."""
    with context.control_plane(server) as plane:
        found = plane.decision(decision)
    if json:
        print_json(found)
        return
    console().print(f"{found.id}: {found.kind} at {moment(found.at)} by {found.actor}. {found.reason}", markup=False)
    rows = [[name, str(value)] for name, value in found.inputs.items() if name != "facts"]
    named = [["rule", found.rule], ["statistic", str(found.statistic)], ["threshold", str(found.threshold)]]
    console().print(table("", ["input", "value"], [*named, ["policy", found.config_hash], *rows]))


@app.command("replay")
def replay(decision: DecisionArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Take a decision again from its record. Ends with 1 where the verdict is another one."""
    with context.control_plane(server) as plane:
        found = plane.replay(decision)
    if json:
        print_json(found)
    else:
        was, now = found.decision, found.again
        rows = [
            ["verdict", was.kind, now.kind],
            ["rule", was.rule, now.rule],
            ["statistic", str(was.statistic), str(now.statistic)],
            ["threshold", str(was.threshold), str(now.threshold)],
            ["why", was.reason, now.reason],
        ]
        console().print(table("", ["", "recorded", "taken again"], rows))
        console().print("The same." if found.same else "NOT the same.", style=None if found.same else "red")
    if not found.same:
        raise typer.Exit(FOUND)


@incident_app.command("list")
def list_incidents(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """The rollbacks of a model, oldest first."""
    with context.control_plane(server) as plane:
        incidents = plane.incidents(model)
    if json:
        print_json({"model": model, "incidents": incidents})
        return
    if not incidents:
        console().print(f"Model '{model}' has had no rollback.", markup=False)
        return
    rows = [
        [
            one.id,
            f"{one.from_version or ''} → {one.to_version}",
            one.state.value.replace("_", " "),
            moment(one.opened_at),
            one.verdict or "",
            one.cause,
        ]
        for one in incidents
    ]
    console().print(table("", ["incident", "versions", "state", "opened", "metrics", "cause"], rows))


@incident_app.command("show")
def show_incident(
    model: ModelArgument,
    incident: Annotated[str, typer.Argument(help="The incident's id.", show_default=False)],
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """One rollback with its timeline."""
    with context.control_plane(server) as plane:
        found = plane.incident(model, incident)
    if json:
        print_json(found)
        return
    state = found.state.value.replace("_", " ")
    console().print(f"{found.id}: {state}. {found.cause}", markup=False)
    rows = [[moment(event.at, seconds=True), event.what] for event in found.timeline]
    console().print(table("", ["when", "what"], rows))
