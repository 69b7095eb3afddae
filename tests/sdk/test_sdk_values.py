"""Rows of any kind as JSON carries them: what a model in this process would read, and nothing else."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import InvalidData, InvalidFeatures, InvalidInput, InvalidLabel
from homeostat.frames import Columns, Kind, to_columns
from homeostat.sdk.values import entities_of, features_of, instances_of, labels_of, moment, plain


class Colour(enum.StrEnum):
    RED = "red"


FRAME = pd.DataFrame(
    {
        "x": [0.5, np.nan],
        "i": [1, -2],
        "n": pd.array([7, None], dtype="Int64"),
        "b": [True, False],
        "s": ["a", None],
        "k": pd.Categorical(["u", "v"]),
        "t": pd.to_datetime(["1970-01-01 00:00:01", None]),
    }
)
ROWS = [
    {"x": 0.5, "i": 1, "n": 7, "b": True, "s": "a", "k": "u", "t": 1_000_000},
    {"x": None, "i": -2, "n": None, "b": False, "s": None, "k": "v", "t": None},
]


@pytest.mark.parametrize(
    "rows",
    [FRAME, pl.from_pandas(FRAME), pa.Table.from_pandas(FRAME), FRAME.to_dict("records")],
    ids=["pandas", "polars", "pyarrow", "mappings"],
)
def test_any_frame_gives_the_same_rows(rows: Any) -> None:
    found = instances_of(rows)
    assert found == ROWS
    assert [type(value) for value in found[0].values()] == [float, int, int, bool, str, str, int]
    assert msgspec.json.decode(msgspec.json.encode(found)) == ROWS


def test_columns_give_the_rows_that_they_hold() -> None:
    columns = Columns({"x": np.array([1.0, np.nan]), "s": np.array(["a", None], dtype=object)})
    assert instances_of(columns) == [{"x": 1.0, "s": "a"}, {"x": None, "s": None}]


def test_rows_of_values() -> None:
    assert instances_of([[1, "a"], (2, None)]) == [[1, "a"], [2, None]]
    assert instances_of(np.array([[1.0, np.nan]])) == [[1.0, None]]


def test_a_row_of_a_frame_is_read_by_name_not_by_place() -> None:
    assert features_of(FRAME.iloc[1]) == ROWS[1]
    assert instances_of([row for _, row in FRAME.iterrows()]) == ROWS


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Decimal("1.5"), 1.5),
        (Colour.RED, "red"),
        (np.str_("a"), "a"),
        (np.int8(-3), -3),
        (np.float32(0.5), 0.5),
        (np.bool_(False), False),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (Decimal("NaN"), None),
        (dt.date(1970, 1, 2), 86_400_000_000),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), 0),
        (pd.Timestamp("1970-01-01 00:00:00.000001"), 1),
        (2**64 - 1, 2**64 - 1),
    ],
)
def test_one_value(value: Any, sent: Any) -> None:
    found = plain(value, "f")
    assert found == sent
    assert type(found) is type(sent)


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        -np.inf,
        Decimal("Infinity"),
        np.float32("inf"),
        2**64,
        -(2**63) - 1,
        b"bytes",
        1j,
        [1],
        {},
        dt.timedelta(1),
        np.timedelta64(1, "D"),
        dt.time(1),
        object(),
    ],
)
def test_values_that_are_no_feature(value: Any) -> None:
    with pytest.raises(InvalidFeatures, match="'f'"):
        plain(value, "f")
    with pytest.raises(InvalidFeatures, match="'f'"):
        instances_of([{"f": value}])


@pytest.mark.parametrize("rows", ["text", b"bytes", 7, None, {1, 2}, [7], ["row"], [None], np.array([1.0, 2.0])])
def test_rows_that_are_none(rows: Any) -> None:
    with pytest.raises((InvalidFeatures, InvalidData)):
        instances_of(rows)


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(allow_infinity=False),
            st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
            st.none() | st.integers(-(2**53), 2**53),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_sent_reads_as_what_was_held(rows: list[tuple[Any, Any, Any]]) -> None:
    table = pa.table(
        {
            "x": pa.array([row[0] for row in rows], pa.float64()),
            "s": pa.array([row[1] for row in rows], pa.string()),
            "i": pa.array([row[2] for row in rows], pa.int64()),
        }
    )
    sent = msgspec.json.decode(msgspec.json.encode(instances_of(table)))
    typed = {"x": Kind.NUMERIC, "s": Kind.CATEGORICAL, "i": Kind.NUMERIC}
    again = pa.table(
        {name: pa.array([row[name] for row in sent], table.schema.field(name).type) for name in ("x", "s", "i")}
    )
    held, read = to_columns(table, typed), to_columns(again, typed)
    for name in typed:
        np.testing.assert_array_equal(held[name], read[name])


def test_a_row_without_an_entity_is_its_own() -> None:
    assert entities_of([7, None, "", float("nan")], ["a", "b", 3, "d"]) == ["7", "b", "3", "d"]
    made = entities_of([7, None, None], None)
    assert made[0] == "7"
    assert len({*made, ""}) == 4


def test_times_without_a_zone_are_in_utc() -> None:
    assert moment(dt.datetime(2025, 1, 1)) == moment(dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
    assert moment(pd.Timestamp("2025-01-01 01:00", tz="Europe/Berlin")) == "2025-01-01T00:00:00.000000Z"
    assert moment("2025-01-01T00:00:00Z") == "2025-01-01T00:00:00Z"
    for wrong in (None, pd.NaT, 7, np.datetime64("NaT")):
        with pytest.raises(InvalidInput):
            moment(wrong)


def test_labels_without_an_id_or_a_value_are_refused_whole() -> None:
    assert labels_of([1, "b"], [np.float64(2.0), Decimal("2.5")], None) == [
        {"prediction_id": "1", "label": "2"},
        {"prediction_id": "b", "label": "2.5"},
    ]
    for ids, values in ((["a", None], [1, 1]), (["a", "b"], [1, float("nan")]), (["a", "b"], [1, ""]), (["a"], [])):
        with pytest.raises(InvalidLabel):
            labels_of(ids, values, None)
    with pytest.raises(InvalidLabel, match="event time"):
        labels_of(["a", "b"], [1, 2], [dt.datetime(2025, 1, 1)])
