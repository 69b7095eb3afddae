"""One anomaly as a result, the thresholds, and how an effect and its p-value become a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.multiplicity import holm

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Verdict = Literal["no_data", "insufficient", "healthy", "harmed"]
Severity = Literal["none", "low", "medium", "high", "critical"]
Preset = Literal["calibrated", "classic"]

SEVERITIES: tuple[Severity, ...] = ("none", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class PredictionThresholds:
    """Those of the calibrated preset first: `significance` and effects, then those of the classic one.

    `effect` is Cohen's: h of shares, d of means; `rate_factor` multiplies a rate.
    """

    significance: float = 0.01
    effect: float = 0.2
    rate_factor: float = 3.0
    outlier_sd: float = 3.0
    near_half: float = 0.1
    min_rows: int = 100
    classic_share_factor: float = 4.0
    classic_share_shift: float = 0.15
    classic_rate_factor: float = 10.0
    classic_collapse_share: float = 0.5
    classic_mean_shift: float = 0.2
    classic_p: float = 0.05

    def __post_init__(self) -> None:
        for name in ("significance", "classic_p", "near_half"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidInput(f"The threshold {name} must lie between 0 and 1; got {getattr(self, name)}.")
        for name in ("effect", "outlier_sd", "min_rows", "classic_mean_shift", "classic_share_shift"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"The threshold {name} must be above 0; got {getattr(self, name)}.")
        for name in ("rate_factor", "classic_share_factor", "classic_rate_factor"):
            if not getattr(self, name) > 1:
                raise InvalidInput(f"The threshold {name} must be above 1; got {getattr(self, name)}.")


DEFAULT = PredictionThresholds()


@dataclass(frozen=True, slots=True)
class PredictionAnomaly:
    """One way in which predictions can go wrong, and whether they did.

    `estimate` and `interval` are in the unit that `sentence` names; `effect` is the estimate as a multiple of what the
    preset calls too much, so 1 and above is large enough. `p` is that of this check by itself, `p_adjusted` allows for
    all checks of the window. Severity is "none" unless the verdict is "harmed".
    """

    name: str
    verdict: Verdict
    severity: Severity
    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    p_adjusted: float
    effect: float
    n: int
    n_reference: int
    sentence: str


def missing(name: str, n: int, n_reference: int, needed: str, *, nothing: bool) -> PredictionAnomaly:
    """A check that can't be made; `nothing` tells no data at all from too few."""
    nan = math.nan
    verdict: Verdict = "no_data" if nothing else "insufficient"
    return PredictionAnomaly(
        name, verdict, "none", nan, (-math.inf, math.inf), nan, nan, nan, nan, n, n_reference, needed
    )


def judged(
    name: str,
    preset: str,
    *,
    estimate: float,
    interval: tuple[float, float],
    statistic: float,
    p: float,
    effect: float,
    classic: tuple[bool, Severity],
    n: int,
    n_reference: int,
    sentence: str,
    thresholds: PredictionThresholds,
) -> PredictionAnomaly:
    """The verdict of one check by itself; `classic` is what the customary threshold says, and how severe that is."""
    check_preset(preset)
    harmed = classic[0] if preset == "classic" else p < thresholds.significance and effect >= 1
    severity = (classic[1] if preset == "classic" else graded(effect)) if harmed else "none"
    return PredictionAnomaly(
        name=name,
        verdict="harmed" if harmed else "healthy",
        severity=severity,
        estimate=estimate,
        interval=interval,
        statistic=statistic,
        p=p,
        p_adjusted=p,
        effect=effect,
        n=n,
        n_reference=n_reference,
        sentence=sentence,
    )


def graded(effect: float) -> Severity:
    """Severity by the effect in multiples of its threshold: low from 1, medium from 2, high from 3, critical from 5."""
    return SEVERITIES[sum(effect >= bound for bound in (1, 2, 3, 5))]


def adjusted(results: list[PredictionAnomaly], preset: str, significance: float) -> tuple[PredictionAnomaly, ...]:
    """All checks of one window with Holm's p-values (1979), which hold whatever the checks have to do with each other.

    In the calibrated preset the verdict is taken again with them; the classic one decides each check by itself.
    """
    known = np.array([result.p for result in results if not math.isnan(result.p)], dtype=np.float64)
    values = iter(holm(known).tolist())
    found = []
    for result in results:
        if math.isnan(result.p):
            found.append(result)
            continue
        p = next(values)
        again = replace(result, p_adjusted=p)
        if preset == "calibrated" and result.verdict == "harmed" and p >= significance:
            again = replace(again, verdict="healthy", severity="none")
        found.append(again)
    return tuple(found)


def check_preset(preset: str) -> None:
    """Refuse a preset that does not exist."""
    if preset not in ("calibrated", "classic"):
        raise InvalidInput(f"The preset must be 'calibrated' or 'classic'; got '{preset}'.")


def numbers(values: Array, name: str) -> Floats:
    """A 1-d array of floats; NaN and infinities stay."""
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "biuf":
        raise InvalidInput(f"The {name} must be a 1-d array of numbers; got {found.ndim}-d {found.dtype}.")
    return found.astype(np.float64)


@dataclass(frozen=True, slots=True)
class ShareChange:
    """How a share changed: difference, Newcombe's interval, z, p and Cohen's h, signed."""

    difference: float
    interval: tuple[float, float]
    z: float
    p: float
    h: float


def share_change(before: int, n: int, after: int, m: int, *, confidence: float = 0.95) -> ShareChange:
    """The change of a share between independent rows: `before` of `n`, then `after` of `m`.

    The p-value is that of the pooled z-test where ten rows are expected in every cell, else Fisher's conditional test
    bounded by the binomial distribution, which also holds for a handful.
    """
    from homeostat.stats.drift.shares import share_p
    from homeostat.stats.inference import two_proportions

    result = two_proportions(before, n, after, m, confidence=confidence)
    pooled = (before + after) / (n + m)
    plenty = min(n, m) * min(pooled, 1 - pooled) >= 10
    p = result.p if plenty else float(share_p(before, n, after, m))
    h = 2 * (math.asin(math.sqrt(after / m)) - math.asin(math.sqrt(before / n)))
    return ShareChange(result.estimate, result.interval, result.statistic, p, h)
