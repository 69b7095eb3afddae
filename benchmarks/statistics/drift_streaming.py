"""How often a model without drift is alarmed about over a long history of checks, and what a change is worth then."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from benchmarks.statistics.section import Plot, Section, Table
from scipy.signal import lfilter

from homeostat.stats.drift.comparison import drifting, level_of_checks
from homeostat.stats.drift.measures import measure
from homeostat.stats.drift.seasonal import DAY, SeasonalReference
from homeostat.stats.drift.thresholds import Thresholds
from homeostat.stats.profile import NumericSummary, Profile
from homeostat.stats.profile.numeric import numeric_like

RUN_LENGTH = 20_000
FEATURES = 5
WINDOW = 500
KINDS = ("independent rows", "AR(1) of .9", "daily cycle")


def values(kind: str, rng: np.random.Generator, shape: tuple[int, int], times: np.ndarray) -> np.ndarray:
    """One feature of windows of rows (shape: windows, rows)."""
    noise = rng.normal(size=shape)
    if kind == "AR(1) of .9":
        start = rng.normal(size=(shape[0], 1))
        return lfilter([math.sqrt(1 - 0.81)], [1, -0.9], noise, zi=0.9 * start, axis=1)[0]
    if kind == "daily cycle":
        return noise + np.sin(2 * np.pi * times / DAY)
    return noise


def smallest_p(
    kind: str,
    *,
    checks: int,
    rng: np.random.Generator,
    level: float,
    design_effect: float = 1.0,
    seasonal: bool = False,
    reference_rows: int = 4_000,
    shift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """One history: of each check the smallest adjusted p-value, and whether it alarmed; `shift` moves one feature."""
    reference_times = rng.uniform(0, 30 * DAY, reference_rows)
    if kind == "AR(1) of .9":
        reference_times = np.sort(reference_times)
    columns = {f"f{i}": values(kind, rng, (1, reference_rows), reference_times[None])[0] for i in range(FEATURES)}
    phases = SeasonalReference.of(columns, reference_times) if seasonal else None
    reference = Profile.of(columns, sample=0) if phases is None else phases.whole
    # Windows of five minutes, one after the other.
    times = 300.0 * (np.arange(checks)[:, None] + np.linspace(0, 1, WINDOW, endpoint=False)[None])
    found: dict[str, NumericSummary] = {}
    for i in range(FEATURES):
        rows = values(kind, rng, (checks, WINDOW), times) + (shift if i == 0 else 0.0)
        summary = reference.features[f"f{i}"]
        assert isinstance(summary, NumericSummary)
        places = summary.edges.searchsorted(rows) + (len(summary.edges) + 1) * np.arange(checks)[:, None]
        counts = np.bincount(places.ravel(), minlength=checks * (len(summary.edges) + 1)).reshape(checks, -1)
        one, _ = numeric_like(rows[0], summary.edges)
        for check in range(checks):
            found[f"{check} f{i}"] = replace(one, counts=counts[check], count=WINDOW)
    against = {}
    for check in range(checks):
        matched = reference if phases is None else phases.matching(times[check])
        for i in range(FEATURES):
            against[f"{check} f{i}"] = matched.features[f"f{i}"]
    names = [f"{check} f{i}" for check in range(checks) for i in range(FEATURES)]
    before = Profile(
        reference_rows if phases is None else reference_rows // 24, {name: against[name] for name in names}
    )
    after = Profile(WINDOW, {name: found[name] for name in names})
    measures = measure(before, after, design_effect=design_effect)
    p, effect = (array.reshape(checks, FEATURES, -1) for array in (measures.p, measures.effect))
    smallest, alarmed = np.ones(checks), np.zeros(checks, dtype=bool)
    for check in range(checks):
        adjusted, strengths = drifting(p[check], effect[check], Thresholds(significance=level), "by")
        smallest[check] = np.nanmin(adjusted)
        alarmed[check] = bool((strengths > 0).any())
    return smallest, alarmed


def run(*, quick: bool) -> Section:
    rng = np.random.default_rng(5)
    checks, level = 1_000, level_of_checks(RUN_LENGTH)
    cells, cumulative = [], {}
    cases = [
        ("independent rows", 1.0, False, 4 if quick else 60),
        ("AR(1) of .9", 1.0, False, 1 if quick else 3),
        ("AR(1) of .9", 19.0, False, 2 if quick else 15),
        ("daily cycle", 1.0, False, 1 if quick else 2),
        ("daily cycle", 1.0, True, 2 if quick else 8),
    ]
    for kind, design_effect, seasonal, histories in cases:
        drawn = [
            smallest_p(
                kind,
                checks=checks,
                rng=rng,
                level=level,
                design_effect=design_effect,
                seasonal=seasonal,
                reference_rows=24_000 if kind == "daily cycle" else 4_000,
            )
            for _ in range(histories)
        ]
        p, alarms = np.stack([one[0] for one in drawn]), np.stack([one[1] for one in drawn])
        remedy = (
            "seasonal reference" if seasonal else f"design effect {design_effect:g}" if design_effect > 1 else "none"
        )
        cells.append(
            [
                kind,
                remedy,
                f"{alarms.any(axis=1).sum()} of {histories}",
                f"{alarms.mean():.2%}",
                *(f"{(p < bound).mean():.2e}" for bound in (1e-2, 1e-3, level)),
            ]
        )
        cumulative[kind if remedy == "none" else f"{kind}, {remedy}"] = (
            list(range(1, checks + 1, 20)),
            (np.maximum.accumulate(alarms, axis=1).mean(axis=0)[::20]).tolist(),
        )
    power = []
    for shift in (0.2, 0.3, 0.4, 0.6):
        alarms = np.stack(
            [
                smallest_p("independent rows", checks=50, rng=rng, level=level, shift=shift)[1]
                for _ in range(2 if quick else 10)
            ]
        )
        power.append([f"{shift:g} sd", f"{alarms[:, 0::2].mean():.0%}", f"{alarms[:, 1::2].mean():.0%}"])
    return Section(
        "False alarms over a long history",
        f"{FEATURES} normal features, windows of {WINDOW} rows, {checks:,} checks a history, level {level:.1e} for a "
        f"run length of {RUN_LENGTH:,} checks; each history has a reference of its own. An alarm needs effect and "
        "significance; the last columns show the adjusted p-values alone. Rows that follow each other closely (AR(1)) "
        "and cycles break the assumption of independent rows: then a design effect of (1 + .9) / (1 − .9) = 19, or a "
        "seasonal reference, brings the rate back. The level is the same at every check, so the power at the "
        "thousandth is that of the first; odd and even checks are shown as a control.",
        [
            Table(
                [
                    "rows",
                    "remedy",
                    "histories alarmed",
                    "checks alarmed",
                    "p < .01",
                    "p < .001",
                    "p < level",
                ],
                cells,
            ),
            Table(["shift of one feature", "alarmed, odd checks", "even checks"], power, "Power:"),
        ],
        [
            Plot(
                "drift-streaming",
                "Share of histories with an alarm so far",
                "checks",
                "share",
                cumulative,
                {"5 %": 0.05},
            )
        ],
    )
