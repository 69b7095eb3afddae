"""Can a classifier tell the current rows from the reference rows?

This is a classifier two-sample test (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017). The
classifier is ridge regression of the label on the standardised features, their squares and, for few features, their
products: out of fold its scores are linear in the labels, so the whole fit is repeated for hundreds of permuted labels
by matrix products, and the test is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate.matrix import checked_pair, sampled, standardised
from homeostat.stats.drift.multivariate.permutation import checked_permutations, choices, p_values

Floats = npt.NDArray[np.float64]

PAIRED_FEATURES = 10
# The ridge penalty as a share of the training rows; 1 halves the weight of a standardised column.
PENALTY = 0.3
LEAST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Culprit:
    """A feature and how far the out-of-fold AUC falls, and with what standard error, once its values are shuffled."""

    name: str
    importance: float
    error: float


@dataclass(frozen=True, slots=True)
class DomainResult:
    """The out-of-fold AUC: the chance that a current row gets a higher score than a reference row; 0.5 is none at all.

    `statistic` is the AUC in null standard deviations from its null mean; `p` is one-sided, since only an AUC above
    one half tells the samples apart. `culprits` are in order of importance.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    culprits: tuple[Culprit, ...]
    permutations: int
    folds: int


def domain_classifier(
    reference: Any,
    current: Any,
    *,
    names: Sequence[str] | None = None,
    folds: int = 5,
    confidence: float = 0.95,
    permutations: int = 199,
    most_rows: int = 5_000,
    rng: int | np.random.Generator = 0,
) -> DomainResult:
    """Test whether a classifier tells two samples apart, and rank the features by which it does.

    The interval is that of DeLong, DeLong and Clarke-Pearson (1988) on the logit scale, widened to the spread under
    permuted labels near one half; it describes the classifier that was fitted, not the best one.

    Args:
        reference: rows by features; NaN is a gap.
        current: rows by the same features.
        names: of the features.
        folds: of the cross-validation.
        confidence: of the interval.
        permutations: random choices of the null, each with its own fits.
        most_rows: a larger sample is thinned to so many rows, at random.
        rng: seed or generator.

    Raises:
        InvalidInput: a sample has fewer than 10 rows, is infinite or no matrix, or a setting means nothing.

    >>> generator = np.random.default_rng(0)
    >>> before, after = generator.normal(size=(300, 3)), generator.normal(size=(200, 3))
    >>> after[:, 1] *= 2
    >>> result = domain_classifier(before, after, names=["a", "b", "c"])
    >>> result.p, result.culprits[0].name
    (0.005, 'b')
    """
    permutations = checked_permutations(permutations)
    if not 0 < confidence < 1:
        raise InvalidInput(f"Confidence must lie between 0 and 1; got {confidence}.")
    if not 2 <= folds <= LEAST_ROWS:
        raise InvalidInput(f"There must be 2 to {LEAST_ROWS} folds; got {folds}.")
    if most_rows < LEAST_ROWS:
        raise InvalidInput(f"At least {LEAST_ROWS} rows a sample must be kept; got {most_rows}.")
    generator = np.random.default_rng(rng)
    pair = checked_pair(reference, current, names)
    before, after = sampled(pair.reference, most_rows, generator), sampled(pair.current, most_rows, generator)
    n, m = len(before), len(after)
    if min(n, m) < LEAST_ROWS:
        raise InvalidInput(f"A classifier needs at least {LEAST_ROWS} rows a sample; got {n} and {m}.")
    rows = np.clip(standardised(np.concatenate((before, after))), -10.0, 10.0)
    expanded = standardised(_products(rows))
    fold = generator.permutation(np.arange(n + m) % folds)
    aucs, firsts = [], []
    for block in choices(n + m, m, permutations, generator):
        found = _out_of_fold(expanded, block.T.astype(np.float64), fold, folds)
        firsts.append(found[:, 0])
        aucs.append(_auc(found, block.T, fold, folds))
    scores, null = firsts[0], np.concatenate(aucs)
    p = float(p_values(null)[0])
    auc, spread = float(null[0]), float(null.std())
    standing = (auc - float(null.mean())) / spread if spread > 0 else 0.0
    low, high = _interval(scores, n, fold, folds, auc, confidence, spread)
    owners = list(pair.features)
    culprits = _culprits(rows, n, fold, folds, owners, auc, generator)
    verdict = "can be told apart" if p < 0.05 else "can't be told apart beyond chance"
    sentence = (
        f"{m:,} current and {n:,} reference rows {verdict}: of a current and a reference row a classifier picks the "
        f"current one in {auc:.0%} of pairs (50% is chance, p = {p:.3g}); '{culprits[0].name}' helps it most."
    )
    return DomainResult(auc, (low, high), standing, p, n, m, sentence, culprits, permutations, folds)


def _products(rows: Floats) -> Floats:
    """Features, squares and for few features products."""
    blocks = [rows, rows * rows]
    if rows.shape[1] <= PAIRED_FEATURES:
        first, second = np.triu_indices(rows.shape[1], 1)
        blocks.append(rows[:, first] * rows[:, second])
    return np.hstack(blocks)


