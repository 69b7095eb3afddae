"""How much likelier each reference row is in the window than in the reference: weights for covariate shift.

A classifier that tells window from reference gives the ratio of densities by its odds (Bickel et al. 2009), as PAPE
uses it (Białek et al. 2024, arXiv 2401.08348). The odds are taken out of fold, and weights are cut at √n of their mean
(Ionides 2008), so that a few rows cannot decide alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from homeostat.stats.performance.inputs import Floats
from homeostat.stats.performance.intervals import binary_performance

MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class DensityRatio:
    """Weights of the reference rows (mean 1), and how well reference and window can be told apart.

    `separation` is the ROC-AUC of the classifier out of fold (½: not at all), `interval` its 99 % interval;
    `effective_rows` is Kish's number of equally weighted rows that the weighted reference is worth, times the share
    of the window that lies where the reference has rows.
    """

    weights: Floats
    separation: float
    interval: tuple[float, float]
    effective_rows: float

    @property
    def shifted(self) -> bool:
        """Whether the two can be told apart beyond chance."""
        return self.interval[0] > 0.5


def density_ratio(reference: Floats, window: Floats, *, rng: int | np.random.Generator = 0) -> DensityRatio:
    """Estimate the weights that make the reference look like the window.

    Args:
        reference: one row a row, one column a feature; NaN means missing.
        window: likewise.
        rng: seed of the folds.

    >>> draw = np.random.default_rng(0)
    >>> ratio = density_ratio(draw.normal(0, 1, (2000, 1)), draw.normal(1, 1, (1000, 1)))
    >>> ratio.shifted, bool(ratio.effective_rows < 1500)
    (True, True)
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    draw = np.random.default_rng(rng)
    rows = np.concatenate([reference, window])
    origin = np.repeat([0.0, 1.0], [len(reference), len(window)])
    fold = draw.permutation(len(rows)) % 3
    odds = np.zeros(len(rows))
    for held in range(3):
        train = np.flatnonzero(fold != held)
        if len(train) > 2 * MOST_ROWS:
            train = draw.choice(train, 2 * MOST_ROWS, replace=False)
        model = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=40, early_stopping=False, random_state=0
        )
        model.fit(rows[train], origin[train])
        apart = fold == held
        share = np.clip(model.predict_proba(rows[apart])[:, 1], 1e-6, 1 - 1e-6)
        odds[apart] = share / (1 - share)
    told = binary_performance(origin, scores=odds / (1 + odds), confidence=0.99)["roc_auc"]
    weights = odds[: len(reference)]
    # The ratio of densities has mean 1 over the reference; what is missing lies where the reference has no rows.
    found = min(1.0, float(weights.mean()) * len(reference) / len(window))
    weights = weights / weights.mean()
    weights = np.minimum(weights, math.sqrt(len(weights)))
    weights = weights / weights.mean()
    effective = found * float(weights.sum() ** 2 / np.dot(weights, weights))
    return DensityRatio(weights, told.estimate, told.interval, effective)
