"""The methods with a null distribution: their levels, power, intervals and what they refuse."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.drift import nulls
from homeostat.stats.drift.anderson_darling import anderson_darling, anderson_darling_test, p_value
from homeostat.stats.drift.chi_square import chi_square
from homeostat.stats.drift.cramers_v import cramers_v_test, noncentrality_interval
from homeostat.stats.drift.energy import energy_distance, energy_test
from homeostat.stats.drift.hellinger import hellinger, hellinger_expected, hellinger_test, hellinger_threshold
from homeostat.stats.drift.jensen_shannon import jensen_shannon_of_values
from homeostat.stats.drift.ks import ks
from homeostat.stats.drift.mann_whitney import mann_whitney_test
from homeostat.stats.drift.methods import METHODS, methods_for, run_method
from homeostat.stats.drift.permutation import concluded, permutation_test, permutations_for
from homeostat.stats.drift.psi import psi
from homeostat.stats.drift.results import category_counts, counted_samples, joint_counts
from homeostat.stats.drift.total_variation import total_variation, total_variation_expected, total_variation_test
from homeostat.stats.drift.wasserstein import (
    wasserstein,
    wasserstein_expected,
    wasserstein_from_counts,
    wasserstein_test,
)
from homeostat.stats.profile import Profile

DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: rng.exponential(size=size),
    "counts": lambda rng, size: rng.integers(0, 5, size).astype(float),
    "rare": lambda rng, size: (rng.random(size) < 0.1).astype(float),
}
NUMERIC = methods_for("numeric")


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("name", NUMERIC)
def test_levels_hold_with_and_without_ties(name, draw):
    rng = np.random.default_rng(17)
    runs = 60
    p = []
    for _ in range(runs):
        before, after = DRAWS[draw](rng, 200), DRAWS[draw](rng, 80)
        p.append(run_method(name, before, after, kind="numeric").p)
    # The limiting distributions are off by up to two hundredths where values are few.
    assert np.sum(np.array(p) < 0.05) <= stats.binom.ppf(0.9999, runs, 0.07)
    assert np.sum(np.array(p) < 0.01) <= stats.binom.ppf(0.9999, runs, 0.02)


@pytest.mark.parametrize("name", NUMERIC)
def test_shifts_are_found(name):
    rng = np.random.default_rng(5)
    found = run_method(name, rng.normal(size=500), rng.normal(0.7, 1, 200), kind="numeric")
    assert found.p < 1e-4
    assert not np.isfinite(found.threshold) or found.estimate > found.threshold
    assert found.interval[0] > METHODS[name].alike


@pytest.mark.parametrize("name", ["ks", "wasserstein", "energy", "cramer_von_mises", "mann_whitney"])
def test_intervals_hold_the_value_of_a_huge_sample(name):
    rng = np.random.default_rng(6)
    method = METHODS[name].compare
    truth = method(rng.normal(size=20_000), rng.normal(0.5, 1.5, 20_000)).estimate
    runs, held = 50, 0
    for _ in range(runs):
        low, high = method(rng.normal(size=150), rng.normal(0.5, 1.5, 80)).interval
        held += low <= truth <= high
    assert held >= stats.binom.ppf(1e-4, runs, 0.95)


@pytest.mark.parametrize("name", ["hellinger", "total_variation", "jensen_shannon", "cramers_v", "g_test", "psi"])
def test_intervals_of_counts_hold_the_value_of_the_shares(name):
    rng = np.random.default_rng(7)
    before, after = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.3, 0.25, 0.3, 0.15])
    n, m = 400, 300
    compare = {
        "hellinger": hellinger_test,
        "total_variation": total_variation_test,
        "cramers_v": cramers_v_test,
    }
    if name in compare:
        method = compare[name]
    else:
        from homeostat.stats.drift.g_test import g_test
        from homeostat.stats.drift.jensen_shannon import jensen_shannon_test
        from homeostat.stats.drift.psi import psi_test

        method = {"jensen_shannon": jensen_shannon_test, "g_test": g_test, "psi": psi_test}[name]
    # So many rows that sampling no longer matters, in the same proportion of the sizes.
    truth = method(np.rint(before * n * 1e5).astype(int), np.rint(after * m * 1e5).astype(int)).estimate
    runs, held = 300, 0
    for _ in range(runs):
        low, high = method(rng.multinomial(n, before), rng.multinomial(m, after)).interval
        held += low <= truth <= high
    assert held >= stats.binom.ppf(1e-4, runs, 0.95)


@pytest.mark.parametrize(("n", "m"), [(2000, 50), (300, 100), (20, 15)])
def test_expected_distances_are_what_noise_makes_on_average(n, m):
    rng = np.random.default_rng(n)
    drawn = [(rng.normal(size=n), rng.normal(size=m)) for _ in range(150)]
    for measure, test, root in (
        (wasserstein, lambda a, b: wasserstein_test(a, b, scale="none"), 1),
        (energy_distance, energy_test, 2),
    ):
        mean = np.mean([measure(a, b) ** root for a, b in drawn]) ** (1 / root)
        expected = np.mean([test(a, b).expected ** root for a, b in drawn[:20]]) ** (1 / root)
        assert mean == pytest.approx(expected, rel=0.1)
    population = rng.normal(size=20_000)
    assert np.mean([wasserstein(a, b) for a, b in drawn]) == pytest.approx(
        wasserstein_expected(population, n, m), rel=0.1
    )


@pytest.mark.parametrize(("cells", "m"), [(5, 100), (200, 500)])
def test_expected_distances_of_counts(cells, m):
    rng = np.random.default_rng(cells)
    shares = np.full(cells, 1 / cells)
    drawn = list(zip(rng.multinomial(2000, shares, 400), rng.multinomial(m, shares, 400), strict=True))
    mean = np.mean([total_variation(a, b) for a, b in drawn])
    assert mean == pytest.approx(np.mean([total_variation_expected(a, b) for a, b in drawn[:50]]), rel=0.05)
    if cells == 5:
        squares = np.mean([hellinger(a, b) ** 2 for a, b in drawn])
        assert squares**0.5 == pytest.approx(hellinger_expected(5, 2000, m), rel=0.1)
        above = sum(hellinger(a, b) > hellinger_threshold(5, 2000, m, level=0.05) for a, b in drawn)
        assert above <= stats.binom.ppf(0.9999, 400, 0.05)


def test_noise_is_subtracted():
    rng = np.random.default_rng(8)
    results = [wasserstein_test(rng.normal(size=2000), rng.normal(size=50)) for _ in range(60)]
    assert np.mean([result.estimate >= 0.1 for result in results]) > 0.85
    assert sum(result.adjusted >= 0.1 for result in results) <= 12
    assert sum(result.estimate > result.threshold for result in results) <= stats.binom.ppf(0.9999, 60, 0.05)


def test_the_tail_of_wasserstein_is_that_of_the_brownian_bridge():
    rng = np.random.default_rng(16)
    runs = 800
    p = np.array([wasserstein_test(rng.normal(size=1000), rng.normal(size=60)).p for _ in range(runs)])
    for level in (0.05, 0.01, 0.002):
        assert np.sum(p < level) <= stats.binom.ppf(0.9999, runs, 1.2 * level)
    # Johnson and Killeen (1983): the area between bridge and axis passes .5821 and .7518 in 5 and 1 %.
    heights = np.linspace(0.001, 0.999, 64)
    weights, covariance = np.full(64, 1 / 64), nulls.bridge(heights)
    shape = nulls.absolute_moments(weights, covariance)
    assert nulls.area_tail(0.5821, *shape) == pytest.approx(0.05, rel=0.2)
    assert nulls.area_tail(0.7518, *shape) == pytest.approx(0.01, rel=0.5)
    assert nulls.area_quantile(0.05, *shape) == pytest.approx(0.5821, rel=0.05)
    assert nulls.area_tail(nulls.area_quantile(0.01, *shape), *shape) == pytest.approx(0.01)
    assert (nulls.area_tail(0.0, *shape), nulls.area_tail(1.0, 0.0, 0.0)) == (1, 0)


def test_wasserstein_of_profiles_is_near_that_of_values():
    rng = np.random.default_rng(9)
    before, after = rng.normal(size=3000), rng.normal(0.5, 1, 800)
    first = Profile.of({"x": before})
    summary = first.features["x"]
    window = Profile.of({"x": after}, like=first).features["x"]
    found = wasserstein_from_counts(summary.edges, summary.counts, window.counts)
    assert found == pytest.approx(wasserstein(before, after), rel=0.05)
    few = rng.integers(0, 5, 500).astype(float), rng.integers(1, 5, 300).astype(float)
    first = Profile.of({"x": few[0]})
    summary, window = first.features["x"], Profile.of({"x": few[1]}, like=first).features["x"]
    found = wasserstein_from_counts(summary.edges, summary.counts, window.counts, at_edges=True)
    assert found == pytest.approx(wasserstein(*few))


def test_anderson_darling_goes_on_where_the_table_ends():
    rng = np.random.default_rng(10)
    before = rng.normal(size=300)
    shifts = [anderson_darling_test(before, rng.normal(shift, 1, 200)).p for shift in (0.5, 1, 2)]
    assert shifts == sorted(shifts, reverse=True)
    assert 0 < shifts[2] < 1e-30
    alike = [anderson_darling_test(rng.normal(size=100), rng.normal(size=80)).p for _ in range(80)]
    # Between .25 and 1, where the table says .25 throughout, p is uniform.
    assert stats.kstest(alike, "uniform").pvalue > 1e-3
    # The parts meet at the table's ends.
    assert p_value(0.32, 1) == pytest.approx(p_value(0.33, 1), rel=0.15)
    ends = [p_value(value, 1) for value in np.linspace(-1.2, 12, 300)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(ends))


def test_anderson_darling_refuses_what_it_cannot_do():
    with pytest.raises(InvalidInput, match="two samples"):
        anderson_darling(np.arange(5.0))
    with pytest.raises(InvalidInput, match="four values"):
        anderson_darling(np.arange(1.0), np.arange(2.0))
    assert anderson_darling(np.ones(4), np.ones(4), np.ones(3)) == (0.0, 1.0)


def test_mann_whitney_intervals_hold_up_to_the_ends():
    result = mann_whitney_test(np.arange(20.0), np.arange(20.0) + 100)
    assert result.estimate == 1
    assert 0.7 < result.interval[0] < 1 == result.interval[1]
    back = mann_whitney_test(np.arange(20.0) + 100, np.arange(20.0))
    assert back.interval == pytest.approx((0, 1 - result.interval[0]))
    assert back.p == result.p
    rng = np.random.default_rng(11)
    truth = stats.norm.cdf(1.8 / 2**0.5)
    intervals = [mann_whitney_test(rng.normal(size=15), rng.normal(1.8, 1, 12)).interval for _ in range(250)]
    held = sum(low <= truth <= high for low, high in intervals)
    assert held >= stats.binom.ppf(1e-4, 250, 0.93)


def test_the_saddlepoint_agrees_with_known_distributions():
    for degrees in (1, 2, 5, 30):
        weights = np.full(degrees, 0.3)
        for level in (0.9, 0.5, 0.05, 1e-4, 1e-12):
            value = 0.3 * stats.chi2.isf(level, degrees)
            assert nulls.squared_tail(value, weights) == pytest.approx(level, rel=0.05)
            assert nulls.squared_quantile(level, weights) == pytest.approx(value, rel=0.06)
    assert nulls.squared_tail(1.0, np.empty(0)) == 0
    # The limit of Cramér–von Mises: its upper 5 % and 1 % points are .46136 and .74346 (Anderson and Darling 1952).
    limit = 1 / (np.pi * np.arange(1, 300)) ** 2
    assert nulls.squared_tail(0.46136, limit) == pytest.approx(0.05, rel=0.05)
    assert nulls.squared_tail(0.74346, limit) == pytest.approx(0.01, rel=0.08)
    # That of Anderson–Darling: 2.492 and 3.857.
    j = np.arange(1, 400)
    assert nulls.squared_tail(2.492, 1 / (j * (j + 1.0))) == pytest.approx(0.05, rel=0.05)
    assert nulls.squared_tail(3.857, 1 / (j * (j + 1.0))) == pytest.approx(0.01, rel=0.08)


def test_a_single_gap_is_half_normal():
    mean, variance = nulls.absolute_moments(np.ones(1), np.ones((1, 1)))
    for value in (0.5, 2.0, 6.0):
        assert nulls.absolute_tail(value, mean, variance) == pytest.approx(2 * stats.norm.sf(value), rel=1e-6)
    assert nulls.absolute_quantile(0.05, mean, variance) == pytest.approx(1.95996, abs=1e-5)
    assert nulls.absolute_tail(1.0, 2.0, 0.0) == 1
    assert nulls.absolute_tail(3.0, 2.0, 0.0) == 0


def test_noncentrality_intervals_hold():
    rng = np.random.default_rng(12)
    for degrees, truth in ((1, 0.0), (4, 10.0), (9, 300.0)):
        drawn = rng.noncentral_chisquare(degrees, truth, 300) if truth else rng.chisquare(degrees, 300)
        held = sum(low <= truth <= high for low, high in (noncentrality_interval(one, degrees) for one in drawn))
        assert held >= stats.binom.ppf(1e-4, 300, 0.95)
    near, far = noncentrality_interval(4999.9, 4), noncentrality_interval(5000.1, 4)
    assert near == pytest.approx(far, rel=1e-3)


def test_permutations_needed():
    assert permutations_for(0.05) == 19
    assert permutations_for(0.001) == 999
    assert permutations_for(0.05, tests=20) == 399
    for level, tests, error in ((0, 1, None), (0.05, 0, None), (0.05, 1, 0.0)):
        with pytest.raises(InvalidInput):
            permutations_for(level, tests=tests, relative_error=error)


def gap(first, second):
    return float(abs(first.mean() - second.mean()))


def test_permutation_test_keeps_its_level_and_finds_shifts():
    rng = np.random.default_rng(13)
    runs = 300
    p = [permutation_test(gap, rng.normal(size=12), rng.normal(size=9), permutations=39, rng=k).p for k in range(runs)]
    assert min(p) >= 1 / 40
    assert np.sum(np.array(p) <= 0.05) <= stats.binom.ppf(0.9999, runs, 0.05)
    assert np.sum(np.array(p) <= 0.5) >= stats.binom.ppf(1e-4, runs, 0.5)
    found = permutation_test(gap, np.arange(30.0), np.arange(30.0) + 20, permutations=199)
    assert found.p == 1 / 200
    assert found.interval[0] == 0 < found.interval[1] < 0.02
    assert found.estimate > found.threshold > found.expected
    assert permutation_test(gap, np.ones(5), np.ones(6), permutations=19).p == 1


def test_permutation_test_is_reproducible_and_takes_rows_of_any_shape():
    rng = np.random.default_rng(14)
    before, after = rng.normal(size=(30, 3)), rng.normal(0.5, 1, (20, 3))
    measure = lambda a, b: float(np.abs(a.mean(axis=0) - b.mean(axis=0)).sum())  # noqa: E731
    found = [permutation_test(measure, before, after, permutations=99, rng=seed) for seed in (4, 4, 5)]
    assert found[0] == found[1] != found[2]


def test_permutation_test_refuses_what_it_cannot_do():
    with pytest.raises(InvalidInput, match="at least 19"):
        permutation_test(gap, np.ones(3), np.ones(3), permutations=9)
    with pytest.raises(InvalidInput, match="rows of one shape"):
        permutation_test(gap, np.ones(3), np.ones(0))
    with pytest.raises(InvalidInput, match="not a finite number"):
        permutation_test(lambda a, b: float("nan"), np.ones(3), np.ones(3))
    assert concluded(1.0, np.arange(19.0), 3, 3).reached == 18


def test_counts_and_bins_are_checked():
    for wrong in ([-1, 2], [0.5, 2], [np.nan, 1], ["a", "b"], [[1, 2]]):
        with pytest.raises(InvalidInput, match="counts must be"):
            hellinger(np.array(wrong), np.array([1, 2]))
    with pytest.raises(InvalidInput, match="same bins"):
        counted_samples([1, 2], [1, 2, 3])
    with pytest.raises(InvalidInput, match="no rows"):
        total_variation([0, 0], [1, 2])
    with pytest.raises(InvalidInput, match="one bin"):
        joint_counts([1.0], [2.0], bins=0)
    assert [row.tolist() for row in joint_counts([0.0, 1.0], [2.0, np.inf], bins=2)] == [[1, 1], [0, 1]]
    assert [row.tolist() for row in joint_counts([3.0], [3.0, 3.0], bins=5)] == [[1], [2]]
    before, after = joint_counts([-1.7e308, 0.0], [1.7e308], bins=4)
    assert (before.tolist(), after.tolist()) == ([1, 0, 1, 0], [0, 0, 0, 1])
    assert category_counts([True, False, None], [True])[0].tolist() == [1, 1]


def test_tens_of_thousands_of_categories_need_no_matrix():
    rng = np.random.default_rng(15)
    shares = rng.dirichlet(np.ones(30_000))
    alike = total_variation_test(rng.multinomial(20_000, shares), rng.multinomial(20_000, shares))
    assert alike.p > 1e-3
    assert alike.estimate == pytest.approx(alike.expected, rel=0.05)
    # Both ways of reckoning agree where they meet.
    few = rng.dirichlet(np.full(1000, 5.0))
    before, after = rng.multinomial(50_000, few), rng.multinomial(50_000, few)
    near = total_variation_test(before, after)
    far = total_variation_test(np.append(before, [1, 0]), np.append(after, [0, 1]))
    assert near.threshold == pytest.approx(far.threshold, rel=1e-3)
    assert near.interval == pytest.approx(far.interval, rel=2e-3)


def test_the_older_methods_check_their_input_too():
    with pytest.raises(InvalidInput, match="at least 0"):
        chi_square(np.array([-1, 2]), np.array([1, 2]))
    with pytest.raises(InvalidInput, match="at least 0"):
        psi(np.array([np.nan, 2]), np.array([1, 2]))
    with pytest.raises(InvalidInput, match="must hold numbers"):
        ks(np.array(["a"]), np.ones(2))
    with pytest.raises(InvalidInput, match="must hold numbers"):
        jensen_shannon_of_values(np.array(["a"]), np.ones(2))


def test_edges_are_checked():
    for edges, counts in (([0.0, 0.0], [1]), ([0.0, np.inf], [1]), ([0.0, 1.0, 2.0], [1])):
        with pytest.raises(InvalidInput, match="edge"):
            wasserstein_from_counts(np.array(edges), counts, counts)
    with pytest.raises(InvalidInput, match="no scale"):
        wasserstein(np.ones(2), np.ones(2), scale="median")
    with pytest.raises(InvalidInput, match="span"):
        wasserstein(np.array([-1.7e308, 1.0]), np.array([1.7e308]), scale="deviation")
    with pytest.raises(InvalidInput, match="rows"):
        wasserstein_expected(np.ones(3), 0, 5)
