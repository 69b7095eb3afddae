"""One metric of one arm against the control: estimate, evidence and interval from a summary, pooled by stratum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.stats.experiments.evidence import (
    asymptotic_log_evidence,
    asymptotic_reach,
    exact_log_evidence,
    exact_reach,
    penalties,
)
from homeostat.stats.experiments.summary import MetricSummary
from homeostat.stats.experiments.units import BURN_IN, MetricPlan, Plan
from homeostat.stats.sequential.result import Floats

LYAPUNOV_LIMIT = 0.04
# A spread of this part of the values or less is rounding.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Pair:
    """A metric in the control and in one arm.

    `levels` are the means of control and arm, each standardised over the strata (segment and epoch) with the same
    weights n·w(1 − w), so that their difference `effect` is that of like with like; NaN where no stratum has both.
    `error` is the effect's standard error as of a fixed sample, `spread` the standard deviation of a unit's value
    within the strata and `sizes` are the units with a value. `score`, `information` and what else evidence needs are
    those of `homeostat.stats.experiments.evidence`, in the direction in which more is better.
    """

    levels: tuple[float, float]
    effect: float
    error: float
    spread: float
    sizes: tuple[int, int]
    score: float
    information: float
    variance: float
    penalty: Floats | None
    is_ready: bool
    tight_at: int

    @property
    def method(self) -> str:
        """`exact` for bounded values, else `asymptotic`."""
        return "asymptotic" if self.penalty is None else "exact"

    def log_evidence(self, gate: float, alpha: float) -> float:
        """The log evidence that the effect, more being better, is above `gate` (in scaled units)."""
        return self._weighed(self.score - gate * self.information, alpha)

    def log_evidence_below(self, gate: float, alpha: float) -> float:
        """The log evidence that the effect, more being better, is below `gate` (in scaled units)."""
        return self._weighed(gate * self.information - self.score, alpha)

    def reach(self, alpha: float, *, ahead: float = 1.0) -> float:
        """How far the score may stray by chance, also once there are `ahead` times as many units; infinite unready."""
        if not self.is_ready:
            return math.inf
        if self.penalty is not None:
            return exact_reach(self.penalty * ahead, alpha)
        return asymptotic_reach(self.variance * ahead, self.information * ahead, alpha, tight_at=self.tight_at)

    def _weighed(self, excess: float, alpha: float) -> float:
        if not self.is_ready:
            return 0.0
        if self.penalty is not None:
            return float(exact_log_evidence(excess, self.penalty))
        return asymptotic_log_evidence(excess, self.variance, self.information, alpha=alpha, tight_at=self.tight_at)


def conditional_shares(plan: Plan, arm: int, epochs: int) -> Floats:
    """For each epoch the chance of the arm among the units of it and the control; 0 where one of them has no weight."""
    weights = np.array(plan.weights[:epochs], dtype=np.float64)
    both = weights[:, 0] + weights[:, arm]
    usable = (weights[:, 0] > 0) & (weights[:, arm] > 0)
    return np.where(usable, weights[:, arm] / np.where(both > 0, both, 1.0), 0.0)


def paired_with_control(summary: MetricSummary, metric: MetricPlan, plan: Plan, arm: int) -> Pair:
    """The arm and the control in one metric."""
    epochs = summary.counts.shape[1]
    w = conditional_shares(plan, arm, epochs)
    h = w * (1 - w)
    usable = h > 0
    n = summary.counts[:, :, [0, arm]]
    sizes = (int(n[..., 0].sum()), int(n[..., 1].sum()))
    exact = summary.denominators is None and metric.bounds is not None
    means, noise, spread, least = _strata(summary, arm)
    filled = (n >= (1 if exact else 2)).all(axis=-1) & usable[None, :] & np.isfinite(means).all(axis=-1)
    weights = np.where(filled, n.sum(axis=-1) * h[None, :], 0.0)
    total = float(weights.sum())
    if total > 0:
        safe = np.where(filled[..., None], means, 0.0)
        levels = (float((weights * safe[..., 0]).sum() / total), float((weights * safe[..., 1]).sum() / total))
        variance = float((weights**2 * np.where(filled, noise, 0.0)).sum())
        within = math.sqrt(max(float((weights * np.where(filled, spread, 0.0)).sum()) / total, 0.0))
    else:
        levels, variance, within = (math.nan, math.nan), 0.0, math.nan
    effect = levels[1] - levels[0]
    error = math.sqrt(variance) / total if total > 0 else math.nan
    low = metric.bounds[0] if exact and metric.bounds is not None else 0.0
    width = metric.range if exact else 1.0
    shown = (low + width * levels[0], low + width * levels[1])
    score, information, penalty, ready = effect * total if total else 0.0, total, None, False
    if exact:
        centred, squares = summary.centred[:, [0, arm]], summary.centred_squares[:, [0, arm]]
        pooled = n.sum(axis=(0, 2))
        information = float((h * pooled).sum())
        score = float(np.where(usable, (1 - w) * centred[:, 1] - w * centred[:, 0], 0.0).sum())
        spent = np.where(usable, (1 - w) ** 2 * squares[:, 1] + w**2 * squares[:, 0], 0.0)
        # Rounding must not leave a sum of squares below 0.
        penalty = penalties(np.where(usable, np.maximum(w, 1 - w), 0.5)) @ np.maximum(spent, 0.0)
        ready = information > 0
    elif total > 0:
        ready = _is_ready(summary, n, filled, weights, levels, variance, least)
    return Pair(
        shown,
        width * effect,
        width * error,
        width * within,
        sizes,
        metric.sign * score,
        information,
        variance,
        penalty,
        ready,
        plan.tight_at,
    )


def _strata(summary: MetricSummary, arm: int) -> tuple[Floats, Floats, Floats, float]:
    """By stratum: the means of both arms, the squared error of their difference, a unit's variance; least denominator.

    A ratio of sums is linearised: its error is that of the mean of (value − ratio · denominator) / mean denominator.
    """
    places = [0, arm]
    n = summary.counts[..., places]
    s1, s2 = summary.sums[..., places], summary.squares[..., places]
    count = np.maximum(n, 1)
    least = 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        if summary.denominators is None or summary.products is None or summary.denominator_squares is None:
            means = np.where(n > 0, s1 / count, np.nan)
            around = s2 - s1 * s1 / count
            scale = s2
        else:
            d1, d2, cross = (
                part[..., places] for part in (summary.denominators, summary.denominator_squares, summary.products)
            )
            means = np.where(d1 > 0, s1 / np.where(d1 > 0, d1, 1.0), np.nan)
            mean_under = np.where(d1 > 0, d1 / count, 1.0)
            around = (s2 - 2 * means * cross + means**2 * d2) / mean_under**2
            scale = s2 / mean_under**2
            least = float(mean_under[d1 > 0].min(initial=math.inf))
    around = np.where(around > ROUNDING * scale, around, 0.0)
    # One unit alone has no variance to tell; a bounded metric's strata may hold one.
    variance = around / np.maximum(n - 1, 1)
    noise = (variance / count).sum(axis=-1)
    spread = (around.sum(axis=-1)) / np.maximum(n.sum(axis=-1) - 2, 1)
    return means, noise, spread, least


def _is_ready(
    summary: MetricSummary,
    n: Floats,
    filled: npt.NDArray[np.bool_],
    weights: Floats,
    levels: tuple[float, float],
    variance: float,
    least: float,
) -> bool:
    """Whether the normal approximation may be used: enough units, none of which weighs too much.

    The largest share of a unit in the variance bounds Lyapunov's ratio from above.
    """
    if not variance > 0 or float(np.where(filled[..., None], n, 0.0).sum(axis=(0, 1)).min()) < BURN_IN:
        return False
    pull = float((weights[filled] / n[filled].min(axis=-1)).max())
    if summary.denominators is None:
        furthest = max(summary.high - min(levels), max(levels) - summary.low)
    else:
        # A value a and a denominator b of 0 or more move a ratio R by a − R·b, which lies between −R·b and a.
        level = max(abs(level) for level in levels)
        reach = level * summary.largest_denominator
        furthest = (max(summary.high, reach) if summary.low >= 0 else abs(summary.low) + summary.high + reach) / least
    return (pull * furthest) ** 2 <= LYAPUNOV_LIMIT * variance
