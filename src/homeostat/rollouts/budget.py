"""How much error a rollout may make, and who may spend how much of it.

Two budgets are kept apart. `rollout.promotion_error` is the chance that a candidate which is no better is promoted: one
e-process spends it, the paired evidence of the whole rollout; every `until decided` step looks at that same process, so
steps cost nothing. `rollout.rollback_error` is the chance that a candidate which keeps to every guardrail is ever taken
back. Each guardrail that is on owns a share of it, and the shares add up to 1 at most (union bound). A guardrail is one
e-process that stays valid however often it is looked at, so neither steps nor looks cost anything (Ville's inequality).
The ones that compare with the baseline begin anew at the promotion, because what came before was selected for being
good: their share is halved, one half for each of the two processes. There is one candidate arm; a control arm is
never taken back, so it spends nothing. A step back is no rollback: `rollout.step_back_error` is its own budget, shared
the same way. A new attempt is a new rollout with budgets of its own, which is why attempts rest and are counted.
"""

from __future__ import annotations

import math

from homeostat.errors import InvalidSettings
from homeostat.records import GuardrailPolicy, Policy

COMPARED = ("accuracy", "tpr", "fpr", "precision", "fairness")
GUARDRAILS = (*COMPARED, "errors", "latency", "drift", "confidence")
ROUNDING = 1e-9


def promotion_threshold(policy: Policy) -> float:
    """The log evidence at which a candidate is better."""
    return math.log(1 / policy.rollout.promotion_error)


def rollback_threshold(policy: Policy, guardrail: str = "accuracy", *, error: float | None = None) -> float:
    """The log evidence at which a guardrail acts; of another budget than the rollback error where `error` is given.

    >>> round(math.exp(rollback_threshold(Policy())))
    125
    """
    spent = policy.guardrails.share(guardrail) * (policy.rollout.rollback_error if error is None else error)
    if guardrail in COMPARED:
        spent /= 2
    return math.log(1 / spent) if spent else math.inf


def check_guardrails(rules: GuardrailPolicy) -> None:
    """Raise `InvalidSettings` for a guardrail that there is not, or shares that spend more than there is."""
    unknown = [name for name in rules.watch if name not in GUARDRAILS]
    if unknown:
        raise InvalidSettings(f"There is no guardrail '{unknown[0]}'. Known: {', '.join(GUARDRAILS)}.")
    total = sum(rules.share(name) for name in set(rules.watch))
    if total > 1 + ROUNDING:
        raise InvalidSettings(
            f"The guardrails that are on would spend {total:g} of the rollback error; their shares add up to 1 at most."
        )
    for name in (
        "accuracy_drop",
        "tpr_drop",
        "precision_drop",
        "error_rate",
        "confidence_drop",
        "drift_effect",
        "fairness_gap",
    ):
        if getattr(rules, name) >= 1:
            raise InvalidSettings(f"policy.guardrails.{name} is a share below 1; 0.02 is two points.")
