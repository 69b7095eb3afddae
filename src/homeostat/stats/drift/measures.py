"""Every measure of every feature of two profiles, computed for all features at once.

The counts of all features stand in one matrix, a feature a row (a text has a row for each of its descriptors), filled
up with empty cells, which add nothing to any measure. So the cost is that of a few dozen array operations, not of that
many for each feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift import chi_square, ks, psi, shares
from homeostat.stats.drift.cells import p_of_cells
from homeostat.stats.drift.jensen_shannon import jensen_shannon_of_rows
from homeostat.stats.drift.sorted_values import SortedDistances
from homeostat.stats.profile.categorical import CategoricalSummary, bucket_of
from homeostat.stats.profile.numeric import DIFFERENT, NumericSummary
from homeostat.stats.profile.profile import Profile, Summary
from homeostat.stats.profile.text import TextSummary

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Exact = Mapping[str, SortedDistances]

# Below this many values on a side nothing is said of how they are distributed.
VALUES_ROWS = 30
DIMENSIONS = ("values", "missing", "unseen")
# Numeric bins are narrow, for the sake of KS; the divergence takes pairs of them.
DIVERGENCE_GROUPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Measures by feature, NaN where one does not apply; `p` and `effect` have a column for each of `DIMENSIONS`.

    An effect is a difference of distributions or shares, from 0 to 1, less what sampling alone would make of it.
    `parts` names, of a text, the descriptor that differs most.
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
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """Two rows of counts over the same cells: a feature's, or those of one descriptor of a text."""

    owner: int
    before: Summary
    old: Counts
    new: Counts
    # Where the cell of categories lies that the reference was found to lack; bins have none.
    unseen: int = -1
    part: str = ""


def measure(
    reference: Profile, current: Profile, *, exact: Exact | None = None, design_effect: float = 1.0
) -> Measures:
    """All measures of `current` against `reference`, which must have its features, edges and categories.

    Args:
        reference: the profile to compare with.
        current: the window.
        exact: distances of numeric features whose values were at hand, in place of those of bins.
        design_effect: by how much the rows count for less than independent ones (variance inflation), at least 1.
    """
    if reference.features.keys() != current.features.keys():
        different = sorted(reference.features.keys() ^ current.features.keys())
        raise InvalidInput(f"The profiles have different features: {', '.join(different)}.", features=different)
    if not 1 <= design_effect < math.inf:
        raise InvalidInput(f"A design effect is a number from 1 on; got {design_effect}.")
    names = list(reference.features)
    before = [reference.features[name] for name in names]
    after = [current.features[name] for name in names]
    size = len(names)
    numeric = np.array([isinstance(summary, NumericSummary) for summary in before], dtype=bool)

    values = {key: np.full(size, np.nan) for key in _VALUES}
    p, effect = np.full((size, 3), np.nan), np.zeros((size, 3))
    rows = [row for i, pair in enumerate(zip(before, after, strict=True)) for row in _rows(i, *pair)]
    rows = [row for row in rows if row.old.any() and row.new.any()]
    parts: dict[str, str] = {}
    if rows:
        found = _of_values(rows, _exact(names, rows, exact or {}), design_effect)
        owners = np.array([row.owner for row in rows])
        whole = np.array([not row.part for row in rows])
        for key in _VALUES:
            values[key][owners[whole]] = found[key][whole]
        enough = np.minimum(found["n"], found["m"]) >= VALUES_ROWS
        p[owners[whole], 0] = np.where(enough, found["p"], np.nan)[whole]
        effect[owners[whole], 0] = np.where(enough, found["effect"], 0.0)[whole]
        for i in np.unique(owners[~whole]).tolist():
            own = np.flatnonzero((owners == i) & enough)
            if len(own):
                p[i, 0], effect[i, 0], parts[names[i]] = _of_text(
                    before[i],
                    after[i],
                    found["p"][own],
                    found["effect"][own],
                    [rows[j].part for j in own],
                    design_effect,
                )

    counted = np.array([min(one.count, two.count) for one, two in zip(before, after, strict=True)])
    gone_before, gone_after = np.array([_gone(item) for item in before]), np.array([_gone(item) for item in after])
    missing_p = _share_p(gone_before, reference.rows, gone_after, current.rows, design_effect)
    missing = (gone_before / max(1, reference.rows), gone_after / max(1, current.rows))
    # A column that is complete on both sides has nothing to test; the sum of both decides, which favours neither.
    p[:, 1] = np.where(gone_before + gone_after > 0, missing_p, np.nan)
    if reference.rows and current.rows:
        inverse = design_effect * (1 / reference.rows + 1 / current.rows)
        pooled = (gone_before + gone_after) / (reference.rows + current.rows)
        effect[:, 1] = _net(np.abs(missing[1] - missing[0]), pooled * (1 - pooled) * inverse)

    unseen = np.full(size, np.nan)
    for i, (one, two) in enumerate(zip(before, after, strict=True)):
        if isinstance(one, CategoricalSummary) and isinstance(two, CategoricalSummary) and one.exhaustive and two.count:
            unseen[i] = two.unseen / two.count
            p[i, 2], effect[i, 2] = _of_unseen(one, two, design_effect)
    return Measures(
        names=names,
        numeric=numeric,
        present=counted.astype(np.int64),
        missing_reference=missing[0],
        missing_current=missing[1],
        missing_p=missing_p,
        unseen=unseen,
        p=p,
        effect=effect,
        parts=parts,
        **values,
    )


