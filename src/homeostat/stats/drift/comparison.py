"""Has a window drifted from its reference? Two profiles in, one decision with its reasons out.

Each feature has up to three dimensions of drift: its values, its missing share, and its share of categories never
seen before. Preset `classic` decides by the customary thresholds of single tests. Preset `calibrated` (the default)
lets a dimension drift only where its effect, after the sampling noise expected at these sizes is taken off, reaches a
threshold, and its p-value, adjusted over all dimensions of all features (Benjamini and Yekutieli 2001, valid however
the features depend on each other), is below a level: noise does not pass the second, nor a real but trifling change at
a million rows the first.

The level is .01 for a single comparison. Who compares window after window takes `level_of_checks(run_length)`: then
false alarms are at least `run_length` checks apart on average, however the checks depend on each other, and the
thousandth check has the same power as the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.measures import DIMENSIONS, Exact, Measures, measure
from homeostat.stats.drift.thresholds import DEFAULT, Table, Thresholds
from homeostat.stats.drift.words import advice_words, feature_words, window_words
from homeostat.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli
from homeostat.stats.profile.profile import Profile

Floats = npt.NDArray[np.float64]

PRESETS = ("calibrated", "classic")
SEVERITIES = ("none", "low", "medium", "high", "critical")

# Calibrated: a dimension drifts from these effects on; its strength is the effect as a multiple of them.
# A share of missing or unseen values counts from half the effect on that a change among the values needs.
EFFECTS = np.array([1.0, 0.5, 0.5])
STRENGTHS = (1.0, 2.0, 3.0, 5.0)
# Rows that a window and its reference need: `classic` has a customary number, `calibrated` what its tests need.
MINIMUM_ROWS = {"classic": 100, "calibrated": 30}
CONTROLS = ("by", "bh")
# Weight relative to the average feature from which a feature counts as one that the model depends on.
IMPORTANT = 0.5


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far one feature lies from its reference; a measure that does not apply to it is `None`.

    `js` is the Jensen–Shannon divergence in bits; `chi2` puts rare cells into one, except in classic. `p_adjusted` is
    the smallest adjusted p-value of its dimensions and `effect` the effect, from 0 to 1, of `dimension` (values,
    missing, unseen): the one that drifted most, or lies nearest to drifting. `rows` and `reference_rows` are those
    that hold a value; `part` is what differs most in a text; `importance` is relative to the average feature.
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
    rows: int
    reference_rows: int
    part: str | None
    importance: float | None
    words: str


@dataclass(frozen=True, slots=True)
class DriftComparison:
    """The decision on a window: its verdict, and every feature's drift.

    `strength` is the calibrated preset's measure of the whole: from 1 on the window is harmed. `level` is the adjusted
    p-value that a dimension must fall below; `advice` says whether the drift matters and what to do.
    """

    features: dict[str, FeatureDrift]
    verdict: str
    severity: str
    share_drifted: float
    strength: float
    rows: int
    reference_rows: int
    preset: str
    level: float
    words: str
    advice: str

    @property
    def drifted(self) -> bool:
        """Whether the window as a whole drifted."""
        return self.verdict == "harmed"


def level_of_checks(run_length: float) -> float:
    """The level of each of many checks at which false alarms are at least `run_length` checks apart on average.

    Whatever the checks have to do with each other, that no alarm came in t checks has a chance of at least
    1 − t · level, and those chances add up to a run of 1/(2 · level) checks; where checks are independent it is twice
    as long.

    >>> level_of_checks(20_000)
    2.5e-05
    """
    if not run_length >= 1:
        raise InvalidInput(f"A run length is a number of checks from 1 on; got {run_length}.")
    return 1 / (2 * run_length)


def compare_profiles(
    reference: Profile,
    current: Profile,
    *,
    preset: str = "calibrated",
    minimum_rows: int | None = None,
    importances: Mapping[str, float] | None = None,
    thresholds: Thresholds = DEFAULT,
    control: str = "by",
    exact: Exact | None = None,
    design_effect: float = 1.0,
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
        minimum_rows: rows that both must have (100 in classic, 30 in calibrated); in classic also the values that a
            numeric feature must have.
        importances: weight of each feature, of any scale; absent features count as 0.
        thresholds: what counts as drift; `significance` is the level.
        control: what holds over all dimensions of all features: "by" (Benjamini and Yekutieli 2001; any dependence) or
            "bh" (Benjamini and Hochberg 1995; independent or positively dependent features; a little more power).
        exact: distances of numeric features whose values were at hand, in place of those of bins.
        design_effect: by how much rows count for less than independent ones, from 1 on: with `k` rows of an entity and
            intraclass correlation ρ it is 1 + (k − 1)ρ (Kish 1965).

    Raises:
        InvalidInput: the profiles' features, edges or categories differ, an importance is negative or no number, or the
            preset or the control is unknown.

    >>> rng = np.random.default_rng(1)
    >>> reference = Profile.of({"x": rng.normal(size=2000)})
    >>> result = compare_profiles(reference, Profile.of({"x": rng.normal(1, 1, 500)}, like=reference))
    >>> result.verdict, result.features["x"].dimension, result.features["x"].severity
    ('harmed', 'values', 'high')
    """
    if preset not in PRESETS:
        raise InvalidInput(f"There is no preset '{preset}'. Take one of: {', '.join(PRESETS)}.")
    if control not in CONTROLS:
        raise InvalidInput(f"There is no control '{control}'. Take one of: {', '.join(CONTROLS)}.")
    minimum_rows = MINIMUM_ROWS[preset] if minimum_rows is None else minimum_rows
    measures = measure(reference, current, exact=exact, design_effect=design_effect)
    weights = _relative(measures.names, importances)
    enough = min(reference.rows, current.rows) >= max(1, minimum_rows)
    adjusted, strengths = drifting(measures.p, measures.effect, thresholds, control)
    if preset == "classic":
        severities = _classic(measures, minimum_rows, thresholds)
        dimension = np.zeros(len(measures.names), dtype=np.intp)
    else:
        severities = [_severity(strength) for strength in strengths.max(axis=-1, initial=0.0).tolist()]
        dimension = _deciding(measures, strengths, thresholds)
    if not enough:
        severities = ["none"] * len(severities)
    features = _features(
        measures,
        (reference, current),
        preset=preset,
        adjusted=adjusted,
        severities=severities,
        dimension=dimension,
        weights=None if importances is None else weights,
    )
    drifted = [feature for feature in features.values() if feature.drifted]
    share = len(drifted) / len(features) if features else 0.0
    strength = _overall(strengths, weights) if enough and preset == "calibrated" else 0.0
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
        level=thresholds.significance,
        words=_words(verdict, drifted, len(features), (reference.rows, current.rows), minimum_rows),
        advice=_advice(verdict, severity, drifted, weighed=importances is not None),
    )


