"""Candidates that are truly better: how many take over, and how soon."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from statistics import NormalDist

import numpy as np
from benchmarks.releases.policies import LIVE, SHADOW_FIRST, with_steps
from benchmarks.releases.runs import Case, Share, median, run_all, share
from benchmarks.releases.world import Evidence, FixedSample, Traffic, Truth, draw
from benchmarks.statistics.section import Section, Table

from homeostat.records import Policy

OLD = 0.90
POINTS = (2, 5)
LATE = (0, 1, 3)
DAYS = 5
POWERS = (0.8, 0.95)


def better_by(points: float) -> Truth:
    return Truth(old=OLD, new=OLD + points / 100)


def cases(a_day: int = 20_000) -> dict[tuple[str, int, int], Case]:
    """By steps, points better and days that labels are late."""
    found = {}
    for name, steps in (("shadow first", SHADOW_FIRST), ("canary 10 % first", LIVE), ("default", None)):
        policy = Policy() if steps is None else with_steps(steps)
        for points in POINTS:
            for late in LATE:
                found[name, points, late] = Case(
                    better_by(points), policy, Traffic(a_day, late), observations=DAYS * a_day, first=30_000
                )
    return found


def fixed_labels(truth: Truth, alpha: float, power: float) -> int:
    """Rows that both versions score, that a one-sided McNemar test needs (Connor 1987)."""
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    gap, discordant = truth.wins - truth.losses, truth.wins + truth.losses
    return math.ceil((z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - gap**2)) ** 2 / gap**2)


def fixed_share(truth: Truth, labels: int, alpha: float, runs: int, seed: int = 9) -> Share:
    """How often that test, done once with so many labels, finds the candidate better."""
    test: Evidence = FixedSample()
    found = []
    for number in range(runs):
        rows = draw(truth, labels, np.random.default_rng([seed, number]))
        said = test.log(np.array([rows.wins.sum()]), np.array([rows.losses.sum()]))
        found.append(bool(said[0] >= math.log(1 / alpha)))
    return share(found)


def run(pool: Executor | None, *, runs: int) -> Section:
    error = Policy().rollout.promotion_error
    found = run_all(cases(), runs, pool)  # type: ignore[arg-type]
    shown: list[list[object]] = []
    for (name, points, late), outcomes in found.items():  # type: ignore[misc]
        taken = [one for one in outcomes if one.promoted is not None]
        shown.append(
            [
                name,
                f"{points} points",
                f"{late} d",
                share(one.promoted is not None for one in outcomes),
                share(one.is_taken_back for one in outcomes),
                median((one.hours(one.promoted, Traffic()) for one in taken), " h", digits=1),
            ]
        )
    fixed = []
    for points in POINTS:
        for power in POWERS:
            truth = better_by(points)
            labels = fixed_labels(truth, error, power)
            fixed.append(
                [
                    f"{points} points",
                    f"{power:.0%}",
                    f"{labels:,}",
                    fixed_share(truth, labels, error, max(runs, 500)),
                    f"{labels / Traffic().a_day * 24:.1f} h",
                ]
            )
    return Section(
        "Better candidates",
        f"The old version is right about {OLD:.0%} of rows, the candidate about more; errors overlap by half. "
        f"{Traffic().a_day:,} requests a day; {runs:,} runs a row, each of {DAYS} days and as many more as labels are "
        "late. Time is from the start to all traffic, the hours that canary and split last at least included. "
        "A rollback of one that is better is a false one.",
        [
            Table(["steps", "better by", "labels late", "promoted", "rolled back", "time (median)"], shown),
            Table(
                ["better by", "power planned", "labels", "found", "time, without delay"],
                fixed,
                f"A fixed-horizon McNemar test with the same error, {error:.0%} one-sided, that knows the true "
                "difference beforehand and looks once.",
            ),
        ],
    )
