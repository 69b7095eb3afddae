"""What a rollout does next. Pure: record, facts and policy in, an action out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from homeostat.records import Arm, Phase, Policy, Rollout, RolloutState, Step, StepKind
from homeostat.records.decoding import converted
from homeostat.rollouts.budget import promotion_threshold, rollback_threshold
from homeostat.rollouts.evidence import (
    Comparison,
    Measured,
    fall_log_evidence,
    known_or_counted,
    rate_log_evidence,
)

SLOW_SHARE = 0.05
LIMIT = "limit of the step"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rollout is judged by. `overall` covers its whole life, `promoted` the time since it took over.

    `labels_in_step` are labelled rows of the step, whoever answered them; `due_in_step` those and the rows that waited
    for their label as long as labels may take. Of the gateways that serve the model `gateways_ready` hold the present
    route. The figures of the `control` arm are there where the step has one. `failing`, `slowing` and `control_slowing`
    are log evidence by entity and day, where an entity has several rows a day; without them the counts of rows say it.
    """

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
    labels_in_step: int = 0
    gateways: int = 0
    gateways_ready: int = 0
    control_answered: int = 0
    control_slow: int = 0
    precision: Measured | None = None
    drift: Measured | None = None
    confidence: Measured | None = None
    due_in_step: int | None = None
    fairness: Measured | None = None
    failing: float | None = None
    slowing: float | None = None
    control_slowing: float | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What to do: `hold`, `enter` the next step, `step_back`, `complete`, `reject` or `roll_back`."""

    kind: str
    reason: str
    rule: str = ""
    statistic: float | None = None
    threshold: float | None = None


def decide(rollout: Rollout, facts: Facts, policy: Policy) -> Action:
    """Guardrails first, in every step and while paused or waiting for approval; then whether the step is done."""
    breach = find_breach(rollout, facts, policy)
    step = rollout.current
    give_up = "reject" if step.kind is StepKind.SHADOW else "roll_back"
    if breach is not None:
        return Action(give_up, breach.reason, breach.rule, breach.statistic, breach.threshold)
    if rollout.state is RolloutState.PAUSED:
        return Action("hold", "paused")
    mild = _mild_breach(rollout, facts, policy)
    if mild is not None:
        return mild
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
        undecided = f"undecided after {_counted_rows(step, facts):,} rows: {_summary(facts.overall)}"
        threshold = promotion_threshold(policy)
        if policy.rollout.at_limit == "hold":
            return Action("hold", f"held past its maximum, {undecided}", LIMIT, facts.overall.log_better, threshold)
        kind = give_up if policy.rollout.at_limit == "roll_back" else "reject"
        return Action(kind, undecided, LIMIT, facts.overall.log_better, threshold)
    return Action("hold", waiting)


def phase_of(rollout: Rollout, facts: Facts, policy: Policy) -> Phase:
    """What a rollout that holds is doing."""
    step = rollout.current
    if step.kind is StepKind.BAKE:
        return Phase.BAKING
    if step.kind is StepKind.FULL:
        return Phase.PROMOTING
    if rollout.step == 0 and facts.gateways_ready < facts.gateways:
        return Phase.WARMING if facts.gateways_ready else Phase.PENDING
    if _is_short(step, rollout, facts) is not None:
        return Phase.HOLDING
    if step.until_decided and facts.overall.log_better < promotion_threshold(policy):
        return Phase.EVALUATING
    return Phase.AWAITING_APPROVAL if step.approval and not rollout.is_approved else Phase.HOLDING


def _mild_breach(rollout: Rollout, facts: Facts, policy: Policy) -> Action | None:
    """Going back one step, or staying there until the step is over again; three times, and it is taken back."""
    rules = policy.rollout
    if not rules.step_back or rollout.promoted_at is not None or rollout.current.kind is StepKind.SHADOW:
        return None
    mild = find_breach(rollout, facts, policy, error=rules.step_back_error)
    if mild is None:
        return None
    if rollout.step_backs >= rules.most_step_backs:
        reason = f"after {rollout.step_backs} steps back, {mild.reason}"
        return Action("roll_back", reason, mild.rule, mild.statistic, mild.threshold)
    settled = _is_short(rollout.current, rollout, facts) is None
    if rollout.step > 0 and (settled or not rollout.stepped_back):
        return Action("step_back", mild.reason, mild.rule, mild.statistic, mild.threshold)
    if is_past_limit(rollout.current, rollout, facts) and rules.at_limit != "hold":
        return Action("roll_back", mild.reason, LIMIT, mild.statistic, mild.threshold)
    return Action("hold", f"a mild breach: {mild.reason}")


def judged_of(rollout: Rollout, facts: Facts) -> Comparison:
    """The evidence that guardrails act on: since the candidate took over, where it has."""
    return facts.promoted if rollout.promoted_at is not None and facts.promoted is not None else facts.overall


def find_breach(rollout: Rollout, facts: Facts, policy: Policy, *, error: float | None = None) -> Action | None:
    """A guardrail that is broken. Each acts on evidence that stays valid however often it is looked at.

    With `error`, that much is spent instead of the rollback error: what that finds is a mild breach.
    """
    rules, judged = policy.guardrails, judged_of(rollout, facts)
    for name in rules.watch:
        threshold = rollback_threshold(policy, name, error=error)
        if name == "accuracy":
            found = _accuracy_breach(judged, policy, threshold)
        elif name in ("tpr", "fpr"):
            found = _rate_breach(name, facts, judged, policy, threshold)
        elif name in ("errors", "latency"):
            found = _service_breach(name, facts, policy, threshold)
        else:
            found = _measured_breach(name, facts, threshold)
        if found is not None:
            return found
    return None


def _accuracy_breach(judged: Comparison, policy: Policy, threshold: float) -> Action | None:
    # A regression has errors as negative gains, and no margin in points.
    margin = policy.guardrails.accuracy_drop if judged.baseline >= 0 else 0.0
    evidence = judged.log_worse
    if margin:
        evidence = fall_log_evidence(judged, margin) if judged.log_beyond is None else judged.log_beyond
    if evidence < threshold or judged.gain >= -margin:
        return None
    return Action("", f"the candidate is worse: {_summary(judged)}", "paired evidence", evidence, threshold)


def _rate_breach(name: str, facts: Facts, judged: Comparison, policy: Policy, threshold: float) -> Action | None:
    is_false = name == "fpr"
    part = facts.negatives if is_false else facts.positives
    if part is None:
        return None
    words = "false-positive rate" if is_false else "true-positive rate"
    allowed = policy.guardrails.fpr_rise if is_false else policy.guardrails.tpr_drop
    evidence = rate_log_evidence(part, allowed, false=is_false) if part.log_beyond is None else part.log_beyond
    # A rate may get worse while the whole gains: trading one kind of error for fewer of the other is no harm by itself.
    if evidence < threshold or judged.gain > 0:
        return None
    # Accuracy among rows of one true class is the true-positive rate, or one minus the false-positive rate.
    rate, before = (1 - part.candidate, 1 - part.baseline) if is_false else (part.candidate, part.baseline)
    return Action("", f"the {words} is {rate:.1%} against {before:.1%}: {_summary(part)}", words, evidence, threshold)


def _service_breach(name: str, facts: Facts, policy: Policy, threshold: float) -> Action | None:
    """Errors and latency. Where a control of the same size is as slow, the candidate is not the cause."""
    rules = policy.guardrails
    if facts.candidate_rows + facts.candidate_failures < rules.minimum_rows:
        return None
    if name == "errors":
        evidence = known_or_counted(facts.failing, facts.candidate_rows, facts.candidate_failures, rules.error_rate)
        beside = 0.0
        rate = facts.candidate_failures / max(facts.candidate_rows + facts.candidate_failures, 1)
        words, rule = f"{rate:.1%} of the candidate's rows failed", "error rate"
    else:
        # More than one answer in twenty above the limit is what a 95th percentile above it means.
        evidence = slow_log_evidence(facts.slowing, facts.candidate_answered, facts.candidate_slow)
        beside = slow_log_evidence(facts.control_slowing, facts.control_answered, facts.control_slow)
        share = facts.candidate_slow / max(facts.candidate_answered, 1)
        words = f"{share:.0%} of the candidate's answers took more than {rules.p95_latency_ms:.0f} ms"
        rule = "latency"
    if evidence < threshold or beside >= threshold:
        return None
    return Action("", words, rule, evidence, threshold)


def slow_log_evidence(known: float | None, answered: int, slow: int) -> float:
    """What is known by entity, or what counts of rows say of more than one slow answer in twenty."""
    return known_or_counted(known, answered - slow, slow, SLOW_SHARE)


def _measured_breach(name: str, facts: Facts, threshold: float) -> Action | None:
    found: Measured | None = getattr(facts, name)
    if found is None or found.log_worse < threshold:
        return None
    words = (
        found.what
        or {
            "precision": f"precision is {found.value:.3f} against {found.reference:.3f}",
            "confidence": f"mean confidence is {found.value:.3f}, and was {found.reference:.3f} on its own reference",
            "drift": f"its scores lie at {found.value:.2f} of its own reference's; {found.reference:.2f} is the middle",
        }[name]
    )
    return Action("", f"{words} ({found.rows:,} rows)", name, found.log_worse, threshold)


def what_is_missing(step: Step, rollout: Rollout, facts: Facts, policy: Policy) -> str | None:
    """Why a step can't be left yet, or `None`."""
    short = _is_short(step, rollout, facts)
    if short is not None:
        return short
    if step.until_decided and facts.overall.log_better < promotion_threshold(policy):
        return f"undecided: {_summary(facts.overall)}"
    if step.approval and not rollout.is_approved:
        return f"nobody has approved it: 'homeostat rollout approve {rollout.model}'"
    if step.kind.names_candidate and facts.gateways_ready < facts.gateways:
        return f"{facts.gateways_ready} of {facts.gateways} gateways serve this step's route"
    return None


