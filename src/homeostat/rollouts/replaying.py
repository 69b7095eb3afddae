"""Takes a decision again, from what it kept and the policy that it was taken under."""

from __future__ import annotations

from homeostat.errors import NotReplayable, UnknownRecord
from homeostat.ports import ControlStore, Transaction
from homeostat.records import Decision, Incident, KeptPolicy, Policy, Replay, Rollout, TakenAgain
from homeostat.records.decoding import converted
from homeostat.rollouts.following_up import replay_following
from homeostat.rollouts.rules import replay

# What an action of the rules is called as a decision.
KINDS = {
    "enter": ("step", "promotion"),
    "step_back": ("step back",),
    "complete": ("completed",),
    "reject": ("rejected",),
    "roll_back": ("rollback",),
    "end": ("rollback verified",),
    "fail": ("rollback failed",),
}


def find_decision(store: ControlStore, decision: str) -> Decision:
    """One decision. Raises `UnknownRecord`."""
    with store.read() as transaction:
        found = transaction.get(Decision, decision)
    if found is None:
        raise UnknownRecord(kind="decision", key=decision)
    return found


def replay_decision(store: ControlStore, decision: Decision) -> Replay:
    """The verdict of the rules on what a decision kept, beside the one that was recorded.

    Raises `NotReplayable` for what a person ordered, or what kept no facts.
    """
    inputs = decision.inputs
    if "facts" not in inputs:
        raise NotReplayable(decision=decision.id, kind=decision.kind, reason="it kept no facts to be judged by")
    with store.read() as transaction:
        policy = _policy(transaction, decision)
        if "incident" in inputs:
            incident = transaction.get(Incident, inputs["incident"])
            if incident is None:
                raise UnknownRecord(kind="incident", key=inputs["incident"])
            ended = replay_following(inputs, incident, policy)
            again = TakenAgain(
                kind=ended.kind,
                reason=ended.reason,
                rule="follow-up",
                statistic=ended.statistic,
                threshold=ended.threshold,
            )
        else:
            rollout = transaction.get(Rollout, inputs.get("rollout", ""))
            if rollout is None:
                raise UnknownRecord(kind="rollout", key=str(inputs.get("rollout")))
            action = replay(inputs, rollout, policy)
            again = TakenAgain(
                kind=action.kind,
                reason=action.reason,
                rule=action.rule,
                statistic=action.statistic,
                threshold=action.threshold,
            )
    same = (
        decision.kind in KINDS.get(again.kind, ())
        and (again.rule, again.statistic, again.threshold) == (decision.rule, decision.statistic, decision.threshold)
        and again.reason in decision.reason
    )
    return Replay(decision=decision, again=again, same=same)


def _policy(transaction: Transaction, decision: Decision) -> Policy:
    kept = transaction.get(KeptPolicy, decision.config_hash)
    if kept is None:
        raise NotReplayable(
            decision=decision.id, kind=decision.kind, reason="the policy that it was taken under was not kept"
        )
    return converted(kept.policy, Policy)
