"""What a scan gives: the columns that were asked for, of the rows of a time, from a table of any form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.ports import FEATURE, PROBABILITY
from homeostat.records import as_datetime64
from homeostat.stores import arrow

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = (
    "sequence",
    "prediction_id",
    "event_time",
    "version",
    "arm",
    "entity",
    "output",
    "score",
    "latency_ms",
    "error",
)
BEGINNING, END = -(2**63), 2**63 - 1


def check_columns(columns: Sequence[str]) -> None:
    """Raise `InvalidInput` for a column that no log has."""
    for name in columns:
        if name not in FIELDS and not name.startswith((FEATURE, PROBABILITY)):
            raise InvalidInput(
                f"The log has no column '{name}'. It has {', '.join(FIELDS)}, {FEATURE}NAME and {PROBABILITY}NUMBER."
            )


def microseconds(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """A span of event times as microseconds of UTC, its end not included."""
    return (
        BEGINNING if since is None else int(as_datetime64(since).astype(np.int64)),
        END if until is None else int(as_datetime64(until).astype(np.int64)),
    )


def needed(columns: Sequence[str], earliest: int, latest: int, *, since: int, until: int) -> list[str]:
    """The columns to read for a scan of rows with those event times."""
    bounded = earliest < since or latest >= until
    return [*columns, *(["event_time"] if bounded and "event_time" not in columns else [])]


def narrowed(table: pa.Table, columns: Sequence[str], *, since: int, until: int) -> pa.Table:
    """The rows of a time, with exactly those columns; one that the table does not have is null in every row."""
    import pyarrow as pa

    if (since, until) != (BEGINNING, END) and "event_time" in table.column_names:
        moments = table.column("event_time").to_numpy().astype("datetime64[us]").astype(np.int64)
        inside = (moments >= since) & (moments < until)
        if not inside.all():
            table = table.filter(pa.array(inside))
    made = {}
    for name in columns:
        if name in table.column_names:
            made[name] = table.column(name)
        elif name == "entity":
            made[name] = pa.chunked_array([pa.array(arrow.id_texts(table), pa.string())])
        else:
            kind = pa.string() if name in ("arm", "output", "error") else pa.float64()
            made[name] = pa.chunked_array([pa.nulls(table.num_rows, kind)])
    return pa.table(made)
