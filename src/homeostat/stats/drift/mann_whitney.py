"""The test of Wilcoxon (1945), Mann and Whitney (1947), two-sided, with the effect that belongs to it.

The effect is the chance that a current value exceeds a reference value, ties counting half (the common-language effect,
McGraw and Wong 1992; also the AUC that tells the two apart): .5 without drift. It sees shifts and nothing else: two
distributions with one median and different spread pass. It assumes independent rows and needs ranks only.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from homeostat.stats.drift.results import CONFIDENCE, TwoSampleResult, check_confidence, ranked_samples, shown
from homeostat.stats.inference.ranks import effect_interval, placed, placements, rank_p


def exceedance(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """P(current > reference) + ½ P(equal) between the two samples; NaN is left out.

    Raises:
        InvalidInput: a sample holds no number.

    >>> import numpy as np
    >>> exceedance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    before, after = ranked_samples(reference, current)
    return float(placed(after, before).mean())


def mann_whitney_test(
    reference: npt.NDArray[Any], current: npt.NDArray[Any], *, confidence: float = CONFIDENCE
) -> TwoSampleResult:
    """The two-sided test; `estimate` is P(current > reference) + ½ P(equal), and `statistic` U of the current sample.

    The p-value is exact for small samples without ties, else normal with the variance for ties and a correction for
    continuity. The interval is that of DeLong, DeLong and Clarke-Pearson (1988) on the logit scale, and Newcombe's
    score interval (2006, method 5) where the samples hardly overlap, for the variance is 0 there.

    Raises:
        InvalidInput: a sample holds no number, or the confidence is out of range.

    >>> import numpy as np
    >>> result = mann_whitney_test(np.arange(30.0), np.arange(30.0) + 10)
    >>> round(result.estimate, 3), result.interval[0] > 0.5, result.p < 0.001
    (0.778, True, True)
    """
    check_confidence(confidence, 0.5)
    before, after = ranked_samples(reference, current)
    n, m = len(before), len(after)
    below, above = placements(before, after)
    estimate = float(above.mean())
    p = rank_p(before, after, estimate)
    interval = effect_interval(below, above, confidence=confidence)
    sentence = (
        f"A current value exceeds a reference value in {estimate:.1%} of pairs, ties counting half "
        f"({confidence:.0%} interval {interval[0]:.1%} to {interval[1]:.1%}; 50% without drift; {shown(p)})."
    )
    return TwoSampleResult(estimate, interval, estimate * n * m, p, n, m, sentence)
