"""Many experiments at once, looked at after every unit: how often `judge` would have erred, and how soon it decides.

The paths are those of `judge` at every prefix of the units (a test holds them to it), at a small part of its cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.experiments.evidence import STAKES, penalties
from homeostat.stats.experiments.judging import gates, shares_of_budget
from homeostat.stats.experiments.pairs import LYAPUNOV_LIMIT
from homeostat.stats.experiments.summary import EDGES
from homeostat.stats.experiments.units import BURN_IN, MetricPlan, Plan
from homeostat.stats.sequential.moments import cumulative_moments
from homeostat.stats.sequential.normal_mixture import mixture_log_evidence, normal_mixture_rho
from homeostat.stats.sequential.result import Floats, checked_count

# Values that are held at once: 8 MB an array.
BLOCK = 1_000_000


@dataclass(frozen=True)
class SimulatedExperiments:
    """How simulated experiments of two arms ended that were looked at after every unit.

    `promoted` and `rolled_back` are shares of the `runs`, with exact 95 % binomial intervals; `median_promoted` and
    `median_rolled_back` the units (of both arms) until then, NaN where it never happened; `mean_units` the units an
    experiment took, with the longest where nothing was decided,
    and `late_units` what 95 % of them needed at most. `peeked_promoted` and `peeked_rolled_back` are the
    shares of a fixed-sample z-test at the same levels, looked at as often.
    """

    runs: int
    units: int
    promoted: float
    promoted_interval: tuple[float, float]
    rolled_back: float
    rolled_back_interval: tuple[float, float]
    median_promoted: float
    median_rolled_back: float
    mean_units: float
    late_units: float
    peeked_promoted: float
    peeked_rolled_back: float


def simulate(
    control: float,
    arm: float,
    *,
    units: int,
    runs: int,
    metric: MetricPlan | None = None,
    plan: Plan | None = None,
    spread: float | None = None,
    seed: int = 0,
) -> SimulatedExperiments:
    """Experiments of two arms with one metric, each looked at after every unit.

    Args:
        control: the control's true rate; with `spread` its mean.
        arm: the new arm's.
        units: the longest experiment, in units of both arms.
        runs: how many experiments.
        metric: with its role, margin and direction; by default a success metric of 0 and 1.
        plan: budgets, weights of one epoch, minimum; by default an even split at 5 % each.
        spread: normal values with this standard deviation instead of 0 and 1, judged asymptotically.
        seed: of the draws.

    Raises:
        InvalidInput: rates that are none, a plan with other than two arms or one epoch.

    >>> found = simulate(0.5, 0.8, units=600, runs=50)
    >>> found.promoted, found.rolled_back, found.median_promoted < 200
    (1.0, 0.0, True)
    """
    given = metric or MetricPlan("outcome", bounds=None if spread is not None else (0, 1))
    planned = plan or Plan(("control", "arm"), ((0.5, 0.5),), (given,), minimum_units=0)
    if len(planned.arms) != 2 or len(planned.weights) != 1:
        raise InvalidInput("Simulated experiments have two arms and one epoch.")
    checked_count(units, "number of units")
    rng = np.random.default_rng(seed)
    better, worse = shares_of_budget(given, planned)
    together = max(1, BLOCK // units)
    ends: list[tuple[Floats, Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []
    for start in range(0, checked_count(runs, "number of runs"), together):
        shape = (min(together, runs - start), units)
        second = rng.random(shape) < planned.weights[0][1]
        level = np.where(second, arm, control)
        values = rng.normal(level, spread) if spread is not None else (rng.random(shape) < level).astype(np.float64)
        paths = evidence_paths(values, second, given, planned)
        enough = np.minimum(np.cumsum(second, axis=1), np.cumsum(~second, axis=1)) >= planned.minimum_units
        win = _first((paths.log_e_better >= -math.log(better)) & enough)
        loss = _first(paths.log_e_worse >= -math.log(worse))
        z = _peeked(values, second) * given.sign
        ends.append((win, loss, *_reached(z, better, worse)))
    win, loss = np.concatenate([end[0] for end in ends]), np.concatenate([end[1] for end in ends])
    promoted, rolled_back = win < loss, (loss <= win) & np.isfinite(loss)
    taken = np.minimum(np.minimum(win, loss), units)
    return SimulatedExperiments(
        runs,
        units,
        float(promoted.mean()),
        binomial_interval(int(promoted.sum()), runs),
        float(rolled_back.mean()),
        binomial_interval(int(rolled_back.sum()), runs),
        float(np.median(win[promoted])) if promoted.any() else math.nan,
        float(np.median(loss[rolled_back])) if rolled_back.any() else math.nan,
        float(taken.mean()),
        float(np.quantile(taken, 0.95)),
        float(np.concatenate([end[2] for end in ends]).mean()),
        float(np.concatenate([end[3] for end in ends]).mean()),
    )


@dataclass(frozen=True)
class EvidencePaths:
    """The log evidence after each unit: that the arm is better (or not worse), and that it is worse."""

    log_e_better: Floats
    log_e_worse: Floats


def evidence_paths(
    values: npt.NDArray[Any], second: npt.NDArray[np.bool_], metric: MetricPlan, plan: Plan
) -> EvidencePaths:
    """`judge`'s evidence after each unit of experiments with two arms, one epoch and one segment.

    Args:
        values: (experiments, units), in the order in which units came.
        second: True where a unit is the new arm's; of the same shape.
        metric: bounded or not.
        plan: the plan of the experiment, whose first epoch's weights are taken.
    """
    weight = plan.weights[0][1] / sum(plan.weights[0])
    h = weight * (1 - weight)
    above, below = gates(metric)
    if metric.bounds is None:
        return _asymptotic(values, second, metric, plan)
    x = (np.asarray(values, dtype=np.float64) - metric.bounds[0]) / metric.range
    n = x.shape[-1]
    guess = np.full(x.shape, 0.5 if metric.baseline is None else (metric.baseline - metric.bounds[0]) / metric.range)
    for start, middle, end in zip(EDGES[:-2], EDGES[1:-1], EDGES[2:], strict=True):
        if middle >= n:
            break
        guess[..., middle : min(end, n)] = x[..., start:middle].mean(axis=-1, keepdims=True)
    y = (x - guess) * (second - weight)
    score, squares = metric.sign * np.cumsum(y, axis=-1), np.cumsum(y * y, axis=-1)
    information = h * np.arange(1, n + 1)
    penalty = penalties(np.array([max(weight, 1 - weight)]))[:, 0]
    return EvidencePaths(
        _mixed(score - above / metric.range * information, squares, penalty),
        _mixed(below / metric.range * information - score, squares, penalty),
    )


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of Clopper and Pearson (1934) of a share.

    >>> tuple(round(end, 4) for end in binomial_interval(0, 100))
    (0.0, 0.0362)
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def _mixed(excess: Floats, squares: Floats, penalty: Floats) -> Floats:
    total = np.full(excess.shape, -np.inf)
    for stake, cost in zip(STAKES.tolist(), penalty.tolist(), strict=True):
        np.logaddexp(total, stake * excess - cost * squares, out=total)
    return np.asarray(total - math.log(len(STAKES)))


def _asymptotic(
    values: npt.NDArray[Any], second: npt.NDArray[np.bool_], metric: MetricPlan, plan: Plan
) -> EvidencePaths:
    x, inside = np.asarray(values, dtype=np.float64), second.astype(np.float64)
    n1, mean1, m1, fourth1 = cumulative_moments(x, 1 - inside)
    n2, mean2, m2, fourth2 = cumulative_moments(x, inside)
    weight = plan.weights[0][1] / sum(plan.weights[0])
    information = weight * (1 - weight) * (n1 + n2)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = m1 / (n1 - 1) / n1 + m2 / (n2 - 1) / n2
        variance = information**2 * noise
        fourth = information**4 * (fourth1 / n1**4 + fourth2 / n2**4)
        ready = (np.minimum(n1, n2) >= BURN_IN) & (variance > 0)
        ready &= fourth <= LYAPUNOV_LIMIT * variance**2
    time = np.where(ready, 2 * information, 1.0)
    scale = np.sqrt(np.where(ready, variance, 1.0) / time)
    score = metric.sign * information * (mean2 - mean1)
    paths = []
    for gate, alpha, side in zip(gates(metric), shares_of_budget(metric, plan), (1.0, -1.0), strict=True):
        rho = normal_mixture_rho(plan.tight_at, alpha, one_sided=True)
        excess = np.where(ready, side * (score - gate * information), 0.0) / scale
        paths.append(np.where(ready, mixture_log_evidence(excess, time, rho, one_sided=True), 0.0))
    return EvidencePaths(paths[0], paths[1])


def _first(hit: npt.NDArray[np.bool_]) -> Floats:
    """The number of units at the first hit of each experiment; infinite where there is none."""
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf)


def _peeked(values: Floats, second: npt.NDArray[np.bool_]) -> Floats:
    """The z statistic of the difference of means after each unit, 0 before 30 units an arm."""
    inside = second.astype(np.float64)
    n1, mean1, m1, _ = cumulative_moments(values, 1 - inside)
    n2, mean2, m2, _ = cumulative_moments(values, inside)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (mean2 - mean1) / np.sqrt(m1 / (n1 - 1) / n1 + m2 / (n2 - 1) / n2)
    return np.where((np.minimum(n1, n2) >= 30) & np.isfinite(z), z, 0.0)


def _reached(z: Floats, better: float, worse: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    from scipy.special import ndtri

    win, loss = _first(z >= -ndtri(better)), _first(z <= ndtri(worse))
    return win < loss, loss < win
