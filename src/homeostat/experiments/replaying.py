"""Takes a decision on an experiment again, from what it kept."""

from __future__ import annotations

from homeostat.experiments.rules import PAST, RULE, replay
from homeostat.records import Decision, Replay, TakenAgain


def replays(decision: Decision) -> bool:
    """Whether a decision is one that the rules of experiments took."""
    return decision.rule == RULE and {"before", "facts"} <= decision.inputs.keys()


def replay_decision(decision: Decision) -> Replay:
    """The move that the rules make on what a decision kept, beside the one that was recorded.

    The plan, with its error budgets, is part of what was kept: no policy is looked up.
    """
    step = replay(decision.inputs)
    named = "nothing" if step.move is None else step.move.value
    verdict = "" if step.verdict is None else f" ({step.verdict.value})"
    same = (
        step.move is not None
        and decision.kind == f"experiment {PAST[step.move]}"
        and decision.reason.endswith(f"{verdict}: {step.reason}")
    )
    return Replay(
        decision=decision,
        again=TakenAgain(kind=named, reason=step.reason, rule=RULE, statistic=None, threshold=None),
        same=same,
    )
