"""Expectations by enumeration of everything that can happen: an e-value's is at most 1, whatever the truth."""

import itertools
import math

import numpy as np
import pytest

from homeostat.stats.sequential import (
    NonInferiority,
    Quantile,
    QuantileDifference,
    average_log_evidence,
    bounded_log_evidence,
    noninferiority_log_evidence,
    normal_mixture_log_evidence,
    normal_mixture_rho,
    p_to_log_e,
    paired_difference_log_evidence,
    paired_log_evidence,
    quantile_log_evidence,
    sample_ratio_log_evidence,
    share_log_evidence,
    two_bernoulli_log_evidence,
)


def every(values, length):
    """All sequences of the values."""
    return np.array(list(itertools.product(values, repeat=length)), dtype=float)


def chance(sequences, probabilities):
    """The probability of each sequence of independent values."""
    return np.prod([[probabilities[value] for value in row] for row in sequences], axis=1)


def expectations(log_e, weights):
    """E's expectation after each step."""
    return (np.exp(log_e) * weights[:, None]).sum(axis=0)


@pytest.mark.parametrize("share", [0.03, 0.3, 0.5, 0.9])
def test_shares_quantiles_and_pairs_are_martingales(share):
    rows = every([0, 1], 10)
    weights = chance(rows, {0: 1 - share, 1: share})
    ones, n = np.cumsum(rows, axis=1), np.arange(1, 11)
    assert expectations(share_log_evidence(ones, n, share), weights) == pytest.approx(np.ones(10))
    assert expectations(quantile_log_evidence(ones, n, share), weights) == pytest.approx(np.ones(10))
    if share == 0.5:
        assert expectations(paired_difference_log_evidence(ones, n - ones), weights) == pytest.approx(np.ones(10))
        assert expectations(paired_log_evidence(ones, n - ones), weights) == pytest.approx(np.ones(10))
    elif share < 0.5:
        assert (expectations(paired_log_evidence(ones, n - ones), weights) < 1).all()


@pytest.mark.parametrize("block", [(1, 1), (3, 1), (2, 3)])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_two_bernoulli_has_expectation_at_most_1_where_shares_are_equal(block, share):
    blocks = list(itertools.product(range(block[0] + 1), range(block[1] + 1)))
    steps = 3 if len(blocks) > 4 else 5
    runs = list(itertools.product(blocks, repeat=steps))
    first, second = np.array(runs, dtype=float).transpose(2, 0, 1)
    weights = (binomial(first, block[0], share) * binomial(second, block[1], share)).prod(axis=1)
    assert weights.sum() == pytest.approx(1)
    found = expectations(two_bernoulli_log_evidence(first, second, block), weights)
    # The first block is weighed by equal shares, which is no bet; from then on the ratio loses a little.
    assert found[0] == pytest.approx(1)
    assert (np.diff(found) < 0).all()


def binomial(ones, size, share):
    counts = np.array([math.comb(size, k) * share**k * (1 - share) ** (size - k) for k in range(size + 1)])
    return counts[ones.astype(int)]


@pytest.mark.parametrize("margin", [-0.2, 0.0, 0.1])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_two_bernoulli_holds_over_all_of_its_null_hypothesis(margin, alternative):
    block = (2, 1)
    runs = list(itertools.product(itertools.product(range(3), range(2)), repeat=4))
    first, second = np.array(runs, dtype=float).transpose(2, 0, 1)
    log_e = two_bernoulli_log_evidence(first, second, block, margin=margin, alternative=alternative)
    tried = 0
    for share_1, share_2 in itertools.product(np.linspace(0, 1, 21), repeat=2):
        gap = share_2 - share_1 - margin
        inside = {"two-sided": abs(gap) < 1e-9, "greater": gap < 1e-9, "less": gap > -1e-9}[alternative]
        if inside:
            tried += 1
            weights = (binomial(first, 2, share_1) * binomial(second, 1, share_2)).prod(axis=1)
            assert (expectations(log_e, weights) <= 1 + 1e-9).all(), (share_1, share_2)
    assert tried > 10


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_hedged_bets_have_expectation_at_most_1(alternative):
    rows = every([0.0, 0.35, 1.0], 7)
    weights = chance(rows, {0.0: 0.5, 0.35: 0.3, 1.0: 0.2})
    mean = 0.35 * 0.3 + 0.2
    found = expectations(bounded_log_evidence(rows, mean, alternative=alternative), weights)
    # One gambler alone is a martingale; two-sided, the greater of two halves stays below their sum.
    if alternative == "two-sided":
        assert (found < 1).all()
    else:
        assert found == pytest.approx(np.ones(7))
    if alternative == "greater":
        assert (expectations(bounded_log_evidence(rows, 0.6, alternative=alternative), weights) < 1).all()


