"""Adapters that keep state: memory, SQLite, Parquet, content-addressed files."""
