"""`homeostat alert`: list, acknowledge, resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ServerOption
from homeostat.cli.output import console, moment, print_json, table

if TYPE_CHECKING:
    from homeostat.records import Alert

app = typer.Typer(help="Alerts: list, acknowledge, resolve.", no_args_is_help=True)
AlertArgument = Annotated[str, typer.Argument(help="The alert's id.", show_default=False)]


@app.command("list")
def list_alerts(
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Open and acknowledged alerts."""
    with context.control_plane(server) as plane:
        alerts = plane.alerts(model, everything=everything)
    if json:
        print_json({"alerts": alerts})
        return
    if not alerts:
        console().print("No alert is open.")
        return
    rows = [
        [alert.id, alert.severity.value, alert.state.value, moment(alert.opened_at), str(alert.count), alert.message]
        for alert in alerts
    ]
    console().print(table("", ["alert", "severity", "state", "since", "seen", "message"], rows))


@app.command("ack")
def acknowledge(alert: AlertArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Say that somebody looks after an alert."""
    with context.control_plane(server) as plane:
        changed = plane.acknowledge(alert, actor=context.actor())
    _say(changed, json=json)


@app.command("resolve")
def resolve(alert: AlertArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Close an alert by hand."""
    with context.control_plane(server) as plane:
        changed = plane.resolve(alert, actor=context.actor())
    _say(changed, json=json)


def _say(alert: Alert, *, json: bool) -> None:
    if json:
        print_json(alert)
    else:
        console().print(f"{alert.id} is {alert.state.value}.", markup=False)
