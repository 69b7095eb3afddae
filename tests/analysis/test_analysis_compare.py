"""`homeostat.compare` from the outside: frames of any library, profiles, and tables that do not fit."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

import homeostat
from homeostat.errors import InvalidData, InvalidInput
from homeostat.stats.drift.jensen_shannon import jensen_shannon_of_values


def table(rows, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(shift, 1, rows),
            "y": rng.exponential(size=rows),
            "flag": rng.random(rows) < 0.3,
            "c": rng.choice(["a", "b", "c"], rows),
        }
    )


def test_a_shift_is_found_and_told():
    report = homeostat.compare(table(1000), table(500, 1, shift=1.0), importances={"x": 2, "y": 1})
    assert (report.drifted, report.verdict, report.severity) == (True, "harmed", report.features["x"].severity)
    assert report.features["x"].drifted
    assert not report.features["y"].drifted
    assert report.ranked()[0].name == "x"
    assert "'x' has moved" in report.words
    assert "depends on 'x'" in report.advice
    assert "Traceback" not in str(report)


def test_nothing_is_found_where_nothing_changed():
    report = homeostat.compare(table(1000), table(500, 1))
    assert (report.drifted, report.severity) == (False, "none")
    assert report.advice.endswith("Nothing needs to be done.")


@pytest.mark.parametrize("library", [pl.from_pandas, pa.Table.from_pandas, dict], ids=["polars", "pyarrow", "mapping"])
def test_every_library_gives_the_same_report(library):
    before, after = table(600), table(300, 1, shift=0.5)
    assert homeostat.compare(library(before), library(after)).to_dict() == homeostat.compare(before, after).to_dict()


def test_distances_of_frames_are_exact_and_those_of_profiles_a_bound():
    before, after = table(3000), table(2000, 1, shift=0.3)
    exact = homeostat.compare(before, after).features["x"]
    assert exact.ks == pytest.approx(ks_2samp(before["x"], after["x"]).statistic, abs=1e-12)
    assert exact.js == pytest.approx(jensen_shannon_of_values(before["x"], after["x"]), abs=1e-9)
    reference = homeostat.Profile.of(before)
    bound = homeostat.compare(reference, homeostat.Profile.of(after, like=reference)).features["x"]
    assert exact.ks - 1 / 80 <= bound.ks <= exact.ks
    assert homeostat.compare(reference, after).drifted


def test_a_lost_column_is_no_silent_pass():
    after = table(500, 1).drop(columns=["x"]).assign(new=1)
    report = homeostat.compare(table(1000), after)
    assert report.drifted
    assert list(report.lost) == ["x"]
    assert report.added == ("new",)
    assert "no such column" in report.features["x"].words
    assert "can't be compared at all: x" in report.words


def test_a_column_of_another_kind_is_a_finding():
    report = homeostat.compare(table(1000), table(500, 1).assign(y="broken"))
    assert report.drifted
    assert "where the reference holds numbers" in report.lost["y"]


def test_reports_are_plain_data():
    report = homeostat.compare(table(1000), table(500, 1, shift=1.0), methods=["wasserstein", "mann_whitney"])
    data = json.loads(report.to_json())
    assert data["drifted"]
    assert next(iter(data["features"])) == "x"
    assert data["features"]["x"]["methods"]["wasserstein"]["p"] < 1e-6
    frame = report.to_frame()
    assert frame["name"].tolist()[0] == "x"
    assert frame.loc[0, "wasserstein"] == pytest.approx(1, abs=0.15)
    assert set(report.methods) == {"x", "y"}


def test_a_change_that_no_feature_shows_alone_is_found_together():
    rng = np.random.default_rng(5)
    before = pd.DataFrame(rng.multivariate_normal([0, 0], [[1, 0], [0, 1]], 1500), columns=["a", "b"])
    after = pd.DataFrame(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 800), columns=["a", "b"])
    report = homeostat.compare(before, after, together=["samples", "domain_classifier", "mmd", "pca"])
    assert not report.drifted
    assert {name for name, result in report.together.items() if result.p < 0.01} >= {"domain_classifier", "mmd"}
    assert report.together["samples"].p < 0.01
    assert all(result.sentence for result in report.together.values())
    quiet = homeostat.compare(before[:700], before[700:], together=["samples", "domain_classifier", "mmd", "pca"])
    assert min(result.p for result in quiet.together.values()) > 0.001


def test_a_trifling_shift_of_a_million_rows_is_significant_and_no_alarm():
    rng = np.random.default_rng(6)
    report = homeostat.compare({"x": rng.normal(size=1_000_000)}, {"x": rng.normal(0.02, 1, 1_000_000)})
    assert not report.drifted
    assert report.features["x"].ks_p < 1e-20
    assert report.features["x"].effect < 0.02


def test_clustered_rows_count_for_less():
    rng = np.random.default_rng(0)
    before, entity = {"x": rng.normal(size=2000)}, rng.normal(size=20).repeat(40)
    after = {"x": 0.9 * entity + 0.44 * rng.normal(size=800)}
    assert homeostat.compare(before, after).drifted
    assert not homeostat.compare(before, after, design_effect=1 + 39 * 0.81).drifted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"x": []}, {"x": []}),
        ({"x": [1.0]}, {"x": [2.0]}),
        ({"x": np.full(200, np.nan)}, {"x": np.full(200, np.nan)}),
        ({"x": np.ones(200)}, {"x": np.ones(200)}),
        ({"x": np.full(200, np.inf)}, {"x": np.full(200, -np.inf)}),
        ({"x": np.r_[np.full(100, 1e308), np.full(100, -1e308)]}, {"x": np.zeros(200)}),
        ({"c": np.array([None] * 200, dtype=object)}, {"c": np.array([None] * 200, dtype=object)}),
    ],
    ids=["empty", "one row", "all missing", "constant", "infinite", "huge", "no category"],
)
def test_poor_tables_are_no_crash(before, after):
    report = homeostat.compare(before, after)
    assert report.verdict in ("no_data", "insufficient", "healthy", "harmed")
    json.loads(report.to_json())
    assert report.to_text()
    assert "<" in report.to_html()


def test_a_constant_that_moves_and_a_column_that_empties_are_found():
    assert homeostat.compare({"x": np.ones(200)}, {"x": np.full(200, 2.0)}).drifted
    assert homeostat.compare({"x": np.ones(200)}, {"x": np.full(200, np.nan)}).features["x"].dimension == "missing"
    assert homeostat.compare({"x": np.ones(200)}, {"x": np.full(200, np.inf)}).drifted


@pytest.mark.slow
def test_a_million_categories_are_held_in_bounded_memory():
    ids = np.array([f"user-{i}" for i in range(1_000_000)], dtype=object)
    report = homeostat.compare({"id": ids[:500_000]}, {"id": ids[500_000:]}, kinds={"id": "categorical"})
    # All of them are new, but so are nearly all rows of the reference to each other: nothing can be said.
    assert not report.drifted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preset": "loose"}, "no preset"),
        ({"control": "none"}, "no control"),
        ({"kinds": {"x": "number"}}, "no kind"),
        ({"columns": ["z"]}, "no column 'z'"),
        ({"methods": ["magic"]}, "no method 'magic'"),
        ({"together": ["magic"]}, "no test of several features"),
        ({"importances": {"x": -1.0}}, "from 0 on"),
        ({"importances": {"x": float("nan")}}, "from 0 on"),
        ({"design_effect": 0.5}, "from 1 on"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        homeostat.compare({"x": np.arange(50.0)}, {"x": np.arange(50.0)}, **arguments)


def test_tables_that_can_not_be_compared_are_refused():
    with pytest.raises(InvalidData, match="no column in common"):
        homeostat.compare({"x": np.arange(5.0)}, {"y": np.arange(5.0)})
    with pytest.raises(InvalidData, match="of several types"):
        homeostat.compare({"x": [1, "a", {}]}, {"x": [1, "a", {}]})
    profile = homeostat.Profile.of({"x": np.arange(50.0)})
    with pytest.raises(InvalidInput, match="like=reference"):
        homeostat.compare({"x": np.arange(50.0)}, profile)
    with pytest.raises(InvalidInput, match="need rows"):
        homeostat.compare(profile, profile, methods=["wasserstein"])
    with pytest.raises(InvalidInput, match="like=first"):
        homeostat.compare(profile, homeostat.Profile.of({"x": np.arange(60.0)}))
