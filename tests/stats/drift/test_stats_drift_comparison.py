"""Decisions: false alarms stay rare, broken columns are found, and no data is a verdict of its own."""

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.drift.comparison import compare_profiles
from homeostat.stats.drift.scores import compare_scores
from homeostat.stats.profile import Profile

FEATURES = 20


def table(rng, rows):
    """Twenty features of the kinds that are met: normal, skewed, counts, flags, few and many categories."""
    columns = {f"normal{i}": rng.normal(size=rows) for i in range(8)}
    columns |= {f"skewed{i}": rng.lognormal(0, 1.5, rows) for i in range(4)}
    columns |= {f"count{i}": rng.poisson(0.7, rows).astype(float) for i in range(2)}
    columns |= {f"flag{i}": (rng.random(rows) < 0.03).astype(float) for i in range(2)}
    columns["gaps"] = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows))
    for i, width in enumerate((3, 12, 200)):
        columns[f"category{i}"] = np.array([f"c{k}" for k in rng.integers(0, width, rows)], dtype=object)
    return columns


@pytest.fixture(scope="module")
def reference():
    return Profile.of(table(np.random.default_rng(0), 2000))


def false_alarms(rows, runs):
    """Windows without drift called drifted, ten to a reference: calibrated, classic, and any feature in classic."""
    rng = np.random.default_rng(rows)
    alarms = np.zeros(3, dtype=int)
    for run in range(runs):
        if run % 10 == 0:
            reference = Profile.of(table(rng, 2000))
        window = Profile.of(table(rng, rows), like=reference)
        classic = compare_profiles(reference, window, preset="classic")
        any_feature = any(feature.drifted for feature in classic.features.values())
        alarms += (compare_profiles(reference, window).drifted, classic.drifted, any_feature)
    return alarms


@pytest.mark.parametrize("rows", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_false_alarms_of_the_calibrated_preset_are_within_their_budget(rows, reference):
    assert len(reference.features) == FEATURES
    runs = 200
    # The budget is 1 % of windows; more than this would come up by chance in 1 of 1,000 such simulations.
    assert false_alarms(rows, runs)[0] <= stats.binom.ppf(0.999, runs, 0.01)


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.5])
def test_the_choice_of_top_categories_is_not_mistaken_for_drift(exponent):
    rng = np.random.default_rng(20)
    weights = 1 / np.arange(1, 201) ** exponent
    names = np.array([f"c{i}" for i in range(200)], dtype=object)
    alarms = 0
    for _ in range(100):
        reference = Profile.of({"c": rng.choice(names, 2000, p=weights / weights.sum())})
        window = {"c": rng.choice(names, 1000, p=weights / weights.sum())}
        alarms += compare_profiles(reference, Profile.of(window, like=reference)).drifted
    assert alarms <= stats.binom.ppf(0.999, 100, 0.01)
    window["c"][:300] = reference.features["c"].categories[-1]
    assert compare_profiles(reference, Profile.of(window, like=reference)).drifted


def test_classic_alarms_where_calibrated_does_not(reference):
    rng = np.random.default_rng(1)
    windows = [Profile.of(table(rng, 100), like=reference) for _ in range(20)]
    classic = [compare_profiles(reference, window, preset="classic") for window in windows]
    assert sum(any(feature.drifted for feature in result.features.values()) for result in classic) == 20
    assert sum(compare_profiles(reference, window).drifted for window in windows) <= 1


def test_a_trifling_shift_in_a_million_rows_is_no_drift():
    rng = np.random.default_rng(2)
    reference = Profile.of({"x": rng.normal(size=400_000)})
    result = compare_profiles(reference, Profile.of({"x": rng.normal(0.02, 1, 400_000)}, like=reference))
    feature = result.features["x"]
    assert feature.p_adjusted < 1e-6
    assert result.verdict == "healthy"
    assert not feature.drifted


def test_a_column_gone_missing_is_found(reference):
    columns = table(np.random.default_rng(3), 500)
    columns["normal0"][np.random.default_rng(4).random(500) < 0.9] = np.nan
    columns["category0"][:] = None
    result = compare_profiles(reference, Profile.of(columns, like=reference))
    for name in ("normal0", "category0"):
        assert result.features[name].dimension == "missing"
        assert result.features[name].severity == "critical"
    assert result.verdict == "harmed"
    assert "missing" in result.features["normal0"].words


def test_a_column_of_infinities_is_found(reference):
    columns = table(np.random.default_rng(3), 500)
    columns["normal1"][:200] = np.inf
    assert compare_profiles(reference, Profile.of(columns, like=reference)).features["normal1"].dimension == "missing"


def test_categories_never_seen_are_found(reference):
    columns = table(np.random.default_rng(5), 500)
    columns["category1"][:60] = "surprise"
    feature = compare_profiles(reference, Profile.of(columns, like=reference)).features["category1"]
    assert feature.drifted
    assert feature.unseen == pytest.approx(0.12)


def test_one_broken_column_of_twenty_raises_where_classic_passes(reference):
    columns = table(np.random.default_rng(6), 1000)
    columns["normal3"] = columns["normal3"] + 3.0
    window = Profile.of(columns, like=reference)
    result = compare_profiles(reference, window, importances={"normal3": 0.3, "normal4": 0.7})
    assert (result.verdict, result.severity, result.share_drifted) == ("harmed", "critical", 1 / FEATURES)
    assert compare_profiles(reference, window, preset="classic").verdict == "healthy"


