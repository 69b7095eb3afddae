"""`homeostat alert`: list, acknowledge, resolve."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption
from homeostat.cli.output import console, moment, print_json, table

app = typer.Typer(help="Alerts: list, acknowledge, resolve.", no_args_is_help=True)
AlertArgument = Annotated[str, typer.Argument(help="The alert's id.", show_default=False)]


@app.command("list")
def list_alerts(
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    json: JsonOption = False,
) -> None:
    """Open and acknowledged alerts."""
    from homeostat.wiring import to_json

    with context.system() as system:
        if model is not None:
            system.registry.model(model)
        since = system.clock.now() - timedelta(days=system.settings.policy.alerts.keep_days)
        alerts = system.alerts.list(model, live_only=not everything, resolved_since=since)
    if json:
        print_json({"alerts": [to_json(alert) for alert in alerts]})
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
def acknowledge(alert: AlertArgument, json: JsonOption = False) -> None:
    """Say that somebody looks after an alert."""
    with context.system() as system:
        changed = system.alerts.acknowledge(alert, by=context.actor())
    _say(changed, json=json)


@app.command("resolve")
def resolve(alert: AlertArgument, json: JsonOption = False) -> None:
    """Close an alert by hand."""
    with context.system() as system:
        changed = system.alerts.resolve(alert, at=system.clock.now())
    _say(changed, json=json)


def _say(alert: object, *, json: bool) -> None:
    from homeostat.records import Alert
    from homeostat.wiring import to_json

    if json:
        print_json(to_json(alert))
    elif isinstance(alert, Alert):
        console().print(f"{alert.id} is {alert.state.value}.", markup=False)
