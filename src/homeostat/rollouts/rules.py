"""What a rollout does next. Pure: record, facts and policy in, an action out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from homeostat.records import Arm, Policy, Rollout, RolloutState, Step, StepKind
from homeostat.records.decoding import converted
from homeostat.rollouts.evidence import Comparison, failure_log_evidence

# Three e-processes may each take a candidate back, so they share the error that is allowed (Bonferroni).
OVERALL_SHARE, RATE_SHARE = 0.8, 0.1
SLOW_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rollout is judged by. `overall` covers its whole life, `promoted` the time since it took over."""

    now: datetime
    rows_in_step: int
    pairs_in_step: int
    overall: Comparison
    promoted: Comparison | None
    positives: Comparison | None
    negatives: Comparison | None
    candidate_rows: int
    candidate_failures: int
    candidate_p95_ms: float | None
    candidate_answered: int = 0
    candidate_slow: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """What to do: `hold`, `enter` the next step, `complete`, `reject` or `roll_back`."""

    kind: str
    reason: str
    rule: str = ""
    statistic: float | None = None
    threshold: float | None = None


def decide(rollout: Rollout, facts: Facts, policy: Policy) -> Action:
    """Guardrails first, in every step; then whether the step is done."""
    breach = find_breach(rollout, facts, policy)
    step = rollout.current
    takes_traffic = step.kind is not StepKind.SHADOW
    if breach is not None:
        return Action(
            "roll_back" if takes_traffic else "reject", breach.reason, breach.rule, breach.statistic, breach.threshold
        )
    if rollout.state is RolloutState.PAUSED:
        return Action("hold", "paused")
    waiting = what_is_missing(step, rollout, facts, policy)
    if waiting is None:
        last = rollout.step == len(rollout.steps) - 1
        return Action(
            "complete" if last else "enter",
            _summary(judged_of(rollout, facts)),
            "step",
            facts.overall.log_better,
            promotion_threshold(policy),
        )
    if is_past_limit(step, rollout, facts):
        return Action(
            "reject",
            f"undecided after {facts.rows_in_step:,} rows: {_summary(facts.overall)}",
            "limit of the step",
            facts.overall.log_better,
            promotion_threshold(policy),
        )
    return Action("hold", waiting)


def judged_of(rollout: Rollout, facts: Facts) -> Comparison:
    """The evidence that guardrails act on: since the candidate took over, where it has."""
    return facts.promoted if rollout.promoted_at is not None and facts.promoted is not None else facts.overall


def promotion_threshold(policy: Policy) -> float:
    """The log evidence at which a candidate is better."""
    return math.log(1 / policy.rollout.promotion_error)


def rollback_threshold(policy: Policy, share: float = OVERALL_SHARE) -> float:
    """The log evidence at which it is worse: by the whole, or by one of the two rates with `RATE_SHARE`."""
    return math.log(1 / (share * policy.rollout.rollback_error))


def find_breach(rollout: Rollout, facts: Facts, policy: Policy) -> Action | None:
    """A guardrail that is broken. Each acts on evidence that stays valid however often it is looked at."""
    rules, threshold = policy.guardrails, rollback_threshold(policy)
    rate_threshold = rollback_threshold(policy, RATE_SHARE)
    judged = judged_of(rollout, facts)
    fall = rules.accuracy_drop if judged.baseline >= 0 else 0.0
    if judged.log_worse >= threshold and judged.gain < -fall:
        return Action("", f"the candidate is worse: {_summary(judged)}", "paired evidence", judged.log_worse, threshold)
    for name, part, allowed in (
        ("false-positive rate", facts.negatives, rules.fpr_rise),
        ("true-positive rate", facts.positives, rules.tpr_drop),
    ):
        if part is None or part.log_worse < rate_threshold:
            continue
        # Accuracy among rows of one true class is the true-positive rate, or one minus the false-positive rate.
        is_false = name.startswith("false")
        rate, before = (1 - part.candidate, 1 - part.baseline) if is_false else (part.candidate, part.baseline)
        worsening = rate - before if is_false else before - rate
        if worsening > allowed * before and _costs_more(judged):
            reason = f"the {name} is {rate:.1%} against {before:.1%}: {_summary(part)}"
            return Action("", reason, name, part.log_worse, rate_threshold)
    if facts.candidate_rows + facts.candidate_failures >= rules.minimum_rows:
        failing = failure_log_evidence(facts.candidate_rows, facts.candidate_failures, rules.error_rate)
        if failing >= threshold:
            rate = facts.candidate_failures / (facts.candidate_rows + facts.candidate_failures)
            return Action("", f"{rate:.1%} of the candidate's rows failed", "error rate", failing, threshold)
        # More than one answer in twenty above the limit is what a 95th percentile above it means.
        slow = failure_log_evidence(facts.candidate_answered - facts.candidate_slow, facts.candidate_slow, SLOW_SHARE)
        if slow >= threshold:
            share = facts.candidate_slow / facts.candidate_answered
            return Action(
                "",
                f"{share:.0%} of the candidate's answers took more than {rules.p95_latency_ms:.0f} ms",
                "latency",
                slow,
                threshold,
            )
    return None


