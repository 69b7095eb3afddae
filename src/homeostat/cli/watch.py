"""What is served, how it does, what was decided; and what a person may order: check, retrain, label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ServerOption
from homeostat.cli.output import FOUND, console, moment, print_json, table

if TYPE_CHECKING:
    from homeostat.records import Decision, ModelStatus

SHOWN_INPUTS = ("rows", "wins", "losses", "pairs", "log_better", "log_worse", "candidate", "baseline", "mcnemar_p", "p")


def status(server: ServerOption = None, json: JsonOption = False) -> None:
    """What is served, how it does and what is open, on one screen."""
    with context.control_plane(server) as plane:
        models = plane.status()
    if json:
        print_json({"models": models})
        return
    out = console()
    if not models:
        out.print(
            "No model is registered yet. Next: 'homeostat demo' shows the loop, "
            "'homeostat model register' adds a model.",
            markup=False,
        )
        return
    columns = ["model", "version", "quality", "drift", "rows / labelled", "rollout", "open alerts", "last decision"]
    out.print(table("", columns, [_status_row(model) for model in models]))
    for model in models:
        for alert in model.open_alerts:
            out.print(f"{alert.severity.value:>8}  {model.model}: {alert.message} [{alert.id}]", markup=False)


def _status_row(model: ModelStatus) -> list[str]:
    rollout, last = model.rollout, model.last_decision
    return [
        model.model,
        "none" if model.production is None else str(model.production),
        model.quality,
        model.drift,
        f"{model.rows:,} / {model.labelled:,}",
        "none"
        if rollout is None
        else f"version {rollout.candidate}, {rollout.current.kind.value}, {rollout.state.value}",
        str(len(model.open_alerts)),
        "" if last is None else f"{moment(last.at)} {last.kind}",
    ]


def history(
    model: ModelArgument,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Only the latest so many; 0 is all.")] = 0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Every decision about a model with its evidence, oldest first."""
    with context.control_plane(server) as plane:
        decisions = plane.decisions(model, limit=limit)
    if json:
        print_json({"model": model, "decisions": decisions})
        return
    out = console()
    for decision in decisions:
        version = "" if decision.version is None else f" version {decision.version}"
        out.print(f"{moment(decision.at)}  {decision.kind}{version}, by {decision.actor}", markup=False, style="bold")
        out.print(f"    {decision.reason}", markup=False)
        evidence = _evidence(decision)
        if evidence:
            out.print(f"    {evidence}", markup=False, style="dim")


def _evidence(decision: Decision) -> str:
    parts = []
    if decision.rule:
        parts.append(f"rule: {decision.rule}")
    if decision.statistic is not None:
        threshold = "" if decision.threshold is None else f" (threshold {decision.threshold:.4g})"
        parts.append(f"statistic {decision.statistic:.4g}{threshold}")
    for name in SHOWN_INPUTS:
        value = decision.inputs.get(name)
        if isinstance(value, int | float):
            parts.append(f"{name.replace('_', ' ')} {value:.4g}")
    if decision.config_hash:
        parts.append(f"policy {decision.config_hash}")
    return " · ".join(parts)


def check(model: ModelArgument, server: ServerOption = None, json: JsonOption = False) -> None:
    """Look at a model now, act as the policy says, and print the findings. Ends with 1 where something is wrong."""
    with context.control_plane(server) as plane:
        report = plane.check(model)
    if json:
        print_json(report)
    else:
        rows = [
            [finding.check, finding.verdict.value, finding.severity.value, finding.message]
            for finding in report.findings
        ]
        console().print(table("", ["check", "verdict", "severity", "what was found"], rows))
    if report.harmed:
        raise typer.Exit(FOUND)


def retrain(
    model: ModelArgument,
    reason: context.ReasonOption = "ordered by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Retrain now; a version that passes its gate is rolled out. Ends with 1 where none did."""
    with context.control_plane(server) as plane:
        run = plane.wait_for_run(plane.retrain(model, actor=context.actor(), reason=reason))
    if json:
        print_json(run)
    else:
        made = "" if run.version is None else f" Version {run.version} is being rolled out."
        console().print(f"{run.id} {run.state.value}: {run.outcome}.{made}", markup=False)
    if run.version is None:
        raise typer.Exit(FOUND)
