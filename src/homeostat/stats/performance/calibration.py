"""Whether scores are probabilities, and how to make them so.

Sources: Murphy 1973 and Dimitriadis, Gneiting and Jordan 2021 (the Brier score taken apart); Naeini et al. 2015 (ECE)
and Kumar, Liang and Ma 2019 (taking its bias off); Spiegelhalter 1986; Hosmer and Lemeshow 1980; Platt 1999; Zadrozny
and Elkan 2002 and Robertson et al. 1988 (isotonic regression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.performance.inputs import Codes, Floats, binary, level, numbers, probabilities, row_weights
from homeostat.stats.performance.metrics import wilson_interval


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of about one score: the mean `score`, the share `observed` of class 1, and Wilson's interval of it."""

    lowest: float
    highest: float
    n: int
    score: float
    observed: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """How far scores are from being probabilities.

    `estimate` is the expected calibration error less its estimated bias, `ece` the plain one, which sampling noise
    alone makes larger than 0. Near 0 some bias remains (about half of it for calibrated scores): read `p` as well.
    `interval` is a bound on the error: 0 lies in it where the calibration test does not reject. `statistic` and `p`
    are the chi-square of the bins (observed against expected under the scores); `spiegelhalter_z` and
    `spiegelhalter_p` need no bins but see only scores that are too extreme or too timid.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    statistic: float
    p: float
    n: int
    sentence: str
    ece: float
    spiegelhalter_z: float
    spiegelhalter_p: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """`brier` = `miscalibration` − `discrimination` + `uncertainty`, exactly.

    `miscalibration` is what recalibrating would save, `discrimination` what the order of the scores is worth over
    the base rate, `uncertainty` the Brier score of the base rate. Fitted on the same rows, the first two are a little
    too large.
    """

    brier: float
    miscalibration: float
    discrimination: float
    uncertainty: float
    n: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted map from scores to probabilities; `apply` uses it.

    Isotonic: the points (`scores`, `values`), linear between them and level beyond; Platt: 1 / (1 + exp(−(slope ·
    score + offset))); none: the scores themselves. `n` rows were fitted.
    """

    method: Literal["isotonic", "platt", "none"]
    scores: Floats
    values: Floats
    slope: float
    offset: float
    n: int

    def apply(self, scores: Any) -> Floats:
        """The probabilities of class 1 at these scores."""
        given = numbers(scores, "scores")
        if self.method == "isotonic":
            return np.asarray(np.interp(given, self.scores, self.values))
        if self.method == "platt":
            from scipy.special import expit

            return np.asarray(expit(self.slope * given + self.offset))
        return probabilities(given, "scores")


def fit_calibrator(
    scores: Any, labels: Any, *, method: Literal["isotonic", "platt", "none"] = "isotonic", weights: Any = None
) -> Calibrator:
    """Learn from labelled rows what share of class 1 goes with a score.

    Isotonic assumes only that the share does not fall as the score rises, and wants some hundreds of rows of either
    class; Platt's assumes a logistic curve and does with fewer. Fitted and judged on the same rows it looks better
    than it is.

    Raises:
        InvalidInput: where there is one class only, and for the usual bad input.

    >>> calibrator = fit_calibrator([0.1, 0.2, 0.8, 0.9], [0, 1, 0, 1])
    >>> calibrator.apply([0.0, 0.5, 0.95]).tolist()
    [0.0, 0.5, 1.0]
    """
    values = numbers(scores, "scores")
    truth = binary(labels, "labels", rows=len(values))
    given = row_weights(weights, len(values))
    if truth.min() == truth.max():
        raise InvalidInput("All labels are of one class; a calibrator needs rows of both.")
    nothing = np.zeros(0)
    if method == "none":
        return Calibrator("none", nothing, nothing, 1.0, 0.0, len(values))
    if method == "platt":
        slope, offset = _platt(values, truth, given)
        return Calibrator("platt", nothing, nothing, slope, offset, len(values))
    if method != "isotonic":
        raise InvalidInput(f"There is no calibrator {method!r}; known: isotonic, platt, none.")
    points, fitted = _isotonic(values, truth, given)
    return Calibrator("isotonic", points, fitted, 1.0, 0.0, len(values))


