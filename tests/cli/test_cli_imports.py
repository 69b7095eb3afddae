"""Tables that come from files: labels of every form, whole or not at all, here and to a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.cli.app import run
from homeostat.ports import Registration
from homeostat.settings import load
from homeostat.wiring import open_system


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMEOSTAT_HOME", raising=False)
    rng = np.random.default_rng(0)
    size = rng.normal(size=200)
    pd.DataFrame({"size": size, "price": 3 * size + rng.normal(size=200)}).to_parquet("price.parquet")
    opened = open_system(load())
    registration = Registration(training=Path("price.parquet"), target="price")
    opened.control.register("price", registration, actor="me", reason="test")
    opened.close()
    return tmp_path


def labels_of(model: str = "price") -> dict[str, str]:
    opened = open_system(load())
    try:
        blocks = [block for _, block in opened.log.labels_after(model, 0)]
        return {id_: value for block in blocks for id_, value in zip(block.ids, block.values, strict=True)}
    finally:
        opened.close()


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def truths(rows: dict[str, str]) -> str:
    return "\n".join(
        json.dumps({"groundTruthData": {"data": value, "encoding": "CSV"}, "eventMetadata": {"eventId": id_}})
        for id_, value in rows.items()
    )


def test_files_of_every_form_say_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"prediction_id": ["007", "b"], "label": [1.5, 2.0], "other": ["x", "y"]})
    frame.to_csv("labels.csv", index=False)
    frame.to_csv("labels.csv.gz", index=False)
    frame.to_parquet("labels.parquet")
    frame.to_json("labels.jsonl", orient="records", lines=True)
    frame.to_json("labels.json", orient="records")
    Path("truth.jsonl.gz").write_bytes(gzip.compress(truths({"007": "1.5", "b": "2"}).encode()))
    files = sorted(path for path in home.glob("*.*") if path.name.startswith(("labels", "truth")))
    assert len(files) == 6
    for file in files:
        capsys.readouterr()
        assert run(["label", "import", file.name, "--json"]) == 0
        kept = out(capsys)
        assert (kept["model"], kept["rows"], kept["accepted"], kept["unmatched"]) == ("price", 2, 2, 2), file
        assert labels_of() == {"007": "1.5", "b": "2"}


def test_columns_are_found_or_named_and_the_last_row_of_a_prediction_counts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("truth.csv").write_text("inferenceId,when,Actual\na,2025-01-01,1\nb,2025-01-02,2\na,2025-01-03,3\n")
    assert run(["label", "import", "price", "truth.csv", "--time-column", "when", "--source", "audit", "--json"]) == 0
    assert out(capsys) == {
        "model": "price",
        "rows": 3,
        "accepted": 2,
        "unmatched": 2,
        "duplicates": 1,
        "columns": {"prediction_id": "inferenceId", "label": "Actual", "event_time": "when"},
    }
    opened = open_system(load())
    (block,) = [block for _, block in opened.log.labels_after("price", 0)]
    opened.close()
    assert block.source == "audit"
    assert dict(zip(block.ids, zip(block.values, block.event_time, strict=True), strict=True)) == {
        "a": ("3", np.datetime64("2025-01-03")),
        "b": ("2", np.datetime64("2025-01-02")),
    }
    assert run(["label", "import", "truth.csv", "--model", "price", "--id-column", "inferenceId"]) == 0
    assert "2 labels kept of 3 rows" in capsys.readouterr().out


def test_more_rows_than_a_part_are_kept_in_parts_with_their_columns(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 25_000
    ids = [f"row-{number % 20_000}" for number in range(count)]
    frame = pd.DataFrame({"prediction_id": ids, "label": np.arange(count), "confidence": 0.5, "source": "sensor"})
    frame.to_parquet("many.parquet")
    assert run(["label", "import", "price", "many.parquet", "--json"]) == 0
    kept = out(capsys)
    assert (kept["rows"], kept["accepted"], kept["duplicates"]) == (count, 20_000, 5_000)
    found = labels_of()
    assert (len(found), found["row-3"], found["row-19999"]) == (20_000, "20003", "19999")
    assert run(["label", "import", "price", "many.parquet"]) == 0
    assert labels_of() == found


@pytest.mark.parametrize(
    ("content", "arguments", "code", "said"),
    [
        ("prediction_id,label\na,1\nb,much\n", [], "invalid_label", "row 2 is no finite number"),
        ("prediction_id,label\na,1\nb,\n", [], "invalid_label", "row 2"),
        ("prediction_id,label\na,1\n,2\n", [], "invalid_label", "row 2"),
        ("prediction_id,label\na,1\nb\n", [], "invalid_data", "Row 2 has 1 fields"),
        ("prediction_id,label,event_time\na,1,2025-01-01\nb,2,\n", [], "invalid_label", "Row 2 has no event time"),
        ("prediction_id,label\n", [], "invalid_input", "no rows"),
        ("", [], "invalid_data", "empty"),
        ("prediction_id,truth,actual\na,1,1\n", [], "invalid_label", "--label-column"),
        ("prediction_id,value\na,1\n", [], "invalid_label", "--label-column"),
        ("prediction_id,label\na,1\n", ["--label-column", "worth"], "invalid_label", "no column 'worth'"),
        ("prediction_id,label\na,1\n", ["--label-column", "prediction_id"], "invalid_label", "two things"),
        ("prediction_id,label\na,1\n", ["--model", "other"], "unknown_model", "other"),
        ("prediction_id,label\na,1\n", ["--source", " "], "invalid_input", "source"),
    ],
)
def test_bad_input_ends_with_2_and_nothing_is_kept(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    arguments: list[str],
    code: str,
    said: str,
) -> None:
    # Behind more good rows than one part has.
    head, newline, rest = content.partition("\n")
    fill = "".join(f"x{number},1{',2025-01-01' * (head.count(',') - 1)}\n" for number in range(10_000))
    behind = "much" in rest or ("row 2" in said.lower() and "fields" not in said)
    Path("labels.csv").write_text(head + newline + (fill if behind else "") + rest)
    shown = said.replace("ow 2", "ow 10,002") if behind else said
    assert run(["label", "import", "labels.csv", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"[{code}]" in error
    assert shown in error
    assert labels_of() == {}


def test_files_that_are_none_and_arguments_that_are_too_many(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("labels.txt").write_text("prediction_id,label\na,1\n")
    Path("labels.csv.gz").write_bytes(b"not packed")
    Path("labels.parquet").write_bytes(b"no table")
    Path("labels.csv").write_text("prediction_id,label\na,1\n")
    for arguments in (
        ["labels.txt"],
        ["labels.csv.gz"],
        ["labels.parquet"],
        ["none.csv"],
        ["a", "b", "labels.csv"],
        ["price", "labels.csv", "--model", "price"],
    ):
        assert run(["label", "import", *arguments]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert labels_of() == {}
