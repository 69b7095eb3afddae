"""Anomalies of how sure the model is: scores that collapse on a half, entropy that rises, certainty that decays."""

from __future__ import annotations

import math

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.predictions.results import (
    DEFAULT,
    Array,
    Floats,
    PredictionAnomaly,
    PredictionThresholds,
    Preset,
    check_preset,
    judged,
    missing,
    numbers,
    share_change,
)

BUCKETS = 30
LEAST_BUCKETS = 8


def certainty(scores: Array) -> Floats:
    """How far each row's scores are from knowing nothing: 0 where all classes are equally likely, 1 where one is sure.

    For a score of the positive class that is |2p − 1|; for one column a class (max − 1/k) / (1 − 1/k).

    Raises:
        InvalidInput: for scores that are no probabilities, or rows of them that do not sum to 1.

    >>> certainty(np.array([0.5, 0.9, 0.1])).round(3).tolist()
    [0.0, 0.8, 0.8]
    """
    p = _probabilities(scores)
    k = p.shape[1]
    return np.asarray((p.max(axis=1) - 1 / k) / (1 - 1 / k))


def confidence_collapse(
    reference: Array,
    current: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Do more scores lie within .1 of a half than in the reference?

    With more classes: rows whose certainty is below what a score of .6 has of two. Classic: more than half of the rows
    do. Assumes independent rows.

    Raises:
        InvalidInput: for scores that are no probabilities.

    >>> rng = np.random.default_rng(0)
    >>> result = confidence_collapse(rng.beta(0.5, 0.5, 2000), rng.beta(20, 20, 500))
    >>> result.verdict, result.severity
    ('harmed', 'critical')
    """
    old, new = certainty(reference), certainty(current)
    n, m = len(old), len(new)
    if min(n, m) < thresholds.min_rows:
        return _few("confidence_collapse", m, n, thresholds)
    near = 2 * thresholds.near_half + 1e-12
    before, after = int((old <= near).sum()), int((new <= near).sum())
    change = share_change(before, n, after, m)
    return judged(
        "confidence_collapse",
        preset,
        estimate=change.difference,
        interval=change.interval,
        statistic=change.z,
        p=change.p,
        effect=max(0.0, change.h) / thresholds.effect,
        classic=(after / m > thresholds.classic_collapse_share, "high"),
        n=m,
        n_reference=n,
        sentence=(
            f"{after / m:.4g} of {m} rows are all but undecided, within {thresholds.near_half:g} of a half, against "
            f"{before / n:.4g} of {n} in the reference: a change of {change.difference:+.4g} (95% interval "
            f"{change.interval[0]:+.4g} to {change.interval[1]:+.4g}, p = {change.p:.3g})."
        ),
        thresholds=thresholds,
    )


def entropy_rise(
    reference: Array,
    current: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Has the mean entropy of the scores risen? In shares of the largest entropy, so from 0 to 1.

    Welch's test of the means (1947), effect Cohen's d by the reference's standard deviation. Classic: the mean rose by
    more than 20 % of itself. Assumes independent rows.

    Raises:
        InvalidInput: for scores that are no probabilities.

    >>> rng = np.random.default_rng(0)
    >>> result = entropy_rise(rng.beta(0.5, 0.5, 2000), rng.beta(2, 2, 500))
    >>> result.verdict, round(result.estimate, 2)
    ('harmed', 0.29)
    """
    from scipy.special import stdtr, stdtrit

    old, new = _entropy(reference), _entropy(current)
    n, m = len(old), len(new)
    if min(n, m) < max(2, thresholds.min_rows):
        return _few("entropy_rise", m, n, thresholds)
    before, after = float(old.mean()), float(new.mean())
    parts = float(old.var(ddof=1)) / n, float(new.var(ddof=1)) / m
    error, change = math.sqrt(sum(parts)), after - before
    # Scores that never vary differ for certain, or not at all.
    statistic, p, half = math.copysign(math.inf, change) if change else 0.0, float(abs(change) < 1e-12), 0.0
    if error > 1e-12:
        df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
        statistic = change / error
        p, half = 2 * float(stdtr(df, -abs(statistic))), float(stdtrit(df, 0.975)) * error
    sd = max(float(old.std(ddof=1)), 1e-9)
    return judged(
        "entropy_rise",
        preset,
        estimate=change,
        interval=(change - half, change + half),
        statistic=statistic,
        p=p,
        effect=max(0.0, change / sd) / thresholds.effect,
        classic=(change > thresholds.classic_mean_shift * before + 1e-12, "medium"),
        n=m,
        n_reference=n,
        sentence=(
            f"The scores' mean entropy is {after:.4g} of its largest value over {m} rows, against {before:.4g} over "
            f"{n} in the reference: a change of {change:+.4g} (95% interval {change - half:+.4g} to "
            f"{change + half:+.4g}, p = {p:.3g})."
        ),
        thresholds=thresholds,
    )


def confidence_decay(
    scores: Array,
    times: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Does certainty fall over the window?

    Rows are put in the order of time into up to 30 buckets of equal size. The trend of their means is Theil's and
    Sen's (1968) and its test Mann's and Kendall's, so a single bad hour does not make a trend. The estimate is the
    change over the whole window; its effect counts standard deviations of rows. Classic: a fall by more than 20 % of
    the mean, with p < .05. Assumes that buckets do not depend on each other.

    Args:
        scores: as for `certainty`.
        times: when each row was scored, in any unit.
        preset: "calibrated" or "classic".
        thresholds: what is too much.

    Raises:
        InvalidInput: for scores that are no probabilities, or times that are missing or do not fit.

    >>> rng = np.random.default_rng(0)
    >>> when = np.arange(3000)
    >>> result = confidence_decay(0.5 + 0.5 * rng.beta(8, 2, 3000) * (1 - when / 6000), when)
    >>> result.verdict, round(result.estimate, 2)
    ('harmed', -0.4)
    """
    check_preset(preset)
    sure, when = certainty(scores), numbers(times, "times")
    n = len(sure)
    if len(when) != n:
        raise InvalidInput(f"Every row needs a time; got {len(when)} times for {n} rows.")
    if not np.isfinite(when).all():
        raise InvalidInput("Times must be finite; leave out rows without one.")
    buckets = min(BUCKETS, n // 20)
    if n < thresholds.min_rows or buckets < LEAST_BUCKETS or when.min() == when.max():
        words = f"{n} rows at different times are too few for a trend; it needs {max(thresholds.min_rows, 160)}."
        return missing("confidence_decay", n, 0, words, nothing=not n)
    from scipy.stats import kendalltau, theilslopes

    order = np.argsort(when, kind="stable")
    bucket = np.arange(n) * buckets // n
    size = np.bincount(bucket)
    means = np.bincount(bucket, sure[order]) / size
    start = float(when.min())
    span = float(when.max()) - start
    places = np.bincount(bucket, (when[order] - start) / span) / size
    sd = math.sqrt(max(float(((sure[order] - means[bucket]) ** 2).sum()) / (n - buckets), 0.0))
    if means.min() == means.max() or places.min() == places.max():
        change = low = high = tau = 0.0
        p = 1.0
    else:
        slope = theilslopes(means, places)
        change, low, high = float(slope[0]), float(slope[2]), float(slope[3])
        tau, p = (float(value) for value in kendalltau(places, means))
    level = float(sure.mean())
    return judged(
        "confidence_decay",
        preset,
        estimate=change,
        interval=(low, high),
        statistic=tau,
        p=p,
        effect=max(0.0, -change) / max(sd, 1e-9) / thresholds.effect,
        classic=(-change > thresholds.classic_mean_shift * level and p < thresholds.classic_p, "medium"),
        n=n,
        n_reference=0,
        sentence=(
            f"Over the window the scores' mean certainty, {level:.4g} of 1 in {n} rows, changes by {change:+.4g} (95% "
            f"interval {low:+.4g} to {high:+.4g}; p = {p:.3g} for a trend over {buckets} parts)."
        ),
        thresholds=thresholds,
    )


def _entropy(scores: Array) -> Floats:
    from scipy.special import entr

    p = _probabilities(scores)
    return np.asarray(entr(p).sum(axis=1) / math.log(p.shape[1]))


def _probabilities(scores: Array) -> Floats:
    """One column a class; a single score becomes two."""
    p = np.asarray(scores)
    if p.dtype.kind not in "biuf" or p.ndim not in (1, 2) or (p.ndim == 2 and p.shape[1] < 2):
        raise InvalidInput(
            f"Scores must be numbers, one a row or one column for each of two classes or more; got {p.dtype} {p.shape}."
        )
    p = p.astype(np.float64)
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise InvalidInput("Scores must lie between 0 and 1, and none may be missing.")
    if p.ndim == 1:
        return np.column_stack([1 - p, p])
    if p.size and np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise InvalidInput("The scores of all classes must sum to 1 in every row.")
    return p


def _few(name: str, n: int, n_reference: int, thresholds: PredictionThresholds) -> PredictionAnomaly:
    words = f"There are {n} rows and {n_reference} of the reference; both need {thresholds.min_rows} to be compared."
    return missing(name, n, n_reference, words, nothing=not n)
