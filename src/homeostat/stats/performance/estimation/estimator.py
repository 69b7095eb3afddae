"""Performance without labels: CBPE, its variant for covariate shift, and direct loss estimation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.performance.estimation.chances import FittedChances, fit_chances
from homeostat.stats.performance.estimation.expected import Expected, expected_binary, expected_multiclass
from homeostat.stats.performance.estimation.losses import FittedLosses, fit_losses
from homeostat.stats.performance.estimation.reference import ReferenceCheck, check_chances
from homeostat.stats.performance.estimation.results import (
    COUNTS,
    AuditStatus,
    EstimatedMetric,
    Method,
    PerformanceEstimate,
    Task,
    estimated,
)
from homeostat.stats.performance.estimation.shift import DensityRatio, density_ratio
from homeostat.stats.performance.inputs import Floats, binary, class_probabilities, codes, level, matrix, numbers

FEWEST_REFERENCE_ROWS = 100
# Weights are believed while the weighted reference keeps this share of its rows; below the second share the window
# lies so far away that no estimate from this reference is to be acted on.
WEIGHABLE = 0.3
COVERED = 0.1
FEWEST_EFFECTIVE_ROWS = 100
FIXED = 1e-9


@dataclass(frozen=True, slots=True)
class PerformanceEstimator:
    """Fitted on labelled reference rows; estimates windows without labels. Make one with `fit_estimator`."""

    task: Task
    method: Method
    classes: int
    chances: FittedChances | None
    losses: FittedLosses | None
    scores: Floats
    predictions: Floats
    labels: Floats
    features: Floats | None
    check: ReferenceCheck
    optimism: dict[str, float]

    def estimate(
        self,
        predictions: Any,
        *,
        scores: Any = None,
        features: Any = None,
        audit: AuditStatus = "not_audited",
        confidence: float = 0.95,
        rng: int | np.random.Generator = 0,
    ) -> PerformanceEstimate:
        """Estimate how good the predictions of a window are.

        Args:
            predictions: predicted classes (0/1, or codes), or predicted values.
            scores: as at the fit; not for regression.
            features: the columns of the reference's features; needed where the fit had them.
            audit: the status that `audit_estimates` gave to earlier windows.
            confidence: of the intervals.
            rng: seed of the folds for the density ratio.

        Raises:
            InvalidInput: for arrays that do not fit each other or the reference.
        """
        level(confidence)
        if self.task == "regression":
            return self._regression(predictions, features, audit, confidence)
        if scores is None:
            raise InvalidInput("Scores of the window are needed to estimate a classifier's performance.")
        if self.task == "binary":
            values = numbers(scores, "scores")[:, None]
            guess = binary(predictions, "predictions", rows=len(values))
        else:
            values = class_probabilities(scores, "scores")
            if values.shape[1] != self.classes:
                raise InvalidInput(f"The scores have {values.shape[1]} columns where the reference has {self.classes}.")
            guess = codes(predictions, "predictions", classes=self.classes, rows=len(values)).astype(np.float64)
        ratio = self._ratio(values, features, rng)
        fitted, method = self._chosen(ratio)
        found = _expected(self.task, fitted.chances(values), guess, values)
        optimism = self.optimism if fitted is self.chances else self._optimism(fitted)
        metrics = {}
        for name, metric in found.items():
            sampling = reference = math.nan
            flattery = optimism[name]
            if not math.isnan(metric.estimate):
                pull = metric.gradient
                sampling = math.sqrt(fitted.label_variance(values, pull))
                reference = math.sqrt(fitted.reference_variance(values, pull))
                if np.abs(pull).max() * len(values) < FIXED:
                    flattery = 0.0  # no label can move it, as recall where every row is flagged
            metrics[name] = estimated(
                name,
                _within(name, metric.estimate, flattery, len(values)),
                sampling,
                reference,
                confidence=confidence,
                n=len(values),
                n_reference=len(self.labels),
                method=method,
            )
        return self._result(metrics, method, len(values), ratio, audit)

    def _ratio(self, values: Floats, features: Any, rng: int | np.random.Generator) -> DensityRatio | None:
        if self.features is None:
            if features is not None:
                raise InvalidInput("The reference has no features; give them to the fit, or leave them out here.")
            return None
        if features is None:
            raise InvalidInput("The reference has features; give the window's too.")
        if self.method == "cbpe":
            return None
        given = matrix(features, "features", rows=len(values), columns=self.features.shape[1])
        reference = np.column_stack([self.features, self.scores])
        return density_ratio(reference, np.column_stack([given, values]), rng=rng)

    def _optimism(self, fitted: FittedChances) -> dict[str, float]:
        return _optimism(self.task, fitted, self.predictions, self.scores)

    def _chosen(self, ratio: DensityRatio | None) -> tuple[FittedChances, str]:
        if self.chances is None:
            raise InvalidInput("This estimator was not fitted for a classifier.")
        if ratio is None:
            return self.chances, "cbpe"
        kept = ratio.effective_rows / len(self.labels)
        if self.method == "auto" and not (ratio.shifted and kept >= WEIGHABLE):
            return self.chances, "cbpe"
        return fit_chances(self.scores, self.labels, ratio.weights), "importance_weighted"

    def _regression(
        self, predictions: Any, features: Any, audit: AuditStatus, confidence: float
    ) -> PerformanceEstimate:
        guess = numbers(predictions, "predictions")
        if self.losses is None:
            raise InvalidInput("This estimator was not fitted for a regressor.")
        columns = guess[:, None]
        if self.features is not None:
            if features is None:
                raise InvalidInput("The reference has features; give the window's too.")
            given = matrix(features, "features", rows=len(guess), columns=self.features.shape[1])
            columns = np.column_stack([given, guess])
        elif features is not None:
            raise InvalidInput("The reference has no features; give them to the fit, or leave them out here.")
        metrics = {}
        for name, (value, sampling, reference) in self.losses.expected(columns).items():
            metrics[name] = estimated(
                name,
                value,
                sampling,
                reference,
                confidence=confidence,
                n=len(guess),
                n_reference=self.losses.n,
                method="dle",
            )
        return self._result(metrics, "dle", len(guess), None, audit)

    def _result(
        self,
        metrics: dict[str, EstimatedMetric],
        method: str,
        n: int,
        ratio: DensityRatio | None,
        audit: AuditStatus,
    ) -> PerformanceEstimate:
        if audit not in {"trusted", "failing", "not_audited"}:
            raise InvalidInput(f"There is no audit status {audit!r}; known: trusted, failing, not_audited.")
        n_reference = len(self.labels)
        effective = None if ratio is None else ratio.effective_rows
        covered = effective is None or effective >= max(FEWEST_EFFECTIVE_ROWS, COVERED * n_reference)
        actionable = covered and self.check.holds and audit != "failing"
        lead = metrics["mae" if self.task == "regression" else "accuracy"]
        words = [lead.sentence]
        if not self.check.holds:
            words.append("The method does not hold on the reference itself, so the estimate must not be acted on.")
        if not covered:
            words.append(
                f"The reference has only {effective:,.0f} rows' worth like this window, so the estimate must not be "
                "acted on."
            )
        if audit == "failing":
            words.append("Earlier estimates missed the labels that came later, so it must not be acted on.")
        return PerformanceEstimate(
            task=self.task,
            method=method,
            metrics=metrics,
            n=n,
            n_reference=n_reference,
            effective_reference=effective,
            separation=None if ratio is None else ratio.separation,
            covered=covered,
            calibrated=self.check.holds,
            check=self.check,
            audit=audit,
            actionable=actionable,
            sentence=" ".join(words),
        )


def fit_estimator(
    labels: Any,
    predictions: Any,
    *,
    task: Task,
    scores: Any = None,
    features: Any = None,
    method: Method = "auto",
) -> PerformanceEstimator:
    """Learn from labelled rows how to estimate performance where labels are missing.

    CBPE (confidence-based performance estimation) puts the calibrated chance of each class in the place of the label.
    It holds while the label depends on the features only through the score, or the features keep their distribution.
    With features, `importance_weighted` recalibrates on the reference weighted to look like the window, which also
    holds under covariate shift with overlap. `dle` (direct loss estimation) learns the loss of each row from features
    and prediction. None holds under concept drift. `auto`: `dle` for regression; for classifiers `cbpe`, and
    `importance_weighted` for windows whose features have shifted but still overlap well with the reference's.

    Args:
        labels: of the reference rows, in the order of time where that is known; 0/1, class codes, or values.
        predictions: predicted classes or values of the same rows, from a model that was not trained on these rows.
        task: binary, multiclass or regression.
        scores: of class 1 (binary), or one column a class (multiclass).
        features: one column a feature, as numbers; NaN means missing; categories as codes.
        method: auto, cbpe, importance_weighted or dle.

    Raises:
        InvalidInput: for fewer than 100 rows, one class only, a method that does not go with the task, bad arrays.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(2_000)
    >>> labels = rng.random(2_000) < scores
    >>> estimator = fit_estimator(labels, scores > 0.5, task="binary", scores=scores)
    >>> window = rng.random(1_000)
    >>> result = estimator.estimate(window > 0.5, scores=window)
    >>> round(result.metrics["accuracy"].estimate, 2), result.method, result.actionable
    (0.76, 'cbpe', True)
    """
    known: dict[str, set[str]] = {
        "binary": {"auto", "cbpe", "importance_weighted"},
        "multiclass": {"auto", "cbpe", "importance_weighted"},
        "regression": {"auto", "dle"},
    }
    if task not in known:
        raise InvalidInput(f"There is no task {task!r}; known: binary, multiclass, regression.")
    if method not in known[task]:
        raise InvalidInput(f"The method {method!r} is not one for {task}; known: {', '.join(sorted(known[task]))}.")
    truth = numbers(labels, "labels")
    rows = len(truth)
    if rows < FEWEST_REFERENCE_ROWS:
        raise InvalidInput(
            f"The reference has {rows} labelled rows; at least {FEWEST_REFERENCE_ROWS} are needed to estimate from."
        )
    given = None if features is None else matrix(features, "features", rows=rows)
    if method == "importance_weighted" and given is None:
        raise InvalidInput("Importance weighting needs the features of the reference and of the window.")
    if task == "regression":
        guess = numbers(predictions, "predictions", rows=rows)
        columns = guess[:, None] if given is None else np.column_stack([given, guess])
        losses = fit_losses(columns, guess - truth)
        return PerformanceEstimator(task, "dle", 0, None, losses, guess[:, None], guess, truth, given, losses.check, {})
    if scores is None:
        raise InvalidInput("Scores of the reference are needed to estimate a classifier's performance.")
    if task == "binary":
        guess = binary(predictions, "predictions", rows=rows)
        right = 2 * guess[:, None] - 1
        values = numbers(scores, "scores", rows=rows)[:, None]
        targets = binary(truth, "labels")[:, None]
        classes = 2
    else:
        values = class_probabilities(scores, "scores", rows=rows)
        classes = values.shape[1]
        chosen = codes(predictions, "predictions", classes=classes, rows=rows)
        guess, right = chosen.astype(np.float64), np.eye(classes)[chosen]
        targets = np.eye(classes)[codes(truth, "labels", classes=classes)]
    if truth.min() == truth.max():
        raise InvalidInput("All labels of the reference are of one class; rows of at least two are needed.")
    checked = check_chances(values, targets, right)
    fitted = fit_chances(values, targets)
    optimism = _optimism(task, fitted, guess, values)
    return PerformanceEstimator(task, method, classes, fitted, None, values, guess, targets, given, checked, optimism)


def estimate_performance(
    reference_labels: Any,
    reference_predictions: Any,
    predictions: Any,
    *,
    task: Task,
    reference_scores: Any = None,
    scores: Any = None,
    reference_features: Any = None,
    features: Any = None,
    method: Method = "auto",
    audit: AuditStatus = "not_audited",
    confidence: float = 0.95,
    rng: int | np.random.Generator = 0,
) -> PerformanceEstimate:
    """Estimate how good predictions are before their labels come: `fit_estimator`, then `estimate`, in one call.

    >>> rng = np.random.default_rng(0)
    >>> first, second = rng.random(2_000), rng.random(500)
    >>> labels = rng.random(2_000) < first
    >>> result = estimate_performance(
    ...     labels, first > 0.5, second > 0.5, task="binary", reference_scores=first, scores=second
    ... )
    >>> low, high = result.metrics["accuracy"].interval
    >>> low < 0.75 < high
    True
    """
    estimator = fit_estimator(
        reference_labels,
        reference_predictions,
        task=task,
        scores=reference_scores,
        features=reference_features,
        method=method,
    )
    return estimator.estimate(
        predictions, scores=scores, features=features, audit=audit, confidence=confidence, rng=rng
    )


def _expected(
    task: Task, chances: Floats, predicted: Floats, scores: Floats, weights: Floats | None = None
) -> dict[str, Expected]:
    if task == "binary":
        return expected_binary(chances[:, 0], predicted, scores[:, 0], weights)
    return expected_multiclass(chances, predicted.astype(np.intp), scores, weights)


def _optimism(task: Task, fitted: FittedChances, predicted: Floats, scores: Floats) -> dict[str, float]:
    """How much too good the fit makes each metric look on the reference itself, counts as shares of the rows.

    An isotonic fit never puts fewer positives above a score than there are (its cumulative sum is the greatest convex
    minorant of theirs), so that metrics computed from it flatter, by about n^(−2/3).
    """
    weights = fitted.weights
    fit = _expected(task, fitted.chances(scores), predicted, scores, weights)
    real = _expected(task, fitted.labels, predicted, scores, weights)
    rows = float(weights.sum())
    gaps = {name: (fit[name].estimate - real[name].estimate) / (rows if name in COUNTS else 1.0) for name in fit}
    return {name: 0.0 if math.isnan(gap) else gap for name, gap in gaps.items()}


def _within(name: str, value: float, optimism: float, rows: int) -> float:
    """The estimate less its optimism, within the range that the metric can take."""
    if math.isnan(value):
        return value
    most = float(rows) if name in COUNTS else 1.0
    return min(most, max(0.0, value - optimism * most))
