"""What people look at of a model's log: counts, and the evidence of the rollout that is under way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from homeostat.controllers.views import ModelView, rollout_facts
from homeostat.ports import ControlStore
from homeostat.records import Policy, Progress, Rollout, RolloutState
from homeostat.records.decoding import converted
from homeostat.registry.service import Registry
from homeostat.rollouts.rules import evidence_of

CONTROLLER = "tally"
LIVE = tuple(state.value for state in RolloutState if state.is_under_way)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Rows served and labelled, labels that wait for their prediction, and a live rollout's evidence by its id."""

    rows: int = 0
    labelled: int = 0
    unmatched: int = 0
    evidence: dict[str, dict[str, Any]] = {}


def tally_of(view: ModelView, store: ControlStore, registry: Registry, policy: Policy, now: datetime) -> Tally:
    """Count a view that was followed."""
    rows = view.joined.rows()
    with store.read() as transaction:
        live = next(iter(transaction.list(Rollout, model=view.model, states=LIVE)), None)
    evidence: dict[str, dict[str, Any]] = {}
    if live is not None:
        facts = rollout_facts(view, live, registry.version(view.model, live.baseline), policy, now)
        whole = evidence_of(live, facts)
        evidence[live.id] = {name: value for name, value in whole.items() if name != "facts"}
    return Tally(rows=rows.count, labelled=int(rows.labelled.sum()), unmatched=view.joined.unmatched, evidence=evidence)


def stored_tally(store: ControlStore, model: str) -> Tally:
    """What the controllers wrote down last."""
    with store.read() as transaction:
        held = transaction.get(Progress, f"{CONTROLLER}:{model}")
    return Tally() if held is None else converted(held.state, Tally)


class TallyController:
    """Writes the tally down where it changed, so that every process can show it without reading the log."""

    name = CONTROLLER

    def __init__(self, store: ControlStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        state = msgspec.to_builtins(tally_of(view, self._store, self._registry, policy, now))
        with self._store.begin() as transaction:
            held = transaction.get(Progress, f"{CONTROLLER}:{view.model}")
            if held is None:
                transaction.insert(Progress(controller=CONTROLLER, model=view.model, state=state))
            elif held.state != state:
                transaction.replace(msgspec.structs.replace(held, state=state))
        return False
