"""Bodies that are tables, in CSV and in Parquet: read by the signature, within bounds, a column at a time."""

from __future__ import annotations

from homeostat.http.tables.rows import CSV, PARQUET, TABLE_TYPES, Rows, about_rows, read_table, said_about_rows
from homeostat.http.tables.shape import Limits

__all__ = ["CSV", "PARQUET", "TABLE_TYPES", "Limits", "Rows", "about_rows", "read_table", "said_about_rows"]
