"""From scores to the chance of each class, with what the finite reference leaves open.

An isotonic fit is level in blocks of reference rows, each at its own share of class 1. The error of anything that is
computed from the fit thus comes back to the residuals of the reference rows, block by block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from homeostat.stats.performance.calibration import Calibrator, fit_calibrator
from homeostat.stats.performance.inputs import Codes, Floats


@dataclass(frozen=True, slots=True)
class FittedChances:
    """One isotonic calibrator a class (one only for binary), with the weighted reference rows it was fitted on.

    `labels` and `blocks` have a column a calibrator; `None` in the place of a calibrator is a class without rows.
    """

    calibrators: tuple[Calibrator | None, ...]
    labels: Floats
    blocks: Codes
    weights: Floats

    @property
    def effective_rows(self) -> float:
        """How many unweighted reference rows the weighted ones are worth (Kish 1965)."""
        return float(self.weights.sum() ** 2 / np.dot(self.weights, self.weights))

    def chances(self, scores: Floats) -> Floats:
        """The chance of each class, which sum to 1 over several classes; one column only for binary."""
        raw = self._raw(scores)
        return raw if raw.shape[1] == 1 else _normalised(raw)

    def label_variance(self, scores: Floats, gradient: Floats) -> float:
        """The variance that the labels of the rows leave in a metric of this gradient by the chances.

        A chance of 0 or 1 is moved off it by what half a reference row would have changed.
        """
        least = 0.5 / (self.effective_rows + 1)
        chances = np.clip(self.chances(scores), least, 1 - least)
        if chances.shape[1] == 1:
            return float((chances * (1 - chances) * gradient**2).sum())
        share = chances / chances.sum(axis=1, keepdims=True)
        return float((share * gradient**2).sum() - ((share * gradient).sum(axis=1) ** 2).sum())

    def reference_variance(self, scores: Floats, gradient: Floats) -> float:
        """The variance that fitting on finitely many rows leaves in a metric of this gradient by the chances."""
        raw = self._raw(scores)
        if raw.shape[1] > 1:
            total = raw.sum(axis=1, keepdims=True)
            safe = np.where(total > 0, total, 1.0)
            gradient = (gradient - (gradient * raw / safe).sum(axis=1, keepdims=True)) / safe
        influence = np.zeros(len(self.weights))
        unseen = 0.0
        for at, calibrator in enumerate(self.calibrators):
            if calibrator is None:
                continue
            starts, ends, levels = _levels(calibrator)
            pull = _pull(starts, ends, scores[:, at], gradient[:, at])
            block = self.blocks[:, at]
            mass = np.bincount(block, weights=self.weights, minlength=len(levels))
            residual = self.labels[:, at] - levels[block]
            influence += self.weights * residual * (pull / np.where(mass > 0, mass, 1.0))[block]
            squares = np.bincount(block, weights=self.weights**2, minlength=len(levels))
            rows = np.divide(mass**2, squares, out=np.ones(len(levels)), where=squares > 0)
            # A block of one class only shows no residuals; half a row of the other class stands in.
            share = 0.5 / (rows + 1)
            pure = (levels == 0) | (levels == 1)
            unseen += float((pull**2 * share * (1 - share) / rows)[pure].sum())
        return float(np.dot(influence, influence)) + unseen

    def _raw(self, scores: Floats) -> Floats:
        return np.column_stack(
            [
                np.zeros(len(scores)) if calibrator is None else calibrator.apply(scores[:, at])
                for at, calibrator in enumerate(self.calibrators)
            ]
        )


def fit_chances(scores: Floats, labels: Floats, weights: Floats | None = None) -> FittedChances:
    """Isotonic calibrators of each column of scores on the column of 0/1 labels.

    >>> fitted = fit_chances(np.array([[0.1], [0.4], [0.6], [0.9]]), np.array([[0.0], [1], [0], [1]]))
    >>> fitted.chances(np.array([[0.5], [0.9]])).ravel().tolist()
    [0.5, 1.0]
    """
    calibrators: list[Calibrator | None] = []
    blocks = np.zeros(labels.shape, dtype=np.intp)
    given = np.ones(len(labels)) if weights is None else weights
    for at in range(labels.shape[1]):
        seen = labels[given > 0, at]
        if seen.min() == seen.max():
            calibrators.append(None if seen[0] == 0 else _always(len(seen)))
        else:
            calibrators.append(fit_calibrator(scores[:, at], labels[:, at], weights=weights))
        calibrator = calibrators[-1]
        if calibrator is not None:
            starts, _, _ = _levels(calibrator)
            blocks[:, at] = np.maximum(np.searchsorted(starts, scores[:, at], side="right") - 1, 0)
    return FittedChances(tuple(calibrators), labels, blocks, given)


def _always(n: int) -> Calibrator:
    return Calibrator("isotonic", np.zeros(1), np.ones(1), 1.0, 0.0, n)


def _normalised(raw: Floats) -> Floats:
    total = raw.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(raw, total, out=np.full_like(raw, 1 / raw.shape[1]), where=total > 0))


def _levels(calibrator: Calibrator) -> tuple[Floats, Floats, Floats]:
    """Where each level block begins and ends, and its value."""
    edge = np.concatenate(([True], calibrator.values[1:] != calibrator.values[:-1]))
    first = np.flatnonzero(edge)
    last = np.append(first[1:], len(edge)) - 1
    return calibrator.scores[first], calibrator.scores[last], calibrator.values[first]


def _pull(starts: Floats, ends: Floats, scores: Floats, gradient: Floats) -> Floats:
    """How much each block's level moves the metric: rows between two blocks belong to both, by their distance."""
    left = np.maximum(np.searchsorted(starts, scores, side="right") - 1, 0)
    right = np.minimum(left + 1, len(starts) - 1)
    width = starts[right] - ends[left]
    way = np.clip(np.divide(scores - ends[left], width, out=np.zeros(len(scores)), where=width > 0), 0.0, 1.0)
    size = len(starts)
    return np.asarray(np.bincount(left, gradient * (1 - way), size) + np.bincount(right, gradient * way, size))