def _is_short(step: Step, rollout: Rollout, facts: Facts) -> str | None:
    passed = (facts.now - rollout.step_entered_at).total_seconds()
    if passed < step.seconds:
        return f"{passed / 3600:.1f} of {step.seconds / 3600:.1f} hours"
    if facts.rows_in_step < step.rows:
        return f"{facts.rows_in_step:,} of {step.rows:,} rows"
    if facts.pairs_in_step < step.pairs:
        return f"{facts.pairs_in_step:,} of {step.pairs:,} labelled pairs"
    if facts.labels_in_step < step.labels:
        return f"{facts.labels_in_step:,} of {step.labels:,} labelled rows"
    return None


def is_past_limit(step: Step, rollout: Rollout, facts: Facts) -> bool:
    """Whether a step has been given all the time or rows that it gets."""
    passed = (facts.now - rollout.step_entered_at).total_seconds()
    return (step.max_seconds is not None and passed >= step.max_seconds) or (
        step.max_rows is not None and _counted_rows(step, facts) >= step.max_rows
    )


def _counted_rows(step: Step, facts: Facts) -> int:
    """The rows that a maximum counts. Nobody is undecided about rows whose labels are still on their way."""
    # Decisions that were taken before rows were told apart are taken again as they were.
    return facts.rows_in_step if not step.until_decided or facts.due_in_step is None else facts.due_in_step


