"""A reference for each time of the day or the week, where values follow a cycle.

A window of an hour compared with a reference of all hours drifts every day. Compared with the reference's rows of the
same phase of the cycle it drifts when something changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.profile.categorical import CategoricalSummary
from homeostat.stats.profile.numeric import NumericSummary
from homeostat.stats.profile.profile import Profile, Summary
from homeostat.stats.profile.text import TextSummary

DAY = 86_400.0
WEEK = 7 * DAY
# A phase with fewer reference rows says too little; the whole reference stands in for it.
FEWEST_ROWS = 100


@dataclass(frozen=True, slots=True)
class SeasonalReference:
    """Profiles of the phases of a cycle, all over the edges and categories of the `whole` reference.

    >>> hours = np.arange(24 * 200)
    >>> values = np.sin(hours / 24 * 2 * np.pi)
    >>> reference = SeasonalReference.of({"x": values}, hours * 3600.0)
    >>> noon = reference.matching(np.array([36.5]) * 3600)
    >>> noon.rows, round(noon.features["x"].mean, 6)
    (200, 0.0)
    """

    period: float
    whole: Profile
    phases: tuple[Profile, ...]

    @classmethod
    def of(
        cls, columns: dict[str, npt.NDArray[Any]], times: npt.NDArray[Any], *, period: float = DAY, phases: int = 24
    ) -> SeasonalReference:
        """The profiles of `columns` (arrays by name) by the phase in which each row's time lies.

        Args:
            columns: the reference, as for `Profile.of`.
            times: one a row: `datetime64`, or seconds.
            period: of the cycle, in seconds; a day or a week (`DAY`, `WEEK`).
            phases: into how many parts of equal length the cycle is divided.

        Raises:
            InvalidInput: times and rows differ in number, a time is missing, or the cycle means nothing.
        """
        if not (0 < period < np.inf) or phases < 1:
            raise InvalidInput(f"A cycle needs a period above 0 and at least one phase; got {period} and {phases}.")
        whole = Profile.of(columns)
        at = np.minimum(_places(times, period, phases).astype(np.intp), phases - 1)
        if len(at) != whole.rows:
            raise InvalidInput(f"There must be a time for each row; got {len(at)} times for {whole.rows} rows.")
        parts = []
        for phase in range(phases):
            rows = at == phase
            parts.append(Profile.of({name: values[rows] for name, values in columns.items()}, like=whole, sample=0))
        return cls(period, whole, tuple(parts))

    def matching(self, times: npt.NDArray[Any]) -> Profile:
        """The reference for a window of rows with these times: its phases, weighed as the window has them.

        Each time lies between the middles of two phases and weighs both by how near they are, so that what changes
        within a phase is followed to first order. The counts are those of as many rows as the mixture is worth
        (n = 1 / Σ wₕ² / nₕ, Kish 1965), rounded; a phase of fewer than 100 reference rows is stood in for by the whole
        reference.

        Raises:
            InvalidInput: there is no time.
        """
        place = _places(times, self.period, len(self.phases)) - 0.5
        if not len(place):
            raise InvalidInput("A window without rows has no phase.")
        first = np.floor(place).astype(np.intp)
        second = place - first
        phases = len(self.phases)
        near = np.bincount(first % phases, weights=1 - second, minlength=phases)
        next_ = np.bincount((first + 1) % phases, weights=second, minlength=phases)
        weights = np.asarray(near + next_, dtype=np.float64) / len(place)
        parts = [
            (phase if phase.rows >= FEWEST_ROWS else self.whole, float(weight))
            for phase, weight in zip(self.phases, weights, strict=True)
            if weight > 1e-9
        ]
        if len(parts) == 1:
            return parts[0][0]
        rows = 1 / sum(weight * weight / part.rows for part, weight in parts)
        factors = [rows * weight / part.rows for part, weight in parts]
        features = {name: _mixed([part.features[name] for part, _ in parts], factors) for name in self.whole.features}
        return replace(self.whole, rows=round(rows), features=features, sample=None)


def _places(times: npt.NDArray[Any], period: float, phases: int) -> npt.NDArray[np.float64]:
    """Where in the cycle each time lies, in phases since its beginning."""
    values = np.asarray(times)
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            raise InvalidInput("A row has no time, so its phase of the cycle is not known.")
        values = values.astype("datetime64[us]").astype(np.int64) / 1e6
    try:
        seconds = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"Times must be datetime64 or seconds: {error}.") from error
    if not np.isfinite(seconds).all():
        raise InvalidInput("A row has no time, so its phase of the cycle is not known.")
    return np.asarray(seconds % period / period * phases, dtype=np.float64)


def _mixed(parts: Sequence[Summary], factors: Sequence[float]) -> Summary:
    """The weighted sum of summaries of one kind, with counts rounded."""
    first = parts[0]

    def counts(name: str) -> npt.NDArray[np.int64]:
        summed = sum(getattr(part, name) * factor for part, factor in zip(parts, factors, strict=True))
        return np.asarray(np.rint(summed), dtype=np.int64)

    def number(name: str) -> int:
        return round(float(sum(getattr(part, name) * factor for part, factor in zip(parts, factors, strict=True))))

    if isinstance(first, NumericSummary):
        numeric = [part for part in parts if isinstance(part, NumericSummary)]
        cells = counts("counts")
        # Sums are scaled to the rounded count, so that the mean stays the mixture's.
        count, exact = int(cells.sum()), sum(part.count * f for part, f in zip(numeric, factors, strict=True))
        scale = count / exact if exact else 0.0
        low = [part.minimum for part in numeric if part.count]
        high = [part.maximum for part in numeric if part.count]
        return replace(
            first,
            counts=cells,
            missing=number("missing"),
            infinite=number("infinite"),
            minimum=min(low, default=np.nan),
            maximum=max(high, default=np.nan),
            count=count,
            total=scale * sum(part.total * f for part, f in zip(numeric, factors, strict=True)),
            squares=scale * sum(part.squares * f for part, f in zip(numeric, factors, strict=True)),
        )
    if isinstance(first, CategoricalSummary):
        return replace(
            first,
            counts=counts("counts"),
            buckets=counts("buckets"),
            missing=number("missing"),
            unseen=number("unseen"),
        )
    texts = [part for part in parts if isinstance(part, TextSummary)]
    descriptors = {}
    for name in first.descriptors:
        mixed = _mixed([part.descriptors[name] for part in texts], factors)
        if isinstance(mixed, NumericSummary):
            descriptors[name] = mixed
    return TextSummary(descriptors, counts("documents"), number("count"), number("missing"))
