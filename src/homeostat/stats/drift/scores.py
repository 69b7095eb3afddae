"""Drift of a model's scores: one sample of predictions against another, from the values themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift import psi
from homeostat.stats.drift.comparison import PRESETS, SEVERITIES, STRENGTHS
from homeostat.stats.drift.ks import ks
from homeostat.stats.drift.thresholds import DEFAULT, Thresholds
from homeostat.stats.profile import NumericSummary, Profile


@dataclass(frozen=True, slots=True)
class ScoreDrift:
    """How far scores lie from their reference; the measures are `None` where a side has no score.

    `mean_shift` is current minus reference; `relative_shift` is that over the reference's mean, `None` where it is 0.
    """

    verdict: str
    severity: str
    effect: float
    ks: float | None
    ks_p: float | None
    psi: float | None
    psi_adjusted: float | None
    mean_reference: float | None
    mean_current: float | None
    mean_shift: float | None
    relative_shift: float | None
    rows: int
    reference_rows: int
    preset: str
    words: str

    @property
    def drifted(self) -> bool:
        """Whether the scores drifted."""
        return self.verdict == "harmed"


def compare_scores(
    reference_scores: npt.NDArray[Any],
    current_scores: npt.NDArray[Any],
    *,
    preset: str = "calibrated",
    minimum_rows: int = 100,
    thresholds: Thresholds = DEFAULT,
) -> ScoreDrift:
    """Compare the scores (or predicted values) of a window with those of the reference; NaN and infinity are left out.

    Calibrated: harmed where the KS distance, less what sampling makes of it, is at least .1 and its p below .01.
    Classic: harmed where KS p < .05 or the mean shifted by more than 20 % of the reference's.

    Raises:
        InvalidInput: the preset is unknown, or the arrays do not hold numbers.

    >>> compare_scores(np.linspace(0, 1, 500), np.linspace(0.4, 1, 300)).verdict
    'harmed'
    """
    if preset not in PRESETS:
        raise InvalidInput(f"There is no preset '{preset}'. Take one of: {', '.join(PRESETS)}.")
    before, after = _finite(reference_scores), _finite(current_scores)
    n, m = len(before), len(after)
    if not n or not m:
        nothing = (None,) * 8
        return ScoreDrift("no_data", "none", 0.0, *nothing, m, n, preset, "There are no scores to compare.")
    result = ks(before, after)
    summary = Profile.of({"score": before}).features["score"]
    window = Profile.of({"score": after}, like=Profile(n, {"score": summary})).features["score"]
    if not isinstance(summary, NumericSummary) or not isinstance(window, NumericSummary):
        raise InvalidInput("Scores must be numbers.")
    group = psi.quantile_groups(summary.counts)
    old, new = psi.grouped(summary.counts, group), psi.grouped(window.counts, group)
    shift = window.mean - summary.mean
    relative = shift / abs(summary.mean) if summary.mean else None
    effect = max(0.0, result.statistic**2 - np.pi**2 / 12 * (1 / n + 1 / m)) ** 0.5
    if preset == "classic":
        severity = next((name for bound, name in thresholds.ks if result.p < bound), "none")
        if severity == "none" and relative is not None and abs(relative) > thresholds.mean_shift:
            severity = "medium"
    else:
        strength = effect / thresholds.effect if result.p < thresholds.significance else 0.0
        severity = SEVERITIES[sum(strength >= bound for bound in STRENGTHS)]
    verdict = "healthy" if severity == "none" else "harmed"
    if min(n, m) < minimum_rows:
        verdict, severity = "insufficient", "none"
    words = (
        f"The mean score went from {summary.mean:.4g} to {window.mean:.4g} over {m} rows "
        f"(KS distance {result.statistic:.2f}, p = {result.p:.2g})."
    )
    return ScoreDrift(
        verdict,
        severity,
        effect,
        result.statistic,
        result.p,
        psi.psi(old, new),
        psi.psi_adjusted(old, new),
        summary.mean,
        window.mean,
        shift,
        relative,
        m,
        n,
        preset,
        words,
    )


def _finite(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    try:
        values = np.asarray(scores, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"Scores must be numbers: {error}.") from error
    return values[np.isfinite(values)]
