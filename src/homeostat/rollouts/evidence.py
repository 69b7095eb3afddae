"""What two versions that scored the same rows say of each other, once the labels are in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from homeostat.records import Task
from homeostat.rollouts import entities
from homeostat.rollouts.entities import first_rows, means, units_of
from homeostat.stats.sequential import TwoBernoulli, betting_log_evidence, paired_log_evidence
from homeostat.stats.sequential.betting import FRACTIONS

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ERROR_BOUND = 3.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labelled rows that both versions scored, in the order in which their labels came.

    For classification `truth`, `candidate` and `baseline` are class codes; for regression they are values.
    `positive` is the code that a binary model looks for. `error_bound` limits what one row may weigh in regression.
    `place` is the position of each row in the joined log, where somebody asks for more of it; `entity` whose row it
    is, as a code, without which each row is an entity of its own.
    """

    task: Task
    truth: Integers | Floats
    candidate: Integers | Floats
    baseline: Integers | Floats
    event_time: Integers
    positive: int | None = None
    error_bound: float = 1.0
    place: Integers | None = None
    entity: Integers | None = None

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.truth)

    def since(self, moment: int) -> Pairs:
        """The pairs whose rows were served from a moment (microseconds of UTC) on."""
        return self.take(self.event_time >= moment)

    def take(self, keep: npt.NDArray[np.bool_] | Integers) -> Pairs:
        """The pairs that `keep` marks, or those at its places."""
        return replace(
            self,
            truth=self.truth[keep],
            candidate=self.candidate[keep],
            baseline=self.baseline[keep],
            event_time=self.event_time[keep],
            place=None if self.place is None else self.place[keep],
            entity=None if self.entity is None else self.entity[keep],
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The evidence of some pairs, as natural logarithms of e-values; valid however often one looks.

    Where several pairs are of one entity, `entities` says how many there are, won and lost are those on whose pairs one
    version was right more often, and `log_beyond` is the evidence that the guardrail's margin is exceeded.
    """

    pairs: int
    wins: int
    losses: int
    log_better: float
    log_worse: float
    candidate: float
    baseline: float
    entities: int | None = None
    log_beyond: float | None = None

    @property
    def gain(self) -> float:
        """Accuracy of the candidate minus the baseline's; for regression the fall of the mean absolute error."""
        return self.candidate - self.baseline


def compare(pairs: Pairs, margin: float = 0.0) -> Comparison:
    """Evidence on discordant pairs for classification, on clipped error differences for regression.

    `margin` is the fall of accuracy that is allowed.
    """
    return _compared(pairs, units_of(pairs.entity), margin)


def _compared(pairs: Pairs, units: Integers | None, margin: float) -> Comparison:
    if units is not None:
        return _by_entity(pairs, units, margin)
    if pairs.task is Task.REGRESSION:
        new, old = np.abs(pairs.candidate - pairs.truth), np.abs(pairs.baseline - pairs.truth)
        better = betting_log_evidence(old - new, pairs.error_bound)
        worse = betting_log_evidence(new - old, pairs.error_bound)
        return Comparison(
            pairs=pairs.count,
            wins=int((new < old).sum()),
            losses=int((new > old).sum()),
            log_better=float(better[-1]) if pairs.count else 0.0,
            log_worse=float(worse[-1]) if pairs.count else 0.0,
            candidate=-float(new.mean()) if pairs.count else 0.0,
            baseline=-float(old.mean()) if pairs.count else 0.0,
        )
    right, held = pairs.candidate == pairs.truth, pairs.baseline == pairs.truth
    wins, losses = int((right & ~held).sum()), int((~right & held).sum())
    return Comparison(
        pairs=pairs.count,
        wins=wins,
        losses=losses,
        log_better=paired_log_evidence(wins, losses),
        log_worse=paired_log_evidence(losses, wins),
        candidate=float(right.mean()) if pairs.count else 0.0,
        baseline=float(held.mean()) if pairs.count else 0.0,
    )


def _by_entity(pairs: Pairs, units: Integers, margin: float) -> Comparison:
    if pairs.task is Task.REGRESSION:
        new, old = -np.abs(pairs.candidate - pairs.truth), -np.abs(pairs.baseline - pairs.truth)
        gained = means(np.clip((new - old) / pairs.error_bound, -1, 1), units)
        better, worse, beyond = entities.log_evidence(gained), entities.log_evidence(-gained), None
    else:
        new, old = (part == pairs.truth for part in (pairs.candidate, pairs.baseline))
        gained = means(new.astype(np.float64) - old, units)
        better, worse = entities.paired_log_evidence(gained), entities.paired_log_evidence(-gained)
        beyond = entities.log_evidence((-gained - margin) / (1 + margin))
    return Comparison(
        pairs=pairs.count,
        wins=int((gained > 0).sum()),
        losses=int((gained < 0).sum()),
        log_better=better,
        log_worse=worse,
        candidate=float(new.mean()),
        baseline=float(old.mean()),
        entities=len(gained),
        log_beyond=beyond,
    )


def compare_within(pairs: Pairs, *, positives: bool, margin: float = 0.0) -> Comparison | None:
    """The same among the rows of one true class: the evidence on the true- or false-positive rate.

    `margin` is the share of the baseline's rate by which it may be worse.
    """
    if pairs.positive is None or pairs.task is not Task.BINARY:
        return None
    keep = (pairs.truth == pairs.positive) == positives
    if not keep.any():
        return None
    kept = pairs.take(keep)
    units = units_of(kept.entity)
    found = _compared(kept, units, 0.0)
    if units is None:
        return found
    new, old = ((part == kept.truth) == positives for part in (kept.candidate, kept.baseline))
    # Of positives these are hits, of negatives false alarms.
    beyond = (1 - margin) * old - new if positives else (new - (1 + margin) * old) / (1 + margin)
    return replace(found, log_beyond=entities.log_evidence(means(beyond, units)))


@overload
def failure_log_evidence(rows: int, failures: int, allowed: float) -> float: ...
@overload
def failure_log_evidence(rows: Integers, failures: Integers, allowed: float) -> Floats: ...
def failure_log_evidence(rows: Any, failures: Any, allowed: float) -> float | Floats:
    """Evidence that rows fail more often than allowed, from counts: the order of failures does not matter to it.

    >>> round(failure_log_evidence(90, 10, 0.01), 1)
    2.9
    """
    found: float | Floats = counted_log_evidence((1.0 - allowed, -allowed), (failures, rows))
    return found


def known_or_counted(known: float | None, rows: int, failures: int, allowed: float) -> float:
    """The evidence by entity where it is known (see `share_log_evidence`), else that of counts of rows."""
    return failure_log_evidence(rows, failures, allowed) if known is None else known


@overload
def counted_log_evidence(values: tuple[float, ...], counts: tuple[int, ...]) -> float: ...
@overload
def counted_log_evidence(values: tuple[float, ...], counts: tuple[Integers, ...]) -> Floats: ...
def counted_log_evidence(values: tuple[float, ...], counts: tuple[Any, ...]) -> float | Floats:
    """The log evidence of `betting_log_evidence` from how often each value came, in [-1, 1]; also of arrays of counts.

    The bets of a fixed fraction multiply to the same wealth in any order.

    >>> counted_log_evidence((1.0, -1.0), (0, 0))
    0.0
    """
    stakes = np.array(FRACTIONS)
    logs = sum(np.multiply.outer(np.log1p(stakes * value), count) for value, count in zip(values, counts, strict=True))
    found = np.logaddexp.reduce(logs, axis=0) - np.log(len(stakes))
    return np.asarray(found) if np.ndim(found) else float(found)


def fall_log_evidence(comparison: Comparison, margin: float) -> float:
    """Evidence that accuracy fell by more than a margin; exactly at the margin it is no evidence."""
    same = comparison.pairs - comparison.wins - comparison.losses
    scale = 1 + margin
    return counted_log_evidence(
        ((1 - margin) / scale, -1.0, -margin / scale), (comparison.losses, comparison.wins, same)
    )


def rate_log_evidence(comparison: Comparison, margin: float, *, false: bool) -> float:
    """Evidence, among the rows of one true class, that a rate is worse by more than a share of the baseline's.

    The false-positive rate rises beyond `1 + margin` times the baseline's, or the true-positive rate falls below
    `1 - margin` times it.
    """
    pairs, wins, losses = comparison.pairs, comparison.wins, comparison.losses
    right = round(comparison.candidate * pairs)
    if false:
        scale, both = 1 + margin, pairs - right - losses
        return counted_log_evidence((1 / scale, -1.0, -margin / scale), (losses, wins, both))
    both = right - wins
    return counted_log_evidence((1 - margin, -1.0, -margin), (losses, wins, both))


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of the candidate, what it is held against, and the log evidence that it is worse than allowed.

    `what` says it in words where the figures alone do not: the feature or the groups that it is of.
    """

    rows: int
    value: float
    reference: float
    log_worse: float
    what: str = ""


def precision_of(pairs: Pairs, margin: float) -> Measured | None:
    """Evidence that the candidate's precision is lower than the baseline's by more than a margin.

    Which rows count depends on what a version called positive. So that the two samples are independent, the candidate
    is judged on every second entity and the baseline on the others, each by its first row that was called positive.
    """
    if pairs.positive is None or pairs.task is not Task.BINARY:
        return None
    units = units_of(pairs.entity)
    turn = np.arange(pairs.count) % 2 == 0 if units is None else _ordinals(units) % 2 == 0
    called = [turn & (pairs.candidate == pairs.positive), ~turn & (pairs.baseline == pairs.positive)]
    if units is not None:
        called = [np.flatnonzero(one)[first_rows(units[one])] for one in called]
    new, old = (pairs.truth[one] == pairs.positive for one in called)
    if not len(new) or not len(old):
        return None
    state = TwoBernoulli(margin=-margin, alternative="less").update(old.astype(float), new.astype(float))
    return Measured(len(new) + len(old), float(new.mean()), float(old.mean()), float(state.result().log_e))


def _ordinals(units: Integers) -> Integers:
    """The number of each row's unit, in the order in which they came."""
    _, first, codes = np.unique(units, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[codes.reshape(-1)], dtype=np.int64)


def share_log_evidence(happened: npt.NDArray[np.bool_], units: Integers | None, allowed: float) -> float | None:
    """Evidence that rows fail, or are slow, more often than allowed, by unit; `None` where counts of rows say it."""
    return None if units is None else entities.log_evidence(means(happened.astype(np.float64) - allowed, units))


def confidence_of(
    scores: Floats, reference: Floats, margin: float, *, binary: bool, units: Integers | None = None
) -> Measured | None:
    """Evidence that the mean confidence is below that on the candidate's own reference by more than a margin."""
    if not len(scores) or not len(reference):
        return None
    sure, before = (np.maximum(part, 1 - part) if binary else part for part in (scores, reference))
    expected = float(before.mean())
    below = (expected - margin - sure).astype(np.float64)
    path = betting_log_evidence(means(below, units), 1.0)
    return Measured(len(sure), float(sure.mean()), expected, float(path[-1]))


def drift_of(scores: Floats, reference: Floats, margin: float, *, units: Integers | None = None) -> Measured | None:
    """Evidence that the scores' mean place among the candidate's own reference scores is off the middle by a margin."""
    if not len(scores) or not len(reference):
        return None
    ordered = np.sort(reference)
    low, high = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    place = (low + high) / (2 * len(ordered))
    off = means(place - 0.5, units)
    up, down = (float(betting_log_evidence(sign * off - margin, 1.0)[-1]) for sign in (1, -1))
    return Measured(len(scores), float(place.mean()), 0.5, float(np.logaddexp(up, down)) - float(np.log(2)))
