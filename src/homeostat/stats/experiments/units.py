"""What an experiment has seen, unit by unit, and what it was planned to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.result import Floats, as_floats, checked_alpha, checked_count, checked_number

Role = Literal["success", "guardrail", "deterioration", "quality"]
Codes = npt.NDArray[np.intp]

# Planned weights are shares; what is off by more than this was not rounding.
TOLERANCE = 1e-6
BURN_IN = 100


@dataclass(frozen=True)
class MetricPlan:
    """A metric of an experiment and what it is there for.

    Roles, after Schultzberg, Ankargren and Frånberg (2024; arXiv 2402.11609): a `success` metric has to become better
    by more than `margin` (0 if left out), a `guardrail` must not become worse by `margin` or more, a `deterioration`
    metric is only watched for becoming worse by more than `margin`, and a `quality` metric, such as a value from
    before the experiment, must not differ at all: where it does, the experiment is held.

    Args:
        name: of the metric, as in `Units.metrics`.
        role: success, guardrail, deterioration or quality.
        margin: in the metric's own unit, 0 or more; a guardrail's must be above 0.
        lower_is_better: less of it is better, as of a latency or an error rate.
        bounds: the least and largest value that a unit can have. With bounds the verdict is exact at every sample
            size; without, it rests on an asymptotic confidence sequence, which says nothing before its burn-in.
        baseline: what its level is thought to be; it only saves a few of the first units.
        minimum_effect: the smallest difference that matters; where the interval lies within ± this, the metric is flat.
        weight: its part of the budgets among the metrics that share one.
        needs_label: it is computed from labels, so that `Units.labelled_probability` applies to it.

    Raises:
        InvalidInput: a role that there is not, a margin or a minimum effect with the wrong sign, bounds in the wrong
            order.
    """

    name: str
    role: Role = "success"
    margin: float = 0.0
    lower_is_better: bool = False
    bounds: tuple[float, float] | None = None
    baseline: float | None = None
    minimum_effect: float | None = None
    weight: float = 1.0
    needs_label: bool = True

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidInput(f"The metric {self.name!r} needs one of the roles {', '.join(get_args(Role))}.")
        checked_number(self.margin, f"margin of the metric {self.name!r}", low=0)
        if self.role == "guardrail" and not self.margin > 0:
            raise InvalidInput(
                f"The guardrail {self.name!r} needs a margin above 0: that it is not worse at all can't be shown."
            )
        if self.bounds is not None:
            low, high = (checked_number(end, f"bounds of the metric {self.name!r}") for end in self.bounds)
            if not low < high:
                raise InvalidInput(f"The bounds of the metric {self.name!r} must be the least and the largest value.")
            if self.margin >= high - low:
                raise InvalidInput(
                    f"The margin {self.margin:g} of the metric {self.name!r} allows every difference within its "
                    f"bounds {low:g} and {high:g}; give a smaller one."
                )
        if self.baseline is not None:
            low, high = self.bounds or (-math.inf, math.inf)
            checked_number(self.baseline, f"baseline of the metric {self.name!r}", low=low, high=high)
        if self.minimum_effect is not None and not checked_number(
            self.minimum_effect, f"minimum effect of the metric {self.name!r}", low=0
        ):
            raise InvalidInput(f"The minimum effect of the metric {self.name!r} must be above 0.")
        if not checked_number(self.weight, f"weight of the metric {self.name!r}", low=0):
            raise InvalidInput(f"The weight of the metric {self.name!r} must be above 0.")

    @property
    def range(self) -> float:
        """The width of the bounds; 1 without."""
        return 1.0 if self.bounds is None else self.bounds[1] - self.bounds[0]

    @property
    def sign(self) -> float:
        """1 where more is better, −1 where less is."""
        return -1.0 if self.lower_is_better else 1.0


@dataclass(frozen=True)
class Plan:
    """How an experiment is judged.

    Args:
        arms: the control first.
        weights: for each epoch what share of the units each arm is meant to get, in the order of `arms`; a row adds up
            to 1. An arm with weight 0 takes no part in that epoch.
        metrics: one or more, with different names.
        alpha: the false-promotion budget: the chance that an arm ever wins that is not better, or breaks a guardrail.
        rollback_error: the false-rollback budget: the chance that ever an arm loses that is not worse.
        minimum_units: units with a value that an arm and the control need before the arm may win or be flat. A loss
            does not wait for them: its evidence counts at any size.
        maximum_units: units in all arms after which the experiment ends: what is undecided then is inconclusive. The
            futility rule looks ahead to it.
        power: the power that the table for reading reports sizes for.
        futility: end as inconclusive where the chance to still win by `maximum_units` falls below this. It never adds
            to the errors; None for no such rule.
        mismatch_error: the chance to ever be held by chance, over all checks of the data.
        multiple_exposure: the largest share of units seen in several arms.
        tight_at: units an arm at which asymptotic intervals shall be narrowest relative to others.

    Raises:
        InvalidInput: fewer than two arms, a name twice, weights that do not add up to 1, a budget outside of 0 to 1.
    """

    arms: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    metrics: tuple[MetricPlan, ...]
    alpha: float = 0.05
    rollback_error: float = 0.05
    minimum_units: int = 100
    maximum_units: int | None = None
    power: float = 0.8
    futility: float | None = None
    mismatch_error: float = 0.001
    multiple_exposure: float = 0.01
    tight_at: int = 1000

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InvalidInput(f"An experiment needs a control and at least one other arm; got {len(self.arms)}.")
        if len(set(self.arms)) != len(self.arms):
            raise InvalidInput("Each arm needs a name of its own.")
        if not self.metrics:
            raise InvalidInput("An experiment needs at least one metric.")
        if len({metric.name for metric in self.metrics}) != len(self.metrics):
            raise InvalidInput("Each metric may be planned once.")
        if not self.weights:
            raise InvalidInput("The planned weights of the first epoch are missing.")
        for number, row in enumerate(self.weights, start=1):
            _check_weights(row, len(self.arms), number)
        for name in ("alpha", "rollback_error", "power", "mismatch_error"):
            checked_alpha(getattr(self, name))
        checked_number(self.multiple_exposure, "limit of multiple exposure", low=0, high=1)
        checked_count(self.minimum_units, "minimum of units", least=0)
        checked_count(self.tight_at, "number of units to be narrow at")
        if self.maximum_units is not None:
            checked_count(self.maximum_units, "maximum of units")
        if self.futility is not None:
            checked_number(self.futility, "futility limit", low=0, high=1)

    @property
    def treatments(self) -> range:
        """The places of the arms that are compared with the control."""
        return range(1, len(self.arms))

    def metric(self, name: str) -> MetricPlan:
        """The metric of that name. Raises `InvalidInput` where none has it."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise InvalidInput(f"There is no metric {name!r} in the plan.")


