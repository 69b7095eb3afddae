"""Large frames go as Parquet, and the server makes of them what it makes of the same rows in JSON."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from homeostat.errors import InvalidData, InvalidFeatures
from homeostat.frames import Kind
from homeostat.http.tables import PARQUET, Limits, read_table
from homeostat.records import Feature, PredictionBatch, Signature, Task
from homeostat.sdk import Client
from homeostat.sdk.tables import FEWEST_ROWS, parquet_of
from homeostat.sdk.values import instances_of
from homeostat.serving.rows import columns_of_instances

LIMITS = Limits(50_000, 10_000_000, ignores_others=False)
SOME = 300
DAYS = np.datetime64("2025-01-01T00:00:00.123456789", "ns") + np.arange(SOME) * np.timedelta64(1, "D")
NUMBER, FLAG, NAME = Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORICAL


def with_gaps(values: Any) -> list[Any]:
    """Every seventh is missing."""
    return [None if place % 7 == 3 else value for place, value in enumerate(values)]


COLUMNS: dict[str, tuple[Any, Kind]] = {
    "floats": (np.arange(SOME) / 7, NUMBER),
    "floats with NaN": (np.where(np.arange(SOME) % 5 == 0, np.nan, 0.1), NUMBER),
    "half floats": (np.arange(SOME, dtype="float32") / 7, NUMBER),
    "whole numbers": (np.arange(SOME) - 2**60, NUMBER),
    "small whole numbers": (np.arange(SOME, dtype="uint8"), NUMBER),
    "numbers with gaps": (pd.array(with_gaps(range(SOME)), dtype="Int64"), NUMBER),
    "times": (DAYS, NUMBER),
    "times with gaps": (pd.Series(with_gaps(pd.to_datetime(DAYS))), NUMBER),
    "times of a zone": (pd.Series(pd.to_datetime(DAYS)).dt.tz_localize("Europe/Berlin"), NUMBER),
    "booleans": (np.arange(SOME) % 2 == 0, FLAG),
    "booleans with gaps": (pd.array(with_gaps(np.arange(SOME) % 2 == 0), dtype="boolean"), FLAG),
    "texts": ([f"größer {number}" for number in range(SOME)], NAME),
    "texts with gaps": (pd.Series(with_gaps("abc" * (SOME // 3)), dtype=object), NAME),
    "categories": (pd.Categorical(with_gaps("abc" * (SOME // 3))), NAME),
}
SIGNATURE = Signature(
    task=Task.REGRESSION,
    features=tuple(Feature(name=name, kind=kind) for name, (_, kind) in COLUMNS.items()),
    target="y",
)


def frame() -> pd.DataFrame:
    return pd.DataFrame({name: values for name, (values, _) in COLUMNS.items()})


@pytest.mark.parametrize(
    "as_library", [lambda made: made, pa.Table.from_pandas, polars.from_pandas], ids=["pandas", "pyarrow", "polars"]
)
def test_parquet_says_what_json_says(as_library: Any) -> None:
    rows = as_library(frame())
    content = parquet_of(rows)
    assert content is not None
    found = read_table(content, PARQUET, SIGNATURE, LIMITS).columns
    expected = columns_of_instances(instances_of(rows), SIGNATURE)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == values.dtype


def batch(count: int) -> PredictionBatch:
    return PredictionBatch(
        predictions=[1.0] * count,
        probabilities=None,
        count=count,
        status="success",
        prediction_ids=[str(number) for number in range(count)],
        model="mail",
        versions=[1] * count,
        arms=["control"] * count,
        route=1,
    )


def test_large_frames_go_as_parquet_with_all_that_is_said_of_their_rows(told: Any) -> None:
    told.say(batch(FEWEST_ROWS))
    rows = pd.DataFrame({"a": np.arange(FEWEST_ROWS)})
    at = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    with Client(told.url) as client:
        client.predict_batch(
            "mail",
            rows,
            prediction_ids=range(FEWEST_ROWS),
            entities=["u", None] * (FEWEST_ROWS // 2),
            event_times=[at] * FEWEST_ROWS,
        )
        assert client.predict_batch(None, rows).count == FEWEST_ROWS
    first, second = told.asked
    assert (first.target, second.target) == ("/models/mail/batch_predict", "/batch_predict")
    assert {key.lower(): value for key, value in first.headers.items()}["content-type"] == PARQUET
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="a", kind=Kind.NUMERIC),), target="y")
    sent = read_table(first.body, PARQUET, signature, LIMITS)
    assert sent.ids == [str(number) for number in range(FEWEST_ROWS)]
    assert sent.entities is not None
    # A row without an entity is its own.
    assert sent.entities[:4] == ["u", "1", "u", "3"]
    assert sent.times is not None
    assert set(sent.times.tolist()) == {at.replace(tzinfo=None)}
    assert pq.read_table(io.BytesIO(second.body)).column_names == ["a"]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"a": np.arange(FEWEST_ROWS - 1)}),
        [[1.0]] * FEWEST_ROWS,
        pd.DataFrame({"a": np.arange(FEWEST_ROWS), "entity": "x"}),
        pa.table({"a": [[1]] * FEWEST_ROWS}),
        pa.table({"a": pa.array([1] * FEWEST_ROWS, pa.time32("s"))}),
    ],
    ids=["few rows", "a list", "a feature of such a name", "lists", "hours"],
)
def test_what_parquet_could_say_otherwise_goes_as_json(told: Any, rows: Any) -> None:
    told.say(batch(1))
    with Client(told.url) as client:
        try:
            client.predict_batch("mail", rows)
        except InvalidFeatures:
            assert told.asked == []
        else:
            assert list(told.last.json) == ["instances"]


def test_what_no_body_can_carry_is_refused_before_anything_is_sent(told: Any) -> None:
    infinite = pd.DataFrame({"a": np.full(FEWEST_ROWS, np.inf)})
    with Client(told.url) as client:
        with pytest.raises(InvalidFeatures, match="infinite"):
            client.predict_batch("mail", infinite)
        with pytest.raises(InvalidData):
            client.predict_batch("mail", object())
    assert told.asked == []
