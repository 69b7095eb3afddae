"""Several groups at once: does any differ? Say which afterwards, with adjusted p-values."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.means import Moments
from homeostat.stats.inference.noncentral import chi_square_noncentrality, f_noncentrality
from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import sample, share


def anova(*groups: npt.ArrayLike, confidence: float = 0.95) -> Result:
    """Do the means of several groups differ? Welch's F test (1951), variances need not be equal.

    `estimate` is the share of the variation that lies between the groups (omega squared, from Welch's F; at least 0);
    the interval inverts the noncentral F distribution. Independent rows, means about normal.

    Raises:
        InvalidInput: fewer than 2 groups, a group of fewer than 2 values, any that isn't a finite number, or a group
            that doesn't vary.

    >>> result = anova([1.0, 2.0, 3.0], [2.0, 3.0, 4.5], [7.0, 8.0, 9.5])
    >>> round(result.statistic, 3), round(result.p, 4)
    (19.761, 0.0088)
    """
    from scipy.special import fdtrc

    share(confidence, "The confidence")
    moments = [Moments.of(group, f"Group {place + 1}") for place, group in enumerate(_several(groups))]
    constant = [place + 1 for place, each in enumerate(moments) if each.variance == 0]
    if constant:
        raise InvalidInput(f"Group {constant[0]} doesn't vary, so its mean has no weight. Leave it out.")
    sizes = tuple(each.n for each in moments)
    k, n = len(moments), sum(sizes)
    weights = np.array([each.n / each.variance for each in moments])
    means = np.array([each.mean for each in moments])
    centre = float((weights * means).sum() / weights.sum())
    lost = float(((1 - weights / weights.sum()) ** 2 / (np.array(sizes) - 1)).sum())
    between = float((weights * (means - centre) ** 2).sum()) / (k - 1)
    f = between / (1 + 2 * (k - 2) / (k**2 - 1) * lost)
    dfd = (k**2 - 1) / (3 * lost)
    p = float(fdtrc(k - 1, dfd, f))
    omega = max(0.0, (k - 1) * (f - 1) / ((k - 1) * (f - 1) + n))
    low, high = (bound / (bound + n) for bound in f_noncentrality(f, k - 1, dfd, confidence))
    return Result(
        estimate=omega,
        interval=(low, high),
        statistic=f,
        p=p,
        n=n,
        sentence=(
            f"Belonging to one of the {k} groups accounts for {omega:.1%} of the variation of the values "
            f"({shown_interval((low, high), confidence, signed=False)}, {shown_p(p)}), from {n} rows. {INDEPENDENT}"
        ),
        sizes=sizes,
        method="Welch's ANOVA",
        confidence=confidence,
        df=dfd,
    )


def kruskal_wallis(*groups: npt.ArrayLike, confidence: float = 0.95) -> Result:
    """Do several groups differ in their ranks? Kruskal and Wallis's test (1952), corrected for ties.

    `estimate` is epsilon squared, H/(n − 1): the share of the ranks' variation that lies between the groups. The
    interval inverts the noncentral chi-square distribution, and is approximate. Independent rows; for distributions
    of the same shape it is a test of location.

    Raises:
        InvalidInput: fewer than 2 groups, a group of fewer than 2 values, or any that isn't a finite number.

    >>> round(kruskal_wallis([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).statistic, 3)
    3.857
    """
    from scipy.special import chdtrc
    from scipy.stats import rankdata

    share(confidence, "The confidence")
    values = [sample(group, f"Group {place + 1}") for place, group in enumerate(_several(groups))]
    sizes = tuple(len(group) for group in values)
    k, n = len(values), sum(sizes)
    ranks = rankdata(np.concatenate(values))
    spread = float(ranks.var(ddof=1))
    ends = np.cumsum((0, *sizes))
    sums = np.add.reduceat(ranks, ends[:-1])
    h = float((sums**2 / np.array(sizes)).sum() - n * ((n + 1) / 2) ** 2) / spread if spread else 0.0
    p = float(chdtrc(k - 1, max(h, 0.0)))
    effect = h / (n - 1)
    low, high = (min(1.0, bound / (n - 1)) for bound in chi_square_noncentrality(h, k - 1, confidence))
    return Result(
        estimate=effect if spread else math.nan,
        interval=(low, high),
        statistic=h,
        p=p,
        n=n,
        sentence=(
            f"Belonging to one of the {k} groups accounts for {effect:.1%} of the variation of the ranks "
            f"({shown_interval((low, high), confidence, signed=False)}, {shown_p(p)}), from {n} rows. {INDEPENDENT}"
            if spread
            else f"All {n} values are the same, so nothing can be said of a difference."
        ),
        sizes=sizes,
        method="Kruskal-Wallis",
        confidence=confidence,
        df=k - 1,
    )


def _several(groups: tuple[npt.ArrayLike, ...]) -> tuple[npt.ArrayLike, ...]:
    if len(groups) < 2:
        raise InvalidInput(f"At least 2 groups are needed to compare; got {len(groups)}.")
    return groups
