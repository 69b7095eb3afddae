"""Guardrails on features, looked at again and again: how often they act without need, and how soon with need."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from homeostat.records import GuardrailPolicy, Policy, Task
from homeostat.rollouts.budget import rollback_threshold
from homeostat.rollouts.evidence import Pairs
from homeostat.rollouts.fairness import fairness_of, grouping_of
from homeostat.rollouts.feature_drift import feature_drift_of
from homeostat.stats.profile import Profile

pytestmark = pytest.mark.slow

RULES = GuardrailPolicy()
ERROR = 0.05
RUNS = 200
# Often at first, when one lucky row weighs most.
LOOKS = np.unique(np.geomspace(5, 2_000, 25).astype(int))
REFERENCE = Profile.of(
    {
        "x": np.linspace(0, 1, 100_000),
        "y": np.linspace(0, 1, 100_000),
        "c": np.repeat(np.array(list("abcd"), dtype=object), 25_000),
    },
    sample=0,
)
MEMBER = grouping_of("member", Profile.of({"member": np.arange(10) % 2 == 0}, sample=0))


def limit(level: float) -> float:
    """More than this would come up by chance in 1 of 1,000 such simulations."""
    return float(stats.binom.ppf(0.999, RUNS, level))


def drifts(rng: np.random.Generator, upper: float, threshold: float) -> int | None:
    """The look at which drift is found where so much of `x` lies in its upper half; all else is as before."""
    rows = int(LOOKS[-1])
    x = np.where(rng.random(rows) < upper, rng.uniform(0.5, 1, rows), rng.uniform(0, 0.5, rows))
    columns = {"x": x, "y": rng.random(rows), "c": np.array(list("abcd"), dtype=object)[rng.integers(0, 4, rows)]}
    seen, before = REFERENCE.empty(), 0
    seen = Profile(0, seen.features, None, seen.booleans)
    for look in LOOKS.tolist():
        part = {name: values[before:look] for name, values in columns.items()}
        seen, before = seen + Profile.of(part, like=REFERENCE, sample=0), look
        found = feature_drift_of(seen, REFERENCE, RULES.drift_effect)
        if found.log_worse >= threshold:
            return look
    return None


def gaps(rng: np.random.Generator, losses: tuple[float, float], threshold: float) -> int | None:
    """The look at which a gap is found where the candidate loses so much of a right baseline's accuracy by group."""
    rows = int(LOOKS[-1])
    group, truth = rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    old = np.where(rng.random(rows) < 0.9, truth, 1 - truth)
    lost = rng.random(rows) < np.array(losses)[group] / 0.9
    new = np.where(lost & (old == truth), 1 - truth, old)
    for look in LOOKS.tolist():
        pairs = Pairs(Task.BINARY, truth[:look], new[:look], old[:look], np.arange(look), positive=1)
        found = fairness_of(pairs, [(MEMBER, group[:look])], "accuracy", RULES.fairness_gap)
        if found is not None and found.log_worse >= threshold:
            return look
    return None


def test_drift_at_the_edge_of_what_is_allowed_is_hardly_ever_found():
    rng = np.random.default_rng(11)
    found = sum(drifts(rng, 0.5 + RULES.drift_effect, math.log(1 / ERROR)) is not None for _ in range(RUNS))
    assert found <= limit(ERROR)
    assert not any(drifts(rng, 0.5, rollback_threshold(Policy(), "drift")) for _ in range(30))


def test_drift_beyond_it_is_found_within_few_rows():
    rng = np.random.default_rng(12)
    # The features have half of the share, and one of five steps' parts of that.
    threshold = rollback_threshold(Policy(), "drift") + math.log(2 * 5)
    looks = [drifts(rng, 0.9, threshold) for _ in range(60)]
    assert None not in looks
    assert np.median(looks) <= 300


def test_a_gap_at_the_edge_of_what_is_allowed_is_hardly_ever_found():
    rng = np.random.default_rng(13)
    edges = [(0.0, RULES.fairness_gap), (0.2, 0.2 + RULES.fairness_gap)]
    found = [sum(gaps(rng, edge, math.log(1 / ERROR)) is not None for _ in range(RUNS)) for edge in edges]
    assert max(found) <= limit(ERROR)


def test_a_gap_beyond_it_is_found():
    rng = np.random.default_rng(14)
    threshold = rollback_threshold(Policy(), "fairness")
    looks = [gaps(rng, (0.0, 0.2), threshold) for _ in range(60)]
    assert None not in looks
    assert np.median(looks) <= 1_000