@dataclass(frozen=True)
class Units:
    """What an experiment has seen: one entry of each array is a unit, usually an entity.

    Args:
        arms: the names of the arms, the control first.
        arm: each unit's arm, as its place in `arms`.
        epoch: the epoch in which the unit was first seen, from 0; weights hold within an epoch.
        order: when it was first seen, in microseconds or any other number that grows with time.
        metrics: name → each unit's value, its mean where it has several; NaN where it has none or its labels are not
            due yet.
        segment: each unit's segment, from 0, known before it was assigned; None for a single one.
        denominators: name → each unit's denominator, for ratios of sums such as precision; the metric is then Σ value
            ÷ Σ denominator over the units of an arm, and judged asymptotically.
        exposed_twice: how many units were seen in several arms; they are none of the entries.
        labelled_probability: the chance of each unit to get its label, where it depends on what was served; NaN where
            nobody knows. Metrics with `needs_label` then weigh each unit with its inverse.

    Raises:
        InvalidInput: arrays of different lengths, codes without an arm, infinite values, chances outside (0, 1].
    """

    arms: tuple[str, ...]
    arm: npt.NDArray[Any]
    epoch: npt.NDArray[Any]
    order: npt.NDArray[Any]
    metrics: Mapping[str, npt.NDArray[Any]]
    segment: npt.NDArray[Any] | None = None
    denominators: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    exposed_twice: int = 0
    labelled_probability: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InvalidInput(f"An experiment needs a control and at least one other arm; got {len(self.arms)}.")
        n = len(self.arm)
        for name, codes in (("arm", self.arm), ("epoch", self.epoch), ("segment", self.segment)):
            if codes is not None:
                _check_codes(np.asarray(codes), name, n, len(self.arms) if name == "arm" else None)
        if np.shape(self.order) != (n,):
            raise InvalidInput(f"The order must have one entry for each of the {n} units.")
        for name in self.denominators:
            if name not in self.metrics:
                raise InvalidInput(f"There is a denominator for {name!r}, which is no metric.")
        for name, values in (*self.metrics.items(), *self.denominators.items()):
            if np.shape(values) != (n,):
                raise InvalidInput(f"The metric {name!r} must have one entry for each of the {n} units.")
        checked_count(self.exposed_twice, "number of units seen in several arms", least=0)
        if self.labelled_probability is not None:
            chances = as_floats(self.labelled_probability, "chances to be labelled")
            if chances.shape != (n,):
                raise InvalidInput(f"The chances to be labelled must have one entry for each of the {n} units.")
            known = chances[~np.isnan(chances)]
            if known.size and not (known.min() > 0 and known.max() <= 1):
                raise InvalidInput("The chance to be labelled must be above 0 and at most 1, or missing.")

    def __len__(self) -> int:
        return len(self.arm)

    def in_order(self) -> Units:
        """The same units in the order in which they were first seen."""
        order = np.asarray(self.order)
        if len(order) < 2 or bool((order[1:] >= order[:-1]).all()):
            return self
        places = np.argsort(order, kind="stable")
        return self.take(places)

    def take(self, places: npt.NDArray[Any] | slice) -> Units:
        """Some of the units: by places, by truth values or by a slice."""

        def some(values: Any) -> Any:
            return None if values is None else np.asarray(values)[places]

        return Units(
            self.arms,
            some(self.arm),
            some(self.epoch),
            some(self.order),
            {name: some(values) for name, values in self.metrics.items()},
            some(self.segment),
            {name: some(values) for name, values in self.denominators.items()},
            self.exposed_twice,
            some(self.labelled_probability),
        )


