"""Small versions of the simulations behind the stated error rates of comparisons."""

import numpy as np
import pytest
from benchmarks.statistics.drift_false_alarms import KINDS, flagged, flagged_by_kind
from benchmarks.statistics.drift_streaming import smallest_p
from scipy.stats import binom, ks_2samp

from homeostat.errors import InvalidInput
from homeostat.stats.drift.cells import likelihood_ratio, p_of_cells
from homeostat.stats.drift.chi_square import pool_rare, statistic_of_rows
from homeostat.stats.drift.comparison import level_of_checks
from homeostat.stats.drift.sorted_values import joint_counts_of_sorted, largest_gap_of_sorted


def at_most(level, runs):
    """More false alarms than this come in one of 10,000 tests at this level."""
    return binom.ppf(0.9999, runs, level)


@pytest.mark.parametrize(("rows", "features", "runs"), [(50, 5, 60), (50, 30, 30), (200, 30, 30), (1000, 5, 40)])
def test_few_tables_without_drift_are_called_drifted(rows, features, runs):
    found = flagged(rows, features, runs=runs, rng=np.random.default_rng([rows, features]))
    assert found <= at_most(0.01, runs)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "features", "runs"), [(200, 200, 60), (10_000, 30, 40), (50, 200, 60)])
def test_few_wide_or_long_tables_without_drift_are_called_drifted(rows, features, runs):
    found = flagged(rows, features, runs=runs, rng=np.random.default_rng([rows, features]))
    assert found <= at_most(0.01, runs)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_feature_alarms_more_often(kind):
    assert flagged_by_kind(kind, 100, runs=40, rng=np.random.default_rng(len(kind))) <= at_most(0.01, 40)


@pytest.fixture(scope="module")
def histories():
    """Adjusted p-values and alarms of 2,000 checks without drift."""
    level = level_of_checks(20_000)
    drawn = [smallest_p("independent rows", checks=400, rng=np.random.default_rng(i), level=level) for i in range(5)]
    return np.concatenate([one[0] for one in drawn]), np.concatenate([one[1] for one in drawn])


def test_adjusted_p_values_hold_their_level_check_after_check(histories):
    p, alarms = histories
    # Checks share a reference, so bounds are those of a tenth as many independent ones.
    for level in (0.05, 0.01, 0.001):
        assert (p < level).mean() <= at_most(level, 200) / 200
    assert alarms.mean() <= 0.002


def test_the_power_does_not_fade_with_the_number_of_checks():
    level = level_of_checks(20_000)
    alarms = np.stack(
        [
            smallest_p("independent rows", checks=200, rng=np.random.default_rng(i), level=level, shift=0.3)[1]
            for i in range(3)
        ]
    )
    early, late = alarms[:, :100].mean(), alarms[:, 100:].mean()
    assert 0.2 < early < 0.95
    assert abs(early - late) < 4 * np.sqrt(0.25 * 2 / 300)


def test_rows_that_follow_each_other_alarm_unless_they_are_counted_for_less():
    level = level_of_checks(20_000)
    plain, remedied = (
        smallest_p("AR(1) of .9", checks=100, rng=np.random.default_rng(3), level=level, design_effect=effect)[1]
        for effect in (1.0, 19.0)
    )
    assert plain.mean() > 0.5
    assert not remedied.any()


def test_a_run_length_is_at_least_one_check():
    with pytest.raises(InvalidInput, match="from 1 on"):
        level_of_checks(0.5)


def test_the_p_value_of_cells_holds_far_out_where_pearsons_does_not():
    rng = np.random.default_rng(1)
    before = rng.multinomial(20_000, np.full(20, 0.05), 200_000)
    after = rng.multinomial(100, np.full(20, 0.05), 200_000)
    pooled = pool_rare(before, after)
    from scipy.special import chdtrc

    statistic, degrees = statistic_of_rows(*pooled)
    pearson = chdtrc(degrees, statistic)
    found = p_of_cells(*pooled)
    for level in (1e-2, 1e-3, 1e-4):
        assert (found < level).sum() <= at_most(level, 200_000)
    assert (pearson < 1e-4).sum() > at_most(1e-4, 200_000)


def test_the_likelihood_ratio_is_scipys_over_williams_factor():
    from scipy.stats import chi2_contingency

    table = np.array([[30, 20, 50], [25, 40, 60]])
    expected = chi2_contingency(table, lambda_="log-likelihood", correction=False).statistic
    n, m = table.sum(axis=1)
    williams = 1 + ((n + m) / n + (n + m) / m - 1) * ((n + m) * (1 / table.sum(axis=0)).sum() - 1) / (6 * (n + m) * 2)
    assert likelihood_ratio(table[0], table[1]) == pytest.approx(expected / williams, rel=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_the_gap_of_sorted_values_is_exact(seed):
    rng = np.random.default_rng(seed)
    # The large ones are looked at in several rounds, down to single values.
    n, m = rng.integers(1, 400_000 if seed % 4 == 0 else 4_000, 2)
    first, second = rng.normal(size=n), rng.normal(rng.choice([0, 0.02, 2]), 1, m)
    if seed % 3 == 0:
        first, second = first.round(1), second.round(1)
    if seed % 7 == 0:
        second = first.copy()
    first.sort()
    second.sort()
    expected = ks_2samp(first, second, method="asymp").statistic
    assert largest_gap_of_sorted(first, second) == pytest.approx(expected, abs=1e-12)
    low, high = min(first[0], second[0]), max(first[-1], second[-1])
    if high > low:
        counts = joint_counts_of_sorted(first, second, bins=20)
        assert counts.sum(axis=1).tolist() == [len(first), len(second)]
        assert np.abs(counts[0] - np.histogram(first, 20, (low, high))[0]).sum() <= 2
