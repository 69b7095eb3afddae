"""Not worse than by a margin, or no different beyond one: what "no significant difference" never shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.means import Moments, welch_error
from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import positive, share, whole
from homeostat.stats.inference.tails import bounds, tail


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginResult(Result):
    """A test against a margin; `shown` says whether non-inferiority or equivalence is shown at `alpha`.

    `p_low` tests that the difference is above −margin, `p_high` that it is below +margin; NaN where not asked.
    The interval has confidence 1 − 2·alpha, so that it lies within the margins exactly where `shown` is true.
    """

    margin: float
    alpha: float
    shown: bool
    p_low: float
    p_high: float


def non_inferior_means(
    first: npt.ArrayLike | Moments,
    second: npt.ArrayLike | Moments,
    *,
    margin: float,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> MarginResult:
    """Is the second group's mean at most `margin` worse than the first's? One-sided Welch test, shifted by the margin.

    Args:
        first: the group to hold to (the current version), or its `Moments`.
        second: the group to be judged.
        margin: the loss that would still be acceptable, above 0, in the metric's unit; set before looking.
        higher_is_better: false for losses and latencies.
        alpha: level of the one-sided test.

    Raises:
        InvalidInput: a margin that isn't above 0, fewer than 2 values, or any that isn't a finite number.

    >>> old, new = Moments(500, 10.0, 4.0), Moments(500, 9.95, 4.0)
    >>> non_inferior_means(old, new, margin=0.5).shown
    True
    """
    sides = (True, False) if higher_is_better else (False, True)
    return _means(first, second, margin, alpha, sides, "non-inferior")


def equivalent_means(
    first: npt.ArrayLike | Moments, second: npt.ArrayLike | Moments, *, margin: float, alpha: float = 0.05
) -> MarginResult:
    """Do two means differ by less than `margin` either way? Two one-sided tests (TOST, Schuirmann 1987), after Welch.

    Args:
        first: the first group's values, or its `Moments`.
        second: the second group's.
        margin: the largest difference without importance, above 0, in the metric's unit; set before looking.
        alpha: level of each one-sided test, and thereby of the whole.

    Raises:
        InvalidInput: a margin that isn't above 0, fewer than 2 values, or any that isn't a finite number.

    >>> equivalent_means(Moments(500, 10.0, 4.0), Moments(500, 9.95, 4.0), margin=0.5).shown
    True
    """
    return _means(first, second, margin, alpha, (True, True), "equivalent")


def non_inferior_proportions(
    successes_1: int,
    n_1: int,
    successes_2: int,
    n_2: int,
    *,
    margin: float,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> MarginResult:
    """Is the second share at most `margin` worse than the first? Score test of Farrington and Manning (1990).

    Args:
        successes_1: of the group to hold to, n_1 rows.
        n_1: its rows.
        successes_2: of the group to be judged.
        n_2: its rows.
        margin: the loss of share that would still be acceptable, such as .01; set before looking.
        higher_is_better: false for error rates.
        alpha: level of the one-sided test.

    Raises:
        InvalidInput: a margin outside 0 to 1, an empty group, counts that can't be.

    >>> non_inferior_proportions(900, 1000, 898, 1000, margin=0.03).shown
    True
    """
    sides = (True, False) if higher_is_better else (False, True)
    return _proportions((successes_1, n_1, successes_2, n_2), margin, alpha, sides, "non-inferior")


def equivalent_proportions(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, margin: float, alpha: float = 0.05
) -> MarginResult:
    """Do two shares differ by less than `margin` either way? Two one-sided score tests (Farrington and Manning 1990).

    Args:
        successes_1: of the first group.
        n_1: its rows.
        successes_2: of the second group.
        n_2: its rows.
        margin: the largest difference without importance, such as .01; set before looking.
        alpha: level of each one-sided test, and thereby of the whole.

    Raises:
        InvalidInput: a margin outside 0 to 1, an empty group, counts that can't be.

    >>> equivalent_proportions(900, 1000, 898, 1000, margin=0.03).shown
    True
    """
    return _proportions((successes_1, n_1, successes_2, n_2), margin, alpha, (True, True), "equivalent")


def score_z(successes_1: int, n_1: int, successes_2: int, n_2: int, difference: float) -> float:
    """Standardised distance of the shares' difference from `difference`, its error taken under that hypothesis.

    The restricted maximum-likelihood shares are the closed root of a cubic (Farrington and Manning 1990).
    """
    share_1, share_2 = successes_1 / n_1, successes_2 / n_2
    ratio = n_1 / n_2
    a = 1 + ratio
    b = -(1 + ratio + share_2 + ratio * share_1 + difference * (ratio + 2))
    c = difference**2 + difference * (2 * share_2 + ratio + 1) + share_2 + ratio * share_1
    d = -share_2 * difference * (1 + difference)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max(0.0, (b / (3 * a)) ** 2 - c / (3 * a))), v)
    angle = (math.pi + math.acos(min(1.0, max(-1.0, v / u**3)))) / 3 if u else math.pi / 2
    # Rounding must not push a share out of what the hypothesis allows.
    second = min(1.0, 1 + difference, max(0.0, difference, 2 * u * math.cos(angle) - b / (3 * a)))
    first = min(1.0, max(0.0, second - difference))
    error = math.sqrt(second * (1 - second) / n_2 + first * (1 - first) / n_1)
    gap = share_2 - share_1 - difference
    if error == 0:
        return 0.0 if gap == 0 else math.copysign(math.inf, gap)
    return gap / error


def score_interval(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two shares that inverts Farrington and Manning's score test.

    >>> [round(bound, 4) for bound in score_interval(48, 80, 56, 70)]
    [0.0533, 0.3377]
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = float(ndtri((1 + share(confidence, "The confidence")) / 2))
    counts = _counted(successes_1, n_1, successes_2, n_2)
    estimate = successes_2 / n_2 - successes_1 / n_1
    edge = 1 - 1e-9

    def bound(sign: int) -> float:
        end = -sign * edge
        if sign * score_z(*counts, end) <= z:
            return float(-sign)
        return float(brentq(lambda difference: sign * score_z(*counts, difference) - z, end, estimate, xtol=1e-10))

    return bound(1), bound(-1)


def _counted(successes_1: int, n_1: int, successes_2: int, n_2: int) -> tuple[int, int, int, int]:
    for successes, n in ((successes_1, n_1), (successes_2, n_2)):
        whole(n, "The number of rows", least=1)
        if whole(successes, "The number of successes") > n:
            raise InvalidInput(f"A group has {successes} successes among {n} rows; check the counts.")
    return successes_1, n_1, successes_2, n_2


def _means(
    first: npt.ArrayLike | Moments,
    second: npt.ArrayLike | Moments,
    margin: float,
    alpha: float,
    sides: tuple[bool, bool],
    word: str,
) -> MarginResult:
    positive(margin, "The margin")
    share(alpha, "Alpha")
    one = first if isinstance(first, Moments) else Moments.of(first, "The first group")
    two = second if isinstance(second, Moments) else Moments.of(second, "The second group")
    error, df = welch_error(one, two)
    estimate = two.mean - one.mean
    if not error:
        error = math.nan
    low, high = (estimate + margin) / error, (estimate - margin) / error
    interval = bounds(estimate, error, df, confidence=1 - 2 * alpha, alternative="two-sided")
    ps = tail(low, df, "larger"), tail(high, df, "smaller")
    return _told(estimate, interval, (low, high), ps, (one.n, two.n), margin, alpha, sides, word, error, df)


def _proportions(
    counts: tuple[int, int, int, int], margin: float, alpha: float, sides: tuple[bool, bool], word: str
) -> MarginResult:
    share(margin, "The margin")
    share(alpha, "Alpha")
    successes_1, n_1, successes_2, n_2 = _counted(*counts)
    estimate = successes_2 / n_2 - successes_1 / n_1
    low, high = score_z(*counts, -margin), score_z(*counts, margin)
    interval = score_interval(*counts, confidence=1 - 2 * alpha)
    ps = tail(low, math.inf, "larger"), tail(high, math.inf, "smaller")
    error = abs((estimate + margin) / low) if low else math.nan
    return _told(estimate, interval, (low, high), ps, (n_1, n_2), margin, alpha, sides, word, error, math.inf)


def _told(
    estimate: float,
    interval: tuple[float, float],
    statistics: tuple[float, float],
    ps: tuple[float, float],
    sizes: tuple[int, int],
    margin: float,
    alpha: float,
    sides: tuple[bool, bool],
    word: str,
    error: float,
    df: float,
) -> MarginResult:
    asked = [place for place, side in enumerate(sides) if side]
    decisive = max(asked, key=lambda place: -math.inf if math.isnan(ps[place]) else ps[place])
    p = ps[decisive]
    shown = bool(p <= alpha)
    either = " either way" if len(asked) == 2 else ""
    told = f"a difference of {estimate:+.4g} ({shown_interval(interval, 1 - 2 * alpha)}, {shown_p(p)})"
    if math.isnan(p):
        sentence = f"Neither group varies, so whether the second is {word} can't be judged from these rows."
    else:
        sentence = (
            f"The second group is {'' if shown else 'not '}shown to be {word} within a margin of {margin:g}{either}: "
            f"{told}, from {sizes[0]} and {sizes[1]} rows. {INDEPENDENT}"
        )
    return MarginResult(
        estimate=estimate,
        interval=interval,
        statistic=statistics[decisive],
        p=p,
        n=sum(sizes),
        sentence=sentence,
        sizes=sizes,
        method=f"{word}, margin {margin:g}",
        confidence=1 - 2 * alpha,
        error=error,
        df=df,
        margin=margin,
        alpha=alpha,
        shown=shown,
        p_low=ps[0] if sides[0] else math.nan,
        p_high=ps[1] if sides[1] else math.nan,
    )
