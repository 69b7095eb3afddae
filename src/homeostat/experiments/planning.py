"""How many units an experiment needs. Pure: what is known before it begins in, sizes out."""

from __future__ import annotations

import math

from homeostat.records import ExperimentPlan, PlannedUnits, PlanQuestion
from homeostat.stats.experiments.planning import UnitsNeeded, experiment_size


def planned(question: PlanQuestion) -> ExperimentPlan:
    """The sizes for one look, and for a verdict at any moment. Raises `InvalidInput`; see `experiment_size`.

    >>> planned(PlanQuestion(baseline=0.9, effect=0.02, alpha=0.025)).fixed.units
    6426
    """
    weights = question.weights
    arms = len(weights) if weights is not None and question.arms == PlanQuestion().arms else question.arms
    found = experiment_size(
        baseline=question.baseline,
        mean=question.mean,
        standard_deviation=question.standard_deviation,
        effect=question.effect,
        relative=question.relative,
        margin=question.margin,
        lower_is_better=question.lower_is_better,
        alpha=question.alpha,
        power=question.power,
        arms=arms,
        weights=weights,
        units_a_day=question.units_a_day,
    )
    return ExperimentPlan(
        goal=found.goal,
        effect=found.effect,
        margin=found.margin or None,
        alpha=found.alpha,
        alpha_each_arm=found.alpha_each,
        power=found.power,
        weights=list(found.weights),
        method=found.method,
        fixed=_units(found.fixed),
        expected=_units(found.expected),
        longest=_units(found.longest),
        sentence=found.sentence,
    )


def _units(size: UnitsNeeded) -> PlannedUnits:
    return PlannedUnits(
        units=size.total, by_arm=list(size.by_arm), days=size.days if math.isfinite(size.days) else None
    )