def _words(verdict: str, drifted: list[FeatureDrift], features: int, rows: tuple[int, int], minimum_rows: int) -> str:
    worst = max(drifted, key=lambda feature: (SEVERITIES.index(feature.severity), feature.effect), default=None)
    return window_words(
        verdict,
        drifted=len(drifted),
        features=features,
        rows=rows[1],
        reference_rows=rows[0],
        minimum_rows=minimum_rows,
        worst=worst.words if worst else "",
    )


def _advice(verdict: str, severity: str, drifted: list[FeatureDrift], *, weighed: bool) -> str:
    ranked = sorted(drifted, key=lambda feature: -(feature.importance or 0.0))
    important = [feature.name for feature in ranked if not weighed or (feature.importance or 0.0) >= IMPORTANT]
    return advice_words(
        verdict,
        severity,
        important=important,
        unimportant=[feature.name for feature in ranked if feature.name not in important],
        weighed=weighed,
        pipeline=any(feature.dimension in ("missing", "unseen") for feature in drifted),
    )


def _verdict(reference_rows: int, rows: int, *, enough: bool, harmed: bool) -> str:
    if not reference_rows or not rows:
        return "no_data"
    if not enough:
        return "insufficient"
    return "harmed" if harmed else "healthy"


def drifting(p: Floats, effect: Floats, thresholds: Thresholds, control: str) -> tuple[Floats, Floats]:
    """By feature and dimension, what `calibrated` makes of p-values and effects: adjusted p-values and strengths.

    A strength is the effect as a multiple of its threshold, and 0 where the dimension did not drift.
    """
    tested = ~np.isnan(p)
    adjusted = np.full(p.shape, np.nan)
    adjusted[tested] = (benjamini_yekutieli if control == "by" else benjamini_hochberg)(p[tested])
    strengths = effect / (thresholds.effect * EFFECTS)
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


def _relative(names: list[str], importances: Mapping[str, float] | None) -> Floats:
    """The weight of each feature relative to the average one; all alike where nothing is known."""
    if importances is None or not names:
        return np.ones(len(names))
    given = np.array([float(importances.get(name, 0.0)) for name in names])
    if not np.isfinite(given).all() or (given < 0).any():
        wrong = next(name for name, value in zip(names, given, strict=True) if not (np.isfinite(value) and value >= 0))
        raise InvalidInput(f"An importance is a number from 0 on; that of '{wrong}' is {importances[wrong]}.")
    if not given.any():
        return np.ones(len(names))
    relative = given / given.sum() * len(names)
    # Equal weights must give exactly 1, which 1/3 · 3 and the like may miss by rounding.
    return np.where(np.abs(relative - 1) < 1e-9, 1.0, relative)


def _overall(strengths: Floats, weights: Floats) -> float:
    """The strength of the whole: the strongest feature or the weighted mean, whichever is more."""
    if not len(weights):
        return 0.0
    strongest = strengths.max(axis=-1)
    return float(max((strongest * np.minimum(1.0, weights)).max(), (strongest * weights).mean()))


def _features(
    measures: Measures,
    profiles: tuple[Profile, Profile],
    *,
    preset: str,
    adjusted: Floats,
    severities: list[str],
    dimension: npt.NDArray[np.intp],
    weights: Floats | None,
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
            words = feature_words(
                name,
                DIMENSIONS[chosen],
                profiles[0].features[name],
                profiles[1].features[name],
                gone=gone,
                distance=distance,
                index=index,
                part=measures.parts.get(name),
                boolean=name in profiles[0].booleans,
            )
        features[name] = FeatureDrift(
            name=name,
            kind=profiles[0].kind(name).value,
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
            rows=profiles[1].features[name].count,
            reference_rows=profiles[0].features[name].count,
            part=measures.parts.get(name),
            importance=None if weights is None else float(weights[i]),
            words=words,
        )
    return features


def _optional(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 # NaN differs from itself
