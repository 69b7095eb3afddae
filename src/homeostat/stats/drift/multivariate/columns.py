"""Columns made from pooled rows, whose means over the current rows tell of a change.

All of them look at the rows of both samples together and not at which row came from where, as an exact permutation
test needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.multivariate.matrix import median_distance, standardised
from homeostat.stats.drift.multivariate.permutation import z_scale

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

CUTS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FREQUENCIES = 48
# Beyond so many features the products of all pairs cost more than they show.
PAIRED_FEATURES = 12
# Components are kept until they explain this share of the variance; what they leave is the residual of a row.
EXPLAINED = 0.9
# An indicator that fewer current rows are expected to show has z-values too far from normal for a maximum.
EXPECTED = 2.0


@dataclass(frozen=True, slots=True)
class Profiled:
    """Columns with the indicators of lying at or below their pooled quantiles.

    `values` is rows by columns, centred with variance 1; `cuts` is rows by cuts and columns, of 0 and 1. `share` and
    `spread` (cuts by columns) are the indicators' means and standard deviations, and `steady` is 1 where an indicator
    is frequent enough for a maximum.
    """

    values: Singles
    cuts: Singles
    share: Singles
    spread: Singles
    steady: Singles

    @classmethod
    def of(cls, rows: Floats, smaller: int) -> Profiled:
        """From pooled rows, of which the smaller sample has `smaller`."""
        count = rows.shape[1]
        ordered = np.sort(rows, axis=0)
        places = [min(int(cut * len(rows)), len(rows) - 1) for cut in CUTS]
        cuts = (rows[:, None, :] <= ordered[places]).astype(np.float32).reshape(len(rows), -1)
        share = (np.ones(len(rows), dtype=np.float32) @ cuts).astype(np.float64).reshape(-1, count) / len(rows)
        spread = np.sqrt(share * (1 - share))
        steady = np.minimum(share, 1 - share) * smaller >= EXPECTED
        values = standardised(rows).astype(np.float32)
        return cls(values, cuts, *(one.astype(np.float32) for one in (share, spread, steady)))

    def folded(self, values: Singles, cuts: Singles, chosen: int) -> tuple[Singles, Singles, Singles]:
        """From sums of the chosen rows (choices by columns): what a change shows itself by, by choice.

        That is the largest |z| of each column, the sum of all squared z-values, and the largest gap of each column's
        distribution functions between the chosen rows and the others.
        """
        total = len(self.values)
        scale = z_scale(total, chosen)
        z = np.abs(values) * scale
        # A cut that all rows pass has no spread and tells nothing.
        unit = np.where(self.spread > 0, scale / np.where(self.spread > 0, self.spread, 1), 0).astype(np.float32)
        apart = np.abs(cuts.reshape(len(cuts), *self.share.shape) - np.float32(chosen) * self.share)
        steps = apart * unit
        maximum = np.maximum(z, (steps * self.steady).max(axis=1))
        together = np.einsum("bj,bj->b", z, z) + np.einsum("bcj,bcj->b", steps, steps)
        gaps = apart.max(axis=1) * np.float32(total / (chosen * (total - chosen)))
        return maximum, together, gaps


def waves(scaled: Floats, generator: np.random.Generator) -> Singles:
    """Random Fourier features (Rahimi and Recht 2007) of the Gaussian kernel of the rows' median distance.

    The squared distance of two samples' means approximates MMD². They are centred, with the weight that each has in the
    kernel.
    """
    width = median_distance(scaled, generator)
    weights = generator.normal(size=(scaled.shape[1], FREQUENCIES)) / (width or 1.0)
    angles = scaled.astype(np.float32) @ weights.astype(np.float32)
    both = np.hstack((np.cos(angles), np.sin(angles)))
    return np.asarray(both - both.mean(axis=0), dtype=np.float32)


def pairs(scaled: Floats) -> Singles:
    """Products of all pairs of standardised features, which see a change of correlation."""
    # Clipped, so that one far value doesn't make a product that hides all others.
    near = np.clip(scaled, -3.0, 3.0)
    first, second = np.triu_indices(near.shape[1], 1)
    return standardised(near[:, first] * near[:, second]).astype(np.float32)


def row_summaries(scaled: Floats) -> Floats:
    """Of each row: the sum of its standardised features, its distance from the centre, and its residual.

    The residual is what the principal components of the pooled rows leave. Small shifts of many features add up in
    these three, which stay three however many features there are.
    """
    squares = (scaled * scaled).sum(axis=1)
    values, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    total = float(values.sum())
    if total <= 0:
        return np.zeros((len(scaled), 3))
    left = np.cumsum(values) <= (1 - EXPLAINED) * total
    rest = scaled @ directions[:, left]
    # Logs, since distances are skewed and their means would be ruled by the farthest rows.
    return np.column_stack((scaled.sum(axis=1), np.log(squares + 1e-9), np.log((rest * rest).sum(axis=1) + 1e-9)))


def decisions(outputs: Floats) -> Singles:
    """Which output of a row was the largest, as standardised indicators; for one output a column of zeros."""
    hard = np.zeros_like(outputs)
    if outputs.shape[1] > 1:
        hard[np.arange(len(outputs)), outputs.argmax(axis=1)] = 1.0
    return standardised(hard).astype(np.float32)


def sureness(outputs: Floats) -> Floats:
    """How sure the model was of each row: largest output and margin to the next, and the entropy of probabilities.

    For one output, its distance from one half where it is a probability, else from its median.
    """
    bounded = bool(outputs.min() >= 0 and outputs.max() <= 1)
    if outputs.shape[1] == 1:
        centre = 0.5 if bounded else float(np.median(outputs))
        return np.asarray(np.abs(outputs - centre))
    two = np.partition(outputs, outputs.shape[1] - 2, axis=1)[:, -2:]
    columns = [two[:, 1], two[:, 1] - two[:, 0]]
    if bounded and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-3):
        columns.append(-(outputs * np.log(np.maximum(outputs, 1e-12))).sum(axis=1))
    return np.column_stack(columns)
