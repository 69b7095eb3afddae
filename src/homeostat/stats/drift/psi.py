"""The population stability index: the symmetric Kullback–Leibler divergence (Jeffreys 1946) of two sets of shares.

Its usual thresholds of .1 and .2 ignore the sample: without any drift its expectation is about
(B − 1)(1/N + 1/M) for B groups and N and M rows (Yurdakul, "Statistical properties of the population stability
index", 2018), which passes .1 for 10 groups at 100 rows. `psi_adjusted` takes that off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.chi_square import check_counts, pool_rare
from homeostat.stats.drift.cramers_v import noncentrality_interval
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, counted_samples, shown

Floats = npt.NDArray[np.float64]

GROUPS = 10
EPSILON = 1e-6


def psi(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, epsilon: float = EPSILON) -> float:
    """The index of two rows of counts over the same groups; shares below `epsilon` are lifted to it.

    Raises:
        InvalidInput: the counts differ in length or are all zero.

    >>> round(psi(np.array([0, 2, 1]), np.array([1, 1, 1]), epsilon=1e-4), 3)
    2.934
    """
    return float(psi_of_rows(*shares(reference, current), epsilon=epsilon))


def psi_of_rows(before: Floats, after: Floats, *, epsilon: float = EPSILON) -> Floats:
    """The index of shares along the last axis; groups empty on both sides add nothing."""
    before, after = np.maximum(before, epsilon), np.maximum(after, epsilon)
    return np.asarray(((after - before) * np.log(after / before)).sum(axis=-1))


def psi_expected(groups: int, n: int, m: int) -> float:
    """What the index comes to on average where nothing drifted, for groups with 5 or more expected rows each.

    >>> round(psi_expected(10, 2000, 100), 4)
    0.0945
    """
    return max(0, groups - 1) * (1 / n + 1 / m)


def psi_adjusted(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The index above its null expectation, at least 0; groups with fewer than 5 expected rows are pooled first.

    The groups are those of the reference's quantiles, so its counts decide which are small.

    >>> psi_adjusted(np.full(10, 200), np.array([10, 12, 9, 8, 11, 10, 13, 7, 10, 10]))
    0.0
    """
    before, after = pool_rare(reference, current, by=reference)
    used = int(np.count_nonzero(before + after))
    return max(0.0, psi(before, after) - psi_expected(used, int(before.sum()), int(after.sum())))


def psi_threshold(groups: int, n: int, m: int, *, level: float = 0.01) -> float:
    """The index that is passed with probability `level` where nothing drifted (χ² with B − 1 degrees of freedom).

    >>> round(psi_threshold(10, 2000, 200), 3)
    0.119
    """
    from scipy.special import chdtri

    if groups < 2:
        return 0.0
    return float(chdtri(groups - 1, level)) * (1 / n + 1 / m)


def psi_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The index of counts with what noise makes of it, and the p-value that nothing drifted.

    Groups of fewer than 5 expected rows on a side are pooled first. The interval inverts the noncentral χ² distribution
    that nm/(n + m) times the index, the `statistic`, follows for small drifts; for indexes far above 1 it is rough.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; confidence or level is out of range.

    >>> result = psi_test(np.full(10, 200), np.full(10, 10))
    >>> result.estimate, round(result.expected, 3), round(result.threshold, 3), result.p
    (0.0, 0.095, 0.178, 1.0)
    """
    from scipy.special import chdtrc

    check_confidence(confidence, level)
    before, after = pool_rare(*counted_samples(reference, current))
    n, m = int(before.sum()), int(after.sum())
    used = int(np.count_nonzero(before + after))
    # Half a row where a group is empty on one side: one in a million would let that group alone decide.
    estimate = psi(before, after, epsilon=0.5 / max(n, m))
    inverse = 1 / n + 1 / m
    statistic = estimate / inverse
    p = float(chdtrc(used - 1, statistic)) if used > 1 else 1.0
    low, high = noncentrality_interval(statistic, used - 1, confidence=confidence) if used > 1 else (0.0, 0.0)
    interval = (low * inverse, high * inverse)
    expected = psi_expected(used, n, m)
    sentence = (
        f"The population stability index is {estimate:.3g} ({confidence:.0%} interval {interval[0]:.3g} to "
        f"{interval[1]:.3g} without the part of noise); {expected:.3g} is usual without drift at {n} and {m} rows "
        f"({shown(p)})."
    )
    threshold = psi_threshold(used, n, m, level=level)
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected, threshold, level)


def quantile_groups(counts: npt.NDArray[Any], groups: int = GROUPS) -> npt.NDArray[np.intp]:
    """Which group of about equal reference share each bin of a reference's `counts` (last axis) belongs to.

    >>> quantile_groups(np.array([0, 5, 5, 5, 5, 0]), 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    total = counts.sum(axis=-1, keepdims=True)
    if not np.all(total > 0):
        raise InvalidInput("A reference of no rows has no quantiles.")
    middle = (np.cumsum(counts, axis=-1) - counts / 2) / total
    return np.asarray(np.minimum((middle * groups).astype(np.intp), groups - 1), dtype=np.intp)


def grouped(counts: npt.NDArray[Any], group: npt.NDArray[np.intp], groups: int = GROUPS) -> Floats:
    """Counts of bins (last axis) added up by `group`.

    >>> grouped(np.array([1, 5, 5, 4]), np.array([0, 0, 1, 1]), 2).tolist()
    [6.0, 9.0]
    """
    rows = counts.size // counts.shape[-1]
    place = group.reshape(rows, -1) + groups * np.arange(rows)[:, None]
    sums = np.bincount(place.ravel(), weights=counts.ravel(), minlength=rows * groups)
    return sums.astype(np.float64).reshape(*counts.shape[:-1], groups)


def shares(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Two rows of counts as shares of their sums; raises `InvalidInput` where that can't be."""
    check_counts(reference, current)
    return reference / reference.sum(), current / current.sum()
