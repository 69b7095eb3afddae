"""Published and third-party values of the univariate drift methods; each names where it comes from."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.stats import contingency

from homeostat.stats.drift.anderson_darling import anderson_darling, anderson_darling_test
from homeostat.stats.drift.chi_square import chi_square
from homeostat.stats.drift.cramer_von_mises import cramer_von_mises, cramer_von_mises_test
from homeostat.stats.drift.cramers_v import bergsma, cramers_v, cramers_v_corrected, cramers_v_test
from homeostat.stats.drift.energy import energy_coefficient, energy_distance, energy_test
from homeostat.stats.drift.g_test import g_statistic
from homeostat.stats.drift.hellinger import hellinger, hellinger_of_values, hellinger_test
from homeostat.stats.drift.jensen_shannon import jensen_shannon_test
from homeostat.stats.drift.ks import ks_test
from homeostat.stats.drift.mann_whitney import exceedance, mann_whitney_test
from homeostat.stats.drift.methods import METHODS
from homeostat.stats.drift.permutation import permutation_test
from homeostat.stats.drift.psi import psi, psi_test
from homeostat.stats.drift.results import category_counts, joint_counts
from homeostat.stats.drift.total_variation import total_variation, total_variation_expected
from homeostat.stats.drift.wasserstein import wasserstein, wasserstein_from_counts, wasserstein_test

# Evidently, tests of its statistical tests.
R = np.array([16, 18, 16, 14, 12, 12])
C = np.array([16, 16, 16, 16, 16, 8])
X = np.array([38.7, 41.5, 43.8, 44.5, 45.5, 46, 47.7, 58])
Y = np.array([39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8])
TINY = float(np.finfo(float).tiny)


def frouros_samples():
    """The two samples of Frouros's tests, drawn from the legacy generator."""
    np.random.seed(31)
    first = np.random.normal(1, 1, 100)
    np.random.seed(31)
    return first, np.random.normal(5, 2, 100)


def samples(seed, n=60, m=45):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(0.4, 1.5, m)


def tied(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, 70).astype(float), rng.integers(0, 7, 50).astype(float)


# Published values.


def test_hellinger_of_evidently():
    assert hellinger(R, C) == pytest.approx(0.06812, abs=1e-5)


def test_chi_square_of_evidently():
    assert chi_square(R, C).p == pytest.approx(0.8985, abs=5e-5)
    # Its own test expects .67309, that of the one-sample test against the reference's shares.
    assert stats.chisquare(C, R).pvalue == pytest.approx(0.67309, abs=5e-6)


def test_chi_square_of_frouros():
    result = chi_square(*category_counts(list("aabaab"), list("bacccc")))
    assert (result.statistic, result.p) == pytest.approx((6.13333, 0.046576), abs=1e-5)


def test_chi_square_of_whylogs():
    result = cramers_v_test(np.array([130, 370]), np.array([240, 260]))
    assert result.statistic == pytest.approx(51.909, abs=5e-4)
    assert result.p == pytest.approx(5.8e-13, rel=0.01)


def test_anderson_darling_of_evidently():
    assert anderson_darling_test(X, Y).p == pytest.approx(0.0635, abs=5e-5)


def test_cramer_von_mises_of_evidently():
    np.random.seed(0)
    first = np.random.normal(size=100)
    np.random.seed(1)
    second = np.random.normal(size=100)
    assert cramer_von_mises_test(first, second).p == pytest.approx(0.80768, abs=5e-6)


def test_energy_distance_of_evidently():
    assert energy_distance(X, X + 5) == pytest.approx(1.93, abs=5e-3)


def test_wasserstein_of_deepchecks():
    # It divides by the range of both samples: a shift of 50 over 149.
    assert wasserstein(np.arange(100.0), np.arange(50.0, 150.0), scale="range") == pytest.approx(0.3356, abs=5e-5)


def test_wasserstein_and_energy_of_frouros():
    first, second = frouros_samples()
    assert wasserstein(first, second) == pytest.approx(3.85346006, abs=1e-8)
    assert energy_distance(first, second) == pytest.approx(2.11059982, abs=5e-9)


