"""Small versions of the simulations of benchmarks/experiments_errors.py, within binomial limits."""

import numpy as np
import pytest
from benchmarks import experiments_errors
from scipy import stats

from homeostat.stats.experiments import Plan, Units, judge
from homeostat.stats.experiments.evidence import (
    asymptotic_log_evidence,
    asymptotic_reach,
    exact_log_evidence,
    exact_reach,
)

RUNS = 60


def most(runs, level):
    return stats.binom.ppf(0.9999, runs, level) / runs


@pytest.mark.slow
def test_budgets_hold_when_every_unit_is_looked_at():
    for name, found in experiments_errors.same(RUNS, 20_000).items():
        assert found.promoted <= most(RUNS, 0.05), name
        assert found.rolled_back <= most(RUNS, 0.05), name
        assert found.peeked_promoted + found.peeked_rolled_back > 0.3, name


@pytest.mark.slow
def test_real_differences_are_found():
    found = experiments_errors.different(RUNS, 20_000)
    assert found["+2 points"].promoted > 0.9
    assert found["+5 points"].median_promoted < 2_500
    assert found["-5 points"].rolled_back == 1
    assert found["-10 points"].median_rolled_back < 1_000


@pytest.mark.slow
def test_weights_by_thompson_sampling_keep_the_verdict_valid():
    found = experiments_errors.bandits(40, batches=15)
    assert found.promoted <= most(40, 0.05)
    assert found.rolled_back <= most(40, 0.05)
    # Rates that fall while weights move make the pooled test err more often than the 10 % it is meant to.
    assert found.naive > 0.1


def test_a_split_of_45_percent_is_found_and_an_even_one_is_not():
    assert experiments_errors.mismatches(6, 0.45)[0] == 1
    assert experiments_errors.mismatches(6, 0.5)[0] == 0


def test_reaches_invert_the_evidence():
    for alpha in (0.05, 0.001):
        for variance, information in ((3.0, 25.0), (0.01, 4000.0)):
            reach = asymptotic_reach(variance, information, alpha, tight_at=1000)
            found = asymptotic_log_evidence(reach, variance, information, alpha=alpha, tight_at=1000)
            assert found == pytest.approx(-np.log(alpha))
        penalty = np.linspace(9, 0.001, 10)
        assert float(exact_log_evidence(exact_reach(penalty, alpha), penalty)) == pytest.approx(-np.log(alpha))


def test_a_weight_of_zero_takes_no_part_and_units_in_it_hold():
    arm = np.array([0] * 300 + [0, 1] * 300)
    epoch = np.repeat([0, 1], [300, 600])
    value = np.tile([0.0, 1.0, 1.0], 300)
    plan = Plan(("control", "arm"), ((1.0, 0.0), (0.5, 0.5)), (experiments_errors.RATE,))
    units = Units(plan.arms, arm, epoch, np.arange(900), {"outcome": value})
    found = judge(units, plan)
    assert not found.split.failed
    assert found.metrics[0].levels[0] == pytest.approx(value[(epoch == 1) & (arm == 0)].mean())
    stray = Units(plan.arms, arm, np.zeros(900, dtype=int), np.arange(900), {"outcome": value})
    assert judge(stray, plan).verdict == "held"