def _weights(rows: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Ridge weights (columns by labellings) and the rows' mean; in the smaller of the two dual forms."""
    centre = rows.mean(axis=0)
    near, target = rows - centre, labels - labels.mean(axis=0)
    count, width = near.shape
    penalty = PENALTY * count
    if width <= count:
        return np.linalg.solve(near.T @ near + penalty * np.eye(width), near.T @ target), centre
    return near.T @ np.linalg.solve(near @ near.T + penalty * np.eye(count), target), centre


def _out_of_fold(rows: Floats, labels: Floats, fold: npt.NDArray[np.intp], folds: int) -> Floats:
    """Scores of each row by the fit to the other folds, for each labelling (column)."""
    scores = np.empty(labels.shape)
    for number in range(folds):
        out = fold == number
        weights, centre = _weights(rows[~out], labels[~out])
        scores[out] = (rows[out] - centre) @ weights
    return scores


def _auc(scores: Floats, current: npt.NDArray[np.bool_], fold: npt.NDArray[np.intp], folds: int) -> Floats:
    """The AUC of each column, over pairs of one fold only: scores of different fits don't share a scale."""
    from scipy.stats import rankdata

    wins, pairs = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for number in range(folds):
        out = fold == number
        picked = current[out]
        count = picked.sum(axis=0)
        ranks = np.asarray(rankdata(scores[out], axis=0))
        wins += (ranks * picked).sum(axis=0) - count * (count + 1) / 2
        pairs += count * (len(picked) - count)
    return np.asarray(np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5))


def _interval(
    scores: Floats, n: int, fold: npt.NDArray[np.intp], folds: int, auc: float, confidence: float, spread: float
) -> tuple[float, float]:
    """DeLong's interval on the logit scale, with a variance of at least that under permuted labels.

    DeLong's variance takes the scores as fixed, but those of different folds depend on one another through the labels
    that they were fitted to: near one half the out-of-fold AUC spreads wider than it says.
    """
    from scipy.special import expit, ndtri
    from scipy.stats import rankdata

    # Ranks within the folds make the scores of different fits comparable.
    level = np.empty(len(scores))
    for number in range(folds):
        out = fold == number
        level[out] = rankdata(scores[out]) / max(1, int(out.sum()))
    m = len(scores) - n
    ranks = rankdata(level)
    after = (ranks[n:] - rankdata(level[n:])) / n
    before = 1 - (ranks[:n] - rankdata(level[:n])) / m
    variance = float(np.var(after, ddof=1)) / m + float(np.var(before, ddof=1)) / n
    inside = auc
    chance = 4 * auc * (1 - auc)
    variance = max(variance, chance * spread * spread)
    if variance <= 0 or not 0 < auc < 1:
        # Where the samples separate fully the estimate of the variance is 0; half a row on the wrong side stands in.
        rows = min(n, m) + 1
        inside = (auc * (rows - 1) + 0.5) / rows
        variance = inside * (1 - inside) / rows
    reach = float(ndtri(0.5 + confidence / 2)) * math.sqrt(variance) / (inside * (1 - inside))
    centre = math.log(inside / (1 - inside))
    return min(auc, float(expit(centre - reach))), max(auc, float(expit(centre + reach)))


def _culprits(
    rows: Floats,
    n: int,
    fold: npt.NDArray[np.intp],
    folds: int,
    owners: list[str],
    auc: float,
    generator: np.random.Generator,
    repeats: int = 3,
) -> tuple[Culprit, ...]:
    """Permutation importance: each feature's columns are shuffled together among the rows of the held-out fold."""
    features = list(dict.fromkeys(owners))
    places = {name: [k for k, owner in enumerate(owners) if owner == name] for name in features}
    raw = _products(rows)
    first, second = np.triu_indices(rows.shape[1], 1)
    spread = raw.std(axis=0)
    spread = np.where(spread > 1e-12, spread, np.inf)
    expanded = standardised(raw)
    labels = (np.arange(len(rows)) >= n).astype(np.float64)[:, None]
    scores = np.empty((len(rows), len(features) * repeats))
    for number in range(folds):
        out = np.flatnonzero(fold == number)
        weights, centre = _weights(expanded[fold != number], labels[fold != number])
        slope = weights[:, 0] / spread
        held = rows[out]
        twice = np.zeros((rows.shape[1], rows.shape[1]))
        if rows.shape[1] <= PAIRED_FEATURES:
            twice[first, second] = twice[second, first] = slope[2 * rows.shape[1] :]
        base = (expanded[out] - centre) @ weights[:, 0]
        for k, name in enumerate(features):
            for repeat in range(repeats):
                shuffled = held[generator.permutation(len(out))]
                change = _change(held, shuffled, places[name], slope, twice)
                scores[out, k * repeats + repeat] = base + change
    current = np.broadcast_to(labels.astype(np.bool_), scores.shape)
    drops = (auc - _auc(scores, current, fold, folds)).reshape(len(features), repeats)
    found = [
        Culprit(name, float(drops[k].mean()), float(drops[k].std(ddof=1)) / math.sqrt(repeats))
        for k, name in enumerate(features)
    ]
    return tuple(sorted(found, key=lambda culprit: -culprit.importance))


def _change(held: Floats, moved: Floats, places: list[int], slope: Floats, twice: Floats) -> Floats:
    """By how much the scores change where these features take other rows' values; `twice` has the products' weights."""
    width = held.shape[1]
    before, after = held[:, places], moved[:, places]
    step = after - before
    change = step @ slope[places] + (after * after - before * before) @ slope[[width + place for place in places]]
    # Of ½ x'Sx: the moved features with the others, and with each other.
    change += (step * (held @ twice[:, places])).sum(axis=1)
    change += 0.5 * np.einsum("ij,jk,ik->i", step, twice[np.ix_(places, places)], step)
    return np.asarray(change)
