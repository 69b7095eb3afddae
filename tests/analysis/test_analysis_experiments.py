"""Experiments, models and sample sizes from the package's door."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import homeostat
from homeostat.errors import InvalidInput


def experiment(rows=4000, lift=0.03):
    rng = np.random.default_rng(0)
    arm = rng.choice(["A", "B"], rows)
    before = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "arm": arm,
            "converted": rng.random(rows) < 0.1 + lift * (arm == "B"),
            "spent": 10 + 3 * before + rng.normal(size=rows) + 0.2 * (arm == "B"),
            "before": before,
            "user": rng.integers(0, 2000, rows).astype(str),
        }
    )


@pytest.mark.parametrize("library", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_an_experiment_is_analysed_from_a_frame(library):
    data = library(experiment())
    result = homeostat.analyze_experiment(
        data, arm="arm", metrics=["converted", "spent"], control="A", covariates={"spent": "before"}
    )
    by_metric = {one.metric: one for one in result.comparisons}
    assert by_metric["spent"].adjusted_p < 0.01
    assert by_metric["spent"].estimate == pytest.approx(0.2, abs=0.1)
    assert result.sentence


def test_columns_that_are_not_there_are_named():
    with pytest.raises(InvalidInput, match="no column 'spend'"):
        homeostat.analyze_experiment(experiment(50), arm="arm", metrics=["spend"], control="A")
    gaps = experiment(50)
    gaps.loc[3, "arm"] = None
    with pytest.raises(InvalidInput, match="missing in 1 rows"):
        homeostat.analyze_experiment(gaps, arm="arm", metrics=["spent"], control="A")
    with pytest.raises(InvalidInput, match="should hold numbers"):
        homeostat.analyze_experiment(experiment(50), arm="arm", metrics=["arm"], control="A")


@pytest.mark.parametrize(("values", "control"), [([False, True], False), ([0.0, 1.0], 0), ([0, 1], 0.0), ([0, 1], "0")])
def test_arms_that_are_no_texts_are_named_as_they_are(values, control):
    data = {"arm": np.repeat(values, 100), "spent": np.random.default_rng(0).normal(size=200)}
    planned = dict(zip(values, (1.0, 1.0), strict=True))
    found = homeostat.analyze_experiment(data, arm="arm", metrics=["spent"], control=control, planned=planned)
    assert len(found.arms) == 2


def test_one_metric_is_a_list_too():
    with pytest.raises(InvalidInput, match="list of columns"):
        homeostat.analyze_experiment(experiment(50), arm="arm", metrics="spent", control="A")


def test_models_and_sample_sizes():
    rng = np.random.default_rng(1)
    truth = pd.Series(rng.integers(0, 2, 2000))
    worse, better = (truth.where(rng.random(2000) < right, 1 - truth) for right in (0.8, 0.9))
    result = homeostat.compare_models(truth, worse, better)
    assert result.verdict == "better"
    assert result.log_e_better > np.log(100)
    assert homeostat.sample_size(baseline=0.90, target=0.92).n_1 == 3213


def test_the_door_names_everything_and_nothing_else():
    for name in ("Client", "Profile", "DriftReport", "compare", "compare_models", "analyze_experiment", "sample_size"):
        assert name in dir(homeostat)
        assert getattr(homeostat, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'compere'"):
        homeostat.compere  # noqa: B018 # that it raises is what is tested
