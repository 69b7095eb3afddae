"""All commands, put together; errors end here."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from homeostat import __version__
from homeostat.cli import (
    alert,
    backtest,
    context,
    decision,
    demo,
    drift,
    experiment,
    experiment_plan,
    experiment_values,
    imports,
    init,
    key,
    model,
    rollout,
    serve,
    watch,
)
from homeostat.cli.output import BAD_INPUT, console
from homeostat.errors import HomeostatError, InvalidInput

app = typer.Typer(
    name="homeostat",
    help="Keeps machine-learning models healthy in production.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(model.app, name="model")
app.add_typer(rollout.app, name="rollout")
app.add_typer(decision.app, name="decision")
app.add_typer(decision.incident_app, name="incident")
experiment.app.command("plan")(experiment_plan.plan)
experiment.app.command("values")(experiment_values.values)
app.add_typer(experiment.app, name="experiment")
app.add_typer(alert.app, name="alert")
app.add_typer(key.app, name="key")
app.command("backtest")(backtest.backtest)
app.command("demo")(demo.demo)
app.command("drift")(drift.drift)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("status")(watch.status)
app.command("history")(watch.history)
app.command("check")(watch.check)
app.command("retrain")(watch.retrain)
app.add_typer(imports.label_app, name="label")
app.add_typer(imports.log_app, name="log")


@app.callback()
def options(
    ctx: typer.Context,
    server: context.ServerOption = None,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
) -> None:
    """Keeps machine-learning models healthy in production."""
    if version:
        typer.echo(f"homeostat {__version__}")
        raise typer.Exit
    if server is not None and not _takes_server(ctx):
        raise InvalidInput(f"'homeostat {ctx.invoked_subcommand}' works on this machine alone and takes no --server.")
    context.SERVER.set(server)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.CRITICAL,
        format="%(asctime)s %(name)s %(message)s",
        stream=sys.stderr,
    )


def _takes_server(ctx: typer.Context) -> bool:
    command = getattr(ctx.command, "commands", {}).get(ctx.invoked_subcommand)
    # All commands of a group do.
    return hasattr(command, "commands") or any(one.name == "server" for one in getattr(command, "params", []))


def run(arguments: list[str]) -> int:
    """Run a command; returns the exit status. No traceback reaches the user for an error that is the input's."""
    try:
        result = app(arguments, standalone_mode=False)
    except HomeostatError as error:
        console(error=True).print(f"error: {error.message} [{error.code}]", markup=False, style="red")
        return BAD_INPUT
    except typer.TyperException as error:
        console(error=True).print(f"error: {error} [usage]", markup=False, style="red")
        console(error=True).print("'homeostat --help' lists the commands; each has its own --help.", markup=False)
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        console(error=True).print("interrupted", style="red")
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0
