"""The command line as a user types it: what works, what is refused with status 2, what ends with 1."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.cli.app import run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMEOSTAT_HOME", raising=False)
    return tmp_path


def training_data(rows: int = 400, *, flipped: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    sign = -1 if flipped else 1
    label = sign * (frame["a"] - frame["b"]) + rng.normal(size=rows) * 0.2 > 0
    return frame.assign(label=np.where(label, "spam", "ham"))


def save_pipeline(folder: Path, name: str = "model.skops", **options: Any) -> Path:
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = training_data(**options)
    data.to_csv(folder / "training.csv", index=False)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(data[["a", "b"]], data["label"])
    skops.io.dump(fitted, folder / name)
    return folder / name


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registered model."""
    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HOMEOSTAT_HOME", raising=False)
        register(folder)
    return folder


@pytest.fixture
def registered(template: Path, home: Path) -> Path:
    """A copy of it."""
    shutil.copytree(template, home, dirs_exist_ok=True)
    return home


def register(folder: Path, *more: str) -> None:
    save_pipeline(folder)
    assert run(["model", "register", "mail", "model.skops", "training.csv", "--target", "label", *more]) == 0


def test_a_model_from_registration_to_rollback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(home)
    register(home, "--to", "staging")
    said = capsys.readouterr().out
    assert "'homeostat model promote mail 1 --to staging', and then 'homeostat model promote mail 1'" in said
    assert "Next: 'homeostat model promote mail 2'" in said
    assert run(["model", "promote", "mail", "1"]) == 2
    said = capsys.readouterr().err
    assert "[illegal_move]" in said
    assert "homeostat model promote mail 1 --to staging" in " ".join(said.split())
    assert run(["model", "promote", "mail", "1", "--to", "staging"]) == 0
    assert run(["model", "promote", "mail", "1"]) == 0
    assert run(["model", "promote", "mail", "v2", "--reason", "newer"]) == 0
    capsys.readouterr()
    assert run(["model", "list", "--json"]) == 0
    stages = {version["number"]: version["stage"] for version in out(capsys)["versions"]}
    assert stages == {1: "archived", 2: "production"}
    assert run(["model", "show", "mail", "2", "--json"]) == 0
    shown = out(capsys)
    assert [move["target"] for move in shown["history"]] == ["draft", "testing", "staging", "production"]
    assert shown["serving"]["format"] in ("linear", "onnx")
    assert shown["metrics"]["accuracy"] > 0.8
    assert run(["model", "rollback", "mail", "--reason", "not sure", "--json"]) == 0
    rolled_back = out(capsys)
    assert {name: rolled_back[name] for name in ("production", "confirmed", "waiting")} == {
        "production": 1,
        "confirmed": [],
        "waiting": [],
    }
    assert run(["history", "mail", "--json"]) == 0
    kinds = [decision["kind"] for decision in out(capsys)["decisions"]]
    assert kinds[-1] == "rollback"
    assert run(["status"]) == 0
    assert "mail" in capsys.readouterr().out
    assert run(["model", "verify"]) == 0
    assert run(["rollout", "status", "mail"]) == 0
    assert run(["alert", "list"]) == 0