def assess_calibration(scores: Any, labels: Any, *, bins: int = 10, confidence: float = 0.95) -> CalibrationResult:
    """Are the scores the shares of class 1 that go with them? Reliability table, errors and tests.

    The bins hold equally many rows; equal scores are never divided. Rows must be independent of each other and must
    not have been used to fit the scores.

    Args:
        scores: probabilities of class 1, one a row.
        labels: 0 or 1.
        bins: at most this many; fewer where there are few rows (about 10 a bin) or few distinct scores.
        confidence: of the intervals.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(2_000)
    >>> honest = assess_calibration(scores, rng.random(2_000) < scores)
    >>> bold = assess_calibration(scores, rng.random(2_000) < 0.25 + scores / 2)
    >>> honest.p > 0.05, bold.p < 0.001, round(bold.estimate, 2)
    (True, True, 0.13)
    """
    from scipy.special import chdtrc, ndtr

    values = probabilities(scores, "scores")
    truth = binary(labels, "labels", rows=len(values))
    level(confidence)
    if bins < 1:
        raise InvalidInput(f"There must be at least one bin; got {bins}.")
    n = len(values)
    place = equal_mass_bins(values, max(1, min(bins, n // 10)))
    sizes = np.bincount(place).astype(np.float64)
    hits, expected = np.bincount(place, weights=truth), np.bincount(place, weights=values)
    spread = np.bincount(place, weights=values * (1 - values))
    observed, score = hits / sizes, expected / sizes
    gap = np.abs(observed - score)
    plain = float(np.dot(sizes, gap)) / n
    estimate = _debiased(sizes, observed, gap, plain)
    contradicted = bool(((spread == 0) & (hits != expected)).any())
    tested = spread > 0
    statistic = math.inf if contradicted else float((((hits - expected) ** 2)[tested] / spread[tested]).sum())
    freedom = int(tested.sum())
    p = 0.0 if contradicted else float(chdtrc(freedom, statistic)) if freedom else 1.0
    scale = float(np.dot((1 - 2 * values) ** 2, values * (1 - values)))
    z = float(np.dot(truth - values, 1 - 2 * values)) / math.sqrt(scale) if scale > 0 else 0.0
    # The error of an average of gaps whose signs are known; where the test does not reject they are not.
    error = math.sqrt(float(np.dot(sizes**2, observed * (1 - observed) / sizes))) / n
    half = error * _normal_quantile(confidence)
    low = max(0.0, estimate - half) if p < 1 - confidence else 0.0
    interval = (low, min(1.0, max(estimate, plain) + half))
    table = _table(values, place, sizes, score, hits, confidence)
    sentence = (
        f"Over {n:,} rows the scores miss the observed share of class 1 by {estimate:.3g} on average "
        f"({confidence:.0%} interval {interval[0]:.3g} to {interval[1]:.3g}); "
        + (
            f"this is more than chance explains (p = {p:.3g})."
            if p < 1 - confidence
            else f"they may well be calibrated (p = {p:.3g})."
        )
    )
    return CalibrationResult(
        estimate, interval, confidence, statistic, p, n, sentence, plain, z, 2 * float(ndtr(-abs(z))), table
    )


def brier_decomposition(scores: Any, labels: Any) -> BrierDecomposition:
    """The Brier score taken apart into miscalibration, discrimination and uncertainty, without bins.

    The recalibrated scores are the isotonic fit, so nothing depends on how bins are cut (Dimitriadis et al. 2021).

    >>> parts = brier_decomposition([0.2, 0.2, 0.9, 0.9], [0, 0, 1, 0])
    >>> round(parts.brier, 4), round(parts.miscalibration, 4), parts.discrimination, parts.uncertainty
    (0.225, 0.1, 0.0625, 0.1875)
    """
    values = probabilities(scores, "scores")
    truth = binary(labels, "labels", rows=len(values))
    base = float(truth.mean())
    points, fitted = _isotonic(values, truth, None)
    best = np.interp(values, points, fitted)
    brier, uncertainty = float(np.mean((values - truth) ** 2)), base * (1 - base)
    recalibrated = float(np.mean((best - truth) ** 2))
    sentence = (
        f"The Brier score over {len(values):,} rows is {brier:.3g}: {uncertainty:.3g} for a base rate of {base:.1%}, "
        f"less {uncertainty - recalibrated:.3g} for telling the classes apart, plus {brier - recalibrated:.3g} for "
        "scores that are not probabilities."
    )
    return BrierDecomposition(
        brier, brier - recalibrated, uncertainty - recalibrated, uncertainty, len(values), sentence
    )


def equal_mass_bins(values: Floats, bins: int) -> Codes:
    """A bin code for each value: bins of about equally many rows, numbered without gaps, equal values together.

    >>> equal_mass_bins(np.array([0.1, 0.1, 0.1, 0.5, 0.9]), 2).tolist()
    [0, 0, 0, 1, 1]
    """
    cuts = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    return np.unique(np.searchsorted(np.unique(cuts), values, side="left"), return_inverse=True)[1].astype(np.intp)


def _isotonic(scores: Floats, truth: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """The corners of the isotonic fit: where it begins and ends to be level."""
    from scipy.optimize import isotonic_regression

    points, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights=weights).astype(np.float64)
    known = mass > 0
    sums = np.bincount(place, weights=truth if weights is None else truth * weights)
    points, mass, sums = points[known], mass[known], sums[known]
    fitted = np.clip(isotonic_regression(sums / mass, weights=mass).x, 0.0, 1.0)
    edge = np.concatenate(([True], fitted[1:] != fitted[:-1]))
    corner = edge | np.concatenate((edge[1:], [True]))
    return points[corner], fitted[corner]


def _platt(scores: Floats, truth: Floats, weights: Floats | None) -> tuple[float, float]:
    """Logistic regression on the score with Platt's targets, which keep it finite where the classes do not overlap."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mass = np.ones(len(scores)) if weights is None else weights
    ones, zeros = float(np.dot(mass, truth)), float(np.dot(mass, 1 - truth))
    target = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    middle, width = float(scores.mean()), float(scores.std()) or 1.0
    scaled = (scores - middle) / width

    def loss(parameters: Floats) -> tuple[float, Floats]:
        line = parameters[0] * scaled + parameters[1]
        excess = mass * (expit(line) - target)
        value = float(np.dot(mass, np.logaddexp(0.0, line) - target * line))
        return value / len(scores), np.array([np.dot(excess, scaled), excess.sum()]) / len(scores)

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    slope = float(found[0]) / width
    return slope, float(found[1]) - slope * middle


def _debiased(sizes: Floats, observed: Floats, gap: Floats, plain: float) -> float:
    """ECE less what noise adds: the mean of |gap + noise| is a folded normal's (Kumar et al. 2019 simulate it)."""
    from scipy.special import ndtr

    # A bin of one class only has no spread of its own; half a row stands in.
    share = (observed * sizes + 0.5) / (sizes + 1)
    noise = np.sqrt(share * (1 - share) / sizes)
    ratio = gap / noise
    folded = noise * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + gap * (1 - 2 * ndtr(-ratio))
    return max(0.0, 2 * plain - float(np.dot(sizes, folded)) / float(sizes.sum()))


def _table(
    values: Floats, place: Codes, sizes: Floats, score: Floats, hits: npt.NDArray[Any], confidence: float
) -> tuple[ReliabilityBin, ...]:
    lowest, highest = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(lowest, place, values)
    np.maximum.at(highest, place, values)
    return tuple(
        ReliabilityBin(
            float(lowest[at]),
            float(highest[at]),
            int(sizes[at]),
            float(score[at]),
            float(hits[at] / sizes[at]),
            wilson_interval(float(hits[at]), float(sizes[at]), confidence=confidence),
        )
        for at in range(len(sizes))
    )


def _normal_quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