def test_psi_and_hellinger_of_frouros():
    first, second = frouros_samples()
    assert psi(*joint_counts(first, second, bins=10), epsilon=TINY) == pytest.approx(461.2037944, abs=5e-8)
    assert hellinger_of_values(first, second, bins=10) == pytest.approx(0.74509099, abs=1e-8)


def test_psi_of_evidently():
    counts = category_counts([3, 2, 2], [1, 2, 3])
    assert psi(*counts, epsilon=1e-4) == pytest.approx(2.934, abs=5e-4)


def test_cramers_v_of_deepchecks():
    # Its value is Bergsma's of a statistic with Yates's correction for continuity; without that it is .2171.
    table = np.array([[200, 800], [400, 600]])
    yates = stats.chi2_contingency(table).statistic
    assert bergsma(yates, 1, 2000) == pytest.approx(0.216, abs=5e-4)
    plain = stats.chi2_contingency(table, correction=False).statistic
    assert cramers_v_corrected(*table) == pytest.approx(bergsma(plain, 1, 2000))
    assert cramers_v_corrected(*table) == pytest.approx(0.2171, abs=5e-5)
    assert cramers_v(*table) == pytest.approx((plain / 2000) ** 0.5)


def test_mann_whitney_of_evidently():
    # It reports one side, .481; the other side is .520, and the two-sided value .963.
    first, second = np.repeat(np.arange(1, 7), R), np.repeat(np.arange(1, 7), C)
    assert stats.mannwhitneyu(first, second, alternative="less").pvalue == pytest.approx(0.481, abs=5e-4)
    assert mann_whitney_test(first, second).p == pytest.approx(0.963, abs=5e-4)


# Scipy and statsmodels.


@pytest.mark.parametrize("seed", range(4))
def test_distances_of_values_agree_with_scipy(seed):
    for first, second in (samples(seed), tied(seed)):
        assert wasserstein(first, second) == pytest.approx(stats.wasserstein_distance(first, second))
        assert energy_distance(first, second) == pytest.approx(stats.energy_distance(first, second))
        scale = stats.wasserstein_distance(first, second) / np.std(first)
        assert wasserstein_test(first, second).estimate == pytest.approx(scale)


@pytest.mark.parametrize("seed", range(4))
def test_rank_tests_agree_with_scipy(seed):
    first, second = samples(seed)
    expected = stats.cramervonmises_2samp(first, second, method="asymptotic")
    found = cramer_von_mises_test(first, second)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    expected = stats.ks_2samp(first, second, method="exact")
    assert (ks_test(first, second).estimate, ks_test(first, second).p) == pytest.approx(tuple(expected))
    for one, two in (samples(seed), tied(seed), samples(seed, 6, 9)):
        whole = stats.mannwhitneyu(two, one)
        found = mann_whitney_test(one, two)
        assert (found.statistic, found.p) == pytest.approx((whole.statistic, whole.pvalue))


def test_cramer_von_mises_is_exact_for_small_samples():
    first, second = samples(7, 9, 6)
    expected = stats.cramervonmises_2samp(first, second, method="exact")
    assert cramer_von_mises_test(first, second).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_anderson_darling_agrees_with_scipy_inside_its_table(seed):
    rng = np.random.default_rng(seed)
    three = [rng.normal(0.25 * k, 1, 20 + 5 * k) for k in range(3)]
    for groups in ([*samples(seed, 30, 40)], list(tied(seed)), three):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = stats.anderson_ksamp(groups)
        statistic, p = anderson_darling(*groups)
        assert statistic == pytest.approx(expected.statistic)
        if 0.001 < expected.pvalue < 0.25:
            assert p == pytest.approx(expected.pvalue)
        else:
            # Scipy ends at the table's ends; the true value lies beyond.
            assert p >= 0.25 if expected.pvalue == 0.25 else p <= 0.001


