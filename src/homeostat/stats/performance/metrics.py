"""How good predictions were, once their labels are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion_matrix(truth: Array, predicted: Array, *, classes: int) -> Counts:
    """Counts by true class (row) and predicted class (column); both arrays hold codes 0 … classes − 1.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    true, guess = _codes(truth, classes, "truth"), _codes(predicted, classes, "predicted")
    _same_length(true, guess)
    return np.bincount(true * classes + guess, minlength=classes * classes).reshape(classes, classes)


def classification_metrics(
    truth: Array, predicted: Array, *, classes: int, positive: int | None = None, scores: Array | None = None
) -> dict[str, float]:
    """Metrics of a classifier by name.

    Always accuracy and f1_macro (over the classes that occur in truth or prediction); with `positive` also tp, fp, tn,
    fn, tpr, fpr, precision, recall and f1 of that class against the rest, and roc_auc where there are scores.
    A metric that the rows can't tell (a rate of no rows, roc_auc of one class) is absent, not zero.

    Args:
        truth: true class codes, 0 … classes − 1.
        predicted: predicted class codes.
        classes: how many classes there are.
        positive: the code of the positive class.
        scores: one score of the positive class a row, or one column a class. Rows without a score (NaN) do not count
            towards roc_auc.

    >>> metrics = classification_metrics(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes=2, positive=1)
    >>> metrics["accuracy"], metrics["fpr"], round(metrics["f1"], 3)
    (0.75, 0.5, 0.8)
    """
    matrix = confusion_matrix(truth, predicted, classes=classes)
    n = int(matrix.sum())
    if not n:
        return {}
    hits = np.diagonal(matrix)
    occurring = matrix.sum(axis=0) + matrix.sum(axis=1)
    present = occurring > 0
    metrics = {
        "accuracy": float(hits.sum()) / n,
        "f1_macro": float(np.mean(2 * hits[present] / occurring[present])),
    }
    if positive is None:
        return metrics
    if not 0 <= positive < classes:
        raise InvalidInput(f"The positive class has code {positive}, but the codes are 0 to {classes - 1}.")
    tp = int(matrix[positive, positive])
    fp = int(matrix[:, positive].sum()) - tp
    fn = int(matrix[positive].sum()) - tp
    tn = n - tp - fp - fn
    metrics |= {"tp": tp, "fp": fp, "tn": tn, "fn": fn}
    if tp + fn:
        metrics["tpr"] = metrics["recall"] = tp / (tp + fn)
    if fp + tn:
        metrics["fpr"] = fp / (fp + tn)
    if tp + fp:
        metrics["precision"] = tp / (tp + fp)
    if tp + fp + fn:
        metrics["f1"] = 2 * tp / (2 * tp + fp + fn)
    if scores is not None:
        auc = roc_auc(np.asarray(truth) == positive, _score_column(scores, positive, classes))
        if not math.isnan(auc):
            metrics["roc_auc"] = auc
    return metrics


def roc_auc(positive: Array, scores: Array) -> float:
    """The chance that a positive row scores above a negative one, ties counting half; NaN for one class only.

    Computed from midranks (Mann and Whitney). Rows whose score is NaN do not count.

    >>> roc_auc(np.array([False, True, False, True]), np.array([0.1, 0.4, 0.35, 0.8]))
    1.0
    """
    truth = np.asarray(positive, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    _same_length(truth, values)
    known = ~np.isnan(values)
    if not known.all():
        truth, values = truth[known], values[known]
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return math.nan
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(ordered)))
    # Tied scores share the mean of the ranks that they take up.
    per_group = np.add.reduceat(truth[order].astype(np.int64), starts)
    rank_sum = float(np.dot(per_group, starts + (sizes + 1) / 2))
    return (rank_sum - positives * (positives + 1) / 2) / positives / negatives


def regression_metrics(truth: Array, predicted: Array) -> dict[str, float]:
    """mae, rmse and r2 of a regressor, in the target's units; r2 is absent where the truth does not vary.

    >>> regression_metrics(np.array([1.0, 3.0]), np.array([2.0, 3.0]))["mae"]
    0.5
    """
    true, guess = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _same_length(true, guess)
    if not len(true):
        return {}
    errors = guess - true
    squared = float(np.dot(errors, errors))
    metrics = {"mae": float(np.abs(errors).mean()), "rmse": math.sqrt(squared / len(true))}
    spread = true - true.mean()
    total = float(np.dot(spread, spread))
    if total > 0:
        metrics["r2"] = 1 - squared / total
    return metrics


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927); (0, 1) where nothing was counted.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    from scipy.special import ndtri

    if not 0 <= successes <= n < np.inf:
        raise InvalidInput(f"There can't be {successes} successes among {n}. Pass counts.")
    if not 0 < confidence < 1:
        raise InvalidInput(f"The confidence must lie strictly between 0 and 1; got {confidence}.")
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    low, high = wilson_limits(successes / n, n, z)
    return float(low), float(high)


def wilson_limits(share: Any, n: Any, z: float) -> tuple[Floats, Floats]:
    """Wilson's score limits at the normal quantile z; arrays or numbers, n above 0."""
    p, rows = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    scale = 1 + z * z / rows
    centre = (p + z * z / (2 * rows)) / scale
    half = z / scale * np.sqrt(np.maximum(p * (1 - p), 0) / rows + z * z / (4 * rows * rows))
    # Rounding must not push the interval of 0 or of 1 off the share itself.
    return np.minimum(p, np.maximum(0, centre - half)), np.maximum(p, np.minimum(1, centre + half))


def _codes(values: Array, classes: int, name: str) -> npt.NDArray[np.intp]:
    codes = np.asarray(values)
    if codes.ndim != 1 or codes.dtype.kind not in "iub":
        raise InvalidInput(f"The {name} must be a 1-d array of integer class codes; got {codes.ndim}-d {codes.dtype}.")
    if len(codes) and not (codes.min() >= 0 and codes.max() < classes):
        raise InvalidInput(f"The {name} holds codes outside 0 to {classes - 1}.")
    return codes.astype(np.intp)


def _score_column(scores: Array, positive: int, classes: int) -> Array:
    values = np.asarray(scores)
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] == classes:
        return np.asarray(values[:, positive])
    raise InvalidInput(f"Scores must be 1-d or have {classes} columns; their shape is {values.shape}.")


def _same_length(one: Array, two: Array) -> None:
    if len(one) != len(two):
        raise InvalidInput(f"Truth and predictions must be of one length; got {len(one)} and {len(two)}.")
