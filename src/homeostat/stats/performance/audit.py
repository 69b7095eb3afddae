"""Whether estimates made without labels were right, once the labels have come: an audit that may look at any time.

Each window's realised metric lies inside its interval or outside. Were the intervals right, it would lie outside with
chance `allowed` at most, whatever came before. A bet that it does so more often, averaged over all larger chances
(Robbins 1970), is an e-process: it reaches 1/level with chance `level` at most over the whole run (Ville 1939).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.performance.estimation.results import AuditStatus, EstimatedMetric, bounds
from homeostat.stats.performance.inputs import Floats, binary, level, numbers

FEWEST_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The audit so far: `estimate` is the share of windows outside, with a confidence sequence as `interval`.

    `log_e` is the largest log evidence so far against the intervals and `log_e_path` the one after each window.
    `failed_at` counts the windows until the audit failed, None where it has not; a failed audit stays failed until
    the estimator is fitted anew. `actionable` is False where it failed. `n` counts windows.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    log_e: float
    log_e_path: Floats
    n: int
    allowed: float
    status: AuditStatus
    failed_at: int | None
    actionable: bool
    sentence: str


def audit_intervals(
    outside: Any, *, allowed: float = 0.05, significance: float = 0.05, fewest: int = FEWEST_WINDOWS
) -> AuditResult:
    """Have realised metrics lain outside their intervals more often than they may?

    Args:
        outside: for each window in the order in which its labels came, whether the realised metric lay outside (0/1).
            Windows must not share rows. Empty where no labels have come.
        allowed: the chance of lying outside that the intervals admit: 1 − confidence.
        significance: the chance of ever failing right intervals, over the whole run.
        fewest: windows before the status can be `trusted`.

    Raises:
        InvalidInput: for values other than 0 and 1, or an `allowed` or `significance` outside (0, 1).

    >>> [audit_intervals(seen).status for seen in ([0, 0, 1, 0, 0, 0, 0], [0, 1, 1, 0, 1], [])]
    ['trusted', 'failing', 'not_audited']
    """
    from scipy.special import betainc, betaln

    level(1 - allowed)
    level(1 - significance)
    confidence = 1 - significance
    if np.size(outside) == 0:
        sentence = "No labels have come for a window that was estimated, so nothing is known of how good estimates are."
        return AuditResult(
            estimate=math.nan,
            interval=(0.0, 1.0),
            confidence=confidence,
            log_e=0.0,
            log_e_path=np.zeros(0),
            n=0,
            allowed=allowed,
            status="not_audited",
            failed_at=None,
            actionable=True,
            sentence=sentence,
        )
    missed = binary(outside, "windows outside")
    n, misses = len(missed), np.cumsum(missed)
    held = np.arange(1, n + 1) - misses
    # ∫ θˢ(1 − θ)ᶠ dθ over [allowed, 1], against the likelihood at `allowed`.
    tail = betainc(held + 1, misses + 1, 1 - allowed)
    with np.errstate(divide="ignore"):
        mixture = betaln(misses + 1, held + 1) + np.log(tail)
    path = mixture - math.log1p(-allowed) - misses * math.log(allowed) - held * math.log1p(-allowed)
    reached = np.flatnonzero(path >= -math.log(significance))
    failed = int(reached[0]) + 1 if len(reached) else None
    status: AuditStatus = "failing" if failed else "trusted" if n >= fewest else "not_audited"
    share, count = float(missed.mean()), int(misses[-1])
    low, high = _sequence(count, n, significance)
    verdict = {
        "failing": f"more often than right intervals would; the audit failed at window {failed}, and estimates must "
        "not be acted on until the estimator is fitted anew",
        "trusted": "no more often than right intervals would",
        "not_audited": f"which is too few windows to judge ({fewest} are needed)",
    }[status]
    sentence = (
        f"In {count} of {n} windows ({share:.0%}, {confidence:.0%} interval {low:.0%} to {high:.0%}) the labels "
        f"showed a metric outside its interval, where {allowed:.0%} may: {verdict}."
    )
    return AuditResult(
        estimate=share,
        interval=(low, high),
        confidence=confidence,
        log_e=float(path.max()),
        log_e_path=path,
        n=n,
        allowed=allowed,
        status=status,
        failed_at=failed,
        actionable=failed is None,
        sentence=sentence,
    )


def audit_estimates(
    estimates: Sequence[EstimatedMetric],
    realised: Any,
    *,
    significance: float = 0.05,
    fewest: int = FEWEST_WINDOWS,
) -> AuditResult:
    """Audit one metric's estimates against what the labels showed.

    All windows share the reference's error: a reference that is off by chance is off in every window. So each interval
    is widened by that error in full, at half of the significance, and the other half goes to the windows outside.
    The estimates must be of the very rows that have labels now; where only some came, estimate those rows again.

    Args:
        estimates: of the windows in the order in which their labels came, one metric, one confidence.
        realised: the metric that the labels showed, one a window.
        significance: the chance of ever failing right estimates, over the whole run.
        fewest: windows before the status can be `trusted`.

    Raises:
        InvalidInput: where the lengths differ, or names or confidences are mixed.
    """
    level(1 - significance)
    if len(estimates) != np.size(realised):
        raise InvalidInput(f"There are {len(estimates)} estimates but {np.size(realised)} realised metrics.")
    if not estimates:
        return audit_intervals([], significance=significance, fewest=fewest)
    if len({(one.name, one.confidence) for one in estimates}) > 1:
        raise InvalidInput("The estimates mix metrics or confidences; audit each metric for itself.")
    shown = numbers(realised, "realised metrics")
    outside = np.zeros(len(shown))
    for at, one in enumerate(estimates):
        if math.isnan(one.estimate):
            raise InvalidInput(f"{one.name} could not be estimated in window {at + 1}; leave that window out.")
        low, high = bounds(
            one.name,
            one.estimate,
            one.sampling_error,
            one.reference_error,
            confidence=one.confidence,
            n=one.n,
            reference_confidence=1 - significance / 2,
        )
        outside[at] = not low <= shown[at] <= high
    return audit_intervals(outside, allowed=1 - estimates[0].confidence, significance=significance / 2, fewest=fewest)


def _sequence(count: int, n: int, significance: float) -> tuple[float, float]:
    """A confidence sequence of a share: what the beta-binomial mixture (Jeffreys' prior) does not rule out."""
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    mixture = float(betaln(count + 0.5, n - count + 0.5) - betaln(0.5, 0.5)) + math.log(significance)

    def excess(share: float) -> float:
        return mixture - float(xlogy(count, share) + xlog1py(n - count, -share))

    middle, least = count / n, 1e-12
    low = 0.0 if count == 0 else float(brentq(excess, least, middle))
    high = 1.0 if count == n else float(brentq(excess, middle, 1 - least))
    return low, high