@pytest.mark.parametrize("seed", range(4))
def test_count_methods_agree_with_scipy(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(5, 60, (2, 6))
    shares = table / table.sum(axis=1, keepdims=True)
    assert cramers_v(*table) == pytest.approx(contingency.association(table, method="cramer"))
    expected = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False)
    assert g_statistic(*table, williams=False) == pytest.approx(expected.statistic)
    assert jensen_shannon_test(*table).estimate == pytest.approx(jensenshannon(*shares, base=2) ** 2)
    # KL in both directions is Jeffreys's, the stability index.
    assert psi_test(*table).estimate == pytest.approx(stats.entropy(*shares) + stats.entropy(*shares[::-1]))


def test_hellinger_is_scipys_distance_of_roots():
    from scipy.spatial.distance import euclidean

    for seed in range(3):
        table = np.random.default_rng(seed).integers(5, 60, (2, 8))
        roots = np.sqrt(table / table.sum(axis=1, keepdims=True))
        assert hellinger_test(*table).estimate == pytest.approx(euclidean(*roots) / np.sqrt(2))


def test_chi_square_of_statsmodels():
    from statsmodels.stats.contingency_tables import Table

    table = np.array([[31, 22, 17, 40], [20, 35, 18, 22]])
    expected = Table(table, shift_zeros=False).test_nominal_association()
    found = cramers_v_test(*table)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_exceedance_is_statsmodels_probability_of_being_larger():
    from statsmodels.stats.nonparametric import rank_compare_2indep

    first, second = samples(3)
    expected = rank_compare_2indep(second, first, use_t=False)
    found = mann_whitney_test(first, second)
    assert found.estimate == pytest.approx(expected.prob1)
    # Both estimate one standard error; theirs is on the plain scale, ours on the logit's.
    assert found.interval == pytest.approx(expected.conf_int(), abs=0.01)
    from sklearn.metrics import roc_auc_score

    labels = np.r_[np.zeros(len(first)), np.ones(len(second))]
    assert found.estimate == pytest.approx(roc_auc_score(labels, np.r_[first, second]))


# Brute force from the definitions.


@pytest.mark.parametrize("seed", range(3))
def test_distances_by_their_definitions(seed):
    first, second = tied(seed)
    between = np.abs(first[:, None] - second).mean()
    within = np.abs(first[:, None] - first).mean() + np.abs(second[:, None] - second).mean()
    assert energy_distance(first, second) ** 2 == pytest.approx(2 * between - within)
    assert energy_coefficient(first, second) == pytest.approx((2 * between - within) / (2 * between))
    pairs = (second[:, None] > first).mean() + (second[:, None] == first).mean() / 2
    assert exceedance(first, second) == pytest.approx(pairs)
    pooled = np.r_[first, second]
    gap = (first[:, None] <= pooled).mean(axis=0) - (second[:, None] <= pooled).mean(axis=0)
    assert cramer_von_mises(first, second) ** 2 == pytest.approx((gap**2).mean())
    values = np.unique(pooled)
    shares = [(sample[:, None] == values).mean(axis=0) for sample in (first, second)]
    events = [
        abs((shares[0] - shares[1])[list(event)].sum())
        for size in range(len(values) + 1)
        for event in combinations(range(len(values)), size)
    ]
    assert total_variation(*category_counts(first, second)) == pytest.approx(max(events))


def test_wasserstein_is_the_mean_gap_of_sorted_values_for_equal_sizes():
    first, second = samples(5, 50, 50)
    assert wasserstein(first, second) == pytest.approx(np.abs(np.sort(first) - np.sort(second)).mean())


def test_wasserstein_of_counts_by_hand_and_by_values():
    edges = np.array([0.0, 1.0, 3.0])
    # All of [0, 1] goes to [1, 3]: from .5 to 2 on average.
    assert wasserstein_from_counts(edges, [4, 0], [0, 7]) == pytest.approx(1.5)
    first, second = tied(2)
    edges = np.unique(np.r_[first, second])
    lower = np.r_[edges[0] - 1, edges]
    counts = [np.histogram(sample, np.r_[lower[0] + 0.5, edges + 0.5])[0] for sample in (first, second)]
    expected = stats.wasserstein_distance(first, second)
    assert wasserstein_from_counts(lower, *counts, at_edges=True) == pytest.approx(expected)
    first, second = samples(1, 4000, 3000)
    edges = np.linspace(-7, 7, 400)
    counts = [np.histogram(sample, edges)[0] for sample in (first, second)]
    assert wasserstein_from_counts(edges, *counts) == pytest.approx(stats.wasserstein_distance(first, second), abs=2e-3)


