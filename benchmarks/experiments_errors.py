"""How often verdicts of experiments err, and how soon they are right: `python benchmarks/experiments_errors.py`.

Every experiment is looked at after every unit. `--runs` and `--units` choose other sizes; slow tests run small ones.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from homeostat.stats.experiments import (
    MetricPlan,
    Plan,
    SimulatedExperiments,
    Summary,
    Units,
    binomial_interval,
    judge_summary,
    simulate,
    thompson_weights,
)

RATE = MetricPlan("outcome", bounds=(0, 1))
GUARDRAIL = MetricPlan("outcome", "guardrail", 0.02, bounds=(0, 1))


def planned(metric: MetricPlan, weight: float = 0.5) -> Plan:
    """Two arms at 5 % a side, and no minimum."""
    return Plan(("control", "arm"), ((1 - weight, weight),), (metric,), minimum_units=0)


def same(runs: int, units: int) -> dict[str, SimulatedExperiments]:
    """Experiments in which there is nothing to find, or the truth lies exactly at the margin."""
    return {
        "both arms right in 90 %": simulate(0.9, 0.9, units=units, runs=runs, seed=1),
        "both in 50 %": simulate(0.5, 0.5, units=units, runs=runs, seed=2),
        "both in 1 %": simulate(0.01, 0.01, units=units, runs=runs, seed=3),
        "a tenth in the new arm": simulate(0.9, 0.9, units=units, runs=runs, plan=planned(RATE, 0.1), seed=4),
        "normal values, asymptotic": simulate(1.0, 1.0, spread=1.0, units=units, runs=runs, seed=5),
        "worse by exactly the margin": simulate(
            0.9, 0.88, units=units, runs=runs, metric=GUARDRAIL, plan=planned(GUARDRAIL), seed=6
        ),
    }


def different(runs: int, units: int) -> dict[str, SimulatedExperiments]:
    """Experiments with something to find: 90 % against so much more or less."""
    return {
        f"{100 * gap:+.0f} points": simulate(0.9, 0.9 + gap, units=units, runs=runs, seed=10 + place)
        for place, gap in enumerate((0.02, 0.05, -0.01, -0.02, -0.05, -0.10))
    }


@dataclass(frozen=True)
class Bandits:
    """Shares of experiments with weights by Thompson sampling that ended wrongly, and of pooled z-tests at the end."""

    runs: int
    promoted: float
    rolled_back: float
    naive: float
    covered: float


def bandits(runs: int, *, batches: int = 20, batch: int = 100, seed: int = 0) -> Bandits:
    """Two equal arms whose rate falls over time, weighed anew for every batch, and judged after each.

    `covered` is the share of experiments in which the interval held the truth, 0, after every batch.
    """
    rng = np.random.default_rng(seed)
    promoted = rolled_back = naive = covered = 0
    for run in range(runs):
        weights: list[tuple[float, ...]] = []
        summary, won, seen = None, np.zeros(2), np.zeros(2)
        outcome, held = "", True
        for number in range(batches):
            weights.append(thompson_weights(won, seen, 0.05, seed + 1000 * run + number, draws=500))
            plan = Plan(("control", "arm"), tuple(weights), (RATE,), minimum_units=0)
            arm = (rng.random(batch) < weights[-1][1]).astype(int)
            value = (rng.random(batch) < 0.8 - 0.6 * number / batches).astype(float)
            units = Units(plan.arms, arm, np.full(batch, number), np.arange(batch), {"outcome": value})
            summary = Summary.of(units, plan, after=summary)
            won += np.bincount(arm, weights=value, minlength=2)
            seen += np.bincount(arm, minlength=2)
            found = judge_summary(summary, plan)
            low, high = found.metrics[0].interval
            held = held and low <= 0 <= high
            outcome = outcome or (found.verdict if found.verdict in ("win", "loss") else "")
        shares, pooled = won / np.maximum(seen, 1), won.sum() / seen.sum()
        z = (shares[1] - shares[0]) / np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(seen, 1)).sum())
        promoted += outcome == "win"
        rolled_back += outcome == "loss"
        naive += abs(z) > -ndtri(0.05)
        covered += held
    return Bandits(runs, promoted / runs, rolled_back / runs, naive / runs, covered / runs)


def mismatches(runs: int, share: float, *, units: int = 20_000, seed: int = 0) -> tuple[float, float]:
    """The share of experiments held for their split, looked at 200 times, and the median units until then."""
    rng = np.random.default_rng(seed)
    plan = planned(RATE)
    held, until = 0, []
    for _ in range(runs):
        arm = (rng.random(units) < share).astype(int)
        totals = np.cumsum(np.bincount(np.arange(units) // (units // 200), weights=arm)).astype(int)
        for look, second in enumerate(totals, start=1):
            exposed = np.array([[look * (units // 200) - second, second]], dtype=float)
            if judge_summary(Summary(plan.arms, exposed, {}), plan).verdict == "held":
                held += 1
                until.append(look * (units // 200))
                break
    return held / runs, float(np.median(until)) if until else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--units", type=int, default=20_000)
    options = parser.parse_args()
    print("| no difference | promoted | 95 % interval | rolled back | 95 % interval | z-test: promoted | rolled back |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in same(options.runs, options.units).items():
        first, second = found.promoted_interval, found.rolled_back_interval
        print(
            f"| {name} | {found.promoted:.1%} | {first[0]:.1%} to {first[1]:.1%} | {found.rolled_back:.1%} | "
            f"{second[0]:.1%} to {second[1]:.1%} | {found.peeked_promoted:.1%} | {found.peeked_rolled_back:.1%} |"
        )
    print("\n| new arm | promoted | median units | rolled back | median units |\n| --- | --- | --- | --- | --- |")
    for name, found in different(max(options.runs // 4, 50), options.units).items():
        print(
            f"| {name} | {found.promoted:.1%} | {found.median_promoted:,.0f} | {found.rolled_back:.1%} | "
            f"{found.median_rolled_back:,.0f} |"
        )
    bandit = bandits(options.runs // 4)
    low, high = binomial_interval(round(bandit.naive * bandit.runs), bandit.runs)
    print(
        f"\nThompson weights, equal arms: promoted {bandit.promoted:.1%}, rolled back {bandit.rolled_back:.1%}, "
        f"interval always right {bandit.covered:.1%}; a pooled z-test at the end errs in {bandit.naive:.1%} "
        f"({low:.1%} to {high:.1%}) at 10 %."
    )
    for share in (0.5, 0.48, 0.45):
        found_share, median = mismatches(options.runs // 10, share)
        print(f"Split {share:.0%} where 50 % was meant: held {found_share:.1%}, after {median:,.0f} units (median).")


if __name__ == "__main__":
    main()
