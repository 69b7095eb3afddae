"""Any data frame (pandas, polars, pyarrow) to typed columns and back."""

from __future__ import annotations

from homeostat.frames.columns import (
    Array,
    Columns,
    Floats,
    Kind,
    as_text,
    concatenate,
    content_hash,
    finite,
    from_columns,
    infer_kind,
    infer_kinds,
    label_text,
    missing,
    to_arrow,
    to_columns,
    to_pandas,
)
from homeostat.frames.reader import Reader

__all__ = [
    "Array",
    "Columns",
    "Floats",
    "Kind",
    "Reader",
    "as_text",
    "concatenate",
    "content_hash",
    "finite",
    "from_columns",
    "infer_kind",
    "infer_kinds",
    "label_text",
    "missing",
    "to_arrow",
    "to_columns",
    "to_pandas",
]
