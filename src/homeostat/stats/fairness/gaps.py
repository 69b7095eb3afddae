"""Gaps between groups: their largest difference and smallest ratio, allowing for having picked the extremes.

With k groups there are k(k−1)/2 pairs. All their differences get intervals that hold together: Wilson limits of each
group are combined pair by pair (Newcombe 1998, method 10) at the quantile of the studentised range, as Agresti, Bini,
Bertaccini and Ryu (2008) advise for shares. Where all pairs are covered, so is the largest of the true differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.fairness.groups import (
    MIN_SIZE,
    WORDS,
    GroupMetric,
    Metric,
    check_share,
    group_metrics,
    named,
    pool_small_groups,
)
from homeostat.stats.performance.metrics import wilson_limits

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Verdict = Literal["no_data", "insufficient", "healthy", "harmed", "inconclusive"]
Small = Literal["report", "pool"]

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class FairnessGap:
    """The largest difference of a metric between groups; `ratio` is the smallest share over the largest.

    `p` tests that no two groups differ by more than `tolerance`; `statistic` is the normal quantile at which the
    interval just reaches it. The verdict is "harmed" where the interval lies above the tolerance, "healthy" where it
    lies below, "inconclusive" between. `insufficient` names groups that were too small to compare.
    """

    name: str
    verdict: Verdict
    estimate: float
    interval: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    statistic: float
    p: float
    tolerance: float
    lowest: str
    highest: str
    n: int
    groups: tuple[GroupMetric, ...]
    insufficient: tuple[str, ...]
    sentence: str


def demographic_parity(predicted: Array, groups: Array, **options: Any) -> FairnessGap:
    """The largest gap between groups in how often they are predicted positive (Calders and Verwer 2010).

    Options, assumptions and errors as in `fairness_gaps`.

    >>> result = demographic_parity(np.array([1, 0] * 50 + [1, 1, 1, 0] * 25), np.array(["a"] * 100 + ["b"] * 100))
    >>> result.estimate, round(result.ratio, 3), [round(x, 3) for x in result.interval], result.verdict
    (0.25, 0.667, [0.116, 0.372], 'harmed')
    """
    return fairness_gaps(predicted, groups, metrics=("demographic_parity",), **options)[0]


def equal_opportunity(truth: Array, predicted: Array, groups: Array, **options: Any) -> FairnessGap:
    """The largest gap between groups in the share of positives found (Hardt, Price and Srebro 2016).

    Options, assumptions and errors as in `fairness_gaps`.
    """
    return fairness_gaps(predicted, groups, truth, metrics=("equal_opportunity",), **options)[0]


def equalized_odds(truth: Array, predicted: Array, groups: Array, **options: Any) -> FairnessGap:
    """The larger of the gaps in true- and in false-positive rates between groups (Hardt, Price and Srebro 2016).

    The interval and p-value allow for the larger of two having been picked (Bonferroni). Options, assumptions and
    errors as in `fairness_gaps`.
    """
    return fairness_gaps(predicted, groups, truth, metrics=("equalized_odds",), **options)[0]


def predictive_parity(truth: Array, predicted: Array, groups: Array, **options: Any) -> FairnessGap:
    """The largest gap between groups in the share of positive predictions that are right (Chouldechova 2017).

    Options, assumptions and errors as in `fairness_gaps`.
    """
    return fairness_gaps(predicted, groups, truth, metrics=("predictive_parity",), **options)[0]


# Each gap, and the shares that must not differ.
GAPS: dict[str, tuple[Metric, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("tpr",),
    "equalized_odds": ("tpr", "fpr"),
    "predictive_parity": ("precision",),
}


def fairness_gaps(
    predicted: Array,
    groups: Array,
    truth: Array | None = None,
    *,
    metrics: Sequence[str] = tuple(GAPS),
    positive: int = 1,
    tolerance: float = TOLERANCE,
    min_size: int = MIN_SIZE,
    small: Small = "report",
    clusters: Array | None = None,
    confidence: float = 0.95,
) -> tuple[FairnessGap, ...]:
    """Several gaps of one window; each holds its own confidence, not all of them together.

    Assumes independent rows (or clusters), a sample fixed beforehand, and groups known of every row. One look: for
    alarms on every new batch take `monitor_gap`.

    Args:
        predicted: class codes.
        groups: the group of each row.
        truth: class codes; without them only demographic_parity can be told.
        metrics: of demographic_parity, equal_opportunity, equalized_odds and predictive_parity.
        positive: the code of the positive class.
        tolerance: a difference up to this one is accepted; 0 asks for no difference at all.
        min_size: groups in which fewer rows enter a metric are not compared, but reported as insufficient.
        small: "pool" puts groups of fewer than min_size rows together as "other" first.
        clusters: what each row belongs to, if rows of one entity are not independent.
        confidence: of the intervals, which hold for the picked extremes.

    Raises:
        InvalidInput: for lengths that differ, missing groups or codes, or names and settings that mean nothing.
    """
    check_share("confidence", confidence)
    if not 0 <= tolerance < 1:
        raise InvalidInput(f"The tolerance must be at least 0 and below 1; got {tolerance}.")
    if small not in ("report", "pool"):
        raise InvalidInput(f"Small groups can be kept apart ('report') or put together ('pool'); got '{small}'.")
    unknown = [name for name in metrics if name not in GAPS]
    if unknown:
        raise InvalidInput(f"Unknown metrics {', '.join(unknown)}; known are {', '.join(GAPS)}.")
    kept = pool_small_groups(groups, min_size=min_size) if small == "pool" else groups
    results = []
    for name in metrics:
        parts = []
        for metric in GAPS[name]:
            found = group_metrics(
                predicted, kept, truth, metric=metric, positive=positive, clusters=clusters, min_size=min_size
            )
            parts.append(_gap(name, metric, found, tolerance, confidence, len(GAPS[name])))
        results.append(parts[0] if len(parts) == 1 else _worse(parts))
    return tuple(results)


def _gap(
    name: str, metric: str, found: tuple[GroupMetric, ...], tolerance: float, confidence: float, looks: int
) -> FairnessGap:
    small = tuple(one.group for one in found if one.status == "insufficient")
    enough = [one for one in found if one.status == "sufficient"]
    n = sum(one.n for one in enough)
    words = WORDS[metric]
    if len(enough) < 2:
        rows = sum(one.n for one in found)
        sentence = (
            f"No row tells the {words}, so no groups can be compared."
            if not rows
            else f"Fewer than two groups are large enough to compare the {words}; too small: {named(small) or 'none'}."
        )
        missing = math.nan
        return FairnessGap(
            name=name,
            verdict="insufficient" if rows else "no_data",
            estimate=missing,
            interval=(0.0, 1.0),
            ratio=missing,
            ratio_interval=(0.0, 1.0),
            statistic=missing,
            p=missing,
            tolerance=tolerance,
            lowest="",
            highest="",
            n=n,
            groups=found,
            insufficient=small,
            sentence=sentence,
        )
    shares = np.array([one.estimate for one in enough])
    worth = np.array([one.worth for one in enough])
    c = _range_quantile(1 - (1 - confidence) / looks, len(enough))
    lower, upper = _differences(shares, worth, c)
    low, high = max(0.0, float(lower.max())), min(1.0, float(upper.max()))
    least, most = int(shares.argmin()), int(shares.argmax())
    estimate = float(shares[most] - shares[least])
    ratio = float(shares[least] / shares[most]) if shares[most] > 0 else math.nan
    statistic, p = _beyond(shares, worth, tolerance, looks)
    verdict: Verdict = "harmed" if low > tolerance else "healthy" if high <= tolerance else "inconclusive"
    sentence = (
        f"The {words} is {shares[most]:.4g} in group {enough[most].group} and {shares[least]:.4g} in group "
        f"{enough[least].group}, the extremes of {len(enough)}: a gap of {estimate:.4g} ({confidence:.0%} interval "
        f"{low:.4g} to {high:.4g}; p = {p:.3g} for a gap of at most {tolerance:.4g})."
    )
    if small:
        sentence += f" Too small to compare: {named(small)}."
    return FairnessGap(
        name=name,
        verdict=verdict,
        estimate=estimate,
        interval=(low, high),
        ratio=ratio,
        ratio_interval=_ratio_interval(shares, worth, c),
        statistic=statistic,
        p=p,
        tolerance=tolerance,
        lowest=enough[least].group,
        highest=enough[most].group,
        n=n,
        groups=found,
        insufficient=small,
        sentence=sentence,
    )


def _worse(parts: list[FairnessGap]) -> FairnessGap:
    """The larger of several gaps, whose quantiles were already raised for the choice."""
    known = [part for part in parts if not math.isnan(part.estimate)]
    groups = tuple(one for part in parts for one in part.groups)
    small = tuple(dict.fromkeys(name for part in parts for name in part.insufficient))
    worst = max(known, key=lambda part: part.estimate) if known else parts[0]
    interval = (max(part.interval[0] for part in parts), max(part.interval[1] for part in parts))
    if len(known) < len(parts):
        # A rate that can't be told may hide any gap: only harm can be said of what is left.
        interval = (max((part.interval[0] for part in known), default=0.0), 1.0)
    verdict: Verdict = "inconclusive"
    if interval[0] > worst.tolerance:
        verdict = "harmed"
    elif len(known) < len(parts):
        verdict = next(part.verdict for part in parts if math.isnan(part.estimate))
    elif interval[1] <= worst.tolerance:
        verdict = "healthy"
    return FairnessGap(
        name=worst.name,
        verdict=verdict,
        estimate=worst.estimate,
        interval=interval,
        ratio=min((part.ratio for part in known if not math.isnan(part.ratio)), default=math.nan),
        ratio_interval=(
            min(part.ratio_interval[0] for part in parts),
            min(part.ratio_interval[1] for part in parts),
        ),
        statistic=worst.statistic,
        p=min((part.p for part in known), default=math.nan),
        tolerance=worst.tolerance,
        lowest=worst.lowest,
        highest=worst.highest,
        n=sum(part.n for part in parts),
        groups=groups,
        insufficient=small,
        sentence=" ".join(part.sentence for part in parts),
    )


def _differences(shares: Floats, worth: Floats, c: float) -> tuple[Floats, Floats]:
    """Newcombe's limits of every share (column) less every other (row) at the quantile c."""
    low, high = wilson_limits(shares, worth, c)
    below, above = shares - low, high - shares
    gap = shares[None, :] - shares[:, None]
    lower = gap - np.hypot(below[None, :], above[:, None])
    upper = gap + np.hypot(above[None, :], below[:, None])
    np.fill_diagonal(lower, 0.0)
    np.fill_diagonal(upper, 0.0)
    return lower, upper


