"""An experiment's arms against its control, metric by metric, with everything that a reader must know beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.clusters import FEW, Linearised, linearise, satterthwaite
from homeostat.stats.inference.cuped import adjust
from homeostat.stats.inference.differences import Difference
from homeostat.stats.inference.means import minimum_effect, relative_interval
from homeostat.stats.inference.results import INDEPENDENT, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, column, labels, number, same_length, sample, share
from homeostat.stats.inference.tables import SplitResult, sample_ratio_mismatch
from homeostat.stats.inference.tails import bounds, critical, tail
from homeostat.stats.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    hochberg,
    holm,
)

ADJUSTMENTS: Mapping[str, Callable[[npt.NDArray[Any]], Floats]] = {
    "holm": holm,
    "hochberg": hochberg,
    "bonferroni": bonferroni,
    "benjamini-hochberg": benjamini_hochberg,
    "benjamini-yekutieli": benjamini_yekutieli,
    "none": lambda p: np.asarray(p, dtype=np.float64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison(Difference):
    """One metric of one arm against the control's; `verdict` is better, worse, inconclusive, insufficient or no_data.

    `adjusted_p` allows for all comparisons of the experiment, `interval` and `p` do not. `lift` is the relative
    difference with Fieller's interval. `minimum_effect` is the smallest difference that this sample would have shown
    with the power asked for, without adjustment. `levels` are the metric in control and arm, `entities` what they were
    counted from, `missing` the rows without a value in each. `theta` and `variance_reduction` are CUPED's, NaN without.
    """

    metric: str
    arm: str
    levels: tuple[float, float]
    adjusted_p: float
    lift: float
    lift_interval: tuple[float, float]
    minimum_effect: float
    missing: tuple[int, int]
    theta: float
    variance_reduction: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """All comparisons of an experiment.

    `verdict` is "error" where the split is not the planned one, so that no difference can be trusted; else "harmed"
    where any metric of any arm is worse, "better" where one is better and none worse, else inconclusive,
    insufficient or no_data. `mixed` counts the entities that were seen in several arms; they are left out.
    `segments` holds the same of each segment alone; its p-values allow for the comparisons of that segment only.
    """

    control: str
    arms: tuple[str, ...]
    split: SplitResult
    comparisons: tuple[ArmComparison, ...]
    adjustment: str
    alpha: float
    mixed: int
    verdict: str
    sentence: str
    segments: Mapping[str, ExperimentResult] = field(default_factory=dict)

    def comparison(self, metric: str, arm: str) -> ArmComparison:
        """The comparison of this metric and arm.

        Raises:
            InvalidInput: there is none.
        """
        for each in self.comparisons:
            if (each.metric, each.arm) == (metric, arm):
                return each
        raise InvalidInput(f"There is no comparison of the metric {metric!r} in the arm {arm!r}.")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that one metric has a value for, in one arm."""

    values: Floats
    under: Floats | None
    covariate: Floats | None
    codes: npt.NDArray[np.intp] | None
    missing: int


