"""Commands as unlucky users type them: status 2 and one line, before any work is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from homeostat.cli.app import run

POLICY = '[policy.training]\nalgorithms = ["logistic_regression"]\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMEOSTAT_HOME", raising=False)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=160), "c": list("xy") * 80})
    frame.assign(y=(frame["a"] > 0).astype(int)).to_csv("t.csv", index=False)
    Path("p.toml").write_text(POLICY)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: str) -> str:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(f"[{code}]")
    return lines[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--report", "."],
        ["--report", "nowhere/r.html"],
        ["--seed", "-1"],
        ["--seed", "99999999999999999999"],
        ["--label-delay", "999999999999d"],
        ["--label-delay", "99999999d"],
    ],
    ids=" ".join,
)
def test_options_that_mean_nothing(home: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    refused(capsys, ["backtest", "t.csv", "--target", "y", *options], "invalid_settings")


def test_a_report_that_fails_at_the_end(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unsaved:
        def save_html(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("homeostat.wiring.run_backtest", lambda *_, **__: Unsaved())
    line = refused(capsys, ["backtest", "t.csv", "--target", "y", "--report", "r.html"], "invalid_settings")
    assert "No space left" in line


def test_a_trainer_that_is_not_there_is_told_before_the_replay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.toml").write_text(POLICY + 'trainer = "json:no_such_function"\n')
    refused(capsys, ["backtest", "t.csv", "--target", "y", "--policy", "p.toml"], "invalid_trainer")


def test_a_pipeline_that_refuses_its_training_data(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = pd.read_csv("t.csv")
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(data[["a", "c"]].assign(c=1.0), data["y"])
    skops.io.dump(fitted, "m.skops")
    refused(capsys, ["model", "register", "m", "m.skops", "t.csv", "--target", "y"], "invalid_features")
