"""From the log to the units of an experiment: entities, or requests, each with one value a metric once it is ripe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from homeostat.experiments.drafts import METRICS
from homeostat.feedback.joined import NONE, Exposures, Rows
from homeostat.records import Experiment, ExperimentMetric, MetricValues, Strategy, as_datetime64
from homeostat.stats.experiments import Units

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Gateways follow a route within seconds: until then, rows of an epoch may still be dealt by the weights before it.
SETTLING = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The rows of an experiment's units in the order of their times, and when each unit was first seen, and where."""

    unit: Integers
    arm: Integers
    row: Integers
    time: Integers
    first: Integers
    first_arm: Integers
    entity: Integers
    epoch: Integers
    twice: int


def units_and_rows(
    rows: Rows,
    exposures: Exposures,
    experiment: Experiment,
    values: Sequence[MetricValues],
    *,
    positive: str | None,
    now: datetime,
) -> tuple[Units, Integers]:
    """What an experiment has seen until now, and where each unit's first answered row is (`NONE`: there is none).

    First rows are looked for where the plan has segments, because nothing else asks for them.

    A unit belongs to the arm and the epoch that it was first seen in, and is measured on the rows that this arm was to
    answer within the plan's `observation_seconds`. Its values are set once that time, and for metrics that need labels
    `label_seconds` more, are over: whatever comes later changes them no more. One that was seen in two arms in one
    epoch is left out and counted.
    """
    plan = experiment.plan
    seen = _seen(exposures, experiment, is_served=rows.count > 0)
    observation, waiting = _microseconds(plan.observation_seconds), _microseconds(plan.label_seconds)
    end = seen.first + observation
    moment = int(as_datetime64(now).astype(np.int64))
    inside = (seen.arm == seen.first_arm[seen.unit]) & (seen.time <= end[seen.unit])
    if observation == 0:
        # Its first row alone, also where several came at once.
        first_rows = np.zeros(len(inside), dtype=bool)
        first_rows[np.unique(seen.unit, return_index=True)[1]] = True
        inside &= first_rows
    unit, row = seen.unit[inside], seen.row[inside]
    rows = _as_of(rows, row, end[unit] + waiting)
    measured = _Measured(rows, unit, row, len(seen.first), positive, plan.cost_false_positive, plan.cost_false_negative)
    due = end[unit] + waiting
    known = (row != NONE) & (rows.label[row] != NONE) & (rows.label_time[row] <= due)
    metrics: dict[str, Floats] = {}
    denominators: dict[str, Floats] = {}
    for metric in plan.metrics:
        if metric.is_own:
            ripe = end + waiting <= moment
            found, below = _own(metric.name, values, exposures, seen, end + waiting), None
        elif METRICS[metric.name].needs_label:
            ripe = end + waiting <= moment
            found, below = measured.labelled(metric.name, known, seen)
        else:
            ripe = end <= moment
            found, below = measured.service(metric.name), None
        metrics[metric.name] = np.where(ripe, found, np.nan)
        if below is not None:
            denominators[metric.name] = np.where(ripe, below, np.nan)
    units = Units(
        arms=tuple(arm.name for arm in plan.arms),
        arm=seen.first_arm,
        epoch=seen.epoch,
        order=seen.first,
        metrics=metrics,
        denominators=denominators,
        exposed_twice=seen.twice,
        labelled_probability=_chances(experiment, measured) if plan.labelling_depends else None,
    )
    return units, _first_rows(seen) if plan.segments else np.full(len(seen.first), NONE, dtype=np.int64)


def _first_rows(seen: _Seen) -> Integers:
    found = np.full(len(seen.first), NONE, dtype=np.int64)
    answered = np.flatnonzero(seen.row != NONE)
    units, first = np.unique(seen.unit[answered], return_index=True)
    found[units] = seen.row[answered[first]]
    return found


