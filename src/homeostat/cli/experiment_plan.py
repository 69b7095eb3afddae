"""`homeostat experiment plan`: how many units and days an experiment needs."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli.context import JsonOption
from homeostat.cli.output import console, print_json, table


def plan(
    baseline: Annotated[
        float | None, typer.Option("--baseline", help="The control's rate, such as 0.9.", show_default=False)
    ] = None,
    mean: Annotated[
        float | None, typer.Option("--mean", help="Instead of a rate: the control's mean.", show_default=False)
    ] = None,
    sd: Annotated[
        float | None, typer.Option("--sd", help="With --mean: a unit's standard deviation.", show_default=False)
    ] = None,
    effect: Annotated[
        float | None, typer.Option("--effect", help="The smallest improvement that matters.", show_default=False)
    ] = None,
    relative: Annotated[
        float | None, typer.Option("--relative", help="The same as a share of the baseline.", show_default=False)
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Show instead that an arm is not worse by this.", show_default=False),
    ] = None,
    lower: Annotated[bool, typer.Option("--lower-is-better", help="An improvement is a fall.")] = False,
    alpha: Annotated[float, typer.Option("--alpha", help="The budget of false promotions, one-sided.")] = 0.05,
    power: Annotated[float, typer.Option("--power", help="The chance to find the effect.")] = 0.8,
    arms: Annotated[int, typer.Option("--arms", help="How many arms, with the control.")] = 2,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Of the arms, the control first: 0.9,0.1.", show_default=False),
    ] = None,
    daily: Annotated[
        float | None, typer.Option("--daily", help="New units a day, in all arms.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say how many units an experiment needs: looked at once, and judged at any moment."""
    from homeostat.errors import InvalidInput
    from homeostat.experiments.planning import planned
    from homeostat.records import PlanQuestion

    shares = None
    if weights is not None:
        try:
            shares = tuple(float(part) for part in weights.split(","))
        except ValueError:
            raise InvalidInput("The weights must be numbers with commas between them, such as 0.9,0.1.") from None
    found = planned(
        PlanQuestion(
            baseline=baseline,
            mean=mean,
            standard_deviation=sd,
            effect=effect,
            relative=relative,
            margin=margin,
            lower_is_better=lower,
            alpha=alpha,
            power=power,
            arms=arms,
            weights=shares,
            units_a_day=daily,
        )
    )
    if json:
        print_json(found)
        return
    out = console()
    out.print(found.sentence, markup=False, style="bold")
    sizes = {"one look": found.fixed, "any moment, on average": found.expected, "any moment, at most": found.longest}
    names = ["control", *(f"arm {number}" for number in range(1, len(found.weights)))]
    rows = [
        [
            words,
            *(f"{units:,}" for units in size.by_arm),
            f"{size.units:,}",
            f"{size.days:.1f}" if size.days is not None else "–",
        ]
        for words, size in sizes.items()
    ]
    out.print(table("", ["looked at", *names, "units", "days"], rows))
