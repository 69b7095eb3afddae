"""What every test of this folder returns, and how it says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Alternative = Literal["two-sided", "larger", "smaller"]

INDEPENDENT = "It takes the rows as independent; several rows of one person or device make it too sure."


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An effect with its interval, the test's statistic and p-value, the sizes it came from, and a plain sentence.

    `estimate` is the second group minus the first unless the function says otherwise, `error` its standard error,
    `df` the degrees of freedom (infinite for a normal statistic), `sizes` the rows of each group and `n` their sum.
    What can't be told is NaN, and the sentence says why.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n: int
    sentence: str
    sizes: tuple[int, ...]
    method: str
    confidence: float
    error: float = math.nan
    df: float = math.inf


def shown_interval(interval: tuple[float, float], confidence: float, *, signed: bool = True) -> str:
    """The interval in words: "95 % interval +0.1 to +0.3"."""
    low, high = (f"{bound:{'+' if signed else ''}.4g}" for bound in interval)
    return f"{confidence * 100:g} % interval {low} to {high}"


def shown_p(p: float) -> str:
    """The p-value in words; very small ones as a bound, since their digits mean nothing."""
    if math.isnan(p):
        return "no p-value"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.3g}"
