"""Tables and folders as unlucky users have them: refused in one sentence, never mixed and never a wrong time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from homeostat.backtest.replay import Options
from homeostat.connectors.tables import LabelledTable, prepare, read_table
from homeostat.errors import InvalidData, InvalidTarget, InvalidTrainer, TrainingFailed
from homeostat.ports import TrainingRequest
from homeostat.retraining.trainers import as_trainer, import_trainer
from homeostat.settings import Settings, load
from homeostat.wiring import run_backtest

ROWS = 160


def labelled(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS)})
    return frame.assign(y=(frame["a"] > 0).astype(int))


def table(seed: int = 0) -> LabelledTable:
    return prepare(labelled(seed), target="y")


def settings() -> Settings:
    return load(overrides={"policy.training.algorithms": ["logistic_regression"]})


def test_a_header_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("città,y\n".encode("latin-1") + b"1,0\n2,1\n" * ROWS)
    with pytest.raises(InvalidData, match="UTF-8"):
        read_table(path)


@pytest.mark.parametrize(("separator", "word"), [("\t", "tabs"), (";", "semicolons"), ("|", "bars")])
def test_another_separator_is_named(tmp_path: Path, separator: str, word: str) -> None:
    labelled().to_csv(tmp_path / "t.csv", sep=separator, index=False)
    with pytest.raises(InvalidData, match=f"separated by {word}"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "times",
    [
        1_767_225_600_000 + 1000 * np.arange(ROWS),
        np.full(ROWS, 1e300),
        np.full(ROWS, -np.inf),
        np.full(ROWS, "9999-12-31 23:00:00", dtype=object),
    ],
    ids=["milliseconds", "huge", "infinite", "year-9999"],
)
def test_times_that_no_clock_can_hold_are_refused(times: np.ndarray) -> None:
    with pytest.raises(InvalidData, match="years 100 to 9000"):
        prepare(labelled().assign(t=times), target="y", time="t")


@pytest.mark.parametrize("role", ["time", "entity"])
def test_the_target_has_no_second_role(role: str) -> None:
    with pytest.raises(InvalidTarget, match=f"both the target and the {role}"):
        prepare(labelled(), target="y", **{role: "y"})


def test_a_state_folder_goes_on_with_its_own_replay_only(tmp_path: Path) -> None:
    options = Options(initial=0.5, batches=3)

    def run(data: LabelledTable, how: Options, given: Settings) -> dict[str, object]:
        return {**run_backtest(data, how, given, state=tmp_path / "s").to_dict(), "seconds": 0}

    first = run(table(), options, settings())
    assert run(table(), options, settings()) == first
    others = [
        (table(1), options, settings()),
        (table(), replace(options, seed=1), settings()),
        (table(), replace(options, label_delay_rows=5), settings()),
        (table(), options, load(overrides={"policy.preset": "classic"})),
    ]
    for data, how, given in others:
        with pytest.raises(InvalidData, match="another replay"):
            run(data, how, given)


def test_a_trainer_that_exits_ends_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(frame: object, target: object) -> object:
        raise SystemExit(3)

    data = table()
    request = TrainingRequest(
        columns=data.columns,
        kinds=data.kinds,
        target=data.target,
        task=data.task,
        classes=data.classes,
        change=None,
        evaluation=30,
        seed=0,
        algorithms=(),
        windows=("all",),
        maximum_rows=ROWS,
    )
    with pytest.raises(TrainingFailed, match="SystemExit"):
        as_trainer(leave, "mine")(request)
    (tmp_path / "leaves_when_imported.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidTrainer, match="SystemExit"):
        import_trainer("leaves_when_imported:f")
