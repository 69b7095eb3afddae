"""Labelling probabilities, and means that are weighted by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Method = Literal["stabilised", "hajek", "horvitz_thompson"]
Target = Literal["process", "window"]


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """A mean over all rows of a window, estimated from those that are labelled.

    `n_effective` is how many rows drawn at random would tell as much (Kish). `statistic` and `p` test the reference
    that was given; without one they are NaN.
    """

    estimate: float
    interval: tuple[float, float]
    standard_error: float
    statistic: float
    p: float
    n: int
    n_labelled: int
    n_effective: float
    sentence: str


def labelling_probability(alerted: Array, *, audit_share: float, alert_share: float = 1.0) -> Floats:
    """The probability of each row of being labelled, by review of its alert or by random audit.

    Assumes that the audit draws rows independently of their alerts: a + (1 − a)·r for alerted rows that are reviewed
    with probability r, and a for all others.

    Raises:
        InvalidInput: for shares outside 0 to 1.

    >>> labelling_probability(np.array([True, False]), audit_share=0.02, alert_share=0.5).round(3).tolist()
    [0.51, 0.02]
    """
    for name, share in (("audit", audit_share), ("alert", alert_share)):
        if not 0 <= share <= 1:
            raise InvalidInput(f"The {name} share must lie between 0 and 1; got {share}.")
    flags = np.asarray(alerted)
    if flags.ndim != 1 or flags.dtype.kind != "b":
        raise InvalidInput(f"Alerts must be a 1-d array of booleans; got {flags.ndim}-d {flags.dtype}.")
    return np.where(flags, audit_share + (1 - audit_share) * alert_share, audit_share)


def weighted_mean(
    values: Array,
    labelled: Array,
    probability: Array,
    *,
    method: Method = "hajek",
    strata: Array | None = None,
    clusters: Array | None = None,
    target: Target = "process",
    reference: float | None = None,
    confidence: float = 0.95,
) -> WeightedMean:
    """The mean of a value that is known on labelled rows only, with each weighing one over its labelling probability.

    Assumes that the logged probabilities are right, that no row's is 0, and independent rows (or clusters). The
    standard error is linearised; the interval takes Student's t with the effective size.

    Args:
        values: one number a row; ignored where not labelled.
        labelled: which rows are labelled.
        probability: of being labelled, for every row.
        method: "horvitz_thompson" divides the weighted sum by the number of rows, "hajek" by the sum of the weights,
            "stabilised" does the latter within each stratum, whose true size is known.
        strata: for "stabilised": something known of every row that goes with the value, such as the decision.
        clusters: rows of one cluster (an entity) may depend on each other.
        target: "process" for what the values come from, "window" for these very rows.
        reference: a mean to test against, two-sided.
        confidence: of the interval.

    Raises:
        InvalidInput: for lengths that differ, probabilities outside 0 to 1, values missing on labelled rows, or rows
            without a chance of being labelled: their mean is not identified.

    >>> result = weighted_mean(np.array([1.0, 0.0, 0.0]), np.array([True, True, False]), np.array([1.0, 0.5, 0.5]))
    >>> round(result.estimate, 3), round(result.n_effective, 1)
    (0.333, 1.8)
    """
    from scipy.special import stdtr, stdtrit

    known, chance = sampling(labelled, probability)
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != known.shape:
        raise InvalidInput(f"Values and labels must be of one length; got {len(numbers)} and {len(known)}.")
    check_design(confidence, target, clusters, len(known))
    if method not in ("stabilised", "hajek", "horvitz_thompson"):
        raise InvalidInput(f"Unknown method '{method}'; known are stabilised, hajek and horvitz_thompson.")
    n = len(known)
    if n and chance.min() == 0:
        raise InvalidInput(
            f"{np.count_nonzero(chance == 0)} rows had no chance of being labelled, so the mean over all rows is not "
            "identified. Leave them out, and speak of the others only."
        )
    if not np.isfinite(numbers[known]).all():
        raise InvalidInput("Values must be finite on every labelled row; leave out labels without a value.")
    used = int(known.sum())
    units = used if clusters is None else len(np.unique(np.asarray(clusters)[known]))
    if used < 2 or units < 2:
        sentence = f"With {used} labelled of {n} rows, in {units} units, nothing can be said of the mean."
        nothing = (-math.inf, math.inf)
        return WeightedMean(math.nan, nothing, math.nan, math.nan, math.nan, n, used, float(used), sentence)
    y = np.where(known, numbers, 0.0)
    w = np.where(known, 1 / np.where(known, chance, 1.0), 0.0)
    cells = np.zeros(n, dtype=np.intp) if strata is None else _codes(one_a_row(strata, n, "strata"))
    estimate, influence, residual = _linearised(y, w, cells, method)
    if target == "window":
        error = math.sqrt(float((residual**2 * (1 - chance)).sum()))
    else:
        sums = cluster_sums(influence, clusters)
        error = math.sqrt(float(sums @ sums) * units / (units - 1))
    effective = float(w.sum() ** 2 / (w * w).sum())
    half = float(stdtrit(max(effective - 1, 1.0), (1 + confidence) / 2)) * error
    statistic = p = math.nan
    if reference is not None and error > 0:
        statistic = (estimate - reference) / error
        p = 2 * float(stdtr(max(effective - 1, 1.0), -abs(statistic)))
    sentence = (
        f"The mean over all {n} rows is {estimate:.4g} ({confidence:.0%} interval {estimate - half:.4g} to "
        f"{estimate + half:.4g}), from {used} labelled rows that tell as much as {effective:.0f} drawn at random."
    )
    if not math.isnan(p):
        sentence += f" It differs from {reference:.4g} by {estimate - float(reference or 0):+.4g} (p = {p:.3g})."
    bounds = (estimate - half, estimate + half)
    return WeightedMean(estimate, bounds, error, statistic, p, n, used, effective, sentence)


def _linearised(y: Floats, w: Floats, cells: npt.NDArray[np.intp], method: str) -> tuple[float, Floats, Floats]:
    """The mean, what each row added to it, and what the draw of each row for labelling added to it."""
    n = len(y)
    if method == "horvitz_thompson":
        estimate = float((w * y).sum() / n)
        return estimate, (w * y - estimate) / n, w * y / n
    if method == "hajek":
        estimate = float((w * y).sum() / w.sum())
        residual = w * (y - estimate) / w.sum()
        return estimate, residual, residual
    total, sizes = np.bincount(cells, w), np.bincount(cells)
    if not total.all():
        raise InvalidInput("A stratum has no labelled row. Merge it with another one.")
    means = np.bincount(cells, w * y) / total
    estimate = float((sizes * means).sum() / n)
    residual = w * (y - means[cells]) * (sizes / total)[cells] / n
    return estimate, (means[cells] - estimate) / n + residual, residual


def sampling(labelled: Array, probability: Array) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Both as checked arrays of one length."""
    known, chance = np.asarray(labelled), np.asarray(probability)
    if known.ndim != 1 or known.dtype.kind != "b":
        raise InvalidInput(
            f"Which rows are labelled must be a 1-d array of booleans; got {known.ndim}-d {known.dtype}."
        )
    if chance.shape != known.shape:
        raise InvalidInput(f"Every row needs a labelling probability; got {chance.size} for {len(known)} rows.")
    if chance.dtype.kind not in "fiub":
        raise InvalidInput(f"Labelling probabilities must be numbers; got {chance.dtype}.")
    chance = chance.astype(np.float64)
    if len(chance) and not (chance.min() >= 0 and chance.max() <= 1):
        raise InvalidInput("Labelling probabilities must lie between 0 and 1, and none may be missing.")
    return known, chance


def one_a_row(values: Array, n: int, name: str) -> Array:
    """A 1-d array with one entry for each of the `n` rows."""
    found = np.asarray(values)
    if found.ndim != 1 or len(found) != n:
        raise InvalidInput(f"The {name} must have one entry for each of the {n} rows; their shape is {found.shape}.")
    return found


def check_design(confidence: float, target: str, clusters: Array | None, n: int) -> None:
    """Refuse a design that means nothing."""
    if not 0 < confidence < 1:
        raise InvalidInput(f"The confidence must lie between 0 and 1; got {confidence}.")
    if target not in ("process", "window"):
        raise InvalidInput(f"The target must be 'process' or 'window'; got '{target}'.")
    if clusters is not None:
        one_a_row(clusters, n, "clusters")
        if target == "window":
            raise InvalidInput("Clusters matter for the process that rows come from, not for one window: drop either.")


def cluster_sums(influence: Floats, clusters: Array | None) -> Floats:
    """The influence of each cluster, or of each row where there are none."""
    if clusters is None:
        return influence
    return np.asarray(np.bincount(_codes(clusters), influence), dtype=np.float64)


def _codes(values: Array) -> npt.NDArray[np.intp]:
    return np.unique(values, return_inverse=True)[1].astype(np.intp)
