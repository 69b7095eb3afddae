"""Metrics that are to be expected of unlabelled rows, given the chance of each class, and how each chance moves them.

With pᵢ the chance that row i is of class 1, a metric of the labels is estimated by putting pᵢ in the place of the
label. Its derivative by pᵢ gives both errors: the labels will vary by √(pᵢ(1 − pᵢ)) around pᵢ, and the map from scores
to chances was learned from finitely many rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from homeostat.stats.performance.inputs import Codes, Floats


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected metric and its derivative by the chance of each row (row) and class (column)."""

    estimate: float
    gradient: Floats


def expected_binary(
    chances: Floats, predicted: Floats, scores: Floats, weights: Floats | None = None
) -> dict[str, Expected]:
    """Accuracy, precision, recall, specificity, f1, roc_auc, and the counts tp, fp, fn, tn; NaN where undefined.

    With labels in the place of chances these are the realised metrics.

    >>> found = expected_binary(np.array([0.9, 0.8, 0.3]), np.array([1.0, 1, 0]), np.array([0.9, 0.8, 0.3]))
    >>> round(found["accuracy"].estimate, 3), round(found["tp"].estimate, 3)
    (0.8, 1.7)
    """
    mass = np.ones(len(chances)) if weights is None else weights
    n, flagged = float(mass.sum()), float(np.dot(mass, predicted))
    positives = float(np.dot(mass, chances))
    negatives = n - positives
    tp = float(np.dot(mass * predicted, chances))
    fp, fn = flagged - tp, positives - tp
    tn = negatives - fp
    passed = 1 - predicted
    recall, specificity = _share(tp, positives), _share(tn, negatives)
    f1 = _share(2 * tp, flagged + positives)
    found = {
        "accuracy": ((tp + tn) / n, (2 * predicted - 1) / n),
        "precision": (_share(tp, flagged), predicted / max(flagged, 1e-300)),
        "recall": (recall, (predicted - recall) / (positives or math.nan)),
        "specificity": (specificity, (specificity - passed) / (negatives or math.nan)),
        "f1": (f1, (2 * predicted - f1) / ((flagged + positives) or math.nan)),
        "tp": (tp, predicted),
        "fp": (fp, -predicted),
        "fn": (fn, passed),
        "tn": (tn, -passed),
    }
    metrics = {name: Expected(value, (mass * slope)[:, None]) for name, (value, slope) in found.items()}
    auc, slope = _area(chances, scores, mass)
    return metrics | {"roc_auc": Expected(auc, slope[:, None])}


def expected_multiclass(
    chances: Floats, predicted: Codes, scores: Floats, weights: Floats | None = None
) -> dict[str, Expected]:
    """Accuracy, f1_macro and roc_auc_macro (one class against the rest), from one column of chances a class."""
    rows, classes = chances.shape
    mass = np.ones(rows) if weights is None else weights
    n, heavy = float(mass.sum()), mass[:, None]
    chosen = np.zeros((rows, classes))
    chosen[np.arange(rows), predicted] = 1.0
    accuracy = Expected(float((heavy * chosen * chances).sum()) / n, heavy * chosen / n)
    sizes = (heavy * (chosen + chances)).sum(axis=0)
    present = sizes > 0
    f1 = 2 * (heavy * chosen * chances).sum(axis=0)[present] / sizes[present]
    slope = np.zeros((rows, classes))
    slope[:, present] = heavy * (2 * chosen[:, present] - f1) / sizes[present] / present.sum()
    areas = [_area(chances[:, at], scores[:, at], mass) for at in range(classes)]
    known = [at for at in range(classes) if not math.isnan(areas[at][0])]
    slopes = np.zeros((rows, classes))
    for at in known:
        slopes[:, at] = areas[at][1] / len(known)
    area = float(np.mean([areas[at][0] for at in known])) if known else math.nan
    return {
        "accuracy": accuracy,
        "f1_macro": Expected(float(f1.mean()), slope),
        "roc_auc_macro": Expected(area, slopes),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _area(chances: Floats, scores: Floats, mass: Floats) -> tuple[float, Floats]:
    """The expected share of ordered pairs of a positive and a negative row, no row paired with itself."""
    groups = np.unique(scores, return_inverse=True)[1]
    own = mass**2 * chances * (1 - chances)
    positives = np.bincount(groups, weights=mass * chances)
    negatives = np.bincount(groups, weights=mass * (1 - chances))
    below = (np.cumsum(negatives) - negatives / 2)[groups] - mass * (1 - chances) / 2
    above = (positives.sum() - np.cumsum(positives) + positives / 2)[groups] - mass * chances / 2
    p, q = float(positives.sum()), float(negatives.sum())
    pairs = p * q - float(own.sum())
    if pairs <= 1e-12 * len(scores):
        return math.nan, np.full(len(scores), math.nan)
    area = float(np.dot(mass * chances, below)) / pairs
    return area, mass * (below - above - area * (q - p - mass * (1 - 2 * chances))) / pairs
