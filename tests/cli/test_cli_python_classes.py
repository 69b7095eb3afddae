"""`homeostat model register --python`: a class becomes a version, and one that can't be used leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from homeostat.cli.app import run

SOURCE = """
print("loaded")
class Rules:
    def predict(self, columns):
        return columns["a"] * 2
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HOMEOSTAT_HOME", "HOMEOSTAT_SERVER", "HOMEOSTAT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    values = np.random.default_rng(1).normal(size=150)
    pd.DataFrame({"a": values, "y": 2 * values}).to_csv("training.csv", index=False)
    (tmp_path / "rules.py").write_text(SOURCE)
    return tmp_path


REGISTER = ["model", "register", "ruled", "training.csv", "--target", "y", "--python"]


def test_a_class_is_registered_and_promoted_where_that_is_allowed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*REGISTER, "rules:Rules", "--python-files", "rules.py", "--json"]) == 0
    # What the class prints is not part of the answer.
    said = capsys.readouterr()
    version = json.loads(said.out)
    assert "loaded" in said.err
    assert (version["number"], version["serving"]["format"]) == (1, "python")
    assert version["parameters"]["estimator"] == "rules:Rules"
    assert run(["model", "promote", "ruled", "1", "--to", "staging"]) == 0
    capsys.readouterr()
    assert run(["model", "promote", "ruled", "1"]) == 2
    assert "[python_not_allowed]" in capsys.readouterr().err
    monkeypatch.setenv("HOMEOSTAT_SERVE__ALLOW_PYTHON", "true")
    assert run(["model", "promote", "ruled", "1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([*REGISTER, "rules:Rules"], "python_model_failed"),
        ([*REGISTER, "rules", "--python-files", "rules.py"], "python_model_failed"),
        ([*REGISTER, "rules:Absent", "--python-files", "rules.py"], "python_model_failed"),
        ([*REGISTER, "rules:Rules", "--python-files", "broken"], "python_model_failed"),
        ([*REGISTER, "rules:Rules", "--python-files", "absent"], "python_model_failed"),
        ([*REGISTER[:3], "rules.py", *REGISTER[3:], "rules:Rules", "--python-files", "rules.py"], "invalid_input"),
        ([*REGISTER[:-1], "--python-files", "rules.py"], "invalid_input"),
        ([*REGISTER, "rules:Rules", "--python-files", "rules.py", "--external"], "invalid_input"),
    ],
)
def test_a_class_that_can_not_be_used_ends_with_2_and_registers_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    (home / "broken").mkdir()
    (home / "broken" / "rules.py").write_text("def f(:")
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert f"[{code}]" in said, said
    assert "Traceback" not in said
    assert run(["model", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"versions": []}
