"""What an experiment may do, and what it does next. Pure: records and facts in, an action out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from homeostat.errors import IllegalTransition
from homeostat.records import Experiment, ExperimentState, ExperimentVerdict, Strategy
from homeostat.records.decoding import converted

S = ExperimentState


class Move(StrEnum):
    """What takes an experiment from one state to another. The first eight are people's, the others happen."""

    SCHEDULE = "schedule"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    REWEIGH = "weights"
    STOP = "stop"
    ABORT = "abort"
    ARCHIVE = "archive"
    EXPOSE = "expose"
    HOLD = "hold"
    RELEASE = "release"
    DECIDE = "decide"
    GIVE_UP = "give up"
    ADVANCE = "advance"


BY_HAND = (Move.SCHEDULE, Move.START, Move.PAUSE, Move.RESUME, Move.REWEIGH, Move.STOP, Move.ABORT, Move.ARCHIVE)
# Where each move leads from each state that it is legal in. A start goes by shadowing where the plan has any.
TRANSITIONS: dict[Move, dict[ExperimentState, ExperimentState]] = {
    Move.SCHEDULE: {S.DRAFT: S.SCHEDULED, S.SCHEDULED: S.SCHEDULED},
    Move.START: {S.DRAFT: S.RUNNING, S.SCHEDULED: S.RUNNING},
    Move.PAUSE: {S.RUNNING: S.PAUSED},
    Move.RESUME: {S.PAUSED: S.RUNNING},
    Move.REWEIGH: {
        S.DRAFT: S.DRAFT,
        S.SCHEDULED: S.SCHEDULED,
        S.SHADOWING: S.SHADOWING,
        S.RUNNING: S.RUNNING,
        S.PAUSED: S.PAUSED,
    },
    Move.STOP: {
        S.RUNNING: S.CONCLUDED,
        S.PAUSED: S.CONCLUDED,
        S.HELD: S.CONCLUDED,
        S.DECIDED: S.CONCLUDED,
        S.INCONCLUSIVE: S.CONCLUDED,
    },
    Move.ABORT: {state: S.ABORTED for state in S if not state.is_final},
    Move.ARCHIVE: {S.CONCLUDED: S.ARCHIVED, S.ABORTED: S.ARCHIVED},
    Move.EXPOSE: {S.SHADOWING: S.RUNNING},
    Move.HOLD: {S.RUNNING: S.HELD},
    Move.RELEASE: {S.HELD: S.RUNNING},
    Move.DECIDE: {S.RUNNING: S.DECIDED},
    Move.GIVE_UP: {S.RUNNING: S.INCONCLUSIVE, S.HELD: S.INCONCLUSIVE},
    Move.ADVANCE: {S.RUNNING: S.RUNNING},
}


# The rule that decisions name, and what they say that a move did.
RULE = "experiment"
PAST = {
    Move.SCHEDULE: "scheduled",
    Move.START: "started",
    Move.PAUSE: "paused",
    Move.RESUME: "resumed",
    Move.REWEIGH: "reweighed",
    Move.STOP: "concluded",
    Move.ABORT: "aborted",
    Move.ARCHIVE: "archived",
    Move.EXPOSE: "exposed",
    Move.HOLD: "held",
    Move.RELEASE: "released",
    Move.DECIDE: "decided",
    Move.GIVE_UP: "inconclusive",
    Move.ADVANCE: "reweighed",
}


def target(experiment: Experiment, move: Move) -> ExperimentState:
    """The state that a move leads to. Raises `IllegalTransition`, which names the moves that are legal."""
    found = TRANSITIONS[move].get(experiment.state)
    if found is None:
        raise IllegalTransition(
            kind="Experiment",
            key=experiment.id,
            state=experiment.state.value,
            move=move.value,
            legal=legal_moves(experiment.state),
        )
    if move is Move.START and shadows_first(experiment):
        return ExperimentState.SHADOWING
    return found


def legal_moves(state: ExperimentState, moves: Iterable[Move] = BY_HAND) -> list[str]:
    """What people may do with an experiment in a state.

    >>> legal_moves(ExperimentState.PAUSED)
    ['resume', 'weights', 'stop', 'abort']
    """
    return [move.value for move in moves if state in TRANSITIONS[move]]


