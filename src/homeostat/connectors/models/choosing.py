"""How fast each form of a model is, and which one is taken: measured side by side, so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH_ROWS = 64
MOST_ROUNDS = 9
FEWEST_ROUNDS = 3
BUDGET_SECONDS = 0.5
CLEARLY = 1.3


@dataclass(frozen=True)
class Speed:
    """Seconds for one row alone, and for a row of a batch of 64."""

    one: float
    in_batch: float

    @property
    def cost(self) -> float:
        """The geometric mean of both: a form should be good at single rows and at batches."""
        return float(np.sqrt(self.one * self.in_batch))


def measured(
    calls: Sequence[Callable[[int], Any]],
    *,
    clock: Callable[[], float] = time.perf_counter,
    budget: float = BUDGET_SECONDS,
) -> list[Speed]:
    """The speed of each call, which takes the number of rows to score.

    All are called in turn, round after round, and the median counts: what slows the machine for a moment slows each
    of them. It ends after nine rounds, or when the budget of seconds is spent; three rounds are always made.
    """
    times = np.full((MOST_ROUNDS, len(calls), 2), np.nan)
    for call in calls:
        # The first call makes what is made on first use.
        call(1)
        call(BATCH_ROWS)
    begun = clock()
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and clock() - begun > budget:
            break
        for position, call in enumerate(calls):
            for place, rows in enumerate((1, BATCH_ROWS)):
                start = clock()
                call(rows)
                times[number, position, place] = (clock() - start) / rows
    middle = np.nanmedian(times, axis=0)
    return [Speed(one=float(one), in_batch=float(batch)) for one, batch in middle]


def choose(costs: Sequence[float]) -> int:
    """The position of the form to take: an earlier one unless a later one is clearly, 1.3 times, faster.

    Earlier forms are nearer to the original, and noise should not change what is served.

    >>> choose([10.0, 9.0, 5.0]), choose([10.0, 9.0])
    (2, 0)
    """
    taken = 0
    for position in range(1, len(costs)):
        if costs[taken] > CLEARLY * costs[position]:
            taken = position
    return taken
