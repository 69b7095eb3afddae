"""Drift over time by feature, and what the newest look found of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homeostat.dashboard.condition import JUDGED
from homeostat.dashboard.facts import ModelFacts
from homeostat.dashboard.words import sound
from homeostat.records import Finding, Policy
from homeostat.reports.format import number
from homeostat.reports.story import DriftMap

# As many as a phone can show, so that both sizes share their columns.
MOST_COLUMNS = 32
MOST_FEATURES = 12
MOST_ROWS = 15
FEATURE_LETTERS = 40


def drift_map(facts: ModelFacts) -> DriftMap | None:
    """Effects of the features that drifted most, at up to 32 looks; `None` where no look was judged."""
    looks = gathered([finding for finding in facts.findings if finding.check == "drift" and finding.verdict in JUDGED])
    if not looks:
        return None
    cells = [_features(look) for look in looks]
    largest: dict[str, float] = {}
    for look in cells:
        for name, measured in look.items():
            largest[name] = max(largest.get(name, -1.0), _effect(measured) or 0.0)
    names = sorted(largest, key=lambda name: -largest[name])[:MOST_FEATURES]
    if not names:
        return None
    return DriftMap(
        features=tuple(sound(name, FEATURE_LETTERS) for name in names),
        times=tuple(look.at for look in looks),
        values=tuple(tuple(_effect(look.get(name, {})) for look in cells) for name in names),
        threshold=effect_threshold(facts),
        drifted=tuple(tuple(bool(look.get(name, {}).get("drifted")) for look in cells) for name in names),
    )


def gathered(looks: Sequence[Finding]) -> list[Finding]:
    """At most 32 looks in order of time: the worst of each stretch, and the newest one."""
    ordered = sorted(looks, key=lambda look: look.at)
    if len(ordered) <= MOST_COLUMNS:
        return ordered
    parts = np.array_split(np.arange(len(ordered) - 1), MOST_COLUMNS - 1)
    return [*(max((ordered[int(index)] for index in part), key=_badness) for part in parts), ordered[-1]]


def _badness(look: Finding) -> tuple[int, float]:
    return look.severity.rank, look.statistic or 0.0


def effect_threshold(facts: ModelFacts) -> float:
    """The effect from which a feature may count as drifted."""
    return (facts.policy or Policy()).drift.effect


def feature_count(facts: ModelFacts) -> int:
    """How many features the newest judged look was at."""
    looks = [finding for finding in facts.findings if finding.check == "drift" and finding.verdict in JUDGED]
    return len(_features(max(looks, key=lambda look: look.at))) if looks else 0


def _features(look: Finding) -> dict[str, dict[str, Any]]:
    features = look.evidence.get("features")
    if not isinstance(features, dict):
        return {}
    return {str(name): measured for name, measured in features.items() if isinstance(measured, dict)}


def _effect(measured: dict[str, Any]) -> float | None:
    effect = measured.get("effect")
    return float(effect) if isinstance(effect, int | float) else None


@dataclass(frozen=True)
class FeatureRow:
    """What the newest look found of a feature."""

    name: str
    verdict: str
    words: str
    effect: str
    measures: str


def feature_rows(finding: Finding | None, most: int = MOST_ROWS) -> list[FeatureRow]:
    """The features of a look, those that drifted and those with the largest effects first."""
    if finding is None or finding.verdict not in JUDGED:
        return []
    ranked = sorted(
        _features(finding).items(),
        key=lambda item: (not item[1].get("drifted"), -(_effect(item[1]) or 0.0)),
    )
    return [
        FeatureRow(
            name=sound(name, FEATURE_LETTERS),
            verdict="harmed" if measured.get("drifted") else "healthy",
            words=_words(measured),
            effect=number(_effect(measured), 2),
            measures=_measures(measured),
        )
        for name, measured in ranked[:most]
    ]


def _words(measured: dict[str, Any]) -> str:
    if not measured.get("drifted"):
        return "as the reference"
    part = {"missing": "more or fewer are missing", "unseen": "values never seen before"}.get(
        str(measured.get("dimension")), "other values"
    )
    return f"drifted, {sound(str(measured.get('severity', '')), 20)}: {part}"


def _measures(measured: dict[str, Any]) -> str:
    """The measures that apply to the feature, with their p-value over all features."""
    names = {"ks": "KS", "psi": "PSI", "js": "JS", "chi_square": "χ²", "p_adjusted": "adjusted p"}
    return ", ".join(
        f"{words} {number(float(measured[name]), 2)}"
        for name, words in names.items()
        if isinstance(measured.get(name), int | float)
    )
