"""`homeostat experiment`: create, start, schedule, status, pause, resume, weights, stop, abort, archive, report.

`plan` and `values` are in files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli import context
from homeostat.cli.context import JsonOption, ModelArgument, ReasonOption, ServerOption
from homeostat.cli.experiment_status import arms_of, show
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
    metric: Annotated[list[str] | None, typer.Option(help="NAME:ROLE[:MARGIN[:MINIMUM_EFFECT]]; repeat it.")] = None,
    own_metric: Annotated[
        list[str] | None,
        typer.Option(help="NAME:ROLE:higher or lower[:MARGIN[:LOW..HIGH[:MINIMUM_EFFECT]]]; repeat it."),
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
    shadow_rows: Annotated[int, typer.Option(help="Rows that each arm scores beside production before that.")] = 0,
    maximum: Annotated[str, typer.Option(help="How long it goes on at the most.")] = "28d",
    minimum_units: Annotated[int, typer.Option(help="Units an arm before it may win.")] = 100,
    maximum_units: Annotated[
        int | None, typer.Option(help="Units of all arms at the most; then it is flat or undecided.")
    ] = None,
    futility: Annotated[
        float | None, typer.Option(help="Give up below this chance to still win by --maximum-units.")
    ] = None,
    power: Annotated[float, typer.Option(help="What the days to go are reckoned for.")] = 0.8,
    reweigh: Annotated[str, typer.Option(help="How often a bandit moves its weights.")] = "1d",
    cost_false_positive: Annotated[float, typer.Option(help="For the metric cost.")] = 1.0,
    cost_false_negative: Annotated[float, typer.Option(help="For the metric cost.")] = 1.0,
    false_promotion: Annotated[float, typer.Option(help="Chance of calling an arm better that is not.")] = 0.05,
    false_rollback: Annotated[float, typer.Option(help="Chance of calling an arm worse that is not.")] = 0.01,
    labelled_positive: Annotated[float | None, typer.Option(help="Chance of a label after a positive answer.")] = None,
    labelled_negative: Annotated[float | None, typer.Option(help="Chance of a label after any other.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="A feature to show the effects by; repeat it.")] = None,
    reason: ReasonOption = "by hand",
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Make an experiment, as a draft that owns its buckets.

    Metrics: accuracy, precision, recall, false_positive_rate, f1, auc, brier, cost, absolute_error, latency, errors.
    Roles: success wins, guardrail must not get worse by its margin, deterioration loses where it does, and quality
    must not differ.

    Such as: create mail trees --arm control=1:0.5 --arm new=2:0.5 --metric accuracy:success
    """
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
        shadow_rows=shadow_rows,
        reweigh_seconds=texts.parse_seconds(reweigh),
        minimum_units=minimum_units,
        maximum_units=maximum_units,
        futility=futility,
        power=power,
        cost_false_positive=cost_false_positive,
        cost_false_negative=cost_false_negative,
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
            arms_of(one),
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
        show(one)
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


@app.command("namespaces")
def namespaces(server: ServerOption = None, json: JsonOption = False) -> None:
    """All namespaces: who has which of their buckets, what is held out, and what is free."""
    from homeostat.experiments.ranges import free, shown

    with context.control_plane(server) as plane:
        found, experiments = plane.namespaces(), plane.experiments()
    if json:
        print_json({"namespaces": found})
        return
    if not found:
        console().print("There are no namespaces: the first experiment of a model makes one.", markup=False)
        return
    rows = []
    for one in found:
        inside = [each for each in experiments if each.namespace == one.name and not each.state.is_final]
        taken = [*one.holdouts, *(part for each in inside for part in each.ranges)]
        owners = ", ".join(f"{each.id} {shown(each.ranges)}" for each in inside) or "none"
        rows.append([one.name, owners, shown(one.holdouts), shown(free(taken))])
    console().print(table("", ["namespace", "experiments", "held out", "free"], rows))


@app.command("report")
def report(
    experiment: Id,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path("experiment.html"),
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Write the page of an experiment: intervals narrowing, traffic and metrics by arm, every decision."""
    check_report(output)
    with context.control_plane(server) as plane:
        page = plane.experiment_report(experiment)
    write_report(lambda path: path.write_text(page.html, encoding="utf-8"), output)
    if json:
        print_json({"experiment": page.experiment, "report": str(output)})
        return
    console().print(f"The report of {page.experiment} is in {output}.", markup=False)


def _say(one: Experiment, *, json: bool) -> None:
    if json:
        print_json(one)
        return
    following = "start" if one.state.value == "draft" else "status"
    order = f"homeostat experiment {following} {one.id}"
    console().print(f"{one.id} '{one.name}' is {one.state.value}: {arms_of(one)}. Next: '{order}'.", markup=False)


def _short(text: str, most: int = 90) -> str:
    """The beginning of a reason; `status` has all of it."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
