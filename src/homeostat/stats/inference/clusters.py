"""Several rows of one entity: people, devices and sessions differ, so their rows are not independent.

A test that takes rows for independent is too sure by the design effect. Three ways out: one value an entity
(`entity_means`), the cluster-robust variance of the row mean or of a ratio (`clustered_difference`), or an honest
effective sample size when planning (`design_effect`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.results import Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, labels, positive, same_length, sample, share
from homeostat.stats.inference.tails import bounds, tail

FEW = 20
ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredResult(Result):
    """A difference of means or ratios whose error counts entities, not rows.

    `entities` are the numbers in each group, `naive_error` the standard error that takes rows for independent,
    `design_effect` the square of their ratio, and `effective_n` the independent rows that would tell as much.
    """

    entities: tuple[int, int]
    naive_error: float
    design_effect: float
    effective_n: float


@dataclass(frozen=True, slots=True)
class Linearised:
    """A mean or ratio and what each entity adds to its error; the parts add up to 0, their squares to the variance."""

    estimate: float
    parts: Floats
    rows: int

    @property
    def variance(self) -> float:
        """Of the estimate, with the small-sample factor k/(k − 1); with one row an entity this is s²/n exactly."""
        k = len(self.parts)
        return float((self.parts**2).sum()) * k / (k - 1) if k > 1 else math.nan


def linearise(
    values: Floats, codes: npt.NDArray[np.intp] | None, k: int, *, denominators: Floats | None = None
) -> Linearised:
    """A group's mean, or ratio of sums, with the delta method's part of each of its k entities.

    Args:
        values: a number a row, the numerators of a ratio.
        codes: each row's entity, 0 to k − 1; without it every row is one.
        k: how many entities there are.
        denominators: a number a row; without them 1, which makes the ratio a mean.
    """
    total = float(len(values)) if denominators is None else float(denominators.sum())
    if denominators is None:
        estimate = float(values.mean())
        rest = (values - estimate) / total
    else:
        estimate = float(values.sum()) / total
        rest = (values - estimate * denominators) / total
    parts = rest if codes is None else np.bincount(codes, weights=rest, minlength=k).astype(np.float64)
    # What rounding leaves where values are constant, or cancel within each entity, is not variation.
    spread = float(np.abs(rest).sum())
    size = float(np.abs(values).sum()) / total
    noise = spread if spread <= ROUNDING * size else ROUNDING * spread
    if float(np.abs(parts).max(initial=0.0)) <= noise:
        parts = np.zeros(len(parts))
    return Linearised(estimate, parts, len(values))


def entity_means(values: npt.ArrayLike, entities: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Mean and number of rows of each entity, in the order of the sorted entities.

    Tests of the means are valid, since entities are independent. They weigh every entity alike, busy or not: that
    is another question than the mean over rows wherever busy entities differ from the others.

    Raises:
        InvalidInput: different lengths, missing entities, or any value that isn't a finite number.

    >>> means, rows = entity_means([1.0, 3.0, 5.0], ["a", "a", "b"])
    >>> means.tolist(), rows.tolist()
    ([2.0, 5.0], [2.0, 1.0])
    """
    numbers = sample(values, "The values", least=1)
    distinct, codes = labels(entities, "The entities")
    same_length(values=numbers, entities=codes)
    rows = np.bincount(codes, minlength=len(distinct)).astype(np.float64)
    return np.bincount(codes, weights=numbers, minlength=len(distinct)) / rows, rows


def clustered_difference(
    first: npt.ArrayLike,
    entities_1: npt.ArrayLike,
    second: npt.ArrayLike,
    entities_2: npt.ArrayLike,
    *,
    denominators_1: npt.ArrayLike | None = None,
    denominators_2: npt.ArrayLike | None = None,
    correction: str = "welch",
    confidence: float = 0.95,
) -> ClusteredResult:
    """Do two groups differ in a mean over rows, or in a ratio of sums, where entities bring several rows?

    Args:
        first: the first group's values, a number a row.
        entities_1: whose rows these are.
        second: the second group's values.
        entities_2: whose rows these are; an entity of both groups is recognised by its label.
        denominators_1: for a ratio metric such as clicks ÷ views, the views; without them the mean.
        denominators_2: likewise.
        correction: "welch" scales each group's variance by k/(k − 1) of its k entities and has Satterthwaite's degrees
            of freedom, so that one row an entity gives Welch's t-test exactly; "cr1" is the factor
            G/(G − 1) · (N − 1)/(N − 2) of regression packages, with G − 1 degrees of freedom.
        confidence: of the interval, second minus first.

    Independent entities, at least about 20 in each group. Sources: Liang and Zeger 1986 (cluster-robust variance),
    Deng, Knoblich and Lu 2018 (delta method for ratio metrics), Cameron and Miller 2015.

    Raises:
        InvalidInput: fewer than 2 entities in a group, different lengths, denominators that don't add up to more
            than 0, or any value that isn't a finite number.

    >>> result = clustered_difference([1.0, 1.0, 2.0, 2.0], [1, 1, 2, 2], [3.0, 3.0, 5.0, 5.0], [3, 3, 4, 4])
    >>> result.estimate, result.entities, round(result.error, 4)
    (2.5, (2, 2), 1.118)
    """
    share(confidence, "The confidence")
    if correction not in ("welch", "cr1"):
        raise InvalidInput(f"There is no correction {correction!r}; use 'welch' or 'cr1'.")
    one, names_1, naive_1 = _group(first, entities_1, denominators_1, "first")
    two, names_2, naive_2 = _group(second, entities_2, denominators_2, "second")
    try:
        both = np.union1d(names_1, names_2)
    except TypeError:
        raise InvalidInput("The two groups label their entities by different types. Use one.") from None
    k, n = (len(names_1), len(names_2)), one.rows + two.rows
    crossed = len(both) < sum(k)
    parts = np.zeros(len(both))
    parts[np.searchsorted(both, names_2)] += two.parts
    parts[np.searchsorted(both, names_1)] -= one.parts
    df: float = len(both) - 1
    factor = len(both) / (len(both) - 1) * ((n - 1) / (n - 2) if correction == "cr1" else 1.0)
    variance = float((parts**2).sum()) * factor
    if correction == "welch" and not crossed:
        variance = one.variance + two.variance
        df = satterthwaite((one.variance, k[0]), (two.variance, k[1]))
    error = math.sqrt(variance) if variance > 0 else math.nan
    naive = math.sqrt(naive_1 + naive_2)
    estimate = two.estimate - one.estimate
    t = estimate / error
    p = tail(t, df, "two-sided")
    interval = bounds(estimate, error, df, confidence=confidence, alternative="two-sided")
    effect = (error / naive) ** 2 if naive else math.nan
    what = "mean" if denominators_1 is None else "ratio"
    told = (
        f"a difference of {estimate:+.4g} ({shown_interval(interval, confidence)}, {shown_p(p)}). Rows of one entity "
        f"are not taken as independent: the {n} rows tell as much as {n / effect:.0f} independent ones would."
        if math.isfinite(t) and effect > 0
        else "but the entities of a group don't differ, so chance can't be judged from these rows."
    )
    sentence = (
        f"The {what} is {one.estimate:.4g} of {one.rows} rows of {k[0]} entities in the first group and "
        f"{two.estimate:.4g} of {two.rows} rows of {k[1]} entities in the second: {told}"
        + (f" With fewer than {FEW} entities in a group the p-value is rough." if min(k) < FEW else "")
    )
    return ClusteredResult(
        estimate=estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=n,
        sentence=sentence,
        sizes=(one.rows, two.rows),
        method=f"cluster-robust difference of {what}s ({correction})",
        confidence=confidence,
        error=error,
        df=df,
        entities=k,
        naive_error=naive,
        design_effect=effect,
        effective_n=n / effect if effect > 0 else math.nan,
    )


