"""What an experiment has seen as sums that can be added up: by metric, segment, epoch and arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.experiments.cells import counted, summed
from homeostat.stats.experiments.units import Codes, MetricPlan, Plan, Units, checked_metric
from homeostat.stats.sequential.result import Floats

# A unit's value is guessed as the mean of the block before its own; blocks grow with what came before.
FIRST_BLOCK = 16
GROWTH = 0.25


def _edges() -> npt.NDArray[np.int64]:
    edges = [0]
    while edges[-1] < 10**12:
        edges.append(edges[-1] + max(FIRST_BLOCK, int(edges[-1] * GROWTH)))
    return np.array(edges, dtype=np.int64)


EDGES = _edges()


@dataclass(frozen=True)
class MetricSummary:
    """Sums of one metric: arrays of (segment, epoch, arm), and what each segment's next guess is made of.

    `counts`, `sums` and `squares` are of the values, scaled to 0 to 1 where they have bounds; `centred` and
    `centred_squares` of values less their guess (bounded metrics only), by (epoch, arm). Ratios have `denominators`,
    `products` and `denominator_squares` too, means without bounds their `cubes` and `fourths`. `low` and `high` are
    the least and largest value. `running` has a row a segment: units so far, guess, units and sum of the current block.
    `unknown` counts the values that were left out since nobody knows how likely they were to be labelled.
    """

    counts: Floats
    sums: Floats
    squares: Floats
    centred: Floats
    centred_squares: Floats
    denominators: Floats | None
    products: Floats | None
    denominator_squares: Floats | None
    low: float
    high: float
    largest_denominator: float
    running: Floats
    unknown: int = 0
    is_weighted: bool = False
    cubes: Floats | None = None
    fourths: Floats | None = None

    def __add__(self, other: MetricSummary) -> MetricSummary:
        if (self.denominators is None) != (other.denominators is None):
            if not self.counts.sum():
                return other
            if not other.counts.sum():
                return self
            raise InvalidInput("A ratio and a mean can't be added up; summarise both parts with the same plan.")
        segments = max(len(self.running), len(other.running))
        mine, theirs = _padded(self.running, (segments, 4)), _padded(other.running, (segments, 4))

        def both(first: Floats | None, second: Floats | None) -> Floats | None:
            return None if first is None or second is None else added(first, second)

        return MetricSummary(
            added(self.counts, other.counts),
            added(self.sums, other.sums),
            added(self.squares, other.squares),
            added(self.centred, other.centred),
            added(self.centred_squares, other.centred_squares),
            both(self.denominators, other.denominators),
            both(self.products, other.products),
            both(self.denominator_squares, other.denominator_squares),
            min(self.low, other.low),
            max(self.high, other.high),
            max(self.largest_denominator, other.largest_denominator),
            # Either part's guess was made before what comes next; the one from more units is nearer.
            np.where(theirs[:, :1] > mine[:, :1], theirs, mine),
            self.unknown + other.unknown,
            self.is_weighted or other.is_weighted,
            both(self.cubes, other.cubes),
            both(self.fourths, other.fourths),
        )


@dataclass(frozen=True)
class Summary:
    """All that a verdict needs, whatever the number of units: `a + b` summarises the units of both.

    `exposed` counts units by (epoch, arm), with or without values. Where parts follow each other in time,
    `Summary.of(part, plan, after=earlier)` gives the very numbers of all units at once; `+` gives a summary that is
    as valid, with other guesses for the first units of the second part.

    >>> plan = Plan(("old", "new"), ((0.5, 0.5),), (MetricPlan("right", bounds=(0, 1)),))
    >>> units = Units(plan.arms, np.array([0, 1, 1, 0]), np.zeros(4, int), np.arange(4), {"right": np.ones(4)})
    >>> both = Summary.of(units, plan) + Summary.of(units, plan)
    >>> both.exposed.tolist(), both.metrics["right"].sums.tolist()
    ([[4.0, 4.0]], [[[4.0, 4.0]]])
    """

    arms: tuple[str, ...]
    exposed: Floats
    metrics: dict[str, MetricSummary]
    exposed_twice: int = 0

    @classmethod
    def of(cls, units: Units, plan: Plan, *, after: Summary | None = None) -> Summary:
        """The summary of units, or of those that follow the ones that `after` summarises.

        Raises:
            InvalidInput: the arms are not the plan's, an epoch has no planned weights, values lie out of their bounds.
        """
        if tuple(units.arms) != tuple(plan.arms):
            raise InvalidInput(f"The units' arms {list(units.arms)} are not the plan's {list(plan.arms)}.")
        epochs, arms = len(plan.weights), len(plan.arms)
        if len(units) and int(units.epoch.max()) >= epochs:
            raise InvalidInput(f"The plan has weights for {epochs} epochs; units have been seen in a later one.")
        units = units.in_order()
        arm, epoch = (np.asarray(each).astype(np.intp, copy=False) for each in (units.arm, units.epoch))
        cells = epoch * arms + arm if epochs > 1 else arm
        exposed = counted(cells, epochs * arms).reshape(epochs, arms)
        segment = None if units.segment is None else np.asarray(units.segment).astype(np.intp)
        metrics = {}
        for metric in plan.metrics:
            before = None if after is None else after.metrics.get(metric.name)
            metrics[metric.name] = _folded(units, metric, cells, segment, (epochs, arms), before)
        own = cls(plan.arms, exposed, metrics, units.exposed_twice)
        return own if after is None else after + own

    def __add__(self, other: Summary) -> Summary:
        if not isinstance(other, Summary):
            return NotImplemented
        if self.arms != other.arms:
            raise InvalidInput("Summaries of different arms can't be added up.")
        names = list(dict.fromkeys([*self.metrics, *other.metrics]))
        metrics = {}
        for name in names:
            parts = [summary.metrics[name] for summary in (self, other) if name in summary.metrics]
            metrics[name] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return Summary(self.arms, added(self.exposed, other.exposed), metrics, self.exposed_twice + other.exposed_twice)


def added(first: Floats, second: Floats) -> Floats:
    """The sum of arrays of which one may have more segments or epochs."""
    if first.shape == second.shape:
        return np.asarray(first + second)
    shape = tuple(max(sizes) for sizes in zip(first.shape, second.shape, strict=True))
    return np.asarray(_padded(first, shape) + _padded(second, shape))


def _padded(values: Floats, shape: Sequence[int]) -> Floats:
    if values.shape == tuple(shape):
        return values
    whole = np.zeros(shape)
    whole[tuple(slice(size) for size in values.shape)] = values
    return whole


def _folded(
    units: Units,
    metric: MetricPlan,
    cells: Codes,
    segment: Codes | None,
    shape: tuple[int, int],
    before: MetricSummary | None,
) -> MetricSummary:
    """The sums of one metric."""
    under = units.denominators.get(metric.name)
    chances = units.labelled_probability if metric.needs_label else None
    values = units.metrics.get(metric.name)
    x = np.full(len(units), np.nan) if values is None else checked_metric(values, metric)
    unknown = 0
    present = ~np.isnan(x)
    below: Floats | None = None
    if under is not None:
        below = checked_metric(under, MetricPlan(metric.name))
        present &= ~np.isnan(below)
        if below.size and np.fmin.reduce(below) < 0:
            raise InvalidInput(f"The denominators of the metric {metric.name!r} must be 0 or more.")
    if chances is not None:
        known = ~np.isnan(chances)
        unknown = int(np.count_nonzero(present & ~known))
        present &= known
        below = np.ones(len(x)) if below is None else below
        x, below = x / chances, below / chances
    if not present.all():
        x, cells = x[present], cells[present]
        segment = None if segment is None else segment[present]
        below = None if below is None else below[present]
    ranked = segment is not None and metric.bounds is not None and below is None
    if segment is not None and ranked:
        places = np.argsort(segment.astype(np.int16) if segment.max(initial=0) < 2**15 else segment, kind="stable")
        x, cells, segment = x[places], cells[places], segment[places]
    epochs, arms = shape
    segments = 1 if segment is None else int(segment.max(initial=-1)) + 1
    segments = max(segments, 1, 0 if before is None else len(before.running))
    codes = cells if segment is None else segment * (epochs * arms) + cells
    if below is not None:
        return _ratio(x, below, codes, (segments, epochs, arms), unknown, is_weighted=chances is not None)
    if metric.bounds is None:
        return _unbounded(x, codes, (segments, epochs, arms))
    low, width = metric.bounds[0], metric.range
    if (low, width) != (0.0, 1.0):
        x = (x - low) / width
    prior = 0.5 if metric.baseline is None else (metric.baseline - low) / width
    return _bounded(x, cells, segment, (segments, epochs, arms), prior, before)


def _block_sums(x: Floats, codes: Codes, number: int, sizes: Codes, *, binary: bool) -> tuple[Floats, Floats, Floats]:
    """Counts, sums and sums of squares by block and cell; of zeros and ones the last two are the same."""
    n, s1, *more = summed(codes, number, lambda here: [x[here]] if binary else [x[here], x[here] * x[here]], sizes)
    return n, s1, more[0] if more else s1


def _bounded(
    x: Floats,
    cells: Codes,
    segment: Codes | None,
    shape: tuple[int, int, int],
    prior: float,
    before: MetricSummary | None,
) -> MetricSummary:
    segments, epochs, arms = shape
    per = epochs * arms
    lengths = np.array([len(x)]) if segment is None else np.bincount(segment, minlength=segments)
    running = np.zeros((segments, 4))
    running[:, 1] = prior
    if before is not None:
        running[: len(before.running)] = before.running
    counts, sums, squares = (np.zeros((segments, per)) for _ in range(3))
    centred, centred_squares = np.zeros(per), np.zeros(per)
    binary = bool(((x == 0) | (x == 1)).all())
    start = 0
    for number, length in enumerate(lengths.tolist()):
        if not length:
            continue
        part, codes = x[start : start + length], cells[start : start + length]
        start += length
        first = int(running[number, 0])
        block = int(np.searchsorted(EDGES, first, side="right")) - 1
        last = int(np.searchsorted(EDGES, first + length - 1, side="right")) - 1
        ends = np.minimum(EDGES[block + 1 : last + 2], first + length) - first
        sizes = np.diff(ends, prepend=0)
        n, s1, s2 = _block_sums(part, codes, per, sizes, binary=binary)
        in_block, total = n.sum(axis=1), s1.sum(axis=1)
        if block == int(np.searchsorted(EDGES, max(first - 1, 0), side="right")) - 1 and first:
            in_block[0] += running[number, 2]
            total[0] += running[number, 3]
            guess = running[number, 1]
        else:
            guess = running[number, 3] / running[number, 2] if running[number, 2] else running[number, 1]
        guesses = np.concatenate(([guess], total[:-1] / in_block[:-1]))
        m = guesses[:, None]
        centred += (s1 - m * n).sum(axis=0)
        centred_squares += (s2 - 2 * m * s1 + m * m * n).sum(axis=0)
        counts[number], sums[number], squares[number] = n.sum(axis=0), s1.sum(axis=0), s2.sum(axis=0)
        running[number] = (first + length, guesses[-1], in_block[-1], total[-1])
    if before is not None and not len(x):
        running[: len(before.running)] = before.running
    return MetricSummary(
        counts.reshape(shape),
        sums.reshape(shape),
        squares.reshape(shape),
        centred.reshape(epochs, arms),
        centred_squares.reshape(epochs, arms),
        None,
        None,
        None,
        math.inf,
        -math.inf,
        0.0,
        running,
    )


def _unbounded(x: Floats, codes: Codes, shape: tuple[int, int, int]) -> MetricSummary:
    def powers(here: slice) -> list[Floats]:
        part = x[here]
        squares = part * part
        return [part, squares, squares * part, squares * squares]

    n, s1, s2, s3, s4 = summed(codes, math.prod(shape), powers).reshape(5, *shape)
    nothing = np.zeros(shape[1:])
    return MetricSummary(
        n,
        s1,
        s2,
        nothing,
        nothing,
        None,
        None,
        None,
        float(x.min(initial=math.inf)),
        float(x.max(initial=-math.inf)),
        0.0,
        np.zeros((shape[0], 4)),
        cubes=s3,
        fourths=s4,
    )


def _ratio(
    x: Floats, below: Floats, codes: Codes, shape: tuple[int, int, int], unknown: int, *, is_weighted: bool
) -> MetricSummary:
    def products_of(here: slice) -> list[Floats]:
        above, under = x[here], below[here]
        return [above, above * above, under, under * under, above * under]

    n, s1, s2, d1, d2, products = summed(codes, math.prod(shape), products_of).reshape(6, *shape)
    nothing = np.zeros(shape[1:])
    return MetricSummary(
        n,
        s1,
        s2,
        nothing,
        nothing,
        d1,
        products,
        d2,
        float(x.min(initial=math.inf)),
        float(x.max(initial=-math.inf)),
        float(below.max(initial=0.0)),
        np.zeros((shape[0], 4)),
        unknown,
        is_weighted,
    )
