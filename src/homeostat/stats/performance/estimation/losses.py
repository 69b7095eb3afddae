"""Direct loss estimation: how large the error of each prediction probably is.

A regressor learns the absolute and the squared error of the reference rows from features and prediction; its mean over
a window estimates the window's error, also where the mix of easy and hard rows has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.stats.performance.estimation.reference import ReferenceCheck, check, stretches
from homeostat.stats.performance.inputs import Floats

LARGEST_MISS = 0.1
FEWEST_LEAF_ROWS = 20


@dataclass(frozen=True, slots=True)
class LossModel:
    """A fitted loss: the model, the mean of its residuals out of fold, and how residuals grow with the loss.

    Given a predicted loss g, the residual has variance `spread` · g² (gamma-like), from `n` rows.
    """

    model: Any
    offset: float
    spread: float
    error: float

    def mean(self, columns: Floats) -> tuple[float, float, float]:
        """The expected mean loss of rows, what their targets leave to chance, and the reference's error."""
        loss = np.maximum(self.model.predict(columns) + self.offset, 0.0)
        sampling = math.sqrt(self.spread * float(np.dot(loss, loss))) / len(loss)
        return float(loss.mean()), sampling, self.error


@dataclass(frozen=True, slots=True)
class FittedLosses:
    """The models of the absolute and the squared error; `check` of the first."""

    absolute: LossModel
    squared: LossModel
    n: int
    check: ReferenceCheck

    def expected(self, columns: Floats) -> dict[str, tuple[float, float, float]]:
        """Estimate, sampling error and reference error of mae, mse and rmse."""
        mae, mse = self.absolute.mean(columns), self.squared.mean(columns)
        root = math.sqrt(mse[0])
        scale = 1 / (2 * root) if root else 0.0
        return {"mae": mae, "mse": mse, "rmse": (root, mse[1] * scale, mse[2] * scale)}


def fit_losses(columns: Floats, errors: Floats) -> FittedLosses:
    """Learn the losses of reference rows; `columns` are features and prediction, `errors` prediction less target.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.random(500)
    >>> fitted = fit_losses(x[:, None], rng.normal(0, 1 + x))
    >>> easy, hard = (fitted.expected(np.full((100, 1), at))["rmse"][0] for at in (0.1, 0.9))
    >>> easy < 1.4 < hard
    True
    """
    absolute, checked = _fit(columns, np.abs(errors))
    squared, _ = _fit(columns, errors**2)
    return FittedLosses(absolute, squared, len(errors), checked)


def _fit(columns: Floats, loss: Floats) -> tuple[LossModel, ReferenceCheck]:
    n = len(loss)
    apart = np.zeros(n)
    parts = stretches(n)
    for held in parts:
        kept = np.ones(n, dtype=bool)
        kept[held] = False
        apart[held] = np.maximum(_model(int(kept.sum())).fit(columns[kept], loss[kept]).predict(columns[held]), 0.0)
    residual = loss - apart
    offset = float(residual.mean())
    centred = residual - offset
    size = float(np.dot(apart, apart))
    spread = float(np.dot(centred, centred)) / size if size > 0 else 0.0
    error = math.sqrt(float(np.dot(centred, centred)) / (n - 1) / n)
    return LossModel(_model(n).fit(columns, loss), offset, spread, error), _checked(loss, residual, parts)


def _checked(loss: Floats, residual: Floats, parts: list[slice]) -> ReferenceCheck:
    """Misses of up to a tenth of the mean loss are tolerated."""
    misses = np.array([-residual[held].mean() for held in parts])
    errors = np.array([residual[held].std(ddof=1) / math.sqrt(held.stop - held.start) for held in parts])
    largest = LARGEST_MISS * float(loss.mean())
    return check("mean absolute error", misses, errors, n=len(loss), largest=largest)


def _model(rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=100,
        learning_rate=0.08,
        max_leaf_nodes=15,
        min_samples_leaf=max(FEWEST_LEAF_ROWS, rows // 500),
        early_stopping=False,
        random_state=0,
    )
