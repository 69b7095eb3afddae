"""The Wasserstein-1 or earth mover's distance: how far values must move, on average, to turn one sample into the other.

In one dimension it is the area between the two distribution functions (Vallender 1974), in the unit of the values.
Divided by the reference's standard deviation it can be compared between columns. Its usual threshold of .1 ignores the
sample: at 50 rows noise alone passes that nearly always. `wasserstein_test` therefore also says what noise makes of it.
It needs finite values and finite variances; a few extreme values can decide it alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift import nulls
from homeostat.stats.drift.results import (
    CONFIDENCE,
    Floats,
    TwoSampleResult,
    check_confidence,
    counted_samples,
    finite_samples,
    shown,
)

SCALES = ("none", "deviation", "range")


def wasserstein(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, scale: str = "none") -> float:
    """The distance of two samples; values that are not finite are left out.

    Args:
        reference: numbers, one-dimensional.
        current: numbers, one-dimensional, of any length.
        scale: what it is divided by: "none"; "deviation", the reference's standard deviation (that of both samples
            together where the reference is constant); or "range", that of both samples.

    Raises:
        InvalidInput: a sample holds no finite number, or the scale is unknown.

    >>> wasserstein(np.arange(10.0), np.arange(10.0) + 5)
    5.0
    """
    before, after = finite_samples(reference, current)
    unit = _unit(before, after, scale)
    middle = _middle(before, after)
    found = nulls.gaps((before - middle) / unit, (after - middle) / unit)
    return float(np.abs(found.gap) @ found.widths)


def wasserstein_from_counts(
    edges: npt.NDArray[Any],
    reference: npt.NDArray[Any],
    current: npt.NDArray[Any],
    *,
    at_edges: bool = False,
) -> float:
    """The distance of two rows of counts between common edges, in the unit of the edges.

    With one count fewer than edges, bin `i` lies between edges `i` and `i + 1`. With one more, the first and the last
    bin are open, as in a profile; how far out their values lie is unknown, and they count as if they stood on the
    outer edges, so that part of the distance is a lower bound. Within a bin values are taken as spread evenly, or, with
    `at_edges`, as standing on its upper edge, which is exact where edges are the distinct values.

    Raises:
        InvalidInput: the edges do not increase, or are not one more or one fewer than the counts.

    >>> wasserstein_from_counts(np.array([0.0, 1.0, 2.0]), np.array([5, 0]), np.array([0, 5]))
    1.0
    """
    places = np.asarray(edges, dtype=np.float64)
    before, after = counted_samples(reference, current)
    if len(places) < 1 or not np.all(np.isfinite(places)) or (np.diff(places) <= 0).any():
        raise InvalidInput("The edges must be finite and increase.")
    if len(before) == len(places) + 1:
        before, after = before[:-1], after[:-1]
    elif len(before) == len(places) - 1:
        before, after = np.append(0, before), np.append(0, after)
    else:
        raise InvalidInput(
            f"There must be one edge more or one fewer than counts; got {len(places)} and {len(before)}."
        )
    gap = np.cumsum(before) / int(np.sum(reference)) - np.cumsum(after) / int(np.sum(current))
    widths = np.diff(places)
    left, right = gap[:-1], gap[1:]
    if at_edges:
        return float(np.abs(left) @ widths)
    total = np.abs(left) + np.abs(right)
    # Where the gap changes its sign within a bin, two triangles are left.
    crossing = (left * left + right * right) / np.where(total > 0, total, 1.0)
    return float(np.where(left * right < 0, crossing, total) @ widths / 2)


def wasserstein_expected(reference: npt.NDArray[Any], n: int, m: int) -> float:
    """What the distance comes to on average where n and m rows are drawn from the distribution of these values.

    In the unit of the values: √(2/π) · √(1/n + 1/m) · ∫ √(H(1 − H)) but for small counts in the tails, where the exact
    mean is taken.

    >>> values = np.random.default_rng(0).normal(size=2000)
    >>> round(wasserstein_expected(values, 2000, 50), 2)
    0.18
    """
    if n < 1 or m < 1:
        raise InvalidInput(f"Both samples need rows; got {n} and {m}.")
    values, _ = finite_samples(reference, reference)
    found = nulls.gaps(values, values)
    pooled = np.clip(found.before, 0.0, 1.0)
    normal = np.sqrt(2 / np.pi * pooled * (1 - pooled) * (1 / n + 1 / m))
    # Far out less than one row is expected beyond a point, and the mean gap is twice that share.
    tail = 2 * np.minimum(pooled, 1 - pooled)
    return float(np.minimum(normal, tail) @ found.widths)


def wasserstein_test(
    reference: npt.NDArray[Any],
    current: npt.NDArray[Any],
    *,
    scale: str = "deviation",
    confidence: float = CONFIDENCE,
    level: float = 0.05,
) -> TwoSampleResult:
    """The distance with what noise makes of it, and the p-value that nothing drifted.

    The null mean is exact given the pooled values; the p-value and threshold take the null distribution as
    lognormal with the variance of the limiting process, which is good for light tails and rough for heavy ones, where
    `permutation_test` is the safer choice. The interval follows from the triangle inequality and is conservative.
    `statistic` is the distance in the unit of the values.

    Raises:
        InvalidInput: a sample holds no finite number, or the scale, confidence or level is out of range.

    >>> rng = np.random.default_rng(1)
    >>> result = wasserstein_test(rng.normal(size=2000), rng.normal(size=50))
    >>> result.estimate > 0.1, result.p > 0.05, result.adjusted < 0.1
    (True, True, True)
    """
    check_confidence(confidence, level)
    before, after = finite_samples(reference, current)
    n, m = len(before), len(after)
    unit = _unit(before, after, scale)
    middle = _middle(before, after)
    found = nulls.gaps((before - middle) / unit, (after - middle) / unit)
    estimate = float(np.abs(found.gap) @ found.widths)
    pooled = found.pooled
    expected = float(nulls.null_mean_gap(pooled, n, m) @ found.widths)
    weights, first, second = nulls.cells(found.widths, found.before, found.after, by=pooled)
    height = (first * n + second * m) / (n + m)
    share = (n + m) / (n * m) * (n + m) / (n + m - 1)
    null = nulls.bridge(height) * share
    mean, variance = nulls.absolute_moments(weights, null)
    # The variance is scaled along with the mean, as both are too large where tails are thin.
    factor = expected / mean if mean > 0 else 1.0
    shape = (expected, variance * factor**2)
    drawn = nulls.bridge(first) / n + nulls.bridge(second) / m
    half = nulls.area_quantile(1 - confidence, *nulls.absolute_moments(weights, drawn))
    p = nulls.area_tail(estimate, *shape) if expected > 0 else 1.0
    said = {"none": "in their own unit", "deviation": "of the reference's standard deviation", "range": "of the range"}
    sentence = (
        f"Values moved by {estimate:.3g} {said[scale]} on average ({confidence:.0%} interval "
        f"{max(0.0, estimate - half):.3g} to {estimate + half:.3g}); {expected:.3g} is usual without drift at {n} and "
        f"{m} rows ({shown(p)})."
    )
    return TwoSampleResult(
        estimate,
        (max(0.0, estimate - half), estimate + half),
        estimate * unit,
        p,
        n,
        m,
        sentence,
        expected,
        nulls.area_quantile(level, *shape),
        level,
    )


def _middle(before: Floats, after: Floats) -> float:
    return float(min(before.min(), after.min())) / 2 + float(max(before.max(), after.max())) / 2


def _unit(before: Floats, after: Floats, scale: str) -> float:
    if scale not in SCALES:
        raise InvalidInput(f"There is no scale '{scale}'. Take one of: {', '.join(SCALES)}.")
    if scale == "none":
        return 1.0
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    spread = high - low
    if not math.isfinite(spread):
        raise InvalidInput("The values span more than numbers can hold; leave out what lies beyond 1e300.")
    if spread == 0:
        return 1.0
    if scale == "range":
        return spread
    for values in (before, np.concatenate((before, after))):
        # Taken relative to the range, so that neither huge nor tiny values overflow; rounding is no variance.
        deviation = float(np.std((values - low) / spread))
        if deviation > 1e-12:
            return deviation * spread
    return spread
