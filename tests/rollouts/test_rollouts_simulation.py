"""A/A: two versions of the same quality, looked at after every pair, must hardly ever be told apart."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from homeostat.records import Policy, Rollout, RolloutState, parse_steps
from homeostat.rollouts.evidence import Comparison
from homeostat.rollouts.rules import Facts, find_breach, promotion_threshold, rollback_threshold
from homeostat.stats.sequential import paired_log_evidence

POLICY = Policy()
LOOKS = 2_000
RUNS = 1_500
DISCORDANT = 0.2


def limit(level: float) -> float:
    """More than this would come up by chance in 1 of 1,000 such simulations."""
    return float(stats.binom.ppf(0.999, RUNS, level))


@pytest.fixture(scope="module")
def looks() -> dict[str, np.ndarray]:
    """For each run and look: running counts, and the evidence of all, of positives and of negatives."""
    rng = np.random.default_rng(20250101)
    share = rng.random((RUNS, LOOKS))
    positive = rng.random((RUNS, LOOKS)) < 0.5
    win, loss = share < DISCORDANT / 2, (share >= DISCORDANT / 2) & (share < DISCORDANT)
    most = int(LOOKS * DISCORDANT)
    table = paired_log_evidence(*np.meshgrid(np.arange(most), np.arange(most), indexing="ij"))

    def count(mask: np.ndarray) -> np.ndarray:
        return np.cumsum(mask, axis=1, dtype=np.int32)

    found = {"wins": count(win), "losses": count(loss), "positive": count(positive)}
    found |= {"wins+": count(win & positive), "losses+": count(loss & positive)}
    found |= {f"{name}-": found[name] - found[f"{name}+"] for name in ("wins", "losses")}
    found["better"] = table[found["wins"], found["losses"]]
    for part in ("", "+", "-"):
        found[f"worse{part}"] = table[found[f"losses{part}"], found[f"wins{part}"]]
    return found


def test_false_promotions_keep_to_their_error(looks):
    promoted = (looks["better"] >= promotion_threshold(POLICY)).any(axis=1).sum()
    assert 0 < promoted <= limit(POLICY.rollout.promotion_error)


def test_false_rollbacks_of_all_guardrails_together_keep_to_theirs(looks):
    # Where no e-process crosses its threshold no guardrail can act, whatever it allows for, so this counts too many.
    overall = (looks["worse"] >= rollback_threshold(POLICY)) & (looks["losses"] > looks["wins"])
    rates = np.maximum(looks["worse+"], looks["worse-"]) >= rollback_threshold(POLICY, "tpr")
    assert (overall | rates).any(axis=1).sum() <= limit(POLICY.rollout.rollback_error)


def test_the_rules_act_at_the_looks_at_which_the_evidence_says_so(looks):
    crossed = np.flatnonzero((looks["worse"] >= rollback_threshold(POLICY)).any(axis=1))
    assert len(crossed)
    for run in crossed[:3].tolist():
        first = int(np.argmax(looks["worse"][run] >= rollback_threshold(POLICY)))
        assert breach(looks, run, first - 1) is None
        assert breach(looks, run, first) == "paired evidence"


def breach(looks: dict[str, np.ndarray], run: int, look: int) -> str | None:
    wins, losses = int(looks["wins"][run, look]), int(looks["losses"][run, look])
    pairs = look + 1
    right = pairs - wins - losses
    seen = Comparison(
        pairs=pairs,
        wins=wins,
        losses=losses,
        log_better=paired_log_evidence(wins, losses),
        log_worse=paired_log_evidence(losses, wins),
        candidate=(right + wins) / pairs,
        baseline=(right + losses) / pairs,
    )
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    rollout = Rollout(
        id="m-rollout-1",
        model="m",
        candidate=2,
        baseline=1,
        steps=parse_steps(("canary 10% for 1d", "100%")),
        state=RolloutState.RUNNING,
        created_at=moment,
        updated_at=moment,
        step_entered_at=moment,
    )
    facts = Facts(moment, pairs, pairs, seen, None, None, None, pairs, 0, None)
    found = find_breach(rollout, facts, POLICY)
    return None if found is None else found.rule


def test_a_worse_candidate_is_found_and_a_better_one_promoted():
    rng = np.random.default_rng(4)
    share = rng.random((300, LOOKS))
    more, less = np.cumsum(share < 0.12, axis=1), np.cumsum(share > 0.96, axis=1)
    evidence = paired_log_evidence(more, less)
    assert ((evidence >= rollback_threshold(POLICY)).any(axis=1)).mean() > 0.99
    assert ((evidence >= promotion_threshold(POLICY)).any(axis=1)).mean() > 0.99
    assert math.isfinite(float(evidence.min()))
