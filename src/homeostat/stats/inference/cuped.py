"""CUPED: what an entity did before the experiment explains part of what it does in it, and that part is no noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.stats.inference.clusters import Linearised, linearise, satterthwaite
from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import same_length, sample, share
from homeostat.stats.inference.tails import bounds, tail


@dataclass(frozen=True, slots=True, kw_only=True)
class CupedResult(Result):
    """A difference of means after adjustment; `theta` is what one unit of the covariate is worth.

    `variance_reduction` is the part of the variance that the covariate took away: .5 halves the rows needed.
    `unadjusted` and `unadjusted_error` are the plain difference and its standard error.
    """

    theta: float
    variance_reduction: float
    unadjusted: float
    unadjusted_error: float


@dataclass(frozen=True, slots=True)
class Adjusted:
    """An adjusted difference of two groups; `with_first` is its covariance with the first group's own estimate."""

    estimate: float
    error: float
    df: float
    theta: float
    reduction: float
    with_first: float


def cuped(
    first: npt.ArrayLike,
    covariate_1: npt.ArrayLike,
    second: npt.ArrayLike,
    covariate_2: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> CupedResult:
    """Do two groups differ in a mean, once what was known before is taken off?

    Each value is replaced by y − θ(x − x̄), with θ from the covariation within the groups; then Welch's t-test.
    Deng, Xu, Kohavi and Walker 2013.

    Args:
        first: the first group's outcomes, a number a row.
        covariate_1: the same rows' covariate, measured before the experiment began. One that the experiment itself
            can change makes the result wrong.
        second: the second group's outcomes.
        covariate_2: the same rows' covariate.
        confidence: of the interval, second minus first.

    Independent rows, assigned at random. A covariate that doesn't vary changes nothing. Replace missing covariates by
    the mean over both groups, never by group.

    Raises:
        InvalidInput: fewer than 2 rows in a group, different lengths, or any value that isn't a finite number.

    >>> result = cuped([1.0, 2.1, 2.9, 4.0], [1.0, 2.0, 3.0, 4.0], [2.0, 3.1, 3.9, 5.0], [1.0, 2.0, 3.0, 4.0])
    >>> round(result.estimate, 3), round(result.theta, 3), round(result.variance_reduction, 3)
    (1.0, 0.98, 0.996)
    """
    share(confidence, "The confidence")
    y_1, x_1 = sample(first, "The first group"), sample(covariate_1, "The first group's covariate")
    y_2, x_2 = sample(second, "The second group"), sample(covariate_2, "The second group's covariate")
    same_length(first=y_1, covariate_1=x_1)
    same_length(second=y_2, covariate_2=x_2)
    outcomes = linearise(y_1, None, len(y_1)), linearise(y_2, None, len(y_2))
    covariates = linearise(x_1, None, len(x_1)), linearise(x_2, None, len(x_2))
    found = adjust(outcomes, covariates)
    sizes = (len(y_1), len(y_2))
    plain = outcomes[1].estimate - outcomes[0].estimate
    error = found.error or math.nan
    t = found.estimate / error
    p = tail(t, found.df, "two-sided")
    interval = bounds(found.estimate, error, found.df, confidence=confidence, alternative="two-sided")
    told = (
        f"({shown_interval(interval, confidence)}, {shown_p(p)}). The covariate took away {found.reduction:.0%} of the "
        f"variance; without it the difference is {plain:+.4g}. {INDEPENDENT}"
        if math.isfinite(t)
        else "but nothing is left that varies, so chance can't be judged from these rows."
    )
    return CupedResult(
        estimate=found.estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=sum(sizes),
        sentence=(
            f"The second group's mean differs by {found.estimate:+.4g} from the first's, adjusted for what was known "
            f"before, from {sizes[0]} and {sizes[1]} rows {told}"
        ),
        sizes=sizes,
        method="CUPED",
        confidence=confidence,
        error=error,
        df=found.df,
        theta=found.theta,
        variance_reduction=found.reduction,
        unadjusted=plain,
        unadjusted_error=math.sqrt(outcomes[0].variance + outcomes[1].variance),
    )


def adjust(outcomes: tuple[Linearised, Linearised], covariates: tuple[Linearised, Linearised]) -> Adjusted:
    """The difference of two groups less θ times the difference of their covariates, entities as the units.

    θ minimises the variance of the result, so it needs no assumption that the covariate works linearly.
    """
    (y_1, y_2), (x_1, x_2) = outcomes, covariates
    factors = [len(arm.parts) / (len(arm.parts) - 1) for arm in outcomes]
    shared = sum(f * float(y.parts @ x.parts) for f, y, x in zip(factors, outcomes, covariates, strict=True))
    spread = x_1.variance + x_2.variance
    theta = shared / spread if spread > 0 else 0.0
    rest = [Linearised(0.0, y.parts - theta * x.parts, y.rows).variance for y, x in ((y_1, x_1), (y_2, x_2))]
    before = y_1.variance + y_2.variance
    # What rounding leaves of a perfect fit is not a standard error.
    after = sum(rest) if sum(rest) > 1e-24 * before else 0.0
    df = satterthwaite((rest[0], len(y_1.parts)), (rest[1], len(y_2.parts))) if after else math.nan
    estimate = (y_2.estimate - y_1.estimate) - theta * (x_2.estimate - x_1.estimate)
    reduction = 1 - after / before if before > 0 else math.nan
    with_first = -factors[0] * float((y_1.parts - theta * x_1.parts) @ y_1.parts)
    return Adjusted(estimate, float(np.sqrt(after)), df, theta, reduction, with_first)
