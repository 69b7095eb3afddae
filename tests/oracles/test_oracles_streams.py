"""Published values for detectors of changes in streams."""

import math

import numpy as np
import pytest
from scipy import stats

from homeostat.connectors.river import RiverDetector
from homeostat.stats.streams import Cusum, cusum_run_length

# One-sided CUSUM of normal values with reference value k, decision interval h and mean shift: average run lengths as
# tabled by Brook and Evans (1972), Waldmann (1986) and Vance (1986), collected in the manual of R's package spc.
NORMAL = [
    (0.5, 3, -0.5, 1963),
    (0.5, 3, 0.0, 117.4),
    (0.5, 3, 0.5, 17.35),
    (0.5, 3, 1.5, 3.75),
    (0.0, 10, -0.25, 2071.51),
    (0.0, 10, -0.125, 400.28),
    (0.0, 10, 0.0, 124.66),
    (0.0, 10, 0.125, 59.30),
    (0.0, 10, 0.25, 36.71),
    (0.0, 10, 0.5, 20.37),
    (0.0, 10, 1.0, 10.75),
]


def river_streams():
    """The streams of River's tests (river/drift/test_drift_detectors.py), drawn from the legacy generator."""
    np.random.seed(12345)
    integers = np.concatenate([np.random.randint(2, size=1000), np.random.randint(8, size=1000)])
    np.random.seed(12345)
    flags = np.array([np.random.binomial(1, rate) for rate in np.repeat([0.2, 0.8], 1000)])
    return integers, flags


def rivers_two_sided_stream():
    np.random.seed(12345)
    return np.concatenate([np.random.normal(mean, 0.1, 500) > 0 for mean in (0.0, 0.25, 0.0, 0.25)]).astype(int)


@pytest.mark.parametrize(
    ("method", "stream", "expected"),
    [
        ("ADWIN", 0, [1023]),
        ("Page-Hinkley", 0, [1020, 1397, 1548, 1988]),
        ("DDM", 1, [1049]),
        ("EDDM", 1, [663, 828, 1007, 1078]),
        ("HDDM_A", 1, [1047]),
        ("HDDM_W", 1, [1018]),
    ],
)
def test_positions_of_river(method, stream, expected):
    detector = RiverDetector(method)
    assert detector.update(river_streams()[stream]).tolist() == expected


def test_positions_of_rivers_two_sided_test():
    detector = RiverDetector("HDDM_A", two_sided_test=True)
    assert detector.update(rivers_two_sided_stream()).tolist() == [531, 1015, 1545]


def test_positions_of_rivers_kswin():
    detector = RiverDetector("KSWIN", alpha=0.0001, window_size=200, stat_size=100, seed=42)
    # The published 1042 comes from the generator of numpy that River used before it drew from Python's.
    positions = detector.update(river_streams()[0][:1100]).tolist()
    assert len(positions) == 1
    assert abs(positions[0] - 1042) <= 10


@pytest.mark.parametrize(("reference", "threshold", "shift", "expected"), NORMAL)
def test_run_lengths_of_normal_cusums(reference, threshold, shift, expected):
    grid = np.linspace(-6, 6, 1201)
    weights = stats.norm.pdf(grid)
    length = cusum_run_length(grid + shift - reference, weights / weights.sum(), threshold, states=200)
    assert length == pytest.approx(expected, rel=0.01)


def test_the_approximation_of_siegmund():
    # Sequential Analysis (1985): ARL = (exp(−2 Δ b) + 2 Δ b − 1) / (2 Δ²) with Δ the drift and b = h + 1.166.
    grid = np.linspace(-6, 6, 1201)
    weights = stats.norm.pdf(grid)
    for reference, threshold in ((0.5, 4.0), (0.25, 8.0)):
        b = threshold + 1.166
        expected = (math.exp(2 * reference * b) - 2 * reference * b - 1) / (2 * reference**2)
        length = cusum_run_length(grid - reference, weights / weights.sum(), threshold, states=200)
        assert length == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("ones", [2, 3, 5])
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_a_run_of_ones(ones, rate):
    # Where one 0 undoes every 1 before it, the CUSUM waits for a run of ones: Feller (1968), XIII.7.
    expected = (1 - rate**ones) / ((1 - rate) * rate**ones)
    assert cusum_run_length([1, -ones], [rate, 1 - rate], ones, states=10 * ones) == pytest.approx(expected)


def test_the_bernoulli_cusum_on_a_lattice():
    # Reynolds and Stoumbos (1999): with steps 1 − 1/m and −1/m the states are multiples of 1/m. Here the run length
    # comes from the dense linear equations, state by state.
    rate, m, threshold = 0.2, 4, 12
    chain = np.zeros((threshold, threshold))
    for state in range(threshold):
        chain[state, max(state - 1, 0)] += 1 - rate
        if state + m - 1 < threshold:
            chain[state, state + m - 1] += rate
    expected = np.linalg.solve(np.eye(threshold) - chain, np.ones(threshold))[0]
    steps = [1 - 1 / m, -1 / m]
    assert cusum_run_length(steps, [rate, 1 - rate], threshold / m, states=threshold) == pytest.approx(expected)


def test_the_delay_of_cusum_is_that_of_wald():
    # Lorden (1971), Moustakides (1986): about log(ARL) / divergence; Wald's equation gives the mean delay.
    detector = Cusum(0.2, 0.4)
    divergence = 0.4 * math.log(2) + 0.6 * math.log(0.75)
    rng = np.random.default_rng(0)
    delays = []
    for _ in range(200):
        detector.reset()
        delays.append(detector.update(rng.random(1500) < 0.4)[0] + 1)
    # The sum ends less than one step of log 2 above the threshold, and the reflection at 0 only shortens the way.
    assert np.mean(delays) < (detector.threshold + math.log(2)) / divergence
    assert np.mean(delays) > 0.8 * detector.threshold / divergence
