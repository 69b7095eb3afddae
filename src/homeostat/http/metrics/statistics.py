"""What was counted of each version, in the shape that statistics of models ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeostat.http.metrics.server import EXECUTIONS, FIRST_ERROR, LAST, REQUESTS, ROWS, SPENT

if TYPE_CHECKING:
    from prometheus_client import Metric


@dataclass(slots=True)
class VersionCounts:
    """What a version did since the server began: `last` is in seconds since 1970, 0 where it never answered.

    Requests that several versions answered together count in `rows` and `executions` alone.
    """

    rows: int = 0
    executions: int = 0
    succeeded: int = 0
    succeeded_seconds: float = 0.0
    failed: int = 0
    failed_seconds: float = 0.0
    last: float = 0.0


def counts_by_version(families: Iterable[Metric]) -> dict[tuple[str, int], VersionCounts]:
    """The counts of each version of each model, from the families that `ServerMetrics.collect` gives."""
    found: dict[tuple[str, int], VersionCounts] = {}
    for family in families:
        for sample in family.samples:
            version = sample.labels.get("version", "")
            if version.isdecimal() and "model" in sample.labels:
                counts = found.setdefault((sample.labels["model"], int(version)), VersionCounts())
                _add(counts, sample.name, sample.labels.get("status", ""), sample.value)
    return found


def _add(counts: VersionCounts, name: str, status: str, value: float) -> None:
    is_failure = status.isdecimal() and int(status) >= FIRST_ERROR
    match name:
        case ROWS.name:
            counts.rows += int(value)
        case EXECUTIONS.name:
            counts.executions += int(value)
        case LAST.name:
            counts.last = max(counts.last, value)
        case REQUESTS.name if is_failure:
            counts.failed += int(value)
        case REQUESTS.name:
            counts.succeeded += int(value)
        case SPENT.name if is_failure:
            counts.failed_seconds += value
        case SPENT.name:
            counts.succeeded_seconds += value
