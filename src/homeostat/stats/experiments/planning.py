"""How many units an experiment needs: looked at once, and judged whenever one likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.experiments.evidence import STAKES, penalties
from homeostat.stats.experiments.units import BURN_IN, TOLERANCE
from homeostat.stats.inference.planning import sample_size_proportions
from homeostat.stats.inference.results import Alternative
from homeostat.stats.inference.tails import critical
from homeostat.stats.sequential.normal_mixture import mixture_log_evidence, normal_mixture_rho
from homeostat.stats.sequential.result import Floats, checked_alpha, checked_number

# Simulated experiments, the moments at which each is looked at, and how far beyond a fixed sample they may run.
RUNS, LOOKS, FURTHEST = 1_000, 400, 8.0
MOST_UNITS = 1e12
SMALLEST, LARGEST = 1e-12, 1e12
MOST_ARMS = 50


@dataclass(frozen=True)
class UnitsNeeded:
    """A number of units: in all arms, in each, and the days they take; NaN without units a day."""

    total: int
    by_arm: tuple[int, ...]
    days: float


@dataclass(frozen=True)
class ExperimentSize:
    """What an experiment needs to find the effect in each new arm with the power asked for.

    `fixed` is for one look at the end. An anytime-valid verdict stops by itself: after `expected` units on average, and
    with the power asked for by `longest`, which is the maximum to plan with. `alpha_each` is one arm's part of alpha,
    one-sided; `goal` is superiority or non-inferiority.
    """

    goal: str
    effect: float
    margin: float
    alpha: float
    alpha_each: float
    power: float
    weights: tuple[float, ...]
    fixed: UnitsNeeded
    expected: UnitsNeeded
    longest: UnitsNeeded
    method: str
    sentence: str


def experiment_size(
    *,
    baseline: float | None = None,
    mean: float | None = None,
    standard_deviation: float | None = None,
    effect: float | None = None,
    relative: float | None = None,
    margin: float | None = None,
    lower_is_better: bool = False,
    alpha: float = 0.05,
    power: float = 0.8,
    arms: int = 2,
    weights: Sequence[float] | None = None,
    units_a_day: float | None = None,
    seed: int = 0,
) -> ExperimentSize:
    """Units for an experiment with one control and one or more new arms.

    Args:
        baseline: the control's rate, between 0 and 1; or
        mean: the control's mean, with
        standard_deviation: of a unit's value.
        effect: the smallest improvement that matters, above 0; for non-inferiority the true one, 0 if left out.
        relative: instead of effect, as a share of the baseline or mean: 0.1 is 10 % of it.
        margin: plan for showing that an arm is not worse by this, instead of that it is better.
        lower_is_better: an improvement is a fall.
        alpha: the false-promotion budget of the experiment, divided evenly among the new arms; one-sided.
        power: the chance to find the effect.
        arms: how many, with the control.
        weights: of the arms, the control first; equal if left out.
        units_a_day: new units a day in all arms, for the days.
        seed: of the 1,000 simulated experiments that the anytime-valid sizes come from. They follow the normal
            approximation and are looked at 400 times, so that the sizes are right to a few percent.

    Raises:
        InvalidInput: not exactly one of baseline and mean, an effect or margin with the wrong sign, a rate beyond 0 to
            1, weights that do not add up to 1.

    >>> size = experiment_size(baseline=0.9, effect=0.02, alpha=0.025)
    >>> size.fixed.total
    6426
    """
    shares = _weights(arms, weights)
    each = checked_alpha(alpha) / (len(shares) - 1)
    if not each < checked_alpha(power) or each >= 0.5:
        raise InvalidInput(f"The power must be above an arm's part of alpha, {each:g}, which must be below 0.5.")
    level, spread = _level(baseline, mean, standard_deviation)
    better = _effect(effect, relative, level)
    if margin is None:
        if not better > 0:
            raise InvalidInput("Give the smallest effect that matters, above 0, or a margin for non-inferiority.")
        gate, goal = 0.0, "superiority"
    else:
        if not _sized(margin, "margin") > 0:
            raise InvalidInput(f"The margin must be above 0; got {margin:g}.")
        if baseline is not None and margin >= 1:
            raise InvalidInput("The margin of a rate is a share below 1, such as 0.02 for two points.")
        gate, goal = -margin, "non-inferiority"
        if better <= gate:
            raise InvalidInput("An arm that is worse by the margin can't be shown not to be.")
    other = level - better if lower_is_better else level + better
    if baseline is not None and not 0 < other < 1:
        raise InvalidInput(f"A rate of {baseline:g} can't change by {better:g}: it would be {other:g}.")
    first, second = (level * (1 - level), other * (1 - other)) if baseline is not None else (spread**2, spread**2)
    gap = better - gate
    if gap < SMALLEST:
        raise InvalidInput(f"An effect of {gap:g} would need more than {MOST_UNITS:g} units. Plan for a larger one.")
    reach = critical(1 - each, math.inf, "larger") + critical(power, math.inf, "larger")
    # The smallest arm has to show it; the others have by then.
    treated = min(shares[1:])
    exact = reach**2 * (first / shares[0] + second / treated) / gap**2
    if exact <= MOST_UNITS / 10 and baseline is not None and margin is None:
        # The test of equal rates pools them.
        side: Alternative = "smaller" if lower_is_better else "larger"
        ratio = treated / shares[0]
        exact = sample_size_proportions(level, other, power=power, alpha=each, ratio=ratio, alternative=side).exact
        exact /= shares[0]
    # However large the effect, an arm needs two units to vary.
    exact = max(exact, 2 / min(shares))
    if exact > MOST_UNITS:
        raise InvalidInput(f"An effect of {gap:g} would need more than {MOST_UNITS:g} units. Plan for a larger one.")
    pace = math.nan if units_a_day is None else checked_number(units_a_day, "number of units a day", low=1e-9)
    stops = _stops(exact, gap, (first, second), (shares[0], treated), each, is_rate=baseline is not None, seed=seed)
    with np.errstate(invalid="ignore"):
        longest = float(np.quantile(stops, power))
    # Between two that never stop there is no number either.
    if not math.isfinite(longest):
        raise InvalidInput(
            f"The anytime-valid verdict needs more than {FURTHEST:g} times a fixed sample; plan for a larger effect."
        )
    expected = float(np.minimum(stops, longest).mean())
    sizes = [_units(total, shares, pace) for total in (exact, expected, longest)]
    claim = f"better by {better:g}" if margin is None else f"not worse by {margin:g}"
    days = f", {sizes[0].days:.3g} days" if math.isfinite(pace) else ""
    ahead = f" ({sizes[1].days:.3g} and {sizes[2].days:.3g} days)" if math.isfinite(pace) else ""
    sentence = (
        f"To show with a power of {power:.0%} at alpha = {alpha:g} that a new arm is {claim}, one look needs "
        f"{sizes[0].total:,} units in all{days}. The anytime-valid verdict needs {sizes[1].total:,} on average, and "
        f"{sizes[2].total:,} at most{ahead}."
    )
    return ExperimentSize(
        goal,
        better,
        0.0 if margin is None else margin,
        alpha,
        each,
        power,
        shares,
        sizes[0],
        sizes[1],
        sizes[2],
        "exact" if baseline is not None else "asymptotic",
        sentence,
    )


def _stops(
    fixed: float,
    gap: float,
    variances: tuple[float, float],
    shares: tuple[float, float],
    alpha: float,
    *,
    is_rate: bool,
    seed: int,
) -> Floats:
    """After how many units in all arms simulated experiments decide; infinite where they do not in time."""
    pair = shares[0] + shares[1]
    w = shares[1] / pair
    h = w * (1 - w)
    # Squares of scores around the effect, which also spread by what the effect itself adds.
    noise = h * ((1 - w) * variances[1] + w * variances[0])
    # No verdict on means comes before the burn-in, which for large effects is far beyond a fixed sample.
    furthest = fixed * FURTHEST if is_rate else max(fixed * FURTHEST, 2 * BURN_IN / min(shares))
    totals = np.geomspace(max(fixed / 50, 2.0), furthest, LOOKS)
    units = totals * pair
    steps = np.diff(units, prepend=0.0)
    rng = np.random.default_rng(seed)
    scores = np.cumsum(rng.normal(h * gap * steps, np.sqrt(noise * steps), size=(RUNS, LOOKS)), axis=1)
    if is_rate:
        penalty = penalties(np.array([max(w, 1 - w)]))[:, 0]
        total = np.full(scores.shape, -np.inf)
        for stake, cost in zip(STAKES.tolist(), penalty.tolist(), strict=True):
            np.logaddexp(total, stake * scores - cost * noise * units, out=total)
        log_e = total - math.log(len(STAKES))
        ready = np.ones(LOOKS, dtype=bool)
    else:
        time = 2 * h * units
        rho = normal_mixture_rho(1000, alpha, one_sided=True)
        log_e = mixture_log_evidence(scores / np.sqrt(noise * units / time), time, rho, one_sided=True)
        ready = totals * min(shares) >= BURN_IN
    hit = (log_e >= -math.log(alpha)) & ready
    return np.where(hit.any(axis=1), totals[hit.argmax(axis=1)], np.inf)


def _units(total: float, shares: Sequence[float], pace: float) -> UnitsNeeded:
    by_arm = tuple(max(2, math.ceil(total * share - 1e-6)) for share in shares)
    return UnitsNeeded(sum(by_arm), by_arm, sum(by_arm) / pace)


def _weights(arms: int, weights: Sequence[float] | None) -> tuple[float, ...]:
    if isinstance(arms, bool) or not isinstance(arms, int) or not 2 <= arms <= MOST_ARMS:
        raise InvalidInput(f"An experiment has 2 to {MOST_ARMS} arms, the control among them; got {arms}.")
    if weights is None:
        return (1 / arms,) * arms
    if len(weights) != arms:
        raise InvalidInput(f"There are {len(weights)} weights for {arms} arms; give each arm one, the control first.")
    shares = tuple(checked_number(weight, "weights", low=0, high=1) for weight in weights)
    if not min(shares) > 0:
        raise InvalidInput("Every arm needs a weight above 0.")
    if abs(sum(shares) - 1) > TOLERANCE:
        raise InvalidInput(f"The weights add up to {sum(shares):g}; they must add up to 1.")
    return shares


def _level(baseline: float | None, mean: float | None, deviation: float | None) -> tuple[float, float]:
    if (baseline is None) == (mean is None):
        raise InvalidInput("Give either the baseline rate, or the mean and the standard deviation.")
    if baseline is not None:
        if deviation is not None:
            raise InvalidInput("A rate has no standard deviation of its own: leave it out, or give the mean.")
        if not 0 < checked_number(baseline, "baseline rate") < 1:
            raise InvalidInput(f"The baseline rate must lie between 0 and 1; got {baseline:g}.")
        return baseline, math.nan
    if deviation is None or not _sized(deviation, "standard deviation") > 0:
        raise InvalidInput("A mean needs the standard deviation of a unit's value, above 0.")
    return _sized(0.0 if mean is None else mean, "mean"), deviation


def _sized(value: float, what: str) -> float:
    """A number that can be squared and divided by. Raises `InvalidInput`."""
    if abs(checked_number(value, what)) > LARGEST or 0 < abs(value) < SMALLEST:
        raise InvalidInput(
            f"The {what} must be 0, or from {SMALLEST:g} to {LARGEST:g} in size; measure in another unit."
        )
    return value


def _effect(effect: float | None, relative: float | None, level: float) -> float:
    if effect is not None and relative is not None:
        raise InvalidInput("Give the effect or the relative effect, not both.")
    if relative is not None:
        return _sized(_sized(relative, "relative effect") * abs(level), "effect")
    return 0.0 if effect is None else _sized(effect, "effect")
