"""Large frames as Parquet, which both sides handle a column at a time: JSON costs them many times as much."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from homeostat.frames import to_arrow
from homeostat.sdk.values import infinite

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = "application/vnd.apache.parquet"
# With fewer rows JSON is as fast.
FEWEST_ROWS = 200
ID, ENTITY, TIME = "prediction_id", "entity", "event_time"


def parquet_of(
    rows: Any,
    *,
    ids: Sequence[str] | None = None,
    entities: Sequence[str] | None = None,
    times: Sequence[str] | None = None,
) -> bytes | None:
    """A frame with what is said of its rows, or `None` where it is small or holds what only JSON can say.

    The server makes of it just what it makes of the same rows in JSON. Raises `InvalidData` where it is no frame, and
    `InvalidFeatures` where a number is infinite.
    """
    table = to_arrow(rows)
    said = {ID: ids, ENTITY: entities, TIME: times}
    if table.num_rows < FEWEST_ROWS or not said.keys().isdisjoint(table.column_names):
        # A column of such a name is a feature to the one, and speaks of the row to the other.
        return None
    if any(values is not None and len(values) != table.num_rows for values in said.values()):
        return None
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = _plain(column, str(name))
        if plain is None:
            return None
        columns[str(name)] = plain
    columns |= {name: list(values) for name, values in said.items() if values is not None}
    return _written(columns)


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray | None:
    """A column of numbers, times, booleans or texts as the server reads it; `None` where it is none of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(pc.cast(column, kind.value_type), name)
    if pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64())
        if pc.any(pc.is_inf(column)).as_py():
            raise infinite(name)
        return column
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return column if is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) else None


def _written(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = io.BytesIO()
    table = pa.table(columns)
    texts = [field.name for field in table.schema if not (pa.types.is_floating(field.type))]
    pq.write_table(table, made, use_dictionary=texts, compression="zstd", write_statistics=False, store_schema=False)
    return made.getvalue()
