"""The table for reading: every metric as of a sample of fixed size, overall and by segment, and what is to come."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from homeostat.stats.experiments.pairs import Pair, paired_with_control
from homeostat.stats.experiments.summary import MetricSummary, Summary
from homeostat.stats.experiments.units import MetricPlan, Plan
from homeostat.stats.inference.tails import bounds, critical, tail
from homeostat.stats.sequential.result import Floats, checked_number


@dataclass(frozen=True)
class Reading:
    """One metric of one arm against the control, at one look; for reading only, since nothing here allows for looking.

    `effect`, its `interval` (confidence 1 − plan.alpha, two-sided) and `p` are stratified by segment and epoch, with
    Welch's error and degrees of freedom. `lift` is the effect as a share of the control's level, its interval by the
    delta method. `effect_size` is the effect in standard deviations of a unit (Cohen's d). `detectable` is the effect
    that a sample of this size shows with the plan's power; `power` the chance that it would have shown the metric's
    minimum effect, NaN without one; `units_needed` the units of both arms that reach the plan's power for it, and
    `days_to_go` how long they take. `segment` is None for the whole experiment.
    """

    metric: str
    arm: str
    segment: int | None
    units: tuple[int, int]
    levels: tuple[float, float]
    effect: float
    interval: tuple[float, float]
    p: float
    lift: float
    lift_interval: tuple[float, float]
    effect_size: float
    detectable: float
    power: float
    units_needed: float
    days_to_go: float
    method: str


def readings(
    summary: Summary, plan: Plan, *, units_a_day: float | None = None, by_segment: bool = False
) -> tuple[Reading, ...]:
    """What a test of a fixed sample would say of every metric and arm.

    Args:
        summary: of all units so far.
        plan: of the experiment.
        units_a_day: how many new units come in a day, in all arms, for the days to go.
        by_segment: give each segment's own rows after the overall ones.

    Raises:
        InvalidInput: a number of units a day that is not above 0.
    """
    pace = math.nan if units_a_day is None else checked_number(units_a_day, "number of units a day", low=1e-9)
    rows = []
    for metric in plan.metrics:
        sums = summary.metrics.get(metric.name)
        if sums is None:
            continue
        parts: list[tuple[int | None, MetricSummary]] = [(None, sums)]
        if by_segment and len(sums.counts) > 1:
            parts += [(segment, _only(sums, segment)) for segment in range(len(sums.counts))]
        for segment, part in parts:
            for arm in plan.treatments:
                pair = paired_with_control(part, metric, plan, arm)
                share = sum(plan.weights[-1][place] for place in (0, arm))
                rows.append(_reading(pair, metric, plan, plan.arms[arm], segment, pace * share))
    return tuple(rows)


def _only(sums: MetricSummary, segment: int) -> MetricSummary:
    chosen = slice(segment, segment + 1)

    def cut(values: Floats | None) -> Floats | None:
        return None if values is None else values[chosen]

    return replace(
        sums,
        counts=sums.counts[chosen],
        sums=sums.sums[chosen],
        squares=sums.squares[chosen],
        denominators=cut(sums.denominators),
        products=cut(sums.products),
        denominator_squares=cut(sums.denominator_squares),
    )


def _reading(pair: Pair, metric: MetricPlan, plan: Plan, arm: str, segment: int | None, pace: float) -> Reading:
    level = pair.levels[0]
    nothing = Reading(
        metric.name,
        arm,
        segment,
        pair.sizes,
        pair.levels,
        pair.effect,
        (-math.inf, math.inf),
        math.nan,
        pair.effect / abs(level) if level else math.nan,
        (-math.inf, math.inf),
        math.nan,
        math.nan,
        math.nan,
        math.nan,
        math.nan,
        "ratio of sums" if pair.penalty is None and metric.bounds is not None else "Welch, stratified",
    )
    if not pair.error > 0:
        return nothing
    reach = critical(1 - plan.alpha, pair.df, "two-sided")
    least = metric.minimum_effect
    detectable = (
        critical(1 - plan.alpha, math.inf, "two-sided") + critical(plan.power, math.inf, "larger")
    ) * pair.error
    needed = sum(pair.sizes) * (detectable / least) ** 2 if least else math.nan
    still = max(needed - sum(pair.sizes), 0.0) if least else math.nan
    interval = bounds(pair.effect, pair.error, pair.df, confidence=1 - plan.alpha, alternative="two-sided")
    return replace(
        nothing,
        interval=interval,
        p=tail(pair.effect / pair.error, pair.df, "two-sided"),
        lift_interval=_lift_interval(pair, reach),
        effect_size=pair.effect / pair.spread if pair.spread > 0 else math.nan,
        detectable=detectable,
        power=_power(least / pair.error, reach) if least else math.nan,
        units_needed=math.ceil(needed) if math.isfinite(needed) else math.nan,
        days_to_go=still / pace,
    )


def _lift_interval(pair: Pair, reach: float) -> tuple[float, float]:
    """By the delta method."""
    level = pair.levels[0]
    if not level:
        return -math.inf, math.inf
    lift = pair.effect / abs(level)
    error = math.hypot(pair.errors[1], pair.levels[1] / level * pair.errors[0]) / abs(level)
    return lift - reach * error, lift + reach * error


def _power(shift: float, reach: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(shift - reach) + ndtr(-shift - reach))
