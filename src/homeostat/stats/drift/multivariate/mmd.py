"""The maximum mean discrepancy (Gretton et al., "A kernel two-sample test", 2012) with an aggregated set of widths.

MMD² is the squared distance between the mean embeddings of two distributions under a kernel: 0 exactly where they are
equal, for the Gaussian kernel. One width sees differences of about its own size; the test therefore aggregates several
(Schrab et al., "MMD aggregated two-sample test", 2023) with uniform weights: the smallest of the widths' permutation
p-values is compared with that of permuted samples, which is exact at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate.matrix import checked_pair, median_distance, sampled, standardised
from homeostat.stats.drift.multivariate.permutation import PERMUTATIONS, checked_permutations, choices, smallest_p

Floats = npt.NDArray[np.float64]

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class MmdResult:
    """MMD² at the median width, unbiased, so that it may fall below 0; `p` is that of all widths together.

    `statistic` is `estimate` in units of its null standard deviation. `widths` are the kernel's standard deviations in
    units of standardised features, and `deciding_width` the one with the smallest p of its own.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    widths: tuple[float, ...]
    deciding_width: float
    permutations: int


def mmd(
    reference: Any,
    current: Any,
    *,
    widths: tuple[float, ...] = WIDTHS,
    confidence: float = 0.95,
    permutations: int = PERMUTATIONS,
    most_rows: int = 1_000,
    rng: int | np.random.Generator = 0,
) -> MmdResult:
    """Test whether two samples of rows come from one distribution, by the MMD of a Gaussian kernel.

    Features are standardised by the pooled rows. The interval is asymptotic, from the variance of U-statistics plus the
    null variance, and wide where the samples are close; the test is exact. Time and memory grow with the square of the
    rows kept.

    Args:
        reference: rows by features; NaN is a gap.
        current: rows by the same features.
        widths: of the kernel, as multiples of the median distance between pooled rows; one of them for a single kernel.
        confidence: of the interval.
        permutations: random choices of the null.
        most_rows: a larger sample is thinned to so many rows, at random.
        rng: seed or generator.

    Raises:
        InvalidInput: a sample has fewer than 2 rows, is infinite or no matrix, or a setting means nothing.

    >>> generator = np.random.default_rng(1)
    >>> square = generator.normal(size=(150, 2))
    >>> line = generator.normal(size=(150, 1)) * np.ones(2)
    >>> mmd(square, line).p
    0.001
    """
    permutations = checked_permutations(permutations)
    if not widths or not all(math.isfinite(width) and width > 0 for width in widths):
        raise InvalidInput(f"Widths must be positive multiples of the median distance; got {widths}.")
    if not 0 < confidence < 1:
        raise InvalidInput(f"Confidence must lie between 0 and 1; got {confidence}.")
    if most_rows < 2:
        raise InvalidInput(f"At least 2 rows a sample must be kept; got {most_rows}.")
    generator = np.random.default_rng(rng)
    pair = checked_pair(reference, current)
    before, after = sampled(pair.reference, most_rows, generator), sampled(pair.current, most_rows, generator)
    n, m = len(before), len(after)
    if min(n, m) < 2:
        raise InvalidInput(f"MMD needs at least 2 rows a sample; got {n} and {m}.")
    rows = standardised(np.concatenate((before, after)))
    median = median_distance(rows, generator)
    if not median:
        sentence = f"All of the {n + m:,} rows are equal, so nothing can have changed."
        return MmdResult(0.0, (0.0, 0.0), 0.0, 1.0, n, m, sentence, (), math.nan, permutations)
    # Weights of a row in either sample's mean; two rows' weights multiply, a row with itself is left out.
    blocks = [block.astype(np.float32) for block in choices(n + m, m, permutations, generator)]
    # Widths one after the other, so that one kernel matrix is held at a time.
    values, centre_kernel = [], np.empty((0, 0), dtype=np.float32)
    squares = squared_distances(rows)
    centre = min(range(len(widths)), key=lambda place: abs(math.log(widths[place])))
    for place, width in enumerate(widths):
        kernel = np.exp(squares * (-0.5 / (width * median) ** 2)).astype(np.float32)
        np.fill_diagonal(kernel, 0.0)
        values.append(np.concatenate([mmd_of_choices(kernel, block) for block in blocks]))
        if place == centre:
            centre_kernel = kernel
    statistics = np.stack(values, axis=1)
    p, each = smallest_p(statistics)
    estimate, spread = float(statistics[0, centre]), float(statistics[:, centre].std())
    error = math.sqrt(_variance(centre_kernel.astype(np.float64), n) + spread * spread)
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + confidence / 2)) * error
    interval = (estimate - reach, estimate + reach)
    standing = (estimate - float(statistics[:, centre].mean())) / spread if spread > 0 else 0.0
    verdict = "differ beyond chance" if p < 0.05 else "differ no more than chance makes them"
    sentence = (
        f"Taken together, the features of {m:,} current and {n:,} reference rows {verdict} "
        f"(MMD² {estimate:.3g}, {standing:.1f} standard deviations from no change; p = {p:.3g})."
    )
    sizes = tuple(width * median for width in widths)
    return MmdResult(estimate, interval, standing, p, n, m, sentence, sizes, sizes[int(np.argmin(each))], permutations)


def squared_distances(rows: Floats) -> Floats:
    """Squared Euclidean distances between all pairs of rows."""
    squares = (rows * rows).sum(axis=1)
    return np.asarray(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0))


def mmd_of_choices(kernel: npt.NDArray[np.float32], chosen: npt.NDArray[np.float32]) -> Floats:
    """Unbiased MMD² of each choice (rows of 0 and 1) of the current rows, from a kernel matrix with diagonal 0."""
    total = len(kernel)
    m = int(chosen[0].sum())
    n = total - m
    products = chosen @ kernel
    current = np.einsum("bi,bi->b", products, chosen).astype(np.float64)
    sums = kernel.sum(axis=1, dtype=np.float64)
    cross = chosen.astype(np.float64) @ sums - current
    reference = float(sums.sum()) - 2 * cross - current
    return np.asarray(reference / (n * (n - 1)) + current / (m * (m - 1)) - 2 * cross / (n * m))


def _variance(kernel: Floats, n: int) -> float:
    """The variance of MMD² where the samples differ: 4 times that of each row's share, by sample."""
    m = len(kernel) - n
    within, across = kernel[:n, :n].sum(axis=1) / (n - 1), kernel[:n, n:].mean(axis=1)
    inside, between = kernel[n:, n:].sum(axis=1) / (m - 1), kernel[n:, :n].mean(axis=1)
    return float(4 * np.var(within - across, ddof=1) / n + 4 * np.var(inside - between, ddof=1) / m)
