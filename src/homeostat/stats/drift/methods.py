"""Every univariate method by its name, as a function of two arrays, with what it applies to and what it promises.

`METHODS` is what a comparison by name reads, and what the laws are run over: each entry states whether the estimate is
symmetric and what bounds it, and the tests hold it to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.anderson_darling import anderson_darling_test
from homeostat.stats.drift.chi_square import pool_rare
from homeostat.stats.drift.cramer_von_mises import cramer_von_mises_test
from homeostat.stats.drift.cramers_v import cramers_v_test
from homeostat.stats.drift.energy import energy_test
from homeostat.stats.drift.g_test import g_test
from homeostat.stats.drift.hellinger import hellinger_test
from homeostat.stats.drift.jensen_shannon import jensen_shannon_test
from homeostat.stats.drift.ks import ks_test
from homeostat.stats.drift.mann_whitney import mann_whitney_test
from homeostat.stats.drift.psi import psi_test
from homeostat.stats.drift.results import TwoSampleResult, category_counts, finite_samples
from homeostat.stats.drift.total_variation import total_variation_test
from homeostat.stats.drift.wasserstein import wasserstein_test

Array = npt.NDArray[Any]
Compare = Callable[[Array, Array], TwoSampleResult]

NUMERIC = frozenset({"numeric"})
CATEGORICAL = frozenset({"categorical", "boolean"})
GROUPS = 10


@dataclass(frozen=True, slots=True)
class Method:
    """A method of two samples: `compare(reference, current)` gives its result.

    Args:
        name: what it is called by.
        compare: the function; arrays of numbers with NaN, or of categories with `None`, for missing values.
        kinds: of features that it applies to: "numeric", "categorical", "boolean".
        is_test: whether it is a test in the first place, rather than a distance that was given a null distribution.
        symmetric: whether both directions have one estimate.
        upper: what the estimate can't pass; infinite where nothing bounds it.
        alike: the estimate of a sample against itself.
        words: what the estimate is, in a few words.
    """

    name: str
    compare: Compare
    kinds: frozenset[str]
    is_test: bool
    symmetric: bool
    upper: float
    words: str
    alike: float = 0.0


def run_method(name: str, reference: Array, current: Array, *, kind: str) -> TwoSampleResult:
    """The result of a method by name, for a feature of this kind; numbers of a categorical feature are its categories.

    Raises:
        InvalidInput: there is no such method, it does not apply to the kind, or a sample holds nothing to compare.

    >>> run_method("mann_whitney", np.arange(9.0), np.arange(9.0), kind="numeric").estimate
    0.5
    """
    if name not in METHODS:
        raise InvalidInput(f"There is no drift method '{name}'. Take one of: {', '.join(METHODS)}.")
    method = METHODS[name]
    if kind not in method.kinds:
        fitting = ", ".join(methods_for(kind)) or "none"
        raise InvalidInput(f"Method '{name}' does not apply to a {kind} feature. These do: {fitting}.")
    if kind in CATEGORICAL:
        reference, current = np.asarray(reference, dtype=object), np.asarray(current, dtype=object)
    return method.compare(reference, current)


def methods_for(kind: str) -> list[str]:
    """The names of the methods that apply to features of a kind.

    >>> "chi_square" in methods_for("boolean"), "wasserstein" in methods_for("boolean")
    (True, False)
    """
    return [name for name, method in METHODS.items() if kind in method.kinds]


def _cells(reference: Array, current: Array) -> tuple[Array, Array]:
    """Counts in cells: of the categories, or for numbers of groups of about equal pooled share.

    Groups of the pooled values favour neither sample, so they bias no test, and outliers can't stretch them.
    """
    if not _numeric(reference) or not _numeric(current):
        return category_counts(reference, current)
    before, after = finite_samples(reference, current)
    pooled = np.sort(np.concatenate((before, after)))
    ranks = -(-np.arange(1, GROUPS) * len(pooled) // GROUPS) - 1
    edges = np.unique(pooled[ranks])
    size = len(edges) + 1
    return (
        np.bincount(edges.searchsorted(before), minlength=size),
        np.bincount(edges.searchsorted(after), minlength=size),
    )


def _numeric(values: Array) -> bool:
    return np.asarray(values).dtype.kind in "fiu"


def _counted(compare: Compare) -> Compare:
    def compare_values(reference: Array, current: Array) -> TwoSampleResult:
        return compare(*_cells(reference, current))

    return compare_values


def _chi_square(reference: Array, current: Array) -> TwoSampleResult:
    """The chi-square test with its size, cells of fewer than 5 expected rows pooled."""
    before, after = pool_rare(reference, current)
    return cramers_v_test(before.astype(np.int64), after.astype(np.int64))


_BOTH = NUMERIC | CATEGORICAL


def _test(name: str, compare: Compare, words: str, *, upper: float = 1.0) -> Method:
    return Method(name, compare, NUMERIC, is_test=True, symmetric=True, upper=upper, words=words)


def _of_counts(name: str, compare: Compare, words: str, *, upper: float = 1.0, is_test: bool = False) -> Method:
    return Method(name, _counted(compare), _BOTH, is_test=is_test, symmetric=True, upper=upper, words=words)


_TABLE = (
    _test("ks", ks_test, "largest gap between distribution functions"),
    _test("cramer_von_mises", cramer_von_mises_test, "root mean square gap between distribution functions"),
    _test("anderson_darling", anderson_darling_test, "such a gap with its tails weighted up", upper=math.inf),
    Method(
        "mann_whitney",
        mann_whitney_test,
        NUMERIC,
        is_test=True,
        symmetric=False,
        upper=1.0,
        words="chance that a current value is larger than a reference value",
        alike=0.5,
    ),
    Method(
        "wasserstein",
        wasserstein_test,
        NUMERIC,
        is_test=False,
        symmetric=False,
        upper=math.inf,
        words="average move of the values in the reference's standard deviations",
    ),
    Method("energy", energy_test, NUMERIC, is_test=False, symmetric=True, upper=math.inf, words="energy distance"),
    _of_counts("psi", psi_test, "population stability index", upper=math.inf),
    _of_counts("jensen_shannon", jensen_shannon_test, "Jensen–Shannon divergence in bits"),
    _of_counts("hellinger", hellinger_test, "Hellinger distance of shares"),
    _of_counts("total_variation", total_variation_test, "share of rows that changed their cell"),
    _of_counts("chi_square", _chi_square, "Cramér's V less its bias, rare cells pooled", is_test=True),
    _of_counts("g_test", g_test, "information in bits less its bias", is_test=True),
    _of_counts("cramers_v", cramers_v_test, "Cramér's V less its bias"),
)
METHODS = {method.name: method for method in _TABLE}
