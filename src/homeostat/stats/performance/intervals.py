"""Metrics of labelled rows with their intervals.

Shares of independent rows get Wilson's interval; everything else the delta method on the influence of each row
(`homeostat.stats.performance.influence`), which for ROC-AUC is DeLong's. Bounded metrics are taken to the logit scale
first, so that no interval leaves 0 to 1. Weights and clusters go through the same formula; `bootstrap` replaces it by
resampling rows, or whole clusters.

Sources: Wilson 1927; DeLong, DeLong and Clarke-Pearson 1988; Pepe 2003 (logit scale); Liang and Zeger 1986 (clusters);
Korn and Graubard 1998 (shares of clustered rows by their effective number); Efron 1979 (bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.performance.influence import (
    Functional,
    area,
    average,
    average_precision,
    explained,
    ratio,
    root,
    variance,
)
from homeostat.stats.performance.inputs import (
    Codes,
    Floats,
    binary,
    class_probabilities,
    cluster_codes,
    codes,
    level,
    numbers,
    row_weights,
)
from homeostat.stats.performance.metrics import wilson_limits

LOWEST_PROBABILITY = 1e-15
LABELS = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "fpr": "The false positive rate",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC (average precision)",
    "log_loss": "Log loss",
    "brier": "The Brier score",
    "f1_macro": "Macro F1",
    "precision_macro": "Macro precision",
    "recall_macro": "Macro recall",
    "roc_auc_macro": "Macro ROC-AUC (one class against the rest)",
    "mae": "The mean absolute error",
    "rmse": "The root mean squared error",
    "r2": "R²",
}
SHARES = frozenset({"accuracy", "precision", "recall", "fpr"})
UNIT = frozenset({"f1", "roc_auc", "pr_auc", "f1_macro", "precision_macro", "recall_macro", "roc_auc_macro"})
Build = Callable[[Floats], Functional]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its interval; NaN and (NaN, NaN) where the rows can't tell, which `sentence` then says.

    `n` counts the rows in the metric's denominator (for precision the rows that were flagged), `standard_error` is on
    the metric's own scale.
    """

    name: str
    estimate: float
    interval: tuple[float, float]
    confidence: float
    n: int
    method: str
    sentence: str
    standard_error: float = math.nan


def binary_performance(
    truth: Any,
    *,
    scores: Any = None,
    predicted: Any = None,
    weights: Any = None,
    clusters: Any = None,
    confidence: float = 0.95,
    bootstrap: int = 0,
    rng: int | np.random.Generator = 0,
) -> dict[str, Metric]:
    """How good a binary classifier was, each metric with its interval.

    With `predicted`: accuracy, precision, recall, f1, fpr. With `scores`: roc_auc and pr_auc; log_loss and brier too
    where every score lies in 0 to 1, since they then are taken as probabilities.

    Args:
        truth: true classes, 0 or 1, one a row.
        scores: scores of class 1.
        predicted: predicted classes, 0 or 1.
        weights: of the rows, at least 0; for inverse probabilities of labelling and the like.
        clusters: entity keys. Rows of one entity may depend on each other, entities not; without it rows may not.
        confidence: of the intervals.
        bootstrap: how many resamples to take the intervals from (percentiles) instead of formulas; 0 for formulas.
        rng: seed of the bootstrap.

    Raises:
        InvalidInput: for lengths that differ, missing or infinite values, classes other than 0 and 1.

    >>> metrics = binary_performance([0, 0, 1, 1], predicted=[0, 1, 1, 1], scores=[0.1, 0.6, 0.7, 0.9])
    >>> print(metrics["accuracy"].sentence)
    Accuracy is 0.75 over 4 rows (95% interval 0.301 to 0.954).
    """
    true = binary(truth, "true classes")
    rows = len(true)
    if scores is None and predicted is None:
        raise InvalidInput("Neither scores nor predicted classes were given; at least one of them is needed.")
    builds: dict[str, Build] = {}
    if predicted is not None:
        guess = binary(predicted, "predicted classes", rows=rows)
        hits, one = true * guess, np.ones(rows)
        builds["accuracy"] = lambda w: ratio((true == guess).astype(np.float64), one, w)
        builds["precision"] = lambda w: ratio(hits, guess, w)
        builds["recall"] = lambda w: ratio(hits, true, w)
        builds["f1"] = lambda w: ratio(2 * hits, true + guess, w)
        builds["fpr"] = lambda w: ratio(guess - hits, 1 - true, w)
    if scores is not None:
        values = numbers(scores, "scores", rows=rows)
        builds["roc_auc"] = lambda w: area(true, values, w)
        builds["pr_auc"] = lambda w: average_precision(true, values, w)
        if values.min() >= 0 and values.max() <= 1:
            shown = np.where(true == 1, values, 1 - values)
            losses = -np.log(np.clip(shown, LOWEST_PROBABILITY, 1.0))
            builds["log_loss"] = lambda w: ratio(losses, np.ones(rows), w)
            builds["brier"] = lambda w: ratio((values - true) ** 2, np.ones(rows), w)
    return _metrics(builds, rows, weights, clusters, confidence, bootstrap, rng, strata=true)


