"""What a rollout does next, as a table: facts in, action out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.records import Policy, Rollout, RolloutState, StepKind, Task, parse_steps
from homeostat.rollouts.budget import COMPARED, GUARDRAILS
from homeostat.rollouts.evidence import Comparison, Pairs, compare, compare_within, failure_log_evidence
from homeostat.rollouts.rules import (
    Facts,
    arms_of,
    decide,
    evidence_of,
    promotion_threshold,
    replay,
    rollback_threshold,
)

POLICY = Policy()
ENTERED = datetime(2025, 5, 1, tzinfo=UTC)
STEPS = parse_steps(
    (
        "shadow for 20 pairs until decided max 500 rows",
        "canary 10% for 1h and 40 rows",
        "ab 50% until decided max 2d",
        "100%",
        "bake for 1h and 30 pairs",
    )
)
SHADOW, CANARY, AB, FULL, BAKE = range(5)
LIMITS = POLICY.guardrails


def comparison(wins: int, losses: int, both: int = 100) -> Comparison:
    """`both` rows on which both are right, and the discordant ones."""
    truth = np.zeros(wins + losses + both, dtype=np.int64)
    candidate, baseline = truth.copy(), truth.copy()
    baseline[:wins] = 1
    candidate[wins : wins + losses] = 1
    return compare(Pairs(Task.BINARY, truth, candidate, baseline, truth, positive=0))


EVEN = comparison(5, 5)
BETTER = comparison(40, 2)
WORSE = comparison(2, 40)
NOTHING = comparison(0, 0, 0)


def facts(**changes: object) -> Facts:
    quiet = Facts(
        now=ENTERED + timedelta(hours=2),
        rows_in_step=100,
        pairs_in_step=50,
        overall=EVEN,
        promoted=None,
        positives=None,
        negatives=None,
        candidate_rows=100,
        candidate_failures=0,
        candidate_p95_ms=1.0,
    )
    return replace(quiet, **changes)  # type: ignore[arg-type]


def rollout(step: int, state: RolloutState = RolloutState.RUNNING, **changes: object) -> Rollout:
    made = Rollout(
        id="m-rollout-1",
        model="m",
        candidate=2,
        baseline=1,
        steps=STEPS,
        state=state,
        created_at=ENTERED,
        updated_at=ENTERED,
        step=step,
        step_entered_at=ENTERED,
        promoted_at=ENTERED if step >= FULL else None,
    )
    return msgspec.structs.replace(made, **changes)


def soon(**parts: float) -> datetime:
    return ENTERED + timedelta(**parts)


@pytest.mark.parametrize(
    ("step", "changes", "action"),
    [
        # Shadow: pairs, then evidence, then the limit.
        (SHADOW, {"pairs_in_step": 19, "overall": BETTER}, "hold"),
        (SHADOW, {"overall": EVEN}, "hold"),
        (SHADOW, {"overall": NOTHING, "pairs_in_step": 0}, "hold"),
        (SHADOW, {"overall": BETTER}, "enter"),
        (SHADOW, {"overall": EVEN, "rows_in_step": 500}, "reject"),
        (SHADOW, {"overall": BETTER, "rows_in_step": 500}, "enter"),
        (SHADOW, {"overall": WORSE}, "reject"),
        # Canary: each floor on its own.
        (CANARY, {"now": soon(minutes=59)}, "hold"),
        (CANARY, {"rows_in_step": 39}, "hold"),
        (CANARY, {"now": soon(hours=1), "rows_in_step": 40}, "enter"),
        (CANARY, {"overall": WORSE}, "roll_back"),
        (CANARY, {"overall": WORSE, "now": soon(seconds=1), "rows_in_step": 1}, "roll_back"),
        # A/B: no floor but the evidence.
        (AB, {"overall": EVEN}, "hold"),
        (AB, {"overall": BETTER}, "enter"),
        (AB, {"overall": EVEN, "now": soon(days=2)}, "reject"),
        # The candidate has taken over: only what came since then counts.
        (FULL, {"overall": BETTER, "promoted": NOTHING}, "enter"),
        (BAKE, {"overall": BETTER, "promoted": WORSE}, "roll_back"),
        (BAKE, {"overall": WORSE, "promoted": EVEN}, "complete"),
        (BAKE, {"overall": BETTER, "promoted": EVEN, "pairs_in_step": 29}, "hold"),
        (BAKE, {"overall": BETTER, "promoted": EVEN, "now": soon(minutes=59)}, "hold"),
        # Time that ran backwards finishes nothing.
        (CANARY, {"now": soon(hours=-5)}, "hold"),
    ],
)
def test_each_step(step, changes, action):
    assert decide(rollout(step), facts(**changes), POLICY).kind == action


@pytest.mark.parametrize("step", [SHADOW, CANARY, AB, FULL, BAKE])
def test_a_pause_holds_but_guardrails_still_act(step):
    paused = rollout(step, RolloutState.PAUSED)
    assert decide(paused, facts(overall=BETTER), POLICY).kind == "hold"
    breached = decide(paused, facts(overall=WORSE, promoted=WORSE), POLICY)
    assert breached.kind == ("reject" if step == SHADOW else "roll_back")
    assert breached.rule == "paired evidence"
    assert breached.statistic is not None
    assert breached.statistic >= breached.threshold


def test_one_loss_short_of_the_evidence_holds_and_one_more_acts():
    threshold = rollback_threshold(POLICY)
    losses = next(n for n in range(200) if comparison(0, n).log_worse >= threshold)
    assert decide(rollout(CANARY), facts(overall=comparison(0, losses - 1), rows_in_step=0), POLICY).kind == "hold"
    assert decide(rollout(CANARY), facts(overall=comparison(0, losses), rows_in_step=0), POLICY).kind == "roll_back"
    wins = next(n for n in range(200) if comparison(n, 0).log_better >= promotion_threshold(POLICY))
    assert decide(rollout(AB), facts(overall=comparison(wins - 1, 0)), POLICY).kind == "hold"
    assert decide(rollout(AB), facts(overall=comparison(wins, 0)), POLICY).kind == "enter"


def test_the_evidence_that_rolls_back_shares_one_error():
    # What compares with the baseline begins anew at the promotion, so it may err twice.
    times = {name: 2 if name in COMPARED else 1 for name in GUARDRAILS}
    spent = sum(times[name] * math.exp(-rollback_threshold(POLICY, name)) for name in GUARDRAILS)
    assert spent == pytest.approx(POLICY.rollout.rollback_error)
    assert sum(LIMITS.share(name) for name in LIMITS.watch) < 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"negatives": comparison(0, 60, 40), "overall": EVEN}, "false-positive rate"),
        # The baseline had no false positive at all: any share of it is a rise.
        ({"negatives": comparison(0, 30, 400), "overall": EVEN}, "false-positive rate"),
        ({"positives": comparison(0, 30, 100), "overall": EVEN}, "true-positive rate"),
        # More errors of one kind and fewer of the other, with a gain in all, is no harm.
        ({"negatives": comparison(0, 60, 40), "overall": BETTER}, None),
        # Certain, but within what is allowed.
        ({"positives": comparison(0, 30, 5000), "overall": EVEN}, None),
        ({"negatives": comparison(10, 12, 100), "overall": EVEN}, None),
        ({"candidate_rows": 90, "candidate_failures": 30}, "error rate"),
        ({"candidate_rows": 0, "candidate_failures": LIMITS.minimum_rows}, "error rate"),
        ({"candidate_rows": 0, "candidate_failures": LIMITS.minimum_rows - 1}, None),
        ({"candidate_rows": 10_000, "candidate_failures": 100}, None),
        ({"candidate_answered": 200, "candidate_slow": 40}, "latency"),
        # One answer in twenty above the limit is what the limit allows; and a few slow ones prove nothing.
        ({"candidate_answered": 2000, "candidate_slow": 100}, None),
        ({"candidate_answered": 3, "candidate_slow": 1}, None),
        ({"candidate_answered": 0, "candidate_slow": 0, "candidate_p95_ms": None}, None),
    ],
)
def test_guardrails(changes, rule):
    action = decide(rollout(CANARY), facts(rows_in_step=0, **changes), POLICY)
    assert (action.kind, action.rule) == (("hold", "") if rule is None else ("roll_back", rule))


@pytest.mark.parametrize(
    ("allowed", "rows", "kind"), [(0.02, 3100, "hold"), (0.02, 600, "roll_back"), (0.0, 9999, "roll_back")]
)
def test_a_fall_that_is_allowed_is_no_breach_however_sure(allowed, rows, kind):
    policy = msgspec.structs.replace(POLICY, guardrails=msgspec.structs.replace(LIMITS, accuracy_drop=allowed))
    seen = facts(overall=comparison(0, 60, rows - 60), rows_in_step=0)
    assert decide(rollout(CANARY), seen, policy).kind == kind


def test_rates_after_the_promotion_are_held_against_what_came_since():
    # It gained before it took over; that must not excuse what it does now.
    now_worse = {"overall": BETTER, "promoted": comparison(3, 9), "positives": comparison(0, 30, 100)}
    assert decide(rollout(BAKE), facts(**now_worse), POLICY).rule == "true-positive rate"


def test_failures_may_come_in_any_order():
    rng = np.random.default_rng(3)
    for rows, failures in ((50, 3), (500, 0), (3, 9)):
        outcomes = rng.permutation(np.concatenate([np.full(failures, 0.99), np.full(rows, -0.01)]))
        fractions = np.array((0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7))
        wealth = np.prod(1 + fractions[:, None] * outcomes[None, :], axis=1).mean()
        assert failure_log_evidence(rows, failures, 0.01) == pytest.approx(math.log(wealth))
    assert failure_log_evidence(0, 0, 0.01) == 0.0


def test_arms_of_each_step():
    weights = {kind: arms_of(rollout(i), STEPS[i]) for i, kind in enumerate(StepKind)}
    assert [(arm.version, arm.weight) for arm in weights[StepKind.SHADOW][0]] == [(1, 1.0)]
    assert weights[StepKind.SHADOW][1] == (2,)
    assert [(arm.version, arm.weight) for arm in weights[StepKind.CANARY][0]] == [(1, 0.9), (2, 0.1)]
    assert [(arm.version, arm.weight) for arm in weights[StepKind.AB][0]] == [(1, 0.5), (2, 0.5)]
    for kind in (StepKind.FULL, StepKind.BAKE):
        # The old version scores beside the new one, so that there is something to be held against.
        assert ([(arm.version, arm.weight) for arm in weights[kind][0]], weights[kind][1]) == ([(2, 1.0)], (1,))


@pytest.mark.parametrize("state", [RolloutState.RUNNING, RolloutState.PAUSED])
@pytest.mark.parametrize("step", [SHADOW, CANARY, AB, FULL, BAKE])
@pytest.mark.parametrize("seen", [EVEN, BETTER, WORSE])
def test_what_was_recorded_gives_the_same_action_again(step, state, seen):
    taken_on = facts(overall=seen, promoted=seen if step >= FULL else None, positives=seen, negatives=EVEN)
    then = rollout(step, state)
    stored = json.loads(json.dumps(evidence_of(then, taken_on)))
    ended = rollout(0, RolloutState.ROLLED_BACK, step_entered_at=soon(days=9), promoted_at=None)
    assert replay(stored, ended, POLICY) == decide(then, taken_on, POLICY)


def test_pairs_compare_by_class_and_since_a_moment():
    truth, new, old = np.array([1, 1, 0, 0, 0]), np.array([1, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 1])
    pairs = Pairs(Task.BINARY, truth, new, old, np.arange(5), positive=1)
    assert (compare(pairs).wins, compare(pairs).losses, compare(pairs).pairs) == (1, 2, 5)
    positives, negatives = compare_within(pairs, positives=True), compare_within(pairs, positives=False)
    assert positives is not None
    assert negatives is not None
    assert (positives.wins, positives.losses, positives.pairs) == (1, 1, 2)
    assert (negatives.wins, negatives.losses, negatives.pairs) == (0, 1, 3)
    assert compare(pairs.since(3)).pairs == 2
    assert compare(pairs.since(99)) == NOTHING
    assert compare_within(pairs.since(3), positives=True) is None
    assert compare_within(replace(pairs, positive=None), positives=True) is None


def test_regression_pairs_use_clipped_errors():
    truth = np.zeros(200)
    near, far = np.full(200, 0.1), np.full(200, 1.0)
    pairs = Pairs(Task.REGRESSION, truth, near, far, np.arange(200), error_bound=3.0)
    better = compare(pairs)
    assert better.gain == pytest.approx(0.9)
    assert better.log_better > promotion_threshold(POLICY) > better.log_worse
    # One error beyond all bounds can't outweigh the rest.
    wild = replace(pairs, candidate=np.where(np.arange(200) == 7, 1e12, near))
    assert compare(wild).log_better > promotion_threshold(POLICY)
    empty = compare(pairs.since(999))
    assert (empty.pairs, empty.log_better, empty.log_worse) == (0, 0.0, 0.0)
