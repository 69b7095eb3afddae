"""`homeostat.compare_models`: from arrays, from columns of a table, and by segment."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

import homeostat
from homeostat.errors import InvalidData, InvalidInput


def table(rows=3000):
    rng = np.random.default_rng(0)
    truth, country = rng.integers(0, 2, rows), rng.choice(["de", "fr"], rows)
    right = np.where(country == "de", 0.95, 0.8)
    return pd.DataFrame(
        {
            "label": truth,
            "old": np.where(rng.random(rows) < 0.8, truth, 1 - truth),
            "new": np.where(rng.random(rows) < right, truth, 1 - truth).astype(bool),
            "old_score": truth + rng.normal(0, 1, rows),
            "new_score": truth + rng.normal(0, 0.5, rows),
            "country": country,
            "user": rng.integers(0, 500, rows),
        }
    )


@pytest.mark.parametrize("library", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_columns_are_named_and_give_what_their_arrays_give(library):
    frame = table()
    scores = {"scores_1": "old_score", "scores_2": "new_score"}
    named = homeostat.compare_models("label", "old", "new", data=library(frame), entities="user", **scores)
    arrays = {key: frame[column] for key, column in scores.items()}
    plain = homeostat.compare_models(frame["label"], frame["old"], frame["new"], entities=frame["user"], **arrays)
    assert named.verdict == plain.verdict == "better"
    assert named.sentence == plain.sentence
    assert named.auc is not None
    assert not named.segments


def test_each_segment_has_a_comparison_of_its_own():
    frame = table()
    found = homeostat.compare_models("label", "old", "new", data=frame, segments="country")
    assert sorted(found.segments) == ["de", "fr"]
    assert found.segments["de"].verdict == "better"
    assert found.segments["fr"].verdict == "inconclusive"
    assert found.wins == sum(one.wins for one in found.segments.values())
    inside = frame[frame["country"] == "de"]
    alone = homeostat.compare_models(inside["label"], inside["old"], inside["new"])
    assert found.segments["de"].difference == alone.difference
    arrays = homeostat.compare_models(frame["label"], frame["old"], frame["new"], segments=frame["country"])
    assert arrays.segments["de"].difference == alone.difference
    by_user = homeostat.compare_models("label", "old", "new", data=frame, entities="user", segments="country")
    assert "entities" in by_user.segments["de"].sentence


def test_a_segment_that_is_too_small_says_so():
    frame = table(200)
    frame["country"] = ["de"] * 199 + ["fr"]
    found = homeostat.compare_models("label", "old", "new", data=frame, segments="country")
    assert found.segments["fr"].verdict == "insufficient"
    assert "no error to be had from 1 row" in found.segments["fr"].sentence
    frame["country"] = ["de"] * 190 + ["fr"] * 10
    frame.loc[190:, "user"] = 7
    frame.loc[190:, "label"] = 1
    scores = {"scores_1": "old_score", "scores_2": "new_score"}
    found = homeostat.compare_models("label", "old", "new", data=frame, entities="user", segments="country")
    assert "10 rows of 1 entity" in found.segments["fr"].sentence
    scored = homeostat.compare_models("label", "old", "new", data=frame, segments="country", **scores)
    assert scored.segments["fr"].auc is None
    assert scored.segments["de"].auc is not None


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (SimpleNamespace(truth="lable"), InvalidInput, "no column 'lable'"),
        (SimpleNamespace(segments="planet"), InvalidInput, "no column 'planet'"),
        (SimpleNamespace(data=None), InvalidInput, "'data', which was not given"),
        (SimpleNamespace(data=3), InvalidData, "frame"),
        (SimpleNamespace(segments=["de"]), InvalidInput, "equal lengths"),
        (SimpleNamespace(segments="gaps"), InvalidInput, "missing in 1 rows"),
        (SimpleNamespace(first="country"), InvalidInput, "mix texts and numbers"),
    ],
)
def test_what_cannot_be_compared_is_told(arguments, error, words):
    frame = table(50)
    frame["gaps"] = frame["country"].where(frame.index != 3)
    asked = {"truth": "label", "first": "old", "second": "new", "data": frame} | vars(arguments)
    with pytest.raises(error, match=words):
        homeostat.compare_models(**asked)
