"""Appends to a model's records inside a transaction: decisions and routes, numbered within the model."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from homeostat.ports import Transaction
from homeostat.records import (
    Arm,
    Decision,
    Experiment,
    ExperimentState,
    KeptPolicy,
    Namespace,
    Policy,
    Route,
    Stage,
    Version,
    next_route,
    routed,
    version_key,
)

ACTOR = "homeostat"
# Traffic has left them already, and their verdict stays what it is: the winner of one may be in production by now.
OVER = (ExperimentState.DECIDED, ExperimentState.INCONCLUSIVE)
LIVE_EXPERIMENTS = tuple(state.value for state in ExperimentState if not state.is_final)


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


def live_experiments(transaction: Transaction, model: str | None = None) -> list[Experiment]:
    """The experiments, of one model or of all, whose outcome does not stand yet."""
    return transaction.list(Experiment, model=model, states=LIVE_EXPERIMENTS)


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

    What is given is for the rows that no experiment owns; the model's experiments are put in beside it, and those whose
    control is no longer what `arms` begin with are aborted. `lease_until` is given where the route names a candidate:
    see `serving.follower`.
    """
    previous = latest_route(transaction, model)
    route = next_route(previous, model, arms, at=at, reason=reason, shadows=shadows, lease_until=lease_until)
    return _appended(transaction, previous, _with_experiments(transaction, route))


def rewrite_route(transaction: Transaction, model: str, *, at: datetime, reason: str) -> Route:
    """Append the route of a model whose experiments changed: what it says of all other rows stays."""
    previous = latest_route(transaction, model)
    assert previous is not None, "only a model that is served has experiments"  # noqa: S101 (checked where they start)
    shadows = tuple(number for number in previous.shadows if number not in previous.shadowing)
    plain = not previous.experiments and not previous.shadowing
    lease = previous.lease_until if plain else previous.default_lease
    route = next_route(previous, model, previous.arms, at=at, reason=reason, shadows=shadows, lease_until=lease)
    return _appended(transaction, previous, _with_experiments(transaction, route))


def serve_alone(
    transaction: Transaction, model: str, number: int, *, at: datetime, reason: str, shadows: tuple[int, ...] = ()
) -> Route:
    """Append the route that gives one version all traffic that no experiment owns."""
    arms = (Arm(name="control", version=number, weight=1.0),)
    return write_route(transaction, model, arms, at=at, reason=reason, shadows=shadows)


def _appended(transaction: Transaction, previous: Route | None, route: Route) -> Route:
    if previous is not None and _said(previous) == _said(route):
        return previous
    transaction.insert(route)
    return route


def _said(route: Route) -> tuple[Any, ...]:
    return route.arms, route.shadows, route.namespace_salt, route.experiments, route.holdouts


def _with_experiments(transaction: Transaction, route: Route) -> Route:
    """The route with the model's experiments in it: the one place where rollouts and experiments meet."""
    live = []
    for experiment in live_experiments(transaction, route.model):
        if experiment.state in OVER:
            continue
        reason = _why_over(transaction, experiment, route)
        if reason is None:
            live.append(experiment)
        else:
            abort_experiment(transaction, experiment, at=route.at, actor=ACTOR, reason=reason)
    taking = [one for one in live if one.state.takes_traffic]
    looking = [one for one in live if one.state is ExperimentState.SHADOWING]
    if not taking and not looking:
        return route
    answering = {arm.version for arm in route.arms}
    wanted = {number for one in looking for number in one.versions}
    shadowing = tuple(sorted(wanted - answering - set(route.shadows)))
    leased = [route.at + timedelta(seconds=one.lease_seconds) for one in (*taking, *looking)]
    lease = min([*leased, route.lease_until] if route.lease_until is not None else leased)
    route = msgspec.structs.replace(route, shadows=(*route.shadows, *shadowing), shadowing=shadowing, lease_until=lease)
    if not taking:
        return route
    namespace = transaction.get(Namespace, taking[0].namespace)
    return msgspec.structs.replace(
        route,
        namespace_salt=taking[0].namespace if namespace is None else namespace.salt,
        holdouts=() if namespace is None else namespace.holdouts,
        experiments=tuple(routed(one) for one in taking),
    )


def _why_over(transaction: Transaction, experiment: Experiment, route: Route) -> str | None:
    """Why an experiment can't go on beside a route, or `None`."""
    control, serving = experiment.control.version, route.arms[0].version
    if control != serving:
        return f"its control, version {control}, is no longer in production: version {serving} is"
    for number in sorted(experiment.versions):
        version = transaction.get(Version, version_key(route.model, number))
        if version is not None and version.stage is Stage.ARCHIVED:
            return f"version {number}, which one of its arms serves, was archived"
    return None


def abort_experiment(
    transaction: Transaction,
    experiment: Experiment,
    *,
    at: datetime,
    actor: str,
    reason: str,
    inputs: dict[str, Any] | None = None,
) -> Experiment:
    """End an experiment without a verdict. Its route has to be written anew by whoever calls."""
    ended = transaction.replace(
        msgspec.structs.replace(experiment, state=ExperimentState.ABORTED, outcome=reason, held="", updated_at=at)
    )
    record_decision(
        transaction,
        experiment.model,
        kind="experiment aborted",
        at=at,
        actor=actor,
        reason=f"{experiment.id} '{experiment.name}': {reason}",
        rule="experiment",
        inputs=inputs or {"experiment": experiment.id, "state": experiment.state.value},
    )
    return ended
