"""Metrics as functions of weighted rows: the estimate, and how much each row moves it.

An estimate differs from its true value by about the sum of the rows' influences, so that its variance is the sum of
their squares; for rows that come in clusters, of the squared sums of each cluster. One formula a metric thus serves
independent rows, weights and clusters alike (Hampel 1974; the sandwich of Huber 1967 and Liang and Zeger 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from homeostat.stats.performance.inputs import Codes, Floats


@dataclass(frozen=True, slots=True)
class Functional:
    """An estimate, the influence of each row on it, and `n`, the rows in its denominator; NaN where undefined."""

    estimate: float
    influence: Floats
    n: int


def ratio(numerator: Floats, denominator: Floats, weights: Floats) -> Functional:
    """Σ w a / Σ w b: every share, mean loss and F1 is one.

    >>> ratio(np.array([1.0, 0, 1, 1]), np.ones(4), np.ones(4)).estimate
    0.75
    """
    total = float(np.dot(weights, denominator))
    n = int(np.count_nonzero(denominator * weights))
    if total <= 0:
        return Functional(math.nan, np.zeros(len(weights)), n)
    estimate = float(np.dot(weights, numerator)) / total
    return Functional(estimate, weights * (numerator - estimate * denominator) / total, n)


def average(parts: list[Functional]) -> Functional:
    """The mean of several metrics of the same rows, as macro averages are."""
    estimate = float(np.mean([part.estimate for part in parts]))
    influence = np.mean([part.influence for part in parts], axis=0)
    return Functional(estimate, np.asarray(influence), max(part.n for part in parts))


def root(mean: Functional) -> Functional:
    """The square root of a metric, as RMSE is of the mean squared error."""
    value = math.sqrt(mean.estimate)
    return Functional(value, mean.influence / (2 * value) if value else mean.influence, mean.n)


def explained(truth: Floats, predicted: Floats, weights: Floats) -> Functional:
    """R²; undefined where the truth does not vary."""
    centred = truth - np.dot(weights, truth) / weights.sum()
    total = float(np.dot(weights, centred**2))
    if total <= 1e-24 * max(1.0, float(np.dot(weights, truth**2))):
        return Functional(math.nan, np.zeros(len(truth)), len(truth))
    unexplained = ratio((truth - predicted) ** 2, centred**2, weights)
    return Functional(1 - unexplained.estimate, -unexplained.influence, len(truth))


def area(truth: Floats, scores: Floats, weights: Floats) -> Functional:
    """ROC-AUC with the placements of DeLong, DeLong and Clarke-Pearson (1988), from one sort (Sun and Xu 2014).

    >>> area(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4)).estimate
    1.0
    """
    positive, negative = weights * truth, weights * (1 - truth)
    p, q = float(positive.sum()), float(negative.sum())
    n = int(np.count_nonzero(weights))
    if p <= 0 or q <= 0:
        return Functional(math.nan, np.zeros(len(truth)), n)
    below, tied_negative = _mass_below(scores, negative)
    beneath, tied_positive = _mass_below(scores, positive)
    # A positive's placement: the share of negatives below it; a negative's: the share of positives above it.
    of_positive = (below + tied_negative / 2) / q
    of_negative = 1 - (beneath + tied_positive / 2) / p
    estimate = float(np.dot(positive, of_positive)) / p
    influence = positive * (of_positive - estimate) / p + negative * (of_negative - estimate) / q
    return Functional(estimate, influence, n)


def average_precision(truth: Floats, scores: Floats, weights: Floats) -> Functional:
    """The area under the precision-recall curve by steps, as scikit-learn defines average precision.

    It is the mean precision at the score of a positive row. The influence of a row has two parts: its own precision
    where it is positive, and what it does to the precision at every score at or below its own.
    """
    groups = np.unique(scores, return_inverse=True)[1]
    positive = np.bincount(groups, weights=weights * truth)
    everyone = np.bincount(groups, weights=weights)
    total = float(positive.sum())
    n = int(np.count_nonzero(weights))
    if total <= 0:
        return Functional(math.nan, np.zeros(len(truth)), n)
    caught = np.cumsum(positive[::-1])[::-1]
    flagged = np.cumsum(everyone[::-1])[::-1]
    safe = np.where(flagged > 0, flagged, 1.0)
    precision = caught / safe
    estimate = float(np.dot(positive, precision)) / total
    gain, loss = np.cumsum(positive / safe), np.cumsum(positive * precision / safe)
    influence = weights * (truth * (precision[groups] - estimate) + truth * gain[groups] - loss[groups]) / total
    return Functional(estimate, influence, n)


def variance(functional: Functional, clusters: Codes | None, strata: Floats | None = None) -> float:
    """The variance of an estimate: the rows' squared influences, summed by cluster where there are clusters.

    `strata` (0 or 1) corrects each class for its own size, as DeLong's variance of the area does.
    """
    influence = functional.influence
    if clusters is not None:
        sums = np.bincount(clusters, weights=influence)
        groups = len(sums)
        return float(np.dot(sums, sums)) * groups / (groups - 1) if groups > 1 else math.nan
    n = len(influence)
    if strata is not None:
        ones = int(strata.sum())
        if ones < 2 or n - ones < 2:
            return math.nan
        squares = influence**2
        within = float(np.dot(squares, strata))
        return within * ones / (ones - 1) + (float(squares.sum()) - within) * (n - ones) / (n - ones - 1)
    return float(np.dot(influence, influence)) * n / (n - 1) if n > 1 else math.nan


def _mass_below(scores: Floats, mass: Floats) -> tuple[Floats, Floats]:
    """For each row the mass at lower scores, and the mass at its own."""
    groups = np.unique(scores, return_inverse=True)[1]
    per_group = np.bincount(groups, weights=mass).astype(np.float64)
    return (np.cumsum(per_group) - per_group)[groups], per_group[groups]
