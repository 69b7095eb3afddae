"""Mergeable summaries of columns: what a window of rows looked like, in counts that add up.

A profile made with `like=reference` uses the reference's edges and categories, so that profiles of one version can be
added in any order and grouping, and drift checks cost features × bins however many rows were served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.frames import Kind, Reader
from homeostat.stats.parallel import each
from homeostat.stats.profile.categorical import CategoricalSummary, category_like, first_category
from homeostat.stats.profile.numeric import NumericSummary, first_numeric, numeric_like
from homeostat.stats.profile.sample import RowSample, drawn_priorities, lowest, priorities_of_keys
from homeostat.stats.profile.text import TextSummary, first_text, text_like

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Summary = NumericSummary | CategoricalSummary | TextSummary

BINS = 80
TOP = 50
SAMPLE = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A mergeable summary of a window of rows: one summary a feature, and a uniform sample of rows.

    >>> reference = Profile.of({"x": np.arange(100.0), "c": np.array(["a", "b"] * 50, dtype=object)})
    >>> window = Profile.of({"x": np.array([1.0, np.nan]), "c": np.array(["a", "z"], dtype=object)}, like=reference)
    >>> both = window + window
    >>> both.rows, both.features["x"].missing, both.features["c"].unseen
    (4, 2, 2)
    """

    rows: int
    features: dict[str, Summary]
    sample: RowSample | None = None
    booleans: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        kinds: Mapping[str, Kind] | None = None,
        like: Profile | None = None,
        bins: int = BINS,
        top: int = TOP,
        sample: int = SAMPLE,
        keys: Array | None = None,
        rng: int | np.random.Generator = 0,
    ) -> Profile:
        """The profile of a table, in one pass over its columns.

        Args:
            data: a frame of pandas, polars or pyarrow, or a mapping of arrays: floats with NaN for missing, objects
                with `None`.
            kinds: what each column holds; by default what its type and values speak for. Columns that are not named
                here are inferred.
            like: a profile whose features, edges and categories are taken; columns that it lacks are ignored.
            bins: quantile bins of a numeric feature, between its minimum and maximum.
            top: how many categories are counted one by one.
            sample: how many rows are kept for checks of several features together; 0 for none.
            keys: a name of each row that no other has, such as its prediction id. It decides which rows are kept, so
                that profiles of the same rows keep the same ones.
            rng: seed or generator of the sample where there are no keys.

        Raises:
            InvalidInput: columns differ in length, lack a feature of `like`, or hold values of the wrong kind.
        """
        if bins < 1 or top < 1 or sample < 0:
            raise InvalidInput(
                f"A profile needs at least one bin and one category, and no negative sample; got bins={bins}, "
                f"top={top}, sample={sample}."
            )
        reader = data if isinstance(data, Reader) else Reader(data, kinds)
        names = reader.names if like is None else list(like.features)
        lacking = [name for name in names if name not in reader.names]
        if lacking:
            raise InvalidInput(
                f"The columns lack '{lacking[0]}', which the profile to be matched has.", feature=lacking[0]
            )
        if keys is not None and len(keys) != reader.rows:
            raise InvalidInput(f"There must be a key for each row; got {len(keys)} keys for {reader.rows} rows.")

        def one(name: str) -> Summary:
            return summarise(reader, name, None if like is None else like.features[name], bins=bins, top=top)[0]

        features = dict(zip(names, each(one, names, reader.rows * len(names)), strict=True))
        return assembled(reader, features, like=like, sample=sample, keys=keys, rng=rng)

    def kind(self, name: str) -> Kind:
        """What a feature holds."""
        summary = self.features[name]
        if isinstance(summary, TextSummary):
            return Kind.TEXT
        if isinstance(summary, CategoricalSummary):
            return Kind.CATEGORICAL
        return Kind.BOOLEAN if name in self.booleans else Kind.NUMERIC

    def empty(self) -> Profile:
        """A profile of no rows with these edges and categories: what sums start from."""
        features: dict[str, Summary] = {name: summary.empty() for name, summary in self.features.items()}
        return Profile(0, features, None if self.sample is None else self.sample.empty(), self.booleans)

    def __add__(self, other: Profile) -> Profile:
        if self.features.keys() != other.features.keys():
            raise InvalidInput(
                f"These profiles have different features: {sorted(self.features.keys() ^ other.features.keys())}."
            )
        features: dict[str, Summary] = {}
        for name, mine in self.features.items():
            theirs = other.features[name]
            if type(mine) is not type(theirs):
                raise InvalidInput(f"Feature '{name}' is of one kind in one profile and of another in the other.")
            features[name] = mine + theirs  # type: ignore[operator] # of one type, as just checked
        # A sample of only some of the rows would be none of all of them.
        sample = None if self.sample is None or other.sample is None else self.sample + other.sample
        return Profile(self.rows + other.rows, features, sample, self.booleans)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, fit for JSON; `from_dict` reads it back. The sample is left out."""
        from homeostat.stats.profile.codec import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The profile that `to_dict` wrote; raises `InvalidInput` where it is of another format or damaged."""
        from homeostat.stats.profile.codec import from_dict

        return from_dict(data)

    def to_bytes(self) -> bytes:
        """The profile and its sample in a compact format with a version and a checksum; `from_bytes` reads it back."""
        from homeostat.stats.profile.codec import to_bytes

        return to_bytes(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Profile:
        """The profile that `to_bytes` wrote; raises `InvalidInput` where it is of another format or damaged."""
        from homeostat.stats.profile.codec import from_bytes

        return from_bytes(content)


def summarise(
    reader: Reader, name: str, like: Summary | None, *, bins: int = BINS, top: int = TOP
) -> tuple[Summary, Floats | None]:
    """The summary of a column, over the cells of `like`; and its finite values in order where they had to be sorted."""
    kind = reader.kind(name) if like is None else None
    if isinstance(like, NumericSummary):
        return numeric_like(reader.numbers(name), like.edges)
    if kind is not None and kind.is_number:
        return first_numeric(reader.numbers(name), bins)
    if isinstance(like, TextSummary):
        return text_like(reader.texts(name), like), None
    if kind is Kind.TEXT:
        return first_text(reader.texts(name), bins), None
    tally, missing = reader.tally(name)
    if isinstance(like, CategoricalSummary):
        return category_like(tally, missing, like), None
    return first_category(tally, missing, top), None


def assembled(
    reader: Reader,
    features: dict[str, Summary],
    *,
    like: Profile | None = None,
    sample: int = 0,
    keys: Array | None = None,
    rng: int | np.random.Generator = 0,
) -> Profile:
    """The profile of a table whose columns have been summarised."""
    booleans = like.booleans if like is not None else frozenset(n for n in features if reader.kind(n) is Kind.BOOLEAN)
    kept = _sample(reader, features, sample, keys, rng) if sample else None
    return Profile(reader.rows, features, kept, booleans)


def _sample(
    reader: Reader,
    features: Mapping[str, Summary],
    size: int,
    keys: Array | None,
    rng: int | np.random.Generator,
) -> RowSample:
    numeric = {name: isinstance(summary, NumericSummary) for name, summary in features.items()}
    if keys is not None:
        priorities = priorities_of_keys(keys)
    else:
        first = np.arange(min(64, reader.rows))
        few = {name: reader.take(name, first, text=not number) for name, number in numeric.items()}
        priorities = drawn_priorities(reader.rows, few, rng)
    index = lowest(priorities, size)
    columns = {name: reader.take(name, index, text=not number) for name, number in numeric.items()}
    return RowSample(size, priorities[index], columns)
