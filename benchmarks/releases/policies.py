"""The steps that are simulated."""

from __future__ import annotations

import msgspec

from homeostat.records import Policy

SHADOW_FIRST = (
    "shadow for 500 pairs until decided max 14d",
    "canary 10% for 1h and 20 rows",
    "ab 50% for 1h and 20 rows until decided max 14d",
    "100%",
    "bake for 1d",
)
LIVE = ("canary 10% for 1d", "ab 50% until decided max 14d", "100%", "bake for 1d")


def with_steps(steps: tuple[str, ...], *, accuracy_drop: float | None = None) -> Policy:
    """The default policy with other steps, and another margin."""
    policy = Policy()
    policy = msgspec.structs.replace(policy, rollout=msgspec.structs.replace(policy.rollout, steps=steps))
    if accuracy_drop is None:
        return policy
    return msgspec.structs.replace(
        policy, guardrails=msgspec.structs.replace(policy.guardrails, accuracy_drop=accuracy_drop)
    )