def analyze_experiment(
    arms: npt.ArrayLike,
    metrics: Mapping[str, npt.ArrayLike],
    *,
    control: object,
    planned: Mapping[Any, float] | None = None,
    entities: npt.ArrayLike | None = None,
    denominators: Mapping[str, npt.ArrayLike] | None = None,
    covariates: Mapping[str, npt.ArrayLike] | None = None,
    lower_is_better: Collection[str] = (),
    adjustment: str = "holm",
    alpha: float = 0.05,
    power: float = 0.8,
) -> ExperimentResult:
    """How do the arms of an experiment differ from its control in each metric? One look, at a size set before.

    Args:
        arms: each row's arm.
        metrics: name → a number a row; missing values (NaN) are left out and counted.
        control: the arm that the others are compared with.
        planned: arm → weight of the planned split; equal weights if left out. Compared with the entities that came.
        entities: whose row it is, where entities bring several and were what was randomised. Errors then count
            entities (linearised, cluster-robust). An entity of several arms is left out and counted.
        denominators: metric → a number a row, for ratios of sums such as clicks ÷ views.
        covariates: metric → a number a row known before the experiment began; CUPED takes off what it explains.
            Missing ones are replaced by the mean over all arms.
        lower_is_better: metrics of which less is better, such as a latency or an error rate.
        adjustment: of the p-values over all metrics and arms: holm, hochberg, bonferroni, benjamini-hochberg,
            benjamini-yekutieli or none.
        alpha: a difference is called at an adjusted p below it; intervals have confidence 1 − alpha.
        power: of the minimum detectable effect.

    One row an entity gives Welch's t-test for each metric. What is looked at again and again belongs in
    `homeostat.stats.sequential` instead.

    Raises:
        InvalidInput: no control, fewer than 2 arms, no metrics, different lengths, infinite values, unknown names.

    >>> rng = np.random.default_rng(0)
    >>> arms = np.repeat(["old", "new"], 500)
    >>> result = analyze_experiment(arms, {"spent": rng.normal(10, 2, 1000) + (arms == "new")}, control="old")
    >>> result.verdict, round(result.comparisons[0].lift, 2)
    ('better', 0.09)
    """
    share(alpha, "Alpha")
    if adjustment not in ADJUSTMENTS:
        raise InvalidInput(f"There is no adjustment {adjustment!r}; use {', '.join(ADJUSTMENTS)}.")
    if not isinstance(metrics, Mapping):
        raise InvalidInput(f"Metrics must be a mapping from names to values; got {type(metrics).__name__}.")
    if not metrics:
        raise InvalidInput("There is no metric to compare; pass at least one.")
    under, before = dict(denominators or {}), dict(covariates or {})
    strange = (set(under) | set(before) | set(lower_is_better)) - set(metrics)
    if strange:
        raise InvalidInput(
            f"There is no metric {', '.join(sorted(map(repr, strange)))}; the metrics are named "
            f"{', '.join(map(repr, metrics))}."
        )
    distinct, arm_codes = labels(arms, "The arms")
    places, weights = _places(distinct.tolist(), control, planned)
    owner, counts, kept, mixed = _units(arm_codes, entities, len(distinct))
    seen = [counts[distinct.tolist().index(name)] if name in distinct.tolist() else 0 for name in places]
    split = sample_ratio_mismatch(seen, weights, names=[str(name) for name in places])
    inside = {
        name: kept & (arm_codes == distinct.tolist().index(name))
        if name in distinct.tolist()
        else np.zeros(len(arm_codes), dtype=bool)
        for name in places
    }
    comparisons: list[ArmComparison] = []
    for metric, values in metrics.items():
        table = _table(metric, values, under.get(metric), before.get(metric), len(arm_codes))
        rows = {name: _rows(table, chosen, owner) for name, chosen in inside.items()}
        comparisons += [
            _compared(metric, str(name), rows[control], rows[name], alpha, power, clustered=entities is not None)
            for name in places
            if name != control
        ]
    judged = _adjusted(comparisons, adjustment, alpha, set(lower_is_better))
    verdict = _overall(split, judged)
    return ExperimentResult(
        control=str(control),
        arms=tuple(str(name) for name in places),
        split=split,
        comparisons=judged,
        adjustment=adjustment,
        alpha=alpha,
        mixed=mixed,
        verdict=verdict,
        sentence=_summary(verdict, split, judged, mixed),
    )


def _places(
    distinct: list[Any], control: object, planned: Mapping[Any, float] | None
) -> tuple[list[Any], npt.NDArray[np.float64] | None]:
    if planned is not None and (unplanned := [name for name in distinct if name not in planned]):
        raise InvalidInput(f"The arms {unplanned} have no planned share; give every arm one.")
    names = distinct + [name for name in planned or {} if name not in distinct]
    if control not in names:
        raise InvalidInput(f"The control {control!r} is none of the arms {names}.")
    if len(names) < 2:
        raise InvalidInput(f"All rows are of the arm {control!r}; an experiment has at least 2.")
    return names, None if planned is None else np.array([number(planned[name], "A planned share") for name in names])


def _units(
    arm_codes: npt.NDArray[np.intp], entities: npt.ArrayLike | None, arms: int
) -> tuple[npt.NDArray[np.intp] | None, npt.NDArray[np.intp], npt.NDArray[np.bool_], int]:
    """Each row's entity, the units in each arm, the rows to keep, and how many entities were in several arms."""
    everything = np.ones(len(arm_codes), dtype=bool)
    if entities is None:
        return None, np.bincount(arm_codes, minlength=arms), everything, 0
    names, owner = labels(entities, "The entities")
    same_length(arms=arm_codes, entities=owner)
    lowest = np.full(len(names), arms)
    highest = np.full(len(names), -1)
    np.minimum.at(lowest, owner, arm_codes)
    np.maximum.at(highest, owner, arm_codes)
    pure = lowest == highest
    counts = np.bincount(lowest[pure], minlength=arms)
    return owner, counts, pure[owner], int(np.count_nonzero(~pure))