def test_a_changed_byte_is_found_with_status_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(home)
    stored = next(path for path in (home / ".homeostat" / "files").rglob("*") if path.is_file())
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(bytes(content))
    capsys.readouterr()
    assert run(["model", "verify", "--json"]) == 1
    assert list(out(capsys)["broken"]) == ["mail:1"]
    assert run(["alert", "list", "--json"]) == 0
    assert [alert["subject"] for alert in out(capsys)["alerts"]] == ["integrity"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["backtest", "none.csv", "--target", "y"], "invalid_data"),
        (["backtest", "training.csv", "--target", "nope"], "invalid_target"),
        (["backtest", "training.csv", "--target", "label", "--initial", "2"], "invalid_settings"),
        (["backtest", "training.csv", "--target", "label", "--label-delay", "soon"], "invalid_settings"),
        (["backtest", "training.csv", "--target", "label", "--policy", "none.toml"], "invalid_settings"),
        (["backtest", "training.csv", "--target", "label", "--report", "no/such/report.html"], "invalid_settings"),
        (["model", "show", "other", "1"], "unknown_model"),
        (["model", "show", "mail", "9"], "unknown_version"),
        (["model", "promote", "mail", "9"], "unknown_version"),
        (["model", "promote", "mail", "one"], "invalid_input"),
        (["model", "promote", "mail", "1", "--to", "heaven"], "invalid_input"),
        (["model", "promote", "mail", "1", "--to", "draft"], "illegal_move"),
        (["model", "promote", "mail", "1"], "illegal_move"),
        (
            ["model", "register", "mail", "model.skops", "training.csv", "--target", "label", "--to", "production"],
            "invalid_input",
        ),
        (["model", "rollback", "mail"], "nothing_to_roll_back_to"),
        (["model", "rollback", "other"], "unknown_model"),
        (["history", "other"], "unknown_model"),
        (["check", "other"], "unknown_model"),
        (["retrain", "mail"], "conflict"),
        (["rollout", "pause", "mail"], "not_found|unknown_record"),
        (["alert", "ack", "nothing"], "unknown_record"),
        (["model", "register", "mail", "model.pkl", "training.csv", "--target", "label"], "invalid_input"),
        (["model", "register", "../mail", "model.skops", "training.csv", "--target", "label"], "invalid_input"),
        (["label", "import", "mail", "training.csv"], "invalid_label"),
        (["drift", "training.csv", "training.csv", "--preset", "wrong"], "invalid_settings"),
        (["no-such-command"], "usage"),
        (["backtest", "training.csv"], "usage"),
    ],
)
def test_bad_input_ends_with_2_and_changes_nothing(
    registered: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    (registered / "model.pkl").write_bytes(b"not opened")
    capsys.readouterr()
    assert run(["model", "list", "--json"]) == 0
    before = out(capsys)
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert any(f"[{one}]" in said.err for one in code.split("|")), said.err
    assert run(["model", "list", "--json"]) == 0
    assert out(capsys) == before


def test_a_trainer_that_cannot_be_imported_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(home, "--to", "testing")
    assert run(["model", "promote", "mail", "1"]) == 0
    (home / "homeostat.toml").write_text('[policy.training]\ntrainer = "no_such_module:train"\n')
    capsys.readouterr()
    assert run(["retrain", "mail"]) == 2
    assert "invalid_trainer" in capsys.readouterr().err


def test_drift_compares_two_files(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_data(600).to_csv(home / "old.csv", index=False)
    training_data(600).assign(a=lambda frame: frame["a"] + 1).to_parquet(home / "new.parquet")
    assert run(["drift", "old.csv", "old.csv", "--json"]) == 0
    assert not out(capsys)["drifted"]
    assert run(["drift", "old.csv", "new.parquet", "--json"]) == 1
    found = out(capsys)
    assert [name for name, one in found["features"].items() if one["drifted"]] == ["a"]


def test_backtest_prints_json_and_writes_a_report(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.concat([training_data(250), training_data(250, flipped=True)]).to_csv(home / "history.csv", index=False)
    (home / "quick.toml").write_text('[policy.training]\nalgorithms = ["logistic_regression"]\n')
    arguments = ["backtest", "history.csv", "--target", "label", "--policy", "quick.toml"]
    assert run([*arguments, "--report", "report.html", "--json"]) == 0
    figures = out(capsys)
    assert figures["rows"] == 500
    assert figures["promotions"] >= 1
    page = (home / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "history" in page
    assert len(page) < 2_000_000


def test_labels_come_from_a_file_even_before_their_predictions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(home)
    pd.DataFrame({"prediction_id": ["one", "two"], "label": ["spam", "ham"]}).to_csv(home / "labels.csv", index=False)
    capsys.readouterr()
    assert run(["label", "import", "mail", "labels.csv", "--json"]) == 0
    kept = out(capsys)
    assert {name: kept[name] for name in ("model", "rows", "accepted", "unmatched")} == {
        "model": "mail",
        "rows": 2,
        "accepted": 2,
        "unmatched": 2,
    }


def test_drift_takes_methods_and_writes_a_page_or_says_why_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_data(300).to_csv(home / "old.csv", index=False)
    arguments = ["drift", "old.csv", "old.csv", "--method", "wasserstein", "--together", "samples"]
    assert run([*arguments, "--report", "drift.html", "--json"]) == 0
    found = out(capsys)
    assert found["features"]["a"]["methods"]["wasserstein"]["p"] > 0.05
    assert found["together"]["samples"]["p"] > 0.05
    assert "<svg" in (home / "drift.html").read_text(encoding="utf-8")
    assert run(["drift", "old.csv", "old.csv", "--report", "nowhere/drift.html"]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert run(["drift", "old.csv", "old.csv", "--method", "magic"]) == 2
    assert "no method 'magic'" in capsys.readouterr().err


def test_graphs_and_mlflow_folders_are_registered(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    data = training_data()
    data.to_csv(home / "training.csv", index=False)
    matrix = data[["a", "b"]].to_numpy()
    model = LogisticRegression().fit(matrix, data["label"])
    folder = home / "logged"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(to_onnx(model, matrix[:1].astype(np.float32)).SerializeToString())
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function: {loader_module: mlflow.onnx}\n  onnx: {data: model.onnx}\n"
    )
    for source in ("logged/model.onnx", "logged"):
        assert run(["model", "register", "mail", source, "training.csv", "--target", "label", "--json"]) == 0
        version = out(capsys)
        assert version["serving"]["format"] == "onnx"
        assert version["signature"]["classes"] == ["ham", "spam"]
        assert version["metrics"] == {}
    assert run(["model", "show", "mail", "2"]) == 0
    assert "time a row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("about", "code"),
    [
        ("flavors:\n  sklearn: {pickled_model: model.pkl}\n", "pickle"),
        ("flavors:\n  onnx: {data: ../training.csv}\n", "not in its folder"),
        ("flavors:\n  spark: {data: x}\n", "can be read"),
        ("flavors: [", "can't be read"),
        ("flavors: 7\n", "can't be read"),
    ],
)
def test_what_an_mlflow_folder_may_not_hold_is_refused(
    about: str, code: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pipeline(home)
    folder = home / "logged"
    folder.mkdir()
    (folder / "MLmodel").write_text(about)
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert run(["model", "register", "mail", "logged", "training.csv", "--target", "label"]) == 2
    assert code in " ".join(capsys.readouterr().err.split())
    assert not (home / "owned").exists()


def test_costs_of_errors_set_the_threshold_of_a_version(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(home)
    monkeypatch.setenv("HOMEOSTAT_POLICY__TRAINING__COST_FALSE_NEGATIVE", "20")
    register(home)
    capsys.readouterr()
    assert run(["model", "list", "mail", "--json"]) == 0
    plain, weighed = (version["parameters"] for version in out(capsys)["versions"])
    assert "threshold" not in plain
    choice = weighed["threshold_choice"]
    assert choice["threshold"] == weighed["threshold"] <= 0.5
    assert choice["cost"] <= choice["default_cost"]
    assert choice["cost_false_negative"] == 20


def test_the_package_is_a_command_too():
    found = subprocess.run([sys.executable, "-m", "homeostat", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("homeostat ")
