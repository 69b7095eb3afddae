"""What it takes of the processor to judge experiments."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from benchmarks.statistics.section import Section, Table
from msgspec.structs import replace

from homeostat.records import BUCKETS, Arm, Buckets, ExperimentRoute, Route
from homeostat.serving.routing import Allocation
from homeostat.stats.experiments import MetricPlan, Plan, Summary, Units, judge, judge_summary

ARMS = ("old", "new")
PLAN = Plan(
    ARMS,
    ((0.5, 0.5),),
    (
        MetricPlan("accuracy", bounds=(0, 1)),
        MetricPlan("error_rate", "guardrail", 0.01, lower_is_better=True, bounds=(0, 1), needs_label=False),
        MetricPlan("cost", "deterioration", lower_is_better=True),
    ),
)
UNITS_EACH = 2_000
LARGE = 1_000_000


@dataclass(frozen=True)
class Taken:
    """Seconds of the processor: the median of some tries, and the least."""

    median: float
    least: float


def units(count: int, seed: int, *, after: int = 0) -> Units:
    """Units of two arms with a score of 0 or 1, a failure now and then and a cost."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, count)
    metrics = {
        "accuracy": (rng.random(count) < np.where(arm == 1, 0.905, 0.9)).astype(float),
        "error_rate": (rng.random(count) < 0.002).astype(float),
        "cost": rng.gamma(2.0, 1.0, count),
    }
    return Units(ARMS, arm, np.zeros(count, dtype=int), np.arange(after, after + count), metrics)


def taken(work: Callable[[], object], tries: int) -> Taken:
    """What this thread used, so that others on the machine don't count."""
    found = []
    for _ in range(tries):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return Taken(float(np.median(found)), min(found))


def thousand(experiments: int) -> tuple[Taken, Taken]:
    """Judging so many experiments of 2,000 units each: from all of their units, and from the sums that are kept."""
    all_units = [units(UNITS_EACH, number) for number in range(experiments)]
    kept = [Summary.of(one, PLAN) for one in all_units]
    from_units = taken(lambda: [judge(one, PLAN) for one in all_units], 3)
    return from_units, taken(lambda: [judge_summary(one, PLAN) for one in kept], 3)


def large(count: int) -> tuple[Taken, Taken]:
    """Judging one experiment of so many units from nothing, and after 1,000 new ones."""
    old, new = units(count, 0), units(1_000, 1, after=count)
    kept = Summary.of(old, PLAN)

    def follow() -> None:
        judge_summary(kept + Summary.of(new, PLAN, after=kept), PLAN)

    return taken(lambda: judge(old, PLAN), 5), taken(follow, 20)


def assigning(experiments: int, *, calls: int = 20_000) -> Taken:
    """What so many experiments on one model add to a request of one row: microseconds to find its arm.

    Each experiment owns a share of the buckets, and together they own all of them, so that every row is in one.
    """
    control = Arm(name="control", version=1, weight=0.5)
    edges = [BUCKETS * number // experiments for number in range(experiments + 1)]
    running = tuple(
        ExperimentRoute(
            id=f"experiment-{number}",
            ranges=(Buckets(start=start, stop=stop),),
            salt=f"salt-{number}",
            arms=(control, Arm(name="candidate", version=2, weight=0.5)),
        )
        for number, (start, stop) in enumerate(pairwise(edges))
    )
    at = datetime(2025, 1, 1, tzinfo=UTC)
    alone = Route(model="spam", number=1, arms=(control,), salt="spam", at=at, reason="")
    allocation = Allocation.of(replace(alone, namespace_salt="spam", experiments=running))
    keys = [[f"user-{number}"] for number in range(calls)]
    met = {int(allocation.assign(key, key)[0]) for key in keys[:2000]}
    assert len(met) > experiments

    def work() -> None:
        for key in keys:
            allocation.assign(key, key)

    found = taken(work, 5)
    return Taken(found.median / calls * 1e6, found.least / calls * 1e6)


def run(*, experiments: int, count: int) -> Section:
    from_units, from_sums = thousand(experiments)
    fresh, following = large(count)
    added = assigning(10)
    return Section(
        "Speed",
        "Seconds of one core that judging takes, so that others on the machine don't count: the median of several "
        "tries and the quickest. Experiments have two arms and three metrics: accuracy to become better, error rate "
        "not to become worse, cost to be watched.",
        [
            Table(
                ["what", "median", "quickest", "wanted"],
                [
                    [
                        f"{experiments:,} experiments of {UNITS_EACH:,} units, from all units",
                        f"{from_units.median:.2f} s",
                        f"{from_units.least:.2f} s",
                        "10 s for 1,000",
                    ],
                    [
                        f"{experiments:,} experiments, from the sums that are kept",
                        f"{from_sums.median:.2f} s",
                        f"{from_sums.least:.2f} s",
                        "10 s for 1,000",
                    ],
                    [
                        f"one experiment of {count:,} units, after 1,000 new units",
                        f"{following.median * 1000:.1f} ms",
                        f"{following.least * 1000:.1f} ms",
                        "50 ms",
                    ],
                    [
                        f"one experiment of {count:,} units, from nothing",
                        f"{fresh.median * 1000:.0f} ms",
                        f"{fresh.least * 1000:.0f} ms",
                        "50 ms",
                    ],
                    [
                        "10 experiments on one model: what they add to a request",
                        f"{added.median:.1f} µs",
                        f"{added.least:.1f} µs",
                        "20 µs",
                    ],
                ],
            )
        ],
    )
