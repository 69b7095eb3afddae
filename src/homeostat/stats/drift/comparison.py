"""Has a window drifted from its reference? Two profiles in, one decision with its reasons out.

Each feature has up to three dimensions of drift: its values, its missing share, and its share of categories never
seen before. Preset `classic` decides by the customary thresholds of single tests. Preset `calibrated` (the default)
lets a dimension drift only where its effect, after the sampling noise expected at these sizes is taken off, reaches a
threshold, and its p-value, adjusted over all dimensions of all features, is below .01: noise does not pass the
second, nor a real but trifling change at a million rows the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.measures import DIMENSIONS, Measures, measure
from homeostat.stats.drift.thresholds import DEFAULT, Table, Thresholds
from homeostat.stats.multiplicity import benjamini_hochberg
from homeostat.stats.profile import CategoricalSummary, NumericSummary, Profile, Summary

Floats = npt.NDArray[np.float64]

PRESETS = ("calibrated", "classic")
SEVERITIES = ("none", "low", "medium", "high", "critical")

# Calibrated: a dimension drifts from these effects on; its strength is the effect as a multiple of them.
# A share of missing or unseen values counts from half the effect on that a change among the values needs.
EFFECTS = np.array([1.0, 0.5, 0.5])
STRENGTHS = (1.0, 2.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far one feature lies from its reference; a measure that does not apply to it is `None`.

    `js` is the Jensen–Shannon divergence in bits; `chi2` puts rare cells into one, except in classic. `p_adjusted` is
    the smallest adjusted p-value of its dimensions and `effect` the effect, from 0 to 1, of `dimension` (values,
    missing, unseen): the one that drifted most, or lies nearest to drifting.
    """

    name: str
    kind: str
    dimension: str
    drifted: bool
    severity: str
    effect: float
    p_adjusted: float | None
    ks: float | None
    ks_p: float | None
    psi: float | None
    psi_adjusted: float | None
    js: float | None
    chi2: float | None
    chi2_p: float | None
    missing_reference: float
    missing_current: float
    missing_p: float
    unseen: float | None
    words: str


@dataclass(frozen=True, slots=True)
class DriftComparison:
    """The decision on a window: its verdict, and every feature's drift.

    `strength` is the calibrated preset's measure of the whole: from 1 on the window is harmed.
    """

    features: dict[str, FeatureDrift]
    verdict: str
    severity: str
    share_drifted: float
    strength: float
    rows: int
    reference_rows: int
    preset: str
    words: str

    @property
    def drifted(self) -> bool:
        """Whether the window as a whole drifted."""
        return self.verdict == "harmed"


def compare_profiles(
    reference: Profile,
    current: Profile,
    *,
    preset: str = "calibrated",
    minimum_rows: int = 100,
    importances: Mapping[str, float] | None = None,
    thresholds: Thresholds = DEFAULT,
) -> DriftComparison:
    """Compare a window's profile, made with `like=reference`, with that reference.

    The verdict is `no_data` where either has no rows, `insufficient` below `minimum_rows`, and then nothing counts as
    drifted; else `harmed` or `healthy`. Classic is harmed where more than 30 % of the features drifted. Calibrated
    weighs each drifted feature by its importance relative to the average one, at most once: a single feature of
    average importance suffices, and any number of unimportant ones does not.

    Args:
        reference: what the version was trained and validated on.
        current: the window.
        preset: "calibrated" or "classic".
        minimum_rows: rows that both must have; in classic also the values that a numeric feature must have.
        importances: weight of each feature, of any scale; negative ones and absent features count as 0.
        thresholds: what counts as drift.

    Raises:
        InvalidInput: the profiles' features, edges or categories differ, or the preset is unknown.

    >>> rng = np.random.default_rng(1)
    >>> reference = Profile.of({"x": rng.normal(size=2000)})
    >>> result = compare_profiles(reference, Profile.of({"x": rng.normal(1, 1, 500)}, like=reference))
    >>> result.verdict, result.features["x"].dimension, result.features["x"].severity
    ('harmed', 'values', 'high')
    """
    if preset not in PRESETS:
        raise InvalidInput(f"There is no preset '{preset}'. Take one of: {', '.join(PRESETS)}.")
    measures = measure(reference, current)
    enough = min(reference.rows, current.rows) >= max(1, minimum_rows)
    adjusted, strengths = _calibrated(measures, thresholds)
    if preset == "classic":
        severities = _classic(measures, minimum_rows, thresholds)
        dimension = np.zeros(len(measures.names), dtype=np.intp)
    else:
        severities = [_severity(strength) for strength in strengths.max(axis=-1, initial=0.0).tolist()]
        dimension = _deciding(measures, strengths, thresholds)
    if not enough:
        severities = ["none"] * len(severities)
    features = _features(
        measures, (reference, current), preset=preset, adjusted=adjusted, severities=severities, dimension=dimension
    )
    drifted = [feature for feature in features.values() if feature.drifted]
    share = len(drifted) / len(features) if features else 0.0
    strength = _overall(measures.names, strengths, importances) if enough and preset == "calibrated" else 0.0
    harmed = share > thresholds.share if preset == "classic" else strength >= 1
    severity = "none"
    if harmed:
        worst = max((feature.severity for feature in drifted), key=SEVERITIES.index)
        severity = worst if preset == "classic" else _severity(strength)
    verdict = _verdict(reference.rows, current.rows, enough=enough, harmed=harmed)
    return DriftComparison(
        features=features,
        verdict=verdict,
        severity=severity,
        share_drifted=share,
        strength=strength,
        rows=current.rows,
        reference_rows=reference.rows,
        preset=preset,
        words=_summary(verdict, drifted, len(features), current.rows, minimum_rows),
    )


