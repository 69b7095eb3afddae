"""`homeostat rollout`: start, status, pause, resume, abort."""

from __future__ import annotations

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, VersionArgument
from homeostat.cli.output import console, moment, print_json, table
from homeostat.records import Rollout

app = typer.Typer(help="Rollouts: start, status, pause, resume, abort.", no_args_is_help=True)


@app.command("start")
def start(
    model: ModelArgument, version: VersionArgument, reason: ReasonOption = "by hand", json: JsonOption = False
) -> None:
    """Roll a version out by the policy's steps, from shadow on."""
    with context.system() as system:
        number = system.registry.version(model, context.version_number(version)).number
        rollout = system.rollouts.start(
            model, number, system.policy(model), at=system.clock.now(), reason=reason, actor=context.actor()
        )
    _say(rollout, json=json)


@app.command("status")
def status(model: ModelArgument, json: JsonOption = False) -> None:
    """All rollouts of a model, oldest first."""
    from homeostat.wiring import to_json

    with context.system() as system:
        system.registry.model(model)
        rollouts = system.rollouts.list(model)
    if json:
        print_json({"model": model, "rollouts": [to_json(rollout) for rollout in rollouts]})
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
def pause(model: ModelArgument, json: JsonOption = False) -> None:
    """Stay in the present step; guardrails go on."""
    with context.system() as system:
        rollout = system.rollouts.pause(model, at=system.clock.now(), actor=context.actor())
    _say(rollout, json=json)


@app.command("resume")
def resume(model: ModelArgument, json: JsonOption = False) -> None:
    """Go on with a paused rollout."""
    with context.system() as system:
        rollout = system.rollouts.resume(model, at=system.clock.now(), actor=context.actor())
    _say(rollout, json=json)


@app.command("abort")
def abort(model: ModelArgument, reason: ReasonOption = "aborted by hand", json: JsonOption = False) -> None:
    """End a rollout, with all traffic on the version that was there before."""
    with context.system() as system:
        rollout = system.rollouts.abort(
            model, system.policy(model), at=system.clock.now(), actor=context.actor(), reason=reason
        )
    _say(rollout, json=json)


def _say(rollout: Rollout, *, json: bool) -> None:
    from homeostat.wiring import to_json

    if json:
        print_json(to_json(rollout))
        return
    console().print(
        f"{rollout.id}: version {rollout.candidate} is {rollout.state.value}, step {rollout.current.kind.value}. "
        f"Next: 'homeostat rollout status {rollout.model}'.",
        markup=False,
    )
