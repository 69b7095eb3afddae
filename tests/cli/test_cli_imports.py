"""Tables that come from files: labels of every form, whole or not at all, here and to a server."""

from __future__ import annotations

import gzip
import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat import Client
from homeostat.cli.app import run
from homeostat.ports import Registration
from homeostat.settings import load
from homeostat.wiring import open_system


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of our own, of which each test has a copy."""
    folder = tmp_path_factory.mktemp("priced")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HOMEOSTAT_HOME", raising=False)
        rng = np.random.default_rng(0)
        size = rng.normal(size=200)
        pd.DataFrame({"size": size, "price": 3 * size + rng.normal(size=200)}).to_parquet("price.parquet")
        opened = open_system(load())
        registration = Registration(training=Path("price.parquet"), target="price")
        opened.control.register("price", registration, actor="me", reason="test")
        opened.close()
    return folder


def copied(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a copy of a folder."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    monkeypatch.chdir(target)
    monkeypatch.delenv("HOMEOSTAT_HOME", raising=False)
    return target


@pytest.fixture
def home(priced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copied(priced, tmp_path, monkeypatch)


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
        "unknown_classes": 0,
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


def past_table(rows: int = 300, seed: int = 1) -> pd.DataFrame:
    """Rows that a server elsewhere answered."""
    rng = np.random.default_rng(seed)
    amount = rng.normal(size=rows)
    answer = np.where(amount > 0, "yes", "no")
    return pd.DataFrame(
        {
            "prediction_id": [f"t{seed}-{number}" for number in range(rows)],
            "event_time": pd.date_range("2025-01-01", periods=rows, freq="min", tz="UTC"),
            "amount": amount,
            "colour": rng.choice(["red", None], rows),
            "member": rng.random(rows) < 0.5,
            "prediction": answer,
            "score": 1 / (1 + np.exp(-amount)),
        }
    )


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that is served elsewhere, registered as a user does it, of which each test has a copy."""
    folder = tmp_path_factory.mktemp("external")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        patch.chdir(folder)
        patch.delenv("HOMEOSTAT_HOME", raising=False)
        table = past_table(600, seed=0)
        table.assign(paid=table["prediction"]).to_parquet("reference.parquet")
        order = ["model", "register", "far", "--external", "--reference", "reference.parquet", "--target", "paid"]
        assert run([*order, "--positive", "no", "--to", "staging"]) == 0
        assert "It is only watched" in said.getvalue()
        assert run(["model", "promote", "far", "1"]) == 0
    return folder


