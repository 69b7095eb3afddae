"""What a rollout does next, as a table: facts in, action out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from homeostat.errors import InvalidSettings
from homeostat.records import GuardrailPolicy, Phase, Policy, Rollout, RolloutState, StepKind, Task, parse_steps
from homeostat.rollouts.budget import COMPARED, GUARDRAILS, check_guardrails
from homeostat.rollouts.evidence import (
    Comparison,
    Measured,
    Pairs,
    compare,
    compare_within,
    confidence_of,
    drift_of,
    failure_log_evidence,
    fall_log_evidence,
    precision_of,
)
from homeostat.rollouts.rules import (
    Facts,
    arms_of,
    decide,
    evidence_of,
    phase_of,
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
        # Labels that are still on their way leave nobody undecided; in a step by size alone rows are rows.
        (SHADOW, {"overall": EVEN, "rows_in_step": 5_000, "due_in_step": 499}, "hold"),
        (SHADOW, {"overall": EVEN, "rows_in_step": 5_000, "due_in_step": 500}, "reject"),
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


def policy_with(rollout_rules: dict[str, object] | None = None, **guardrails: object) -> Policy:
    return msgspec.structs.replace(
        POLICY,
        guardrails=msgspec.structs.replace(LIMITS, **guardrails),
        rollout=msgspec.structs.replace(POLICY.rollout, **(rollout_rules or {})),
    )


def test_a_guardrail_that_is_off_does_not_act():
    slow = {"candidate_answered": 200, "candidate_slow": 40}
    assert decide(rollout(CANARY), facts(rows_in_step=0, **slow), POLICY).rule == "latency"
    off = policy_with(watch=("accuracy", "errors"))
    assert decide(rollout(CANARY), facts(rows_in_step=0, **slow), off).kind == "hold"
    assert decide(rollout(CANARY), facts(overall=WORSE), off).rule == "paired evidence"


@pytest.mark.parametrize("name", ["precision", "drift", "confidence", "fairness"])
def test_what_is_measured_acts_by_its_own_threshold(name):
    policy = policy_with(watch=(name,))
    threshold = rollback_threshold(policy, name)
    for log, kind in ((threshold - 0.01, "hold"), (threshold, "roll_back")):
        seen = facts(rows_in_step=0, **{name: Measured(500, 0.4, 0.9, log, "'sex' is odd")})
        assert decide(rollout(CANARY), seen, policy).kind == kind
    assert decide(rollout(CANARY), seen, policy).reason == "'sex' is odd (500 rows)"
    assert replay(json.loads(json.dumps(evidence_of(rollout(CANARY), seen), default=str)), rollout(CANARY), policy) == (
        decide(rollout(CANARY), seen, policy)
    )


def test_a_step_that_waits_for_a_person_is_left_once_somebody_agreed():
    steps = parse_steps(("canary 10% for 1h then approve", "100%"))
    waiting = rollout(0, steps=steps)
    assert decide(waiting, facts(), POLICY).reason.startswith("nobody has approved it")
    assert phase_of(waiting, facts(), POLICY) is Phase.AWAITING_APPROVAL
    assert phase_of(waiting, facts(now=soon(minutes=5)), POLICY) is Phase.HOLDING
    # Guardrails act while it waits.
    assert decide(waiting, facts(overall=WORSE), POLICY).kind == "roll_back"
    agreed = rollout(0, steps=steps, approved_step=0)
    assert decide(agreed, facts(), POLICY).kind == "enter"
    assert decide(agreed, facts(now=soon(minutes=5)), POLICY).kind == "hold"
    assert decide(rollout(0, steps=steps, approved_step=1), facts(), POLICY).kind == "hold"


def test_labelled_rows_and_gateways_hold_a_step():
    steps = parse_steps(("canary 10% for 200 labels", "100%"))
    assert decide(rollout(0, steps=steps), facts(labels_in_step=199), POLICY).reason == "199 of 200 labelled rows"
    assert decide(rollout(0, steps=steps), facts(labels_in_step=200), POLICY).kind == "enter"
    cold = facts(labels_in_step=200, gateways=4, gateways_ready=3)
    assert decide(rollout(0, steps=steps), cold, POLICY).kind == "hold"
    assert phase_of(rollout(0, steps=steps), cold, POLICY) is Phase.WARMING
    assert phase_of(rollout(0, steps=steps), replace(cold, gateways_ready=0), POLICY) is Phase.PENDING


@pytest.mark.parametrize(
    ("step", "changes", "phase"),
    [
        (CANARY, {"rows_in_step": 0}, Phase.HOLDING),
        (AB, {}, Phase.EVALUATING),
        (FULL, {}, Phase.PROMOTING),
        (BAKE, {}, Phase.BAKING),
    ],
)
def test_phases(step, changes, phase):
    assert phase_of(rollout(step), facts(**changes), POLICY) is phase


@pytest.mark.parametrize(
    ("at_limit", "step", "kind"),
    [("reject", AB, "reject"), ("hold", AB, "hold"), ("roll_back", AB, "roll_back"), ("roll_back", SHADOW, "reject")],
)
def test_past_its_maximum_a_step_does_what_the_policy_says(at_limit, step, kind):
    late = facts(now=soon(days=3), rows_in_step=500)
    assert decide(rollout(step), late, policy_with({"at_limit": at_limit})).kind == kind


MILD = comparison(2, 13)


def test_a_mild_breach_goes_back_a_step_and_at_last_takes_it_back():
    careful = policy_with({"step_back": True})
    assert rollback_threshold(careful, error=0.2) < MILD.log_worse < rollback_threshold(careful)
    assert decide(rollout(AB), facts(overall=MILD), POLICY).kind == "hold"
    assert decide(rollout(AB), facts(overall=MILD), careful).kind == "step_back"
    assert decide(rollout(AB), facts(overall=WORSE), careful).kind == "roll_back"
    # One move at a time: where it has just gone back, the step lasts as long as ever.
    back = rollout(CANARY, stepped_back=True, step_backs=1)
    early = facts(overall=MILD, rows_in_step=0)
    assert decide(back, early, careful).kind == "hold"
    assert decide(back, facts(overall=MILD), careful).kind == "step_back"
    assert decide(rollout(AB, step_backs=3), facts(overall=MILD), careful).kind == "roll_back"
    # It never gives up production by a mild breach, and the shadow has nothing to give.
    assert decide(rollout(BAKE), facts(overall=MILD, promoted=MILD), careful).kind == "complete"
    assert decide(rollout(SHADOW), facts(overall=MILD), careful).kind == "hold"
    stored = json.loads(json.dumps(evidence_of(back, early)))
    assert replay(stored, rollout(AB), careful) == decide(back, early, careful)


def test_a_control_of_the_same_size_keeps_the_entities_of_the_candidate():
    step = parse_steps(("canary 10% with control", "100%"))[0]
    arms, shadows = arms_of(rollout(CANARY), step)
    assert [(arm.name, arm.version, arm.weight) for arm in arms] == [
        ("stable", 1, 0.8),
        ("candidate", 2, 0.1),
        ("control", 1, 0.1),
    ]
    assert shadows == ()
    half = parse_steps(("ab 50% with control", "100%"))[0]
    assert [arm.name for arm in arms_of(rollout(AB), half)[0]] == ["control", "candidate"]
    # Where the control is as slow, the machine is to blame.
    slow = {"candidate_answered": 200, "candidate_slow": 40, "rows_in_step": 0}
    beside = {"control_answered": 200, "control_slow": 40}
    assert decide(rollout(CANARY), facts(**slow), POLICY).rule == "latency"
    assert decide(rollout(CANARY), facts(**slow, **beside), POLICY).kind == "hold"


def test_exactly_at_the_margin_there_is_no_evidence():
    rng = np.random.default_rng(8)
    runs, rows, margin, level = 400, 3000, 0.02, 0.05
    share = rng.random((runs, rows))
    losses, wins = np.cumsum(share < 0.06, axis=1), np.cumsum(share > 0.96, axis=1)
    crossed = 0
    for run in range(runs):
        crossed += any(
            fall_log_evidence(Comparison(n, int(wins[run, n - 1]), int(losses[run, n - 1]), 0, 0, 0, 0), margin)
            >= math.log(1 / level)
            for n in range(100, rows + 1, 100)
        )
    assert crossed <= 32  # 20 are expected at most; more than 32 comes up once in two hundred times
    far = Comparison(2000, 40, 180, 0, 0, 0, 0)
    assert fall_log_evidence(far, margin) > math.log(1 / 0.008)


def test_shares_that_spend_too_much_and_guardrails_that_are_not_are_refused():
    check_guardrails(GuardrailPolicy(watch=GUARDRAILS))
    for wrong in ({"watch": ("acuracy",)}, {"accuracy_share": 0.9}, {"accuracy_drop": 2.0}):
        with pytest.raises(InvalidSettings):
            check_guardrails(GuardrailPolicy(**wrong))


def test_measures_of_one_version_against_its_own_reference():
    rng = np.random.default_rng(2)
    reference = rng.beta(0.5, 0.5, 1000)
    same, unsure, moved = rng.beta(0.5, 0.5, 800), rng.uniform(0.4, 0.6, 800), rng.uniform(0.9, 1.0, 800)
    assert confidence_of(same, reference, 0.1, binary=True).log_worse < 0
    assert confidence_of(unsure, reference, 0.1, binary=True).log_worse > 20
    assert drift_of(same, reference, 0.25).log_worse < 0
    assert drift_of(moved, reference, 0.25).log_worse > 20
    assert confidence_of(same, np.array([]), 0.1, binary=True) is None
    truth = rng.integers(0, 2, 2000)
    noisy = np.where(rng.random(2000) < 0.3, 1, truth)
    pairs = Pairs(Task.BINARY, truth, noisy, truth, np.arange(2000), positive=1)
    assert precision_of(pairs, 0.05).log_worse > 10
    assert precision_of(replace(pairs, candidate=truth), 0.05).log_worse <= 0
