"""The two-sample test of Cramér (1928) and von Mises (1931) in Anderson's form (1962): the mean squared gap.

It compares the two distribution functions everywhere, where Kolmogorov and Smirnov look at the largest gap only, and is
mostly the stronger of the two against shifts. It assumes independent rows, and needs ranks only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from homeostat.stats.drift import nulls
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, ranked_samples, shown

# The exact distribution is counted for at most this many rows a side, and without ties.
EXACT_ROWS = 20


def cramer_von_mises(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The root of the mean squared gap between the distribution functions at the pooled values; NaN is left out.

    From 0 to 1; for distributions that never overlap it approaches √(1/3) in large samples without ties.

    Raises:
        InvalidInput: a sample holds no number.

    >>> import numpy as np
    >>> cramer_von_mises(np.zeros(5), np.zeros(7))
    0.0
    """
    found = nulls.gaps(*ranked_samples(reference, current))
    return math.sqrt(float((found.gap * found.gap) @ found.masses))


def cramer_von_mises_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The test; its `statistic` is Anderson's T and its `estimate` the root mean squared gap.

    Without ties the p-value is exact up to 20 rows a side and scipy's finite-sample form of the limiting one beyond.
    With ties T is nm/(n + m) times the mean squared gap, and its p-value is that of the weighted sum of χ²₁ variables
    that belongs to these ties. The interval follows from the triangle inequality and is conservative.

    Raises:
        InvalidInput: a sample holds no number, or the confidence or level is out of range.

    >>> import numpy as np
    >>> result = cramer_von_mises_test(np.arange(10.0), np.arange(10.0) + 0.5)
    >>> round(result.statistic, 3), result.p > 0.9
    (0.025, True)
    """
    check_confidence(confidence, level)
    before, after = ranked_samples(reference, current)
    found = nulls.gaps(before, after)
    n, m = len(before), len(after)
    mass, pooled = found.masses, found.pooled
    squared = float((found.gap * found.gap) @ mass)
    mean = float(nulls.null_variance(pooled, n, m) @ mass)
    weights, first, second = nulls.cells(mass, found.before, found.after, by=pooled)
    lam = nulls.squared_weights(weights, nulls.bridge((first * n + second * m) / (n + m)))
    lam *= mean / lam.sum() if len(lam) else 1.0
    statistic, p = squared * n * m / (n + m), nulls.squared_tail(squared, lam)
    if len(found.values) == n + m and min(n, m) > 1:
        from scipy.stats import cramervonmises_2samp

        exact = max(n, m) <= EXACT_ROWS
        # Only the order counts, so ranks stand in for values that may be infinite.
        ranks = (found.values.searchsorted(before), found.values.searchsorted(after))
        tested = cramervonmises_2samp(*ranks, method="exact" if exact else "asymptotic")
        statistic = float(tested.statistic)
        # The series of the limiting p-value ends at about 1e-10 and may be off by rounding below it.
        if exact or float(tested.pvalue) > 1e-6:
            p = min(1.0, max(0.0, float(tested.pvalue)))
    noise = nulls.squared_weights(weights, nulls.bridge(first) / n + nulls.bridge(second) / m)
    half = math.sqrt(nulls.squared_quantile(1 - confidence, noise))
    estimate, expected = math.sqrt(squared), math.sqrt(mean)
    interval = (max(0.0, estimate - half), min(1.0, estimate + half))
    sentence = (
        f"The distribution functions lie {estimate:.3g} apart in the root mean square ({confidence:.0%} interval "
        f"{interval[0]:.3g} to {interval[1]:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows "
        f"({shown(p)})."
    )
    threshold = math.sqrt(nulls.squared_quantile(level, lam))
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected, threshold, level)