def arms_of(rollout: Rollout, step: Step) -> tuple[tuple[Arm, ...], tuple[int, ...]]:
    """The arms and shadows that a step serves with. The version that does not answer a row scores it beside.

    The first arm has whoever is in no other. Where the step has a control of the candidate's size, that arm comes last,
    so that the candidate's entities stay where they were, and `stable` has the rest.
    """
    if step.kind is StepKind.SHADOW:
        return (Arm(name="control", version=rollout.baseline, weight=1.0),), (rollout.candidate,)
    if step.kind in (StepKind.FULL, StepKind.BAKE):
        return (Arm(name="control", version=rollout.candidate, weight=1.0),), (rollout.baseline,)
    weight = round(step.weight, 6)
    candidate = Arm(name="candidate", version=rollout.candidate, weight=weight)
    if step.control and 2 * weight < 1:
        return (
            Arm(name="stable", version=rollout.baseline, weight=round(1 - 2 * weight, 6)),
            candidate,
            Arm(name="control", version=rollout.baseline, weight=weight),
        ), ()
    return (Arm(name="control", version=rollout.baseline, weight=1 - weight), candidate), ()


def _summary(comparison: Comparison) -> str:
    if not comparison.pairs:
        return "no labelled pairs yet"
    owners = "" if comparison.entities is None else f" of {comparison.entities:,} entities"
    if comparison.candidate < 0 or comparison.baseline < 0:
        figures = f"mean absolute error {-comparison.candidate:.4g} against {-comparison.baseline:.4g}"
    else:
        figures = f"accuracy {comparison.candidate:.3f} against {comparison.baseline:.3f}"
    return (
        f"{figures} on {comparison.pairs:,} labelled pairs{owners}, {comparison.wins} won and "
        f"{comparison.losses} lost, evidence for better {_evalue(comparison.log_better)}, "
        f"for worse {_evalue(comparison.log_worse)}"
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
        "labels_in_step": facts.labels_in_step,
        "entered_at": rollout.step_entered_at.isoformat(),
        "step_backs": rollout.step_backs,
        "stepped_back": rollout.stepped_back,
        "approved_step": rollout.approved_step,
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
        # Decisions that were taken before these were kept had none of them.
        step_backs=inputs.get("step_backs", 0),
        stepped_back=inputs.get("stepped_back", False),
        approved_step=inputs.get("approved_step"),
    )
    return decide(then, converted(inputs["facts"], Facts), policy)
