"""Rows as a request has them: features for the model, and where the caller gave them ids, entities and event times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidFeatures
from homeostat.frames import Columns
from homeostat.http.operations import PRINTED
from homeostat.http.tables.shape import Limits
from homeostat.records import Signature

if TYPE_CHECKING:
    import pyarrow as pa

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
# What pandas' and other people's clients say for Parquet.
PARQUET_TYPES = (PARQUET, "application/x-parquet", "application/parquet")
TABLE_TYPES = (CSV, *PARQUET_TYPES)

ID, ENTITY, TIME = "prediction_id", "entity", "event_time"
ABOUT_ROWS = (ID, ENTITY, TIME)


@dataclass(frozen=True, slots=True)
class Rows:
    """Typed columns in the signature's order, and what the caller said about each row, `None` where nothing."""

    columns: Columns
    ids: list[Any] | None = None
    entities: list[Any] | None = None
    times: npt.NDArray[np.datetime64] | None = None


def read_table(content: bytes, content_type: str, signature: Signature, limits: Limits) -> Rows:
    """The rows of a CSV or of a Parquet file.

    Columns that are named `prediction_id`, `entity` and `event_time` say what these fields of other requests say,
    unless the model has a feature of that name. Raises `InvalidFeatures`, `InvalidData` or `TooLarge`.
    """
    from homeostat.http.tables.csv_text import read_csv
    from homeostat.http.tables.parquet import read_parquet
    from homeostat.serving.tables import columns_of_table

    optional = about_rows(signature)
    kinds = signature.kinds
    if content_type == CSV:
        table = read_csv(content, kinds, optional, limits)
    else:
        texts = {*optional, *(name for name, kind in kinds.items() if not kind.is_number)}
        table = read_parquet(content, list(kinds), optional, texts, limits)
    given = {name: table.column(name) for name in optional if name in table.column_names}
    return Rows(columns_of_table(table, signature), **said_about_rows(given))


def about_rows(signature: Signature) -> list[str]:
    """The names of columns that speak of rows: those that are no feature's."""
    return [name for name in ABOUT_ROWS if name not in signature.kinds]


def said_about_rows(given: Mapping[str, pa.ChunkedArray | Sequence[Any]]) -> dict[str, Any]:
    """Ids, entities and times from columns of these names. Raises `InvalidFeatures`.

    >>> said_about_rows({"entity": ["u1", None]})
    {'entities': ['u1', None]}
    """
    import pyarrow as pa

    readers: dict[str, tuple[str, Callable[[pa.ChunkedArray], Any]]] = {
        ID: ("ids", _names),
        ENTITY: ("entities", _names),
        TIME: ("times", _times),
    }
    found = {}
    for name, values in given.items():
        field, read = readers[name]
        try:
            column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
            found[field] = read(column)
        except (pa.ArrowException, OverflowError, UnicodeError):
            wanted = "times as RFC 3339 has them" if name == TIME else "texts or whole numbers"
            raise InvalidFeatures(f"The column '{name}' should hold {wanted}, and holds something else.") from None
    return found


def _names(column: pa.ChunkedArray) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from homeostat.serving.tables import is_text

    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        if pc.any(pc.invert(pc.match_substring_regex(column, PRINTED))).as_py():
            raise InvalidFeatures("A prediction_id or an entity has control characters.")
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise pa.ArrowTypeError
    return list(column.to_pylist())


def _times(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    """Microseconds of UTC, NaT where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from homeostat.serving.tables import is_text

    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        # A time without a zone is in UTC; the two can't be read in one go.
        has_zone = pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")
        zoned = pc.cast(pc.if_else(has_zone, column, None), pa.timestamp("us", tz="UTC"))
        column = pc.coalesce(
            pc.cast(zoned, pa.timestamp("us")), pc.cast(pc.if_else(has_zone, None, column), pa.timestamp("us"))
        )
    elif not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_null(column.type)):
        raise pa.ArrowTypeError
    options = pc.CastOptions(target_type=pa.timestamp("us"), allow_time_truncate=True)
    return np.asarray(pc.cast(column, options=options).to_numpy(), dtype="datetime64[us]")