def _as_of(rows: Rows, row: Integers, due: Integers) -> Rows:
    """The rows with the labels that they had when their units became ripe, where later ones took their place."""
    late = (
        [
            (int(place), int(limit))
            for place, limit in zip(row, due, strict=True)
            if place in rows.earlier and rows.label_time[place] > limit
        ]
        if rows.earlier
        else []
    )
    if not late:
        return rows
    label, value, time = rows.label.copy(), rows.value.copy(), rows.label_time.copy()
    for place, limit in late:
        before = [one for one in rows.earlier[place] if one[0] <= limit]
        if before:
            time[place], label[place], value[place] = before[-1]
    return replace(rows, label=label, value=value, label_time=time)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seen(exposures: Exposures, experiment: Experiment, *, is_served: bool) -> _Seen:
    labels = {f"{experiment.id}/{arm.name}": place for place, arm in enumerate(experiment.plan.arms)}
    place_of = np.array([labels.get(name, NONE) for name in exposures.arms], dtype=np.int64)
    began = np.array([as_datetime64(epoch.began_at).astype(np.int64) for epoch in experiment.epochs], dtype=np.int64)
    own = place_of[exposures.arm] != NONE if len(place_of) else np.zeros(0, dtype=bool)
    settling = _microseconds(SETTLING.total_seconds())
    for start in began[1:].tolist():
        own = own & ((exposures.event_time < start) | (exposures.event_time >= start + settling))
    # Where nothing at all was answered there is nothing to compare.
    places = np.flatnonzero(own) if is_served else np.zeros(0, dtype=np.int64)
    places = places[np.argsort(exposures.event_time[places], kind="stable")]
    arm, time = place_of[exposures.arm[places]] if len(places) else places, exposures.event_time[places]
    row = exposures.row[places]
    # Rows of a random experiment are units of their own.
    keys = np.arange(len(places)) if experiment.plan.strategy is Strategy.RANDOM else exposures.entity[places]
    epoch = np.maximum(np.searchsorted(began, time, side="right") - 1, 0)
    entity, first, unit = np.unique(keys, return_index=True, return_inverse=True)
    mixed = _in_two_arms(unit, epoch, arm, len(entity))
    kept = ~mixed
    renumbered = np.cumsum(kept) - 1
    rows_kept = kept[unit] if len(unit) else np.zeros(0, dtype=bool)
    chosen = first[kept]
    return _Seen(
        unit=renumbered[unit[rows_kept]],
        arm=arm[rows_kept],
        row=row[rows_kept],
        time=time[rows_kept],
        first=time[chosen],
        first_arm=arm[chosen],
        entity=entity[kept],
        epoch=epoch[chosen],
        twice=int(mixed.sum()),
    )


def _in_two_arms(unit: Integers, epoch: npt.NDArray[np.intp], arm: Integers, units: int) -> npt.NDArray[np.bool_]:
    """Which units have rows in two arms of one epoch."""
    mixed = np.zeros(units, dtype=bool)
    if len(unit):
        order = np.lexsort((arm, epoch, unit))
        unit, epoch, arm = unit[order], epoch[order], arm[order]
        differs = (unit[1:] == unit[:-1]) & (epoch[1:] == epoch[:-1]) & (arm[1:] != arm[:-1])
        mixed[unit[1:][differs]] = True
    return mixed


