"""Frames to typed columns and back, and what is no table."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from homeostat.errors import HomeostatError, InvalidData, InvalidFeatures
from homeostat.frames import Columns, Kind, content_hash, from_columns, label_text, to_columns

DATA = {"x": [1.5, None, -2.0], "flag": [True, None, False], "c": ["a", None, "ü"]}
KINDS = {"c": Kind.CATEGORICAL, "x": Kind.NUMERIC, "flag": Kind.BOOLEAN}


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_every_library_gives_the_same_columns(make):
    columns = to_columns(make(DATA), KINDS)
    assert list(columns) == ["c", "x", "flag"]
    np.testing.assert_array_equal(columns["x"], [1.5, np.nan, -2.0])
    np.testing.assert_array_equal(columns["flag"], [1.0, np.nan, 0.0])
    assert columns["c"].tolist() == ["a", None, "ü"]
    assert from_columns(columns, KINDS).to_pydict() == {name: DATA[name] for name in KINDS}


@pytest.mark.parametrize(
    "data",
    [
        {"x": 1.0},
        {"x": [1, "a"]},
        {"x": ["\ud800"]},
        {"x": [1], "y": [1, 2]},
        [1, 2],
        None,
        "text",
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"x": [1, "a"]}),
        pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]),
    ],
)
def test_what_is_no_table(data):
    with pytest.raises(InvalidData):
        to_columns(data)


@pytest.mark.parametrize(
    ("values", "kind"),
    [(["abc"], Kind.NUMERIC), ([[1.0]], Kind.NUMERIC), ([{"a": 1}], Kind.CATEGORICAL), (["yes"], Kind.BOOLEAN)],
)
def test_values_of_another_kind(values, kind):
    with pytest.raises(InvalidFeatures, match="'x'"):
        to_columns({"x": values}, {"x": kind})


def test_missing_features_are_all_named():
    with pytest.raises(InvalidFeatures, match="a, b") as caught:
        to_columns({"x": [1]}, {"a": Kind.NUMERIC, "x": Kind.NUMERIC, "b": Kind.TEXT})
    assert isinstance(caught.value, HomeostatError)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (np.datetime64("NaT"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (Decimal("NaN"), None),
        (1, "1"),
        (1.0, "1"),
        (np.float32(2), "2"),
        (np.int8(3), "3"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        (np.bool_(False), "false"),
        ("1.0", "1.0"),
        ("", ""),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
    ],
)
def test_labels_as_text(value, expected):
    assert label_text(value) == expected


def objects(*values):
    return np.array(values, dtype=object)


def test_a_content_hash_tells_tables_apart():
    tables = [
        {"a": objects("b", "c")},
        {"a": objects("b\x1fc")},
        {"a": objects("bc")},
        {"a": objects("b", None, "c")},
        {"a": objects("b", "\x00", "c")},
        {"a": objects("b", "-", "c")},
        {"ab": objects("c")},
        {"a": objects("b"), "c": objects()},
        {"a": np.array([1.0])},
        {"a": np.array([1.0, 2.0])},
        {"a": np.array([1.0]), "b": np.array([2.0])},
        {"b": np.array([2.0]), "a": np.array([1.0])},
    ]
    assert len({content_hash(table) for table in tables}) == len(tables)
    given = pd.DataFrame({"x": [1.0, None], "c": ["a", None]})
    assert content_hash(to_columns(given)) == content_hash(to_columns(pl.from_pandas(given)))


def test_times_are_numbers_of_microseconds():
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    assert to_columns({"t": [moment, None]}, {"t": Kind.NUMERIC})["t"][0] == moment.timestamp() * 1e6


def test_taking_rows_keeps_the_count_without_columns():
    empty = Columns({}, 5)
    assert empty.take(np.array([0, 4])).rows == 2
    assert empty.take(np.array([True, False, True, True, False])).rows == 3
    assert empty.take(slice(1, None)).rows == 4
