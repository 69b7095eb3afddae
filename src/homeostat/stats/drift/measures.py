"""Every measure of every feature of two profiles, computed for all features at once.

The counts of all features stand in one matrix, a feature a row, filled up with empty cells, which add nothing to any
measure. So the cost is that of a few dozen array operations, not of that many for each feature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift import chi_square, ks, psi, shares
from homeostat.stats.drift.jensen_shannon import jensen_shannon_of_rows
from homeostat.stats.profile import CategoricalSummary, NumericSummary, Profile, Summary

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Below this many values on a side nothing is said of how they are distributed.
VALUES_ROWS = 30
DIMENSIONS = ("values", "missing", "unseen")


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Measures by feature, NaN where one does not apply; `p` and `effect` have a column for each of `DIMENSIONS`.

    An effect is a difference of distributions or shares, from 0 to 1, less what sampling alone would make of it.
    """

    names: list[str]
    numeric: npt.NDArray[np.bool_]
    present: Counts
    ks: Floats
    ks_p: Floats
    psi: Floats
    psi_adjusted: Floats
    js: Floats
    chi2: Floats
    chi2_p: Floats
    plain_chi2: Floats
    plain_chi2_p: Floats
    missing_reference: Floats
    missing_current: Floats
    missing_p: Floats
    unseen: Floats
    p: Floats
    effect: Floats


def measure(reference: Profile, current: Profile) -> Measures:
    """All measures of `current` against `reference`, which must have its features, edges and categories."""
    if reference.features.keys() != current.features.keys():
        different = sorted(reference.features.keys() ^ current.features.keys())
        raise InvalidInput(f"The profiles have different features: {', '.join(different)}.", features=different)
    names = list(reference.features)
    before = [reference.features[name] for name in names]
    after = [current.features[name] for name in names]
    size = len(names)
    numeric = np.array([isinstance(summary, NumericSummary) for summary in before], dtype=bool)
    old, new = _matrices([_cells(one, two) for one, two in zip(before, after, strict=True)])
    n, m = old.sum(axis=-1), new.sum(axis=-1)

    values = {key: np.full(size, np.nan) for key in _VALUES}
    p, effect = np.full((size, 3), np.nan), np.zeros((size, 3))
    known = np.flatnonzero((n > 0) & (m > 0))
    if len(known):
        measured = _of_values(old[known], new[known], numeric[known], [before[index] for index in known])
        for key in _VALUES:
            values[key][known] = measured[key]
        enough = np.minimum(n[known], m[known]) >= VALUES_ROWS
        p[known, 0] = np.where(enough, measured["p"], np.nan)
        effect[known, 0] = np.where(enough, measured["effect"], 0.0)

    gone_before, gone_after = np.array([_gone(item) for item in before]), np.array([_gone(item) for item in after])
    missing_p = shares.share_p(gone_before, reference.rows, gone_after, current.rows)
    missing = (gone_before / max(1, reference.rows), gone_after / max(1, current.rows))
    # A column that is complete on both sides has nothing to test; the sum of both decides, which favours neither.
    p[:, 1] = np.where(gone_before + gone_after > 0, missing_p, np.nan)
    if reference.rows and current.rows:
        inverse = 1 / reference.rows + 1 / current.rows
        pooled = (gone_before + gone_after) / (reference.rows + current.rows)
        effect[:, 1] = _net(np.abs(missing[1] - missing[0]), pooled * (1 - pooled) * inverse)

    unseen = np.full(size, np.nan)
    for index, (one, two) in enumerate(zip(before, after, strict=True)):
        if isinstance(one, CategoricalSummary) and isinstance(two, CategoricalSummary) and one.exhaustive and m[index]:
            unseen[index] = two.unseen / m[index]
            allowance = shares.unseen_allowance(one.counts, one.unseen)
            p[index, 2] = shares.unseen_p(two.unseen, int(m[index]), allowance)
            effect[index, 2] = max(0.0, unseen[index] - allowance)
    return Measures(
        names=names,
        numeric=numeric,
        present=np.minimum(n, m),
        missing_reference=missing[0],
        missing_current=missing[1],
        missing_p=missing_p,
        unseen=unseen,
        p=p,
        effect=effect,
        **values,
    )


_VALUES = ("ks", "ks_p", "psi", "psi_adjusted", "js", "chi2", "chi2_p", "plain_chi2", "plain_chi2_p")


