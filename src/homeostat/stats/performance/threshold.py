"""The score from which a binary model should say yes, given what each kind of error costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
HALF = 0.5
FOLDS = 5
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """A threshold with its expected cost a row, beside that of .5, each with a 95 % interval.

    `cost` is measured on rows that did not choose: each fifth of them by the threshold that the others choose. So it
    does not flatter, and may lie above `default_cost`; then `threshold` is .5.
    """

    threshold: float
    cost: float
    cost_low: float
    cost_high: float
    default_cost: float
    default_low: float
    default_high: float
    rows: int
    positives: int
    reason: str


def cheapest_threshold(
    positive: npt.NDArray[np.bool_], scores: Floats, *, false_positive: float, false_negative: float
) -> float:
    """The threshold of least total cost, where a row with a score of at least it is called positive.

    It lies halfway between two neighbouring scores. Of several that cost the same the one nearest to .5 is taken, and
    of two as near the lower. Elkan (2001), The foundations of cost-sensitive learning, gives the threshold for
    calibrated scores as fp / (fp + fn); this one needs no calibration.

    >>> cheapest_threshold(np.array([False, True, True]), np.array([0.1, 0.3, 0.9]), false_positive=1, false_negative=5)
    0.2
    """
    values, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights=positive, minlength=len(values))
    no = np.bincount(place, weights=~positive, minlength=len(values))
    # Called negative are the values before each cut: none, the lowest, …, all.
    missed = np.concatenate([[0.0], np.cumsum(yes)])
    alarmed = no.sum() - np.concatenate([[0.0], np.cumsum(no)])
    costs = missed * false_negative + alarmed * false_positive
    cuts = np.concatenate(
        [[min(0.0, values[0])], (values[:-1] + values[1:]) / 2, [np.nextafter(max(1.0, values[-1]), 2)]]
    )
    # Neighbours that are the last digit apart have no number between them that would part them.
    cuts[1:-1] = np.where(cuts[1:-1] > values[:-1], cuts[1:-1], values[1:])
    least = costs.min()
    best = np.flatnonzero(costs <= least + 1e-12 * max(1.0, least))
    # The interval of equal cost between two scores may hold .5 itself.
    for cut in best:
        low = values[cut - 1] if cut else -np.inf
        high = values[cut] if cut < len(values) else np.inf
        if low < HALF <= high:
            return HALF
    return float(cuts[best[np.abs(cuts[best] - HALF).argmin()]])


def choose_threshold(
    positive: npt.NDArray[np.bool_], scores: Floats, *, false_positive: float, false_negative: float
) -> ThresholdChoice:
    """The threshold for rows like these, and what it is expected to cost.

    `positive` says which rows are, and `scores` are the model's on rows that it was not fitted on. The intervals are
    normal ones of a mean. Without a positive or without a negative row nothing can be weighed, and .5 stays.

    Raises `ValueError` where a cost is not positive and finite, or there are no rows, or a score is no finite number.
    """
    if not (0 < false_positive < np.inf and 0 < false_negative < np.inf):
        raise ValueError("the costs of errors are positive numbers")
    if not len(scores) or len(scores) != len(positive) or not np.isfinite(scores).all():
        raise ValueError("there is one finite score for each row, and one row at least")
    rows, count = len(scores), int(positive.sum())

    def cost_of(thresholds: Floats) -> Floats:
        called = scores >= thresholds
        return np.asarray((called & ~positive) * false_positive + (~called & positive) * false_negative)

    default = _interval(cost_of(np.full(rows, HALF)))
    if count in (0, rows):
        return ThresholdChoice(
            HALF, *default, *default, rows, count, "no row is positive" if not count else "no row is negative"
        )
    fold = np.arange(rows) % FOLDS
    thresholds = np.full(rows, HALF)
    for number in range(FOLDS):
        others = fold != number
        if others.any() and 0 < positive[others].sum() < others.sum():
            thresholds[~others] = cheapest_threshold(
                positive[others], scores[others], false_positive=false_positive, false_negative=false_negative
            )
    chosen = _interval(cost_of(thresholds))
    if chosen[0] >= default[0]:
        return ThresholdChoice(
            HALF, *default, *default, rows, count, "no other threshold costs less on rows that did not choose it"
        )
    threshold = cheapest_threshold(positive, scores, false_positive=false_positive, false_negative=false_negative)
    return ThresholdChoice(threshold, *chosen, *default, rows, count, "least cost on the evaluation rows")


def _interval(costs: Floats) -> tuple[float, float, float]:
    mean = float(costs.mean())
    half = Z95 * float(costs.std()) / np.sqrt(len(costs))
    return mean, max(mean - half, 0.0), mean + half
