"""Two measurements of the same rows: only the differences count."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt

from homeostat.stats.inference.results import INDEPENDENT, Alternative, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, direction, same_length, sample, share
from homeostat.stats.inference.tails import bounds, critical, tail

# Up to here the signed ranks' distribution is counted out, as scipy and R do.
EXACT = 50


def paired_t(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """Do two measurements of the same rows differ on average? Student's paired t-test (1908).

    Args:
        first: one number a row.
        second: of the same rows in the same order.
        alternative: "larger" asks whether the second measurement is larger. The interval then has one open side.
        confidence: of the interval of the mean difference, second minus first.

    Independent rows; mean difference about normal.

    Raises:
        InvalidInput: fewer than 2 rows, different lengths, or any value that isn't a finite number.

    >>> result = paired_t([1.0, 2.0, 3.0], [2.0, 4.0, 4.0])
    >>> round(result.estimate, 4), round(result.statistic, 4)
    (1.3333, 4.0)
    """
    direction(alternative)
    share(confidence, "The confidence")
    differences = _differences(first, second)
    n = len(differences)
    estimate = float(differences.mean())
    # Subtracting leaves rounding of the size of the measurements' last digit.
    digit = 4 * sys.float_info.epsilon * float(np.abs(np.asarray(first, dtype=np.float64)).max())
    varies = float(differences.max()) - float(differences.min()) > digit
    error = float(differences.std(ddof=1)) / math.sqrt(n) if varies else math.nan
    t = estimate / error
    p = tail(t, n - 1, alternative)
    interval = bounds(estimate, error, n - 1, confidence=confidence, alternative=alternative)
    told = (
        f" ({shown_interval(interval, confidence)}, {shown_p(p)}). {INDEPENDENT}"
        if varies
        else ". All rows differ by the same, so chance can't be judged from them."
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=n,
        sentence=f"On {n} rows the second measurement differs from the first by {estimate:+.4g} on average{told}",
        sizes=(n,),
        method="paired t-test",
        confidence=confidence,
        error=error,
        df=n - 1,
    )


def wilcoxon_signed_rank(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Result:
    """Do two measurements of the same rows differ in the middle? Wilcoxon's signed-rank test (1945), two-sided.

    `estimate` is the pseudomedian of Hodges and Lehmann (1963), the median of all averages of two differences, and
    the interval is made of order statistics of those averages (Tukey). Rows that don't differ are left out and
    counted in the sentence. Exact up to 50 rows without ties, else normal. `statistic` is the smaller rank sum.

    Independent rows; differences symmetric about their middle.

    Raises:
        InvalidInput: fewer than 2 rows, different lengths, or any value that isn't a finite number.

    >>> result = wilcoxon_signed_rank([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.5, 2.6, 3.7, 4.8, 5.9, 7.0])
    >>> round(result.estimate, 3), result.p
    (0.75, 0.03125)
    """
    from scipy.stats import wilcoxon

    share(confidence, "The confidence")
    given = _differences(first, second)
    differences = np.sort(given[given != 0])
    n, equal = len(differences), int(np.count_nonzero(given == 0))
    left_out = f" {equal} rows that don't differ are left out." if equal else ""
    if n < 2:
        estimate, interval, statistic, p = 0.0, (math.nan, math.nan), math.nan, 1.0
        sentence = f"Only {n} of {len(given)} rows differ, so nothing can be said of the middle of the differences."
    else:
        found = wilcoxon(differences)
        statistic, p = float(found.statistic), float(found.pvalue)
        averages = n * (n + 1) // 2
        middle = [_walsh(differences, rank) for rank in ((averages + 1) // 2, averages // 2 + 1)]
        estimate = sum(middle) / 2
        outside = _rank_bound(n, confidence)
        # Too few rows for the confidence asked for: no order statistic reaches far enough.
        interval = (
            (_walsh(differences, outside), _walsh(differences, averages + 1 - outside))
            if outside
            else (-math.inf, math.inf)
        )
        sentence = (
            f"On {n} rows the second measurement differs from the first by {estimate:+.4g} in the middle "
            f"({shown_interval(interval, confidence)}, {shown_p(p)}).{left_out} {INDEPENDENT}"
        )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=statistic,
        p=p,
        n=n,
        sentence=sentence,
        sizes=(n,),
        method="Wilcoxon signed rank",
        confidence=confidence,
    )


def sign_test(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Result:
    """Is the second measurement larger more often than smaller? Exact sign test (Arbuthnott 1710), two-sided.

    `estimate` is the share of the rows that differ on which the second is larger; its interval is Clopper and
    Pearson's (1934). Assumes nothing but independent rows.

    Raises:
        InvalidInput: fewer than 2 rows, different lengths, or any value that isn't a finite number.

    >>> result = sign_test([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 3.0, 4.0, 5.0, 6.0, 5.0])
    >>> round(result.estimate, 4), round(result.p, 5)
    (0.8333, 0.21875)
    """
    from scipy.special import bdtr, betaincinv

    share(confidence, "The confidence")
    differences = _differences(first, second)
    larger, smaller = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    n = larger + smaller
    p = min(1.0, 2 * float(bdtr(min(larger, smaller), n, 0.5))) if n else 1.0
    side = (1 - confidence) / 2
    interval = (
        float(betaincinv(larger, smaller + 1, side)) if larger else 0.0,
        float(betaincinv(larger + 1, smaller, 1 - side)) if smaller else 1.0,
    )
    sentence = (
        f"Of {n} rows that differ, the second measurement is larger on {larger}, a share of {larger / n:.1%} "
        f"({shown_interval(interval, confidence, signed=False)}, {shown_p(p)}). {INDEPENDENT}"
        if n
        else "The two measurements never differ, so nothing can be said of which is larger."
    )
    return Result(
        estimate=larger / n if n else math.nan,
        interval=interval,
        statistic=float(larger),
        p=p,
        n=n,
        sentence=sentence,
        sizes=(n,),
        method="sign test",
        confidence=confidence,
    )


def _differences(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    one, two = sample(first, "The first measurement"), sample(second, "The second measurement")
    same_length(first=one, second=two)
    return two - one


def _walsh(differences: Floats, rank: int) -> float:
    """The average of two sorted differences (or one with itself) that is `rank`-th smallest of all such averages.

    Found by halving: how many averages lie below a value is one search in sorted numbers, so that n²/2 averages
    need never be made.
    """
    low, high = float(differences[0]), float(differences[-1])
    upto = np.arange(len(differences))
    for _ in range(200):
        middle = low + (high - low) / 2
        if middle in (low, high):
            break
        # Pairs (i, j) with i ≤ j: those of i with all partners, less the ones counted from the other side.
        partners = np.searchsorted(differences, 2 * middle - differences, "right")
        if int(np.maximum(partners - upto, 0).sum()) >= rank:
            high = middle
        else:
            low = middle
    return high


def _rank_bound(n: int, confidence: float) -> int:
    """Which smallest average bounds the pseudomedian; 0 where n is too small for the confidence."""
    side = (1 - confidence) / 2
    if n > EXACT:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(n * (n + 1) / 4 - critical(confidence, math.inf, "two-sided") * spread + 0.5))
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[: len(ways) - rank].copy()
    cumulated = np.cumsum(ways) / 2.0**n
    return int(np.searchsorted(cumulated, side, "right"))
