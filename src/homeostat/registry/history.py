"""The history of versions: one record for each move between stages, and a finding for each file that was changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeostat.errors import IntegrityError
from homeostat.ports import Transaction
from homeostat.records import Finding, Severity, Stage, StageChange, Verdict, Version


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


def integrity_finding(error: IntegrityError, at: datetime) -> Finding:
    """The finding that a changed file is."""
    model, number = str(error.data["model"]), int(error.data["version"])
    return Finding(
        id=f"{model}:integrity:{number}:{at.isoformat()}",
        model=model,
        check="integrity",
        at=at,
        verdict=Verdict.HARMED,
        severity=Severity.CRITICAL,
        message=error.message,
        version=number,
        evidence=dict(error.data),
    )
