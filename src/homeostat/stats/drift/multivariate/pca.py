"""Reconstruction error of principal components: have the features stopped moving together as they did?

Components are fitted to one random half of the reference; the errors of the other half and of the current rows are
compared. Both are new to the components, so they are exchangeable where nothing changed, and the permutation test is
exact. (Errors of the rows that the components were fitted to are too small: comparing with those alarms by itself.)
A change that stays within the span of the components is not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate.matrix import checked_pair, sampled
from homeostat.stats.drift.multivariate.permutation import PERMUTATIONS, checked_permutations, choices, p_values

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 8


@dataclass(frozen=True, slots=True)
class ReconstructionResult:
    """By what share the typical (geometric mean) reconstruction error rose: 0.5 means by half. `p` is one-sided.

    `statistic` is Welch's t of the log errors. `n_reference` counts the held-out reference rows, `components` what was
    kept, and `explained` the share of the variance that they explain.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    components: int
    explained: float
    permutations: int


def pca_reconstruction(
    reference: Any,
    current: Any,
    *,
    explained: float = 0.8,
    confidence: float = 0.95,
    permutations: int = PERMUTATIONS,
    most_rows: int = 10_000,
    rng: int | np.random.Generator = 0,
) -> ReconstructionResult:
    """Test whether the current rows are reconstructed worse from the reference's principal components.

    Args:
        reference: rows by features; NaN is a gap. Half of them, at random, fit the components.
        current: rows by the same features.
        explained: share of the variance of the standardised features that the components must explain.
        confidence: of the interval of the rise, which is Welch's for the mean log errors.
        permutations: random choices of the null.
        most_rows: a larger sample is thinned to so many rows, at random.
        rng: seed or generator.

    Returns:
        The rise; NaN with p = 1 where the features vary in too few directions for an error to remain.

    Raises:
        InvalidInput: the reference has fewer than 8 rows or the current sample fewer than 2, or the input is no matrix.

    >>> generator = np.random.default_rng(0)
    >>> both = generator.normal(size=(400, 1)) + 0.3 * generator.normal(size=(400, 4))
    >>> apart = 1.3 * generator.normal(size=(100, 4))
    >>> result = pca_reconstruction(both, apart)
    >>> result.components, result.p, result.estimate > 1
    (1, 0.001, True)
    """
    permutations = checked_permutations(permutations)
    if not 0 < explained < 1 or not 0 < confidence < 1:
        raise InvalidInput(f"Explained share and confidence must lie between 0 and 1; got {explained}, {confidence}.")
    if most_rows < LEAST_ROWS:
        raise InvalidInput(f"At least {LEAST_ROWS} rows a sample must be kept; got {most_rows}.")
    generator = np.random.default_rng(rng)
    pair = checked_pair(reference, current)
    before, after = sampled(pair.reference, most_rows, generator), sampled(pair.current, most_rows, generator)
    if len(before) < LEAST_ROWS or len(after) < 2:
        raise InvalidInput(
            f"Reconstruction needs at least {LEAST_ROWS} reference and 2 current rows; got {len(before)}, {len(after)}."
        )
    order = generator.permutation(len(before))
    fitted, held = before[order[: len(order) // 2]], before[order[len(order) // 2 :]]
    errors, components, reached = _errors(fitted, np.concatenate((held, after)), explained)
    n, m = len(held), len(after)
    floor = float(errors.max()) * 1e-12
    logs = np.log(np.maximum(errors, floor)) if floor > 0 else np.zeros_like(errors)
    if np.ptp(logs) == 0:
        sentence = f"The components leave no error in {m:,} current or {n:,} reference rows to compare."
        return ReconstructionResult(
            math.nan, (math.nan, math.nan), math.nan, 1.0, n, m, sentence, components, reached, permutations
        )
    blocks = choices(n + m, m, permutations, generator)
    t = np.concatenate([_welch(logs, block) for block in blocks])
    p = float(p_values(t)[0])
    first, second = logs[:n], logs[n:]
    shift = float(second.mean() - first.mean())
    parts = (float(first.var(ddof=1)) / n, float(second.var(ddof=1)) / m)
    error = math.sqrt(sum(parts))
    degrees = error**4 / max(parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1), 1e-300)
    from scipy.special import stdtrit

    reach = float(stdtrit(max(degrees, 1.0), 0.5 + confidence / 2)) * error
    low, high, rise = (math.expm1(min(value, 700.0)) for value in (shift - reach, shift + reach, shift))
    way = "rose" if rise >= 0 else "fell"
    sentence = (
        f"The typical reconstruction error {way} by {abs(rise):.0%} over {m:,} current rows against {n:,} held-out "
        f"reference rows (p = {p:.3g} for a rise)."
    )
    return ReconstructionResult(rise, (low, high), float(t[0]), p, n, m, sentence, components, reached, permutations)


def _errors(fitted: Floats, rows: Floats, explained: float) -> tuple[Floats, int, float]:
    """Squared errors of the rows, the number of components, and the share that they explain."""
    size = np.abs(fitted).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    near = fitted / size
    centre, spread = near.mean(axis=0), near.std(axis=0)
    # A feature that is constant in the fitted half has no scale of its own; its changes count in units of its size.
    spread = np.where(spread > 1e-12, spread, 1.0)
    standard = (near - centre) / spread
    _, values, directions = np.linalg.svd(standard, full_matrices=False)
    power = values * values
    total = float(power.sum())
    if total <= 0:
        return np.zeros(len(rows)), 0, math.nan
    shares = np.cumsum(power) / total
    count = min(int(np.searchsorted(shares, explained - 1e-12)) + 1, len(power))
    kept = directions[:count]
    scaled = np.clip((rows / size - centre) / spread, -1e100, 1e100)
    left = scaled - (scaled @ kept.T) @ kept
    return np.asarray((left * left).sum(axis=1)), count, float(shares[count - 1])


def _welch(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Welch's t of the chosen values against the others, for each choice (row)."""
    total, m = len(values), int(chosen[0].sum())
    n = total - m
    centred = values - values.mean()
    picks = chosen.astype(np.float64)
    sums, squares = picks @ centred, picks @ (centred * centred)
    rest, rest_squares = -sums, float((centred * centred).sum()) - squares
    after = np.maximum(squares - sums * sums / m, 0) / (m - 1)
    before = np.maximum(rest_squares - rest * rest / n, 0) / (n - 1)
    error = np.sqrt(after / m + before / n)
    return np.asarray((sums / m - rest / n) / np.where(error > 0, error, np.inf))
