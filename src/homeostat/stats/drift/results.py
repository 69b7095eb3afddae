"""What every two-sample method returns, and the samples that it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class TwoSampleResult:
    """How far two samples lie apart, and whether chance explains it.

    `estimate` is the effect or distance and `interval` holds it with the confidence asked for; `statistic` and `p` are
    the test's. `expected` is what the estimate comes to on average where nothing drifted and `threshold` what it passes
    there with probability `level`; both are NaN where the estimate is no distance. A field is NaN where nothing can be
    said, and `sentence` then says why.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    expected: float = math.nan
    threshold: float = math.nan
    level: float = 0.05

    @property
    def adjusted(self) -> float:
        """The distance less its expectation without drift, at least 0; NaN where there is no such expectation."""
        return math.nan if math.isnan(self.expected) else max(0.0, self.estimate - self.expected)


def finite_samples(reference: Any, current: Any) -> tuple[Floats, Floats]:
    """Both samples as floats without NaN and infinities, for methods that need distances between values.

    Raises:
        InvalidInput: a sample is not numeric, not one-dimensional or holds no finite value.
    """
    return _numbers(reference, "reference", finite=True), _numbers(current, "current", finite=True)


def ranked_samples(reference: Any, current: Any) -> tuple[Floats, Floats]:
    """Both samples as floats without NaN, for methods that need ranks only: infinite values have theirs.

    Raises:
        InvalidInput: a sample is not numeric, not one-dimensional or holds no value.
    """
    return _numbers(reference, "reference", finite=False), _numbers(current, "current", finite=False)


def _numbers(values: Any, name: str, *, finite: bool) -> Floats:
    given = np.asarray(values)
    if given.ndim != 1:
        raise InvalidInput(f"The {name} sample must be an array of one dimension; got {given.ndim}.")
    if given.dtype.kind not in "fiubO":
        raise InvalidInput(f"The {name} sample must hold numbers; it holds {given.dtype}.")
    try:
        numbers = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The {name} sample must hold numbers only: {error}.") from error
    kept: Floats = numbers[np.isfinite(numbers) if finite else ~np.isnan(numbers)]
    if not len(kept):
        raise InvalidInput(
            f"The {name} sample holds no {'finite ' if finite else ''}value among its {len(numbers)}, "
            "so it can't be compared."
        )
    return kept


def counted_samples(reference: Any, current: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two rows of counts over the same cells, checked.

    Raises:
        InvalidInput: they differ in length, hold something other than whole numbers from 0 on, or are all zero.
    """
    rows = []
    for name, counts in (("reference", reference), ("current", current)):
        given = np.asarray(counts)
        if given.ndim != 1 or given.dtype.kind not in "fiub":
            raise InvalidInput(f"The {name} counts must be numbers in an array of one dimension.")
        if not np.all(np.isfinite(given)) or (given < 0).any() or (given != np.floor(given)).any():
            raise InvalidInput(f"The {name} counts must be whole numbers of at least 0.")
        if not given.any():
            raise InvalidInput(f"The {name} counts are of no rows, which can't be compared.")
        rows.append(given.astype(np.int64))
    if len(rows[0]) != len(rows[1]):
        raise InvalidInput(f"Counts must be of the same bins; got {len(rows[0])} and {len(rows[1])}.")
    return rows[0], rows[1]


def joint_counts(reference: Any, current: Any, *, bins: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts of both samples in `bins` equal bins over their joint range; values that are not finite are left out."""
    before, after = finite_samples(reference, current)
    if bins < 1:
        raise InvalidInput(f"At least one bin is needed; got {bins}.")
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    if low == high:
        return np.array([len(before)]), np.array([len(after)])
    # Halves, as the range of values near the end of the floats is itself past it.
    width = high / 2 - low / 2
    found = []
    for values in (before, after):
        place = np.minimum((values / 2 - low / 2) / width * bins, bins - 1).astype(np.intp)
        found.append(np.bincount(place, minlength=bins))
    return found[0], found[1]


def category_counts(reference: Any, current: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts of both samples over all categories that occur in either; `None` and NaN are left out.

    Raises:
        InvalidInput: a sample holds no value.

    >>> [row.tolist() for row in category_counts(["a", "a", None], ["b", "a"])]
    [[2, 0], [1, 1]]
    """
    kept = []
    for name, values in (("reference", reference), ("current", current)):
        given = values.tolist() if isinstance(values, np.ndarray) else list(values)
        # NaN is the one value that differs from itself, and pandas' missing value the one that can't tell.
        present = [
            _named(one)
            for one in given
            if one is not None and repr(one) != "<NA>" and one == one  # noqa: PLR0124
        ]
        if not present:
            raise InvalidInput(f"The {name} sample holds no value, so it can't be compared.")
        kept.append(present)
    _, place = np.unique(np.array(kept[0] + kept[1]), return_inverse=True)
    size = int(place.max()) + 1
    cut = len(kept[0])
    return np.bincount(place[:cut], minlength=size), np.bincount(place[cut:], minlength=size)


def _named(value: Any) -> str:
    """A category's name; whole numbers have one, whether a gap in the column has made them floats or not."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_confidence(confidence: float, level: float) -> None:
    """Raise `InvalidInput` unless both lie strictly between 0 and 1."""
    for name, value in (("confidence", confidence), ("level", level)):
        if not 0 < value < 1:
            raise InvalidInput(f"The {name} must lie between 0 and 1; got {value}.")


def shown(p: float) -> str:
    """A p-value in words, without a false 0.

    >>> shown(0.0431), shown(0.0)
    ('p = 0.043', 'p < 1e-300')
    """
    return "p < 1e-300" if p < 1e-300 else f"p = {p:.2g}"
