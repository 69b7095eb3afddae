"""Metrics of each group by itself, with intervals, and groups that are too small to speak of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.performance.metrics import wilson_limits

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Metric = Literal["selection_rate", "tpr", "fpr", "precision", "accuracy"]

WORDS = {
    "selection_rate": "share predicted positive",
    "tpr": "true-positive rate",
    "fpr": "false-positive rate",
    "precision": "precision",
    "accuracy": "accuracy",
}
MIN_SIZE = 30
OTHER = "other"


@dataclass(frozen=True, slots=True)
class GroupMetric:
    """A share within one group; `n` rows enter it, `size` rows are in the group, `worth` is the effective number.

    `status` is "insufficient" where fewer than the minimum enter; the estimate is then shown but compared with nothing.
    """

    group: str
    metric: str
    status: Literal["sufficient", "insufficient"]
    estimate: float
    interval: tuple[float, float]
    successes: int
    n: int
    size: int
    worth: float
    sentence: str


def group_metrics(
    predicted: Array,
    groups: Array,
    truth: Array | None = None,
    *,
    metric: Metric = "selection_rate",
    positive: int = 1,
    clusters: Array | None = None,
    min_size: int = MIN_SIZE,
    confidence: float = 0.95,
) -> tuple[GroupMetric, ...]:
    """One metric for every group, with Wilson's interval.

    Assumes independent rows, or rows that depend on each other only within `clusters` (entities); the interval then
    uses the number of rows that would tell as much if they were independent.

    Args:
        predicted: class codes.
        groups: the group of each row: text, numbers or booleans; none may be missing.
        truth: class codes; needed for every metric but selection_rate.
        metric: selection_rate, tpr, fpr, precision or accuracy.
        positive: the code of the positive class.
        clusters: what each row belongs to, if rows of one entity are not independent.
        min_size: groups in which fewer rows enter the metric are insufficient.
        confidence: of the interval.

    Raises:
        InvalidInput: for lengths that differ, missing groups or codes, or a metric that needs the truth.

    >>> found = group_metrics(np.array([1, 0, 1, 1]), np.array(["a", "a", "b", "b"]), min_size=2)
    >>> [(one.group, one.estimate, one.status) for one in found]
    [('a', 0.5, 'sufficient'), ('b', 1.0, 'sufficient')]
    """
    from scipy.special import ndtri

    check_share("confidence", confidence)
    if min_size < 1:
        raise InvalidInput(f"The smallest group must have at least 1 row; min_size is {min_size}.")
    hit, entering = metric_flags(predicted, truth, metric, positive)
    codes, names = group_codes(groups, len(hit))
    k = len(names)
    sizes = np.bincount(codes, minlength=k)
    n = np.bincount(codes[entering], minlength=k)
    successes = np.bincount(codes[entering & hit], minlength=k)
    worth = _worth(hit, entering, codes, n, successes, clusters)
    z = float(ndtri((1 + confidence) / 2))
    results = []
    for place, name in enumerate(names):
        rows, good = int(n[place]), int(successes[place])
        share = good / rows if rows else math.nan
        low, high = (float(limit) for limit in wilson_limits(share, worth[place], z)) if rows else (0.0, 1.0)
        enough = rows >= min_size
        sentence = (
            f"In group {name} the {WORDS[metric]} is {share:.4g} of {rows} rows "
            f"({confidence:.0%} interval {low:.4g} to {high:.4g})."
            if rows
            else f"In group {name} no row tells the {WORDS[metric]}."
        )
        if not enough:
            sentence += f" That is fewer than {min_size} rows, too few to compare."
        status: Literal["sufficient", "insufficient"] = "sufficient" if enough else "insufficient"
        size = int(sizes[place])
        results.append(
            GroupMetric(name, metric, status, share, (low, high), good, rows, size, float(worth[place]), sentence)
        )
    return tuple(results)


def pool_small_groups(groups: Array, *, min_size: int = MIN_SIZE) -> npt.NDArray[np.object_]:
    """Group names in which all groups of fewer than `min_size` rows are put together as "other".

    Raises:
        InvalidInput: for missing groups.

    >>> pool_small_groups(np.array(["a", "a", "b", "c"]), min_size=2).tolist()
    ['a', 'a', 'other', 'other']
    """
    codes, names = group_codes(groups, len(np.asarray(groups)))
    small = np.bincount(codes, minlength=len(names)) < min_size
    kept = np.array([OTHER if few else name for few, name in zip(small, names, strict=True)], dtype=object)
    return kept[codes] if len(codes) else np.empty(0, dtype=object)


def batch_counts(
    predicted: Array,
    groups: Array,
    batches: Array,
    truth: Array | None = None,
    *,
    metric: Metric = "selection_rate",
    positive: int = 1,
) -> tuple[Counts, Counts, tuple[str, ...]]:
    """Successes and rows of a metric by batch (row, in ascending order) and group (column), and the groups' names.

    This is what `monitor_gap` reads. Arguments as in `group_metrics`; `batches` are numbers, such as days.

    Raises:
        InvalidInput: for lengths that differ, or missing groups, batches or codes.

    >>> done, rows, names = batch_counts(np.array([1, 0, 1]), np.array(["a", "b", "b"]), np.array([0, 0, 1]))
    >>> done.tolist(), rows.tolist(), names
    ([[1, 0], [0, 1]], [[1, 1], [0, 1]], ('a', 'b'))
    """
    hit, entering = metric_flags(predicted, truth, metric, positive)
    codes, names = group_codes(groups, len(hit))
    when = np.asarray(batches)
    if when.shape != hit.shape or when.dtype.kind not in "iuf" or (when.dtype.kind == "f" and np.isnan(when).any()):
        raise InvalidInput("Batches must be numbers, one for each row, with none missing.")
    values, batch = np.unique(when, return_inverse=True)
    shape = (len(values), len(names))
    cells = batch * len(names) + codes
    rows = np.bincount(cells[entering], minlength=shape[0] * shape[1]).reshape(shape)
    done = np.bincount(cells[entering & hit], minlength=shape[0] * shape[1]).reshape(shape)
    return done, rows, names


def metric_flags(predicted: Array, truth: Array | None, metric: str, positive: int) -> tuple[Flags, Flags]:
    """Which rows succeed in a metric, and which enter it."""
    if metric not in WORDS:
        raise InvalidInput(f"Unknown metric '{metric}'; known are {', '.join(WORDS)}.")
    guess = _codes(predicted, "predictions")
    if metric == "selection_rate":
        return guess == positive, np.ones(len(guess), dtype=np.bool_)
    if truth is None:
        raise InvalidInput(f"The {WORDS[metric]} needs the truth. Without labels only selection_rate can be told.")
    actual = _codes(truth, "truth")
    if len(actual) != len(guess):
        raise InvalidInput(f"Truth and predictions must be of one length; got {len(actual)} and {len(guess)}.")
    if metric == "accuracy":
        return actual == guess, np.ones(len(guess), dtype=np.bool_)
    if metric == "precision":
        return actual == positive, guess == positive
    return guess == positive, (actual == positive) == (metric == "tpr")


def group_codes(groups: Array, n: int) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """The group of each row as a code, and the names in their order."""
    values = np.asarray(groups)
    if values.ndim != 1 or len(values) != n:
        raise InvalidInput(f"Each of the {n} rows needs one group; the groups' shape is {values.shape}.")
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        # What does not equal itself is NaN or NaT, whatever its type.
        missing = np.array([value is None for value in values], dtype=np.bool_)
        missing |= np.not_equal(values, values).astype(np.bool_)
    else:
        missing = np.zeros(n, dtype=np.bool_)
    if missing.any():
        raise InvalidInput(
            f"{np.count_nonzero(missing)} rows have no group. Give them a group of their own, or leave them out."
        )
    # Names decide, so that 1 and "1" of mixed columns are one group and can be sorted.
    names, codes = np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True)
    return codes.astype(np.intp), tuple(str(name) for name in names)


def check_share(name: str, value: float) -> None:
    """Refuse what does not lie strictly between 0 and 1."""
    if not 0 < value < 1:
        raise InvalidInput(f"The {name} must lie between 0 and 1; got {value}.")


def named(names: Sequence[str]) -> str:
    """A list in words."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _worth(
    hit: Flags, entering: Flags, codes: npt.NDArray[np.intp], n: Counts, successes: Counts, clusters: Array | None
) -> Floats:
    """How many independent rows each group is worth."""
    rows = n.astype(np.float64)
    if clusters is None:
        return rows
    labels = np.asarray(clusters)
    if labels.shape != hit.shape:
        raise InvalidInput(f"Each of the {len(hit)} rows needs one cluster; the clusters' shape is {labels.shape}.")
    units, unit = np.unique(labels, return_inverse=True)
    share = np.divide(successes, rows, out=np.zeros(len(n)), where=rows > 0)
    shape = (len(n), len(units))
    # Sums by cluster within each group: only pairs that occur are kept.
    pairs, place = np.unique(codes[entering] * len(units) + unit[entering], return_inverse=True)
    residual = np.bincount(place, (hit[entering] - share[codes[entering]]), minlength=len(pairs))
    sizes = np.bincount(place, minlength=len(pairs)).astype(np.float64)
    group = (pairs // shape[1]).astype(np.intp)
    spread = np.bincount(group, residual**2, minlength=len(n))
    kish = np.divide(rows**2, np.bincount(group, sizes**2, minlength=len(n)), out=np.zeros(len(n)), where=rows > 0)
    known = (spread > 0) & (share > 0) & (share < 1)
    worth = np.divide(rows**2 * share * (1 - share), spread, out=kish, where=known)
    return np.asarray(np.minimum(worth, rows), dtype=np.float64)


def _codes(values: Array, name: str) -> Array:
    codes = np.asarray(values)
    if codes.ndim != 1 or codes.dtype.kind not in "biuf":
        raise InvalidInput(f"The {name} must be a 1-d array of class codes; got {codes.ndim}-d {codes.dtype}.")
    if codes.dtype.kind == "f" and not np.isfinite(codes).all():
        raise InvalidInput(f"The {name} must not be missing; leave out rows without a code.")
    return codes
