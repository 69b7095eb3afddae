"""Whether a method holds on the reference itself: each stretch of it estimated from the others, then compared."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from homeostat.stats.performance.estimation.chances import fit_chances
from homeostat.stats.performance.inputs import Floats

STRETCHES = 5
REJECT = 0.01


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """Estimated less realised metric over stretches of the reference; `holds` unless the misses are large and real.

    `estimate` is the largest miss of a stretch, `largest` what is still tolerated, `interval` the span of the misses,
    `p` the chi-square test that all misses are chance.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n: int
    largest: float
    holds: bool
    sentence: str


def stretches(n: int) -> list[slice]:
    """The reference cut into stretches of consecutive rows.

    >>> [(part.start, part.stop) for part in stretches(10)]
    [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    """
    edges = np.linspace(0, n, STRETCHES + 1).astype(int)
    return [slice(int(low), int(high)) for low, high in itertools.pairwise(edges)]


def check(name: str, misses: Floats, errors: Floats, *, n: int, largest: float) -> ReferenceCheck:
    """Judge the misses of the stretches, given their standard errors."""
    from scipy.special import chdtrc

    known = errors > 0
    statistic = math.inf if (misses[~known] != 0).any() else float(((misses[known] / errors[known]) ** 2).sum())
    p = 0.0 if math.isinf(statistic) else float(chdtrc(max(int(known.sum()), 1), statistic))
    worst = float(np.abs(misses).max())
    holds = p >= REJECT or worst <= largest
    sentence = (
        f"Each of {len(misses)} stretches of the {n:,} reference rows was estimated from the others: the estimated "
        f"{name} missed the realised one by {worst:.3g} at most (p = {p:.3g}), so the method "
        + ("holds on the reference." if holds else "does not hold on the reference.")
    )
    span = (float(misses.min()), float(misses.max()))
    return ReferenceCheck(worst, span, statistic, p, n, largest, holds, sentence)


def check_chances(scores: Floats, labels: Floats, right: Floats, *, largest: float = 0.02) -> ReferenceCheck:
    """Accuracy estimated by calibrated chances, over stretches of the reference.

    Args:
        scores: one column a calibrator.
        labels: 0 or 1, of the same shape.
        right: for each row and column, how much accuracy gains where the label is 1 (1 where that class is predicted;
            for a binary classifier also −1 where it is not).
        largest: the miss that is tolerated whatever its significance.
    """
    n = len(labels)
    misses, errors = [], []
    for held in stretches(n):
        kept = np.ones(n, dtype=bool)
        kept[held] = False
        fitted = fit_chances(scores[kept], labels[kept])
        size = held.stop - held.start
        pull = right[held] / size
        miss = float((pull * (fitted.chances(scores[held]) - labels[held])).sum())
        variance = fitted.label_variance(scores[held], pull) + fitted.reference_variance(scores[held], pull)
        misses.append(miss)
        errors.append(math.sqrt(variance))
    return check("accuracy", np.array(misses), np.array(errors), n=n, largest=largest)
