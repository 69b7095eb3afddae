"""Published and third-party values of the statistics; each names where it comes from."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from homeostat.stats.drift.chi_square import chi_square
from homeostat.stats.drift.jensen_shannon import jensen_shannon
from homeostat.stats.drift.ks import ks
from homeostat.stats.drift.psi import psi
from homeostat.stats.inference import mcnemar

# Evidently, tests of its statistical tests.
R = [16, 18, 16, 14, 12, 12]
C = [16, 16, 16, 16, 16, 8]
X = [38.7, 41.5, 43.8, 44.5, 45.5, 46, 47.7, 58]
Y = [39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8]


def test_chi_square_of_evidently():
    assert chi_square(np.array(R), np.array(C)).p == pytest.approx(0.8985, abs=5e-5)


def test_chi_square_of_frouros():
    # a a b a a b against b a c c c c, as counts of a, b and c.
    result = chi_square(np.array([4, 2, 0]), np.array([1, 1, 4]))
    assert (result.statistic, result.p) == pytest.approx((6.13333, 0.046576), abs=1e-5)


def test_chi_square_of_whylogs():
    result = chi_square(np.array([130, 370]), np.array([240, 260]))
    assert result.statistic == pytest.approx(51.909, abs=5e-4)
    assert result.p == pytest.approx(5.8e-13, rel=0.01)


def test_psi_of_evidently():
    # Reference [3, 2, 2] against current [1, 2, 3], as counts of 1, 2 and 3.
    assert psi(np.array([0, 2, 1]), np.array([1, 1, 1]), epsilon=1e-4) == pytest.approx(2.934, abs=5e-4)


def test_psi_of_frouros():
    np.random.seed(31)  # the published value was drawn from the legacy generator
    first = np.random.normal(1, 1, 100)
    np.random.seed(31)
    second = np.random.normal(5, 2, 100)
    edges = np.histogram_bin_edges(np.concatenate([first, second]), bins=10)
    counts = [np.histogram(values, edges)[0] for values in (first, second)]
    assert psi(*counts, epsilon=np.finfo(float).tiny) == pytest.approx(461.2037944, abs=1e-6)


def test_jensen_shannon_is_the_square_of_scipys_distance():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        before, after = rng.integers(0, 20, 12), rng.integers(0, 20, 12)
        distance = jensenshannon(before / before.sum(), after / after.sum(), base=2)
        assert jensen_shannon(before, after) == pytest.approx(distance**2)


def test_ks_of_scipy():
    expected = stats.ks_2samp(X, Y, method="exact")
    found = ks(np.array(X), np.array(Y))
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    # The distance by hand: 7 of 8 values of Y but 2 of 8 of X lie at or below 43.3.
    assert found.statistic == pytest.approx(5 / 8)


def test_mcnemar_of_statsmodels():
    result = mcnemar(121, 59)
    assert result.p == pytest.approx(0.000004, abs=5e-7)
    assert (result.statistic, result.p_corrected) == pytest.approx((20.67222, 5.450095e-6), rel=1e-6)
    assert (result.statistic_uncorrected, result.p_uncorrected) == pytest.approx((21.35556, 3.815136e-6), rel=1e-6)