def test_both_sides_of_a_margin_are_martingales_at_it():
    rows = every([-1, 0, 1], 7)
    weights = chance(rows, {-1: 0.15, 0: 0.8, 1: 0.05})
    holds, broken = noninferiority_log_evidence(rows, 0.1)
    assert expectations(holds, weights) == pytest.approx(np.ones(7))
    assert expectations(broken, weights) == pytest.approx(np.ones(7))
    better = chance(rows, {-1: 0.1, 0: 0.8, 1: 0.1})
    assert (expectations(broken, better) < 1).all()
    assert (expectations(holds, better) > 1).all()


def test_the_sample_ratio_is_a_martingale():
    rows = every([0, 1, 2], 7)
    shares = {0: 0.6, 1: 0.3, 2: 0.1}
    counts = np.stack([np.cumsum(rows == arm, axis=1) for arm in shares], axis=-1)
    found = expectations(sample_ratio_log_evidence(counts, [6, 3, 1], concentration=2.0), chance(rows, shares))
    assert found == pytest.approx(np.ones(7))


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_normal_mixture_is_a_supermartingale_for_signs(one_sided):
    rows = every([-1, 1], 12)
    weights = np.full(len(rows), 0.5**12)
    rho = normal_mixture_rho(10, 0.05, one_sided=one_sided)
    log_e = normal_mixture_log_evidence(np.cumsum(rows, axis=1), np.arange(1, 13), rho=rho, one_sided=one_sided)
    found = expectations(log_e, weights)
    assert (found <= 1).all()
    assert (np.diff(found) <= 1e-12).all()


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_the_chance_of_ever_crossing_is_at_most_alpha(alpha):
    rows = every([0, 1], 12)
    ones, n = np.cumsum(rows, axis=1), np.arange(1, 13)
    for share in (0.1, 0.5):
        weights = chance(rows, {0: 1 - share, 1: share})
        for log_e in (share_log_evidence(ones, n, share), bounded_log_evidence(rows, share, alpha=alpha)):
            crossed = (log_e >= math.log(1 / alpha)).any(axis=1)
            assert weights[crossed].sum() <= alpha


def test_a_quantile_with_ties_has_expectation_at_most_1():
    # Values 1, 2, 2, 3: every value from 2 to 2 is a median, and 60 % lie at or below it.
    rows = every([1, 2, 3], 5)
    weights = chance(rows, {1: 0.3, 2: 0.3, 3: 0.4})
    log_e = np.array([Quantile(0.5, null=2.0).update(row).result().log_e for row in rows])
    assert (np.exp(log_e) * weights).sum() <= 1


def test_a_quantile_difference_has_expectation_at_most_1():
    pairs = list(itertools.product(every([1, 2, 5], 3), every([1, 2, 5], 2)))
    shares = {1: 0.5, 2: 0.3, 5: 0.2}
    weights = np.array([math.prod(shares[value] for arm in pair for value in arm) for pair in pairs])
    log_e = np.array([QuantileDifference(0.5, accuracy=0).update(*pair).result().log_e for pair in pairs])
    assert weights.sum() == pytest.approx(1)
    assert (np.exp(log_e) * weights).sum() <= 1


def test_averages_of_dependent_e_values_have_expectation_at_most_1():
    rows = every([0, 1], 8)
    ones = rows.sum(axis=1)
    same = np.stack([share_log_evidence(ones, 8, 0.5), paired_log_evidence(ones, 8 - ones)], axis=-1)
    assert np.exp(average_log_evidence(same, [3, 1])).mean() == pytest.approx(1)
    assert np.exp(same.sum(axis=-1)).mean() > 1.5


@pytest.mark.parametrize("calibrator", ["mixture", "square root", "power"])
def test_calibrated_p_values_of_a_binomial_test_have_expectation_at_most_1(calibrator):
    n = 12
    chances = np.array([math.comb(n, k) for k in range(n + 1)]) / 2**n
    p = np.minimum(np.cumsum(chances[::-1])[::-1], 1.0)
    assert (np.exp(p_to_log_e(p, calibrator=calibrator)) * chances).sum() <= 1


def test_a_margin_is_decided_both_ways():
    even = NonInferiority(0.1).update(np.tile([1.0, -1.0, 0, 0, 0, 0], 150)).result()
    assert even.standing == "not worse"
    assert "not worse by 0.1" in even.sentence
    worse = NonInferiority(0.1).update(np.tile([-1.0, -1.0, 0, 0, 0, 0], 60)).result()
    assert worse.standing == "worse"
    assert worse.interval[1] < -0.1
    assert worse.p == 1
    assert NonInferiority(0.1).update(np.zeros(3)).result().standing == "open"
