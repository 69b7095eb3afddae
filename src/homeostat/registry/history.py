"""The history of versions: one record for each move between stages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeostat.ports import Transaction
from homeostat.records import Stage, StageChange, Version


def stage_change(
    transaction: Transaction,
    version: Version,
    source: Stage | None,
    target: Stage,
    at: datetime,
    actor: str,
    reason: str,
    evidence: dict[str, Any],
) -> StageChange:
    """The next record of a model's history; the caller inserts it."""
    count = len(transaction.list(StageChange, model=version.model))
    return StageChange(
        id=f"{version.model}-move-{count + 1}",
        model=version.model,
        version=version.number,
        source=source,
        target=target,
        at=at,
        actor=actor,
        reason=reason,
        evidence=evidence,
    )
