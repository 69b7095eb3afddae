"""Fixed-sample inference against scipy, statsmodels, regression packages and published tables."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats import effect_size as sm_effects
from statsmodels.stats import meta_analysis, multitest, oneway, power, proportion, weightstats
from statsmodels.stats import nonparametric as sm_ranks
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from homeostat.stats import multiplicity
from homeostat.stats.inference import (
    Moments,
    anova,
    chi_square,
    cohens_d,
    cohens_h,
    compare_models,
    compare_proportions,
    detectable_effect,
    equivalent_means,
    equivalent_proportions,
    hedges_g,
    kruskal_wallis,
    lift,
    mann_whitney,
    mcnemar,
    newcombe_interval,
    non_inferior_means,
    odds_ratio,
    paired_interval,
    paired_t,
    power_mann_whitney,
    power_means,
    power_proportions,
    risk_ratio,
    sample_ratio_mismatch,
    sample_size,
    sample_size_mann_whitney,
    sample_size_mcnemar,
    sample_size_means,
    sample_size_proportions,
    score_interval,
    sign_test,
    two_proportions,
    welch,
    welch_from_moments,
    wilcoxon_signed_rank,
)
from homeostat.stats.inference.margins import score_z
from homeostat.stats.inference.noncentral import chi_square_noncentrality, f_noncentrality

# Evidently, test_stattests.
X = np.array([38.7, 41.5, 43.8, 44.5, 45.5, 46, 47.7, 58])
Y = np.array([39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8])
# Hollander and Wolfe 1973, table 3.1: depression scores at two visits.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(12)
    return rng.normal(1.0, 1.0, 31), rng.normal(1.5, 2.0, 44), rng.normal(1.2, 3.0, 25)


def test_mcnemar_of_statsmodels():
    result = mcnemar(121, 59)
    assert result.p == pytest.approx(0.000004, abs=5e-7)
    assert (result.statistic, result.p_corrected) == (pytest.approx(20.67222, abs=5e-6), pytest.approx(5.450095e-6))
    assert result.statistic_uncorrected == pytest.approx(21.35556, abs=5e-6)
    assert result.p_uncorrected == pytest.approx(3.815136e-6, rel=1e-6)
    truth = np.ones(314, dtype=int)
    first = np.repeat([1, 1, 0, 0], [101, 121, 59, 33])
    second = np.repeat([1, 0, 1, 0], [101, 121, 59, 33])
    assert compare_models(truth, first, second).difference.p == pytest.approx(
        sm_mcnemar([[101, 121], [59, 33]], exact=True).pvalue
    )


def test_sample_size_of_r_and_statsmodels():
    # The example of R's page on power for two proportions, which statsmodels' tests quote.
    plan = sample_size(baseline=0.5, target=0.75, power=0.9)
    assert plan.exact == pytest.approx(76.70692, abs=1e-4)
    assert power_proportions(0.5, 0.75, 76.70692, 76.70692) == pytest.approx(0.9, abs=1e-6)
    for ratio in (1.0, 2.5):
        exact = power.NormalIndPower().solve_power(cohens_h(0.1, 0.15), alpha=0.05, power=0.8, ratio=ratio)
        assert sample_size_proportions(0.1, 0.15, ratio=ratio, method="arcsine").exact == pytest.approx(exact, rel=1e-6)
    one_sided = power.NormalIndPower().solve_power(cohens_h(0.1, 0.15), alpha=0.05, power=0.8, alternative="larger")
    found = sample_size_proportions(0.1, 0.15, method="arcsine", alternative="larger").exact
    assert found == pytest.approx(one_sided, rel=1e-6)


def test_sample_sizes_of_the_expected_values():
    # 90 against 92 % accuracy at power .8: 6,426 requests split, 1,175 to 3,216 paired.
    assert sample_size(baseline=0.9, target=0.92).n == 6426
    assert sample_size_mcnemar(0.02, 0.04).n == 1175
    assert sample_size_mcnemar(0.072, 0.092).n == 3216


@pytest.mark.parametrize(("d", "n"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_sample_sizes_of_cohens_tables(d, n):
    # Cohen 1992, table 2: power .80 at .05; 393 there for d = .2, by interpolation.
    assert sample_size_means(d).n_1 == n
    exact = power.TTestIndPower().solve_power(d, alpha=0.05, power=0.8)
    assert sample_size_means(d).exact == pytest.approx(exact, rel=1e-6)
    assert detectable_effect(n, n) == pytest.approx(power.TTestIndPower().solve_power(None, n, 0.05, 0.8), rel=1e-6)


def test_power_of_statsmodels():
    model = power.TTestIndPower()
    assert power_means(0.3, 40, 90) == pytest.approx(model.power(0.3, 40, 0.05, ratio=90 / 40), rel=1e-8)
    assert power_means(0.3, 40, 90, alternative="larger") == pytest.approx(
        model.power(0.3, 40, 0.05, ratio=90 / 40, alternative="larger"), rel=1e-8
    )
    assert power_proportions(0.2, 0.3, 200, 300, method="arcsine") == pytest.approx(
        power.NormalIndPower().power(cohens_h(0.2, 0.3), 200, 0.05, ratio=1.5), rel=1e-8
    )


def test_mann_whitney_sample_size_of_noether():
    # Noether 1987: N = (z_a + z_b)² / (12 c (1 − c) (p − ½)²), here one-sided .05 and power .9, p = .7.
    total = (1.6448536 + 1.2815516) ** 2 / (12 * 0.25 * 0.04)
    plan = sample_size_mann_whitney(0.7, power=0.9, alternative="larger")
    assert 2 * plan.exact == pytest.approx(total, rel=1e-6)
    assert power_mann_whitney(0.7, plan.exact, plan.exact, alternative="larger") == pytest.approx(0.9)


def test_welch_from_sums_of_growthbook():
    first, second = Moments.from_sums(3407, 1396.87, 52377.9767), Moments.from_sums(3461, 2422.7, 134698.29)
    result = welch_from_moments(first, second)
    assert result.estimate == pytest.approx(0.29, abs=5e-4)
    assert result.interval == (pytest.approx(0.04538, abs=5e-6), pytest.approx(0.53462, abs=5e-6))
    assert result.p == pytest.approx(0.02016, abs=5e-6)


def test_welch_of_scipy(groups):
    one, two, _ = groups
    for alternative, scipys in (("two-sided", "two-sided"), ("larger", "greater"), ("smaller", "less")):
        expected = stats.ttest_ind(two, one, equal_var=False, alternative=scipys)
        result = welch(one, two, alternative=alternative)
        assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
        low, high = expected.confidence_interval(0.95)
        assert result.interval == (pytest.approx(low), pytest.approx(high))


def test_cohens_d_and_hedges_g_of_statsmodels(groups):
    one, two, _ = groups
    g, _ = meta_analysis.effectsize_smd(two.mean(), two.std(ddof=1), 44, one.mean(), one.std(ddof=1), 31)
    result = hedges_g(one, two)
    assert result.estimate == pytest.approx(g, rel=2e-4)  # statsmodels takes 1 − 3/(4n − 1) for the gamma factor
    d = cohens_d(one, two)
    t = stats.ttest_ind(two, one)
    assert (d.statistic, d.p) == (pytest.approx(t.statistic), pytest.approx(t.pvalue))
    scale = math.sqrt(1 / 31 + 1 / 44)
    noncentral = sm_effects._noncentrality_t(t.statistic, 73, alpha=0.05).confint
    assert d.interval == pytest.approx(tuple(np.array(noncentral) * scale), rel=1e-6)


def test_lift_agrees_with_a_bootstrap():
    rng = np.random.default_rng(3)
    one, two = rng.normal(5, 1, 400), rng.normal(5.5, 2, 300)
    drawn = rng.choice(two, (4000, 300)).mean(axis=1) / rng.choice(one, (4000, 400)).mean(axis=1) - 1
    for method in ("delta", "fieller"):
        result = lift(one, two, method=method)
        assert result.error == pytest.approx(drawn.std(), rel=0.05)
        assert np.array(result.interval) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)


def test_fieller_bounds_are_where_the_test_is_just_significant():
    one, two = Moments(40, 2.0, 9.0), Moments(60, 3.0, 4.0)
    result = lift(one, two)
    reach = stats.t.ppf(0.975, result.df)
    for bound in result.interval:
        ratio = 1 + bound
        error = math.sqrt(4.0 / 60 + ratio**2 * 9.0 / 40)
        assert abs(3.0 - ratio * 2.0) / error == pytest.approx(reach)


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        # Newcombe 1998a, table II, method 10.
        ((48, 80, 56, 70), (0.0524, 0.3339)),
        ((3, 10, 9, 10), (0.1705, 0.8090)),
        ((2, 7, 6, 7), (0.0582, 0.8062)),
        ((0, 29, 5, 56), (-0.0381, 0.1926)),
        ((0, 10, 10, 10), (0.6075, 1.0)),
        ((0, 20, 0, 10), (-0.1611, 0.2775)),
    ],
)
def test_newcombes_published_intervals(counts, bounds):
    assert newcombe_interval(*counts) == (pytest.approx(bounds[0], abs=6e-5), pytest.approx(bounds[1], abs=6e-5))
    if min(counts[0], counts[2], counts[1] - counts[0], counts[3] - counts[2]) > 0:
        expected = proportion.confint_proportions_2indep(counts[2], counts[3], counts[0], counts[1], method="newcomb")
        assert newcombe_interval(*counts) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_mees_published_score_interval():
    # Newcombe 1998a, table II, method 4 (Mee).
    assert score_interval(48, 80, 56, 70) == (pytest.approx(0.0533, abs=6e-5), pytest.approx(0.3377, abs=6e-5))


@pytest.mark.parametrize("difference", [-0.4, -0.05, 0.02, 0.3])
def test_restricted_shares_maximise_the_likelihood(difference):
    s_1, n_1, s_2, n_2 = 48, 80, 56, 70

    def loss(first):
        return -(stats.binom.logpmf(s_1, n_1, first) + stats.binom.logpmf(s_2, n_2, first + difference))

    low, high = max(0, -difference) + 1e-9, min(1, 1 - difference) - 1e-9
    first = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x
    second = first + difference
    error = math.sqrt(first * (1 - first) / n_1 + second * (1 - second) / n_2)
    assert score_z(s_1, n_1, s_2, n_2, difference) == pytest.approx((0.2 - difference) / error, rel=1e-6)


def test_paired_interval_published():
    # Altman, Machin, Bryant and Gardner 2000, table 6.2: 14, 5, 0, 22; difference .122, .011 to .226.
    assert paired_interval(14, 0, 5, 22) == pytest.approx((0.011, 0.226), abs=6e-4)


def test_z_tests_of_statsmodels():
    z, p = proportion.proportions_ztest([240, 130], [500, 500])
    result = compare_proportions(130, 500, 240, 500)
    assert (result.statistic, result.p) == (pytest.approx(z), pytest.approx(p))
    assert (result.statistic**2, result.p) == (pytest.approx(51.909, abs=5e-4), pytest.approx(5.8e-13, rel=5e-3))
    assert two_proportions(130, 500, 240, 500).p == result.p
    wald = proportion.test_proportions_2indep(240, 500, 130, 500, method="wald")
    assert compare_proportions(130, 500, 240, 500, pooled=False).statistic == pytest.approx(wald.statistic)
    assert cohens_h(0.3, 0.55) == pytest.approx(proportion.proportion_effectsize(0.55, 0.3))


def test_ratios_of_statsmodels():
    table = Table2x2([[30, 70], [15, 85]])
    risk, odds = risk_ratio(15, 100, 30, 100), odds_ratio(15, 100, 30, 100)
    assert (risk.estimate, risk.interval) == (pytest.approx(table.riskratio), pytest.approx(table.riskratio_confint()))
    assert (odds.estimate, odds.interval) == (pytest.approx(table.oddsratio), pytest.approx(table.oddsratio_confint()))
    assert odds.p == pytest.approx(table.log_oddsratio_pvalue())
    assert risk.p == pytest.approx(table.log_riskratio_pvalue())


def test_mann_whitney_of_evidently_and_scipy():
    # The source asks one side; p = .481.
    rng = np.random.default_rng(5)
    one, two = rng.integers(0, 9, 40), rng.integers(1, 11, 50)
    expected = stats.mannwhitneyu(two, one)
    result = mann_whitney(one, two)
    assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    r = np.repeat([1, 2, 3, 4, 5, 6], [16, 18, 16, 14, 12, 12])
    c = np.repeat([1, 2, 3, 4, 5, 6], [16, 16, 16, 16, 16, 8])
    assert mann_whitney(r, c).p == pytest.approx(stats.mannwhitneyu(c, r).pvalue)
    assert mann_whitney(X, Y).p == pytest.approx(stats.mannwhitneyu(X, Y).pvalue)


def test_common_language_effect_of_statsmodels(groups):
    one, two, _ = groups
    expected = sm_ranks.rank_compare_2indep(two, one)
    result = mann_whitney(one, two)
    assert result.estimate == pytest.approx(expected.prob1)
    assert result.error == pytest.approx(math.sqrt(expected.var_prob))
    assert result.df == pytest.approx(expected.df)
    # statsmodels' interval is symmetric, ours on the logit scale.
    assert np.array(result.interval) == pytest.approx(np.array(expected.conf_int()), abs=0.015)


def test_paired_tests_of_scipy_and_r():
    result = wilcoxon_signed_rank(AFTER, BEFORE)
    # R: wilcox.test(x, y, paired = TRUE, conf.int = TRUE): V = 40, p = 0.03906; Hollander and Wolfe: .46, (.010, .786).
    assert result.p == pytest.approx(0.0390625)
    assert (result.estimate, result.statistic) == (pytest.approx(0.46), 5.0)
    assert result.interval == (pytest.approx(0.010), pytest.approx(0.786))
    assert paired_t(BEFORE, AFTER).p == pytest.approx(stats.ttest_rel(AFTER, BEFORE).pvalue)
    low, high = stats.ttest_rel(AFTER, BEFORE).confidence_interval()
    assert paired_t(BEFORE, AFTER).interval == (pytest.approx(low), pytest.approx(high))
    signs = sign_test(BEFORE, AFTER)
    exact = stats.binomtest(2, 9)
    assert signs.p == pytest.approx(exact.pvalue)
    interval = exact.proportion_ci(method="exact")
    assert signs.interval == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize(
    ("table", "statistic", "p"),
    [
        ([[16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]], None, 0.8985),  # Evidently
        ([[130, 370], [240, 260]], 51.909, 5.8e-13),  # whylogs
    ],
)
def test_chi_square_published(table, statistic, p):
    result = chi_square(table)
    if statistic is not None:
        assert result.statistic == pytest.approx(statistic, abs=5e-4)
    assert result.p == pytest.approx(p, rel=2e-3)
    expected = stats.chi2_contingency(table, correction=False)
    assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert result.estimate == pytest.approx(stats.contingency.association(np.array(table), correction=False))


def test_chi_square_of_frouros_and_cramers_v_of_deepchecks():
    # a a b a a b against b a c c c c.
    result = chi_square([[4, 2, 0], [1, 1, 4]])
    assert (result.statistic, result.p) == (pytest.approx(6.13333, abs=5e-6), pytest.approx(0.046576, abs=5e-7))
    cramer = chi_square([[200, 800], [400, 600]])
    assert stats.contingency.association(np.array([[200, 800], [400, 600]])) == pytest.approx(0.216, abs=3e-3)
    assert cramer.corrected_v == pytest.approx(0.216, abs=3e-3)


def test_noncentral_intervals_of_scipy():
    low, high = chi_square_noncentrality(20.0, 4, 0.95)
    assert stats.ncx2.cdf(20.0, 4, low) == pytest.approx(0.975, abs=1e-6)
    assert stats.ncx2.cdf(20.0, 4, high) == pytest.approx(0.025, abs=1e-6)
    low, high = f_noncentrality(6.0, 2, 50.0, 0.95)
    assert stats.ncf.cdf(6.0, 2, 50.0, low) == pytest.approx(0.975, abs=1e-6)
    assert stats.ncf.cdf(6.0, 2, 50.0, high) == pytest.approx(0.025, abs=1e-6)


def test_omnibus_tests_of_statsmodels_and_scipy(groups):
    expected = oneway.anova_oneway(list(groups), use_var="unequal")
    result = anova(*groups)
    assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    rounded = [np.round(group) for group in groups]
    ranks = stats.kruskal(*rounded)
    found = kruskal_wallis(*rounded)
    assert (found.statistic, found.p) == (pytest.approx(ranks.statistic), pytest.approx(ranks.pvalue))


def test_sample_ratio_mismatch_of_scipy_and_kohavi():
    # Kohavi, Tang and Xu 2020, chapter 21: 821,588 against 815,482 users, p = 1.8e-6.
    result = sample_ratio_mismatch([821_588, 815_482], [0.5, 0.5])
    assert result.p == pytest.approx(1.8e-6, rel=0.02)
    assert result.mismatch
    counts = np.array([480, 990, 530])
    expected = stats.chisquare(counts, 2000 * np.array([0.25, 0.5, 0.25]))
    assert sample_ratio_mismatch(counts, [1, 2, 1]).p == pytest.approx(expected.pvalue)


def test_tost_of_statsmodels(groups):
    one, two, _ = groups
    for margin in (0.3, 1.5):
        p, low, high = weightstats.ttost_ind(two, one, -margin, margin, usevar="unequal")
        result = equivalent_means(one, two, margin=margin)
        assert (result.p, result.p_low, result.p_high) == pytest.approx((p, low[1], high[1]))
        means = weightstats.CompareMeans(weightstats.DescrStatsW(two), weightstats.DescrStatsW(one))
        bounds = means.tconfint_diff(alpha=0.1, usevar="unequal")
        assert result.interval == (pytest.approx(bounds[0]), pytest.approx(bounds[1]))
        assert result.shown == (-margin < bounds[0] and bounds[1] < margin)
        one_sided = non_inferior_means(one, two, margin=margin)
        assert one_sided.p == pytest.approx(low[1])


def test_tost_of_proportions_is_its_score_interval():
    for counts in ((48, 80, 56, 70), (900, 1000, 910, 1000), (0, 50, 0, 50)):
        for margin in (0.03, 0.06, 0.4):
            result = equivalent_proportions(*counts, margin=margin)
            assert result.shown == (-margin <= result.interval[0] and result.interval[1] <= margin)


def test_multiplicity_of_statsmodels():
    rng = np.random.default_rng(1)
    methods = {
        "bonferroni": multiplicity.bonferroni,
        "holm": multiplicity.holm,
        "simes-hochberg": multiplicity.hochberg,
    }
    methods |= {"fdr_bh": multiplicity.benjamini_hochberg, "fdr_by": multiplicity.benjamini_yekutieli}
    for p in (rng.random(30) ** 3, np.array([0.01, 0.01, 0.5, 1.0]), np.array([0.2])):
        for name, method in methods.items():
            assert method(p) == pytest.approx(multitest.multipletests(p, method=name)[1])