def multiclass_performance(
    truth: Any,
    predicted: Any,
    *,
    classes: int,
    scores: Any = None,
    weights: Any = None,
    clusters: Any = None,
    confidence: float = 0.95,
    bootstrap: int = 0,
    rng: int | np.random.Generator = 0,
) -> dict[str, Metric]:
    """How good a classifier of several classes was: accuracy, f1_macro, precision_macro, recall_macro.

    Macro averages run over the classes that occur in truth or prediction; a class of which a rate can't be told (no
    rows in its denominator) counts as 0 in precision and recall, as in scikit-learn. With `scores` (one column a
    class) also log_loss, brier (squared distance to the true class, summed over classes) and roc_auc_macro (over the
    classes with rows on both sides). The other arguments are those of `binary_performance`.

    >>> metrics = multiclass_performance([0, 1, 2, 2], [0, 1, 1, 2], classes=3)
    >>> round(metrics["f1_macro"].estimate, 4)
    0.7778
    """
    if not isinstance(classes, int) or classes < 2:
        raise InvalidInput(f"There must be at least two classes; got {classes}.")
    true = codes(truth, "true classes", classes=classes)
    rows = len(true)
    guess = codes(predicted, "predicted classes", classes=classes, rows=rows)
    present = np.union1d(true, guess)
    is_true = [(true == code).astype(np.float64) for code in present]
    is_guess = [(guess == code).astype(np.float64) for code in present]
    both = list(zip(is_true, is_guess, strict=True))
    one = np.ones(rows)
    builds: dict[str, Build] = {
        "accuracy": lambda w: ratio((true == guess).astype(np.float64), one, w),
        "f1_macro": lambda w: average([_or_zero(ratio(2 * t * g, t + g, w)) for t, g in both]),
        "precision_macro": lambda w: average([_or_zero(ratio(t * g, g, w)) for t, g in both]),
        "recall_macro": lambda w: average([_or_zero(ratio(t * g, t, w)) for t, g in both]),
    }
    if scores is not None:
        values = class_probabilities(scores, "scores", rows=rows)
        if values.shape[1] != classes:
            raise InvalidInput(f"The scores have {values.shape[1]} columns for {classes} classes; give one a class.")
        shown = values[np.arange(rows), true]
        losses = -np.log(np.clip(shown, LOWEST_PROBABILITY, 1.0))
        squares = (values**2).sum(axis=1) + 1 - 2 * shown
        inside = [code for code in range(classes) if 0 < np.count_nonzero(true == code) < rows]
        builds["log_loss"] = lambda w: ratio(losses, one, w)
        builds["brier"] = lambda w: ratio(squares, one, w)
        if inside:
            builds["roc_auc_macro"] = lambda w: average(
                [area((true == code).astype(np.float64), values[:, code], w) for code in inside]
            )
    return _metrics(builds, rows, weights, clusters, confidence, bootstrap, rng)


