"""The metrics of a model as an experiment takes them: a value, and for ratios a denominator, for every unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.performance.influence import area
from homeostat.stats.sequential.result import Floats, as_floats


@dataclass(frozen=True)
class ModelMetrics:
    """For `Units`: `metrics` and the `denominators` of those that are ratios of sums."""

    metrics: dict[str, Floats]
    denominators: dict[str, Floats]


def model_metrics(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    units: npt.ArrayLike | None = None,
    arm: npt.ArrayLike | None = None,
    epoch: npt.ArrayLike | None = None,
    scores: npt.ArrayLike | None = None,
    positive: float = 1.0,
    costs: Mapping[tuple[float, float], float] | None = None,
) -> ModelMetrics:
    """Accuracy, precision, recall, F1, and where there is what they need AUC and cost, for every unit.

    Accuracy and cost are means over a unit's rows: accuracy lies within 0 to 1 and is judged exactly. Precision, recall
    and F1 are ratios of sums over units (Σ true positives ÷ Σ predicted positives, and so on), judged by their
    linearisation. AUC is linearised by arm and epoch: each unit's value is the arm's AUC plus the unit's influence on
    it (DeLong, DeLong and Clarke-Pearson 1988), so that their mean is the AUC and their spread its error; compute it
    anew from all units at each look.

    Args:
        truth: the label of each row as a number; NaN where it is not known or not due yet.
        predicted: the predicted class of each row, as such a number.
        units: each row's unit from 0, where units have several rows; by default each row is a unit.
        arm: each unit's arm, for AUC.
        epoch: each unit's epoch, for AUC; a single one if left out.
        scores: each row's score of the positive class, for AUC; only where each row is a unit.
        positive: the class that precision, recall, F1 and AUC are about.
        costs: (truth, prediction) → what it costs; pairs that are left out cost nothing.

    Raises:
        InvalidInput: different lengths, or scores where units have several rows or without their arms.

    >>> found = model_metrics([1, 0, 1, np.nan], [1, 1, 0, 1])
    >>> found.metrics["accuracy"].tolist(), found.denominators["precision"].tolist()
    ([1.0, 0.0, 0.0, nan], [1.0, 1.0, 0.0, nan])
    """
    actual, said = as_floats(truth, "labels"), as_floats(predicted, "predictions")
    if actual.shape != said.shape or actual.ndim != 1:
        raise InvalidInput("There must be one label and one prediction for each row.")
    known = ~np.isnan(actual) & ~np.isnan(said)
    gap = np.where(known, 0.0, np.nan)
    is_positive, is_called = (actual == positive).astype(np.float64), (said == positive).astype(np.float64)
    hit = is_positive * is_called
    parts = {
        "precision": (hit, is_called),
        "recall": (hit, is_positive),
        "f1": (2 * hit, is_positive + is_called),
    }
    owner = None if units is None else np.asarray(units)
    if owner is not None and (owner.shape != actual.shape or owner.dtype.kind not in "iu"):
        raise InvalidInput("Each row's unit must be given as a whole number from 0.")
    metrics = {"accuracy": _by_unit((actual == said) + gap, owner, mean=True)}
    if costs is not None:
        price = np.zeros(len(actual))
        for (label, prediction), cost in costs.items():
            price[(actual == label) & (said == prediction)] = cost
        metrics["cost"] = _by_unit(price + gap, owner, mean=True)
    denominators = {}
    for name, (above, below) in parts.items():
        metrics[name] = _by_unit(above + gap, owner, mean=False)
        denominators[name] = _by_unit(below + gap, owner, mean=False)
    if scores is not None:
        if owner is not None or arm is None:
            raise InvalidInput("AUC needs the arm of each row, and rows that are units of their own.")
        metrics["auc"] = _areas(is_positive + gap, as_floats(scores, "scores"), np.asarray(arm), epoch)
    return ModelMetrics(metrics, denominators)


def _by_unit(values: Floats, owner: npt.NDArray[np.integer] | None, *, mean: bool) -> Floats:
    """Means or sums over the rows of each unit that have a value."""
    if owner is None:
        return values
    known = ~np.isnan(values)
    size = int(owner.max(initial=-1)) + 1
    counts = np.bincount(owner[known], minlength=size).astype(np.float64)
    sums = np.bincount(owner[known], weights=values[known], minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, sums / counts if mean else sums, np.nan)


def _areas(truth: Floats, scores: Floats, arm: npt.NDArray[np.integer], epoch: npt.ArrayLike | None) -> Floats:
    groups = arm if epoch is None else np.asarray(epoch) * (int(arm.max(initial=0)) + 1) + arm
    if scores.shape != truth.shape or groups.shape != truth.shape:
        raise InvalidInput("There must be one score, one arm and one epoch for each row.")
    values = np.full(len(truth), np.nan)
    for group in np.unique(groups):
        places = np.flatnonzero((groups == group) & ~np.isnan(truth) & ~np.isnan(scores))
        found = area(truth[places], scores[places], np.ones(len(places)))
        values[places] = found.estimate + len(places) * found.influence
    return values
