"""Seals the prediction log's closed hours to their final form."""

from __future__ import annotations

from datetime import datetime, timedelta

from homeostat.controllers.views import ModelView
from homeostat.ports import PredictionLog
from homeostat.records import Policy

# An hour stays open this long after its end, so that rows that were on their way lie in the same file.
GRACE = timedelta(minutes=10)


class SealController:
    """The log of all models: whoever holds a model's lease seals what is due."""

    name = "seal"

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._sealed_until: datetime | None = None

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:  # noqa: ARG002 (one log for all)
        until = (now - GRACE).replace(minute=0, second=0, microsecond=0)
        if self._sealed_until is None or until > self._sealed_until:
            self._log.seal(until)
            self._sealed_until = until
        return False