def _table(
    metric: str, values: npt.ArrayLike, under: npt.ArrayLike | None, before: npt.ArrayLike | None, n: int
) -> tuple[Floats, Floats | None, Floats | None, npt.NDArray[np.bool_]]:
    name = f"The metric {metric!r}"
    numbers = column(values, name)
    present = ~np.isnan(numbers)
    below = None if under is None else column(under, f"{name}'s denominators")
    prior = None if before is None else column(before, f"{name}'s covariate")
    for given in (numbers, below, prior):
        if given is not None:
            same_length(arms=np.empty(n), **{metric: given})
            sample(given[~np.isnan(given)], name, least=0)
    if below is not None:
        present &= ~np.isnan(below)
    if prior is not None:
        known = ~np.isnan(prior)
        prior = np.where(known, prior, prior[known].mean() if known.any() else 0.0)
    return numbers, below, prior, present


def _rows(
    table: tuple[Floats, Floats | None, Floats | None, npt.NDArray[np.bool_]],
    inside: npt.NDArray[np.bool_],
    owner: npt.NDArray[np.intp] | None,
) -> _Rows:
    values, under, covariate, present = table
    chosen = inside & present
    return _Rows(
        values[chosen],
        None if under is None else under[chosen],
        None if covariate is None else covariate[chosen],
        None if owner is None else np.unique(owner[chosen], return_inverse=True)[1],
        int(np.count_nonzero(inside & ~present)),
    )


def _outcome(rows: _Rows) -> Linearised | None:
    k = len(rows.values) if rows.codes is None else int(rows.codes.max(initial=-1)) + 1
    if k < 2 or (rows.under is not None and not rows.under.sum() > 0):
        return None
    return linearise(rows.values, rows.codes, k, denominators=rows.under)


def _before(rows: _Rows) -> Linearised:
    """The covariate's mean over entities: a mean over rows could be moved by the experiment itself."""
    covariate = rows.covariate
    if covariate is None:
        return Linearised(0.0, np.zeros(0), 0)
    if rows.codes is not None:
        covariate = np.bincount(rows.codes, weights=covariate) / np.bincount(rows.codes)
    return linearise(covariate, None, len(covariate))


def _compared(
    metric: str, arm: str, base: _Rows, other: _Rows, alpha: float, power: float, *, clustered: bool
) -> ArmComparison:
    sizes = (len(base.values), len(other.values))
    one, two = _outcome(base), _outcome(other)
    nothing = ArmComparison(
        estimate=math.nan,
        interval=(math.nan, math.nan),
        statistic=math.nan,
        p=math.nan,
        n=sum(sizes),
        sentence=f"{metric}, {arm}: with {sizes[0]} and {sizes[1]} rows that have a value nothing can be said.",
        sizes=sizes,
        method="none",
        confidence=1 - alpha,
        metric=metric,
        arm=arm,
        levels=(one.estimate if one else math.nan, two.estimate if two else math.nan),
        adjusted_p=math.nan,
        lift=math.nan,
        lift_interval=(math.nan, math.nan),
        minimum_effect=math.nan,
        entities=(len(one.parts) if one else 0, len(two.parts) if two else 0),
        missing=(base.missing, other.missing),
        theta=math.nan,
        variance_reduction=math.nan,
        verdict="insufficient" if min(sizes) else "no_data",
    )
    if one is None or two is None:
        return nothing
    with_cuped = base.covariate is not None
    if with_cuped:
        found = adjust((one, two), (_before(base), _before(other)))
        estimate, error, df, theta, gain = found.estimate, found.error, found.df, found.theta, found.reduction
        with_base = found.with_first
    else:
        estimate, theta, gain = two.estimate - one.estimate, math.nan, math.nan
        error, with_base = math.sqrt(one.variance + two.variance), -one.variance
        df = satterthwaite((one.variance, len(one.parts)), (two.variance, len(two.parts)))
    if not error > 0:
        told = f"{metric}, {arm}: {one.estimate:.4g} became {two.estimate:.4g}, but nothing varies to judge chance by."
        return replace(nothing, estimate=estimate, sentence=told, verdict="insufficient")
    interval = bounds(estimate, error, df, confidence=1 - alpha, alternative="two-sided")
    relative, relative_bounds = math.nan, (-math.inf, math.inf)
    if one.estimate:
        relative = estimate / one.estimate
        # The arm is the control plus the difference, whose errors go together.
        level, covariance = one.estimate + estimate, one.variance + with_base
        reach = critical(1 - alpha, df, "two-sided")
        _, relative_bounds = relative_interval(
            one.estimate, one.variance, level, error**2 + with_base + covariance, covariance, reach
        )
    p = tail(estimate / error, df, "two-sided")
    methods = ["ratio of sums" if base.under is not None else "difference of means"]
    methods += ["cluster-robust"] if clustered else ["Welch"]
    methods += ["CUPED"] if with_cuped else []
    return replace(
        nothing,
        estimate=estimate,
        interval=interval,
        statistic=estimate / error,
        p=p,
        method=", ".join(methods),
        error=error,
        df=df,
        lift=relative,
        lift_interval=relative_bounds,
        minimum_effect=minimum_effect(error, df, alpha=alpha, power=power),
        theta=theta,
        variance_reduction=gain,
        verdict="inconclusive",
    )


