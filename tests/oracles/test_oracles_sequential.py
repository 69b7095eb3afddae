"""Sequential inference against published values, third-party distributions, quadrature and the papers' own formulas."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from homeostat.stats.sequential import (
    AsymptoticDifference,
    SampleRatio,
    Share,
    TwoBernoulli,
    asymptotic_mean,
    bounded_log_evidence,
    bounded_mean,
    e_bh,
    normal_mixture_bound,
    normal_mixture_log_evidence,
    normal_mixture_rho,
    p_to_log_e,
    paired_difference_interval,
    paired_difference_log_evidence,
    paired_log_evidence,
    quantile_log_evidence,
    sample_ratio_log_evidence,
    share_interval,
    share_log_evidence,
    two_bernoulli_log_evidence,
)
from homeostat.stats.sequential.quantiles import Quantile, QuantileDifference


# confseq (Howard, Waudby-Smith and Ramdas), test/uniform_boundaries_unittest.cpp: v = 100, alpha = 0.05.
def test_two_sided_normal_mixture_of_confseq():
    rho = normal_mixture_rho(100, 0.05)
    assert rho == pytest.approx(12.60056, abs=1e-5)
    assert normal_mixture_log_evidence(10, 100, rho=rho) == pytest.approx(-0.6510052, abs=1e-6)
    assert normal_mixture_bound(100, 0.05, rho=rho) == pytest.approx(30.35209, abs=1e-5)


def test_one_sided_normal_mixture_of_confseq():
    rho = normal_mixture_rho(100, 0.05, one_sided=True)
    assert normal_mixture_log_evidence(10, 100, rho=rho, one_sided=True) == pytest.approx(-0.06502391, abs=1e-6)
    assert normal_mixture_bound(100, 0.05, rho=rho, one_sided=True) == pytest.approx(27.66071, abs=1e-5)


def test_beta_binomial_mixture_of_confseq():
    # g = 0.2, h = 0.8 and v = 100 are a quantile of 0.2 after 100/(0.2 · 0.8) = 625 values; s = 10 is a count of 135.
    settings = {"alpha": 0.05, "tight_at": 625}
    assert quantile_log_evidence(125 + 10, 625, 0.2, **settings) == pytest.approx(-0.6941012, abs=1e-6)
    assert quantile_log_evidence(125 + 31.4308, 625, 0.2, **settings) == pytest.approx(math.log(20), abs=1e-4)


def test_difference_of_means_of_growthbook():
    # GrowthBook, packages/stats, test_sequential_test_runs: tuning 1000, 3000 and 3461 rows; relative difference
    # 0.50336 with standard error 0.33341 and interval -0.55844 to 1.56516, in the intrinsic time of all rows.
    n = 3000 + 3461
    margin = 0.33341 * normal_mixture_bound(n, 0.05, rho=normal_mixture_rho(1000, 0.05)) / math.sqrt(n)
    assert (0.50336 - margin, 0.50336 + margin) == pytest.approx((-0.55844, 1.56516), abs=5e-5)


def test_asymptotic_interval_is_the_papers_formula():
    # Waudby-Smith et al. (2103.06476): the half-width with tuning rho, and the rho that is best at time t*.
    alpha, best_at, values = 0.05, 500, np.random.default_rng(0).gamma(2.0, 1.0, 3000)
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / best_at)
    path = asymptotic_mean(values, tight_at=best_at)
    for t in (400, 1000, 3000):
        first = values[:t]
        inside = 2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha)
        margin = first.std(ddof=1) * math.sqrt(inside)
        assert path.lower[t - 1] == pytest.approx(first.mean() - margin)
        assert path.upper[t - 1] == pytest.approx(first.mean() + margin)


def test_asymptotic_difference_has_the_standard_error_of_welch():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, 400), rng.normal(0, 3, 900)
    result = AsymptoticDifference(tight_at=300).update(first, second).result()
    welch = stats.ttest_ind(second, first, equal_var=False)
    z = welch.statistic
    variances = first.var(ddof=1), second.var(ddof=1)
    time = sum(variances) / (variances[0] / 400 + variances[1] / 900)
    rho = normal_mixture_rho(300, 0.05)
    expected = 0.5 * math.log(rho / (rho + time)) + z**2 * time / (2 * (rho + time))
    assert result.log_e == pytest.approx(expected)
    equal = AsymptoticDifference().update(first, np.tile(first, 1) + 1).result()
    assert (equal.interval[1] - equal.interval[0]) / 2 == pytest.approx(
        math.sqrt(2 * first.var(ddof=1)) * normal_mixture_bound(400, 0.05, rho=normal_mixture_rho(1000)) / 400
    )


@pytest.mark.parametrize(("s", "v"), [(0.0, 5.0), (12.0, 30.0), (-12.0, 30.0), (60.0, 400.0)])
def test_normal_mixtures_by_quadrature(s, v):
    rho = 7.0

    def weighed(slope):
        return math.exp(slope * s - slope**2 * v / 2) * stats.norm.pdf(slope, scale=rho**-0.5)

    points = {"points": [s / (v + rho)], "limit": 200}
    both = integrate.quad(weighed, -6, 6, **points)[0]
    one = 2 * integrate.quad(weighed, 0, 6, points=[max(s / (v + rho), 0.1)], limit=200)[0]
    assert normal_mixture_log_evidence(s, v, rho=rho) == pytest.approx(math.log(both), abs=1e-7)
    assert normal_mixture_log_evidence(s, v, rho=rho, one_sided=True) == pytest.approx(math.log(one), abs=1e-6)


@pytest.mark.parametrize(("ones", "n", "share"), [(0, 4, 0.3), (7, 10, 0.5), (30, 1000, 0.05), (900, 1000, 0.85)])
def test_shares_by_scipys_beta_binomial(ones, n, share):
    expected = stats.betabinom.logpmf(ones, n, 0.5, 0.5) - stats.binom.logpmf(ones, n, share)
    assert share_log_evidence(ones, n, share) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("ones", "n"), [(3, 10), (0, 30), (480, 1000), (1000, 1000)])
def test_ends_of_a_share_by_scipys_root_finder(ones, n):
    def excess(share):
        return stats.betabinom.logpmf(ones, n, 0.5, 0.5) - stats.binom.logpmf(ones, n, share) - math.log(20)

    middle = min(max(ones / n, 1e-9), 1 - 1e-9)
    low, high = share_interval(ones, n)
    if ones:
        assert low == pytest.approx(optimize.brentq(excess, 1e-12, middle), abs=1e-9)
    if ones < n:
        assert high == pytest.approx(optimize.brentq(excess, middle, 1 - 1e-12), abs=1e-9)


def test_wins_and_losses_by_quadrature_and_as_the_average_of_both_directions():
    integral = integrate.quad(lambda theta: (2 * theta) ** 30 * (2 * (1 - theta)) ** 12, 0, 1)[0]
    assert paired_difference_log_evidence(30, 12) == pytest.approx(math.log(integral))
    both = np.logaddexp(paired_log_evidence(30, 12), paired_log_evidence(12, 30)) - math.log(2)
    assert paired_difference_log_evidence(30, 12) == pytest.approx(both)
    # All of ten wins: 2¹⁰/11, in integers.
    assert math.exp(paired_difference_log_evidence(10, 0)) == pytest.approx(float(Fraction(2**10, 11)))


def test_paired_interval_by_brute_force_bets():
    wins, losses, rows = 40, 15, 300
    low, high = paired_difference_interval(wins, losses, rows)
    differences = np.repeat([1.0, -1.0, 0.0], [wins, losses, rows - wins - losses])
    stakes = np.geomspace(1e-4, 0.9, 24)

    def wealth(values, mean):
        return np.mean([np.prod(1 + stake * (values - mean) / (1 + mean)) for stake in stakes])

    assert wealth(differences, float(low)) == pytest.approx(40, rel=1e-6)
    assert wealth(-differences, -float(high)) == pytest.approx(40, rel=1e-6)


@pytest.mark.parametrize("counts", [(0, 0), (55, 45), (300, 200)])
def test_sample_ratios_by_scipys_dirichlet_multinomial(counts):
    three = np.array([*counts, 70])
    shares = np.array([0.5, 0.3, 0.2])
    expected = stats.dirichlet_multinomial.logpmf(three, 100 * shares, three.sum())
    expected -= stats.multinomial.logpmf(three, three.sum(), shares)
    assert sample_ratio_log_evidence(three, [5, 3, 2]) == pytest.approx(expected, abs=1e-8)


def test_sample_ratio_by_hand_and_by_the_optimizer():
    # A uniform prior on two arms, ten units that all reach one: 2¹⁰/11.
    assert sample_ratio_log_evidence(np.array([10, 0]), [1, 1], concentration=2.0) == pytest.approx(
        math.log(2**10 / 11)
    )
    # The end of an interval is where even the most favourable shares of the other arms are refuted.
    counts, state = np.array([620, 240, 140]), SampleRatio([6, 3, 1], concentration=50).update([620, 240, 140])
    end = state.result().interval[0][1]
    prior = stats.dirichlet_multinomial.logpmf(counts, np.array([30.0, 15.0, 5.0]), 1000)

    def evidence(second):
        return prior - stats.multinomial.logpmf(counts, 1000, [end, second, 1 - end - second])

    least = optimize.minimize_scalar(evidence, bounds=(1e-6, 1 - end - 1e-6), method="bounded").fun
    assert least == pytest.approx(math.log(20), abs=1e-5)


def test_quantile_ends_by_counting_with_scipys_beta_binomial():
    values = np.sort(np.random.default_rng(4).exponential(1, 400))
    q, n = 0.8, 400
    rho = normal_mixture_rho(q * (1 - q) * 1000, 0.05)
    r = rho - q * (1 - q)
    k = np.arange(n + 1)
    kept = np.flatnonzero(stats.betabinom.logpmf(k, n, r / (1 - q), r / q) - stats.binom.logpmf(k, n, q) < math.log(20))
    result = Quantile(q, accuracy=0).update(values).result()
    assert result.interval == (values[kept[0] - 1], values[kept[-1]])
    assert result.estimate == values[math.ceil(q * n) - 1]
    rounded = Quantile(q).update(values).result()
    assert rounded.interval[0] <= result.interval[0] <= rounded.interval[0] * 1.0011
    assert rounded.interval[1] / 1.0011 <= result.interval[1] <= rounded.interval[1]


def test_quantile_difference_by_trying_every_shared_value():
    rng = np.random.default_rng(5)
    first, second = rng.exponential(1, 60), rng.exponential(1.6, 80).round(2)
    result = QuantileDifference(0.5, accuracy=0, alpha=0.2, tight_at=60).update(first, second).result()

    def evidence(values, x):
        counts = np.arange((values < x).sum(), (values <= x).sum() + 1)
        return quantile_log_evidence(counts, len(values), 0.5, alpha=0.2, tight_at=60).min()

    shared = np.concatenate([first, second])
    assert result.log_e == pytest.approx(min(evidence(first, x) + evidence(second, x) for x in shared))
    # Every pair of values whose joint evidence stays below 1/alpha allows its difference.
    one, two = [evidence(first, x) for x in first], [evidence(second, x) for x in second]
    allowed = [
        y - x
        for (x, a), (y, b) in itertools.product(zip(first, one, strict=True), zip(second, two, strict=True))
        if a + b < math.log(5)
    ]
    assert result.interval == pytest.approx((min(allowed), max(allowed)))


def test_two_bernoulli_by_its_definition_in_fractions():
    # Turner, Ly and Grünwald: posterior means of Beta(0.18, 0.18), weighted mean of both as the null hypothesis.
    first, second, prior = [2, 0, 1, 1], [0, 1, 1, 1], Fraction(18, 100)
    product, ones = Fraction(1), [Fraction(0), Fraction(0)]
    for block, (a, b) in enumerate(zip(first, second, strict=True)):
        share_1 = (prior + ones[0]) / (2 * prior + 2 * block)
        share_2 = (prior + ones[1]) / (2 * prior + block)
        null = (2 * share_1 + share_2) / 3
        product *= (share_1 / null) ** a * ((1 - share_1) / (1 - null)) ** (2 - a)
        product *= (share_2 / null) ** b * ((1 - share_2) / (1 - null)) ** (1 - b)
        ones = [ones[0] + a, ones[1] + b]
    assert math.exp(two_bernoulli_log_evidence(first, second, (2, 1))[-1]) == pytest.approx(float(product))


@pytest.mark.parametrize("margin", [-0.1, 0.05])
def test_two_bernoulli_margins_by_scipys_minimiser(margin):
    rng = np.random.default_rng(6)
    first, second = rng.binomial(3, 0.3, 6), rng.binomial(2, 0.5, 6)
    path = two_bernoulli_log_evidence(first, second, (3, 2), margin=margin)
    expected, ones = 0.0, [0.0, 0.0]
    for block, (a, b) in enumerate(zip(first, second, strict=True)):
        p, q = (0.18 + ones[0]) / (0.36 + 3 * block), (0.18 + ones[1]) / (0.36 + 2 * block)

        def divergence(x, p=p, q=q):
            y = x + margin
            return 3 * (special.rel_entr(p, x) + special.rel_entr(1 - p, 1 - x)) + 2 * (
                special.rel_entr(q, y) + special.rel_entr(1 - q, 1 - y)
            )

        ends = (max(0.0, -margin), min(1.0, 1 - margin))
        x = optimize.minimize_scalar(divergence, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
        expected += stats.binom.logpmf(a, 3, p) - stats.binom.logpmf(a, 3, x)
        expected += stats.binom.logpmf(b, 2, q) - stats.binom.logpmf(b, 2, x + margin)
        assert path[block] == pytest.approx(expected, abs=1e-5)
        ones = [ones[0] + a, ones[1] + b]


def test_hedged_bets_step_by_step():
    # Waudby-Smith and Ramdas (2024): one imagined value of ½ with variance ¼, bets cut at half of the wealth.
    values, alpha, null = np.random.default_rng(7).beta(0.5, 0.8, 60), 0.05, 0.3
    up = down = 1.0
    seen, squares, expected = [], [], []
    for t, x in enumerate(values, 1):
        variance = (0.25 + sum(squares)) / t
        bet = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
        up *= 1 + min(bet, 0.5 / null) * (x - null)
        down *= 1 - min(bet, 0.5 / (1 - null)) * (x - null)
        seen.append(x)
        squares.append((x - (0.5 + sum(seen)) / (t + 1)) ** 2)
        expected.append(math.log(max(up, down) / 2))
    assert bounded_log_evidence(values, null) == pytest.approx(expected)
    path = bounded_mean(values, null=null, grid=1000)
    for end in (path.lower[-1], path.upper[-1]):
        outward = 1e-3 if end > values.mean() else -1e-3
        assert bounded_log_evidence(values, min(max(end + outward, 0), 1))[-1] >= math.log(20) - 1e-9
        assert bounded_log_evidence(values, end - 1.001 * outward)[-1] < math.log(20)


# Benjamin et al., "Redefine statistical significance" (2018): the bound 1/(−e p ln p) is 2.5 at .05 and 13.9 at .005.
@pytest.mark.parametrize(("p", "bound"), [(0.05, 2.46), (0.005, 13.9)])
def test_the_best_power_calibrator_is_the_published_bound(p, bound):
    best = np.exp(p_to_log_e(p, calibrator="power", kappa=-1 / math.log(p)))
    assert best == pytest.approx(bound, abs=0.02)
    assert np.exp(p_to_log_e(p)) < best


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.3, 0.9, 0.99995, 1.0])
def test_the_mixture_calibrator_by_quadrature(p):
    integral = integrate.quad(lambda kappa: kappa * p ** (kappa - 1), 0, 1)[0]
    assert np.exp(p_to_log_e(p)) == pytest.approx(integral, rel=1e-7)


@pytest.mark.parametrize("calibrator", ["mixture", "square root", "power"])
def test_calibrators_integrate_to_1_over_uniform_p_values(calibrator):
    # In t = ln(1/p), so that the pole at p = 0 is a tail.
    total = integrate.quad(
        lambda t: math.exp(float(p_to_log_e(math.exp(-t), calibrator=calibrator)) - t) if t else 0.0, 0, 600, limit=400
    )[0]
    # The mixture's tail falls as 1/t only, so 1/600 lies beyond.
    assert total == pytest.approx(1 - (1 / 600 if calibrator == "mixture" else 0), abs=1e-4)


def test_e_bh_is_benjamini_hochberg_of_the_reciprocals_by_scipy():
    rng = np.random.default_rng(8)
    for _ in range(30):
        log_e = rng.normal(1.5, 2.5, 12)
        adjusted = stats.false_discovery_control(np.minimum(np.exp(-log_e), 1.0))
        assert e_bh(log_e, 0.1).rejected == tuple(bool(p <= 0.1) for p in adjusted)


def test_states_agree_with_scipy_in_their_sentences():
    assert Share().update(np.ones(8)).result().log_e == pytest.approx(
        math.log(special.beta(8.5, 0.5) / special.beta(0.5, 0.5) * 2**8)
    )
    first, second = np.zeros(20), np.ones(20)
    result = TwoBernoulli().update(first, second).result()
    assert result.estimate == 1
    assert result.log_e == pytest.approx(two_bernoulli_log_evidence(first, second)[-1])