def _verdict(reference_rows: int, rows: int, *, enough: bool, harmed: bool) -> str:
    if not reference_rows or not rows:
        return "no_data"
    if not enough:
        return "insufficient"
    return "harmed" if harmed else "healthy"


def _calibrated(measures: Measures, thresholds: Thresholds) -> tuple[Floats, Floats]:
    """By feature and dimension: the adjusted p-values, and the strengths (0 where it did not drift)."""
    tested = ~np.isnan(measures.p)
    adjusted = np.full(measures.p.shape, np.nan)
    adjusted[tested] = benjamini_hochberg(measures.p[tested])
    strengths = measures.effect / (thresholds.effect * EFFECTS)
    return adjusted, np.where(tested & (adjusted < thresholds.significance) & (strengths >= 1), strengths, 0.0)


def _deciding(measures: Measures, strengths: Floats, thresholds: Thresholds) -> npt.NDArray[np.intp]:
    """The dimension of each feature that drifted most, or lies nearest to drifting."""
    drifted = strengths.max(axis=-1, initial=0.0) > 0
    nearest = np.where(drifted[:, None], strengths, measures.effect / (thresholds.effect * EFFECTS))
    return np.asarray(nearest.argmax(axis=-1), dtype=np.intp)


def _classic(measures: Measures, minimum_rows: int, thresholds: Thresholds) -> list[str]:
    """Severities where any test decides and the most severe wins; values that are missing do not count."""
    severities = []
    columns = zip(
        measures.numeric.tolist(),
        (measures.present >= minimum_rows).tolist(),
        measures.ks_p.tolist(),
        measures.psi.tolist(),
        measures.js.tolist(),
        measures.plain_chi2_p.tolist(),
        strict=True,
    )
    for numeric, enough, ks_p, psi, js, chi2_p in columns:
        found = [_above(psi, thresholds.psi), _above(js, thresholds.js)]
        if not numeric:
            found.append(_below(chi2_p, thresholds.chi_square))
        elif enough:
            found.append(_below(ks_p, thresholds.ks))
        severities.append(max(found, key=SEVERITIES.index))
    return severities


def _below(value: float, table: Table) -> str:
    return next((severity for bound, severity in table if value < bound), "none")


def _above(value: float, table: Table) -> str:
    return next((severity for bound, severity in table if value >= bound), "none")


def _severity(strength: float) -> str:
    return SEVERITIES[sum(strength >= bound for bound in STRENGTHS)]


def _overall(names: list[str], strengths: Floats, importances: Mapping[str, float] | None) -> float:
    """The strength of the whole: the strongest feature or the weighted mean, whichever is more."""
    if not names:
        return 0.0
    strongest = strengths.max(axis=-1)
    weights = np.ones(len(names))
    if importances is not None:
        given = np.array([max(0.0, float(importances.get(name, 0.0))) for name in names])
        if given.sum() > 0 and np.isfinite(given).all():
            weights = given
    weights = weights / weights.sum()
    relative = np.minimum(1.0, weights * len(names))
    # Equal weights must give exactly 1, which 1/3 · 3 and the like may miss by rounding.
    relative = np.where(relative > 1 - 1e-9, 1.0, relative)
    return float(max((strongest * relative).max(), (strongest * weights).sum()))


