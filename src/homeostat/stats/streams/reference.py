"""The mean loss that is in order, learned from reference rows with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.losses import LOWEST_BASELINE, checked_losses, one_stream
from homeostat.stats.streams.detector import Floats

FEWEST_FOR_T = 30


@dataclass(frozen=True, slots=True)
class Baseline:
    """A mean loss with one-sided bounds: it is at most `high`, and at least `low`, each with the given confidence.

    Attributes:
        estimate: the mean of the reference losses.
        interval: (low, high).
        variance: of a single loss, which only decides how the detector bets.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    variance: float
    rows: int
    binary: bool
    sentence: str

    @property
    def low(self) -> float:
        """The lower confidence bound."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """The upper confidence bound."""
        return self.interval[1]


def reference_baseline(losses: npt.ArrayLike, *, confidence: float = 0.9) -> Baseline:
    """Learn the mean loss and how far it may lie off from independent reference losses.

    Losses that are all 0 or 1: the exact bounds of Clopper and Pearson (1934). Others: Student's t bounds, which hold
    approximately from 30 rows on; with fewer rows or without any variation, the Clopper–Pearson formula at the sum of
    the losses, which is wider because no loss within [0, 1] varies more than 0/1 losses of its mean.

    Args:
        losses: one stream within [0, 1] from a time when all was in order; not the rows that the model was fitted on.
        confidence: of each bound on its own, between .5 and 1.

    Raises:
        InvalidInput: no losses, losses outside 0 to 1 or missing, a confidence outside [.5, 1).

    >>> baseline = reference_baseline(np.repeat([0.0, 1.0], [1600, 400]))
    >>> round(baseline.estimate, 3), round(baseline.high, 3)
    (0.2, 0.212)
    >>> print(baseline.sentence)
    The mean loss of 2,000 reference rows is 0.2; with confidence 90 % each, the true mean is at most 0.212, and at \
least 0.189.
    """
    values = one_stream(checked_losses(losses))
    if not len(values):
        raise InvalidInput("A baseline needs reference losses; got none.")
    if not 0.5 <= confidence < 1:
        raise InvalidInput(f"The confidence of a baseline must lie in [0.5, 1); got {confidence}.")
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    mean = float(values.mean())
    low, high = mean_bounds(values, confidence)
    variance = mean * (1 - mean) if binary else float(values.var())
    sentence = (
        f"The mean loss of {len(values):,} reference row{'s' * (len(values) > 1)} is {mean:.3g}; with confidence "
        f"{100 * confidence:.4g} % each, the true mean is at most {high:.3g}, and at least {low:.3g}."
    )
    return Baseline(mean, (low, high), confidence, variance, len(values), binary, sentence)


def mean_bounds(values: Floats, confidence: float) -> tuple[float, float]:
    """One-sided lower and upper bounds, each at the confidence, for the mean of independent values within [0, 1]."""
    from scipy.special import betaincinv, stdtrit

    n, total = len(values), float(values.sum())
    varied = values.min() < values.max()
    if n < FEWEST_FOR_T or not varied or np.isin(values, (0.0, 1.0)).all():
        low = float(betaincinv(total, n - total + 1, 1 - confidence)) if total > 0 else 0.0
        high = float(betaincinv(total + 1, n - total, confidence)) if total < n else 1.0
        return low, high
    reach = float(stdtrit(n - 1, confidence)) * float(values.std(ddof=1)) / n**0.5
    return max(0.0, total / n - reach), min(1.0, total / n + reach)


def checked_baseline(value: float, *, name: str = "baseline") -> float:
    """A mean loss within [0, 1), where one below 0.001 counts as 0.001; `InvalidInput` else."""
    if not 0 <= value < 1:
        raise InvalidInput(
            f"The {name} of a detector must be a mean loss in [0, 1); got {value}. At 1 nothing can become worse."
        )
    return max(float(value), LOWEST_BASELINE)
