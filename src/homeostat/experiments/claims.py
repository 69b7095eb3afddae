"""What an experiment lays claim to: versions that can be served, and buckets that nobody else has."""

from __future__ import annotations

from homeostat.errors import Conflict, ExperimentsDisagree, NotServing, RangesTaken, ServedElsewhere, UnknownVersion
from homeostat.experiments import ranges
from homeostat.experiments.drafts import check_segment_features
from homeostat.journal import latest_route, live_experiments
from homeostat.ports import Transaction
from homeostat.records import BUCKETS, Buckets, ExperimentDraft, Namespace, Stage, Version, version_key


def namespace_salt(name: str) -> str:
    """What a namespace deals its buckets with."""
    # A model's name is the salt of its rollouts: what deals those must be independent of what deals buckets.
    return f"namespace/{name}"


def check_versions(transaction: Transaction, draft: ExperimentDraft) -> None:
    """Raise where an arm's version is unknown, archived or served elsewhere, or the control's is not in production."""
    versions = transaction.list(Version, model=draft.model)
    known = {version.number: version for version in versions}
    for arm in draft.arms:
        version = transaction.get(Version, version_key(draft.model, arm.version))
        if version is None:
            raise UnknownVersion(model=draft.model, version=arm.version, known=sorted(known))
        if version.is_external:
            raise ServedElsewhere(model=draft.model)
        if version.stage is Stage.ARCHIVED:
            raise Conflict(
                f"Version {arm.version} of '{draft.model}' is archived; an arm needs one that is not. Register it anew."
            )
    production = next((one for one in versions if one.stage is Stage.PRODUCTION), None)
    if production is None or latest_route(transaction, draft.model) is None:
        raise NotServing(model=draft.model)
    if draft.arms[0].version != production.number:
        raise Conflict(
            f"The control, which is the first arm, serves version {draft.arms[0].version}; it has to serve the "
            f"production version, which is {production.number}."
        )
    check_segment_features(draft.segments, production.signature)


def _taken(transaction: Transaction, namespace: str) -> list[Buckets]:
    held = transaction.get(Namespace, namespace)
    owned = [part for one in live_experiments(transaction) if one.namespace == namespace for part in one.ranges]
    return [*owned, *(() if held is None else held.holdouts)]


def free_ranges(transaction: Transaction, namespace: str) -> list[Buckets]:
    """The buckets of a namespace that belong to nobody."""
    return ranges.free(_taken(transaction, namespace))


def own_ranges(transaction: Transaction, draft: ExperimentDraft, namespace: Namespace) -> tuple[Buckets, ...]:
    """The buckets that a new experiment gets."""
    inside = [one for one in live_experiments(transaction) if one.namespace == namespace.name]
    owners = {f"experiment {one.id}": one.ranges for one in inside} | {"its holdout": namespace.holdouts}
    if draft.ranges:
        for owner, owned in owners.items():
            if shared := ranges.overlap(draft.ranges, owned):
                raise RangesTaken(
                    ranges=ranges.shown(shared),
                    namespace=namespace.name,
                    owner=owner,
                    free=ranges.shown(free_ranges(transaction, namespace.name)),
                )
        return draft.ranges
    free = free_ranges(transaction, namespace.name)
    found = ranges.first_free(_taken(transaction, namespace.name), round(draft.share * BUCKETS))
    if found is None:
        others = [f"{one.id} ({one.state.value})" for one in inside]
        if namespace.holdouts:
            others.append("its holdouts")
        raise ExperimentsDisagree(
            f"Namespace '{namespace.name}' has {ranges.width(free) / BUCKETS:.2%} left and the experiment asks for "
            f"{draft.share:.2%}. The rest belongs to {', '.join(others)}. Ask for a smaller share, conclude one of "
            "these ('homeostat experiment stop'), or use another namespace and model."
        )
    return found