@dataclass(frozen=True, slots=True)
class _Measured:
    """Rows that count, with their units, and what they come to a unit."""

    rows: Rows
    unit: Integers
    row: Integers
    count: int
    positive: str | None
    cost_false_positive: float
    cost_false_negative: float

    def mean(self, values: Floats) -> Floats:
        """The mean of each unit's values; NaN where it has none."""
        found = ~np.isnan(values)
        total = np.bincount(self.unit[found], values[found], self.count)
        number = np.bincount(self.unit[found], minlength=self.count)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def sums(self, values: Floats) -> Floats:
        """The sum of each unit's values; NaN where it has none."""
        found = ~np.isnan(values)
        total = np.bincount(self.unit[found], values[found], self.count)
        return np.where(np.bincount(self.unit[found], minlength=self.count) > 0, total, np.nan)

    def service(self, name: str) -> Floats:
        """Errors: the share of rows that an arm could not score. Latency: the mean of those that it could, in ms."""
        failed = self.row == NONE
        if name == "errors":
            return self.mean(failed.astype(np.float64))
        return self.mean(np.where(failed, np.nan, self.rows.latency_ms[self.row]))

    @property
    def code(self) -> int:
        """The code of the positive class; one that no row has where it has not been seen."""
        return self.rows.classes.index(self.positive) if self.positive in self.rows.classes else NONE - 1

    def labelled(self, name: str, known: npt.NDArray[np.bool_], seen: _Seen) -> tuple[Floats, Floats | None]:
        """A metric that needs labels; for a ratio of sums what stands above and below the line."""
        rows, row = self.rows, self.row
        gap = np.where(known, 0.0, np.nan)
        if name == "absolute_error":
            return self.mean(np.abs(rows.score[row] - rows.value[row]) + gap), None
        truth, said = rows.label[row], rows.output[row]
        if name == "accuracy":
            return self.mean((truth == said) + gap), None
        positive, called = (truth == self.code).astype(np.float64), (said == self.code).astype(np.float64)
        if name == "brier":
            return self.mean((rows.score[row] - positive) ** 2 + gap), None
        if name == "cost":
            cost = self.cost_false_positive * called * (1 - positive)
            return self.mean(cost + self.cost_false_negative * (1 - called) * positive + gap), None
        if name == "auc":
            return self._area(positive, known, seen), None
        hit = positive * called
        above, below = {
            "precision": (hit, called),
            "recall": (hit, positive),
            "f1": (2 * hit, positive + called),
            "false_positive_rate": (called - hit, 1 - positive),
        }[name]
        return self.sums(above + gap), self.sums(below + gap)

    def _area(self, positive: Floats, known: npt.NDArray[np.bool_], seen: _Seen) -> Floats:
        """The area under the ROC curve, from pairs of one positive and one negative unit of an arm and an epoch.

        The k-th positive and the k-th negative unit make a pair, whose later one gets 1 where the positive scored
        higher, a half where both scored alike, else 0. Pairs share no unit and are made without a look at scores, so
        their values are independent, lie between 0 and 1, and have the area as their mean (Bamber 1975).
        """
        found = np.full(self.count, np.nan)
        units, first = np.unique(self.unit[known], return_index=True)
        truth, score = positive[known][first] == 1, self.rows.score[self.row[known][first]]
        order = np.argsort(seen.first[units], kind="stable")
        units, truth, score = units[order], truth[order], score[order]
        stratum = seen.epoch[units] * (int(seen.first_arm.max(initial=0)) + 1) + seen.first_arm[units]
        for one in np.unique(stratum):
            ones, zeros = np.flatnonzero((stratum == one) & truth), np.flatnonzero((stratum == one) & ~truth)
            pairs = min(len(ones), len(zeros))
            ones, zeros = ones[:pairs], zeros[:pairs]
            won = (score[ones] > score[zeros]) + 0.5 * (score[ones] == score[zeros])
            found[units[np.maximum(ones, zeros)]] = won
        return found


def _chances(experiment: Experiment, measured: _Measured) -> Floats:
    """The chance of each unit's only row to be labelled, from what was answered."""
    plan, rows = experiment.plan, measured.rows
    answered = measured.row != NONE
    said = rows.output[measured.row[answered]] == measured.code
    found = np.full(measured.count, np.nan)
    found[measured.unit[answered]] = np.where(said, plan.labelled_positive or np.nan, plan.labelled_negative or np.nan)
    return found


def _own(name: str, values: Sequence[MetricValues], exposures: Exposures, seen: _Seen, until: Integers) -> Floats:
    """The latest value of each unit that came before it was ripe."""
    found = np.full(len(seen.first), np.nan)
    unit_of = {exposures.entities[code]: place for place, code in enumerate(seen.entity.tolist())}
    for block in values:
        if block.metric != name:
            continue
        at = int(as_datetime64(block.at).astype(np.int64))
        for entity, value in zip(block.entities, block.values, strict=True):
            place = unit_of.get(entity)
            if place is not None and at <= until[place]:
                found[place] = value
    return found


def tried_so_far(units: Units, metric: ExperimentMetric) -> tuple[list[float], list[float]]:
    """Successes and trials of each arm, for a bandit: values of a bounded metric scaled to 0 … 1, more being better."""
    low, high = metric.bounds or (0.0, 1.0)
    values = (np.asarray(units.metrics[metric.name]) - low) / (high - low)
    if metric.lower_is_better:
        values = 1 - values
    known = ~np.isnan(values)
    arm = np.asarray(units.arm)[known]
    arms = len(units.arms)
    return np.bincount(arm, values[known], arms).tolist(), np.bincount(arm, minlength=arms).tolist()
