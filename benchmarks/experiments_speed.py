"""How long verdicts of experiments take: `python benchmarks/experiments_speed.py`.

Prints the processor time of one core: judging a million observations at once, adding the last thousand to what is known
and judging again, and 1,000 running experiments of three metrics, each judged after its new units came in.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from homeostat.stats.experiments import MetricPlan, Plan, Summary, Units, judge, judge_summary


def seconds(do: Callable[[], object], runs: int = 5) -> float:
    """The median processor time of several runs, after one to warm up."""
    do()
    taken = []
    for _ in range(runs):
        started = time.process_time()
        do()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def experiment(n: int, metrics: int, seed: int) -> tuple[Units, Plan]:
    """Units of an even split and the plan of one success metric, a guardrail and a latency."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, n)
    values = {
        "accuracy": (rng.random(n) < 0.9).astype(float),
        "errors": (rng.random(n) < 0.01).astype(float),
        "latency": rng.lognormal(3, 0.4, n),
    }
    planned = (
        MetricPlan("accuracy", bounds=(0, 1)),
        MetricPlan("errors", "guardrail", 0.01, lower_is_better=True, bounds=(0, 1)),
        MetricPlan("latency", "deterioration", lower_is_better=True),
    )[:metrics]
    names = [metric.name for metric in planned]
    units = Units(
        ("old", "new"), arm, np.zeros(n, dtype=np.int64), np.arange(n), {name: values[name] for name in names}
    )
    return units, Plan(("old", "new"), ((0.5, 0.5),), planned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--experiments", type=int, default=1_000)
    options = parser.parse_args()
    for metrics in (1, 3):
        units, plan = experiment(options.units, metrics, seed=0)
        whole = Summary.of(units, plan)
        last = units.take(slice(options.units - 1000, options.units))
        before = Summary.of(units.take(slice(0, options.units - 1000)), plan)
        print(f"{options.units:,} observations, metrics: {', '.join(metric.name for metric in plan.metrics)}")
        print(f"  all of them at once               {1000 * seconds(lambda: judge(units, plan)):8.2f} ms")  # noqa: B023
        continued = seconds(lambda: judge_summary(Summary.of(last, plan, after=before), plan), 50)  # noqa: B023
        print(f"  the last 1,000 added to the rest  {1000 * continued:8.2f} ms")
        print(f"  the verdict from sums             {1000 * seconds(lambda: judge_summary(whole, plan), 50):8.2f} ms")  # noqa: B023
    running = []
    for number in range(options.experiments):
        units, plan = experiment(2_000, 3, seed=number)
        running.append((Summary.of(units.take(slice(0, 1_900)), plan), units.take(slice(1_900, 2_000)), plan))

    def tick() -> None:
        for before, news, plan in running:
            judge_summary(Summary.of(news, plan, after=before), plan)

    print(f"{options.experiments:,} running experiments of 3 metrics, 100 new units each")
    print(f"  one round of verdicts             {seconds(tick, 3):8.2f} s")


if __name__ == "__main__":
    main()
