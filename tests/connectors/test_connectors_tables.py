"""Reading a table: what is refused, what is accepted with a finding, what task it is."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from homeostat.connectors.tables import positive_class, prepare, read_table, spread
from homeostat.errors import HomeostatError, InvalidData, InvalidFeatures, InvalidTarget
from homeostat.frames import Kind
from homeostat.records import Task

ROWS = 200


def frame(**extra: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=ROWS), "y": np.arange(ROWS) % 2, **extra})


def test_csv_gzip_and_parquet_read_the_same(tmp_path: Path) -> None:
    data = frame(c=["a", None] * (ROWS // 2))
    data.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    data.to_parquet(tmp_path / "t.parquet")
    tables = [prepare(read_table(tmp_path / name), target="y") for name in ("t.csv", "t.csv.gz", "t.parquet")]
    for table in tables:
        np.testing.assert_allclose(table.columns["x"], data["x"])
        assert table.columns["c"].tolist() == ["a", None] * (ROWS // 2)
        assert table.target.tolist()[:3] == ["0", "1", "0"]
        assert table.task is Task.BINARY


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", InvalidData),
        (b"x,y\n", InvalidData),
        (b"x,y\n\xff\xfe,1\n", InvalidData),
        (b"x,x,y\n1,2,0\n", InvalidData),
        (b"x,y\n" + b"1,0\n" * ROWS, InvalidTarget),
        (b"y\n" + b"1\n0\n" * ROWS, InvalidData),
        (b"x,y\n1,0\n2,1\n", InvalidData),
        (b"x,y\n" + b"1,\n" * ROWS, InvalidData),
    ],
    ids=["empty", "header", "not-utf8", "duplicate", "one-class", "no-feature", "few", "no-label"],
)
def test_unusable_files_are_refused(tmp_path: Path, content: bytes, code: type[HomeostatError]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(code):
        prepare(read_table(path), target="y")


def test_missing_file_and_unknown_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InvalidTarget, match=r"'label'.*x, y"):
        prepare(frame(), target="label")
    with pytest.raises(InvalidData, match="'when'"):
        prepare(frame(), target="y", time="when")


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (np.arange(ROWS) % 2 == 0, Task.BINARY, ("false", "true")),
        (np.arange(ROWS) % 3, Task.MULTICLASS, ("0", "1", "2")),
        (np.arange(ROWS) % 2 + 1.0, Task.BINARY, ("1", "2")),
        (np.linspace(0, 1, ROWS), Task.REGRESSION, ()),
        (np.arange(ROWS), Task.REGRESSION, ()),
        (["UP", "DOWN"] * (ROWS // 2), Task.BINARY, ("DOWN", "UP")),
    ],
    ids=["boolean", "three", "floats", "values", "counts", "strings"],
)
def test_the_task_follows_from_the_target(target: object, task: Task, classes: tuple[str, ...]) -> None:
    table = prepare(frame().assign(y=target), target="y")
    assert (table.task, table.classes) == (task, classes)


def test_texts_that_are_no_classes_are_refused() -> None:
    with pytest.raises(InvalidTarget, match="those are no classes"):
        prepare(frame().assign(y=[f"name {i}" for i in range(ROWS)]), target="y")


def test_rows_are_put_in_time_order_and_keep_their_entities() -> None:
    seconds = np.arange(ROWS)[::-1] * 3600.0
    table = prepare(frame(when=seconds, who=[f"u{i}" for i in range(ROWS)]), target="y", time="when", entity="who")
    assert (np.diff(table.times.astype(np.int64)) > 0).all()
    assert table.entities is not None
    assert table.entities[0] == f"u{ROWS - 1}"
    assert set(table.kinds) == {"x"}
    with pytest.raises(InvalidData, match="must hold timestamps"):
        prepare(frame(when=["soon"] * ROWS), target="y", time="when")


def test_without_times_the_rows_are_spread_over_a_hundred_days() -> None:
    times = spread(1000)
    assert times[-1] - times[0] < np.timedelta64(100, "D")
    assert len(set(np.diff(times).astype(int).tolist())) <= 2


def test_odd_columns_are_accepted_with_a_finding() -> None:
    x = np.where(np.arange(ROWS) == 7, np.inf, 1.5 * np.arange(ROWS))
    table = prepare(
        frame(constant=3.0, nothing=np.full(ROWS, np.nan), b=[True, None] * (ROWS // 2)).assign(x=x), target="y"
    )
    words = dict(table.findings)
    assert "constant" in words["constant"]
    assert "missing" in words["nothing"]
    assert "infinities" in words["x"]
    assert table.kinds["b"] is Kind.BOOLEAN


def test_unlabelled_rows_are_left_out_with_a_finding() -> None:
    target = pd.Series(np.arange(ROWS) % 2, dtype="Int64")
    target[:20] = pd.NA
    table = prepare(frame().assign(y=target), target="y")
    assert table.rows == ROWS - 20
    assert "20 rows" in dict(table.findings)["y"]


def test_the_positive_class_is_the_telling_or_the_rarer_one() -> None:
    assert positive_class(np.array(["a", "b", "b"], dtype=object), ("a", "b")) == "a"
    assert positive_class(np.array(["spam", "ham", "spam"], dtype=object), ("ham", "spam")) == "spam"


def test_features_of_mixed_kinds_are_refused_by_name() -> None:
    from homeostat.frames import to_columns

    with pytest.raises(InvalidFeatures, match="'c'"):
        to_columns({"c": ["a", "b"]}, {"c": Kind.NUMERIC})
