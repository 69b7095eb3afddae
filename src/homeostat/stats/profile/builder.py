"""A profile that grows row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.frames import Kind
from homeostat.stats.profile.profile import SAMPLE, Profile

TOGETHER = 256


class ProfileBuilder:
    """Takes rows one at a time, and gives their profile over the edges and categories of a reference at any moment.

    Rows are summarised some hundred at a time, since a profile costs by the call more than by the row. Its draws come
    from one generator, so that equal rows do not share a priority in the sample.

    >>> reference = Profile.of({"x": np.arange(100.0)})
    >>> builder = ProfileBuilder(reference)
    >>> for value in (1.0, None, 250.0):
    ...     builder.add({"x": value})
    >>> summary = builder.profile().features["x"]
    >>> summary.count, summary.missing, summary.maximum
    (2, 1, 250.0)
    """

    def __init__(self, like: Profile, *, sample: int = SAMPLE, rng: int | np.random.Generator = 0) -> None:
        self._like = like
        self._sample = sample
        self._rng = np.random.default_rng(rng)
        self._profile: Profile | None = None
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one row; raises `InvalidInput`, and takes nothing, where it lacks a feature or has a wrong type."""
        for name in self._like.features:
            if name not in row:
                raise InvalidInput(f"The row lacks '{name}', which the profile to be matched has.", feature=name)
            value = row[name]
            number = self._like.kind(name) in (Kind.NUMERIC, Kind.BOOLEAN)
            if number and not (value is None or isinstance(value, int | float | np.number | np.bool_)):
                raise InvalidInput(f"Feature '{name}' should be a number; got a {type(value).__name__}.", feature=name)
        self._rows.append(row)
        if len(self._rows) >= TOGETHER:
            self._take_in()

    def profile(self) -> Profile:
        """The profile of all rows so far."""
        self._take_in()
        return self._profile if self._profile is not None else self._like.empty()

    def _take_in(self) -> None:
        if not self._rows:
            return
        columns: dict[str, np.ndarray[Any, Any]] = {}
        for name in self._like.features:
            values = [row[name] for row in self._rows]
            is_number = self._like.kind(name) in (Kind.NUMERIC, Kind.BOOLEAN)
            columns[name] = np.array(values, dtype=np.float64 if is_number else object)
        part = Profile.of(columns, like=self._like, sample=self._sample, rng=self._rng)
        self._profile = part if self._profile is None else self._profile + part
        self._rows = []
