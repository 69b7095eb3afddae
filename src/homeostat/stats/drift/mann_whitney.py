"""The test of Wilcoxon (1945), Mann and Whitney (1947), two-sided, with the effect that belongs to it.

The effect is the chance that a current value exceeds a reference value, ties counting half (the common-language effect,
McGraw and Wong 1992; also the AUC that tells the two apart): .5 without drift. It sees shifts and nothing else: two
distributions with one median and different spread pass. It assumes independent rows and needs ranks only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, ranked_samples, shown

# Without ties, the exact distribution is counted where the smaller sample has no more rows than this.
EXACT_ROWS = 8


def exceedance(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """P(current > reference) + ½ P(equal) between the two samples; NaN is left out.

    Raises:
        InvalidInput: a sample holds no number.

    >>> exceedance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    before, after = ranked_samples(reference, current)
    ordered = np.sort(before)
    below = ordered.searchsorted(after, side="left") + ordered.searchsorted(after, side="right")
    return float(below.mean()) / (2 * len(before))


def mann_whitney_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE
) -> TwoSampleResult:
    """The two-sided test; `estimate` is P(current > reference) + ½ P(equal), and `statistic` U of the current sample.

    The p-value is exact for small samples without ties, else normal with the variance for ties and a correction for
    continuity. The interval is that of DeLong, DeLong and Clarke-Pearson (1988) on the logit scale, and Newcombe's
    score interval (2006, method 5) where the samples hardly overlap, for the variance is 0 there.

    Raises:
        InvalidInput: a sample holds no number, or the confidence is out of range.

    >>> result = mann_whitney_test(np.arange(30.0), np.arange(30.0) + 10)
    >>> round(result.estimate, 3), result.interval[0] > 0.5, result.p < 0.001
    (0.778, True, True)
    """
    check_confidence(confidence, 0.5)
    before, after = ranked_samples(reference, current)
    n, m = len(before), len(after)
    placed_after = _placed(after, before)
    placed_before = 1 - _placed(before, after)
    estimate = float(placed_after.mean())
    values, counts = np.unique(np.concatenate((before, after)), return_counts=True)
    u = estimate * n * m
    if len(values) == n + m and min(n, m) <= EXACT_ROWS:
        from scipy.stats import mannwhitneyu

        ranks = (values.searchsorted(after), values.searchsorted(before))
        p = min(1.0, float(mannwhitneyu(*ranks, alternative="two-sided", method="exact").pvalue))
    else:
        p = _normal_p(u, n, m, counts.astype(np.float64))
    interval = _interval(estimate, placed_before, placed_after, confidence)
    sentence = (
        f"A current value exceeds a reference value in {estimate:.1%} of pairs, ties counting half "
        f"({confidence:.0%} interval {interval[0]:.1%} to {interval[1]:.1%}; 50% without drift; {shown(p)})."
    )
    return TwoSampleResult(estimate, interval, u, p, n, m, sentence)


def _placed(values: npt.NDArray[np.float64], among: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each value, the share of the others below it, ties counting half."""
    ordered = np.sort(among)
    both = ordered.searchsorted(values, side="left") + ordered.searchsorted(values, side="right")
    return np.asarray(both / (2 * len(among)))


def _normal_p(u: float, n: int, m: int, ties: npt.NDArray[np.float64]) -> float:
    from scipy.special import ndtr

    total = n + m
    tied = float((ties**3 - ties).sum()) / (total * (total - 1)) if total > 1 else 0.0
    variance = n * m / 12 * (total + 1 - tied)
    if variance <= 1e-9:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return min(1.0, 2 * float(ndtr(-z)))


def _interval(
    estimate: float,
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    confidence: float,
) -> tuple[float, float]:
    from scipy.special import expit, ndtri

    z = float(ndtri((1 + confidence) / 2))
    n, m = len(before), len(after)
    if min(n, m) > 1 and 0 < estimate < 1:
        error = math.sqrt(float(before.var(ddof=1)) / n + float(after.var(ddof=1)) / m)
        inside = estimate * (1 - estimate)
        # Less than one pair's worth of overlap gives no variance that could be trusted.
        if error > 0 and inside * min(n, m) >= 1:
            logit = math.log(estimate / (1 - estimate))
            half = z * error / inside
            return float(expit(logit - half)), float(expit(logit + half))
    return _score_interval(estimate, n, m, z)


def _score_interval(estimate: float, n: int, m: int, z: float) -> tuple[float, float]:
    """Newcombe's method 5: the values whose own variance explains the estimate."""
    from scipy.optimize import brentq

    half = (n + m) / 2 - 1

    def beyond(theta: float) -> float:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        return (theta - estimate) ** 2 - z * z * theta * (1 - theta) * (1 + half * spread) / (n * m)

    low = 0.0 if estimate == 0 else float(brentq(beyond, 0.0, min(estimate, 1 - 1e-12)))
    high = 1.0 if estimate == 1 else float(brentq(beyond, max(estimate, 1e-12), 1.0))
    return low, high
