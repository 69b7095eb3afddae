"""Candidates that are truly worse: how soon they are taken back, and what it takes to know."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
from benchmarks.releases.policies import LIVE, SHADOW_FIRST, with_steps
from benchmarks.releases.runs import Case, median, run_all, share
from benchmarks.releases.world import Traffic, Truth
from benchmarks.statistics.section import Section, Table

from homeostat.records import Policy
from homeostat.rollouts.budget import rollback_threshold
from homeostat.stats.sequential import two_bernoulli_log_evidence

OLD = 0.90
POINTS = (1, 2, 5, 10)
LATE = (0, 1, 3)
DAYS = 5
FIRST = 5_000
MARGIN = 0.02
MOST_PAIRS = 60_000


def worse_by(points: float, overlap: float = 0.5) -> Truth:
    return Truth(old=OLD, new=OLD - points / 100, overlap=overlap)


def cases(a_day: int = 20_000) -> dict[tuple[str, int, int], Case]:
    """By steps, points worse and days that labels are late."""
    found = {}
    for name, steps in (("shadow first", SHADOW_FIRST), ("canary 10 % first", LIVE)):
        for points in POINTS:
            for late in LATE:
                case = Case(
                    worse_by(points), with_steps(steps), Traffic(a_day, late), observations=DAYS * a_day, first=FIRST
                )
                found[name, points, late] = case
    return found


def at_the_margin(observations: int = 20_000) -> dict[str, Case]:
    """Worse by exactly what the guardrail allows, in traffic and before it."""
    policies = {
        "shadow first": with_steps(SHADOW_FIRST, accuracy_drop=MARGIN),
        "canary 10 % first": with_steps(LIVE, accuracy_drop=MARGIN),
    }
    return {name: Case(worse_by(100 * MARGIN), policy, observations=observations) for name, policy in policies.items()}


def split_labels(truth: Truth, runs: int, *, most: int = MOST_PAIRS, seed: int = 5) -> np.ndarray:
    """Labels, half of each arm, until evidence from split traffic says at the same level that the candidate is worse.

    Where that many do not do, infinity.
    """
    rng, threshold, taken = np.random.default_rng(seed), rollback_threshold(Policy()), []
    for _ in range(runs):
        old, new = rng.random(most) < truth.old, rng.random(most) < truth.new
        path = two_bernoulli_log_evidence(old.astype(float), new.astype(float), alternative="less")
        at = np.flatnonzero(path >= threshold)
        taken.append(2.0 * (at[0] + 1) if len(at) else np.inf)
    return np.array(taken)


def labels_table(pool: Executor | None, runs: int) -> Table:
    shown: list[list[object]] = []
    for overlap, label in ((0.5, "overlap by half"), (0.0, "independent")):
        truths = {points: worse_by(points, overlap) for points in POINTS}
        paired = run_all(
            {
                str(points): Case(one, with_steps(SHADOW_FIRST), observations=100_000, first=FIRST)
                for points, one in truths.items()
            },
            runs,
            pool,
        )
        for points, truth in truths.items():
            split = split_labels(truth, max(10, runs // 4))
            needed = np.median([one.labelled if one.is_taken_back else np.inf for one in paired[str(points)]])
            middle = np.median(split)
            beyond = not np.isfinite(middle)
            at_most = 2 * MOST_PAIRS if beyond else middle
            shown.append(
                [
                    f"{points} points",
                    label,
                    f"{needed:,.0f}",
                    f"more than {at_most:,.0f}" if beyond else f"{middle:,.0f}",
                    f"{'under ' if beyond else ''}{needed / at_most:.2f}",
                ]
            )
    return Table(
        ["worse by", "errors", "labels, both versions on the same rows", "labels, split traffic", "ratio"],
        shown,
        f"Median labels until a rollback at the same error: shadow scoring (the real rollout, {runs:,} runs) beside an "
        f"e-process on split traffic ({max(10, runs // 4):,} runs).",
    )


def run(pool: Executor | None, *, runs: int, margin_runs: int) -> Section:
    found = run_all(cases(), runs, pool)  # type: ignore[arg-type]
    traffic = Traffic()
    shown: list[list[object]] = []
    for (name, points, late), outcomes in found.items():  # type: ignore[misc]
        back = [one for one in outcomes if one.is_taken_back]
        shown.append(
            [
                name,
                f"{points} points",
                f"{late} d",
                share(one.is_taken_back for one in outcomes),
                share(one.promoted is not None for one in outcomes),
                median(one.exposed for one in back),
                median(one.labelled for one in back),
                median((one.hours(one.ended, traffic) for one in back), " h", digits=1),
            ]
        )
    margins = run_all(at_the_margin(), margin_runs, pool)
    error = Policy().rollout.rollback_error
    return Section(
        "Worse candidates",
        f"The old version is right about {OLD:.0%} of rows, the candidate about fewer; errors overlap by half. "
        f"{Traffic().a_day:,} requests a day, each labelled after 0, 1 or 3 days; {runs:,} runs a row, each of "
        f"{DAYS} days and as many more as labels are late. A rollback counts whether the candidate had traffic yet or "
        "was only a shadow; exposed are the requests that it answered before, half of all runs more and half fewer.",
        [
            Table(
                [
                    "steps",
                    "worse by",
                    "labels late",
                    "rolled back",
                    "promoted",
                    "exposed (median)",
                    "labels (median)",
                    "time (median)",
                ],
                shown,
            ),
            Table(
                ["steps", "rolled back", "budget"],
                [
                    [name, share(one.is_taken_back for one in outcomes), f"{error:.0%}"]
                    for name, outcomes in margins.items()
                ],
                f"Worse by exactly the margin: `accuracy_drop = {MARGIN}`, and the candidate is worse by {MARGIN:.0%}; "
                f"20,000 labels, {margin_runs:,} runs.",
            ),
            labels_table(pool, runs),
        ],
    )