def _ratio_interval(shares: Floats, worth: Floats, c: float) -> tuple[float, float]:
    """Limits of the smallest share over the largest: the same recovery of variances on the logarithm of ratios."""
    low, high = wilson_limits(shares, worth, c)
    some = shares > 0
    safe = np.where(some, shares, 1.0)
    down = np.where(some, np.log(safe / np.where(some, low, 1.0)), np.inf)
    up = np.where(some, np.log(np.where(some, high, 1.0) / safe), np.inf)
    logs = np.where(some, np.log(safe), 0.0)
    gap = logs[None, :] - logs[:, None]
    lower = np.exp(gap - np.hypot(down[None, :], up[:, None]))
    upper = np.exp(np.minimum(gap + np.hypot(up[None, :], down[:, None]), 700.0))
    # A share of 0 has no logarithm; its ratio lies between 0 and what the limits of both groups allow.
    apart = ~(some[None, :] & some[:, None])
    box = np.divide(high[None, :], low[:, None], out=np.full(gap.shape, np.inf), where=(low > 0)[:, None])
    lower, upper = np.where(apart, 0.0, lower), np.where(apart, box, upper)
    np.fill_diagonal(lower, 1.0)
    np.fill_diagonal(upper, 1.0)
    return float(lower.min()), min(1.0, float(upper.min()))


