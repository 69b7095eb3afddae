"""Appends to a model's records inside a transaction: decisions and routes, numbered within the model."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from homeostat.ports import Transaction
from homeostat.records import Arm, Decision, KeptPolicy, Policy, Route, next_route


def record_decision(transaction: Transaction, model: str, *, kind: str, at: datetime, **details: Any) -> Decision:
    """Append a decision; `details` are the other fields of `Decision`."""
    last = next(iter(transaction.list(Decision, model=model, newest_first=True, limit=1)), None)
    number = 1 if last is None else int(last.id.rsplit("-", 1)[1]) + 1
    decision = Decision(id=f"{model}-decision-{number}", model=model, at=at, kind=kind, **details)
    transaction.insert(decision)
    return decision


def kept_hash(transaction: Transaction, policy: Policy, at: datetime) -> str:
    """The hash of a policy, which is kept under it from now on: see `rollouts.replaying`."""
    config_hash = policy.config_hash
    if transaction.get(KeptPolicy, config_hash) is None:
        transaction.insert(KeptPolicy(config_hash=config_hash, at=at, policy=msgspec.to_builtins(policy)))
    return config_hash


def latest_route(transaction: Transaction, model: str) -> Route | None:
    """The newest route of a model, or `None` where it has never been served."""
    return next(iter(transaction.list(Route, model=model, newest_first=True, limit=1)), None)


def write_route(
    transaction: Transaction,
    model: str,
    arms: tuple[Arm, ...],
    *,
    at: datetime,
    reason: str,
    shadows: tuple[int, ...] = (),
    lease_until: datetime | None = None,
) -> Route:
    """Append the route that follows; where it says the same as the present one, nothing is written.

    `lease_until` is given where the route names a candidate: see `serving.follower`.
    """
    previous = latest_route(transaction, model)
    if previous is not None and previous.arms == arms and previous.shadows == shadows:
        return previous
    route = next_route(previous, model, arms, at=at, reason=reason, shadows=shadows, lease_until=lease_until)
    transaction.insert(route)
    return route


def serve_alone(
    transaction: Transaction, model: str, number: int, *, at: datetime, reason: str, shadows: tuple[int, ...] = ()
) -> Route:
    """Append the route that gives one version all traffic."""
    arms = (Arm(name="control", version=number, weight=1.0),)
    return write_route(transaction, model, arms, at=at, reason=reason, shadows=shadows)
