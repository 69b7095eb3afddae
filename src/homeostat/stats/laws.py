"""Properties that every measure and test of drift must have, to be run on ours and on anybody's.

A measure is any function of two samples that gives a number; a test gives a statistic and a p-value. Each law looks at
given samples and says whether it held; property-based tests supply the samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Measure = Callable[[Array, Array], float]
Test = Callable[[Array, Array], tuple[float, float]]

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class LawResult:
    """Whether a law held, and in words what was seen."""

    law: str
    holds: bool
    words: str


def identity(measure: Measure, sample: Array, *, tolerance: float = TOLERANCE) -> LawResult:
    """A sample lies at distance 0 from itself.

    >>> identity(lambda a, b: float(abs(a.mean() - b.mean())), np.arange(5.0)).holds
    True
    """
    value = float(measure(sample, sample))
    return LawResult(
        "identity", abs(value) <= tolerance, f"The distance of a sample to itself is {value}; it must be 0."
    )


def non_negativity(measure: Measure, reference: Array, current: Array, *, tolerance: float = TOLERANCE) -> LawResult:
    """No distance is below 0 or NaN.

    >>> non_negativity(lambda a, b: float(a.mean() - b.mean()), np.zeros(3), np.ones(3)).holds
    False
    """
    value = float(measure(reference, current))
    return LawResult("non_negativity", value >= -tolerance, f"The distance is {value}; it must be 0 or more.")


def symmetry(measure: Measure, reference: Array, current: Array, *, tolerance: float = TOLERANCE) -> LawResult:
    """Both directions give one distance; a law only of measures that claim it."""
    there, back = float(measure(reference, current)), float(measure(current, reference))
    holds = math.isclose(there, back, rel_tol=tolerance, abs_tol=tolerance)
    return LawResult("symmetry", holds, f"The distance is {there} one way and {back} the other.")


def boundedness(
    measure: Measure, reference: Array, current: Array, *, upper: float, tolerance: float = TOLERANCE
) -> LawResult:
    """No distance is above `upper`; a law only of measures that claim it."""
    value = float(measure(reference, current))
    return LawResult("boundedness", value <= upper + tolerance, f"The distance is {value}; it may be {upper} at most.")


def order_invariance(
    measure: Measure, reference: Array, current: Array, *, seed: int = 0, tolerance: float = TOLERANCE
) -> LawResult:
    """The order of the rows does not matter."""
    rng = np.random.default_rng(seed)
    before = float(measure(reference, current))
    after = float(measure(rng.permutation(reference), rng.permutation(current)))
    holds = math.isclose(before, after, rel_tol=tolerance, abs_tol=tolerance)
    return LawResult(
        "order_invariance", holds, f"The distance is {before}, and {after} with the rows in another order."
    )


def p_in_range(test: Test, reference: Array, current: Array) -> LawResult:
    """A p-value lies in [0, 1]."""
    p = float(test(reference, current)[1])
    return LawResult("p_in_range", 0 <= p <= 1, f"The p-value is {p}.")


def p_falls_with_shift(
    test: Test, sample: Array, *, shifts: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0), tolerance: float = TOLERANCE
) -> LawResult:
    """The further a sample is shifted from itself, in its standard deviations, the smaller the p-value.

    A law of tests of location, and of omnibus tests on samples that have a single peak.
    """
    scale = float(np.std(sample)) or 1.0
    values = [float(test(sample, sample + shift * scale)[1]) for shift in shifts]
    holds = all(later <= earlier + tolerance for earlier, later in itertools.pairwise(values))
    return LawResult("p_falls_with_shift", holds, f"At shifts {list(shifts)} the p-values are {values}.")


def distance_laws(
    measure: Measure, reference: Array, current: Array, *, symmetric: bool, upper: float | None = None
) -> list[LawResult]:
    """All laws of a measure, with those that it claims.

    >>> def gap(a, b):
    ...     return float(abs(a.mean() - b.mean()))
    >>> all(result.holds for result in distance_laws(gap, np.arange(4.0), np.ones(3), symmetric=True))
    True
    """
    results = [
        identity(measure, reference),
        non_negativity(measure, reference, current),
        order_invariance(measure, reference, current),
    ]
    if symmetric:
        results.append(symmetry(measure, reference, current))
    if upper is not None:
        results.append(boundedness(measure, reference, current, upper=upper))
    return results
