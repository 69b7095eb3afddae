"""Two tables made into two profiles with the same cells, and exact distances where values are at hand.

Columns are taken one at a time, on both sides: what is sorted for one is gone before the next, so that a comparison of
large tables holds two columns a thread and not two more tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from homeostat.errors import InvalidData, InvalidInput
from homeostat.frames import Reader
from homeostat.stats.drift.sorted_values import SortedDistances
from homeostat.stats.parallel import each
from homeostat.stats.profile.categorical import CategoricalSummary
from homeostat.stats.profile.numeric import NumericSummary, in_order
from homeostat.stats.profile.profile import Profile, Summary, assembled, summarise
from homeostat.stats.profile.text import TextSummary


@dataclass(frozen=True, slots=True)
class TablePair:
    """The profiles of a reference and of a table, its distances by feature, and why columns can't be compared."""

    before: Profile
    after: Profile
    exact: dict[str, SortedDistances]
    lost: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Column:
    before: Summary
    after: Summary
    exact: SortedDistances | None = None
    lost: str = ""


def profiles_of(
    reference: Reader | Profile, current: Reader, *, sample: int = 0, rng: int | np.random.Generator = 0
) -> TablePair:
    """The profiles of both, with the cells of the reference.

    A column that the current table lacks, or that holds no numbers where the reference does, is missing in every row
    and is named in `lost`.

    Args:
        reference: the table to compare with, or its profile.
        current: the table to look at; columns that the reference lacks are ignored.
        sample: how many rows each profile keeps.
        rng: seed or generator of the samples.
    """
    names = reference.names if isinstance(reference, Reader) else list(reference.features)
    present = set(current.names)

    def one(name: str) -> _Column:
        ordered = None
        if isinstance(reference, Reader):
            before, ordered = summarise(reference, name, None)
        else:
            before = reference.features[name]
        if name not in present:
            return _Column(before, _all_missing(before, current.rows), lost="The current table has no such column.")
        if not isinstance(before, NumericSummary):
            return _Column(before, summarise(current, name, before)[0])
        try:
            after, now_ordered = summarise(current, name, before)
        except InvalidData:
            held = current.kind(name).value
            words = f"It holds {held} values where the reference holds numbers."
            return _Column(before, _all_missing(before, current.rows), lost=words)
        if ordered is None:
            return _Column(before, after)
        if now_ordered is None:
            now_ordered = in_order(current.numbers(name))
        return _Column(before, after, exact=SortedDistances.of(ordered, now_ordered))

    columns = dict(zip(names, each(one, names, (reference.rows + current.rows) * len(names)), strict=True))
    befores = {name: column.before for name, column in columns.items()}
    afters = {name: column.after for name, column in columns.items()}
    lost = {name: column.lost for name, column in columns.items() if column.lost}
    before = assembled(reference, befores, sample=sample, rng=rng) if isinstance(reference, Reader) else reference
    kept = {name: summary for name, summary in afters.items() if name not in lost}
    after = replace(assembled(current, kept, like=before, sample=sample, rng=rng), features=afters)
    exact = {name: column.exact for name, column in columns.items() if column.exact is not None}
    return TablePair(before, after, exact, lost)


def _all_missing(summary: Summary, rows: int) -> Summary:
    empty = summary.empty()
    if isinstance(empty, NumericSummary | CategoricalSummary | TextSummary):
        return replace(empty, missing=rows)
    raise InvalidInput("A summary is of a kind that can't be compared.")
