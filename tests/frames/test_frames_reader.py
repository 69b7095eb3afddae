"""A table read column by column is the table, whatever library holds it."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from homeostat.errors import InvalidData
from homeostat.frames import Kind, Reader

FRAME = pd.DataFrame(
    {
        "x": [1.5, None, 3.0],
        "n": pd.array([1, None, 3], dtype="Int64"),
        "b": [True, False, True],
        "c": ["a", None, "a"],
        "k": pd.Categorical(["u", "v", None]),
        "t": pd.to_datetime(["2026-01-01", None, "2026-01-03"]),
    }
)
LIBRARIES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "dictionary of series": lambda frame: {name: frame[name] for name in frame},
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_reads_alike(library):
    reader = Reader(LIBRARIES[library](FRAME))
    assert reader.rows == 3
    assert reader.names == list(FRAME)
    assert [reader.kind(name) for name in "xnbckt"] == [
        Kind.NUMERIC,
        Kind.NUMERIC,
        Kind.BOOLEAN,
        Kind.CATEGORICAL,
        Kind.CATEGORICAL,
        Kind.NUMERIC,
    ]
    np.testing.assert_array_equal(reader.numbers("x"), [1.5, np.nan, 3.0])
    np.testing.assert_array_equal(reader.numbers("n"), [1, np.nan, 3])
    np.testing.assert_array_equal(reader.numbers("b"), [1, 0, 1])
    days = reader.numbers("t")
    assert days[2] - days[0] == 2 * 86_400e6
    assert np.isnan(days[1])
    assert reader.tally("c") == ({"a": 2}, 1)
    assert reader.tally("k") == ({"u": 1, "v": 1}, 1)
    assert reader.texts("c").tolist() == ["a", None, "a"]
    assert reader.take("x", np.array([2, 0]), text=False).tolist() == [3.0, 1.5]
    assert reader.take("c", np.array([1, 2]), text=True).tolist() == [None, "a"]
    part = reader.select(["b", "x"])
    assert (part.names, part.rows) == (["b", "x"], 3)


def test_floats_are_read_where_they_lie():
    values = np.arange(5.0)
    assert np.shares_memory(Reader({"x": values}).numbers("x"), values)
    assert np.shares_memory(Reader(pd.DataFrame({"x": values}, copy=False)).numbers("x"), values)


def test_lists_and_objects_are_read_by_their_values():
    reader = Reader({"x": [1, None, 2.5], "c": ["a", "b", None]})
    assert (reader.kind("x"), reader.kind("c")) == (Kind.NUMERIC, Kind.CATEGORICAL)
    np.testing.assert_array_equal(reader.numbers("x"), [1, np.nan, 2.5])


def test_sparse_columns_are_read():
    sparse = pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 0.0, 2.0])})
    assert Reader(sparse).kind("x") is Kind.NUMERIC
    assert Reader(sparse).numbers("x").tolist() == [0.0, 0.0, 2.0]


def test_a_column_of_nothing_may_hold_anything_later():
    assert Reader({"c": np.array([None, None], dtype=object)}).kind("c") is Kind.CATEGORICAL


def test_what_is_no_table_is_refused():
    with pytest.raises(InvalidData, match="read as a table"):
        Reader(object())
    with pytest.raises(InvalidData, match="one length"):
        Reader({"x": np.ones(2), "y": np.ones(3)})
    with pytest.raises(InvalidData, match="same name"):
        Reader(pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]))
    with pytest.raises(InvalidData, match="of several types"):
        Reader({"m": ["a", 1, {}]}).kind("m")
    with pytest.raises(InvalidData, match="can't have"):
        Reader({"m": [2**70, 1]}).kind("m")
    with pytest.raises(InvalidData, match="should hold numbers"):
        Reader({"c": ["a", "b"]}).numbers("c")
    with pytest.raises(InvalidData, match="should hold numbers"):
        Reader(pl.DataFrame({"c": ["a", "b"]})).numbers("c")
    with pytest.raises(InvalidData, match="collect"):
        Reader(pl.DataFrame({"x": [1]}).lazy())
    with pytest.raises(InvalidData, match="not a list"):
        Reader({"x": 5})
