"""Anomalies of the outputs themselves: their balance, their range, their outliers, and outputs that never change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.performance.metrics import wilson_interval
from homeostat.stats.predictions.results import (
    DEFAULT,
    Array,
    PredictionAnomaly,
    PredictionThresholds,
    Preset,
    judged,
    missing,
    numbers,
    share_change,
)


def class_balance(
    reference: Array,
    current: Array,
    *,
    positive: Any = None,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Has the share of a predicted class shifted, as from 5 % to 20 % positives?

    With `positive` that class is compared, else every class, and the one that shifted most (by Cohen's h) is told, its
    p-value multiplied by the number of classes. Classic: the share is four times what it was, or a quarter of it, or
    moved by 15 points (in at least `min_rows` rows). Assumes independent rows.

    Raises:
        InvalidInput: for outputs that are not 1-d or are missing.

    >>> before, after = np.repeat([0, 1], [950, 50]), np.repeat([0, 1], [800, 200])
    >>> result = class_balance(before, after, positive=1)
    >>> result.verdict, result.severity, round(result.estimate, 2), [round(x, 3) for x in result.interval]
    ('harmed', 'medium', 0.15, [0.122, 0.179])
    """
    old, new = _classes(reference, "reference"), _classes(current, "current")
    n, m = len(old), len(new)
    absent = _too_few("class_balance", m, n, thresholds)
    if absent:
        return absent
    if positive is None:
        kinds, codes = np.unique(np.concatenate([old, new]), return_inverse=True)
        before, after = np.bincount(codes[:n], minlength=len(kinds)), np.bincount(codes[n:], minlength=len(kinds))
    else:
        kinds = np.array([positive])
        before, after = np.array([(old == positive).sum()]), np.array([(new == positive).sum()])
    h = np.abs(np.arcsin(np.sqrt(after / m)) - np.arcsin(np.sqrt(before / n)))
    most = int(h.argmax())
    change = share_change(int(before[most]), n, int(after[most]), m)
    # Of two classes one share tells the other, so nothing was picked.
    looks = 1 if len(kinds) <= 2 else len(kinds)
    was, now = before[most] / n, after[most] / m
    factor = max(now, was) / min(now, was) if min(now, was) > 0 else (math.inf if now != was else 1.0)
    far = factor >= thresholds.classic_share_factor or abs(now - was) >= thresholds.classic_share_shift - 1e-12
    p = min(1.0, looks * change.p)
    return judged(
        "class_balance",
        preset,
        estimate=change.difference,
        interval=change.interval,
        statistic=change.z,
        p=p,
        effect=abs(change.h) / thresholds.effect,
        classic=(bool(far), "high"),
        n=m,
        n_reference=n,
        sentence=(
            f"Class {kinds[most]} is predicted for {now:.4g} of {m} rows, against {was:.4g} of {n} in the reference: a "
            f"change of {change.difference:+.4g} (95% interval {change.interval[0]:+.4g} to {change.interval[1]:+.4g}, "
            f"p = {p:.3g})."
        ),
        thresholds=thresholds,
    )


def out_of_range(
    current: Array,
    low: float,
    high: float,
) -> PredictionAnomaly:
    """Are there outputs outside the declared range, or that are no finite numbers at all?

    The range is a promise, so one such row breaks it, in both presets and in windows of any size: p is 0 or 1 without
    any chance involved. The interval is Wilson's of the share; the effect counts rows.

    Raises:
        InvalidInput: for outputs that are not numbers, or a range that is empty.

    >>> result = out_of_range(np.array([0.2, 1.3, np.nan]), 0, 1)
    >>> result.verdict, round(result.estimate, 3)
    ('harmed', 0.667)
    """
    if not low <= high:
        raise InvalidInput(f"The declared range must not be empty; got {low} to {high}.")
    values = numbers(current, "outputs")
    n = len(values)
    if not n:
        return missing("out_of_range", 0, 0, "There are no outputs whose range could be checked.", nothing=True)
    outside = int(np.count_nonzero(~(np.isfinite(values) & (values >= low) & (values <= high))))
    share = outside / n
    severity: Any = "none" if not outside else "medium" if share < 0.001 else "high" if share < 0.01 else "critical"
    return PredictionAnomaly(
        name="out_of_range",
        verdict="harmed" if outside else "healthy",
        severity=severity,
        estimate=share,
        interval=wilson_interval(outside, n),
        statistic=float(outside),
        p=0.0 if outside else 1.0,
        p_adjusted=0.0 if outside else 1.0,
        effect=float(outside),
        n=n,
        n_reference=0,
        sentence=f"{outside} of {n} outputs ({share:.4g}) are not numbers from {low:g} to {high:g}, as was declared.",
    )


