"""All checks of one window of predictions at once, with the rate of false findings held over all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.predictions.confidence import confidence_collapse, confidence_decay, entropy_rise
from homeostat.stats.predictions.outputs import class_balance, constant_output, out_of_range, outlying_outputs
from homeostat.stats.predictions.results import (
    DEFAULT,
    SEVERITIES,
    Array,
    Floats,
    PredictionAnomaly,
    PredictionThresholds,
    Preset,
    Severity,
    Verdict,
    adjusted,
    check_preset,
    numbers,
)
from homeostat.stats.predictions.spikes import positive_rate, share_spike, volume_spike

Flags = npt.NDArray[np.bool_]
PERIODS = 24


@dataclass(frozen=True, slots=True)
class PredictionWindow:
    """Predictions of a stretch of time: give `outputs`, `scores` or both, one entry a row.

    Attributes:
        outputs: predicted classes of any type, or numbers of a regressor.
        scores: the probability of the positive class, or one column a class; of classifiers only.
        times: when each row was scored, as numbers in any unit.

    Raises:
        InvalidInput: where neither outputs nor scores are given, or lengths differ.
    """

    outputs: Array | None = None
    scores: Array | None = None
    times: Array | None = None

    def __post_init__(self) -> None:
        given = [np.asarray(part) for part in (self.outputs, self.scores, self.times) if part is not None]
        if self.outputs is None and self.scores is None:
            raise InvalidInput("A window of predictions needs outputs or scores.")
        if any(part.ndim == 0 for part in given) or len({len(part) for part in given}) > 1:
            shapes = ", ".join(str(part.shape) for part in given)
            raise InvalidInput(f"Outputs, scores and times must have one entry a row; their shapes are {shapes}.")

    def __len__(self) -> int:
        return len(np.asarray(self.outputs if self.outputs is not None else self.scores))


@dataclass(frozen=True, slots=True)
class PredictionReport:
    """What all checks together come to: the worst verdict and severity, and each anomaly by name."""

    verdict: Verdict
    severity: Severity
    anomalies: tuple[PredictionAnomaly, ...]
    sentence: str

    def __getitem__(self, name: str) -> PredictionAnomaly:
        for anomaly in self.anomalies:
            if anomaly.name == name:
                return anomaly
        raise KeyError(name)


def prediction_anomalies(
    reference: PredictionWindow,
    current: PredictionWindow,
    *,
    regression: bool = False,
    positive: Any = 1,
    output_range: tuple[float, float] | None = None,
    periods: int = PERIODS,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
    rng: int | np.random.Generator = 0,
) -> PredictionReport:
    """Every check that the two windows allow; verdicts of the calibrated preset hold over all of them (Holm 1979).

    So a window in which nothing changed is called harmed with probability `thresholds.significance` at most, as far as
    the checks' assumptions hold; out_of_range involves no chance. Rows whose output or score is missing or out of range
    count there, and are left out elsewhere. Checks that need times, scores or classes that were not given are absent.

    Args:
        reference: predictions from when all was well.
        current: those of the window.
        regression: the outputs are numbers, not classes.
        positive: the positive class among the outputs of a binary model; None compares every class.
        output_range: the declared range of a regressor's outputs; scores always lie between 0 and 1.
        periods: into how many equal parts of time the window is divided.
        preset: "calibrated" or "classic", which decides every check by itself.
        thresholds: what is too much.
        rng: a seed or a generator, for share_spike.

    Raises:
        InvalidInput: for windows that can't be compared, or settings that mean nothing.

    >>> rng = np.random.default_rng(0)
    >>> before = PredictionWindow(scores=rng.beta(1, 9, 5000))
    >>> report = prediction_anomalies(before, PredictionWindow(scores=rng.beta(8, 8, 1000)))
    >>> report.verdict, report.severity, report["confidence_collapse"].verdict
    ('harmed', 'critical', 'harmed')
    >>> prediction_anomalies(before, PredictionWindow(scores=rng.beta(1, 9, 1000))).verdict
    'healthy'
    """
    check_preset(preset)
    if periods < 4:
        raise InvalidInput(f"The window must be divided into at least 4 periods; got {periods}.")
    if regression and current.outputs is None:
        raise InvalidInput("A regressor's window needs outputs.")
    if (reference.scores is None) != (current.scores is None) or (reference.outputs is None) != (
        current.outputs is None
    ):
        raise InvalidInput("The reference and the window must both have scores or outputs to be compared.")
    both: dict[str, Any] = {"preset": preset, "thresholds": thresholds}
    results: list[PredictionAnomaly] = []
    if regression:
        results += _of_numbers(reference.outputs, current.outputs, output_range, both)
        hits = None
    else:
        if current.scores is not None:
            results += _of_scores(reference, current, both)
        old, new = (_outputs(window) for window in (reference, current))
        if current.outputs is None and np.asarray(current.scores).ndim == 1:
            positive = 1
        results += [
            class_balance(old[0], new[0], positive=positive, **both),
            constant_output(old[0], new[0], **both),
        ]
        hits = None if positive is None else ((old[0] == positive, old[1]), (new[0] == positive, new[1]))
    results += _over_time(reference, current, hits, periods, both, rng)
    return _report(adjusted(results, preset, thresholds.significance))


def _of_numbers(
    reference: Array | None, current: Array | None, declared: tuple[float, float] | None, both: dict[str, Any]
) -> list[PredictionAnomaly]:
    old, new = numbers(np.asarray(reference), "reference outputs"), numbers(np.asarray(current), "outputs")
    low, high = declared or (-math.inf, math.inf)
    old, kept = old[np.isfinite(old)], new[np.isfinite(new)]
    return [
        out_of_range(new, low, high),
        outlying_outputs(old, kept, **both),
        constant_output(old, kept, **both),
    ]


def _of_scores(reference: PredictionWindow, current: PredictionWindow, both: dict[str, Any]) -> list[PredictionAnomaly]:
    old, new = np.asarray(reference.scores), np.asarray(current.scores)
    if old.ndim != new.ndim or old.shape[1:] != new.shape[1:]:
        raise InvalidInput(f"The scores of both windows must have the same columns; got {old.shape} and {new.shape}.")
    for scores in (old, new):
        if scores.ndim > 2 or scores.dtype.kind not in "biuf":
            raise InvalidInput(f"Scores must be numbers, one a row or one column a class; got {scores.dtype}.")
    # A row of several scores is as far outside as its worst one.
    strays = new if new.ndim == 1 else np.where(_valid(new), 0.5, np.nan)
    results = [out_of_range(strays, 0.0, 1.0)]
    old, kept = old[_valid(old)], new[_valid(new)]
    results += [confidence_collapse(old, kept, **both), entropy_rise(old, kept, **both)]
    if new.ndim == 1:
        results += [
            outlying_outputs(old, kept, **both),
            replace(constant_output(old, kept, **both), name="constant_score"),
        ]
    if current.times is not None:
        times = numbers(current.times, "times")
        usable = _valid(new) & np.isfinite(times)
        results.append(confidence_decay(new[usable], times[usable], **both))
    return results


def _valid(scores: Array) -> Flags:
    """Rows whose scores are probabilities; those of all classes must sum to 1."""
    within = np.isfinite(scores) & (scores >= 0) & (scores <= 1)
    if scores.ndim == 1:
        return np.asarray(within)
    total = np.where(within, scores, 0.0).sum(axis=1)
    return np.asarray(within.all(axis=1) & (np.abs(total - 1) <= 1e-3))


def _outputs(window: PredictionWindow) -> tuple[Array, Flags]:
    """The predicted classes of the rows that have one, and which rows those are."""
    if window.outputs is not None:
        classes = np.asarray(window.outputs)
        if classes.dtype.kind == "f":
            known = ~np.isnan(classes)
        elif classes.dtype.kind == "O":
            known = np.array([value is not None for value in classes], dtype=np.bool_)
        else:
            known = np.ones(len(classes), dtype=np.bool_)
        return classes[known], known
    scores = np.asarray(window.scores)
    known = _valid(scores)
    if scores.ndim == 2:
        return scores[known].argmax(axis=1), known
    # Without classes the usual cut decides which rows are positive.
    return (scores[known] >= 0.5).astype(np.intp), known


def _over_time(
    reference: PredictionWindow,
    current: PredictionWindow,
    hits: tuple[tuple[Flags, Flags], tuple[Flags, Flags]] | None,
    periods: int,
    both: dict[str, Any],
    rng: int | np.random.Generator,
) -> list[PredictionAnomaly]:
    if current.times is None or not len(current):
        return []
    when = numbers(current.times, "times")
    if not np.isfinite(when).all():
        raise InvalidInput("Times must be finite; leave out rows without one.")
    first, last = float(when.min()), float(when.max())
    length = (last - first) / periods
    if length <= 0:
        return []
    rows, place = _periods(when, first, length, periods)
    results = []
    if hits is not None:
        positives = np.bincount(place[hits[1][1]][hits[1][0]], minlength=periods)
        totals = np.bincount(place[hits[1][1]], minlength=periods)
        results.append(share_spike(positives, totals, rng=rng, **both))
    if reference.times is None or len(reference) < 2:
        return results
    before = numbers(reference.times, "reference times")
    if not np.isfinite(before).all():
        raise InvalidInput("Times of the reference must be finite; leave out rows without one.")
    span = float(before.max() - before.min())
    # Only whole periods of the history count; a broken one would look quiet.
    whole = int(span / length + 1e-9)
    if whole >= 1:
        history, _ = _periods(before, float(before.min()), length, whole)
        results.append(volume_spike(history, rows, **both))
        if hits is not None:
            counts = [int(side[0].sum()) for side in hits]
            earlier, _ = _periods(before[hits[0][1]][hits[0][0]], float(before.min()), length, whole)
            # Bursts make counts vary more than Poisson's, and a jump less of a surprise.
            bursts = float(earlier.var(ddof=1) / earlier.mean()) if whole >= 10 and earlier.any() else 1.0
            results.append(positive_rate(counts[0], span, counts[1], last - first, dispersion=max(1.0, bursts), **both))
    return results


def _periods(when: Floats, first: float, length: float, periods: int) -> tuple[Array, npt.NDArray[np.intp]]:
    """Rows by period, and the period of each row; rows beyond the last whole period are not counted."""
    place = np.floor((when - first) / length).astype(np.intp)
    # The last instant closes the last period.
    place[when <= first + length * periods * (1 + 1e-12)] = np.minimum(
        place[when <= first + length * periods * (1 + 1e-12)], periods - 1
    )
    return np.bincount(place[place < periods], minlength=periods), np.minimum(place, periods - 1)


def _report(anomalies: tuple[PredictionAnomaly, ...]) -> PredictionReport:
    verdicts = [anomaly.verdict for anomaly in anomalies]
    order: tuple[Verdict, ...] = ("harmed", "healthy", "insufficient", "no_data")
    verdict = next(kind for kind in order if kind in verdicts)
    harmed = [anomaly for anomaly in anomalies if anomaly.verdict == "harmed"]
    if harmed:
        worst = max(harmed, key=lambda anomaly: (SEVERITIES.index(anomaly.severity), -anomaly.p_adjusted))
        sentence = f"{len(harmed)} of {len(anomalies)} checks found something. The worst: {worst.sentence}"
        return PredictionReport(verdict, worst.severity, anomalies, sentence)
    made = sum(kind == "healthy" for kind in verdicts)
    if not made:
        return PredictionReport(verdict, "none", anomalies, f"No check could be made. {anomalies[-1].sentence}")
    sentence = f"None of {made} checks found anything; {len(anomalies) - made} could not be made."
    return PredictionReport(verdict, "none", anomalies, sentence)
