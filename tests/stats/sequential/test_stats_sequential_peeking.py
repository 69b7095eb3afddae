"""Small versions of the simulations of benchmarks/statistics/peeking.py, within binomial limits."""

import numpy as np
import pytest
from benchmarks.statistics import peeking
from scipy import stats

RUNS, LOOKS = 80, 2000


def most(runs, level):
    return stats.binom.ppf(0.9999, runs, level)


@pytest.mark.parametrize("case", peeking.cases(), ids=lambda case: f"{case.method}, {case.data}")
def test_looking_at_every_row(case):
    false = (case.firsts(RUNS, looks=LOOKS, rng=11) <= LOOKS).sum()
    if case.kind == "exact":
        assert false <= most(RUNS, 0.05)
    elif case.kind == "asymptotic":
        assert false <= most(RUNS, 0.06)
    else:
        # A test meant for one look, which the sequences stand beside.
        assert false > most(RUNS, 0.05)


def test_thirty_daily_looks():
    runs = 250
    z, anytime = peeking.daily_peeks(runs, rows=25, rng=1)
    # Published for this design: 29.4 % for the z-test, 1.6 % for an anytime-valid one.
    low, high = stats.binom.ppf([0.0001, 0.9999], runs, 0.294) / runs
    assert low <= z <= high
    assert anytime <= most(runs, 0.016) / runs


@pytest.mark.parametrize(("days", "expected"), [(2, 0.083), (5, 0.142), (10, 0.193), (20, 0.248)])
def test_the_z_test_errs_as_armitage_mcpherson_and_rowe_found(days, expected):
    # Repeated significance tests on accumulating data (1969), table 2, level 5 %.
    runs = 300
    z, _ = peeking.daily_peeks(runs, days=days, rows=25, rng=2)
    low, high = stats.binom.ppf([0.0001, 0.9999], runs, expected) / runs
    assert low <= z <= high


def test_dependent_rows_break_it_and_the_remedies_mend_it():
    runs = 25
    for data, fed, truth, z, sequence in peeking.dependent_rows(runs, looks=5000, rng=3):
        if truth == "does not hold":
            assert sequence > 0.3, (data, fed)
            assert z >= sequence, (data, fed)
        else:
            assert sequence <= most(runs, 0.06) / runs, (data, fed)


def test_fixed_sizes_are_the_published_ones_and_the_sequential_ones_are_dearer():
    assert peeking.fixed_split(0.90, 0.92) == pytest.approx(6426, abs=1)
    # Errors that are independent of each other: the upper end of what was published for pairs.
    assert peeking.fixed_same(0.92 * 0.10, 0.90 * 0.08) == pytest.approx(3216, abs=1)
    taken = peeking.sequential_sizes(0.03, 0.01, 60, limit=4000, rng=4)
    fixed = peeking.fixed_same(0.03, 0.01)
    assert fixed * 0.5 < np.median(taken) < fixed * 2
    assert np.quantile(taken, 0.8) < 3216


def test_power_is_not_bought_with_silence():
    rng = np.random.default_rng(5)
    second = peeking.arms(rng, 50, 3000)
    values = rng.normal(0, 1, (50, 3000)) + 0.25 * second
    assert (peeking.asymptotic_difference(values, second).log_e[:, -1] >= peeking.THRESHOLD).mean() > 0.9
    assert (peeking.split_sizes(0.8, 0.9, 50, limit=3000) <= 3000).mean() > 0.9
