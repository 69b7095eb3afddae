"""Mergeable summaries of columns: what a window of rows looked like, in counts that add up.

A profile made with `like=reference` uses the reference's edges and categories, so that profiles of one version can be
added in any order and grouping, and drift checks cost features × bins however many rows were served.

The moments are merged as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class NumericSummary:
    """Counts of one numeric feature between fixed edges, and its moments.

    Bin `i` holds the values in `(edges[i-1], edges[i]]`; the first and the last are open. The lowest edge lies just
    below the reference's minimum and the highest is its maximum, so the outer bins count what lies outside the
    reference's range. Missing (NaN) and infinite values are counted apart and are in no bin and no moment.
    """

    edges: Floats
    counts: Counts
    missing: int
    infinite: int
    minimum: float
    maximum: float
    count: int
    mean: float
    m2: float

    @property
    def rows(self) -> int:
        """All rows: binned, missing and infinite."""
        return self.count + self.missing + self.infinite

    @property
    def deviation(self) -> float:
        """The sample's standard deviation; NaN below two values."""
        return math.sqrt(self.m2 / (self.count - 1)) if self.count > 1 else math.nan

    def __add__(self, other: NumericSummary) -> NumericSummary:
        if self.edges is not other.edges and not np.array_equal(self.edges, other.edges):
            raise InvalidInput(_DIFFERENT)
        count = self.count + other.count
        mean, m2 = self.mean, self.m2
        if not self.count:
            mean, m2 = other.mean, other.m2
        elif other.count:
            delta = other.mean - self.mean
            mean += delta * (other.count / count)
            m2 += other.m2 + delta * delta * (self.count * (other.count / count))
        return NumericSummary(
            self.edges,
            self.counts + other.counts,
            self.missing + other.missing,
            self.infinite + other.infinite,
            _least(self.minimum, other.minimum),
            -_least(-self.maximum, -other.maximum),
            count,
            mean,
            m2,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CategoricalSummary:
    """Counts of one categorical feature: `counts[i]` is that of `categories[i]`, the reference's most frequent ones.

    Where the reference had no other categories (`exhaustive`), a value outside them was never seen in it and counts as
    `unseen`. Where it had more, such a value counts as `other`, and whether it is new can't be told.
    """

    categories: tuple[str, ...]
    counts: Counts
    other: int
    missing: int
    unseen: int
    exhaustive: bool

    @property
    def count(self) -> int:
        """Rows that hold a value."""
        return int(self.counts.sum()) + self.other + self.unseen

    @property
    def rows(self) -> int:
        """All rows, missing ones included."""
        return self.count + self.missing

    def __add__(self, other: CategoricalSummary) -> CategoricalSummary:
        same = self.categories is other.categories or self.categories == other.categories
        if not same or self.exhaustive != other.exhaustive:
            raise InvalidInput(_DIFFERENT)
        return CategoricalSummary(
            self.categories,
            self.counts + other.counts,
            self.other + other.other,
            self.missing + other.missing,
            self.unseen + other.unseen,
            self.exhaustive,
        )


Summary = NumericSummary | CategoricalSummary

_DIFFERENT = (
    "These profiles have different edges or categories, so their counts don't add up or compare. "
    "Make the second with Profile.of(columns, like=first)."
)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A mergeable summary of a window of rows, one `NumericSummary` or `CategoricalSummary` a feature.

    >>> reference = Profile.of({"x": np.arange(100.0), "c": np.array(["a", "b"] * 50, dtype=object)})
    >>> window = Profile.of({"x": np.array([1.0, np.nan]), "c": np.array(["a", "z"], dtype=object)}, like=reference)
    >>> both = window + window
    >>> both.rows, both.features["x"].missing, both.features["c"].unseen
    (4, 2, 2)
    """

    rows: int
    features: dict[str, Summary]

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Array],
        *,
        numeric: Collection[str] | None = None,
        like: Profile | None = None,
        bins: int = 40,
        top: int = 50,
    ) -> Profile:
        """The profile of `columns` (1-d arrays of one length, by name).

        Args:
            columns: numeric features as float arrays with NaN for missing, others as objects with `None` for missing.
            numeric: names of the numeric features; by default those of a float, integer or boolean dtype.
            like: a profile whose features, edges and categories are taken; columns that it lacks are ignored.
            bins: quantile bins of a numeric feature, between its minimum and maximum.
            top: how many categories are counted one by one.

        Raises:
            InvalidInput: columns differ in length, lack a feature of `like`, or hold values of the wrong kind.
        """
        if bins < 1 or top < 1:
            raise InvalidInput(f"A profile needs at least one bin and one category; got bins={bins}, top={top}.")
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise InvalidInput(f"The columns of a profile must have one length; got {sorted(lengths)}.")
        features: dict[str, Summary] = {}
        if like is None:
            for name, values in columns.items():
                is_number = values.dtype.kind in "fiub" if numeric is None else name in numeric
                features[name] = _first_numeric(name, values, bins) if is_number else _first_category(name, values, top)
        else:
            for name, summary in like.features.items():
                if name not in columns:
                    raise InvalidInput(f"The columns lack '{name}', which the profile to be matched has.", feature=name)
                if isinstance(summary, NumericSummary):
                    features[name] = _numeric(name, columns[name], summary.edges)
                else:
                    features[name] = _category(name, columns[name], summary)
        return cls(lengths.pop() if lengths else 0, features)

    def empty(self) -> Profile:
        """A profile of no rows with these edges and categories: what sums start from."""
        features: dict[str, Summary] = {}
        for name, summary in self.features.items():
            if isinstance(summary, NumericSummary):
                zeros = np.zeros_like(summary.counts)
                features[name] = NumericSummary(summary.edges, zeros, 0, 0, math.nan, math.nan, 0, 0.0, 0.0)
            else:
                zeros = np.zeros_like(summary.counts)
                features[name] = CategoricalSummary(summary.categories, zeros, 0, 0, 0, summary.exhaustive)
        return Profile(0, features)

    def __add__(self, other: Profile) -> Profile:
        if self.features.keys() != other.features.keys():
            raise InvalidInput(
                f"These profiles have different features: {sorted(self.features.keys() ^ other.features.keys())}."
            )
        features: dict[str, Summary] = {}
        for name, mine in self.features.items():
            theirs = other.features[name]
            if type(mine) is not type(theirs):
                raise InvalidInput(f"Feature '{name}' is numeric in one profile and categorical in the other.")
            features[name] = mine + theirs  # type: ignore[operator] # of one type, as just checked
        return Profile(self.rows + other.rows, features)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, fit for JSON; `from_dict` reads it back."""
        return {
            "format": FORMAT,
            "rows": self.rows,
            "features": {name: _written(summary) for name, summary in self.features.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The profile that `to_dict` wrote; raises `InvalidInput` where it is of another format or damaged."""
        if data.get("format") != FORMAT:
            raise InvalidInput(f"This profile has format {data.get('format')!r}; this version reads format {FORMAT}.")
        try:
            return cls(int(data["rows"]), {name: _read(summary) for name, summary in data["features"].items()})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"This profile is damaged: {error!r}.") from error


def _least(one: float, two: float) -> float:
    """The smaller of two numbers, of which NaN is neither."""
    if math.isnan(one):
        return two
    return one if math.isnan(two) else min(one, two)


def _floats(name: str, values: Array) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"Feature '{name}' should be numeric, but holds something else: {error}.") from error


def _edges(values: Floats, bins: int) -> Floats:
    """Edges at the quantiles, or at every value where there are no more values than bins; none for no values."""
    if not len(values):
        return np.empty(0)
    ordered = np.sort(values)
    distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
    if len(distinct) > bins:
        ranks = -(-np.arange(1, bins + 1) * len(ordered) // bins) - 1
        distinct = np.unique(ordered[ranks])
    return np.concatenate(([np.nextafter(ordered[0], -np.inf)], distinct))


def _first_numeric(name: str, values: Array, bins: int) -> NumericSummary:
    numbers = _floats(name, values)
    return _numeric(name, numbers, _edges(numbers[np.isfinite(numbers)], bins))


def _numeric(name: str, values: Array, edges: Floats) -> NumericSummary:
    numbers = _floats(name, values)
    finite = np.isfinite(numbers)
    count = int(np.count_nonzero(finite))
    missing = infinite = 0
    if count < len(numbers):
        missing = int(np.count_nonzero(np.isnan(numbers)))
        infinite = len(numbers) - count - missing
        numbers = numbers[finite]
    counts = np.bincount(edges.searchsorted(numbers), minlength=len(edges) + 1)
    if not count:
        return NumericSummary(edges, counts, missing, infinite, math.nan, math.nan, 0, 0.0, 0.0)
    # Values near the end of the range of floats overflow the moments; the counts are right all the same.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(numbers.sum()) / count
        deviations = numbers - mean
        m2 = float(deviations.dot(deviations))
    return NumericSummary(edges, counts, missing, infinite, float(numbers.min()), float(numbers.max()), count, mean, m2)


def _tally(name: str, values: Array) -> tuple[Counter[str], int]:
    """Counts of the values as strings, and how many are missing."""
    try:
        raw = Counter(values.tolist())
    except TypeError as error:
        raise InvalidInput(f"Feature '{name}' should be categorical, but holds something else: {error}.") from error
    missing = raw.pop(None, 0)
    if all(isinstance(value, str) for value in raw):
        return raw, missing
    tally: Counter[str] = Counter()
    for value, count in raw.items():
        if isinstance(value, float) and math.isnan(value):
            missing += count
        else:
            tally[str(value)] += count
    return tally, missing


def _first_category(name: str, values: Array, top: int) -> CategoricalSummary:
    tally, missing = _tally(name, values)
    # Ties are broken by name, so that the order of the rows does not matter.
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    counts = np.array([count for _, count in ordered[:top]], dtype=np.int64)
    categories = tuple(category for category, _ in ordered[:top])
    return CategoricalSummary(categories, counts, tally.total() - int(counts.sum()), missing, 0, len(ordered) <= top)


def _category(name: str, values: Array, like: CategoricalSummary) -> CategoricalSummary:
    tally, missing = _tally(name, values)
    counts = np.array([tally[category] for category in like.categories], dtype=np.int64)
    outside = tally.total() - int(counts.sum())
    other, unseen = (0, outside) if like.exhaustive else (outside, 0)
    return CategoricalSummary(like.categories, counts, other, missing, unseen, like.exhaustive)


def _number(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _back(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _written(summary: Summary) -> dict[str, Any]:
    if isinstance(summary, CategoricalSummary):
        return {
            "kind": "categorical",
            "categories": list(summary.categories),
            "counts": summary.counts.tolist(),
            "other": summary.other,
            "missing": summary.missing,
            "unseen": summary.unseen,
            "exhaustive": summary.exhaustive,
        }
    return {
        "kind": "numeric",
        "edges": [_number(edge) for edge in summary.edges.tolist()],
        "counts": summary.counts.tolist(),
        "missing": summary.missing,
        "infinite": summary.infinite,
        "minimum": _number(summary.minimum),
        "maximum": _number(summary.maximum),
        "count": summary.count,
        "mean": _number(summary.mean),
        "m2": _number(summary.m2),
    }


def _read(data: Mapping[str, Any]) -> Summary:
    counts = np.array(data["counts"], dtype=np.int64)
    if data["kind"] == "categorical":
        categories = tuple(data["categories"])
        if len(categories) != len(counts):
            raise ValueError(f"{len(categories)} categories but {len(counts)} counts")
        return CategoricalSummary(
            categories, counts, int(data["other"]), int(data["missing"]), int(data["unseen"]), bool(data["exhaustive"])
        )
    edges = np.array([_back(edge) for edge in data["edges"]], dtype=np.float64)
    if len(counts) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges but {len(counts)} counts")
    return NumericSummary(
        edges,
        counts,
        int(data["missing"]),
        int(data["infinite"]),
        _back(data["minimum"]),
        _back(data["maximum"]),
        int(data["count"]),
        _back(data["mean"]),
        _back(data["m2"]),
    )