def regression_performance(
    truth: Any,
    predicted: Any,
    *,
    weights: Any = None,
    clusters: Any = None,
    confidence: float = 0.95,
    bootstrap: int = 0,
    rng: int | np.random.Generator = 0,
) -> dict[str, Metric]:
    """How good a regressor was: mae and rmse in the target's units, and r2.

    The intervals assume that squared errors have a variance: with very heavy tails prefer mae. The other arguments
    are those of `binary_performance`.

    >>> metrics = regression_performance([1.0, 2.0, 3.0, 5.0], [1.5, 2.0, 2.0, 5.0])
    >>> metrics["mae"].estimate, round(metrics["r2"].estimate, 4)
    (0.375, 0.8571)
    """
    true = numbers(truth, "true values")
    rows = len(true)
    guess = numbers(predicted, "predicted values", rows=rows)
    one = np.ones(rows)
    builds: dict[str, Build] = {
        "mae": lambda w: ratio(np.abs(true - guess), one, w),
        "rmse": lambda w: root(ratio((true - guess) ** 2, one, w)),
        "r2": lambda w: explained(true, guess, w),
    }
    return _metrics(builds, rows, weights, clusters, confidence, bootstrap, rng)


def compare_roc_auc(truth: Any, first: Any, second: Any, *, confidence: float = 0.95) -> Metric:
    """The difference of two ROC-AUCs on the same rows (second minus first), by DeLong's paired variance (1988).

    >>> difference = compare_roc_auc([0, 0, 1, 1, 0, 1], [1, 2, 3, 4, 5, 6], [1, 2, 5, 4, 3, 6])
    >>> round(difference.estimate, 4)
    0.2222
    """
    true = binary(truth, "true classes")
    one, rows = np.ones(len(true)), len(true)
    before = area(true, numbers(first, "scores", rows=rows), one)
    after = area(true, numbers(second, "scores", rows=rows), one)
    gap = Functional(after.estimate - before.estimate, after.influence - before.influence, rows)
    error = math.sqrt(variance(gap, None, strata=true))
    half = _quantile(level(confidence), None) * error
    low, high = gap.estimate - half, gap.estimate + half
    if math.isnan(error):
        sentence = f"Two rows of either class are needed to compare ROC-AUCs; {rows} rows can't tell."
    else:
        sentence = (
            f"The second ROC-AUC is {gap.estimate:+.3g} above the first over {rows:,} rows "
            f"({confidence:.0%} interval {low:+.3g} to {high:+.3g})."
        )
    return Metric("roc_auc_difference", gap.estimate, (low, high), confidence, rows, "DeLong, paired", sentence, error)


def _metrics(
    builds: Mapping[str, Build],
    rows: int,
    weights: Any,
    clusters: Any,
    confidence: float,
    bootstrap: int,
    rng: int | np.random.Generator,
    strata: Floats | None = None,
) -> dict[str, Metric]:
    level(confidence)
    given, groups = row_weights(weights, rows), cluster_codes(clusters, rows)
    base = np.ones(rows) if given is None else given
    found = {name: build(base) for name, build in builds.items()}
    if bootstrap:
        ranges = _resampled(builds, base, groups, confidence, bootstrap, np.random.default_rng(rng))
    metrics = {}
    for name, functional in found.items():
        if math.isnan(functional.estimate):
            metrics[name] = _unknown(name, confidence, functional.n)
            continue
        within = strata if name == "roc_auc" and groups is None and given is None else None
        error = math.sqrt(variance(functional, groups, within))
        if bootstrap:
            interval, method = (
                ranges[name],
                f"bootstrap of {'rows' if groups is None else 'clusters'}, {bootstrap} runs",
            )
        else:
            plain = given is None and groups is None
            interval, method = _interval(name, functional, error, confidence, groups, base, plain=plain, strata=strata)
        metrics[name] = Metric(
            name,
            functional.estimate,
            interval,
            confidence,
            functional.n,
            method,
            _sentence(name, functional, interval, confidence, groups),
            error,
        )
    return metrics


