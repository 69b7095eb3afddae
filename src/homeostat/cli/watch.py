"""What is served, how it does, what was decided; and what a person may order: check, retrain, label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument
from homeostat.cli.output import FOUND, console, moment, print_json, table
from homeostat.errors import InvalidLabel

if TYPE_CHECKING:
    from homeostat.records import Decision
    from homeostat.wiring import System

SHOWN_INPUTS = ("rows", "wins", "losses", "pairs", "log_better", "log_worse", "candidate", "baseline", "mcnemar_p", "p")


def status(json: JsonOption = False) -> None:
    """What is served, how it does and what is open, on one screen."""
    with context.system() as system:
        models = [_status_of(system, model.name) for model in system.registry.models()]
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
    rows = [
        [
            model["model"],
            str(model["production"] or "none"),
            model["quality"],
            model["drift"],
            f"{model['rows']:,} / {model['labelled']:,}",
            model["rollout"] or "none",
            str(len(model["open_alerts"])),
            model["last_decision"],
        ]
        for model in models
    ]
    out.print(
        table(
            "",
            ["model", "version", "quality", "drift", "rows / labelled", "rollout", "open alerts", "last decision"],
            rows,
        )
    )
    for model in models:
        for alert in model["open_alerts"]:
            out.print(f"{alert['severity']:>8}  {model['model']}: {alert['message']} [{alert['id']}]", markup=False)


def _status_of(system: System, model: str) -> dict[str, Any]:
    production = system.registry.production(model)
    findings = system.newest_findings(model, production.number) if production else {}
    rows = system.view(model).joined.rows()
    rollout = system.rollouts.active(model)
    decisions = system.decisions(model)
    performance = findings.get("performance 30 days")
    drift = findings.get("drift")
    return {
        "model": model,
        "production": production.number if production else None,
        "quality": performance.message if performance else "no labels yet",
        "drift": drift.verdict.value if drift else "not looked at",
        "rows": rows.count,
        "labelled": int(rows.labelled.sum()),
        "rollout": f"version {rollout.candidate}, {rollout.current.kind.value}, {rollout.state.value}"
        if rollout
        else None,
        "open_alerts": [
            {"id": alert.id, "severity": alert.severity.value, "state": alert.state.value, "message": alert.message}
            for alert in system.alerts.list(model, live_only=True)
        ],
        "last_decision": f"{moment(decisions[-1].at)} {decisions[-1].kind}" if decisions else "",
    }


def history(
    model: ModelArgument,
    limit: Annotated[int, typer.Option("--limit", help="Only the latest so many; 0 is all.")] = 0,
    json: JsonOption = False,
) -> None:
    """Every decision about a model with its evidence, oldest first."""
    with context.system() as system:
        decisions = system.decisions(model)
    decisions = decisions[-limit:] if limit else decisions
    if json:
        from homeostat.wiring import to_json

        print_json({"model": model, "decisions": [to_json(decision) for decision in decisions]})
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


def check(model: ModelArgument, json: JsonOption = False) -> None:
    """Look at a model now, act as the policy says, and print the findings. Ends with 1 where something is wrong."""
    with context.system() as system:
        system.registry.model(model)
        system.tick()
        production = system.registry.production(model)
        findings = list(system.newest_findings(model, production.number).values()) if production else []
    harmed = any(finding.verdict.value in ("harmed", "error") for finding in findings)
    if json:
        from homeostat.wiring import to_json

        print_json({"model": model, "harmed": harmed, "findings": [to_json(finding) for finding in findings]})
    else:
        rows = [[finding.check, finding.verdict.value, finding.severity.value, finding.message] for finding in findings]
        console().print(table("", ["check", "verdict", "severity", "what was found"], rows))
    if harmed:
        raise typer.Exit(FOUND)


def retrain(
    model: ModelArgument,
    reason: context.ReasonOption = "ordered by hand",
    json: JsonOption = False,
) -> None:
    """Retrain now; a version that passes its gate is rolled out. Ends with 1 where none did."""
    with context.system() as system:
        system.registry.model(model)
        run = system.retrain(model, actor=context.actor(), reason=reason)
    if json:
        from homeostat.wiring import to_json

        print_json(to_json(run))
    else:
        made = "" if run.version is None else f" Version {run.version} is being rolled out."
        console().print(f"{run.id} {run.state.value}: {run.outcome}.{made}", markup=False)
    if run.version is None:
        raise typer.Exit(FOUND)


label_app = typer.Typer(help="Labels that arrive later.", no_args_is_help=True)


@label_app.command("import")
def import_labels(
    model: ModelArgument,
    path: Annotated[Path, typer.Argument(help="CSV or Parquet: prediction_id, label.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Import labels for logged predictions from a file."""
    from homeostat.backtest.data import read_table

    rows = read_table(context.existing(path))
    for name in ("prediction_id", "label"):
        if name not in rows.column_names:
            raise InvalidLabel(f"{path} has no column '{name}'. It has: {', '.join(rows.column_names[:20])}.")
    with context.system() as system:
        ids = [str(value) for value in rows.column("prediction_id").to_pylist()]
        count = system.label(model, ids, rows.column("label").to_pylist(), source="import")
        unmatched = system.view(model).joined.unmatched
    if json:
        print_json({"model": model, "labels": count, "unmatched": unmatched})
        return
    console().print(
        f"{count:,} labels kept. {unmatched:,} labels of this model wait for a prediction that is not logged.",
        markup=False,
    )
