"""Guardrails where entities bring several rows: how often one acts without need, at the very edge of what it allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.releases.runs import CHUNK, share
from benchmarks.statistics.section import Section, Table

from homeostat.records import GuardrailPolicy, Task
from homeostat.rollouts.entities import first_rows, units_of
from homeostat.rollouts.evidence import (
    Pairs,
    compare,
    compare_within,
    confidence_of,
    drift_of,
    fall_log_evidence,
    known_or_counted,
    precision_of,
    rate_log_evidence,
    share_log_evidence,
)
from homeostat.rollouts.fairness import Grouping, fairness_of
from homeostat.rollouts.feature_drift import feature_drift_of
from homeostat.stats.profile import Profile

RULES = GuardrailPolicy()
ERROR = 0.05
ROWS, EACH = 4_000, 10
# Often at first, when one lucky entity weighs most.
LOOKS = np.unique(np.geomspace(20, ROWS, 30).astype(int)).tolist()
REFERENCE = Profile.of({"x": np.linspace(0, 1, 100_000)}, sample=0)
SCORES = np.linspace(0, 1, 10_001)
GROUPS = Grouping("group", ("a", "b"))
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Rows of entities: `alike` is the chance that a row is judged as all of its entity's rows are.

    `together` says that an entity's rows come one after another, else in any order.
    """

    alike: float
    together: bool

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], Callable[[], Floats]]:
        """Each row's entity, and a source of uniform numbers a row that are as alike as the world says."""
        entity = np.repeat(np.arange(ROWS // EACH), EACH)
        if not self.together:
            entity = rng.permutation(entity)
        copied = rng.random(ROWS) < self.alike

        def uniform() -> Floats:
            own = rng.random(ROWS // EACH)[entity]
            return np.asarray(np.where(copied, own, rng.random(ROWS)))

        return entity, uniform


WORLDS = {
    "all alike, one after another": World(1.0, together=True),
    "all alike, in any order": World(1.0, together=False),
    "half alike, in any order": World(0.5, together=False),
    "independent, in any order": World(0.0, together=False),
}
Owner = npt.NDArray[np.int64] | None
# The evidence of the first rows, put together by owner where one is given.
Evidence = Callable[[int, Owner], float]


def versions(entity: Any, uniform: Callable[[], Floats], lost: float, won: float, truth: int | None = None) -> Pairs:
    """Pairs of which so many are right with one version only; truth is the same for all rows of an entity."""
    actual = np.full(ROWS, truth) if truth is not None else (uniform() < 0.5).astype(np.int64)
    place = uniform()
    old = np.where((place >= lost) & (place < lost + won), 1 - actual, actual)
    new = np.where(place < lost, 1 - actual, actual)
    # Some rows are wrong with both.
    both = place > 0.95
    return Pairs(
        Task.BINARY,
        actual,
        np.where(both, 1 - actual, new),
        np.where(both, 1 - actual, old),
        np.arange(ROWS),
        positive=1,
        entity=entity,
    )


def first(pairs: Pairs, rows: int, owner: Owner) -> Pairs:
    kept = pairs.take(np.arange(ROWS) < rows)
    return replace(kept, entity=None if owner is None else owner[:rows])


def promotion(entity: Any, uniform: Any) -> Evidence:
    pairs = versions(entity, uniform, 0.1, 0.1)
    return lambda rows, owner: compare(first(pairs, rows, owner)).log_better


def accuracy(entity: Any, uniform: Any) -> Evidence:
    margin = RULES.accuracy_drop
    pairs = versions(entity, uniform, 0.1 + margin, 0.1)

    def look(rows: int, owner: Owner) -> float:
        found = compare(first(pairs, rows, owner), margin)
        return fall_log_evidence(found, margin) if found.log_beyond is None else found.log_beyond

    return look


def rate(entity: Any, uniform: Any, *, false: bool) -> Evidence:
    margin = RULES.fpr_rise if false else RULES.tpr_drop
    # Rows that both fail are 5 %: the baseline's rate is then `won + 5 %` false, or that much less than all.
    won = 0.1
    before = won + 0.05 if false else 1 - won - 0.05
    lost = won + margin * before
    pairs = versions(entity, uniform, lost, won, truth=0 if false else 1)

    def look(rows: int, owner: Owner) -> float:
        found = compare_within(first(pairs, rows, owner), positives=not false, margin=margin)
        return rate_log_evidence(found, margin, false=false) if found.log_beyond is None else found.log_beyond

    return look


def precision(entity: Any, uniform: Any) -> Evidence:
    right = uniform()
    ones = np.ones(ROWS, dtype=np.int64)
    # Each version is right in its own share of what it calls positive, so a row's truth depends on who is asked.
    truth_new, truth_old = right < 0.8 - RULES.precision_drop, right < 0.8
    ordinal = np.unique(entity, return_index=True)[1].argsort().argsort()[entity]

    def look(rows: int, owner: Owner) -> float:
        turn = (np.arange(ROWS) if owner is None else ordinal) % 2 == 0
        truth = np.where(turn, truth_new, truth_old).astype(np.int64)
        pairs = Pairs(Task.BINARY, truth, ones, ones, np.arange(ROWS), positive=1, entity=entity)
        found = precision_of(first(pairs, rows, owner), RULES.precision_drop)
        return 0.0 if found is None else found.log_worse

    return look


def fairness(entity: Any, uniform: Any) -> Evidence:
    codes = entity % 2
    place, other = uniform(), uniform()
    # Both versions err alike in one group, and in the other the candidate errs more by the gap.
    new = np.where(place < 0.1 + RULES.fairness_gap * (codes == 0), 0, 1)
    old = np.where((place >= 0.5) & (other < 0.2), 0, 1)
    pairs = Pairs(Task.BINARY, np.ones(ROWS, dtype=np.int64), new, old, np.arange(ROWS), positive=1, entity=entity)

    def look(rows: int, owner: Owner) -> float:
        found = fairness_of(first(pairs, rows, owner), [(GROUPS, codes[:rows])], "accuracy", RULES.fairness_gap)
        return 0.0 if found is None else found.log_worse

    return look


def failing(entity: Any, uniform: Any, allowed: float) -> Evidence:
    happened = uniform() < allowed

    def look(rows: int, owner: Owner) -> float:
        seen = happened[:rows]
        known = share_log_evidence(seen, units_of(entity[:rows]), allowed) if owner is not None else None
        count = int(seen.sum())
        return known_or_counted(known, rows - count, count, allowed)

    return look


def confidence(entity: Any, uniform: Any) -> Evidence:
    reference = np.linspace(0.5, 1, 10_001)
    scores = np.where(uniform() < 0.5 + 2 * RULES.confidence_drop, 0.5, 1.0)

    def look(rows: int, owner: Owner) -> float:
        units = units_of(entity[:rows]) if owner is not None else None
        return confidence_of(scores[:rows], reference, RULES.confidence_drop, binary=True, units=units).log_worse

    return look


def drift(entity: Any, uniform: Any) -> Evidence:
    shift = RULES.drift_shift
    scores = np.where(uniform() < 0.5 + shift, 1.0, 0.0)

    def look(rows: int, owner: Owner) -> float:
        units = units_of(entity[:rows]) if owner is not None else None
        return drift_of(scores[:rows], SCORES, shift, units=units).log_worse

    return look


def feature_drift(entity: Any, uniform: Any) -> Evidence:
    # So much more of the upper half as is allowed.
    upper, place = uniform() < 0.5 + RULES.drift_effect, uniform()
    x = np.where(upper, 0.5 + place / 2, place / 2)

    def look(rows: int, owner: Owner) -> float:
        kept = x[:rows][first_rows(entity[:rows])] if owner is not None else x[:rows]
        return feature_drift_of(
            Profile.of({"x": kept}, like=REFERENCE, sample=0), REFERENCE, RULES.drift_effect
        ).log_worse

    return look


GUARDRAILS: dict[str, Callable[[Any, Any], Evidence]] = {
    "promotion": promotion,
    "accuracy": accuracy,
    "true-positive rate": lambda entity, uniform: rate(entity, uniform, false=False),
    "false-positive rate": lambda entity, uniform: rate(entity, uniform, false=True),
    "precision": precision,
    "fairness": fairness,
    "errors": lambda entity, uniform: failing(entity, uniform, RULES.error_rate),
    "latency": lambda entity, uniform: failing(entity, uniform, 0.05),
    "confidence": confidence,
    "drift of scores": drift,
    "drift of features": feature_drift,
}


def alarms(guardrail: str, world: str, numbers: range) -> tuple[int, int]:
    """Of so many runs, in how many rows alone, and rows put together by entity, acted at any look."""
    limit, found = math.log(1 / ERROR), [0, 0]
    for number in numbers:
        entity, uniform = WORLDS[world].draw(np.random.default_rng([20_250_107, number]))
        look = GUARDRAILS[guardrail](entity, uniform)
        for place, owner in enumerate((None, entity)):
            found[place] += any(look(rows, owner) >= limit for rows in LOOKS)
    return found[0], found[1]


def run(pool: Executor | None, *, runs: int) -> Section:
    parts = [range(start, min(start + CHUNK, runs)) for start in range(0, runs, CHUNK)]
    asked = [(guardrail, world) for guardrail in GUARDRAILS for world in WORLDS]
    if pool is None:
        counted = {one: [alarms(*one, part) for part in parts] for one in asked}
    else:
        waiting = {one: [pool.submit(alarms, *one, part) for part in parts] for one in asked}
        counted = {one: [future.result() for future in futures] for one, futures in waiting.items()}
    rows = []
    for (guardrail, world), found in counted.items():
        shares = [share([True] * acted + [False] * (runs - acted)) for acted in map(sum, zip(*found, strict=True))]
        rows.append([guardrail, world, *shares])
    return Section(
        "Several rows an entity",
        f"{ROWS:,} rows of {ROWS // EACH} entities, {EACH} each, at the very edge of what a guardrail allows, with "
        f'{len(LOOKS)} looks; {runs:,} runs a row. An error of {ERROR:.0%} was allowed to each. "Rows alone" bets on '
        'each row; "by entity" is what rollouts do. In brackets the exact (Clopper–Pearson) 95 % interval.',
        [Table(["what", "rows of an entity", "rows alone", "by entity"], rows)],
    )
