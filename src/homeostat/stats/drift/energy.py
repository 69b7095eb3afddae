"""The energy distance (Székely 2003; Székely and Rizzo 2013): √(2 E|X − Y| − E|X − X′| − E|Y − Y′|).

In one dimension it is √(2 ∫ (F − G)²), as scipy defines it; its unit is the square root of the values'. It is 0 only
for equal distributions and sees any change, shifts best. It needs finite values and finite means.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from homeostat.stats.drift import nulls
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, finite_samples, shown


def energy_distance(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The distance of two samples; values that are not finite are left out.

    Raises:
        InvalidInput: a sample holds no finite number.

    >>> import numpy as np
    >>> round(energy_distance(np.arange(10.0), np.arange(10.0) + 5), 4)
    2.0494
    """
    found = nulls.gaps(*finite_samples(reference, current))
    return math.sqrt(2 * float((found.gap * found.gap) @ found.widths))


def energy_coefficient(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """The squared distance over 2 E|X − Y|: free of units, 0 for equal distributions, 1 for two different constants.

    Raises:
        InvalidInput: a sample holds no finite number.

    >>> import numpy as np
    >>> energy_coefficient(np.zeros(3), np.ones(4))
    1.0
    """
    found = nulls.gaps(*finite_samples(reference, current))
    # E|X − Y| is the area under F(1 − G) + G(1 − F).
    crossed = found.before * (1 - found.after) + found.after * (1 - found.before)
    between = float(crossed @ found.widths)
    return float((found.gap * found.gap) @ found.widths) / between if between > 0 else 0.0


def energy_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE, level: float = 0.05
) -> TwoSampleResult:
    """The distance with what noise makes of it, and the p-value that nothing drifted.

    nm/(n + m) times the squared distance, the `statistic`, is a weighted sum of χ²₁ variables in the limit; its weights
    are computed from the pooled values, ties included. `expected` is the root of the exact mean of the squared distance
    given them. The interval follows from the triangle inequality and is conservative.

    Raises:
        InvalidInput: a sample holds no finite number, or the confidence or level is out of range.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> energy_test(rng.normal(size=300), rng.normal(0.5, 1, 200)).p < 0.001
    True
    """
    check_confidence(confidence, level)
    before, after = finite_samples(reference, current)
    found = nulls.gaps(before, after)
    n, m = len(before), len(after)
    width = found.widths
    squared = 2 * float((found.gap * found.gap) @ width)
    mean = 2 * float(nulls.null_variance(found.pooled, n, m) @ width)
    weights, first, second = nulls.cells(2 * width, found.before, found.after, by=found.pooled)
    lam = nulls.squared_weights(weights, nulls.bridge((first * n + second * m) / (n + m)))
    lam *= mean / lam.sum() if len(lam) else 1.0
    noise = nulls.squared_weights(weights, nulls.bridge(first) / n + nulls.bridge(second) / m)
    half = math.sqrt(nulls.squared_quantile(1 - confidence, noise))
    estimate, expected = math.sqrt(squared), math.sqrt(mean)
    p = nulls.squared_tail(squared, lam)
    sentence = (
        f"The energy distance is {estimate:.3g} ({confidence:.0%} interval {max(0.0, estimate - half):.3g} to "
        f"{estimate + half:.3g}); {expected:.3g} is usual without drift at {n} and {m} rows ({shown(p)})."
    )
    return TwoSampleResult(
        estimate,
        (max(0.0, estimate - half), estimate + half),
        squared * n * m / (n + m),
        p,
        n,
        m,
        sentence,
        expected,
        math.sqrt(nulls.squared_quantile(level, lam)),
        level,
    )