def _beyond(shares: Floats, worth: Floats, tolerance: float, looks: int) -> tuple[float, float]:
    """The quantile at which the interval of the largest gap just reaches the tolerance, and its p-value."""
    from scipy.special import ndtr
    from scipy.stats import studentized_range

    if float(shares.max() - shares.min()) <= tolerance:
        return 0.0, 1.0
    below, above = 0.0, 40.0
    for _ in range(50):
        c = (below + above) / 2
        lower, _ = _differences(shares, worth, c)
        below, above = (c, above) if lower.max() > tolerance else (below, c)
    k = len(shares)
    p = k * (k - 1) * float(ndtr(-below))
    if k > 2 and p > 1e-8:
        # Further out the distribution's integral is all rounding, and the bound over all pairs is close enough.
        p = min(p, float(studentized_range.sf(below * math.sqrt(2), k, np.inf)))
    return below, min(1.0, looks * p)


@lru_cache(maxsize=256)
def _range_quantile(confidence: float, k: int) -> float:
    """The normal quantile that all pairs of k groups share (Tukey's studentised range)."""
    from scipy.special import ndtri
    from scipy.stats import studentized_range

    if k == 2:
        return float(ndtri((1 + confidence) / 2))
    return float(studentized_range.ppf(confidence, k, np.inf)) / math.sqrt(2)
