"""Rows as a table of Arrow → typed columns in the signature's order, a column at a time.

The same is refused as in rows of JSON (`serving/rows.py`), except that times are taken for numbers: they are read as
microseconds since 1970 in UTC, which is what a model is trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidFeatures
from homeostat.frames import Columns, Kind
from homeostat.records import Feature, Signature
from homeostat.serving.rows import LONGEST_TEXT

if TYPE_CHECKING:
    import pyarrow as pa

WANTED = {
    Kind.NUMERIC: "a number",
    Kind.BOOLEAN: "true or false",
    Kind.CATEGORICAL: "a text",
    Kind.TEXT: "a text",
}


def columns_of_table(table: pa.Table, signature: Signature) -> Columns:
    """Typed columns of a valid table that has every feature; more columns are passed over.

    Nulls and NaN are missing values. Raises `InvalidFeatures` where a column is of another type, or holds infinite
    numbers or texts of more than 100,000 characters.
    """
    import pyarrow as pa

    columns: dict[str, npt.NDArray[Any]] = {}
    for feature in signature.features:
        column = table.column(feature.name)
        try:
            if feature.kind.is_number:
                columns[feature.name] = _numbers(column, feature)
            else:
                columns[feature.name] = _texts(column, feature)
        except (pa.ArrowException, UnicodeDecodeError):
            raise _wrong(feature) from None
    return Columns(columns, table.num_rows)


def _numbers(column: pa.ChunkedArray, feature: Feature) -> npt.NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = pc.cast(column, kind.value_type)
        kind = kind.value_type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if feature.kind is Kind.NUMERIC and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        to_microseconds = pc.CastOptions(target_type=pa.timestamp("us"), allow_time_truncate=True)
        column = pc.cast(pc.cast(column, options=to_microseconds), pa.int64())
    elif feature.kind is Kind.BOOLEAN and pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif not is_number and not pa.types.is_null(kind):
        raise _wrong(feature)
    found = np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    if feature.kind is Kind.BOOLEAN and not (np.isnan(found) | (found == 0) | (found == 1)).all():
        raise _wrong(feature)
    if np.isinf(found).any():
        raise InvalidFeatures(f"Feature '{feature.name}' has an infinite value.", feature=feature.name)
    return found


def _texts(column: pa.ChunkedArray, feature: Feature) -> npt.NDArray[Any]:
    import pyarrow as pa

    found = np.full(len(column), None, dtype=object)
    if pa.types.is_null(column.type):
        return found
    start = 0
    for chunk in column.chunks:
        part = found[start : start + len(chunk)]
        start += len(chunk)
        if pa.types.is_dictionary(chunk.type):
            # Each text is made once, however many rows have it.
            known = _objects(chunk.dictionary, feature)
            present = chunk.indices.is_valid().to_numpy(zero_copy_only=False)
            part[present] = known[chunk.indices.drop_null().to_numpy()]
        else:
            part[:] = _objects(chunk, feature)
    return found


def _objects(values: pa.Array, feature: Feature) -> npt.NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(values.type):
        raise _wrong(feature)
    if pa.types.is_string_view(values.type):
        values = pc.cast(values, pa.large_string())
    if (pc.max(pc.utf8_length(values)).as_py() or 0) > LONGEST_TEXT:
        raise InvalidFeatures(f"Feature '{feature.name}' has a text of more than {LONGEST_TEXT:,} characters.")
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=object)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of Arrow holds texts."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _wrong(feature: Feature) -> InvalidFeatures:
    return InvalidFeatures(
        f"Feature '{feature.name}' should be {WANTED[feature.kind]} or missing in every row, and is not.",
        feature=feature.name,
    )
