"""The whole loop on small generated tables: it heals where it should, holds still where it should, and adds up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat.backtest.outcome import by_block
from homeostat.backtest.replay import Options, initial_rows
from homeostat.connectors.tables import LabelledTable, prepare
from homeostat.errors import InvalidData
from homeostat.settings import load
from homeostat.wiring import BacktestResult, run_backtest

SEVERAL = ("logistic_regression", "gradient_boosting")
STRATEGIES = {"static", "healed", "no_change", "majority", "periodic"}


def table(kind: str, *, drift: bool, rows: int = 900, seed: int = 0) -> LabelledTable:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    x[rng.random((rows, 4)) < 0.03] = np.nan
    color = rng.choice(["red", "green", "blue"], rows)
    flag = rng.random(rows) < 0.5
    filled = np.nan_to_num(x)
    score = 2 * filled[:, 0] - filled[:, 1] + (color == "red")
    if drift:
        half = rows // 2
        score[half:] = -2 * filled[half:, 0] + filled[half:, 2] - (color[half:] == "red")
    noisy = score + rng.normal(size=rows) * 0.3
    target: Any = {
        "binary": np.where(noisy > 0.3, "yes", "no"),
        "multiclass": np.digitize(noisy, [-1.0, 1.0]),
        "regression": noisy,
    }[kind]
    frame = pd.DataFrame(x, columns=list("abcd")).assign(color=color, flag=flag, y=target)
    if rows > 400:
        # An unseen category, and an infinity, late in the stream.
        frame.loc[rows - 100, "color"] = "violet"
        frame.loc[rows - 90, "a"] = np.inf
    return prepare(frame, target="y", name=kind)


def backtest(
    data: LabelledTable, algorithms: tuple[str, ...] = ("logistic_regression",), **options: Any
) -> BacktestResult:
    settings = load(environment={}, overrides={"policy.training.algorithms": list(algorithms)})
    return run_backtest(data, Options(batches=100, **options), settings)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_it_heals_after_a_change_of_concept(kind: str) -> None:
    data = table(kind, drift=True)
    result = backtest(data, SEVERAL)
    figures = result.to_dict()
    assert set(figures["strategies"]) == STRATEGIES
    metric = "mae" if kind == "regression" else "accuracy"
    late = {name: scores["by_block"][-1] for name, scores in figures["strategies"].items()}
    if kind == "regression":
        assert late["healed"] < 0.6 * late["static"]
    else:
        assert late["healed"] > late["static"] + 0.2
    assert figures["promotions"] >= 1
    assert figures["retrainings"] >= figures["promotions"]
    assert figures["labels_used"] == data.rows - initial_rows(data, 0.2)
    for scores in figures["strategies"].values():
        assert len(scores["by_block"]) == 10
        assert scores["by_block"][:2] == [None, None]
        assert metric in scores
    kinds = [decision["kind"] for decision in figures["decisions"]]
    assert kinds[:2] == ["registered", "installed"]
    assert {"retraining", "candidate", "rollout", "step"} <= set(kinds)
    assert result.story.evidence


def test_it_holds_still_where_nothing_changes() -> None:
    figures = backtest(table("binary", drift=False, rows=1500, seed=4)).to_dict()
    assert (figures["retrainings"], figures["promotions"], figures["rollbacks"]) == (0, 0, 0)
    assert figures["strategies"]["healed"]["accuracy"] == figures["strategies"]["static"]["accuracy"]


@pytest.fixture(scope="module")
def data() -> LabelledTable:
    return table("binary", drift=True, rows=700)


@pytest.fixture(scope="module")
def soon(data: LabelledTable) -> dict[str, Any]:
    """What comes of it where each label is there at once."""
    return backtest(data, seed=2).to_dict()


def test_the_same_seed_gives_the_same_decisions(data: LabelledTable, soon: dict[str, Any]) -> None:
    again = backtest(data, seed=2).to_dict()
    assert soon["decisions"] == again["decisions"]
    assert soon["strategies"] == again["strategies"]


def test_late_labels_delay_the_healing(data: LabelledTable, soon: dict[str, Any]) -> None:
    late = backtest(data, seed=2, label_delay=timedelta(days=10)).to_dict()
    in_rows = backtest(data, seed=2, label_delay_rows=70).to_dict()
    assert late["labels_used"] < soon["labels_used"]
    assert in_rows["labels_used"] == soon["labels_used"] - 70

    def first(figures: dict[str, Any]) -> str:
        return next((d["time"] for d in figures["decisions"] if d["kind"] == "retraining"), "never")

    assert first(soon) < first(late)
    assert first(soon) < first(in_rows)


def test_too_small_a_part_on_either_side_is_refused() -> None:
    data = table("binary", drift=False, rows=200)
    for share in (0.01, 0.99):
        with pytest.raises(InvalidData, match="both sides need"):
            initial_rows(data, share)


def test_blocks_are_tenths_of_the_whole_table() -> None:
    quality = np.ones(75)
    assert by_block(100, 25, quality) == [None, None, *[1.0] * 8]
