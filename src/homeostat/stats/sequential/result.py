"""What every sequential method hands back: an estimate, a confidence sequence, the evidence and a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]

Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, slots=True)
class SequentialResult:
    """What can be said at this moment, and stays valid however often one looks.

    `interval` is the confidence sequence now: with probability 1 − `alpha` the truth lies in it at all times. `log_e`
    is the natural logarithm of the evidence against the null hypothesis; `decided` once it reaches `threshold`,
    log(1/α). `n` rows went in, `sizes` of them into each arm where there are arms.
    """

    estimate: float
    interval: tuple[float, float]
    log_e: float
    n: int
    threshold: float
    sentence: str
    alpha: float
    sizes: tuple[int, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the evidence suffices to reject the null hypothesis."""
        return self.log_e >= self.threshold

    @property
    def p(self) -> float:
        """The p-value at this moment, min(1, 1/E); it too may be looked at as often as one likes."""
        return math.exp(min(0.0, -self.log_e))


@dataclass(frozen=True, slots=True)
class SequencePath:
    """A method's answer after each row: arrays in the shape of the rows, time along the last axis."""

    estimate: Floats
    lower: Floats
    upper: Floats
    log_e: Floats


def checked_alpha(alpha: float) -> float:
    """The error rate, or `InvalidInput` where it is none."""
    if not (isinstance(alpha, int | float) and 0 < alpha < 1):
        raise InvalidInput(f"The error rate alpha must be a number between 0 and 1, such as 0.05; got {alpha!r}.")
    return float(alpha)


def checked_alternative(alternative: str) -> Alternative:
    """The alternative, or `InvalidInput` where it is not one of the three."""
    for known in get_args(Alternative):
        if alternative == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInput(f"The alternative must be one of {', '.join(get_args(Alternative))}; got {alternative!r}.")


def checked_number(value: float, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within [low, high], or `InvalidInput`."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise InvalidInput(f"The {name} must be a number; got {value!r}.")
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidInput(f"The {name} must lie between {low:g} and {high:g}; got {value:g}.")
    return float(value)


def checked_count(value: int, name: str, *, least: int = 1) -> int:
    """A whole number of at least `least`, or `InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInput(f"The {name} must be a whole number of at least {least}; got {value!r}.")
    return int(value)


def as_floats(values: Any, name: str) -> Floats:
    """The values as floats, missing and infinite ones included; `InvalidInput` where they are no numbers.

    numpy would read dates, digits in texts and the real parts of complex numbers as numbers too.
    """
    mistake = f"The {name} must be numbers; convert or leave out those that are not."
    try:
        given = np.asarray(values)
        texts = given.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in given.flat)
        if texts or given.dtype.kind not in "biufO":
            raise InvalidInput(mistake)
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(mistake) from error


def checked_values(values: Any, name: str, *, low: float = -math.inf, high: float = math.inf) -> Floats:
    """The values as finite floats within [low, high], or `InvalidInput` that says what is wrong with them."""
    array = np.atleast_1d(as_floats(values, name))
    if np.isnan(array).any():
        raise InvalidInput(f"There are missing values among the {name}; leave those rows out first.")
    if not np.isfinite(array).all():
        raise InvalidInput(f"There are infinite values among the {name}; leave those rows out or clip them first.")
    if array.size and (array.min() < low or array.max() > high):
        raise InvalidInput(
            f"The {name} must lie between {low:g} and {high:g}; they reach from {array.min():g} to {array.max():g}."
        )
    return array


def checked_outcomes(values: Any, name: str) -> Floats:
    """Outcomes of 0 and 1 (or False and True) in one dimension, or `InvalidInput`."""
    array = checked_values(values, name, low=0, high=1)
    if array.ndim != 1:
        raise InvalidInput(f"The {name} must be one row of outcomes; got an array of shape {array.shape}.")
    if not np.isin(array, (0.0, 1.0)).all():
        raise InvalidInput(f"The {name} must be 0 or 1; got values between.")
    return array


def log_threshold(alpha: float) -> float:
    """The log evidence at which a decision at error rate `alpha` is made: log(1/α)."""
    return -math.log(alpha)


def odds(log_e: float) -> str:
    """Evidence as words.

    >>> odds(math.log(35)), odds(5000.0), odds(-2000.0)
    ('35 to 1', '1e2171 to 1', '1e-869 to 1')
    """
    if abs(log_e) < 690:
        return f"{math.exp(log_e):.3g} to 1"
    return f"1e{log_e / math.log(10):.0f} to 1"


def span(interval: tuple[float, float], alpha: float) -> str:
    """An interval as words."""
    low, high = interval
    return f"{100 * (1 - alpha):g} % confidence sequence {low:.4g} to {high:.4g}"


def weighed(log_e: float, alpha: float, *, claim: str) -> str:
    """What the evidence allows to be said about a claim, as the end of a sentence."""
    decided = log_e >= log_threshold(alpha)
    verdict = f"{claim}" if decided else f"it can't be said yet that {claim}"
    p = math.exp(min(0.0, -log_e))
    return f"{verdict} (evidence {odds(log_e)}, p = {p:.3g}; {1 / alpha:.4g} to 1 decides)"
