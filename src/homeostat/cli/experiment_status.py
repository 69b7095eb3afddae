"""What `homeostat experiment status` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from homeostat.cli.output import console, table

if TYPE_CHECKING:
    from homeostat.records import Experiment


def arms_of(one: Experiment) -> str:
    """The arms with what they serve and the weights that are in force."""
    return ", ".join(f"{arm.name} v{arm.version} {arm.weight:.0%}" for arm in one.arms)


def show(one: Experiment) -> None:
    """Print what is known of an experiment, and what may be ordered."""
    from homeostat.experiments.rules import legal_moves

    out = console()
    verdict = f" ({one.verdict.value})" if one.verdict is not None else ""
    out.print(
        f"{one.id} '{one.name}' of model {one.model} is {one.state.value}{verdict}: {arms_of(one)}.", markup=False
    )
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
    _show_reading(one)
    _show_coverage(one)
    _show_segments(one)
    if orders := legal_moves(one.state):
        out.print(f"What may be ordered now: {', '.join(orders)}.", markup=False)


def _estimate(line: Mapping[str, Any]) -> list[str]:
    """The cells under "control, arm", "effect", "interval" and the units."""
    units = " / ".join(f"{count:,}" for count in line["units"])
    return [_pair(line["levels"]), _figure(line["effect"]), _pair(line["interval"]), units]


def _show_reading(one: Experiment) -> None:
    """The table of a fixed sample, which decides nothing."""
    rows = [
        [
            line["metric"],
            line["arm"],
            line["method"],
            _figure(line["p"]),
            _figure(line["effect_size"]),
            "" if line["lift"] is None else f"{line['lift']:+.1%}",
            _pair(line["interval"]),
            "" if line["power"] is None else f"{line['power']:.0%}",
            "" if line["days_to_go"] is None else f"{line['days_to_go']:.1f}",
        ]
        for line in one.evidence.get("readings", ())
    ]
    if rows:
        out = console()
        out.print("\nAs of a fixed sample, for reading only: p and interval hold for one look at a size set before.")
        titles = ["metric", "arm", "test", "p", "effect size", "lift", "interval", "power", "days to go"]
        out.print(table("", titles, rows))
        if not any(metric.minimum_effect for metric in one.plan.metrics):
            out.print(
                "Power and days to go are those for the smallest effect that matters, and no metric has one.",
                markup=False,
            )


def _show_coverage(one: Experiment) -> None:
    """How many units of each arm have a value of each metric yet."""
    exposed = one.evidence.get("units", ())
    rows = [
        [line["name"], *(f"{count:,} of {units:,}" for count, units in zip(line["counts"], exposed, strict=False))]
        for line in one.evidence.get("coverage", ())
        if len(line["counts"]) == len(exposed)
    ]
    if rows:
        out = console()
        unit = one.evidence.get("unit", "units")
        out.print(f"\nRipe {unit} with a value, by arm.")
        out.print(table("", ["metric", *(arm.name for arm in one.plan.arms)], rows))


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


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _pair(values: list[float | None]) -> str:
    return ", ".join("?" if value is None else f"{value:.4g}" for value in values)