def test_many_broken_columns_that_the_model_ignores_do_not_raise(reference):
    columns = table(np.random.default_rng(7), 1000)
    for i in range(1, 8):
        columns[f"normal{i}"] = columns[f"normal{i}"] + 0.5
    window = Profile.of(columns, like=reference)
    ignored = compare_profiles(reference, window, importances={"normal0": 1.0, "normal1": 0.001})
    assert ignored.verdict == "healthy"
    assert sum(feature.drifted for feature in ignored.features.values()) == 7
    assert compare_profiles(reference, window).verdict == "harmed"
    # Importances that say nothing weigh all alike.
    assert compare_profiles(reference, window, importances={"normal0": 0.0}).verdict == "harmed"


def test_a_change_of_scale_alone_is_found():
    rng = np.random.default_rng(8)
    reference = Profile.of({"x": rng.normal(size=2000)})
    assert compare_profiles(reference, Profile.of({"x": rng.normal(0, 2, 500)}, like=reference)).drifted


def test_no_data_and_too_little_are_verdicts_of_their_own(reference):
    shifted = {name: values[:20] for name, values in table(np.random.default_rng(9), 50).items()}
    shifted["normal0"] = shifted["normal0"] + 9
    for preset in ("calibrated", "classic"):
        assert compare_profiles(reference, reference.empty(), preset=preset).verdict == "no_data"
        few = compare_profiles(reference, Profile.of(shifted, like=reference), preset=preset)
        assert (few.verdict, few.severity, few.drifted) == ("insufficient", "none", False)
        assert not any(feature.drifted for feature in few.features.values())


def test_classic_thresholds():
    def share(current):
        reference = Profile.of({"c": np.array(["a"] * 500 + ["b"] * 500, dtype=object)})
        count = int(1000 * current)
        window = Profile.of({"c": np.array(["a"] * count + ["b"] * (1000 - count), dtype=object)}, like=reference)
        return compare_profiles(reference, window, preset="classic")

    assert share(0.52).features["c"].severity == "none"
    # PSI .018 and JS .003 are calm, the chi-square test is not.
    assert share(0.55).features["c"].chi2_p == pytest.approx(0.0251, abs=1e-3)
    assert share(0.55).severity == "medium"
    # From PSI .2 on (here .21) it is critical.
    assert share(0.72).severity == "critical"
    assert share(0.72).drifted


def test_severity_grows_with_the_effect():
    rng = np.random.default_rng(10)
    reference = Profile.of({"x": rng.normal(size=5000)})
    order = ["none", "low", "medium", "high", "critical"]
    found = [
        compare_profiles(reference, Profile.of({"x": rng.normal(shift, 1, 5000)}, like=reference)).severity
        for shift in (0.0, 0.4, 0.65, 1.0, 2.0)
    ]
    assert found == order


def test_profiles_that_do_not_match_are_refused(reference):
    with pytest.raises(InvalidInput, match="different features"):
        compare_profiles(reference, Profile.of({"x": np.ones(3)}))
    other = Profile.of(table(np.random.default_rng(11), 200))
    with pytest.raises(InvalidInput, match="like=first"):
        compare_profiles(reference, other)
    with pytest.raises(InvalidInput, match="preset"):
        compare_profiles(reference, reference, preset="loose")


def test_profiles_without_features_or_values_compare():
    assert compare_profiles(Profile(5, {}), Profile(500, {}), minimum_rows=1).verdict == "healthy"
    nothing = Profile.of({"x": np.full(200, np.nan), "c": np.array([None] * 200, dtype=object)})
    result = compare_profiles(
        nothing, Profile.of({"x": np.ones(200), "c": np.array(["a"] * 200, dtype=object)}, like=nothing)
    )
    assert result.features["x"].ks is None
    assert result.features["x"].dimension == "missing"
    assert result.verdict == "harmed"


def test_scores():
    rng = np.random.default_rng(12)
    reference = rng.beta(1, 9, 3000)
    assert compare_scores(reference, rng.beta(1, 9, 500)).verdict == "healthy"
    moved = compare_scores(reference, rng.beta(3, 9, 500))
    assert (moved.verdict, moved.severity) == ("harmed", "critical")
    assert moved.mean_shift == pytest.approx(0.15, abs=0.02)
    assert compare_scores(reference, np.array([np.nan])).verdict == "no_data"
    assert compare_scores(reference, rng.beta(3, 9, 50)).verdict == "insufficient"
    slight = rng.beta(1.4, 9, 1000)
    assert compare_scores(reference, slight, preset="classic").drifted
    with pytest.raises(InvalidInput, match="preset"):
        compare_scores(reference, slight, preset="loose")
    with pytest.raises(InvalidInput, match="numbers"):
        compare_scores(reference, np.array(["a"], dtype=object))


if __name__ == "__main__":
    for rows in (100, 200, 500, 1000, 5000):
        calibrated, classic, any_feature = false_alarms(rows, 1000) / 1000
        print(f"{rows} rows: calibrated {calibrated:.1%}, classic {classic:.1%}, any feature {any_feature:.1%}")


def test_one_broken_important_column_is_enough_and_fifty_irrelevant_ones_are_not():
    rng = np.random.default_rng(12)
    names = [f"f{i}" for i in range(51)]
    reference = Profile.of({name: rng.normal(size=1000) for name in names})
    importances = dict.fromkeys(names, 0.0002) | {"f0": 0.99}

    def window(shifted):
        return Profile.of({name: rng.normal(2 if name in shifted else 0, 1, 500) for name in names}, like=reference)

    irrelevant = compare_profiles(reference, window(names[1:]), importances=importances)
    assert sum(feature.drifted for feature in irrelevant.features.values()) == 50
    assert not irrelevant.drifted
    assert "hardly uses" in irrelevant.advice
    broken = compare_profiles(reference, window(names[:1]), importances=importances)
    assert broken.drifted
    assert "depends on 'f0'" in broken.advice
