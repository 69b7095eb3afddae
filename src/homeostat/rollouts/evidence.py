"""What two versions that scored the same rows say of each other, once the labels are in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from homeostat.records import Task
from homeostat.stats.sequential import betting_log_evidence, paired_log_evidence

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ERROR_BOUND = 3.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labelled rows that both versions scored, in the order in which their labels came.

    For classification `truth`, `candidate` and `baseline` are class codes; for regression they are values.
    `positive` is the code that a binary model looks for. `error_bound` limits what one row may weigh in regression.
    """

    task: Task
    truth: Integers | Floats
    candidate: Integers | Floats
    baseline: Integers | Floats
    event_time: Integers
    positive: int | None = None
    error_bound: float = 1.0

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.truth)

    def since(self, moment: int) -> Pairs:
        """The pairs whose rows were served from a moment (microseconds of UTC) on."""
        return self.take(self.event_time >= moment)

    def take(self, keep: npt.NDArray[np.bool_]) -> Pairs:
        """The pairs that `keep` marks."""
        return replace(
            self,
            truth=self.truth[keep],
            candidate=self.candidate[keep],
            baseline=self.baseline[keep],
            event_time=self.event_time[keep],
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The evidence of some pairs, as natural logarithms of e-values; valid however often one looks."""

    pairs: int
    wins: int
    losses: int
    log_better: float
    log_worse: float
    candidate: float
    baseline: float

    @property
    def gain(self) -> float:
        """Accuracy of the candidate minus the baseline's; for regression the fall of the mean absolute error."""
        return self.candidate - self.baseline


def compare(pairs: Pairs) -> Comparison:
    """Evidence on discordant pairs for classification, on clipped error differences for regression."""
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


def compare_within(pairs: Pairs, *, positives: bool) -> Comparison | None:
    """The same among the rows of one true class: the evidence on the true- or false-positive rate."""
    if pairs.positive is None or pairs.task is not Task.BINARY:
        return None
    keep = (pairs.truth == pairs.positive) == positives
    if not keep.any():
        return None
    return compare(pairs.take(keep))


def failure_log_evidence(rows: int, failures: int, allowed: float) -> float:
    """Evidence that rows fail more often than allowed; the order of failures is taken as it can do least harm.

    The bets of a fixed fraction multiply to the same wealth in any order, so counts are enough.
    """
    if rows + failures == 0:
        return 0.0
    outcomes = np.concatenate([np.full(failures, 1.0 - allowed), np.full(rows, -allowed)])
    return float(betting_log_evidence(outcomes, 1.0)[-1])
