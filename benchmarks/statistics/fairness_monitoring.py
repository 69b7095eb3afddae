"""Alarms over gaps between groups, looked at after every batch: anytime-valid evidence beside a repeated z-test."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from benchmarks.statistics.section import Plot, Section, Table

from homeostat.stats.fairness import demographic_parity, gap_log_evidence

Flags = npt.NDArray[np.bool_]

TOLERANCE = 0.1
ALPHA = 0.05
BATCH = 50
BASE = 0.3
Z_ONE_SIDED = 1.6448536269514722


def histories(
    rng: np.random.Generator, runs: int, batches: int, gaps: tuple[float, ...], *, late: int = 0, batch: int = BATCH
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Successes and rows of groups that lie `gaps` above the base rate, from batch `late` on."""
    rates = np.full((batches, len(gaps) + 1), BASE)
    rates[late:, 1:] += np.array(gaps)
    rows = np.full((runs, *rates.shape), batch)
    return rng.binomial(rows, rates), rows


def z_alarms(done: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Flags:
    """After each batch: does the usual one-sided test of all rows so far find some gap beyond the tolerance?"""
    hits, n = done.cumsum(axis=-2), rows.cumsum(axis=-2)
    share = hits / n
    high, low = share.argmax(axis=-1)[..., None], share.argmin(axis=-1)[..., None]
    best, worst = (np.take_along_axis(share, place, -1)[..., 0] for place in (high, low))
    variance = best * (1 - best) / np.take_along_axis(n, high, -1)[..., 0]
    variance = variance + worst * (1 - worst) / np.take_along_axis(n, low, -1)[..., 0]
    return np.asarray(best - worst - TOLERANCE > Z_ONE_SIDED * np.sqrt(variance))


def first_alarms(
    rng: np.random.Generator, runs: int, batches: int, gaps: tuple[float, ...], *, late: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """The batch (from 1) at which each method first alarms in every run; infinite where it never does."""
    done, rows = histories(rng, runs, batches, gaps, late=late)
    found = {}
    for name, alarms in (
        ("evidence", gap_log_evidence(done, rows, tolerance=TOLERANCE) >= math.log(1 / ALPHA)),
        ("z-test", z_alarms(done, rows)),
    ):
        found[name] = np.where(alarms.any(axis=-1), alarms.argmax(axis=-1) + 1.0, math.inf)
    return found


def gap_coverage(*, runs: int, rng: int, sizes: tuple[int, ...], rates: tuple[float, ...]) -> tuple[float, float]:
    """How often the interval of the largest gap covers it, and how often it lies wholly above it, looking once."""
    generator = np.random.default_rng(rng)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chance = np.repeat(rates, sizes)
    true = max(rates) - min(rates)
    covered = above = 0
    for _ in range(runs):
        low, high = demographic_parity((generator.random(len(groups)) < chance).astype(int), groups).interval
        covered += low <= true <= high
        above += low > true
    return covered / runs, above / runs


def run(*, quick: bool) -> Section:
    runs, batches = (60, 150) if quick else (240, 500)
    rng = np.random.default_rng(0)
    false = []
    curves = {}
    for label, gaps in (
        ("two groups, no gap", (0.0,)),
        ("two groups, gap .09", (0.09,)),
        ("two groups, gap .10", (0.1,)),
        ("four groups, largest gap .10", (0.03, 0.07, 0.1)),
    ):
        found = first_alarms(rng, runs if len(gaps) < 3 else runs // 2, batches, gaps)
        false.append([label, *(f"{np.isfinite(found[name]).mean():.1%}" for name in ("evidence", "z-test"))])
        if gaps == (0.1,):
            looks = np.unique(np.geomspace(1, batches, 40).astype(int))
            curves = {name: (looks, [float((at <= n).mean()) for n in looks]) for name, at in found.items()}
    power = []
    for gap in (0.12, 0.15, 0.2, 0.3):
        soon = first_alarms(rng, runs // 2, batches, (gap,))["evidence"]
        late = first_alarms(rng, runs // 2, batches, (gap,), late=batches // 4)["evidence"] - batches // 4
        power.append([gap, _share(soon), _median(soon), _share(late), _median(late)])
    coverage = []
    looks_once = 100 if quick else 1000
    for place, (sizes, rates) in enumerate(
        [
            ((500, 500), (0.3, 0.3)),
            ((500, 500), (0.3, 0.4)),
            ((400,) * 5, (0.3,) * 5),
            ((1000, 400, 200, 60, 40), (0.3,) * 5),
            ((1000, 400, 200, 60, 40), (0.3, 0.3, 0.3, 0.3, 0.45)),
        ]
    ):
        covered, above = gap_coverage(runs=looks_once, rng=place, sizes=sizes, rates=rates)
        texts = [", ".join(f"{value:g}" for value in values) for values in (sizes, rates)]
        coverage.append([*texts, f"{covered:.1%}", f"{above:.1%}"])
    return Section(
        "Fairness over time",
        f"Each batch brings {BATCH} rows of each group, and the gap is looked at after each of {batches:,} batches. "
        f"Does it exceed {TOLERANCE:g}? {runs:,} histories a line, half as many with four groups and of power; level "
        f"{ALPHA:.0%}. The evidence keeps its level however long it runs. The z-test, meant for one look, alarms again "
        "and again where the gap just fills the tolerance. A gap that opens late is found too, after more batches than "
        "one that was there from the start.",
        [
            Table(["history without a breach", "evidence: ever an alarm", "z-test at every batch"], false),
            Table(
                ["gap", "found", "median batch", f"found, gap from batch {batches // 4}", "median batches after"],
                power,
                "Power and delay of the evidence:",
            ),
            Table(
                ["rows", "rates", "covered", "interval wholly above"],
                coverage,
                "The 95 % interval of the largest gap, one look; it allows for having picked the extremes:",
            ),
        ],
        [
            Plot(
                "fairness_false_alarms",
                "False alarms by number of looks, gap equal to the tolerance",
                "batches looked at",
                "share of histories with an alarm",
                curves,
                {"level": ALPHA},
                log_x=True,
            )
        ],
    )


def _share(at: npt.NDArray[np.float64]) -> str:
    # An alarm before the gap opened is a false one, and finds nothing.
    return f"{(np.isfinite(at) & (at > 0)).mean():.1%}"


def _median(at: npt.NDArray[np.float64]) -> str:
    middle = float(np.median(at[at > 0])) if (at > 0).any() else math.inf
    return f"{middle:.0f}" if math.isfinite(middle) else "–"
