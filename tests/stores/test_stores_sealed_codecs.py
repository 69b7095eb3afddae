"""Numbers are sealed with the codec that suits them, and any tool reads either."""

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from homeostat.frames import Columns

_spec = importlib.util.spec_from_file_location("small_blocks", Path(__file__).with_name("small_blocks.py"))
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


def test_numbers_that_hardly_shrink_are_sealed_with_the_faster_codec(tmp_path):
    import duckdb
    import polars as pl
    import pyarrow.parquet as pq

    rng = np.random.default_rng(5)
    rows = 3_000
    block = small.block(*(f"order-{number}" for number in range(rows)))
    noise = rng.normal(size=rows)
    prices = np.round(rng.gamma(2.0, 30.0, rows), 1)
    object.__setattr__(block, "features", Columns({"noise": noise, "price": prices}))
    log = small.open_log(tmp_path)
    log.append([block])
    assert log.seal(datetime(2025, 3, 2, tzinfo=UTC)) == rows
    [file] = (tmp_path / "sealed").rglob("*.parquet")
    group = pq.ParquetFile(file).metadata.row_group(0)
    codecs = {group.column(place).path_in_schema: group.column(place).compression for place in range(group.num_columns)}
    assert codecs["feature.noise"] == "LZ4"
    assert codecs["feature.price"] == "ZSTD"
    assert codecs["prediction_id"] == "ZSTD"
    for table in (
        pl.read_parquet(file).to_arrow(),
        duckdb.read_parquet(str(file)).to_arrow_table(),
        next(iter(log.scan("spam", ["feature.noise", "feature.price"]))),
    ):
        np.testing.assert_array_equal(table.column("feature.noise").to_numpy(), noise)
        np.testing.assert_array_equal(table.column("feature.price").to_numpy(), prices)
    log.close()