def satterthwaite(*parts: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of variances, each with the number of units it came from (Satterthwaite 1946).

    >>> round(satterthwaite((1.0, 10), (1.0, 10)), 1)
    18.0
    """
    total = sum(variance for variance, _ in parts)
    if total <= 0:
        return math.nan
    return 1 / sum((variance / total) ** 2 / (k - 1) for variance, k in parts)


def intraclass_correlation(values: npt.ArrayLike, entities: npt.ArrayLike) -> float:
    """How alike the rows of one entity are: the share of the variance that lies between entities.

    The estimator of one-way analysis of variance for entities of unequal size (Donner 1986); it may come out below 0
    where rows of an entity are no more alike than any. NaN where nothing varies or every entity has one row.

    Raises:
        InvalidInput: fewer than 2 entities, different lengths, or any value that isn't a finite number.

    >>> round(intraclass_correlation([1.0, 1.2, 3.0, 3.2], ["a", "a", "b", "b"]), 4)
    0.99
    """
    means, rows = entity_means(values, entities)
    numbers = sample(values, "The values")
    n, k = len(numbers), len(rows)
    if k < 2:
        raise InvalidInput("All rows are of one entity, so entities can't be compared.")
    if n == k:
        return math.nan
    between = float((rows * (means - numbers.mean()) ** 2).sum())
    within = max(0.0, float(((numbers - numbers.mean()) ** 2).sum()) - between)
    typical = (n - float((rows**2).sum()) / n) / (k - 1)
    apart, inside = between / (k - 1), within / (n - k)
    under = apart + (typical - 1) * inside
    return (apart - inside) / under if under > 0 else math.nan


def design_effect(rows: npt.ArrayLike, correlation: float) -> float:
    """How many times as many rows are needed, or how many times as large a variance is, because entities repeat.

    1 + (m − 1)·ρ for entities of m rows and an intraclass correlation of ρ (Kish 1965), with the coefficient of
    variation of the sizes allowed for (Eldridge, Ashby and Kerry 2006). n ÷ design effect is the effective n.

    Args:
        rows: rows of each entity.
        correlation: the intraclass correlation, from -1 to 1.

    Raises:
        InvalidInput: no entities, an entity without rows, or a correlation outside -1 to 1.

    >>> design_effect([10, 10, 10], 0.2)
    2.8
    """
    sizes = sample(rows, "The rows of each entity", least=1)
    positive(float(sizes.min()), "The rows of an entity")
    if not -1 <= correlation <= 1:
        raise InvalidInput(f"A correlation lies between -1 and 1; got {correlation}.")
    return max(0.0, 1 + (float((sizes**2).sum() / sizes.sum()) - 1) * correlation)


def _group(
    values: npt.ArrayLike, entities: npt.ArrayLike, denominators: npt.ArrayLike | None, name: str
) -> tuple[Linearised, npt.NDArray[np.generic], float]:
    numbers = sample(values, f"The {name} group")
    names, codes = labels(entities, f"The {name} group's entities")
    same_length(values=numbers, entities=codes)
    under = None
    if denominators is not None:
        under = sample(denominators, f"The {name} group's denominators")
        same_length(values=numbers, denominators=under)
        positive(float(under.sum()), f"The sum of the {name} group's denominators")
    if len(names) < 2:
        raise InvalidInput(f"The {name} group has 1 entity, and errors need at least 2. Collect more entities.")
    group = linearise(numbers, codes, len(names), denominators=under)
    naive = linearise(numbers, None, len(numbers), denominators=under)
    return group, names, naive.variance
