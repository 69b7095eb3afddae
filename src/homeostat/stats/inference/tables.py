"""Counts in a table, such as arms × outcomes, and whether traffic was split as planned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.noncentral import chi_square_noncentrality
from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, sample, share
from homeostat.stats.performance.metrics import wilson_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquareResult(Result):
    """A chi-square test; `estimate` is Cramér's V, `corrected_v` the one freed of its bias (Bergsma 2013).

    `thin` is the share of cells in which fewer than 5 rows are expected: the approximation is doubtful above .2.
    """

    corrected_v: float
    thin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitResult(Result):
    """Whether rows were split as planned; `mismatch` says no.

    `estimate` is the share of the arm that is furthest off less its planned share, and `arm` that arm's place.
    """

    mismatch: bool
    arm: int
    expected: tuple[float, ...]


def chi_square(table: npt.ArrayLike, *, confidence: float = 0.95) -> ChiSquareResult:
    """Do arms differ in their outcomes? Pearson's chi-square test (1900) of a table of counts.

    Args:
        table: counts, arms × outcomes; arms and outcomes that were never seen are left out.
        confidence: of the interval of Cramér's V (1946), which inverts the noncentral chi-square distribution.

    Independent rows; at least 5 expected in most cells (Cochran 1954). No continuity correction. With one arm or one
    outcome left nothing can be compared: V is NaN and p is 1.

    Raises:
        InvalidInput: not a two-dimensional table of whole counts from 0 on.

    >>> result = chi_square([[130, 370], [240, 260]])
    >>> round(result.statistic, 3), round(result.estimate, 3)
    (51.909, 0.228)
    """
    from scipy.special import chdtrc

    share(confidence, "The confidence")
    counts = _counts(table, 2)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    rows, columns = counts.shape
    n = int(counts.sum())
    sizes = tuple(int(size) for size in counts.sum(axis=1))
    least = min(rows, columns) - 1
    if least < 1:
        return ChiSquareResult(
            estimate=math.nan,
            interval=(0.0, 1.0),
            statistic=0.0,
            p=1.0,
            n=n,
            sentence=f"There are {rows} arms and {columns} outcomes with any rows, so nothing can be compared.",
            sizes=sizes,
            method="chi-square",
            confidence=confidence,
            corrected_v=math.nan,
            thin=math.nan,
        )
    expected = counts.sum(axis=1, keepdims=True) / n * counts.sum(axis=0, keepdims=True)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    df = (rows - 1) * (columns - 1)
    p = float(chdtrc(df, statistic))
    v = min(1.0, math.sqrt(statistic / n / least))
    low, high = (
        min(1.0, math.sqrt(bound / n / least)) for bound in chi_square_noncentrality(statistic, df, confidence)
    )
    thin = float((expected < 5).mean())
    sentence = (
        f"The {rows} arms differ in their {columns} outcomes by Cramér's V = {v:.3g} of at most 1 "
        f"({shown_interval((low, high), confidence, signed=False)}, {shown_p(p)}), from {n} rows. {INDEPENDENT}"
        + (f" In {thin:.0%} of the cells fewer than 5 rows are expected: the p is rough." if thin > 0.2 else "")
    )
    return ChiSquareResult(
        estimate=v,
        interval=(low, high),
        statistic=statistic,
        p=p,
        n=n,
        sentence=sentence,
        sizes=sizes,
        method="chi-square",
        confidence=confidence,
        df=df,
        corrected_v=_bergsma(statistic, n, rows, columns),
        thin=thin,
    )


def sample_ratio_mismatch(
    counts: npt.ArrayLike,
    planned: npt.ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    alpha: float = 0.001,
) -> SplitResult:
    """Was traffic split as planned? Chi-square goodness of fit; a mismatch voids the comparison.

    Args:
        counts: entities (or rows) seen in each arm.
        planned: each arm's weight; they need not add up to 1. Without it all are equal.
        names: of the arms, for the sentence; "arm 1" and so on if left out.
        alpha: a mismatch is called below it. .001 is customary, since the check runs on every experiment
            (Fabijan et al. 2019).

    Independent units: count what was randomised. Rows of few busy users look like a mismatch where there is none.

    Raises:
        InvalidInput: fewer than 2 arms, counts that can't be, weights that aren't above 0, different lengths.

    >>> sample_ratio_mismatch([821588, 815482], [0.5, 0.5]).mismatch
    True
    """
    from scipy.special import chdtrc

    share(alpha, "Alpha")
    seen = _counts(counts, 1)
    if len(seen) < 2:
        raise InvalidInput(f"A split needs at least 2 arms; got {len(seen)}.")
    weights = np.ones(len(seen)) if planned is None else sample(planned, "The planned shares")
    if len(weights) != len(seen) or weights.min() <= 0:
        raise InvalidInput(f"Each of the {len(seen)} arms needs one planned share above 0; got {weights.tolist()}.")
    if names is not None and len(names) != len(seen):
        raise InvalidInput(f"There are {len(seen)} arms and {len(names)} names; give each arm one.")
    shares = weights / weights.sum()
    n, df = int(seen.sum()), len(seen) - 1
    sizes = tuple(int(size) for size in seen)
    statistic = float(((seen - n * shares) ** 2 / (n * shares)).sum()) if n else 0.0
    p = float(chdtrc(df, statistic))
    off = seen / n - shares if n else np.zeros(len(seen))
    arm = int(np.argmax(np.abs(off)))
    low, high = wilson_interval(float(seen[arm]), n)
    mismatch = bool(p < alpha)
    told = (
        f"{_named(arm, names)} got {seen[arm] / n:.2%} of {n} units where {shares[arm]:.2%} were planned ({shown_p(p)})"
        if n
        else "Nothing was counted in any arm, so the split can't be judged"
    )
    sentence = told + (
        ": the split is not the planned one, so differences between the arms can't be trusted. Find the cause first."
        if mismatch
        else "." + (" That fits the plan." if n else "")
    )
    return SplitResult(
        estimate=float(off[arm]),
        interval=(low - float(shares[arm]), high - float(shares[arm])),
        statistic=statistic,
        p=p,
        n=n,
        sentence=sentence,
        sizes=sizes,
        method="chi-square goodness of fit",
        confidence=0.95,
        df=df,
        mismatch=mismatch,
        arm=arm,
        expected=tuple(float(n * part) for part in shares),
    )


def _counts(values: npt.ArrayLike, dimensions: int) -> Floats:
    try:
        given = np.asarray(values)
        # Digits in texts, dates and complex numbers would be read as numbers too.
        if given.dtype.kind not in "biufO":
            raise TypeError
        given = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput("Counts must be whole numbers in rows of equal length.") from None
    if given.ndim != dimensions or not given.size:
        raise InvalidInput(f"Counts must have {dimensions} dimensions and not be empty; got the shape {given.shape}.")
    if not np.isfinite(given).all() or given.min() < 0 or (given != np.floor(given)).any():
        raise InvalidInput("Counts must be whole numbers from 0 on; shares and weights are none.")
    return given


def _named(arm: int, names: Sequence[str] | None) -> str:
    return f"Arm {arm + 1}" if names is None else f"The arm {names[arm]}"


def _bergsma(statistic: float, n: int, rows: int, columns: int) -> float:
    if n < 2:
        return math.nan
    excess = max(0.0, statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    fewer = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min(1.0, math.sqrt(excess / fewer)) if fewer > 0 else math.nan