def _costs_more(overall: Comparison) -> bool:
    """A rate may rise while the whole gains: trading one kind of error for fewer of the other is no harm by itself."""
    return overall.gain <= 0


def what_is_missing(step: Step, rollout: Rollout, facts: Facts, policy: Policy) -> str | None:
    """Why a step can't be left yet, or `None`."""
    passed = (facts.now - rollout.step_entered_at).total_seconds()
    if passed < step.seconds:
        return f"{passed / 3600:.1f} of {step.seconds / 3600:.1f} hours"
    if facts.rows_in_step < step.rows:
        return f"{facts.rows_in_step:,} of {step.rows:,} rows"
    if facts.pairs_in_step < step.pairs:
        return f"{facts.pairs_in_step:,} of {step.pairs:,} labelled pairs"
    if step.until_decided and facts.overall.log_better < promotion_threshold(policy):
        return f"undecided: {_summary(facts.overall)}"
    return None


def is_past_limit(step: Step, rollout: Rollout, facts: Facts) -> bool:
    """Whether a step has been given all the time or rows that it gets."""
    passed = (facts.now - rollout.step_entered_at).total_seconds()
    return (step.max_seconds is not None and passed >= step.max_seconds) or (
        step.max_rows is not None and facts.rows_in_step >= step.max_rows
    )


def arms_of(rollout: Rollout, step: Step) -> tuple[tuple[Arm, ...], tuple[int, ...]]:
    """The arms and shadows that a step serves with. The version that does not answer a row scores it beside."""
    if step.kind is StepKind.SHADOW:
        return (Arm(name="control", version=rollout.baseline, weight=1.0),), (rollout.candidate,)
    if step.kind in (StepKind.FULL, StepKind.BAKE):
        return (Arm(name="control", version=rollout.candidate, weight=1.0),), (rollout.baseline,)
    weight = round(step.weight, 6)
    return (
        Arm(name="control", version=rollout.baseline, weight=1 - weight),
        Arm(name="candidate", version=rollout.candidate, weight=weight),
    ), ()


def _summary(comparison: Comparison) -> str:
    if not comparison.pairs:
        return "no labelled pairs yet"
    if comparison.candidate < 0 or comparison.baseline < 0:
        figures = f"mean absolute error {-comparison.candidate:.4g} against {-comparison.baseline:.4g}"
    else:
        figures = f"accuracy {comparison.candidate:.3f} against {comparison.baseline:.3f}"
    return (
        f"{figures} on {comparison.pairs:,} labelled pairs, {comparison.wins} won and {comparison.losses} lost, "
        f"evidence for better {_evalue(comparison.log_better)}, for worse {_evalue(comparison.log_worse)}"
    )


def _evalue(log_evidence: float) -> str:
    return f"{math.exp(log_evidence):.3g}" if log_evidence < 20 else f"e^{log_evidence:.0f}"


def evidence_of(rollout: Rollout, facts: Facts) -> dict[str, Any]:
    """What a decision keeps of the facts, so that it can be looked at, and taken, again (see `replay`)."""
    comparison = judged_of(rollout, facts)
    return {
        "pairs": comparison.pairs,
        "wins": comparison.wins,
        "losses": comparison.losses,
        "log_better": round(comparison.log_better, 6),
        "log_worse": round(comparison.log_worse, 6),
        "candidate": round(comparison.candidate, 6),
        "baseline": round(comparison.baseline, 6),
        "rows_in_step": facts.rows_in_step,
        "pairs_in_step": facts.pairs_in_step,
        "facts": msgspec.to_builtins(facts),
        "state": rollout.state.value,
        "position": rollout.step,
        "entered_at": rollout.step_entered_at.isoformat(),
        "promoted_at": None if rollout.promoted_at is None else rollout.promoted_at.isoformat(),
    }


def replay(inputs: dict[str, Any], rollout: Rollout, policy: Policy) -> Action:
    """What the rules say of a decision's recorded inputs: the same as when it was taken.

    `rollout` is the record at any later time; only its steps, which never change, are taken from it. `policy` is the
    one that has the decision's `config_hash`.
    """
    promoted = inputs["promoted_at"]
    then = msgspec.structs.replace(
        rollout,
        state=RolloutState(inputs["state"]),
        step=inputs["position"],
        step_entered_at=datetime.fromisoformat(inputs["entered_at"]),
        promoted_at=None if promoted is None else datetime.fromisoformat(promoted),
    )
    return decide(then, converted(inputs["facts"], Facts), policy)
