"""Evidence that the rows of a step differ from what the candidate was trained on, feature by feature.

Each feature is watched through events that are fixed before any row is seen, because they come from the reference: a
value up to or above one of its deciles, outside of its range, missing, one of its ten most frequent categories or none
of them. An event whose share in the reference is q may have a share up to q + δ. Whoever bets on each row that it
happens, at the odds of that limit, can't get rich unless it happens more often: where it has the chance b or less at
every row, given the rows before, the wealth ∏(1 + λ(hit/b − 1)) is a test supermartingale (Waudby-Smith and Ramdas
2024), and it depends on how often the event happened only. So profiles, which are counts, suffice. The average over
stakes, events and features is an e-process again, so that any number of looks costs nothing (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from homeostat.records import Policy, Rollout
from homeostat.rollouts.evidence import Measured
from homeostat.stats.profile import CategoricalSummary, NumericSummary, Profile, Summary, TextSummary
from homeostat.stats.sequential.betting import FRACTIONS

CATEGORIES = 10
DECILES = np.arange(1, 10) / 10


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a row may be: how many of the reference's rows and of the step's rows are it."""

    words: str
    before: int
    now: int


def feature_drift_of(step: Profile, reference: Profile, margin: float, *, visits: int = 1) -> Measured | None:
    """Evidence that some event of some feature has a share that exceeds the reference's by more than a margin.

    `step` is made like `reference`. The evidence begins anew with each step, and a rollout enters a step up to `visits`
    times; each has that part of the whole, so that the chance of a false alarm holds for the rollout. Assumes that at
    every row, given those before, no event has a chance above its share in the reference and the margin.

    >>> reference = Profile.of({"x": np.arange(1000.0)})
    >>> same, moved = (Profile.of({"x": x}, like=reference) for x in (np.arange(1000.0), np.arange(600.0, 1000.0)))
    >>> feature_drift_of(same, reference, 0.2).log_worse < 0
    True
    >>> found = feature_drift_of(moved, reference, 0.2)
    >>> found.what, found.log_worse > 50
    ("'x' is above 599 in 100.0% of rows, and was in 40.0% of its own reference's", True)
    """
    if not step.rows or not reference.rows:
        return None
    worst: tuple[float, str, Event] | None = None
    total: list[float] = []
    for name, summary in step.features.items():
        # No share is beyond a limit of 1: there is nothing to bet on.
        # What the reference never had may still come, if less often than once in twice its rows.
        least = 0.5 / reference.rows
        events = _events(reference.features[name], summary)
        limits = [(one, max(one.before / reference.rows + margin, least)) for one in events]
        judged = [(_log_evidence(one, step.rows, limit), one) for one, limit in limits if limit < 1]
        evidence = _mean([log for log, _ in judged]) if judged else 0.0
        total.append(evidence)
        if judged and (worst is None or evidence > worst[0]):
            worst = (evidence, name, max(judged, key=lambda one: one[0])[1])
    if worst is None:
        return None
    _, name, event = worst
    share, before = event.now / step.rows, event.before / reference.rows
    return Measured(
        rows=step.rows,
        value=share,
        reference=before,
        log_worse=_mean(total) - math.log(visits),
        what=f"'{name}' is {event.words} in {share:.1%} of rows, and was in {before:.1%} of its own reference's",
    )


def drift_together(scores: Measured | None, features: Measured | None) -> Measured | None:
    """The evidence of both, each with half of the guardrail's share, in the words of the one that shows more."""
    if scores is None and features is None:
        return None
    known = [one for one in (scores, features) if one is not None]
    shown = max(known, key=lambda one: one.log_worse)
    # What has not begun to bet still has its stake.
    evidence = _mean([one.log_worse for one in known] + [0.0] * (2 - len(known)))
    return Measured(shown.rows, shown.value, shown.reference, evidence, shown.what)


def most_visits(rollout: Rollout, policy: Policy) -> int:
    """How often a rollout may enter a step, over all of its steps: a step back enters two once more."""
    return len(rollout.steps) + 2 * policy.rollout.most_step_backs * policy.rollout.step_back


def _log_evidence(event: Event, rows: int, limit: float) -> float:
    stakes = np.array(FRACTIONS)
    logs = event.now * np.log1p(stakes * (1 / limit - 1)) + (rows - event.now) * np.log1p(-stakes)
    return _mean(logs.tolist())


def _mean(logs: list[float]) -> float:
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


def _events(reference: Summary, now: Summary) -> Iterator[Event]:
    if isinstance(reference, NumericSummary) and isinstance(now, NumericSummary):
        yield from _numeric(reference, now)
    elif isinstance(reference, CategoricalSummary) and isinstance(now, CategoricalSummary):
        yield from _categorical(reference, now)
    elif isinstance(reference, TextSummary) and isinstance(now, TextSummary):
        for name, summary in reference.descriptors.items():
            yield from (
                Event(f"a text whose {name} is {one.words}", one.before, one.now)
                for one in _numeric(summary, now.descriptors[name], missing=False)
            )
        yield Event("missing", reference.missing, now.missing)


def _numeric(reference: NumericSummary, now: NumericSummary, *, missing: bool = True) -> Iterator[Event]:
    if missing:
        yield Event("missing or infinite", reference.missing + reference.infinite, now.missing + now.infinite)
    if not reference.count:
        return
    before, after = np.cumsum(reference.counts), np.cumsum(now.counts)
    # Up to the last edge lies everything that the reference had, and up to the first one nothing.
    places = np.searchsorted(before / reference.count, DECILES)
    for place in np.unique([0, *places.tolist(), len(reference.edges) - 1]).tolist():
        edge = f"{reference.edges[place]:.6g}"
        yield Event(f"up to {edge}", int(before[place]), int(after[place]))
        yield Event(f"above {edge}", reference.count - int(before[place]), now.count - int(after[place]))


def _categorical(reference: CategoricalSummary, now: CategoricalSummary) -> Iterator[Event]:
    yield Event("missing", reference.missing, now.missing)
    first = slice(0, CATEGORIES)
    names, before, after = reference.categories[first], reference.counts[first], now.counts[first]
    for name, old, new in zip(names, before.tolist(), after.tolist(), strict=True):
        yield Event(f"'{name}'", old, new)
        yield Event(f"not '{name}'", reference.rows - old, now.rows - new)
    yield Event(
        "none of its most frequent categories",
        reference.count - int(before.sum()),
        now.count - int(after.sum()),
    )
