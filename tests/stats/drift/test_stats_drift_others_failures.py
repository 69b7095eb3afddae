"""What others get wrong, measured: each rule fails as it is said to, and ours does not at the same data."""

import numpy as np
import pytest
from benchmarks.statistics import others_failures as simulated
from scipy import stats

from homeostat.stats.drift.permutation import p_value


def at_most(share, runs, level):
    """Whether a share of runs is no more than chance makes of a level."""
    return share * runs <= stats.binom.ppf(0.9999, runs, level)


def about(share, runs, level):
    """Whether a share of runs can be one of that level."""
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], runs, level)
    return low <= share * runs <= high


# The published shares at 50, 100, 200 and 500 rows.
@pytest.mark.parametrize(("rows", "wasserstein", "psi"), [(50, 0.94, 0.99), (100, 0.71, 0.82), (200, 0.32, 0.19)])
def test_fixed_thresholds_on_wasserstein_and_psi_alarm_on_noise(rows, wasserstein, psi):
    runs = 50
    found = simulated.null_columns(rows, runs=runs, rng=rows)
    assert about(found["wasserstein"], runs, wasserstein)
    assert about(found["psi"], runs, psi)
    assert at_most(found["wasserstein test"], runs, 0.01)
    assert at_most(found["ours"], runs, 0.01)
    assert found["ours, shifted"] >= 0.9


def test_at_500_rows_only_wasserstein_still_alarms_at_times():
    runs = 40
    found = simulated.null_columns(500, runs=runs, rng=1)
    assert about(found["wasserstein"], runs, 0.07)
    assert found["psi"] == 0
    assert at_most(found["ours"], runs, 0.01)


@pytest.mark.parametrize("rows", [500, 5000])
def test_jensen_shannon_over_many_categories_always_alarms(rows):
    found = simulated.null_categories(rows, runs=8, rng=2)
    assert found["jensen-shannon"] == 1
    assert at_most(found["test"], 8, 0.01)
    assert found["test, moved"] > 0.5
    assert at_most(found["ours"], 8, 0.01)


def test_some_of_20_features_alarms_and_ours_does_not():
    runs = 25
    found = simulated.many_features(runs=runs, rng=3)
    assert about(found["ks"], runs, 1 - 0.95**20)
    assert at_most(found["ours"], runs, 0.01)


def test_a_trifling_shift_is_significant_and_no_drift():
    found = simulated.trifling_shift(rows=1_000_000, rng=4)
    assert found["p"] < 1e-20
    assert found["distance"] == pytest.approx(0.0086, abs=0.003)
    assert found["ours"] == 0
    assert found["effect"] < 0.02


def test_missing_values_are_drift():
    found = simulated.mostly_missing(runs=10, rng=5)
    assert at_most(found["ks of what is left"], 10, 0.02)
    assert found["ours"] == 1


def test_one_broken_column_of_20_is_found():
    found = simulated.one_broken(runs=8, rng=6)
    assert found == {"half of the columns": 0, "ours": 1}


def test_the_one_sample_chi_square_test_errs_eight_times_as_often_as_it_says():
    runs = 1500
    found = simulated.one_sample_chi_square(runs=runs, rng=7)
    # It was said to be 40 %; the exact level with 6 equal shares is 36 %.
    assert 0.3 < found["one-sample"] < 0.45
    assert about(found["two-sample"], runs, 0.05)


def test_the_anderson_darling_table_alarms_too_often_on_flags():
    runs = 300
    found = simulated.tied_anderson_darling(runs=runs, rng=9)
    assert not at_most(found["table"], runs, 0.05)
    assert at_most(found["ties"], runs, 0.05)


def test_permutation_p_values_are_never_zero():
    runs = 3000
    found = simulated.permutation_levels(runs=runs, rng=8)
    assert about(found["k/B is 0"], runs, 0.01)
    assert found["k/B"] == found["k/B is 0"]
    assert not at_most(found["k/B"], runs, 0.001)
    assert found["ours is 0"] == found["ours"] == 0
    assert p_value(0, 99) == 0.01


def test_thresholds_from_few_chunks_alarm_far_more_often_than_meant():
    runs = 40
    few, more = (simulated.in_sample_thresholds(chunks, runs=runs, rng=chunks) for chunks in (5, 10))
    # .13 % was meant; 4 to 26 % were published.
    assert not at_most(few["chunks"], runs, 0.04)
    assert not at_most(more["chunks"], runs, 0.0013)
    assert more["chunks"] < few["chunks"] < 0.5
    assert at_most(few["ours"], runs, 0.01)
    assert at_most(more["ours"], runs, 0.01)


def test_the_tables_and_the_plot_can_be_made():
    assert simulated._percent(0.5) == "50.0 %"
    names = set(simulated.null_columns(40, runs=1, rng=0))
    assert names == {"wasserstein", "psi", "wasserstein test", "ours", "ours, shifted"}
    assert np.isfinite(simulated.binned_psi(np.zeros(5), np.ones(5)))
