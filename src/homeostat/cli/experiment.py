"""`homeostat experiment`: create, start, schedule, status, pause, resume, weights, stop, abort, archive, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, ServerOption
from homeostat.cli.output import FOUND, check_report, console, moment, print_json, table, write_report
from homeostat.errors import InvalidInput

if TYPE_CHECKING:
    from homeostat.ports import ControlPlane
    from homeostat.records import Experiment

app = typer.Typer(help="Experiments: arms compared on live traffic.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The experiment's id, such as mail-experiment-1.", show_default=False)]


@app.command("create")
def create(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    arm: Annotated[list[str], typer.Option(help="NAME=VERSION:WEIGHT, the control first; repeat it.")],
    metric: Annotated[list[str] | None, typer.Option(help="NAME:ROLE[:MARGIN]; repeat it.")] = None,
    own_metric: Annotated[
        list[str] | None, typer.Option(help="NAME:ROLE:higher or lower[:MARGIN[:LOW..HIGH]]; repeat it.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="sticky, random, gradual or bandit.")] = "sticky",
    share: Annotated[str, typer.Option(help="Share of the namespace, from what is free.")] = "100%",
    ranges: Annotated[str, typer.Option(help="Buckets instead of a share, such as 0-500,900-1000.")] = "",
    namespace: Annotated[str, typer.Option(help="Where its buckets lie; the model's own where none is named.")] = "",
    salt: Annotated[str, typer.Option(help="What entities are dealt to arms by.")] = "",
    ramp: Annotated[str, typer.Option(help="Stages of a gradual one: '5% for 1d, 20% for 2d, 100%'.")] = "",
    observe: Annotated[str, typer.Option(help="For how long a unit is measured from its first row on.")] = "1h",
    label_window: Annotated[str, typer.Option(help="How long its labels are waited for after that.")] = "1d",
    shadow: Annotated[str, typer.Option(help="How long arms score beside production before they answer.")] = "0",
    maximum: Annotated[str, typer.Option(help="How long it goes on at the most.")] = "28d",
    minimum_units: Annotated[int, typer.Option(help="Units an arm before it may win.")] = 100,
    false_promotion: Annotated[float, typer.Option(help="Chance of calling an arm better that is not.")] = 0.05,
    false_rollback: Annotated[float, typer.Option(help="Chance of calling an arm worse that is not.")] = 0.01,
    labelled_positive: Annotated[float | None, typer.Option(help="Chance of a label after a positive answer.")] = None,
    labelled_negative: Annotated[float | None, typer.Option(help="Chance of a label after any other.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A feature to show the effects by; repeat it.")] = None,
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Make an experiment, as a draft that owns its buckets."""
    from homeostat.experiments import texts
    from homeostat.experiments.ranges import parse
    from homeostat.records import ExperimentDraft, Strategy

    if strategy not in list(Strategy):
        raise InvalidInput(f"A strategy is one of {', '.join(Strategy)}.")
    metrics = [texts.parse_metric(one) for one in metric or ()]
    metrics += [texts.parse_own_metric(one) for one in own_metric or ()]
    draft = ExperimentDraft(
        model=model,
        name=name,
        arms=tuple(texts.parse_arm(one) for one in arm),
        metrics=tuple(metrics),
        strategy=Strategy(strategy),
        namespace=namespace,
        ranges=parse(ranges) if ranges else (),
        share=texts.parse_share(share),
        salt=salt,
        ramp=texts.parse_ramp(ramp) if ramp else (),
        observation_seconds=texts.parse_seconds(observe),
        label_seconds=texts.parse_seconds(label_window),
        shadow_seconds=texts.parse_seconds(shadow),
        maximum_seconds=texts.parse_seconds(maximum),
        minimum_units=minimum_units,
        false_promotion=false_promotion,
        false_rollback=false_rollback,
        segments=tuple(segment or ()),
        labelling_depends=labelled_positive is not None or labelled_negative is not None,
        labelled_positive=labelled_positive,
        labelled_negative=labelled_negative,
    )
    with context.control_plane(server) as plane:
        made = plane.create_experiment(draft, actor=context.actor(), reason=reason)
    _say(made, json=json)


