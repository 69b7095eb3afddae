"""The likelihood-ratio test of two rows of counts (Wilks 1938; Woolf 1957): G = 2 Σ O ln(O/E).

It asks what the chi-square test asks and agrees with it in large samples. With few rows a cell it alarms too often;
Williams's correction (1976) divides G by a number just above 1 that makes up for most of that. Counts are of
independent rows. G over 2N ln 2 is the information, in bits, that a row's cell gives about its sample.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.chi_square import statistic_of_rows
from homeostat.stats.drift.cramers_v import cramers_v_interval
from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, counted_samples, shown


def g_statistic(reference: npt.NDArray[Any], current: npt.NDArray[Any], *, williams: bool = True) -> float:
    """G of two rows of counts over the same cells, by default with Williams's correction.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts.

    >>> round(g_statistic(np.array([130, 370]), np.array([240, 260]), williams=False), 2)
    52.51
    """
    before, after = counted_samples(reference, current)
    n, m = int(before.sum()), int(after.sum())
    both = before + after
    used = both > 0
    rows = float(n + m)
    total = 0.0
    for counts, size in ((before[used], n), (after[used], m)):
        seen = counts > 0
        total += float((counts[seen] * np.log(counts[seen] / (both[used][seen] * (size / rows)))).sum())
    statistic = max(0.0, 2 * total)
    degrees = int(np.count_nonzero(used)) - 1
    if not williams or degrees < 1:
        return statistic
    return statistic / _williams(rows, n, m, both[used], degrees)


def _williams(rows: float, n: int, m: int, both: npt.NDArray[np.int64], degrees: int) -> float:
    return 1 + (rows / n + rows / m - 1) * (float((rows / both).sum()) - 1) / (6 * rows * degrees)


def g_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE
) -> TwoSampleResult:
    """The test with Williams's correction; `estimate` is the information in bits above what noise brings, at least 0.

    The estimate is max(0, G − (B − 1)) over 2N ln 2 and its interval is that of the noncentrality of G.

    Raises:
        InvalidInput: the counts differ in length, are all zero or are no counts; the confidence is out of range.

    >>> result = g_test(np.array([130, 370]), np.array([240, 260]))
    >>> round(result.estimate, 4), result.p < 1e-12
    (0.0371, True)
    """
    from scipy.special import chdtrc

    check_confidence(confidence, 0.5)
    before, after = counted_samples(reference, current)
    n, m = int(before.sum()), int(after.sum())
    degrees = int(statistic_of_rows(before, after)[1])
    statistic = g_statistic(before, after)
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    bits = 2 * math.log(2)
    estimate = max(0.0, statistic - degrees) / ((n + m) * bits)
    low, high = cramers_v_interval(statistic, degrees, n + m, confidence=confidence) if degrees else (0.0, 0.0)
    interval = (min(low**2 / bits, estimate), max(min(1.0, high**2 / bits), estimate))
    sentence = (
        f"A row's cell gives {estimate:.3g} bits about which sample it is from ({confidence:.0%} interval "
        f"{interval[0]:.3g} to {interval[1]:.3g}, at most 1; {n} and {m} rows; {shown(p)})."
    )
    return TwoSampleResult(estimate, interval, statistic, p, n, m, sentence, expected=0.0)
