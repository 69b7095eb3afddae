"""Recall from labels that analysts chose: counted on the labelled rows, and weighted by their chances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from benchmarks.statistics.section import Plot, Section, Table

from homeostat.stats.performance.selective import labelling_probability, selective_metrics

ROWS = 20_000
PREVALENCE = 0.03
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
NAMES = ("recall", "precision", "f1", "accuracy", "fpr", "prevalence")


@dataclass(frozen=True)
class World:
    """What is true of the model on endless rows, by metric, and where its alerts begin."""

    separation: float
    threshold: float
    truth: dict[str, float]


def world(separation: float = 2.5, threshold: float = 2.0) -> World:
    """Scores are normal with mean 0 for negatives and `separation` for positives; alerts lie above `threshold`."""
    tpr, fpr = (0.5 * math.erfc((threshold - mean) / math.sqrt(2)) for mean in (separation, 0.0))
    alerted = PREVALENCE * tpr + (1 - PREVALENCE) * fpr
    precision = PREVALENCE * tpr / alerted
    truth = {
        "recall": tpr,
        "precision": precision,
        "f1": 2 * precision * tpr / (precision + tpr),
        "accuracy": PREVALENCE * tpr + (1 - PREVALENCE) * (1 - fpr),
        "fpr": fpr,
        "prevalence": PREVALENCE,
    }
    return World(separation, threshold, truth)


def window(rng: np.random.Generator, setting: World, rows: int) -> tuple[npt.NDArray[np.bool_], ...]:
    """Truth and alerts of one window."""
    truth = rng.random(rows) < PREVALENCE
    scores = rng.normal(size=rows) + setting.separation * truth
    return truth, scores > setting.threshold


def measure(
    audit_share: float, *, runs: int, rng: int, rows: int = ROWS, alert_share: float = 1.0
) -> dict[str, dict[str, float]]:
    """Per metric over many windows: mean naive and weighted values, coverage and width of the interval, and the share
    of windows in which it is not identified."""
    generator = np.random.default_rng(rng)
    setting = world()
    kept: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in NAMES}
    naive: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(runs):
        truth, alerted = window(generator, setting, rows)
        chance = labelling_probability(alerted, audit_share=audit_share, alert_share=alert_share)
        known = generator.random(rows) < chance
        result = selective_metrics(truth, alerted, known, chance)
        for name in NAMES:
            metric = result[name]
            naive[name].append(metric.naive)
            if metric.status == "identified":
                low, high = metric.interval
                kept[name].append((metric.estimate, low <= setting.truth[name] <= high, high - low, 1.0))
    found = {}
    for name in NAMES:
        values = np.array(kept[name]).reshape(-1, 4)
        known_runs = len(values)
        estimate, coverage, width = values[:, :3].mean(axis=0) if known_runs else (math.nan,) * 3
        found[name] = {
            "naive": float(np.mean(naive[name])),
            "estimate": float(estimate),
            "coverage": float(coverage),
            "width": float(width),
            "unidentified": 1 - known_runs / runs,
        }
    return found


def run(*, quick: bool) -> Section:
    runs = 60 if quick else 800
    truth = world().truth
    found = {share: measure(share, runs=runs, rng=number) for number, share in enumerate(SHARES)}
    rows = []
    for share, values in found.items():
        recall = values["recall"]
        cells = ["–"] * 4
        if recall["unidentified"] < 1:
            cells = [
                f"{recall['estimate']:.3f}",
                f"{recall['estimate'] - truth['recall']:+.3f}",
                f"{recall['coverage']:.1%}",
                f"{recall['width']:.3f}",
            ]
        rows.append([f"{share:.1%}", f"{recall['naive']:.3f}", *cells, f"{recall['unidentified']:.1%}"])
    others = [
        [
            name,
            f"{truth[name]:.4f}",
            f"{found[0.02][name]['naive']:.4f}",
            f"{found[0.02][name]['estimate']:.4f}",
            f"{found[0.02][name]['coverage']:.1%}",
        ]
        for name in NAMES
    ]
    reviewed = measure(0.02, runs=runs, rng=99, alert_share=0.5)
    shown = [share for share in SHARES if found[share]["recall"]["unidentified"] < 1]
    return Section(
        "Recall from selective labels",
        f"{runs:,} windows of {ROWS:,} rows a line, {PREVALENCE:.0%} of them positive. Every alert is labelled, and "
        f"a random audit share of all rows besides. The model's recall is {truth['recall']:.3f}. Counted on the "
        "labelled rows alone it seems far better, and no number of alerts mends that; weighted it is right, with "
        "intervals (95 %) as wide as the audit is small. Without an audit, recall is reported as not identified. An "
        "audit that finds a handful of missed rows gives a wide interval, and a mean slightly above the true recall.",
        [
            Table(
                ["audit share", "naive recall", "weighted recall", "bias", "coverage", "mean width", "not identified"],
                rows,
            ),
            Table(
                ["metric", "true", "naive", "weighted", "coverage"],
                others,
                "All metrics at an audit share of 2 %:",
            ),
            Table(
                ["metric", "true", "naive", "weighted", "coverage"],
                [
                    [name, f"{truth[name]:.4f}"]
                    + [f"{reviewed[name][column]:.4f}" for column in ("naive", "estimate")]
                    + [f"{reviewed[name]['coverage']:.1%}"]
                    for name in NAMES
                ],
                "The same where analysts get through half of the alerts only:",
            ),
        ],
        [
            Plot(
                "selective_recall",
                "Recall by audit share",
                "audit share (%)",
                "mean over windows",
                {
                    "naive": ([100 * share for share in shown], [found[share]["recall"]["naive"] for share in shown]),
                    "weighted": (
                        [100 * share for share in shown],
                        [found[share]["recall"]["estimate"] for share in shown],
                    ),
                },
                {"true": truth["recall"]},
                log_x=True,
            )
        ],
    )
