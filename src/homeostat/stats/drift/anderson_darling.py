"""The k-sample test of Anderson and Darling (1952) in the form of Scholz and Stephens (1987), midranks for ties.

It weighs the squared gap between distribution functions by 1/(H(1 − H)), so that it sees changes in the tails that
Kolmogorov–Smirnov and Cramér–von Mises miss. It assumes independent rows and needs ranks only.

Scholz and Stephens tabulate the p-value from .001 to .25 only, and implementations that read their table return the end
of it beyond. Here the p-value inside the table is theirs, and outside that of the limiting distribution, standardised
as they do, so that it goes on: 1e-12 says 1e-12. Their standard deviation holds for values without ties only; among few
distinct values it alarms at more than twice its level. `anderson_darling_test` therefore takes ties into account.
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
    ranked_samples,
    shown,
)

TABLE_LOW, TABLE_HIGH = 0.001, 0.25
# Scholz and Stephens' table 2: the critical value at each level is b0 + b1/√(k − 1) + b2/(k − 1).
_LEVELS = np.array([0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001])
_B0 = np.array([0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085])
_B1 = np.array([-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615])
_B2 = np.array([-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154])
_TERMS = 400


def anderson_darling(*samples: npt.NDArray[Any]) -> tuple[float, float]:
    """The standardised statistic (A² − (k − 1)) / σ of two or more samples and its p-value; NaN is left out.

    Where all values are equal nothing can differ: the statistic is 0 and p is 1. The p-value is too small where many
    values are tied.

    Raises:
        InvalidInput: there are fewer than two samples, fewer than four values, or a sample holds no number.

    >>> statistic, p = anderson_darling(np.arange(50.0), np.arange(50.0) + 40)
    >>> statistic > 30, 0 < p < 1e-12
    (True, True)
    """
    if len(samples) < 2:
        raise InvalidInput(f"At least two samples are needed; got {len(samples)}.")
    kept = [ranked_samples(sample, sample)[0] for sample in samples]
    sizes = np.array([len(sample) for sample in kept])
    total, others = int(sizes.sum()), len(kept) - 1
    if total < 4:
        raise InvalidInput(f"The test needs four values in all; got {total}.")
    values, counts = np.unique(np.concatenate(kept), return_counts=True)
    if len(values) == 1:
        return 0.0, 1.0
    middle = np.cumsum(counts) - counts / 2
    spread = middle * (total - middle) - total * counts / 4
    squared = 0.0
    for sample in kept:
        ordered = np.sort(sample)
        left, right = ordered.searchsorted(values, side="left"), ordered.searchsorted(values, side="right")
        gap = total * (left + right) / 2 - len(sample) * middle
        squared += float((counts / total * gap * gap / spread).sum()) / len(sample)
    squared *= (total - 1) / total
    statistic = (squared - others) / _deviation(sizes)
    return statistic, p_value(statistic, others)


def p_value(statistic: float, others: int) -> float:
    """The p-value of a standardised statistic of `others` + 1 samples, beyond the table's ends as well.

    >>> 0.04 < p_value(1.961, 1) < 0.06, p_value(40.0, 1) < 1e-12
    (True, True)
    """
    root = math.sqrt(others)
    critical = _B0 + _B1 / root + _B2 / others
    if critical[0] <= statistic <= critical[-1]:
        return float(np.exp(np.polyval(np.polyfit(critical, np.log(_LEVELS), 2), statistic)))
    j = np.arange(1, _TERMS + 1)
    lam = np.repeat(1 / (j * (j + 1.0)), others)
    lam *= others / lam.sum()
    deviation = math.sqrt(2 * others * (math.pi**2 / 3 - 3))
    p = nulls.squared_tail(others + statistic * deviation, lam)
    return min(p, TABLE_LOW) if statistic > critical[-1] else max(p, TABLE_HIGH)


def anderson_darling_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The test of two samples; `statistic` is the standardised one and `estimate` the root of the weighted mean gap.

    The estimate is √ ∫ (F − G)² / (H(1 − H)) dH over the pooled values but the largest. Where values are tied, the
    p-value is that of the weighted sum of χ²₁ variables that belongs to these ties. The interval follows from the
    triangle inequality and is conservative.

    Raises:
        InvalidInput: a sample holds no number, both hold fewer than four, or the confidence or level is out of range.

    >>> x = np.array([38.7, 41.5, 43.8, 44.5, 45.5, 46, 47.7, 58])
    >>> y = np.array([39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8])
    >>> round(anderson_darling_test(x, y).p, 4)
    0.0635
    """
    check_confidence(confidence, level)
    before, after = ranked_samples(reference, current)
    statistic, p = anderson_darling(before, after)
    found = nulls.gaps(before, after)
    n, m = len(before), len(after)
    pooled, mass = found.pooled, found.masses.copy()
    mass[-1] = 0.0
    inside = pooled * (1 - pooled)
    weight = np.where(mass > 0, mass / np.where(inside > 0, inside, 1.0), 0.0)
    squared = float((found.gap * found.gap) @ weight)
    mean = float(nulls.null_variance(pooled, n, m) @ weight)
    weights, first, second = nulls.cells(weight, found.before, found.after, by=pooled)
    lam = nulls.squared_weights(weights, nulls.bridge((first * n + second * m) / (n + m)))
    lam *= mean / lam.sum() if len(lam) else 1.0
    if len(found.values) < n + m:
        p = nulls.squared_tail(squared, lam)
    noise = nulls.squared_weights(weights, nulls.bridge(first) / n + nulls.bridge(second) / m)
    half = math.sqrt(nulls.squared_quantile(1 - confidence, noise))
    estimate, expected = math.sqrt(squared), math.sqrt(mean)
    interval = (max(0.0, estimate - half), estimate + half)
    sentence = (
        f"The distribution functions, tails weighted up, lie {estimate:.3g} apart ({confidence:.0%} interval "
        f"{interval[0]:.3g} to {interval[1]:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows "
        f"({shown(p)})."
    )
    threshold = math.sqrt(nulls.squared_quantile(level, lam))
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected, threshold, level)


def _deviation(sizes: npt.NDArray[np.intp]) -> float:
    """The exact standard deviation of A² without ties (Scholz and Stephens 1987, equation 4)."""
    total, k = int(sizes.sum()), len(sizes)
    inverse = float((1 / sizes).sum())
    harmonic: Floats = 1 / np.arange(1.0, total)
    h = float(harmonic.sum())
    # Σ_{i<j} 1/((N − i) j), by the partial sums of 1/j from the end.
    tails = h - np.cumsum(harmonic)
    g = float((tails[:-1] / np.arange(total - 1.0, 1.0, -1)).sum())
    a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * inverse
    b = (2 * g - 4) * k * k + 8 * h * k + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
    c = (6 * h + 2 * g - 2) * k * k + (4 * h - 4 * g + 6) * k + (2 * h - 6) * inverse + 4 * h
    d = (2 * h + 6) * k * k - 4 * h * k
    top = ((a * total + b) * total + c) * total + d
    return math.sqrt(top / ((total - 1.0) * (total - 2.0) * (total - 3.0)))