def checked_metric(values: npt.NDArray[Any], metric: MetricPlan) -> Floats:
    """A metric's values as floats, NaN where missing; `InvalidInput` where one is infinite or out of its bounds."""
    # What is in that form already is not copied: nobody writes to it.
    is_ready = isinstance(values, np.ndarray) and values.dtype == np.float64
    numbers = values if is_ready else as_floats(values, f"values of the metric {metric.name!r}")
    if not numbers.size:
        return numbers
    with np.errstate(invalid="ignore"):
        low, high = float(np.fmin.reduce(numbers)), float(np.fmax.reduce(numbers))
    if math.isinf(low) or math.isinf(high):
        raise InvalidInput(f"There are infinite values of the metric {metric.name!r}; leave those units out first.")
    if metric.bounds is not None and (low < metric.bounds[0] or high > metric.bounds[1]):
        raise InvalidInput(
            f"Values of the metric {metric.name!r} reach from {low:g} to {high:g}, beyond its bounds "
            f"{metric.bounds[0]:g} and {metric.bounds[1]:g}; clip them or give wider bounds."
        )
    return numbers


def _check_weights(row: Sequence[float], arms: int, number: int) -> None:
    if len(row) != arms:
        raise InvalidInput(f"Epoch {number} has {len(row)} weights for {arms} arms; give each arm one.")
    for weight in row:
        checked_number(weight, f"weights of epoch {number}", low=0, high=1)
    if abs(sum(row) - 1) > TOLERANCE:
        raise InvalidInput(f"The weights of epoch {number} add up to {sum(row):g}; they must add up to 1.")


def _check_codes(codes: npt.NDArray[Any], name: str, n: int, most: int | None) -> None:
    if codes.shape != (n,):
        raise InvalidInput(f"The {name} codes must have one entry for each of the {n} units.")
    if n and codes.dtype.kind not in "iu":
        raise InvalidInput(f"The {name} codes must be whole numbers from 0.")
    if n and codes.min() < 0:
        raise InvalidInput(f"The {name} codes must be whole numbers from 0.")
    if n and most is not None and codes.max() >= most:
        raise InvalidInput(f"There are {most} arms, so that the {name} codes end at {most - 1}.")