def test_bergsmas_v_by_his_formula():
    table = np.array([[44, 31, 25], [30, 30, 60]])
    rows = table.sum()
    squared = stats.chi2_contingency(table, correction=False).statistic / rows
    less = max(0, squared - 2 * 1 / (rows - 1))
    r, k = 2 - 1 / (rows - 1), 3 - 4 / (rows - 1)
    assert cramers_v_corrected(*table) == pytest.approx((less / min(r - 1, k - 1)) ** 0.5)


def test_williams_correction_by_hand():
    # Sokal and Rohlf's form for a two-way table: q = 1 + (N/n + N/m − 1)(N Σ 1/c − 1) / 6N(r − 1)(c − 1).
    table = np.array([[12, 8], [16, 24]])
    plain = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False).statistic
    q = 1 + (60 / 20 + 60 / 40 - 1) * (60 / 28 + 60 / 32 - 1) / (6 * 60)
    assert g_statistic(*table) == pytest.approx(plain / q)


def test_null_means_by_counting_all_splits():
    # Every way to put 5 of 9 values into the reference is equally likely.
    values = np.array([0.0, 0.0, 1.0, 1.5, 1.5, 2.0, 4.0, 4.0, 7.0])
    splits = list(combinations(range(9), 5))
    found = []
    for chosen in splits:
        inside = np.isin(np.arange(9), chosen)
        found.append((values[inside], values[~inside]))
    expected = np.mean([stats.wasserstein_distance(*split) for split in found])
    assert wasserstein_test(*found[3], scale="none").expected == pytest.approx(expected)
    squares = np.mean([stats.energy_distance(*split) ** 2 for split in found])
    assert energy_test(*found[3]).expected ** 2 == pytest.approx(squares)
    counts = [category_counts(*split) for split in found]
    assert total_variation_expected(*counts[3]) == pytest.approx(np.mean([total_variation(*both) for both in counts]))
    gaps = np.mean([cramer_von_mises(*split) ** 2 for split in found])
    assert cramer_von_mises_test(*found[3]).expected ** 2 == pytest.approx(gaps)


def test_permutation_p_approaches_that_of_all_splits():
    first, second = X[:5], Y[:4] - 3
    pooled = np.r_[first, second]
    splits = [np.isin(np.arange(9), chosen) for chosen in combinations(range(9), 5)]
    reached = [wasserstein(pooled[inside], pooled[~inside]) >= wasserstein(first, second) - 1e-12 for inside in splits]
    found = permutation_test(wasserstein, first, second, permutations=1999)
    assert found.interval[0] <= np.mean(reached) <= found.interval[1]


@pytest.mark.parametrize("name", ["energy", "cramer_von_mises", "anderson_darling", "wasserstein", "total_variation"])
@pytest.mark.parametrize("kind", [samples, tied])
def test_limiting_p_values_agree_with_permutations(name, kind):
    first, second = kind(11)
    second = second - 0.1
    compare = METHODS[name].compare
    measure_of = {
        "energy": energy_distance,
        "cramer_von_mises": cramer_von_mises,
        "wasserstein": wasserstein,
        "anderson_darling": lambda a, b: anderson_darling(a, b)[0],
        "total_variation": lambda a, b: total_variation(*category_counts(a, b)),
    }
    if name == "total_variation":
        first, second = np.round(first).astype(object), np.round(second).astype(object)
    drawn = permutation_test(measure_of[name], first, second, permutations=799)
    assert compare(first, second).p == pytest.approx(drawn.p, rel=0.35, abs=0.02)