def shadows_first(experiment: Experiment) -> bool:
    """Whether an experiment's arms score beside production before they answer anybody."""
    return experiment.plan.shadow_seconds > 0 or experiment.plan.shadow_rows > 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the statistics say: running, win, loss, flat, inconclusive or held, of which arm, and why."""

    verdict: str
    winner: str | None = None
    reasons: tuple[str, ...] = ()


class ExperimentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment is moved by.

    `shadowed` and `failed` count, for the arm that has least of the one and most of the other, the rows that it scored
    beside production and the share of them that it could not. `weights` are those that a bandit would give its arms.
    """

    now: datetime
    judged: Judged
    shadowed: int = 0
    failed: float = 0.0
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do: a move, or nothing, and why."""

    move: Move | None
    reason: str = ""
    verdict: ExperimentVerdict | None = None
    winner: str | None = None
    weights: tuple[float, ...] | None = None
    stage: int | None = None


HOLD = Step(None)
# A version that can't score more than one row in a hundred beside production answers nobody.
MOST_FAILED = 0.01


def decide(experiment: Experiment, facts: ExperimentFacts) -> Step:
    """What happens to an experiment now, by itself."""
    state, now = experiment.state, facts.now
    if state is S.SCHEDULED:
        due = experiment.starts_at is not None and now >= experiment.starts_at
        return Step(Move.START, "its time has come") if due else HOLD
    if state is S.SHADOWING:
        return _after_shadowing(experiment, facts)
    if not state.takes_traffic:
        return HOLD
    verdict = facts.judged.verdict
    why = " ".join(facts.judged.reasons)
    if verdict == "held":
        if _is_over(experiment, now):
            return Step(Move.GIVE_UP, f"held until its time was up: {why}")
        return HOLD if state is S.HELD else Step(Move.HOLD, why)
    if state is S.HELD:
        return Step(Move.RELEASE, "what held it is gone")
    if verdict in list(ExperimentVerdict):
        return Step(Move.DECIDE, why, ExperimentVerdict(verdict), facts.judged.winner)
    if verdict == "inconclusive":
        return Step(Move.GIVE_UP, why)
    if _is_over(experiment, now):
        return Step(Move.GIVE_UP, f"undecided when its time was up: {why}" if why else "undecided when its time was up")
    return _next_weights(experiment, facts)


def _after_shadowing(experiment: Experiment, facts: ExperimentFacts) -> Step:
    plan = experiment.plan
    if facts.failed > MOST_FAILED:
        return Step(Move.ABORT, f"an arm could not score {facts.failed:.1%} of the rows that it shadowed")
    since = experiment.stage_at or experiment.updated_at
    passed = (facts.now - since).total_seconds()
    if passed < plan.shadow_seconds or facts.shadowed < plan.shadow_rows:
        return HOLD
    return Step(Move.EXPOSE, f"its arms scored {facts.shadowed:,} rows each beside production")


def _next_weights(experiment: Experiment, facts: ExperimentFacts) -> Step:
    plan = experiment.plan
    passed = (facts.now - (experiment.stage_at or experiment.updated_at)).total_seconds()
    stage = experiment.stage + 1
    if plan.strategy is Strategy.GRADUAL:
        if stage >= len(plan.ramp) or passed < plan.ramp[stage - 1].seconds:
            return HOLD
        reason = f"its arms get {plan.ramp[stage].share:.0%} of their weights"
        return Step(Move.ADVANCE, reason, weights=ramped(experiment, stage), stage=stage)
    if plan.strategy is Strategy.BANDIT and passed >= plan.reweigh_seconds and facts.weights is not None:
        return Step(Move.ADVANCE, "its weights follow what its arms showed", weights=facts.weights, stage=stage)
    return HOLD


def _is_over(experiment: Experiment, now: datetime) -> bool:
    began = experiment.began_at
    return began is not None and (now - began).total_seconds() >= experiment.plan.maximum_seconds


def ramped(experiment: Experiment, stage: int) -> tuple[float, ...]:
    """The weights of a stage: every arm but the control at that share of its planned weight, the control the rest."""
    plan = experiment.plan
    planned = [arm.weight for arm in plan.arms]
    if plan.strategy is not Strategy.GRADUAL or not plan.ramp:
        return tuple(planned)
    others = [round(weight * plan.ramp[stage].share, 9) for weight in planned[1:]]
    return (round(1 - sum(others), 9), *others)


def recorded(experiment: Experiment, facts: ExperimentFacts) -> dict[str, Any]:
    """What a decision keeps, so that it can be taken again (see `replay`)."""
    before = msgspec.structs.replace(experiment, evidence={})
    return {
        "experiment": experiment.id,
        "before": msgspec.to_builtins(before),
        "facts": msgspec.to_builtins(facts),
        "evidence": experiment.evidence,
    }


def replay(inputs: dict[str, Any]) -> Step:
    """What the rules say of a decision's recorded inputs: the same as when it was taken."""
    return decide(converted(inputs["before"], Experiment), converted(inputs["facts"], ExperimentFacts))
