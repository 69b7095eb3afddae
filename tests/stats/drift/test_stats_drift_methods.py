"""The single methods: agreement with other implementations, and behaviour without drift."""

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.drift.chi_square import chi_square, pool_rare
from homeostat.stats.drift.jensen_shannon import (
    jensen_shannon,
    jensen_shannon_expected,
    jensen_shannon_of_values,
)
from homeostat.stats.drift.ks import ks, ks_from_counts
from homeostat.stats.drift.psi import psi, psi_adjusted, psi_expected, psi_threshold
from homeostat.stats.drift.shares import share_p, unseen_allowance, unseen_p
from homeostat.stats.multiplicity import benjamini_hochberg
from homeostat.stats.profile import Profile


@pytest.mark.parametrize("seed", range(5))
def test_ks_of_profiles_is_a_lower_bound_with_a_conservative_p(seed):
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=3000), rng.normal(0.1 * seed, 1, 400)
    reference = Profile.of({"x": before})
    window = Profile.of({"x": after}, like=reference)
    exact = ks(before, after)
    binned = ks_from_counts(reference.features["x"].counts, window.features["x"].counts)
    assert exact.statistic - 1 / 40 <= binned.statistic <= exact.statistic + 1e-12
    assert binned.p >= exact.p


def test_ks_of_profiles_is_exact_for_few_values():
    rng = np.random.default_rng(3)
    before, after = rng.integers(0, 5, 500).astype(float), rng.integers(1, 7, 300).astype(float)
    reference = Profile.of({"x": before})
    window = Profile.of({"x": after}, like=reference)
    binned = ks_from_counts(reference.features["x"].counts, window.features["x"].counts)
    assert binned.statistic == pytest.approx(stats.ks_2samp(before, after).statistic)


@pytest.mark.parametrize(("n", "m"), [(2000, 100), (2000, 500), (1000, 1000)])
def test_null_expectations_of_psi_and_jensen_shannon(n, m):
    rng = np.random.default_rng(n + m)
    before = rng.multinomial(n, np.full(10, 0.1), size=800)
    after = rng.multinomial(m, np.full(10, 0.1), size=800)
    found = np.mean([psi(a, b) for a, b in zip(before, after, strict=True)])
    assert found == pytest.approx(psi_expected(10, n, m), rel=0.15)
    bits = np.mean([jensen_shannon(a, b) for a, b in zip(before, after, strict=True)])
    assert bits == pytest.approx(jensen_shannon_expected(10, n, m), rel=0.15)
    above = np.mean([psi(a, b) > psi_threshold(10, n, m, level=0.05) for a, b in zip(before, after, strict=True)])
    assert stats.binomtest(int(above * 800), 800, 0.05).pvalue > 1e-4


def test_adjusted_psi_is_near_zero_without_drift_where_the_plain_one_alarms():
    rng = np.random.default_rng(5)
    before = rng.multinomial(2000, np.full(10, 0.1), size=300)
    after = rng.multinomial(50, np.full(10, 0.1), size=300)
    plain = np.array([psi(a, b) >= 0.1 for a, b in zip(before, after, strict=True)])
    adjusted = np.array([psi_adjusted(a, b) for a, b in zip(before, after, strict=True)])
    assert plain.mean() > 0.9
    assert np.mean(adjusted >= 0.2) < 0.05
    assert psi_adjusted(np.array([1000, 1000]), np.array([400, 100])) > 0.3


def test_jensen_shannon_of_values_uses_the_joint_range():
    assert jensen_shannon_of_values(np.zeros(9), np.ones(9)) == pytest.approx(1.0)
    assert jensen_shannon_of_values(np.zeros(9), np.zeros(4)) == 0.0
    with pytest.raises(InvalidInput):
        jensen_shannon_of_values(np.array([np.nan]), np.ones(3))


@pytest.mark.parametrize("seed", range(4))
def test_chi_square_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 50, size=(2, 6))
    expected = stats.chi2_contingency(table, correction=False)
    found = chi_square(table[0], table[1])
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.degrees == expected.dof


def test_pooling_keeps_all_rows_and_leaves_no_small_cell():
    rng = np.random.default_rng(1)
    for _ in range(50):
        before, after = rng.multinomial(500, rng.dirichlet(np.ones(30) * 0.3)), rng.multinomial(60, np.full(30, 1 / 30))
        pooled = pool_rare(before, after)
        assert [part.sum() for part in pooled] == [500, 60]
        both = pooled[0] + pooled[1]
        assert (both[both > 0] * 60 / 560 >= 5).all()


def test_share_p_is_conservative_and_finds_differences():
    rng = np.random.default_rng(7)
    for share, n, m in ((0.01, 2000, 200), (0.3, 500, 500), (0.99, 1000, 100)):
        p = share_p(rng.binomial(n, share, 2000), n, rng.binomial(m, share, 2000), m)
        assert np.mean(p < 0.05) <= 0.06
        assert ((p >= 0) & (p <= 1)).all()
    assert share_p(0, 2000, 20, 200) < 1e-15
    assert share_p(2000, 2000, 180, 200) < 1e-15


def test_a_long_tail_of_categories_allows_for_new_ones():
    assert unseen_allowance(np.array([1, 1, 1, 97]), 0) > 0.03
    assert unseen_p(0, 100, 0.01) == 1.0
    assert unseen_p(20, 100, 0.01) < 1e-10


def test_benjamini_hochberg_agrees_with_scipy():
    p = np.random.default_rng(0).uniform(size=40) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg(np.empty(0)).size == 0
    with pytest.raises(InvalidInput):
        benjamini_hochberg(np.array([2.0]))


def test_nothing_to_compare_is_refused():
    for method in (psi, jensen_shannon, chi_square, ks_from_counts):
        with pytest.raises(InvalidInput, match="no rows"):
            method(np.zeros(3), np.ones(3))
        with pytest.raises(InvalidInput, match="same bins"):
            method(np.ones(2), np.ones(3))
    with pytest.raises(InvalidInput, match="no value"):
        ks(np.array([np.nan]), np.ones(2))
