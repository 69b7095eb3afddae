"""Every drift method obeys the laws; and the laws catch methods that do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.stats import laws
from homeostat.stats.drift.chi_square import chi_square
from homeostat.stats.drift.jensen_shannon import jensen_shannon, jensen_shannon_of_values
from homeostat.stats.drift.ks import ks, ks_from_counts
from homeostat.stats.drift.psi import psi, psi_adjusted, quantile_groups
from homeostat.stats.profile import Profile

SAMPLES = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=50).map(np.array)


def counted(method, joint):
    """A method of counts as one of samples, over edges of the reference or of both samples together."""

    def measure(reference, current):
        first = Profile.of({"x": np.concatenate([reference, current]) if joint else reference}, bins=10)
        columns = (Profile.of({"x": values}, like=first).features["x"].counts for values in (reference, current))
        return method(*columns)

    return measure


MEASURES = {
    "ks": (lambda a, b: ks(a, b).statistic, True, 1.0),
    "ks of profiles": (counted(lambda a, b: ks_from_counts(a, b).statistic, joint=False), False, 1.0),
    "psi": (counted(psi, joint=True), True, None),
    "psi adjusted": (counted(psi_adjusted, joint=False), False, None),
    "jensen-shannon": (counted(jensen_shannon, joint=True), True, 1.0),
    "jensen-shannon of values": (jensen_shannon_of_values, True, 1.0),
    "chi-square": (counted(lambda a, b: chi_square(a, b).statistic, joint=True), True, None),
}
TESTS = {
    "ks": lambda a, b: (ks(a, b).statistic, ks(a, b).p),
    "ks of profiles": counted(lambda a, b: (ks_from_counts(a, b).statistic, ks_from_counts(a, b).p), joint=False),
    "chi-square": counted(lambda a, b: (chi_square(a, b).statistic, chi_square(a, b).p), joint=True),
}


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=40, deadline=None)
@given(reference=SAMPLES, current=SAMPLES)
def test_measures_obey_the_laws(name, reference, current):
    measure, symmetric, upper = MEASURES[name]
    broken = [
        result
        for result in laws.distance_laws(measure, reference, current, symmetric=symmetric, upper=upper)
        if not result.holds
    ]
    assert not broken


@pytest.mark.parametrize("name", TESTS)
@settings(max_examples=40, deadline=None)
@given(reference=SAMPLES, current=SAMPLES)
def test_p_values_lie_in_range(name, reference, current):
    assert laws.p_in_range(TESTS[name], reference, current).holds


@pytest.mark.parametrize("name", ["ks", "ks of profiles"])
@pytest.mark.parametrize("seed", range(3))
def test_p_values_fall_with_the_shift(name, seed):
    sample = np.random.default_rng(seed).normal(size=200)
    result = laws.p_falls_with_shift(TESTS[name], sample)
    assert result.holds, result.words


def test_the_laws_run_on_third_party_methods():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=50), rng.normal(1, 1, 60)
    results = laws.distance_laws(stats.wasserstein_distance, reference, current, symmetric=True)
    assert all(result.holds for result in results)
    assert laws.p_falls_with_shift(lambda a, b: tuple(stats.ttest_ind(a, b)), reference).holds


def test_the_laws_catch_what_breaks_them():
    reference, current = np.arange(5.0), np.arange(5.0) * 3 + 1
    assert not laws.identity(lambda a, b: 1.0, reference).holds
    assert not laws.non_negativity(lambda a, b: float(a.mean() - b.mean()), reference, current).holds
    assert not laws.non_negativity(lambda a, b: float("nan"), reference, current).holds
    assert not laws.symmetry(lambda a, b: float(a.mean()), reference, current).holds
    assert not laws.boundedness(lambda a, b: 2.0, reference, current, upper=1.0).holds
    assert not laws.order_invariance(lambda a, b: float(a[0] + b[0]), reference, current).holds
    assert not laws.p_in_range(lambda a, b: (0.0, 1.5), reference, current).holds
    assert not laws.p_falls_with_shift(lambda a, b: (0.0, float(b.mean() > 3) / 2), reference).holds


def test_groups_of_quantiles_cover_the_reference_evenly():
    for rows in (205, 250, 999, 4000):
        counts = Profile.of({"x": np.random.default_rng(rows).normal(size=rows)}).features["x"].counts
        sizes = np.bincount(quantile_groups(counts), weights=counts)
        assert len(sizes) == 10
        assert np.abs(sizes / rows - 0.1).max() < 0.02
