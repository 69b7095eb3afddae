"""Seeded stories for the report's tests: ordinary ones and extreme ones."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from homeostat.reports.story import (
    DriftMap,
    EvidenceTrack,
    Mark,
    Story,
    StrategyResult,
    Traffic,
    VersionLine,
    WindowRow,
)

START = datetime(2024, 1, 3, tzinfo=UTC)
SUBTITLE = (
    "Two shifts in the data, in April and in September, cost the unattended model 17 points. Homeostat noticed both, "
    "retrained, proved the new version on live rows and took back one that was worse."
)
HOSTILE = "</script><script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}"


def smooth(rng: np.random.Generator, count: int, scale: float) -> np.ndarray:
    steps = rng.normal(0.0, 1.0, count + 40)
    return np.convolve(steps, np.ones(40) / 40, mode="same")[20 : 20 + count] * scale


def times_of(count: int, days: float) -> tuple[datetime, ...]:
    return tuple(START + timedelta(days=days * index / max(1, count - 1)) for index in range(count))


def blocks_of(series: np.ndarray) -> tuple[float | None, ...]:
    parts = np.array_split(series, 10)
    return tuple(float(np.nanmean(part)) if np.isfinite(part).any() else None for part in parts)


def strategy(name: str, series: np.ndarray, metric: str) -> StrategyResult:
    score = float(np.nanmean(series))
    scores = {"accuracy": score, "f1_macro": score - 0.021} if metric == "accuracy" else {"mae": score}
    values = tuple(None if math.isnan(value) else float(value) for value in series)
    return StrategyResult(name, scores, blocks_of(series), values)


def year_story(seed: int = 7, *, points: int = 400, days: float = 366.0) -> Story:
    """A year of a classifier: two drifts, three promotions and a rollback."""
    rng = np.random.default_rng(seed)
    times = times_of(points, days)
    at = np.linspace(0.0, 1.0, points)
    decay = 0.10 / (1 + np.exp(-(at - 0.32) * 40)) + 0.09 / (1 + np.exp(-(at - 0.68) * 50))
    noise = smooth(rng, points, 0.02)
    static = 0.955 - decay + noise
    healed = 0.955 + noise + smooth(rng, points, 0.01)
    healed -= 0.09 * np.exp(-(((at - 0.345) / 0.025) ** 2)) + 0.07 * np.exp(-(((at - 0.70) / 0.022) ** 2))
    healed -= 0.03 * np.exp(-(((at - 0.86) / 0.01) ** 2))
    periodic = 0.95 - 0.5 * decay + smooth(rng, points, 0.03)
    no_change = 0.78 + smooth(rng, points, 0.05)
    majority = 0.66 + smooth(rng, points, 0.04)
    initial = int(points * 0.08)
    for series in (static, healed, periodic, no_change, majority):
        series[:initial] = np.nan
    lines = {"healed": healed, "static": static, "periodic": periodic, "no_change": no_change, "majority": majority}

    def day(share: float) -> datetime:
        return START + timedelta(days=days * share)

    marks = [
        Mark(day(0.08), "promotion", "First version, trained on the first 8 % of the rows.", 1),
        Mark(day(0.33), "alert", "Accuracy fell from 95.4 % to 88.1 % over the last 1,000 labelled rows.", None),
        Mark(day(0.34), "retraining", "Accuracy is below the floor of 90 %; 4 of 31 features drifted.", None),
        Mark(day(0.35), "registered", "Version 2 passed the gate: +6.1 points on the same rows.", 2),
        Mark(day(0.355), "rollout", "Canary at 10 %.", 2),
        Mark(day(0.37), "promotion", "Better on 412 of 560 disagreeing pairs; evidence 134 against 20 needed.", 2),
        Mark(day(0.40), "resolved", "Accuracy is back at 95.0 %.", None),
        Mark(day(0.52), "retraining", "Scheduled, weekly.", None),
        Mark(day(0.53), "rejected", "Candidate 3 is not better by the required 0.01 AUC.", 3),
        Mark(day(0.69), "alert", "Accuracy fell to 88.9 %.", None),
        Mark(day(0.70), "retraining", "Accuracy is below the floor of 90 %.", None),
        Mark(day(0.73), "promotion", "Better on 377 of 471 disagreeing pairs.", 4),
        Mark(day(0.84), "retraining", "Scheduled, weekly.", None),
        Mark(day(0.855), "promotion", "Even on 51 % of pairs, promoted by hand.", 5),
        Mark(day(0.87), "rollback", "Version 5 is worse by 2.8 points, shown by 330 pairs; 4 serves again.", 5),
    ]
    features = tuple(f"{name}_{part}" for name in ("url_length", "https_token", "domain_age") for part in "abcde")[:14]
    windows = times_of(90, days)
    grid = rng.beta(1.2, 22, (len(features), len(windows)))
    position = np.linspace(0, 1, len(windows))
    for row, (shift, size) in enumerate(((0.32, 0.55), (0.33, 0.38), (0.68, 0.72), (0.7, 0.3), (0.3, 0.2))):
        grid[row] += size * ((position > shift) & (position < shift + 0.09))
    drift = DriftMap(
        features,
        windows,
        tuple(tuple(float(v) if position[i] > 0.08 else None for i, v in enumerate(row)) for row in grid),
        0.15,
        tuple(tuple(bool(v > 0.3) for v in row) for row in grid),
    )
    steps = times_of(300, days)
    place = np.linspace(0, 1, 300)

    def share(begin: float, canary: float, half: float, full: float, end: float) -> np.ndarray:
        level = np.where(place >= canary, 0.1, 0.0)
        level = np.where(place >= half, 0.5, level)
        level = np.where(place >= full, 1.0, level)
        return np.where((place < begin) | (place >= end), 0.0, level)

    two, four = share(0.355, 0.355, 0.362, 0.37, 2), share(0.71, 0.71, 0.72, 0.73, 2)
    five = share(0.855, 0.855, 0.86, 2, 0.87)
    three = np.where((place > 0.53) & (place < 0.56), 0.1, 0.0)
    shares = {1: 1 - two, 2: two * (1 - three) * (1 - four), 3: three, 4: four * (1 - five), 5: five}
    traffic = Traffic(steps, {number: tuple(float(v) for v in values) for number, values in shares.items()})
    outcomes = (
        (2, 1, 0.05, "promoted"),
        (3, 2, -0.004, "inconclusive"),
        (4, 2, 0.06, "promoted"),
        (5, 4, -0.05, "rolled back"),
    )
    evidence = tuple(
        evidence_track(rng, *outcome, begin=day(0.2 * index + 0.3)) for index, outcome in enumerate(outcomes)
    )
    end = times[-1]
    versions = (
        VersionLine(
            1,
            day(0.08),
            "first training",
            8_000,
            {"accuracy": 0.957},
            (("production", day(0.08), day(0.37)), ("archived", day(0.37), end)),
        ),
        VersionLine(
            2,
            day(0.345),
            "accuracy below the floor",
            9_100,
            {"accuracy": 0.951},
            (
                ("testing", day(0.345), day(0.35)),
                ("staging", day(0.35), day(0.37)),
                ("production", day(0.37), day(0.73)),
                ("archived", day(0.73), end),
            ),
        ),
        VersionLine(
            3,
            day(0.525),
            "weekly schedule",
            9_400,
            {"accuracy": 0.949},
            (("draft", day(0.525), day(0.53)), ("testing", day(0.53), day(0.56)), ("archived", day(0.56), end)),
        ),
        VersionLine(
            4,
            day(0.705),
            "accuracy below the floor",
            9_800,
            {"accuracy": 0.953},
            (
                ("staging", day(0.705), day(0.73)),
                ("production", day(0.73), day(0.855)),
                ("staging", day(0.855), day(0.87)),
                ("production", day(0.87), end),
            ),
        ),
        VersionLine(
            5,
            day(0.845),
            "weekly schedule",
            9_900,
            {"accuracy": 0.944},
            (("staging", day(0.845), day(0.855)), ("production", day(0.855), day(0.87)), ("archived", day(0.87), end)),
        ),
    )
    return Story(
        title="Backtest of phishing.csv",
        subtitle=SUBTITLE,
        headline="Healing kept accuracy at 94.9 % where the unattended model ended at 77 %",
        facts=(
            ("Accuracy, healed", "94.9 %"),
            ("Accuracy, static", "86.2 %"),
            ("Retrainings", "4"),
            ("Rollbacks", "1 in 9 h"),
            ("Rows served", "121,400"),
        ),
        metric="accuracy",
        target="is_phishing",
        rows=121_400,
        times=times,
        strategies=tuple(strategy(name, series, "accuracy") for name, series in lines.items()),
        initial_until=day(0.08),
        marks=tuple(marks),
        drift=drift,
        traffic=traffic,
        evidence=evidence,
        versions=versions,
        windows=(
            WindowRow(
                "Before any drift", 38_200, {"Healed": "95.6 %", "Static": "95.6 %", "Drifted features": "0 of 14"}
            ),
            WindowRow("First drift", 11_050, {"Healed": "91.2 %", "Static": "86.3 %", "Drifted features": "3 of 14"}),
            WindowRow(
                "After the rollback", 12_700, {"Healed": "95.1 %", "Static": "77.0 %", "Drifted features": "2 of 14"}
            ),
        ),
        findings=(
            ("port_flag", "Constant: the same value in all 121,400 rows. It was left out."),
            ("row_id", "Every value is different, so it can't be learned from. It was left out."),
        ),
        made_by="Homeostat 0.1.0",
    )


def evidence_track(
    rng: np.random.Generator, candidate: int, baseline: int, edge: float, outcome: str, *, begin: datetime
) -> EvidenceTrack:
    points = 120
    wins = rng.random(points) < 0.5 + edge * 3
    log_better = np.cumsum(np.where(wins, math.log(1.15), math.log(0.85)))
    log_worse = np.cumsum(np.where(wins, math.log(0.85), math.log(1.15)))
    return EvidenceTrack(
        f"Version {candidate} against {baseline}",
        candidate,
        baseline,
        tuple(begin + timedelta(hours=index) for index in range(points)),
        tuple(range(10, 10 + 12 * points, 12)),
        tuple(float(value) for value in log_better),
        tuple(float(value) for value in log_worse),
        math.log(100.0),
        math.log(20.0),
        outcome,
        f"Of 560 pairs on which the two differ, {candidate} was right in 412 (McNemar p < .001).",
    )


def price_story(scale: float = 1e6) -> Story:
    """A regression over three hours, in units of `scale`."""
    rng = np.random.default_rng(3)
    points = 180
    times = times_of(points, 0.125)
    drift = np.linspace(0, 1, points) ** 2
    static = scale * (1.2 + 1.4 * drift + smooth(rng, points, 0.2))
    healed = scale * (1.2 + 0.2 * drift + smooth(rng, points, 0.2))
    return Story(
        title="Backtest of prices.parquet",
        subtitle="",
        headline="Healing halved the error",
        facts=(("Error, healed", "1.3"), ("Error, static", "2.1"), ("Retrainings", "2")),
        metric="mae",
        target="price",
        rows=18_000,
        times=times,
        strategies=(strategy("healed", healed, "mae"), strategy("static", static, "mae")),
        initial_until=None,
        marks=(Mark(times[60], "retraining", "Drift.", None), Mark(times[70], "promotion", "Better.", 2)),
        drift=None,
        traffic=None,
        evidence=(),
        versions=(
            VersionLine(1, times[0], "first", 900, {"mae": 1.2 * scale}, (("production", times[0], times[-1]),)),
        ),
        simulated_times=False,
    )


def quiet_story() -> Story:
    """One strategy, no decision, no drift, no version, no times."""
    return Story(
        title="Backtest of tiny.csv",
        subtitle="",
        headline="Nothing needed healing",
        facts=(),
        metric="accuracy",
        target="y",
        rows=40,
        times=(),
        strategies=(StrategyResult("static", {"accuracy": 0.5}, (None,) * 10, ()),),
        initial_until=None,
        marks=(),
        drift=None,
        traffic=None,
        evidence=(),
        versions=(),
    )


def lone_story() -> Story:
    """One time, one feature, one version."""
    at = datetime(2025, 5, 6, 7, 8)
    return replace(
        quiet_story(),
        times=(at,),
        strategies=(StrategyResult("healed", {"accuracy": 1.0}, (1.0, *(None,) * 9), (1.0,)),),
        drift=DriftMap(("only",), (at,), ((0.4,),), 0.1),
        traffic=Traffic((at,), {1: (1.0,)}),
        versions=(VersionLine(1, at, "", 40, {}, (("production", at, at),)),),
    )


def crowded_story(marks: int = 320, features: int = 200, versions: int = 60, points: int = 6000) -> Story:
    """Three years with hundreds of decisions, features and long hostile names."""
    rng = np.random.default_rng(11)
    base = year_story(points=points, days=1100.0)
    kinds = ("retraining", "promotion", "rollback", "alert", "rejected", "rollout", "step", "resolved", "registered")
    drawn = sorted(rng.random(marks))
    many = tuple(
        Mark(START + timedelta(days=1100 * at), kinds[index % len(kinds)], f"{HOSTILE} " + "reason " * 20, index // 9)
        for index, at in enumerate(drawn)
    )
    windows = times_of(700, 1100.0)
    grid = rng.beta(0.8, 8, (features, len(windows)))
    names = (*tuple(f"{'a_feature_with_a_very_long_name_' * 4}{index}" for index in range(features - 1)), HOSTILE)
    share = np.full((versions, len(windows)), 0.0)
    share[np.arange(len(windows)) * versions // len(windows), np.arange(len(windows))] = 1.0
    begins = [index * 690 // versions for index in range(versions)]
    lanes = tuple(
        VersionLine(
            index + 1,
            windows[begins[index]],
            HOSTILE if index % 2 else "weekly " * 30,
            10_000_000 + index,
            {"accuracy": 0.9, "f1_macro": math.nan},
            (
                ("staging", windows[begins[index]], windows[begins[index] + 5]),
                ("production", windows[begins[index] + 5], windows[-1]),
            ),
        )
        for index in range(versions)
    )
    strategies = (*base.strategies, *(replace(base.strategies[2], name=f"{HOSTILE}{index}") for index in range(3)))
    return replace(
        base,
        title=HOSTILE,
        headline=f"{HOSTILE} {'word ' * 30}",
        target=HOSTILE,
        facts=tuple((f"A fact with a long name {index}", "a long value " * 3) for index in range(8)),
        strategies=strategies,
        marks=many,
        drift=DriftMap(names, windows, tuple(tuple(float(v) for v in row) for row in grid), 0.1),
        traffic=Traffic(windows, {index + 1: tuple(float(v) for v in row) for index, row in enumerate(share)}),
        evidence=tuple(replace(track, title=HOSTILE) for track in base.evidence * 5),
        versions=lanes,
        windows=tuple(WindowRow(HOSTILE, 5, {f"Figure {f}": "12.3 %" for f in range(9)}) for _ in range(4)),
        findings=((HOSTILE, HOSTILE * 3), ("x" * 500, "y" * 5000)),
        made_by=HOSTILE,
    )


def sample_stories() -> dict[str, Story]:
    """Every sample by name."""
    return {
        "year": year_story(),
        "price": price_story(),
        "small": price_story(1e-4),
        "quiet": quiet_story(),
        "lone": lone_story(),
        "crowded": crowded_story(),
    }