@pytest.fixture
def watched(external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copied(external, tmp_path, monkeypatch)


def logged() -> dict[str, tuple[Any, ...]]:
    opened = open_system(load())
    try:
        found = {}
        for _, block in opened.log.features_after("far", 0):
            for place, id_ in enumerate(block.ids):
                features = tuple(values[place] for values in block.features.values())
                found[id_] = (
                    block.output[place],
                    round(float(block.score[place]), 6),
                    block.event_time[place],
                    *features,
                )
        return found
    finally:
        opened.close()


def test_past_predictions_of_every_form_are_logged_once(watched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = past_table()
    table.to_csv("past.csv", index=False)
    table.to_csv("past.csv.gz", index=False)
    table.to_parquet("past.parquet")
    lines = table.assign(event_time=table["event_time"].astype(str)).to_json(orient="records", lines=True)
    Path("past.jsonl").write_text(lines)
    said = None
    for number, name in enumerate(("past.csv", "past.csv.gz", "past.parquet", "past.jsonl")):
        assert run(["log", "import", name, "--json"]) == 0
        kept = out(capsys)
        assert (kept["rows"], kept["accepted"], kept["duplicates"]) == (300, 0 if number else 300, 300 if number else 0)
        found = logged()
        assert said in (None, found)
        said = found
    first = table.iloc[0]
    assert said is not None
    output, score, time, amount, colour, member = said["t1-0"]
    assert (output, score) == (first["prediction"], round(first["score"], 6))
    assert (time, amount) == (np.datetime64("2025-01-01"), first["amount"])
    assert [said[f"t1-{row}"][4] for row in range(9)] == [None if one != "red" else one for one in table["colour"][:9]]
    assert colour in ("red", None)
    assert member == float(first["member"])


def test_columns_and_versions_of_past_predictions(watched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["model", "register", "far", "--external", "--reference", "reference.parquet", "--target", "paid"]
    assert run([*order, "--to", "testing"]) == 0
    assert run(["model", "promote", "far", "2"]) == 0
    table = past_table(40).drop(columns="score").rename(columns={"prediction": "said", "event_time": "when"})
    table["version"] = [1, 2, None, 2] * 10
    table.to_parquet("past.parquet")
    capsys.readouterr()
    assert run(["log", "import", "far", "past.parquet", "--prediction-column", "said", "--time-column", "when"]) == 0
    assert "40 predictions logged of 40 rows." in capsys.readouterr().out
    opened = open_system(load())
    versions = [number for _, block in opened.log.blocks_after("far", 0) for number in block.version.tolist()]
    opened.close()
    assert sorted(versions) == [1] * 10 + [2] * 30
    table.assign(prediction_id=[f"z{n}" for n in range(40)], version=[1, 2] * 19 + [9, 9]).to_parquet("past.parquet")
    assert run(["log", "import", "far", "past.parquet", "--prediction-column", "said"]) == 2
    assert "[unknown_version]" in capsys.readouterr().err
    assert len(logged()) == 40


@pytest.mark.parametrize(
    ("change", "arguments", "code", "said"),
    [
        ({"amount": ["much"]}, [], "invalid_features", "amount of row 10,250 can't be used: it is no number"),
        ({"prediction": ["maybe"]}, [], "invalid_prediction", "row 10,250"),
        ({"prediction_id": [""]}, [], "invalid_prediction", "prediction_id of row 10,250"),
        ({"event_time": ["soon"]}, [], "invalid_prediction", "event_time of row 10,250"),
        ({"score": ["7"]}, [], "invalid_prediction", "row 10,250"),
        ({"member": ["2"]}, [], "invalid_features", "member of row 10,250"),
        ({"amount": None}, [], "invalid_features", "lacks features: amount"),
        ({"prediction_id": None}, [], "invalid_input", "--id-column"),
        ({}, ["--version", "7"], "unknown_version", "no version 7"),
        ({}, ["--version", "seven"], "invalid_input", "seven"),
        ({}, ["--score-column", "none"], "invalid_input", "none"),
        ({}, ["--model", "other"], "unknown_model", "other"),
    ],
)
def test_past_predictions_that_can_not_be_used_change_nothing(
    watched: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    arguments: list[str],
    code: str,
    said: str,
) -> None:
    # Behind more good rows than one part has, where the row is named.
    table = past_table(10_300 if "10,250" in said else 300).astype(object)
    for name, values in change.items():
        if values is None:
            table = table.drop(columns=name)
        else:
            table.loc[10_249, name] = values[0]
    table.to_csv("past.csv", index=False)
    assert run(["log", "import", "past.csv", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"[{code}]" in error
    assert said in error
    assert logged() == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["far2", "--external"], "invalid_input"),
        (["far2", "--external", "--reference", "none.csv"], "invalid_input"),
        (["far2", "model.skops", "--external", "--reference", "reference.parquet"], "invalid_input"),
        (["far2", "--external", "--reference", "reference.parquet", "--target", "nothing"], "invalid_target"),
        (["far2", "--external", "--reference", "reference.parquet", "--prediction", "nothing"], "invalid_input"),
        (["far2", "--external", "--reference", "reference.parquet", "--positive", "maybe"], "invalid_target"),
        (["far2", "model.skops", "reference.parquet", "--target", "paid", "--score", "score"], "invalid_input"),
        (["far2", "--target", "paid"], "invalid_input"),
    ],
)
def test_what_is_no_reference_is_refused(
    watched: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    assert run(["model", "register", *arguments]) == 2
    assert f"[{code}]" in capsys.readouterr().err
    assert run(["model", "list", "--json"]) == 0
    assert [one["model"] for one in out(capsys)["versions"]] == ["far"]


def test_a_model_of_our_own_takes_no_past_predictions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past_table().to_csv("past.csv", index=False)
    assert run(["log", "import", "price", "past.csv"]) == 2
    assert "[conflict]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_takes_imports_as_this_machine_does(
    servers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = past_table(12_000)
    table.to_parquet("past.parquet")
    table.assign(paid=table["prediction"])[:600].to_parquet("reference.parquet")
    table.rename(columns={"prediction": "paid"})[["prediction_id", "paid"]].to_csv("truth.csv", index=False)
    with servers.running_server(tmp_path / "home") as server:
        to = ["--server", server.url]
        register = ["far", "--external", "--reference", "reference.parquet", "--target", "paid", "--to", "staging", *to]
        assert run(["model", "register", *register]) == 0
        assert run(["log", "import", "far", "past.parquet", *to]) == 2
        assert "[not_serving]" in capsys.readouterr().err
        assert run(["model", "promote", "far", "1", *to]) == 0
        # A server that serves nothing itself is ready all the same.
        server.wait_ready()
        capsys.readouterr()
        for accepted in (12_000, 0):
            assert run(["log", "import", "far", "past.parquet", "--json", *to]) == 0
            kept = out(capsys)
            assert (kept["rows"], kept["accepted"], kept["duplicates"]) == (12_000, accepted, 12_000 - accepted)
        order = ["label", "import", "truth.csv", "--label-column", "paid", "--json", *to]
        assert run(order) == 0
        assert {name: out(capsys)[name] for name in ("accepted",)} == {"accepted": 12_000}
        assert run([*order[:-3], *to]) == 0
        assert "12,000 labels kept of 12,000 rows.\n" in capsys.readouterr().out
        assert run(["check", "far", "--json", *to]) in (0, 1)
        # The server checks as well, and what it found first is no news any more.
        with Client(server.url) as client:
            found = {finding.check for finding in client.findings("far")}
        assert found >= {"drift", "prediction", "performance daily"}
