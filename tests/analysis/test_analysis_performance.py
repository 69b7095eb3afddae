"""Estimated performance from frames: classes by any name, several of them, and regression."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import homeostat
from homeostat.errors import InvalidInput


def scored(rows, seed, names=("ham", "spam")):
    rng = np.random.default_rng(seed)
    score = rng.random(rows)
    truth = np.where(rng.random(rows) < score, *names[::-1])
    return pd.DataFrame({"score": score, "guess": np.where(score > 0.5, *names[::-1]), "label": truth})


@pytest.mark.parametrize("library", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_a_binary_classifier(library):
    reference, current = scored(4000, 0), scored(2000, 1)
    found = homeostat.estimate_performance(
        library(reference), library(current.drop(columns="label")), target="label", prediction="guess", score="score"
    )
    real = (current["label"] == current["guess"]).mean()
    low, high = found.metrics["accuracy"].interval
    assert low < real < high
    assert "concept drift" in found.sentence or "concept drift" in found.metrics["accuracy"].sentence


def test_classes_may_be_numbers_booleans_or_named():
    as_numbers = scored(3000, 0, names=(0, 1)), scored(500, 1, names=(0, 1))
    as_words = scored(3000, 0), scored(500, 1)
    found = [
        homeostat.estimate_performance(*pair, target="label", prediction="guess", score="score").metrics["f1"].estimate
        for pair in (as_numbers, as_words)
    ]
    assert found[0] == found[1]
    turned = scored(3000, 0).assign(score=lambda frame: 1 - frame["score"])
    window = scored(500, 1).assign(score=lambda frame: 1 - frame["score"])
    ham = homeostat.estimate_performance(
        turned, window, target="label", prediction="guess", score="score", positive="ham"
    )
    assert ham.metrics["accuracy"].estimate == pytest.approx(0.75, abs=0.05)


def test_several_classes_and_features():
    rng = np.random.default_rng(2)

    def draw(rows):
        chances = rng.dirichlet([1, 1, 1], rows)
        truth = np.array(["a", "b", "c"])[[rng.choice(3, p=row) for row in chances]]
        frame = pd.DataFrame(chances, columns=["pa", "pb", "pc"])
        return frame.assign(guess=np.array(["a", "b", "c"])[chances.argmax(axis=1)], label=truth, x=chances[:, 0])

    reference, current = draw(3000), draw(800)
    found = homeostat.estimate_performance(
        reference,
        current,
        target="label",
        prediction="guess",
        score={"a": "pa", "b": "pb", "c": "pc"},
        features=["x"],
    )
    assert found.metrics["accuracy"].estimate == pytest.approx((current["label"] == current["guess"]).mean(), abs=0.05)


def test_regression():
    rng = np.random.default_rng(3)

    def draw(rows):
        x = rng.uniform(0, 4, rows)
        return pd.DataFrame({"x": x, "guess": 2 * x, "value": 2 * x + rng.normal(0, 0.2 + x / 4)})

    found = homeostat.estimate_performance(draw(4000), draw(1000), target="value", prediction="guess", features=["x"])
    assert found.metrics["mae"].estimate == pytest.approx(np.sqrt(2 / np.pi) * 0.7, rel=0.15)


def test_what_does_not_fit_is_refused():
    reference, current = scored(300, 0), scored(100, 1)
    ask = {"target": "label", "prediction": "guess", "score": "score"}
    with pytest.raises(InvalidInput, match="reference has no column 'truth'"):
        homeostat.estimate_performance(reference, current, **{**ask, "target": "truth"})
    with pytest.raises(InvalidInput, match="current table has no column 'score'"):
        homeostat.estimate_performance(reference, current.drop(columns="score"), **ask)
    with pytest.raises(InvalidInput, match="holds 'eggs'"):
        homeostat.estimate_performance(reference, current.assign(guess="eggs"), **ask)
    with pytest.raises(InvalidInput, match="missing values"):
        homeostat.estimate_performance(reference, current.assign(guess=None), **ask)
    with pytest.raises(InvalidInput, match="no class 'eggs'"):
        homeostat.estimate_performance(reference, current, positive="eggs", **ask)
    with pytest.raises(InvalidInput, match="3 classes"):
        homeostat.estimate_performance(reference.assign(label=["a", "b", "c"] * 100), current, **ask)
    with pytest.raises(InvalidInput, match="no score column"):
        homeostat.estimate_performance(reference, current, **{**ask, "score": {"spam": "score"}})