def _of_values(old: Counts, new: Counts, numeric: npt.NDArray[np.bool_], summaries: list[Summary]) -> dict[str, Floats]:
    """The measures of how values are distributed, a feature a row; every row has values on both sides."""
    from scipy.special import chdtrc

    n, m = old.sum(axis=-1), new.sum(axis=-1)
    before, after = old / n[:, None], new / m[:, None]
    gap = ks.largest_gap(before, after)
    ks_p = ks.kolmogorov_p(gap, n, m)
    js = jensen_shannon_of_rows(before, after)
    plain, plain_degrees = chi_square.statistic_of_rows(old, new)
    plain_p = np.where(plain_degrees > 0, chdtrc(np.maximum(plain_degrees, 1), plain), 1.0)

    # Numeric bins are many and narrow; the index and the test take groups of a tenth of the reference each.
    cells = max(old.shape[-1], psi.GROUPS)
    few_old, few_new = np.zeros((len(old), cells)), np.zeros((len(new), cells))
    few_old[:, : old.shape[-1]], few_new[:, : new.shape[-1]] = old, new
    if numeric.any():
        group = psi.quantile_groups(old[numeric])
        few_old[numeric] = few_new[numeric] = 0
        few_old[numeric, : psi.GROUPS] = psi.grouped(old[numeric], group)
        few_new[numeric, : psi.GROUPS] = psi.grouped(new[numeric], group)
    index = psi.psi_of_rows(few_old / n[:, None], few_new / m[:, None])

    for row, summary in enumerate(summaries):
        if isinstance(summary, CategoricalSummary) and not summary.exhaustive:
            _fold_chosen(few_old[row], few_new[row], len(summary.categories))
    pooled_old, pooled_new = chi_square.pool_rare(few_old, few_new)
    statistic, degrees = chi_square.statistic_of_rows(pooled_old, pooled_new)
    chi2_p = np.where(degrees > 0, chdtrc(np.maximum(degrees, 1), statistic), 1.0)
    pooled_before, pooled_after = pooled_old / n[:, None], pooled_new / m[:, None]
    inverse = 1 / n + 1 / m
    adjusted = np.maximum(0.0, psi.psi_of_rows(pooled_before, pooled_after) - degrees * inverse)

    both = (pooled_old + pooled_new) / (n + m)[:, None]
    noise = 0.5 * np.sqrt(2 / math.pi * inverse) * np.sqrt(both * (1 - both)).sum(axis=-1)
    variation = _net(0.5 * np.abs(pooled_before - pooled_after).sum(axis=-1), noise**2)
    distance = _net(gap, math.pi**2 / 12 * inverse)
    return {
        "ks": np.where(numeric, gap, np.nan),
        "ks_p": np.where(numeric, ks_p, np.nan),
        "psi": index,
        "psi_adjusted": adjusted,
        "js": js,
        "chi2": statistic,
        "chi2_p": chi2_p,
        "plain_chi2": plain,
        "plain_chi2_p": plain_p,
        # Two tests of one numeric feature: Bonferroni.
        "p": np.where(numeric, np.minimum(1.0, 2 * np.minimum(ks_p, chi2_p)), chi2_p),
        "effect": np.minimum(1.0, np.where(numeric, np.maximum(variation, distance), variation)),
    }


def _fold_chosen(old: Floats, new: Floats, other: int) -> None:
    """Count categories as `other` (in place) that may owe their rank among the most frequent ones to chance.

    Where a reference has more categories than are counted one by one, those near the cut were chosen because their
    counts happened to come out high, and would fall back in any window: 200 equally frequent categories would seem to
    drift. What lies three standard deviations above the cut is safe, and so is what has risen beyond any chance.
    """
    cut = old[:other].min()
    n, m = old.sum(), new.sum()
    both = (old[:other] + new[:other]) / (n + m)
    risen = new[:other] / m - old[:other] / n > 5 * np.sqrt(both * (1 - both) * (1 / n + 1 / m))
    chosen = np.flatnonzero((old[:other] <= cut + 3 * np.sqrt(cut)) & ~risen)
    for counts in (old, new):
        counts[other] += counts[chosen].sum()
        counts[chosen] = 0


def _net(effect: Floats, noise: Floats) -> Floats:
    """Effects without the part that noise of these mean squares makes by itself."""
    return np.asarray(np.sqrt(np.maximum(0.0, effect * effect - noise)))


def _gone(summary: Summary) -> int:
    """Rows without a usable value: missing, or infinite."""
    return summary.missing + (summary.infinite if isinstance(summary, NumericSummary) else 0)


def _matrices(cells: list[tuple[Counts, Counts]]) -> tuple[Counts, Counts]:
    """Rows of unequal length as two matrices, filled up with zeros."""
    width = max((len(old) for old, _ in cells), default=0)
    before, after = np.zeros((len(cells), width), dtype=np.int64), np.zeros((len(cells), width), dtype=np.int64)
    for row, (old, new) in enumerate(cells):
        before[row, : len(old)] = old
        after[row, : len(new)] = new
    return before, after


def _cells(before: Summary, after: Summary) -> tuple[Counts, Counts]:
    """The counts to compare; other and unseen categories are cells of their own, missing values are none."""
    if isinstance(before, NumericSummary) and isinstance(after, NumericSummary):
        if before.edges is after.edges or np.array_equal(before.edges, after.edges):
            return before.counts, after.counts
    elif isinstance(before, CategoricalSummary) and isinstance(after, CategoricalSummary):
        same = before.categories is after.categories or before.categories == after.categories
        if same and before.exhaustive == after.exhaustive:
            return _with_rest(before), _with_rest(after)
    raise InvalidInput(
        "These profiles have different edges or categories, so they can't be compared. "
        "Make the second with Profile.of(columns, like=first)."
    )


def _with_rest(summary: CategoricalSummary) -> npt.NDArray[Any]:
    return np.append(summary.counts, (summary.other, summary.unseen))
