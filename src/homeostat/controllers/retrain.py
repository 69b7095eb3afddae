"""Carries retraining runs to their end."""

from __future__ import annotations

from datetime import datetime

from homeostat.controllers.views import ModelView
from homeostat.ports import ControlStore
from homeostat.records import Policy, Run, RunState
from homeostat.retraining.service import Retraining

LIVE = tuple(state.value for state in RunState if not state.is_final)


class RetrainController:
    """Runs of a model."""

    name = "retrain"

    def __init__(self, store: ControlStore, retraining: Retraining) -> None:
        self._store = store
        self._retraining = retraining

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:
        with self._store.read() as transaction:
            run = next(iter(transaction.list(Run, model=view.model, states=LIVE)), None)
        if run is None:
            return False
        return self._retraining.advance(run, policy, now=now).revision != run.revision
