"""The rollout that is under way: its steps as a track, what the present one waits for, and the evidence so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from homeostat.dashboard.facts import ModelFacts
from homeostat.dashboard.words import Moment, evidence, length, moment, rollout_words, sound, step_name
from homeostat.records import Policy, Rollout, RolloutState, StepKind
from homeostat.reports.format import counted, metric_value, number
from homeostat.rollouts.budget import promotion_threshold, rollback_threshold

# The least evidence that a meter shows: how little there is for a thing matters less than how much.
LEAST_LOG = -math.log(100.0)
MOST_PAST = 5
STEP_NOTES = {
    StepKind.SHADOW: "scores every row, answers none",
    StepKind.CANARY: "answers a small share",
    StepKind.AB: "answers an equal share until decided",
    StepKind.FULL: "answers all",
    StepKind.BAKE: "answers all, and is watched",
}


@dataclass(frozen=True)
class TrackStep:
    """One step of the track; `place` is done, now or next."""

    name: str
    note: str
    place: str


@dataclass(frozen=True)
class Need:
    """What the present step waits for, and how much of it there is."""

    name: str
    words: str
    is_met: bool


@dataclass(frozen=True)
class Meter:
    """Evidence as a length from 1, which says nothing, in per cent of the meter's width."""

    name: str
    look: str
    value: str
    threshold: str
    meaning: str
    left: float
    width: float
    one: float
    limit: float


@dataclass(frozen=True)
class RolloutView:
    """A rollout that is under way."""

    candidate: int
    baseline: int
    state: str
    actor: str
    reason: str
    began: Moment
    entered: Moment
    step: str
    steps: tuple[TrackStep, ...]
    needs: tuple[Need, ...]
    pairs: str
    sentence: str
    meters: tuple[Meter, ...]


def rollout_view(facts: ModelFacts, now: datetime) -> RolloutView | None:
    """The rollout under way, or `None`."""
    rollout = facts.status.rollout
    if rollout is None:
        return None
    known: Mapping[str, Any] = next(
        (experiment.evidence for experiment in facts.experiments if experiment.id == rollout.id), {}
    )
    policy = facts.policy or Policy()
    return RolloutView(
        candidate=rollout.candidate,
        baseline=rollout.baseline,
        state=rollout_words(rollout),
        actor=sound(rollout.actor, 40),
        reason=sound(rollout.reason, 300),
        began=moment(rollout.created_at, now),
        entered=moment(rollout.step_entered_at, now),
        step=step_name(rollout.current),
        steps=tuple(
            TrackStep(
                step_name(step),
                STEP_NOTES[step.kind],
                "done" if index < rollout.step else "now" if index == rollout.step else "next",
            )
            for index, step in enumerate(rollout.steps[:12])
        ),
        needs=tuple(_needs(rollout, known, policy, now)),
        pairs=counted(int(known.get("pairs") or 0), "labelled pair"),
        sentence=_sentence(rollout, known, classification=facts.status.task.is_classification),
        meters=_meters(known, policy) if known.get("pairs") else (),
    )


def _needs(rollout: Rollout, known: Mapping[str, Any], policy: Policy, now: datetime) -> list[Need]:
    """What is missing until the next step; while paused nothing is waited for."""
    if rollout.state is RolloutState.PAUSED:
        return [Need("paused", "it stays in this step until it is resumed; guardrails go on", is_met=False)]
    step, needs = rollout.current, []
    passed = max((now - rollout.step_entered_at).total_seconds(), 0.0)
    if step.seconds:
        words = f"{length(min(passed, step.seconds))} of {length(step.seconds)}"
        needs.append(Need("time", words, is_met=passed >= step.seconds))
    for name, wanted, key in (
        ("rows served", step.rows, "rows_in_step"),
        ("labelled pairs", step.pairs, "pairs_in_step"),
        ("labelled rows", step.labels, "labels_in_step"),
    ):
        if wanted:
            had = int(known.get(key) or 0)
            needs.append(Need(name, f"{min(had, wanted):,} of {wanted:,}", is_met=had >= wanted))
    if step.until_decided:
        log, threshold = float(known.get("log_better") or 0.0), promotion_threshold(policy)
        needs.append(Need("evidence", f"{evidence(log)} of {evidence(threshold)}", is_met=log >= threshold))
    if step.approval:
        words = f"by {sound(rollout.approved_by or 'somebody', 40)}" if rollout.is_approved else "nobody yet"
        needs.append(Need("approval", words, is_met=rollout.is_approved))
    return needs


def _sentence(rollout: Rollout, known: Mapping[str, Any], *, classification: bool) -> str:
    pairs = int(known.get("pairs") or 0)
    new, old = f"version {rollout.candidate}", f"version {rollout.baseline}"
    if not pairs:
        return (
            "No labelled pairs yet: both versions score the same rows, and are compared once the labels of those rows "
            "have come."
        )
    wins, losses = int(known.get("wins") or 0), int(known.get("losses") or 0)
    values = [known.get("candidate"), known.get("baseline")]
    since = " since it took over" if rollout.promoted_at is not None else ""
    shown = ""
    if all(isinstance(value, int | float) for value in values):
        metric = "accuracy" if classification else "mae"
        # Errors are kept as negative gains, so that more is better for both kinds of model.
        words = [metric_value(metric, float(value) if classification else -float(value)) for value in values]  # type: ignore[arg-type]
        name = "Accuracy" if classification else "Mean absolute error"
        shown = f"{name} {words[0]} against {words[1]}. "
    judged = "was right alone" if classification else "came nearer"
    return f"{shown}On {counted(pairs, 'labelled pair')}{since}, {new} {judged} on {wins:,} and {old} on {losses:,}."


def _meters(known: Mapping[str, Any], policy: Policy) -> tuple[Meter, ...]:
    return (
        _meter("better", float(known.get("log_better") or 0.0), promotion_threshold(policy), "promotes it"),
        _meter("worse", float(known.get("log_worse") or 0.0), rollback_threshold(policy), "takes it back"),
    )


def _meter(name: str, log: float, threshold: float, meaning: str) -> Meter:
    high = threshold * 1.25

    def place(value: float) -> float:
        return round(100 * (min(max(value, LEAST_LOG), high) - LEAST_LOG) / (high - LEAST_LOG), 2)

    filled, one = place(log), place(0.0)
    return Meter(
        name=name,
        look=name if log > 0 else "against",
        value=evidence(log),
        threshold=number(math.exp(min(threshold, 690.0))),
        meaning=meaning,
        left=min(filled, one),
        width=round(abs(filled - one), 2),
        one=one,
        limit=place(threshold),
    )


@dataclass(frozen=True)
class PastRollout:
    """A rollout that ended."""

    candidate: int
    baseline: int
    state: str
    verdict: str
    ended: Moment
    outcome: str


def past_rollouts(facts: ModelFacts, now: datetime) -> list[PastRollout]:
    """The latest rollouts that ended, newest first."""
    good = (RolloutState.COMPLETED,)
    return [
        PastRollout(
            candidate=rollout.candidate,
            baseline=rollout.baseline,
            state=rollout_words(rollout),
            verdict="healthy" if rollout.state in good else "inconclusive",
            ended=moment(rollout.updated_at, now),
            outcome=sound(rollout.outcome, 240),
        )
        for rollout in reversed(facts.rollouts)
        if not rollout.state.is_under_way
    ][:MOST_PAST]
