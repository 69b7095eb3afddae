"""Classification metrics of all rows from labels that were chosen selectively."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.performance.selective.shares import (
    FORMULAS,
    Formula,
    Share,
    Side,
    combined_interval,
    decision_share,
    worst_case,
)
from homeostat.stats.performance.selective.weights import (
    Target,
    WeightedMean,
    check_design,
    one_a_row,
    sampling,
    weighted_mean,
)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "fpr": "The false-positive rate",
    "f1": "F1",
    "prevalence": "The prevalence",
}
SIDES = {1: "predicted positive", 0: "predicted negative"}


@dataclass(frozen=True, slots=True)
class SelectiveMetric:
    """One metric; `status` is "identified", or "not_identified" with the `reason` in words and a NaN `estimate`.

    `bounds` hold the window's own value at the stated confidence, whatever the rows that could not be labelled are.
    `naive` is what the labelled rows alone would say: shown to compare with, never to act on. `statistic` and `p` test
    the reference that was given; without one they are NaN.
    """

    name: str
    status: Literal["identified", "not_identified"]
    estimate: float
    interval: tuple[float, float]
    bounds: tuple[float, float]
    naive: float
    statistic: float
    p: float
    n: int
    n_labelled: int
    n_effective: float
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Positivity:
    """Whether the rows with one decision had a chance of being labelled, and whether the labels came as planned.

    `expected` is the sum of the logged probabilities and `shortfall_p` the two-sided p-value that as few or as many
    labels came by chance. `unplanned` rows are labelled although their probability was 0; they can't be weighed.
    """

    side: str
    n: int
    n_labelled: int
    n_effective: float
    without_chance: int
    smallest: float
    largest_weight_share: float
    expected: float
    shortfall_p: float
    unplanned: int
    sentence: str


@dataclass(frozen=True, slots=True)
class SelectiveResult:
    """All metrics by name, and per decision what stands behind them."""

    metrics: Mapping[str, SelectiveMetric]
    positivity: tuple[Positivity, ...]
    mean_loss: WeightedMean | None = None

    def __getitem__(self, name: str) -> SelectiveMetric:
        return self.metrics[name]


def selective_metrics(
    truth: Array,
    predicted: Array,
    labelled: Array,
    probability: Array,
    *,
    positive: int = 1,
    losses: Array | None = None,
    clusters: Array | None = None,
    target: Target = "process",
    reference: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    min_effective: float = 30.0,
    shortfall: float = 0.2,
) -> SelectiveResult:
    """Accuracy, precision, recall, FPR, F1 and prevalence of all rows, where only some of them are labelled.

    Assumes that each row's logged probability of being labelled is right and does not depend on its truth beyond what
    was known when it was drawn, and independent rows (or clusters). Among the rows with one decision the share of true
    positives is Hájek's estimate; the decisions themselves are known of every row, which stabilises the weights. The
    intervals combine Wilson's of these shares, at their effective sizes, after Zou and Donner; so they do not collapse
    where the audit happened to find no missed row.

    Args:
        truth: class codes of all rows; ignored where not labelled.
        predicted: class codes of all rows.
        labelled: which rows are labelled. Leave out rows whose labels had no time to arrive.
        probability: of being labelled, for every row; see `labelling_probability`.
        positive: the code of the positive class.
        losses: one loss a row for `mean_loss`, ignored where not labelled.
        clusters: rows of one cluster (an entity) may depend on each other.
        target: "process" for what the rows come from, "window" for these very rows.
        reference: metrics by name to test against, two-sided.
        confidence: of the intervals and bounds.
        min_effective: fewer effective labelled rows with a decision identify nothing that needs them.
        shortfall: where the number of labels is off the plan by more than this share (and p < .001), the logged
            probabilities are not believed.

    Raises:
        InvalidInput: for lengths that differ, probabilities outside 0 to 1, or codes that are missing.

    >>> from homeostat.stats.performance.selective import labelling_probability
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(20_000) < 0.05
    >>> alerted = np.where(truth, rng.random(20_000) < 0.6, rng.random(20_000) < 0.02)
    >>> chance = labelling_probability(alerted, audit_share=0.05)
    >>> known = rng.random(20_000) < chance
    >>> recall = selective_metrics(truth, alerted, known, chance)["recall"]
    >>> round(recall.naive, 2), round(recall.estimate, 2), [round(x, 2) for x in recall.interval]
    (0.96, 0.53, [0.43, 0.62])
    >>> selective_metrics(truth, alerted, alerted, alerted.astype(float))["recall"].status
    'not_identified'
    """
    from scipy.special import ndtri

    known, chance = sampling(labelled, probability)
    n = len(known)
    guess = one_a_row(predicted, n, "predictions")
    actual = one_a_row(truth, n, "truth")
    check_design(confidence, target, clusters, n)
    if min_effective < 2:
        raise InvalidInput(f"At least 2 effective rows are needed for an interval; min_effective is {min_effective}.")
    for name, codes in (("truth", actual[known]), ("predictions", guess)):
        if codes.dtype.kind not in "biuf" or (codes.dtype.kind == "f" and not np.isfinite(codes).all()):
            raise InvalidInput(f"The {name} must hold a class code on every row that counts, as numbers.")
    planned = known & (chance > 0)
    decision = guess == positive
    hit = planned & (actual == positive)
    right = planned & (actual == guess)
    sides, checks = {}, []
    for side in (1, 0):
        rows = decision if side else ~decision
        sides[side] = Side.of(rows, planned, chance, hit, right, target, clusters)
        checks.append(_positivity(side, rows, known, chance, sides[side].n_effective))
    q = decision_share(decision, clusters, target)
    design = _Design(float(ndtri((1 + confidence) / 2)), confidence, min_effective, shortfall)
    metrics = {name: _metric(name, sides, checks, q, design, (reference or {}).get(name)) for name in NAMES}
    mean_loss = None
    if losses is not None and known.sum() and not any(check.without_chance for check in checks):
        # The decision is a stratum only where both of its sides hold labels.
        both = all(check.n_labelled for check in checks if check.n)
        mean_loss = weighted_mean(
            losses,
            known,
            chance,
            method="stabilised" if both else "hajek",
            strata=decision,
            clusters=clusters,
            target=target,
            reference=(reference or {}).get("mean_loss"),
            confidence=confidence,
        )
    return SelectiveResult(metrics, tuple(checks), mean_loss)


@dataclass(frozen=True, slots=True)
class _Design:
    z: float
    confidence: float
    min_effective: float
    shortfall: float


def _positivity(side: int, rows: Flags, known: Flags, chance: Floats, effective: float) -> Positivity:
    from scipy.special import ndtr

    n = int(rows.sum())
    possible = chance[rows]
    drawn = known[rows]
    planned = int((drawn & (possible > 0)).sum())
    without = int((possible == 0).sum())
    expected, variance = float(possible.sum()), float((possible * (1 - possible)).sum())
    gap = abs(planned - expected)
    # Half a label is the correction for continuity; without variance any gap at all contradicts the plan.
    p = 2 * float(ndtr(-max(gap - 0.5, 0) / math.sqrt(variance))) if variance > 0 else float(gap < 1e-6)
    weights = 1 / possible[drawn & (possible > 0)]
    largest = float(weights.max() / weights.sum()) if planned else math.nan
    sentence = (
        f"Of {n} rows {SIDES[side]}, {planned} are labelled where {expected:.0f} were expected "
        f"(p = {min(p, 1.0):.3g}); they tell as much as {effective:.0f} drawn at random. "
        + (
            f"{without} rows had no chance of being labelled."
            if without
            else "Every row had a chance of being labelled."
        )
    )
    return Positivity(
        side=SIDES[side],
        n=n,
        n_labelled=planned,
        n_effective=effective,
        without_chance=without,
        smallest=float(possible.min()) if n else math.nan,
        largest_weight_share=largest,
        expected=expected,
        shortfall_p=min(p, 1.0),
        unplanned=int((drawn & (possible == 0)).sum()),
        sentence=sentence,
    )


def _metric(
    name: str,
    sides: Mapping[int, Side],
    checks: Sequence[Positivity],
    q: Share,
    design: _Design,
    reference: float | None,
) -> SelectiveMetric:
    needed = (1,) if name == "precision" else (1, 0)
    formula = FORMULAS[name]
    kind = "right" if name == "accuracy" else "positives"
    shares = (getattr(sides[1], kind), getattr(sides[0], kind), q)
    values = (shares[0].value, shares[1].value, q.value)
    labels = sum(sides[side].n_labelled for side in needed)
    effective = min((sides[side].n_effective for side in needed if sides[side].rows), default=0.0)
    bounds = _bounds(formula, shares, sides, checks, design)
    naive = _naive(name, sides)
    reason = _reason(name, needed, checks, design) or _undefined(name, formula(*values))
    n = sum(sides[side].rows for side in needed)
    if reason:
        ruled = "the labels rule nothing out" if bounds == (0.0, 1.0) else "it lies between {:.4g} and {:.4g}"
        sentence = f"{NAMES[name]} can't be told from these labels: {reason}; {ruled.format(*bounds)}."
        if not math.isnan(naive):
            sentence += f" The {naive:.4g} of the labelled rows alone is not an estimate of it."
        missing = math.nan
        return SelectiveMetric(
            name,
            "not_identified",
            missing,
            (0.0, 1.0),
            bounds,
            naive,
            missing,
            missing,
            n,
            labels,
            effective,
            reason,
            sentence,
        )
    estimate = formula(*values)
    low, high = combined_interval(formula, shares, design.z)
    statistic, p = _test(formula, shares, estimate, reference)
    sentence = (
        f"{NAMES[name]} is {estimate:.4g} ({design.confidence:.0%} interval {low:.4g} to {high:.4g}), from {labels} "
        f"labelled of {n} rows; the labelled rows alone would have said {naive:.4g}."
    )
    if reference is not None:
        sentence += f" It differs from {reference:.4g} by {estimate - reference:+.4g} (p = {p:.3g})."
    interval = (low, high)
    return SelectiveMetric(
        name, "identified", estimate, interval, bounds, naive, statistic, p, n, labels, effective, "", sentence
    )


def _reason(name: str, needed: Sequence[int], checks: Sequence[Positivity], design: _Design) -> str:
    """Why the metric is not identified; empty where it is."""
    if not any(check.n for check in checks):
        return "the window has no rows"
    for check in (checks[0], checks[1]) if 0 in needed else (checks[0],):
        if not check.n:
            if name == "precision":
                return f"no row was {check.side}"
            continue
        if check.without_chance:
            return f"{check.without_chance} of {check.n} rows {check.side} had no chance of being labelled"
        if not check.n_labelled:
            return f"none of the {check.n} rows {check.side} is labelled"
        if check.n_effective < design.min_effective and check.n_labelled < check.n:
            return (
                f"the {check.n_labelled} labelled rows {check.side} tell only as much as {check.n_effective:.0f} drawn "
                f"at random, and {design.min_effective:.0f} are needed"
            )
        off = abs(check.n_labelled / check.expected - 1)
        if off > design.shortfall and check.shortfall_p < 0.001:
            return (
                f"{check.n_labelled} rows {check.side} are labelled where {check.expected:.0f} were expected, so the "
                "logged probabilities are not those of the labels"
            )
    return ""


def _undefined(name: str, estimate: float) -> str:
    if not math.isnan(estimate):
        return ""
    return "no negative row was found" if name == "fpr" else "no positive row was found or predicted"


def _bounds(
    formula: Formula, shares: Sequence[Share], sides: Mapping[int, Side], checks: Sequence[Positivity], design: _Design
) -> tuple[float, float]:
    """Manski's worst case: rows without a chance of being labelled may all be positive, or none of them."""
    from scipy.special import ndtri

    # Both shares hold their ranges at once with the stated confidence (Bonferroni).
    z = float(ndtri(1 - (1 - design.confidence) / 4))
    ranges = []
    for share, side, check in zip(shares, (sides[1], sides[0]), checks, strict=False):
        trusted = side.n_labelled >= 2 and (
            abs(check.n_labelled / check.expected - 1) <= design.shortfall or check.shortfall_p >= 0.001
        )
        low, high = share.wilson(z) if trusted else (0.0, 1.0)
        hidden = check.without_chance / check.n if check.n else 0.0
        ranges.append(((1 - hidden) * low, (1 - hidden) * high + hidden))
    return worst_case(formula, ranges[0], ranges[1], shares[2].value)


def _naive(name: str, sides: Mapping[int, Side]) -> float:
    rows = [sides[side].n_labelled for side in (1, 0)]
    if not sum(rows):
        return math.nan
    found = [sides[side].counted[name == "accuracy"] for side in (1, 0)]
    first, second = (count / n if n else 0.0 for count, n in zip(found, rows, strict=True))
    return FORMULAS[name](first, second, rows[0] / sum(rows))


def _test(formula: Formula, shares: Sequence[Share], estimate: float, reference: float | None) -> tuple[float, float]:
    """The normal quantile at which the interval just reaches the reference, signed, and its two-sided p-value."""
    from scipy.special import ndtr

    if reference is None:
        return math.nan, math.nan
    below, above = 0.0, 40.0
    for _ in range(60):
        z = (below + above) / 2
        low, high = combined_interval(formula, shares, z)
        below, above = (below, z) if low <= reference <= high else (z, above)
    return math.copysign(below, estimate - reference), 2 * float(ndtr(-below))
