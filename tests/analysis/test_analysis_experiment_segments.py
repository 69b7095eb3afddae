"""`homeostat.analyze_experiment` by segment."""

import numpy as np
import pytest

import homeostat
from homeostat.errors import InvalidInput


def test_each_segment_has_a_table_of_its_own():
    rng = np.random.default_rng(0)
    n = 4000
    arm, country = rng.choice(["old", "new"], n), rng.choice(["de", "fr"], n)
    spent = rng.normal(10, 2, n) + np.where((arm == "new") & (country == "de"), 1.0, 0.0)
    table = {"arm": arm, "country": country, "spent": spent}
    found = homeostat.analyze_experiment(table, arm="arm", metrics=["spent"], control="old", segment="country")
    assert sorted(found.segments) == ["de", "fr"]
    assert found.segments["de"].verdict == "better"
    assert abs(found.segments["fr"].comparisons[0].estimate) < 0.5
    inside = country == "de"
    alone = homeostat.analyze_experiment(
        {name: column[inside] for name, column in table.items()}, arm="arm", metrics=["spent"], control="old"
    )
    assert found.segments["de"].comparisons[0].estimate == pytest.approx(alone.comparisons[0].estimate)
    assert not alone.segments


def test_a_segment_without_an_arm_says_so_and_an_unknown_column_is_told():
    arm = np.array(["old", "new"] * 50 + ["old"] * 20)
    table = {"arm": arm, "country": ["de"] * 100 + ["fr"] * 20, "spent": np.arange(120.0)}
    found = homeostat.analyze_experiment(table, arm="arm", metrics=["spent"], control="old", segment="country")
    assert "nothing can be said" in found.segments["fr"].comparisons[0].sentence
    with pytest.raises(InvalidInput, match="no column"):
        homeostat.analyze_experiment(table, arm="arm", metrics=["spent"], control="old", segment="planet")
