"""`homeostat key`: create, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ServerOption
from homeostat.cli.output import console, moment, print_json, table
from homeostat.errors import InvalidInput

app = typer.Typer(help="API keys of a server: create, list, revoke.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The key's name.", show_default=False)]


@app.command("create")
def create(
    name: NameArgument,
    role: Annotated[list[str], typer.Option("--role", help="predict, label, read, operate or admin; may be repeated.")],
    expires: Annotated[
        str | None, typer.Option("--expires", help="After what time it ends, such as 90d.", show_default=False)
    ] = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key, and show its secret this once."""
    from homeostat.records import KeyRole

    unknown = [one for one in role if one not in list(KeyRole)]
    if unknown:
        raise InvalidInput(f"A role is one of {', '.join(KeyRole)}.")
    with context.control_plane(server) as plane:
        made = plane.create_key(name, [KeyRole(one) for one in role], expires=expires, actor=context.actor())
    if json:
        print_json(made)
        return
    # The secret alone on standard output, so that it can be piped to where it is kept.
    until = f"until {moment(made.key.expires_at)} UTC" if made.key.expires_at else "until it is revoked"
    words = f"Key '{name}' ({', '.join(made.key.roles)}) works {until}. It is shown this once and kept nowhere:"
    console(error=True).print(words, markup=False)
    typer.echo(made.secret)


@app.command("list")
def list_keys(server: ServerOption = None, json: JsonOption = False) -> None:
    """Every key that was made, without the secrets."""
    with context.control_plane(server) as plane:
        keys = plane.keys()
    if json:
        print_json({"keys": keys})
        return
    if not keys:
        console().print("There are no keys. 'homeostat key create NAME --role predict' makes one.")
        return
    rows = [
        [
            key.name,
            key.id,
            ", ".join(key.roles),
            key.state.value,
            moment(key.created_at),
            key.created_by,
            moment(key.expires_at) or "never",
        ]
        for key in keys
    ]
    console().print(table("", ["key", "id", "roles", "state", "made", "by", "expires"], rows))


@app.command("revoke")
def revoke(name: NameArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """End a key for good."""
    with context.control_plane(server) as plane:
        key = plane.revoke_key(name, actor=context.actor())
    if json:
        print_json(key)
    else:
        console().print(f"Key '{key.name}' is revoked. Running servers refuse it within a moment.", markup=False)
