"""The summary of one categorical feature: counts of the reference's top categories, and hashed ones for the rest."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.profile.numeric import DIFFERENT

Counts = npt.NDArray[np.int64]

BUCKETS = 256


@dataclass(frozen=True, slots=True, eq=False)
class CategoricalSummary:
    """Counts of one categorical feature: `counts[i]` is that of `categories[i]`, the reference's most frequent ones.

    Where the reference had no other categories (`exhaustive`), a value outside them was never seen in it and counts as
    `unseen`. Where it had more, such a value counts in one of the `buckets` by its hash, so that memory stays bounded;
    one in a bucket that the reference left empty was surely never seen.
    """

    categories: tuple[str, ...]
    counts: Counts
    buckets: Counts
    missing: int
    unseen: int
    exhaustive: bool

    @property
    def other(self) -> int:
        """Rows with a category that is not among those counted one by one, where the reference had such ones too."""
        return int(self.buckets.sum())

    @property
    def count(self) -> int:
        """Rows that hold a value."""
        return int(self.counts.sum()) + self.other + self.unseen

    @property
    def rows(self) -> int:
        """All rows, missing ones included."""
        return self.count + self.missing

    def same_cells(self, other: CategoricalSummary) -> bool:
        """Whether the counts of both are of the same categories."""
        same = self.categories is other.categories or self.categories == other.categories
        return same and self.exhaustive == other.exhaustive and len(self.buckets) == len(other.buckets)

    def empty(self) -> CategoricalSummary:
        """The summary of no rows with these categories."""
        zeros = np.zeros_like(self.counts)
        return CategoricalSummary(self.categories, zeros, np.zeros_like(self.buckets), 0, 0, self.exhaustive)

    def __add__(self, other: CategoricalSummary) -> CategoricalSummary:
        if not self.same_cells(other):
            raise InvalidInput(DIFFERENT)
        return CategoricalSummary(
            self.categories,
            self.counts + other.counts,
            self.buckets + other.buckets,
            self.missing + other.missing,
            self.unseen + other.unseen,
            self.exhaustive,
        )


def first_category(tally: Counter[str], missing: int, top: int) -> CategoricalSummary:
    """The summary of a reference's values, given how often each occurs."""
    # Ties are broken by name, so that the order of the rows does not matter.
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    counts = np.array([count for _, count in ordered[:top]], dtype=np.int64)
    categories = tuple(category for category, _ in ordered[:top])
    rest = ordered[top:]
    buckets = _hashed(rest, BUCKETS) if rest else np.zeros(0, dtype=np.int64)
    return CategoricalSummary(categories, counts, buckets, missing, 0, not rest)


def category_like(tally: Counter[str], missing: int, like: CategoricalSummary) -> CategoricalSummary:
    """The summary of values over the categories of another, given how often each occurs."""
    counts = np.array([tally[category] for category in like.categories], dtype=np.int64)
    outside = tally.total() - int(counts.sum())
    buckets, unseen = np.zeros_like(like.buckets), 0
    if like.exhaustive:
        unseen = outside
    elif outside:
        known = set(like.categories)
        rest = [(category, count) for category, count in tally.items() if category not in known]
        buckets = _hashed(rest, len(like.buckets))
    return CategoricalSummary(like.categories, counts, buckets, missing, unseen, like.exhaustive)


def bucket_of(category: str, buckets: int) -> int:
    """The bucket that a category falls into: the remainder of its CRC-32, the same in every process."""
    return zlib.crc32(category.encode("utf-8", "surrogatepass")) % buckets


def _hashed(items: list[tuple[str, int]], buckets: int) -> Counts:
    places = [bucket_of(category, buckets) for category, _ in items]
    weights = np.array([count for _, count in items], dtype=np.int64)
    counts = np.zeros(buckets, dtype=np.int64)
    np.add.at(counts, places, weights)
    return counts