_VALUES = ("ks", "ks_p", "psi", "psi_adjusted", "js", "chi2", "chi2_p", "plain_chi2", "plain_chi2_p")


def _of_values(rows: list[_Row], exact: tuple[Floats, Floats], design_effect: float) -> dict[str, Floats]:
    """The measures of how values are distributed, a row of counts each; every row has values on both sides."""
    from scipy.special import chdtrc

    old, new = _matrices([(row.old, row.new) for row in rows])
    numeric = np.array([isinstance(row.before, NumericSummary) for row in rows], dtype=bool)
    n, m = old.sum(axis=-1), new.sum(axis=-1)
    before, after = old / n[:, None], new / m[:, None]
    gap = np.where(np.isnan(exact[0]), ks.largest_gap(before, after), exact[0])
    ks_p = ks.kolmogorov_p(gap, n / design_effect, m / design_effect)
    plain, plain_degrees = chi_square.statistic_of_rows(old, new)
    plain_p = np.where(plain_degrees > 0, chdtrc(np.maximum(plain_degrees, 1), plain), 1.0)

    js_old, js_new = _grouped(old, new, numeric, DIVERGENCE_GROUPS)
    js = jensen_shannon_of_rows(js_old / n[:, None], js_new / m[:, None])
    js = np.where(np.isnan(exact[1]), js, exact[1])
    few_old, few_new = _grouped(old, new, numeric, psi.GROUPS)
    index = psi.psi_of_rows(few_old / n[:, None], few_new / m[:, None])

    for i, row in enumerate(rows):
        if isinstance(row.before, CategoricalSummary) and not row.before.exhaustive:
            _fold_chosen(few_old[i], few_new[i], row.before)
    unseen = np.zeros(few_old.shape, dtype=bool)
    for i, row in enumerate(rows):
        if row.unseen >= 0:
            unseen[i, row.unseen] = True
    # Quantiles of the reference fix its counts, so it alone says which groups are small.
    deciding = np.where(numeric[:, None], few_old, few_old + few_new)
    pooled_old, pooled_new = chi_square.pool_rare(few_old, few_new, by=deciding, always=unseen)
    statistic, degrees = chi_square.statistic_of_rows(pooled_old, pooled_new)
    chi2_p = p_of_cells(pooled_old, pooled_new, design_effect=design_effect)
    pooled_before, pooled_after = pooled_old / n[:, None], pooled_new / m[:, None]
    inverse = design_effect * (1 / n + 1 / m)
    adjusted = np.maximum(0.0, psi.psi_of_rows(pooled_before, pooled_after) - degrees * inverse)

    both = (pooled_old + pooled_new) / (n + m)[:, None]
    noise = 0.5 * np.sqrt(2 / math.pi * inverse) * np.sqrt(both * (1 - both)).sum(axis=-1)
    variation = _net(0.5 * np.abs(pooled_before - pooled_after).sum(axis=-1), noise**2)
    distance = _net(gap, math.pi**2 / 12 * inverse)
    return {
        "n": n,
        "m": m,
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


def _grouped(old: Counts, new: Counts, numeric: npt.NDArray[np.bool_], groups: int) -> tuple[Floats, Floats]:
    """The counts with the bins of numeric rows put into groups of equal reference share."""
    cells = max(old.shape[-1], groups)
    few_old, few_new = np.zeros((len(old), cells)), np.zeros((len(new), cells))
    few_old[:, : old.shape[-1]], few_new[:, : new.shape[-1]] = old, new
    if numeric.any():
        group = psi.quantile_groups(old[numeric], groups)
        few_old[numeric] = few_new[numeric] = 0
        few_old[numeric, :groups] = psi.grouped(old[numeric], group, groups)
        few_new[numeric, :groups] = psi.grouped(new[numeric], group, groups)
    return few_old, few_new


def _exact(names: list[str], rows: list[_Row], exact: Exact) -> tuple[Floats, Floats]:
    """Distances and divergences of rows whose values were at hand; NaN for the others."""
    gaps, divergences = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    places = [i for i, row in enumerate(rows) if not row.part and names[row.owner] in exact]
    if places:
        known = [exact[names[rows[i].owner]] for i in places]
        gaps[places] = [one.gap for one in known]
        counts = np.array([one.counts for one in known], dtype=np.float64)
        shares_of_bins = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
        divergences[places] = jensen_shannon_of_rows(shares_of_bins[:, 0], shares_of_bins[:, 1])
    return gaps, divergences


def _of_text(
    before: Summary, after: Summary, p: Floats, effect: Floats, parts: list[str], design_effect: float
) -> tuple[float, float, str]:
    """A text's p-value (Bonferroni over its descriptors and its tokens), effect, and the part that differs most."""
    if not isinstance(before, TextSummary) or not isinstance(after, TextSummary):
        raise InvalidInput(DIFFERENT)
    n, m = before.count, after.count
    token_p = _share_p(before.documents, n, after.documents, m, design_effect)
    gaps = np.abs(after.documents / m - before.documents / n)
    pooled = (before.documents + after.documents) / (n + m)
    # The largest of so many differences is far from 0 by itself.
    variance = pooled * (1 - pooled) * design_effect * (1 / n + 1 / m)
    token_effect = _net(gaps, 2 * math.log(max(2, len(gaps))) * variance)
    all_p = np.append(p, min(1.0, float(token_p.min(initial=1.0)) * max(1, len(token_p))))
    all_effects = np.append(effect, token_effect.max(initial=0.0))
    largest = int(all_effects.argmax())
    return min(1.0, float(all_p.min()) * len(all_p)), float(all_effects[largest]), [*parts, "tokens"][largest]


def _of_unseen(before: CategoricalSummary, after: CategoricalSummary, design_effect: float) -> tuple[float, float]:
    """The p-value and the effect of a share of categories that the reference never had."""
    allowance = shares.unseen_allowance(before.counts, before.unseen)
    seldom = shares.unseen_p(int(after.unseen / design_effect), int(after.count / design_effect), allowance)
    # A category may be missing from a small reference by chance: then both samples may have one share of it.
    by_chance = float(_share_p(before.unseen, before.count, after.unseen, after.count, design_effect))
    return max(seldom, by_chance), max(0.0, after.unseen / after.count - allowance)


def _share_p(reference: Any, n: int, current: Any, m: int, design_effect: float) -> Floats:
    if design_effect == 1:
        return shares.share_p(reference, n, current, m)
    scaled = [np.round(np.asarray(value) / design_effect).astype(np.int64) for value in (reference, n, current, m)]
    return shares.share_p(*scaled)


def _fold_chosen(old: Floats, new: Floats, summary: CategoricalSummary) -> None:
    """Count categories in their buckets (in place) that may owe their rank among the most frequent ones to chance.

    Where a reference has more categories than are counted one by one, those near the cut were chosen because their
    counts happened to come out high, and would fall back in any window: 200 equally frequent categories would seem to
    drift. Which bucket a category is in has nothing to do with its count. What lies three standard deviations above
    the cut is safe.
    """
    top, buckets = len(summary.categories), len(summary.buckets)
    cut = old[:top].min()
    for i in np.flatnonzero(old[:top] <= cut + 3 * np.sqrt(cut)).tolist():
        place = top + bucket_of(summary.categories[i], buckets)
        for counts in (old, new):
            counts[place] += counts[i]
            counts[i] = 0


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


def _rows(owner: int, before: Summary, after: Summary) -> list[_Row]:
    """The counts to compare; other and unseen categories are cells of their own, missing values are none."""
    if isinstance(before, NumericSummary) and isinstance(after, NumericSummary) and before.same_cells(after):
        return [_Row(owner, before, before.counts, after.counts)]
    if isinstance(before, CategoricalSummary) and isinstance(after, CategoricalSummary) and before.same_cells(after):
        cells = _cells(before)
        return [_Row(owner, before, cells, _cells(after), unseen=len(cells) - 1)]
    if isinstance(before, TextSummary) and isinstance(after, TextSummary) and before.same_cells(after):
        return [
            _Row(owner, one, one.counts, after.descriptors[name].counts, part=name)
            for name, one in before.descriptors.items()
        ]
    raise InvalidInput(DIFFERENT)


def _cells(summary: CategoricalSummary) -> npt.NDArray[Any]:
    return np.concatenate((summary.counts, summary.buckets, [summary.unseen]))
