"""Small versions of the simulated error rates; bounds from the binomial distribution."""

import numpy as np
import pytest
from benchmarks.statistics.clustering import (
    CR1,
    CUPED,
    MEANS,
    ROBUST,
    ROWS,
    SERIES,
    cluster_rates,
    coverage,
    power_reached,
    run,
    series_rates,
)
from scipy.stats import binom, norm

from homeostat.stats.inference import clustered_difference, series_difference, series_mean

RUNS = 200


def most(level: float, runs: int = RUNS) -> float:
    return float(binom.ppf(0.9999, runs, level)) / runs


def least(level: float, runs: int = RUNS) -> float:
    return float(binom.ppf(0.0001, runs, level)) / runs


@pytest.mark.parametrize(("correlation", "size"), [(0.0, 1), (0.05, 20), (0.5, 5)])
def test_tests_of_entities_hold_their_level(correlation, size):
    rates = cluster_rates(runs=RUNS, rng=7, correlation=correlation, size=size, entities=60)
    for name in (MEANS, ROBUST, CR1, CUPED):
        assert rates[name] <= most(0.055), name
    # 1 + (m − 1)ρ is what rows are too sure by.
    effect = 1 + (size - 1) * correlation
    expected = 2 * norm.sf(1.96 / effect**0.5)
    assert least(expected) <= rates[ROWS] <= most(expected)


def test_few_uneven_entities_are_rough_and_the_sentence_says_so():
    rates = cluster_rates(runs=RUNS, rng=8, correlation=0.2, size=10, entities=8, uneven=True)
    assert rates[ROBUST] <= rates[CR1] <= most(0.12)
    rng = np.random.default_rng(0)
    result = clustered_difference(rng.normal(size=40), np.arange(40) % 8, rng.normal(size=40), 50 + np.arange(40) % 8)
    assert "rough" in result.sentence


def test_series_with_memory():
    rates = series_rates(runs=RUNS, rng=9, memory=0.9, n=500)
    assert rates[SERIES[0]] > least(0.6)
    assert rates["cosine"] <= most(0.07)
    assert rates["blocks"] <= most(0.13)
    assert rates["newey-west"] <= most(0.13)
    white = series_rates(runs=RUNS, rng=10, memory=0.0, n=300)
    for name in SERIES:
        assert white[name] <= most(0.06), name


def test_daily_cycles():
    whole = series_rates(runs=RUNS, rng=11, memory=0.3, n=504, cycle=2, period=24)
    for method in ("cosine", "newey-west", "blocks"):
        assert least(0.045) <= whole[method] <= most(0.075), method
    assert whole[SERIES[0]] <= most(0.03)
    partial = series_rates(runs=100, rng=12, memory=0.3, n=108, cycle=4, period=24)
    assert partial["cosine"] > 0.1
    told = series_mean(np.random.default_rng(0).normal(size=108), period=24).sentence
    assert "covers 4.5 cycles" in told


def test_before_and_after():
    rng = np.random.default_rng(13)
    runs = 200
    alarms = sum(series_difference(rng.normal(size=200), rng.normal(size=300)).p < 0.05 for _ in range(runs))
    assert alarms <= most(0.055, runs) * runs
    far = series_difference(np.r_[0.0, rng.normal(size=199)], rng.normal(2, 1, 300))
    assert far.p < 1e-6
    assert abs(far.estimate - 2) < 4 * far.error
    assert far.interval[0] > 1


def test_intervals_cover():
    covered = coverage(runs=RUNS, rng=14)
    for name, share in covered.items():
        # The delta method near 0, and Welch's for long tails, fall short; that is why the others are there.
        assert share >= least(0.91 if "delta" in name else 0.94), name


def test_planned_sizes_reach_their_power():
    for name, (rows, share) in power_reached(runs=RUNS, rng=15).items():
        assert rows > 0
        assert least(0.79) <= share <= most(0.83), name


@pytest.mark.slow
def test_the_whole_simulation_has_its_figures():
    section = run(quick=True)
    assert len(section.tables) == 4
    assert section.plots
    assert "| two equal arms |" in section.markdown()
