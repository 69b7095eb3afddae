"""Many runs of one case, spread over processes, and how their shares are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from benchmarks.releases.controller import Outcome, Simulation
from benchmarks.releases.world import Evidence, Rows, Traffic, Truth, draw
from scipy.stats import binomtest

from homeostat.records import Policy

CHUNK = 25
USUAL, OURS = Traffic(), Evidence()


@dataclass(frozen=True)
class Case:
    """What is simulated again and again; runs differ in their random rows only."""

    truth: Truth
    policy: Policy
    traffic: Traffic = USUAL
    evidence: Evidence = OURS
    by_hand: bool = False
    observations: int = 20_000
    first: int | None = None

    def run(self, number: int, *, every: bool = False) -> Outcome:
        """One run, of its own random rows."""
        rows = draw(self.truth, self.observations + self.traffic.late, np.random.default_rng([20_250_106, number]))
        if self.first is not None:
            # What is not decided by then is begun anew with more of the same rows: what is to come changes nothing.
            found = self._over(rows.first(self.first + self.traffic.late), every=every)
            if found.ended is not None:
                return found
        return self._over(rows, every=every)

    def _over(self, rows: Rows, *, every: bool) -> Outcome:
        simulation = Simulation(rows, self.traffic, self.policy, evidence=self.evidence, by_hand=self.by_hand)
        return simulation.run(every=every)


def run_some(case: Case, numbers: Sequence[int]) -> list[Outcome]:
    return [case.run(number) for number in numbers]


def run_all(cases: Mapping[str, Case], runs: int, pool: Executor | None = None) -> dict[str, list[Outcome]]:
    """The outcomes of each case, in the order of the runs."""
    if pool is None:
        return {name: run_some(case, range(runs)) for name, case in cases.items()}
    parts = [range(start, min(start + CHUNK, runs)) for start in range(0, runs, CHUNK)]
    waiting = {name: [pool.submit(run_some, case, part) for part in parts] for name, case in cases.items()}
    return {name: [one for future in futures for one in future.result()] for name, futures in waiting.items()}


@dataclass(frozen=True)
class Share:
    """How many runs ended so, with the exact (Clopper–Pearson) 95 % interval."""

    count: int
    runs: int

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.count, self.runs).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count / self.runs:.1%} ({low:.1%}–{high:.1%})"


def share(outcomes: Iterable[bool]) -> Share:
    found = list(outcomes)
    return Share(sum(found), len(found))


def median(values: Iterable[float], unit: str = "", *, digits: int = 0) -> str:
    """The median, or a dash where there is none."""
    found = list(values)
    return f"{np.median(found):,.{digits}f}{unit}" if found else "–"
