"""Gaps between groups over time: evidence that stays valid however often it is looked at.

For one batch of n_a rows of group a and n_b of group b, and the hypothesis θ_b − θ_a ≤ δ, the likelihood ratio of any
alternative to its projection onto that hypothesis (the nearest pair of rates in relative entropy, weighted by n_a and
n_b) is an e-variable (Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests", 2024; Turner
and Grünwald, "Exact anytime-valid confidence intervals for contingency tables and beyond", 2023). Batches multiply,
as long as the alternative of each is chosen from earlier batches only. The rates may change from batch to batch: the
hypothesis is that the gap never exceeds δ.

A gap that opens late would have to win back what long peace has cost. So the evidence is spread over all batches at
which betting might begin, the weight of the s-th being 1/(s(s+1)); the sum of all is an e-process again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.fairness.groups import check_share

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# How far beyond the tolerance the alternatives lie, and how much of the past each further batch forgets.
EXCESSES = (0.02, 0.05, 0.1, 0.2, 0.4)
FORGETTING = 0.05


@dataclass(frozen=True, slots=True)
class SequentialGap:
    """What all batches so far say of the largest gap between groups.

    `log_e` is the log evidence at the last batch that some gap has exceeded `tolerance`, averaged over all ordered
    pairs of groups; `path` holds it after every batch, `alarm` is the first batch (0-based) at which it reached
    log(1/α), None where it never did. `p` is anytime-valid. `estimate` is the largest gap of the rates over all
    batches, its `interval` a confidence sequence that assumes rates that do not change.
    """

    verdict: Literal["no_data", "insufficient", "healthy", "harmed", "inconclusive"]
    estimate: float
    interval: tuple[float, float]
    log_e: float
    p: float
    tolerance: float
    alarm: int | None
    lowest: str
    highest: str
    n: int
    path: tuple[float, ...]
    sentence: str


def monitor_gap(
    successes: Array,
    totals: Array,
    *,
    names: Sequence[str] | None = None,
    tolerance: float = 0.1,
    alpha: float = 0.05,
    min_size: int = 30,
) -> SequentialGap:
    """Has any gap between groups exceeded the tolerance, in a history that is looked at after every batch?

    Assumes that within each group the rows of a batch are independent with one rate, given the past, and that how many
    rows a group has tells nothing of how they come out. Then the chance of ever raising a false alarm, over an endless
    history whose gap never exceeds the tolerance, is at most alpha. "healthy" needs the confidence sequence below the
    tolerance, which assumes rates that stay as they are.

    Args:
        successes: counts by batch (row, oldest first) and group (column), as `batch_counts` makes them.
        totals: rows that entered, in the same shape.
        names: of the groups.
        tolerance: a difference of rates up to this one is accepted.
        alpha: the chance of a false alarm that is accepted over the whole history.
        min_size: groups with fewer rows over all batches are insufficient; they still count in the evidence.

    Raises:
        InvalidInput: for counts that are negative, not whole or do not fit each other, or settings out of range.

    >>> rng = np.random.default_rng(0)
    >>> rows = np.full((60, 2), 100)
    >>> result = monitor_gap(rng.binomial(rows, [0.3, 0.5]), rows, names=["a", "b"], tolerance=0.1)
    >>> result.verdict, result.alarm, round(result.estimate, 2)
    ('harmed', 1, 0.2)
    """
    check_share("level alpha", alpha)
    done, rows = _counts(successes, totals)
    if done.ndim != 2:
        raise InvalidInput(f"One history has batches as rows and groups as columns; got {done.ndim} dimensions.")
    path = gap_log_evidence(done, rows, tolerance=tolerance)
    k = done.shape[1]
    labels = [str(name) for name in names] if names is not None else [str(place) for place in range(k)]
    if len(labels) != k:
        raise InvalidInput(f"There are {k} groups, but {len(labels)} names.")
    n, hits = rows.sum(axis=0), done.sum(axis=0)
    enough = np.flatnonzero(n >= min_size)
    log_e = float(path[-1]) if len(path) else 0.0
    peak = float(path.max()) if len(path) else 0.0
    p = min(1.0, math.exp(-peak)) if peak > 0 else 1.0
    alarms = np.flatnonzero(path >= math.log(1 / alpha))
    alarm = int(alarms[0]) if len(alarms) else None
    estimate, interval, lowest, highest = math.nan, (0.0, 1.0), "", ""
    if len(enough) >= 2:
        shares = hits[enough] / n[enough]
        least, most = int(shares.argmin()), int(shares.argmax())
        estimate, lowest, highest = float(shares[most] - shares[least]), labels[enough[least]], labels[enough[most]]
        low, high = rate_sequence(hits[enough], n[enough], alpha=alpha / len(enough))
        interval = (max(0.0, float(low.max() - high.min())), min(1.0, float(high.max() - low.min())))
    verdict: Literal["no_data", "insufficient", "healthy", "harmed", "inconclusive"] = "inconclusive"
    if alarm is not None:
        verdict = "harmed"
    elif not n.sum():
        verdict = "no_data"
    elif len(enough) < 2:
        verdict = "insufficient"
    elif interval[1] <= tolerance and len(enough) == k:
        verdict = "healthy"
    shown = f"{math.exp(log_e):.3g}" if log_e < 20 else f"10^{log_e / math.log(10):.0f}"
    if math.isnan(estimate):
        sentence = "Fewer than two groups have enough rows to be compared."
    else:
        sentence = (
            f"Over {len(path)} batches the rate is {estimate:.4g} higher in group {highest} than in group {lowest} "
            f"({1 - alpha:.0%} interval {interval[0]:.4g} to {interval[1]:.4g})."
        )
    sentence += (
        f" The evidence for a gap beyond {tolerance:.4g} is {shown} to 1 now"
        + (f" and passed {1 / alpha:.3g} at batch {alarm + 1}" if alarm is not None else f", short of {1 / alpha:.3g}")
        + f" (p = {p:.3g}, valid at every look)."
    )
    return SequentialGap(
        verdict=verdict,
        estimate=estimate,
        interval=interval,
        log_e=log_e,
        p=p,
        tolerance=tolerance,
        alarm=alarm,
        lowest=lowest,
        highest=highest,
        n=int(n.sum()),
        path=tuple(float(value) for value in path),
        sentence=sentence,
    )


def gap_log_evidence(successes: Array, totals: Array, *, tolerance: float = 0.1) -> Floats:
    """The path of the log evidence that some group's rate exceeds another's by more than the tolerance.

    Assumptions and errors as in `monitor_gap`. Rows of a pair wait until both of its groups have some.

    Args:
        successes: counts, batches and groups along the last two axes; other axes are histories of their own.
        totals: of the same shape.
        tolerance: the largest difference that the hypothesis allows, at least 0 and below 1.

    Returns:
        log E after each batch; act at `log E >= log(1/α)`.

    >>> path = gap_log_evidence(np.array([[10, 90]] * 5), np.full((5, 2), 100))
    >>> bool(path[-1] > 100), bool(gap_log_evidence(np.array([[50, 50]] * 5), np.full((5, 2), 100))[-1] < 0)
    (True, True)
    """
    if not 0 <= tolerance < 1:
        raise InvalidInput(f"The tolerance must be at least 0 and below 1; got {tolerance}.")
    done, rows = _counts(successes, totals)
    if done.ndim < 2:
        raise InvalidInput("Counts need batches and groups as their last two axes; got one axis.")
    *lead, batches, k = done.shape
    if k < 2:
        raise InvalidInput(f"A gap needs at least two groups; got {k}.")
    # Some alternative must lie beyond every tolerance, however close it is to 1.
    deltas = np.array([tolerance + excess * min(1.0, 1.9 * (1 - tolerance)) for excess in EXCESSES])
    a, b = (np.array(side) for side in zip(*[(i, j) for i in range(k) for j in range(k) if i != j], strict=True))
    shape = (*lead, len(a))
    waiting = np.zeros((4, *shape))
    past = np.zeros((4, *shape))
    begun = np.full((*shape, len(deltas)), -np.inf)
    path = np.empty((*lead, batches))
    for step in range(batches):
        now = np.stack([done[..., step, a], rows[..., step, a], done[..., step, b], rows[..., step, b]])
        waiting = waiting + now
        ready = (waiting[1] > 0) & (waiting[3] > 0)
        block = np.where(ready, waiting, 0.0)
        gained = np.where(ready[..., None], _gain(block, past, deltas, tolerance), 0.0)
        begun = np.logaddexp(begun, -math.log((step + 1) * (step + 2))) + gained
        past = past * (1 - FORGETTING * ready) + block
        waiting = np.where(ready, 0.0, waiting)
        # What has not begun yet is money in the bank.
        wealth = np.logaddexp(begun, -math.log(step + 2))
        flat = wealth.reshape(*lead, -1)
        top = flat.max(axis=-1)
        path[..., step] = top + np.log(np.exp(flat - top[..., None]).mean(axis=-1))
    return path


def rate_sequence(successes: Array, totals: Array, *, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Confidence sequences of rates: limits that cover each at all times together, with probability 1 − α.

    The rates whose Bernoulli likelihood is above α times the uniform mixture's (Robbins 1970); exact. Assumes
    independent rows of one unchanging rate.

    Args:
        successes: counts so far, of any shape.
        totals: rows so far, in the same shape.
        alpha: the chance that some limit is ever wrong, between 0 and 1.

    Raises:
        InvalidInput: for counts that are negative, not whole or do not fit each other.

    >>> low, high = rate_sequence(np.array([50]), np.array([100]))
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.345, 0.655)
    """
    from scipy.special import betaln, xlog1py, xlogy

    check_share("level alpha", alpha)
    s, n = _counts(successes, totals)
    bound = math.log(alpha) + betaln(s + 1, n - s + 1)
    share = np.divide(s, n, out=np.full(s.shape, 0.5), where=n > 0)

    def outside(rate: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(xlogy(s, rate) + xlog1py(n - s, -rate) < bound)

    limits = []
    for end in (0.0, 1.0):
        out, inside = np.full(s.shape, end), share.copy()
        # Where not even the end is ruled out, it is the limit.
        open_end = ~outside(out)
        for _ in range(60):
            middle = (out + inside) / 2
            beyond = outside(middle)
            out, inside = np.where(beyond, middle, out), np.where(beyond, inside, middle)
        limits.append(np.where(open_end, end, out))
    return limits[0], limits[1]


def _gain(block: Floats, past: Floats, deltas: Floats, tolerance: float) -> Floats:
    """The log likelihood ratio of each alternative for one batch; the last axis is that of the alternatives."""
    # Half a success and half a failure in each group: the alternative stays inside and needs no first batch.
    before = [count[..., None] for count in (past[0] + 0.5, past[1] + 1, past[2] + 0.5, past[3] + 1)]
    alt_a = _nearest(before[0] / before[1], before[2] / before[3], before[1], before[3], deltas)
    alt_b = alt_a + deltas
    s_a, n_a, s_b, n_b = (count[..., None] for count in block)
    null_a = _nearest(alt_a, alt_b, np.maximum(n_a, 1), np.maximum(n_b, 1), np.full_like(deltas, tolerance))
    null_b = null_a + tolerance
    return np.asarray(
        s_a * np.log(alt_a / null_a)
        + (n_a - s_a) * np.log((1 - alt_a) / (1 - null_a))
        + s_b * np.log(alt_b / null_b)
        + (n_b - s_b) * np.log((1 - alt_b) / (1 - null_b))
    )


def _nearest(p_a: Floats, p_b: Floats, n_a: Floats, n_b: Floats, delta: Floats) -> Floats:
    """The first of two rates that differ by delta (b less a) and are nearest to p_a and p_b in relative entropy.

    The root of a cubic in closed form (Farrington and Manning 1990), and a step of Newton's against rounding.
    """
    ratio = n_a / n_b
    third = 1 + ratio
    b = -(1 + ratio + p_b + ratio * p_a + delta * (ratio + 2))
    c = delta * delta + delta * (2 * p_b + ratio + 1) + p_b + ratio * p_a
    d = -p_b * delta * (1 + delta)
    v = b**3 / (27 * third**3) - b * c / (6 * third**2) + d / (2 * third)
    u = np.where(v >= 0, 1.0, -1.0) * np.sqrt(np.maximum(b * b / (9 * third**2) - c / (3 * third), 1e-300))
    w = (math.pi + np.arccos(np.clip(v / u**3, -1, 1))) / 3
    edge = 1e-9
    x = np.clip(2 * u * np.cos(w) - b / (3 * third) - delta, edge, 1 - delta - edge)
    for _ in range(2):
        y = x + delta
        slope = n_a * (x - p_a) / (x * (1 - x)) + n_b * (y - p_b) / (y * (1 - y))
        bend = n_a * (p_a / x**2 + (1 - p_a) / (1 - x) ** 2) + n_b * (p_b / y**2 + (1 - p_b) / (1 - y) ** 2)
        x = np.clip(x - slope / bend, edge, 1 - delta - edge)
    return np.asarray(x)


def _counts(successes: Array, totals: Array) -> tuple[Floats, Floats]:
    done, rows = np.asarray(successes), np.asarray(totals)
    if done.shape != rows.shape or not done.ndim:
        raise InvalidInput(f"Successes and totals must have one shape; got {done.shape} and {rows.shape}.")
    if done.dtype.kind not in "iufb" or rows.dtype.kind not in "iufb":
        raise InvalidInput("Successes and totals are counts and must be numbers.")
    done, rows = done.astype(np.float64), rows.astype(np.float64)
    if not (np.isfinite(done).all() and np.isfinite(rows).all() and (done >= 0).all() and (done <= rows).all()):
        raise InvalidInput("Counts must be finite, and successes between 0 and the totals.")
    if (done != np.floor(done)).any() or (rows != np.floor(rows)).any():
        raise InvalidInput("Successes and totals are counts and must be whole.")
    return done, rows