@app.command("list")
def listed(
    model: Annotated[str | None, typer.Argument(help="Only this model's.", show_default=False)] = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """All experiments, oldest first."""
    with context.control_plane(server) as plane:
        found = plane.experiments(model)
    if json:
        print_json({"experiments": found})
        return
    if not found:
        console().print("There are no experiments.", markup=False)
        return
    rows = [
        [
            one.id,
            one.name,
            one.state.value,
            _arms(one),
            moment(one.began_at or one.created_at),
            _short(one.outcome or one.held),
        ]
        for one in found
    ]
    console().print(table("", ["experiment", "name", "state", "arms", "began", "why"], rows))


@app.command("status")
def status(experiment: Id, server: ServerOption = None, json: JsonOption = False) -> None:
    """What is known of an experiment; exit status 1 where it is held, or an arm is worse."""
    with context.control_plane(server) as plane:
        one = plane.experiment(experiment)
    if json:
        print_json(one)
    else:
        _show(one)
    if one.held or one.verdict == "loss":
        raise typer.Exit(FOUND)


@app.command("schedule")
def schedule(
    experiment: Id,
    at: Annotated[str, typer.Argument(help="When, such as 2026-03-01T08:00+00:00; in UTC without an offset.")],
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Let it start by itself at a moment."""
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        raise InvalidInput("A moment is written as 2026-03-01T08:00 or 2026-03-01T08:00+01:00.") from None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    with context.control_plane(server) as plane:
        _say(plane.schedule_experiment(experiment, when, actor=context.actor(), reason=reason), json=json)


def _order(name: str, meaning: str, order: Callable[[ControlPlane], Callable[..., Experiment]]) -> None:
    """Make the command of an order that takes nothing but an experiment and a reason."""

    @app.command(name, help=meaning)
    def ordered(
        experiment: Id, reason: ReasonOption = "by hand", server: ServerOption = None, json: JsonOption = False
    ) -> None:
        with context.control_plane(server) as plane:
            _say(order(plane)(experiment, actor=context.actor(), reason=reason), json=json)


_order("start", "Start it now.", lambda plane: plane.start_experiment)
_order("pause", "Let the control answer for all arms; what was seen is kept.", lambda plane: plane.pause_experiment)
_order("resume", "Go on after a pause, in a new epoch.", lambda plane: plane.resume_experiment)


@app.command("weights")
def weights(
    experiment: Id,
    weights: Annotated[list[float], typer.Argument(help="The weights of the arms, in their order.")],
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Give its arms other weights, in a new epoch."""
    with context.control_plane(server) as plane:
        _say(plane.weigh_experiment(experiment, weights, actor=context.actor(), reason=reason), json=json)


_order(
    "stop",
    "Conclude it: with its verdict, or without one where it was not decided.",
    lambda plane: plane.stop_experiment,
)
_order("abort", "Give it up, unless it is over.", lambda plane: plane.abort_experiment)
_order("archive", "Put it away once it is over.", lambda plane: plane.archive_experiment)


@app.command("holdouts")
def holdouts(
    namespace: Annotated[str, typer.Argument(help="The namespace; a model's own has its name.")],
    ranges: Annotated[str, typer.Argument(help="Buckets such as 9500-10000; 'none' for none.")],
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Say which of a namespace's 10,000 buckets belong to no experiment."""
    from homeostat.experiments.ranges import parse, shown

    kept = () if ranges == "none" else parse(ranges)
    with context.control_plane(server) as plane:
        held = plane.set_holdouts(namespace, kept, actor=context.actor(), reason=reason)
    if json:
        print_json(held)
        return
    console().print(f"Namespace '{held.name}' holds out {shown(held.holdouts)}.", markup=False)


@app.command("report")
def report(
    experiment: Id,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path("experiment.html"),
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Write the page of an experiment: intervals narrowing, traffic and metrics by arm, every decision."""
    from homeostat.experiments.story import story_of

    check_report(output)
    with context.control_plane(server) as plane:
        one = plane.experiment(experiment)
        decisions = plane.decisions(one.model)
    if not one.epochs:
        raise InvalidInput(f"Experiment {one.id} has not run yet: there is nothing to report.")
    write_report(story_of(one, decisions).save_html, output)
    if json:
        print_json({"experiment": one.id, "report": str(output)})
        return
    console().print(f"{one.id} is {one.state.value}; its page is {output}.", markup=False)


def _arms(one: Experiment) -> str:
    return ", ".join(f"{arm.name} v{arm.version} {arm.weight:.0%}" for arm in one.arms)


def _say(one: Experiment, *, json: bool) -> None:
    if json:
        print_json(one)
        return
    following = "start" if one.state.value == "draft" else "status"
    console().print(
        f"{one.id} '{one.name}' is {one.state.value}: {_arms(one)}. Next: 'homeostat experiment {following} {one.id}'.",
        markup=False,
    )


def _show(one: Experiment) -> None:
    from homeostat.experiments.rules import legal_moves

    out = console()
    verdict = f" ({one.verdict.value})" if one.verdict is not None else ""
    out.print(f"{one.id} '{one.name}' of model {one.model} is {one.state.value}{verdict}: {_arms(one)}.", markup=False)
    out.print(_planned(one), markup=False)
    for line in (one.outcome, one.held and f"Held: {one.held}"):
        if line:
            out.print(line, markup=False)
    rows = [
        [
            line["metric"],
            line["role"],
            line["arm"],
            *_estimate(line),
            line["standing"],
        ]
        for line in one.evidence.get("metrics", ())
    ]
    if rows:
        unit = one.evidence.get("unit", "units")
        titles = ["metric", "role", "arm", "control, arm", "effect", "interval", unit, "so far"]
        out.print(table("", titles, rows))
    for reason in one.evidence.get("reasons", ()):
        # An experiment that ended, or is held, was told why above.
        if reason not in f"{one.outcome} {one.held}":
            out.print(reason, markup=False)
    _show_segments(one)
    if orders := legal_moves(one.state):
        out.print(f"What may be ordered now: {', '.join(orders)}.", markup=False)


def _estimate(line: Mapping[str, Any]) -> list[str]:
    """The cells under "control, arm", "effect", "interval" and the units."""
    units = " / ".join(f"{count:,}" for count in line["units"])
    return [_pair(line["levels"]), _figure(line["effect"]), _pair(line["interval"]), units]


def _show_segments(one: Experiment) -> None:
    rows = [
        [
            f"{line['feature']}: {line['segment']}",
            line["metric"],
            line["arm"],
            *_estimate(line),
        ]
        for line in one.evidence.get("by_segment", ())
    ]
    if rows:
        out = console()
        unit = one.evidence.get("unit", "units")
        out.print("\nBy segment, for reading only: each interval holds for one look, and nothing is decided by it.")
        out.print(table("", ["segment", "metric", "arm", "control, arm", "effect", "interval", unit], rows))


def _planned(one: Experiment) -> str:
    """How much traffic it owns and what it is judged by."""
    from homeostat.experiments.ranges import width
    from homeostat.records import BUCKETS

    metrics = ", ".join(
        f"{metric.name} ({metric.role.value}{f', margin {metric.margin:g}' if metric.margin else ''})"
        for metric in one.plan.metrics
    )
    share = width(one.ranges) / BUCKETS
    return (
        f"It owns {100 * share:.4g} % of namespace '{one.namespace}' and is judged by {metrics}. A false win has a "
        f"chance of {one.plan.false_promotion:.2g} at the most, a false loss {one.plan.false_rollback:.2g}."
    )


def _short(text: str, most: int = 90) -> str:
    """The beginning of a reason; `status` has all of it."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _pair(values: list[float | None]) -> str:
    return ", ".join("?" if value is None else f"{value:.4g}" for value in values)