def _interval(
    name: str,
    functional: Functional,
    error: float,
    confidence: float,
    clusters: Codes | None,
    weights: Floats,
    *,
    plain: bool,
    strata: Floats | None,
) -> tuple[tuple[float, float], str]:
    value, quantile = functional.estimate, _quantile(confidence, clusters)
    if name in SHARES and plain:
        return _wilson(value, functional.n, quantile), "Wilson"
    if math.isnan(error) or math.isinf(quantile):
        return (math.nan, math.nan), "too few rows or clusters for an interval"
    if name in SHARES or name in UNIT:
        if not (0 < value < 1 and error > 0):
            # The formulas give no width at 0 and 1; Wilson's interval on the rows that could have differed does.
            return _wilson(value, _effective(functional, clusters, weights, strata), quantile), "Wilson at the bound"
        if name in SHARES:
            return _wilson(value, value * (1 - value) / error**2, quantile), "Wilson on the effective rows"
        half = quantile * error / (value * (1 - value))
        centre = math.log(value / (1 - value))
        kind = "DeLong" if name == "roc_auc" else "delta method"
        robust = "" if clusters is None else ", robust to clusters"
        return (_expit(centre - half), _expit(centre + half)), f"{kind}, logit scale{robust}"
    low, high = value - quantile * error, value + quantile * error
    if name != "r2":
        low = max(0.0, low)
    return (low, min(high, 1.0) if name == "r2" else high), "delta method" + (
        "" if clusters is None else ", robust to clusters"
    )


def _effective(functional: Functional, clusters: Codes | None, weights: Floats, strata: Floats | None) -> float:
    """How many independent rows the metric rests on at most (Kish 1965), at worst of either class."""
    mass = weights if clusters is None else np.bincount(clusters, weights=weights)
    kish = float(mass.sum() ** 2 / np.dot(mass, mass))
    smaller = functional.n if strata is None else min(strata.sum(), len(strata) - strata.sum()) or functional.n
    return max(1.0, min(kish, float(smaller), float(functional.n)))


def _resampled(
    builds: Mapping[str, Build],
    weights: Floats,
    clusters: Codes | None,
    confidence: float,
    runs: int,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    if runs < 50:
        raise InvalidInput(f"A bootstrap interval needs 50 resamples at least, better 1,000; got {runs}.")
    units = len(weights) if clusters is None else int(clusters.max()) + 1
    if units < 2:
        return dict.fromkeys(builds, (math.nan, math.nan))
    drawn: dict[str, list[float]] = {name: [] for name in builds}
    for _ in range(runs):
        times = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
        resample = weights * (times if clusters is None else times[clusters])
        if not resample.any():
            continue
        for name, build in builds.items():
            value = build(resample).estimate
            if not math.isnan(value):
                drawn[name].append(value)
    tail = (1 - confidence) / 2
    return {
        name: tuple(float(bound) for bound in np.quantile(values, [tail, 1 - tail])) if values else (math.nan, math.nan)  # type: ignore[misc]
        for name, values in drawn.items()
    }


def _or_zero(functional: Functional) -> Functional:
    return Functional(0.0, functional.influence, functional.n) if math.isnan(functional.estimate) else functional


def _unknown(name: str, confidence: float, n: int) -> Metric:
    sentence = f"{LABELS[name]} can't be told from these rows: nothing that it is a share of occurs."
    return Metric(name, math.nan, (math.nan, math.nan), confidence, n, "none", sentence)


def _sentence(
    name: str, functional: Functional, interval: tuple[float, float], confidence: float, clusters: Codes | None
) -> str:
    among = (
        f"{functional.n:,} rows" if clusters is None else f"{functional.n:,} rows of {clusters.max() + 1:,} entities"
    )
    head = f"{LABELS[name]} is {functional.estimate:.3g} over {among}"
    if math.isnan(interval[0]):
        return f"{head}; too few for an interval."
    return f"{head} ({confidence:.0%} interval {interval[0]:.3g} to {interval[1]:.3g})."


def _quantile(confidence: float, clusters: Codes | None) -> float:
    """Normal for rows; Student's t for clusters, which are often few."""
    from scipy.special import ndtri, stdtrit

    if clusters is None:
        return float(ndtri((1 + confidence) / 2))
    groups = int(clusters.max()) + 1
    return float(stdtrit(groups - 1, (1 + confidence) / 2)) if groups > 1 else math.inf


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    low, high = wilson_limits(share, n, z)
    return float(low), float(high)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