def _features(
    measures: Measures,
    profiles: tuple[Profile, Profile],
    *,
    preset: str,
    adjusted: Floats,
    severities: list[str],
    dimension: npt.NDArray[np.intp],
) -> dict[str, FeatureDrift]:
    plain = "plain_" if preset == "classic" else ""
    columns = {key: _optional(getattr(measures, key)) for key in ("ks", "ks_p", "psi", "psi_adjusted", "js", "unseen")}
    columns |= {key: _optional(getattr(measures, plain + key)) for key in ("chi2", "chi2_p")}
    columns["p"] = _optional(np.fmin.reduce(adjusted, axis=-1))
    features: dict[str, FeatureDrift] = {}
    for i, name in enumerate(measures.names):
        severity, chosen = severities[i], int(dimension[i])
        gone = (float(measures.missing_reference[i]), float(measures.missing_current[i]))
        distance, index = columns["ks"][i], columns["psi"][i]
        words = f"'{name}' shows no drift."
        if severity != "none":
            both = (profiles[0].features[name], profiles[1].features[name])
            words = _sentence(name, DIMENSIONS[chosen], both, gone=gone, distance=distance, index=index)
        features[name] = FeatureDrift(
            name=name,
            kind="numeric" if measures.numeric[i] else "categorical",
            dimension=DIMENSIONS[chosen],
            drifted=severity != "none",
            severity=severity,
            effect=float(measures.effect[i, chosen]),
            p_adjusted=columns["p"][i],
            ks=distance,
            ks_p=columns["ks_p"][i],
            psi=index,
            psi_adjusted=columns["psi_adjusted"][i],
            js=columns["js"][i],
            chi2=columns["chi2"][i],
            chi2_p=columns["chi2_p"][i],
            missing_reference=gone[0],
            missing_current=gone[1],
            missing_p=float(measures.missing_p[i]),
            unseen=columns["unseen"][i],
            words=words,
        )
    return features


def _optional(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 # NaN differs from itself


def _sentence(
    name: str,
    dimension: str,
    both: tuple[Summary, Summary],
    *,
    gone: tuple[float, float],
    distance: float | None,
    index: float | None,
) -> str:
    """What happened to a feature, in a sentence."""
    before, after = both
    if dimension == "missing":
        return f"'{name}' is missing or infinite in {gone[1]:.1%} of rows; in the reference in {gone[0]:.1%}."
    if isinstance(before, NumericSummary) and isinstance(after, NumericSummary):
        return (
            f"'{name}' has moved: mean {before.mean:.4g} → {after.mean:.4g}, "
            f"standard deviation {before.deviation:.4g} → {after.deviation:.4g} "
            f"(KS distance {distance or 0.0:.2f}, PSI {index or 0.0:.2f})."
        )
    if not isinstance(before, CategoricalSummary) or not isinstance(after, CategoricalSummary):
        raise InvalidInput(f"Feature '{name}' is numeric in one profile and categorical in the other.")
    if dimension == "unseen":
        return f"'{name}' holds categories that the reference never had in {after.unseen / after.count:.1%} of rows."
    return f"'{name}' has other shares of categories: {_most_changed(before, after)} (PSI {index or 0.0:.2f})."


def _most_changed(before: CategoricalSummary, after: CategoricalSummary) -> str:
    old = np.append(before.counts, (before.other, before.unseen)) / before.count
    new = np.append(after.counts, (after.other, after.unseen)) / after.count
    i = int(np.argmax(np.abs(new - old)))
    names = (*before.categories, "other categories", "new categories")
    return f"{names[i]} {old[i]:.1%} → {new[i]:.1%}"


def _summary(verdict: str, drifted: list[FeatureDrift], features: int, rows: int, minimum_rows: int) -> str:
    if verdict == "no_data":
        return "There are no rows to compare."
    if verdict == "insufficient":
        return f"{rows} rows are too few to tell; at least {minimum_rows} are needed in window and reference."
    if not drifted:
        return f"None of {features} features drifted over {rows} rows."
    worst = max(drifted, key=lambda feature: (SEVERITIES.index(feature.severity), feature.effect))
    outcome = "the window drifted" if verdict == "harmed" else "too little to call the window drifted"
    return f"{len(drifted)} of {features} features drifted over {rows} rows, {outcome}. Worst: {worst.words}"
