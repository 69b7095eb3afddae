"""Many tests at once: p-values adjusted so that a stated rate of false findings holds over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput


def benjamini_hochberg(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the order given.

    Those at or below q have an expected share of false findings of at most q, where the tests are independent or
    positively dependent; where nothing is true, the chance of any finding is at most q as well.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    return _step_up(_checked(p), 1.0)


def benjamini_yekutieli(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted for the false discovery rate under any dependence (Benjamini and Yekutieli 2001).

    Like Benjamini and Hochberg's, times 1 + ½ + ... + 1/m: for metrics that may be negatively dependent.

    >>> benjamini_yekutieli(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.0833, 0.1111, 0.1111, 1.0]
    """
    values = _checked(p)
    return _step_up(values, float((1 / np.arange(1, len(values) + 1)).sum()))


def bonferroni(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted so that the chance of any false finding is at most α (Bonferroni; Dunn 1961).

    Under any dependence. `holm` promises the same and finds more; this one also belongs to intervals of level α/m.

    >>> bonferroni(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.16, 0.12, 1.0]
    """
    values = _checked(p)
    return np.minimum(1.0, values * len(values))


def holm(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted so that the chance of any false finding is at most α, under any dependence (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.09, 0.09, 0.5]
    """
    values = _checked(p)
    order = np.argsort(values)
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def hochberg(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P-values adjusted so that the chance of any false finding is at most α (Hochberg 1988).

    Finds at least what `holm` does, but only where the tests are independent or positively dependent.

    >>> hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.08, 0.08, 0.5]
    """
    values = _checked(p)
    order = np.argsort(values)[::-1]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(values[order] * np.arange(1, len(values) + 1))
    return adjusted


def _checked(p: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1:
        raise InvalidInput(f"P-values must be one-dimensional; got {values.ndim} dimensions. Flatten them first.")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise InvalidInput("P-values must lie between 0 and 1.")
    return values


def _step_up(values: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    order = np.argsort(values)[::-1]
    scaled = factor * values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return adjusted