def _adjusted(
    comparisons: list[ArmComparison], adjustment: str, alpha: float, lower: set[str]
) -> tuple[ArmComparison, ...]:
    tested = [place for place, each in enumerate(comparisons) if not math.isnan(each.p)]
    adjusted = ADJUSTMENTS[adjustment](np.array([comparisons[place].p for place in tested]))
    judged = list(comparisons)
    for place, p in zip(tested, adjusted.tolist(), strict=True):
        each = comparisons[place]
        verdict = "inconclusive"
        if p < alpha:
            verdict = "worse" if (each.estimate > 0) == (each.metric in lower) else "better"
        judged[place] = replace(
            each, adjusted_p=p, verdict=verdict, sentence=_sentence(each, p, verdict, len(tested), adjustment)
        )
    return tuple(judged)


def _sentence(each: ArmComparison, p: float, verdict: str, tests: int, adjustment: str) -> str:
    words = {"better": "better", "worse": "worse", "inconclusive": "not shown to differ"}[verdict]
    clustered = "cluster-robust" in each.method
    units = (
        f"{each.entities[0]} and {each.entities[1]} entities"
        if clustered
        else f"{each.sizes[0]} and {each.sizes[1]} rows"
    )
    lift = f", {each.lift:+.2%}" if math.isfinite(each.lift) else ""
    allowed = f", {shown_p(p)} allowing for {tests} comparisons ({adjustment})" if tests > 1 else ""
    told = (
        f"{each.metric}, {each.arm}: {words}. {each.levels[0]:.4g} in the control, {each.levels[1]:.4g} in the arm; "
        f"a difference of {each.estimate:+.4g}{lift} ({shown_interval(each.interval, each.confidence)}, "
        f"{shown_p(each.p)}{allowed}), from {units}."
    )
    parts = [told]
    if verdict == "inconclusive":
        parts.append(f"A difference of {each.minimum_effect:.3g} would mostly have been found.")
    if not clustered:
        parts.append(INDEPENDENT)
    elif min(each.entities) < FEW:
        parts.append(f"With fewer than {FEW} entities in an arm the p-value is rough.")
    if any(each.missing):
        parts.append(f"{each.missing[0]} and {each.missing[1]} rows have no value.")
    return " ".join(parts)


def _overall(split: SplitResult, comparisons: tuple[ArmComparison, ...]) -> str:
    verdicts = {each.verdict for each in comparisons}
    if split.mismatch:
        return "error"
    for sought, verdict in (("worse", "harmed"), ("better", "better")):
        if sought in verdicts:
            return verdict
    return next(name for name in ("inconclusive", "insufficient", "no_data") if name in verdicts)


def _summary(verdict: str, split: SplitResult, comparisons: tuple[ArmComparison, ...], mixed: int) -> str:
    def named(sought: str) -> str:
        return ", ".join(f"{each.metric} in {each.arm}" for each in comparisons if each.verdict == sought)

    told = {
        "error": split.sentence,
        "harmed": f"Worse: {named('worse')}." + (f" Better: {named('better')}." if named("better") else ""),
        "better": f"Better: {named('better')}, and nothing is shown to be worse.",
        "inconclusive": "No metric of any arm is shown to differ from the control.",
        "insufficient": "There are too few values to compare anything.",
        "no_data": "There is nothing to compare: no values came in.",
    }[verdict]
    return told + (f" {mixed} entities were seen in several arms and are left out." if mixed else "")