def outlying_outputs(
    reference: Array,
    current: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Do more outputs lie beyond 3 standard deviations of the reference than did there?

    Classic: any output does. That alarms on nearly every window of a thousand healthy rows; so calibrated compares the
    share with the reference's own. Values that are not finite are left to `out_of_range`. Assumes independent rows.

    Raises:
        InvalidInput: for outputs that are not 1-d numbers.

    >>> rng = np.random.default_rng(0)
    >>> before, after = rng.normal(size=5000), np.append(rng.normal(size=950), rng.normal(6, 1, 50))
    >>> result = outlying_outputs(before, after)
    >>> result.verdict, round(result.estimate, 3)
    ('harmed', 0.051)
    """
    old, new = numbers(reference, "reference outputs"), numbers(current, "outputs")
    old, new = old[np.isfinite(old)], new[np.isfinite(new)]
    n, m = len(old), len(new)
    absent = _too_few("outlying_outputs", m, n, thresholds)
    if absent:
        return absent
    # Scaled first, so that squares of huge outputs stay finite.
    scale = float(np.abs(old).max()) or 1.0
    mean, sd = float((old / scale).mean()), float((old / scale).std(ddof=1))
    reach = thresholds.outlier_sd * sd + 1e-12
    before = int(np.count_nonzero(np.abs(old / scale - mean) > reach))
    with np.errstate(over="ignore"):
        after = int(np.count_nonzero(np.abs(new / scale - mean) > reach))
    change = share_change(before, n, after, m)
    return judged(
        "outlying_outputs",
        preset,
        estimate=change.difference,
        interval=change.interval,
        statistic=change.z,
        p=change.p,
        effect=max(0.0, change.h) / thresholds.effect,
        classic=(after > 0, "medium"),
        n=m,
        n_reference=n,
        sentence=(
            f"{after} of {m} outputs lie more than {thresholds.outlier_sd:g} standard deviations from the reference's "
            f"mean, {after / m:.4g} against {before / n:.4g} in the reference: a change of {change.difference:+.4g} "
            f"(95% interval {change.interval[0]:+.4g} to {change.interval[1]:+.4g}, p = {change.p:.3g})."
        ),
        thresholds=thresholds,
    )


def constant_output(
    reference: Array,
    current: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Is every output the same, a class or a value, though the reference's outputs differ?

    The p-value bounds the chance of a window without any variation: Σ pₖᵐ is at most the largest share to the power
    m − 1, averaged over what the reference leaves open of that share (uniform prior). So a window of one class is no
    surprise where nearly all of the reference was of one class. Classic: any window of one output whose reference had
    several. The estimate is the share of the most frequent output.

    Raises:
        InvalidInput: for outputs that are not 1-d or are missing.

    >>> result = constant_output(np.repeat([0, 1], [900, 100]), np.zeros(200, dtype=int))
    >>> result.verdict, f"{result.p:.1e}"
    ('harmed', '4.6e-09')
    """
    from scipy.special import betaln

    old, new = _classes(reference, "reference"), _classes(current, "current")
    n, m = len(old), len(new)
    absent = _too_few("constant_output", m, n, thresholds)
    if absent:
        return absent
    kinds, counts = np.unique(old, return_counts=True)
    values, seen = np.unique(new, return_counts=True)
    top, usual = int(seen.max()), int(counts.max())
    constant = len(values) == 1
    varied = len(kinds) > 1
    log_p = float(betaln(usual + m, n - usual + 1) - betaln(usual + 1, n - usual + 1))
    p = math.exp(min(0.0, log_p)) if constant and varied else 1.0
    shown = values[int(seen.argmax())]
    shown = f"{shown:.6g}" if isinstance(shown, float | np.floating) else str(shown)
    if constant:
        seen_text = f"All {m} outputs are {shown}"
    else:
        seen_text = f"The most frequent output, {shown}, makes up {top / m:.4g} of {m} rows"
    return judged(
        "constant_output",
        preset,
        estimate=top / m,
        interval=wilson_interval(top, m),
        statistic=float(len(values)),
        p=p,
        effect=5.0 if constant and varied else 0.0,
        classic=(constant and varied, "critical"),
        n=m,
        n_reference=n,
        sentence=(
            f"{seen_text}; in the reference the most frequent one made up {usual / n:.4g} of {n}. The chance of a "
            f"window without any variation is at most {p:.3g}."
        ),
        thresholds=thresholds,
    )


def _classes(values: Array, name: str) -> npt.NDArray[Any]:
    """Outputs of any kind that can be told apart; None among them counts as a kind."""
    found = np.asarray(values)
    if found.ndim != 1:
        raise InvalidInput(f"The {name} outputs must be 1-d; got {found.ndim}-d.")
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise InvalidInput(f"The {name} outputs hold missing values. Leave those rows out; out_of_range counts them.")
    return found.astype(str) if found.dtype.kind == "O" else found


def _too_few(name: str, n: int, n_reference: int, thresholds: PredictionThresholds) -> PredictionAnomaly | None:
    least = thresholds.min_rows
    if n >= least and n_reference >= least:
        return None
    words = f"There are {n} rows and {n_reference} of the reference; both need {least} to be compared."
    return missing(name, n, n_reference, words, nothing=not n)
