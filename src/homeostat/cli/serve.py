"""`homeostat serve`: gateway, control plane, controllers and status page on one port."""

from __future__ import annotations

import gc
from typing import Annotated, Any

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import console, print_json
from homeostat.errors import InvalidSettings


def serve(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Gateway processes on that port.")] = None,
    gateway_only: Annotated[bool, typer.Option("--gateway-only", help="Only answer predictions.")] = False,
    controller_only: Annotated[
        bool, typer.Option("--controller-only", help="Only run the controllers, the control plane and the page.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Live by a clock that POST /api/v1/clock moves.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Serve the models of this folder over HTTP, watch them and keep them healthy. Ctrl-C stops it."""
    if gateway_only and controller_only:
        raise InvalidSettings("--gateway-only and --controller-only exclude each other; without both it does all.")
    overrides: dict[str, Any] = {"serve.host": host, "serve.port": port, "serve.workers": workers}
    # A start makes hardly any garbage, and looking for it took a seventh of it. What serves looks again.
    gc.disable()
    try:
        _serve(
            {name: value for name, value in overrides.items() if value is not None},
            role="gateway" if gateway_only else "controller" if controller_only else "all",
            simulated=simulated,
            json=json,
        )
    finally:
        gc.enable()


def _serve(overrides: dict[str, Any], *, role: str, simulated: bool, json: bool) -> None:
    from homeostat.settings import load
    from homeostat.wiring.server import Role
    from homeostat.wiring.serving import Listening, run_server

    def say(listening: Listening) -> None:
        kept = None if listening.token_file is None else str(listening.token_file)
        if json:
            print_json({"url": listening.url, "pid": listening.pid, "token_file": kept})
            return
        out = console()
        page = "" if role == Role.GATEWAY else f" The status page is at {listening.url}/."
        out.print(f"Homeostat serves at {listening.url}.{page} Ctrl-C stops it.", markup=False)
        if kept is not None:
            out.print(f"Requests need the token in {kept}: 'Authorization: Bearer TOKEN'.", markup=False)

    run_server(load(overrides=overrides), role=Role(role), simulated=simulated, on_listening=say)
