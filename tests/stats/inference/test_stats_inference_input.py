"""What can't be used is refused with words, or answered with "nothing can be said"; numpy never complains."""

import math
import warnings

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats import inference as i
from homeostat.stats import multiplicity

GOOD = [1.0, 2.0, 4.0, 3.0, 5.0]
TWO_SAMPLES = [i.welch, i.cohens_d, i.hedges_g, i.lift, i.mann_whitney, i.anova, i.kruskal_wallis]
PAIRED = [i.paired_t, i.wilcoxon_signed_rank, i.sign_test]
BAD = [
    ([], "values"),
    ([1.0], "at least 2"),
    ([1.0, math.nan, 2.0, 3.0, 4.0], "missing"),
    ([math.nan] * 5, "missing"),
    ([1.0, math.inf, 2.0, 3.0, 4.0], "infinite"),
    (["a", "b", "c", "d", "e"], "numbers"),
    ([1, "b", None, 2, 3], "numbers|mixes"),
    ([[1.0, 2.0], [3.0, 4.0]], "one-dimensional"),
    ([[1.0], [2.0, 3.0]], "different lengths"),
    ([1e200, 1.0, 2.0, 3.0, 4.0], "Rescale"),
    (np.array(["2020-01-01"] * 5, dtype="datetime64[D]"), "numbers"),
]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("bad", "words"), BAD)
@pytest.mark.parametrize("test", [*TWO_SAMPLES, *PAIRED])
def test_bad_samples_are_refused(test, bad, words):
    with pytest.raises(InvalidInput, match=words):
        test(bad, GOOD)
    with pytest.raises(InvalidInput, match=words):
        test(GOOD, bad)


@pytest.mark.parametrize("test", [*TWO_SAMPLES, *PAIRED])
@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [0.1] * 7, [-1e-300] * 3, [1e149] * 4])
def test_constant_samples_say_that_nothing_can_be_said(test, values):
    if test is i.anova:
        with pytest.raises(InvalidInput, match="doesn't vary"):
            test(values, values)
        return
    result = test(values, values)
    assert math.isnan(result.p) or result.p == 1.0
    assert not result.interval[0] > result.interval[1]
    assert result.sentence.endswith(".")


@pytest.mark.parametrize("test", [*TWO_SAMPLES, *PAIRED])
@pytest.mark.parametrize("scale", [1e-120, 1e-9, 1.0, 1e9, 1e120])
def test_units_do_not_matter(test, scale):
    rng = np.random.default_rng(0)
    one, two = rng.normal(5, 1, 30), rng.normal(6, 2, 30)
    assert test(one * scale, two * scale).p == pytest.approx(test(one, two).p, rel=1e-9)


@pytest.mark.parametrize("test", [*TWO_SAMPLES, *PAIRED])
def test_every_result_says_all_of_it(test):
    rng = np.random.default_rng(1)
    result = test(rng.normal(5, 1, 40), rng.normal(6, 2, 40))
    assert result.interval[0] <= result.estimate <= result.interval[1]
    assert 0 <= result.p <= 1
    assert math.isfinite(result.statistic)
    assert result.n in (40, 80)
    assert sum(result.sizes) == result.n
    assert "95 % interval" in result.sentence
    assert "p " in result.sentence
    assert "independent" in result.sentence
    with pytest.raises(InvalidInput, match="confidence"):
        test(GOOD, GOOD, confidence=1.0)
    with pytest.raises(AttributeError):
        result.p = 0.0


@pytest.mark.parametrize("test", PAIRED)
def test_pairs_need_equal_lengths(test):
    with pytest.raises(InvalidInput, match="equal lengths"):
        test(GOOD, GOOD[:-1])


@pytest.mark.parametrize(
    "counts", [(1, 0, 1, 2), (3, 2, 1, 2), (-1, 2, 1, 2), (1.5, 2, 1, 2), (1, math.nan, 1, 2), (1, 2, 1, math.inf)]
)
@pytest.mark.parametrize(
    "test",
    [
        i.compare_proportions,
        i.risk_ratio,
        i.odds_ratio,
        lambda *c: i.equivalent_proportions(*c, margin=0.1),
        lambda *c: i.non_inferior_proportions(*c, margin=0.1),
    ],
)
def test_impossible_counts_are_refused(test, counts):
    with pytest.raises(InvalidInput):
        test(*counts)


@pytest.mark.parametrize("counts", [(0, 5, 0, 5), (5, 5, 5, 5), (0, 5, 5, 5), (5, 5, 0, 5), (0, 1, 1, 1), (0, 9, 2, 3)])
def test_proportions_at_the_ends(counts):
    for result in (
        i.compare_proportions(*counts),
        i.compare_proportions(*counts, pooled=False),
        i.risk_ratio(*counts),
        i.odds_ratio(*counts),
        i.equivalent_proportions(*counts, margin=0.1),
    ):
        assert math.isnan(result.p) or 0 <= result.p <= 1
        assert result.interval[0] <= result.interval[1]
        assert math.isnan(result.estimate) or result.interval[0] <= result.estimate + 1e-12
        assert "nan" not in result.sentence or math.isnan(result.p)


@pytest.mark.parametrize("table", [[1, 2], [[1.5, 2], [3, 4]], [[-1, 2], [3, 4]], [[math.nan, 1], [1, 1]], [], [["a"]]])
def test_impossible_tables_are_refused(table):
    with pytest.raises(InvalidInput):
        i.chi_square(table)


def test_tables_without_a_comparison_say_so():
    for table in ([[0, 0], [0, 0]], [[3, 4], [0, 0]], [[3, 0], [4, 0]]):
        result = i.chi_square(table)
        assert (result.p, result.interval) == (1.0, (0.0, 1.0))
        assert "nothing can be compared" in result.sentence
    assert "rough" in i.chi_square([[1, 2, 1], [2, 1, 1]]).sentence


def test_splits():
    assert i.sample_ratio_mismatch([0, 0]).p == 1.0
    assert "The arm a got 10.00% of 100 units" in i.sample_ratio_mismatch([10, 90], names=["a", "b"]).sentence
    for counts, planned in (([5], None), ([5, 5], [1, 0]), ([5, 5], [1, 1, 1]), ([5, -5], None), ([5, 5.5], None)):
        with pytest.raises(InvalidInput):
            i.sample_ratio_mismatch(counts, planned)
    with pytest.raises(InvalidInput, match="names"):
        i.sample_ratio_mismatch([5, 5], names=["a"])


def test_sums_that_can_not_be():
    with pytest.raises(InvalidInput, match="too small"):
        i.Moments.from_sums(10, 100.0, 10.0)
    for n, total, squares in ((1, 1.0, 1.0), (2, math.nan, 1.0), (2, 1.0, math.inf), (2.5, 1.0, 1.0)):
        with pytest.raises(InvalidInput):
            i.Moments.from_sums(n, total, squares)
    assert i.Moments.from_sums(3, 0.3, 0.03).variance == 0.0


def test_directions_and_methods_have_names():
    for call in (
        lambda: i.welch(GOOD, GOOD, alternative="greater"),
        lambda: i.compare_proportions(1, 2, 1, 2, alternative="less"),
        lambda: i.lift(GOOD, GOOD, method="bootstrap"),
        lambda: i.lift([-1.0, 1.0], GOOD),
        lambda: i.series_mean(np.arange(50.0), method="garch"),
        lambda: i.series_mean(np.arange(50.0), period=24),
        lambda: i.series_mean(np.arange(5.0)),
        lambda: i.autocorrelation(GOOD, 9),
        lambda: i.anova(GOOD),
        lambda: i.cohens_h(0.5, 1.5),
        lambda: i.minimum_effect(0.0, 5),
        lambda: i.equivalent_means(GOOD, GOOD, margin=0.0),
        lambda: i.design_effect([], 0.1),
        lambda: i.design_effect([0.0, 1.0], 0.1),
        lambda: i.design_effect([1.0], 2.0),
        lambda: i.intraclass_correlation([1.0, 2.0], ["a", "a"]),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_clusters_refuse_what_they_can_not_use():
    for entities in ([1, 1, 1, 1, 1], [1, 2, 3], [1.0, math.nan, 2.0, 3.0, 4.0], [None, "a", "b", "c", "d"], [["a"]]):
        with pytest.raises(InvalidInput):
            i.clustered_difference(GOOD, entities, GOOD, [6, 7, 8, 9, 10])
    with pytest.raises(InvalidInput, match="correction"):
        i.clustered_difference(GOOD, range(5), GOOD, range(5), correction="hc3")
    with pytest.raises(InvalidInput, match="denominators"):
        i.clustered_difference(GOOD, range(5), GOOD, range(5), denominators_1=[0.0] * 5, denominators_2=GOOD)
    with pytest.raises(InvalidInput, match="different types"):
        i.clustered_difference(GOOD, [1, 2, 3, 4, 5], GOOD, np.array(list("abcde"), dtype=object))
    same = i.clustered_difference([1.0] * 4, [1, 1, 2, 2], [1.0] * 4, [3, 3, 4, 4])
    assert math.isnan(same.p)
    assert "can't be judged" in same.sentence


def test_constant_series_and_covariates():
    flat = i.series_mean(np.full(50, 3.0))
    assert math.isnan(flat.p)
    assert "don't vary" in flat.sentence
    assert np.isnan(i.autocorrelation(np.full(5, 2.0))).all()
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=50), rng.normal(size=60)
    plain = i.welch(one, two)
    useless = i.cuped(one, np.ones(50), two, np.ones(60))
    assert (useless.p, useless.theta, useless.variance_reduction) == (pytest.approx(plain.p), 0.0, 0.0)
    assert math.isnan(i.cuped(one, one, two, two).p)


def test_adjusted_p_values_refuse_what_is_none():
    for method in (
        multiplicity.bonferroni,
        multiplicity.holm,
        multiplicity.hochberg,
        multiplicity.benjamini_hochberg,
        multiplicity.benjamini_yekutieli,
    ):
        assert method(np.array([])).size == 0
        for bad in ([0.1, math.nan], [-0.1], [1.1], [[0.1]]):
            with pytest.raises(InvalidInput):
                method(np.array(bad))


def test_rounding_is_not_variation():
    tenth = np.array([0.1] * 9 + [0.1 + 1e-17, 0.3 - 0.2])
    rising = np.linspace(0.0, 1.0, 11)
    for result in (
        i.welch(tenth, tenth + 0.2),
        i.paired_t(rising, rising + 0.1),
        i.clustered_difference(tenth, range(11), tenth * 3, range(11, 22)),
        i.clustered_difference([0.1, 0.3, 0.1, 0.3], [1, 1, 2, 2], [0.1, 0.7, 0.1, 0.7], [3, 3, 4, 4]),
        i.clustered_difference(
            rising * 0.1, range(11), rising * 0.3, range(11, 22), denominators_1=rising, denominators_2=rising
        ),
    ):
        assert math.isnan(result.p), result
    nearly = i.welch(1e12 + np.arange(5.0), 1e12 + np.arange(5.0) + 10)
    assert nearly.p < 0.01


def test_what_is_no_number_is_refused_with_its_type():
    import homeostat.stats.inference as s

    values = np.arange(9.0)
    wrong = [
        (lambda: s.welch(values, values, confidence=None), "one number; got NoneType"),
        (lambda: s.welch([2**2000, 1], values), "no float can hold"),
        (lambda: s.entity_means(values[:2], [[1], [1, 2]]), "different lengths"),
        (lambda: s.mcnemar(0.5, 3), "whole number"),
        (lambda: s.mcnemar(math.nan, 3), "whole number"),
        (lambda: s.mcnemar(5, 3, confidence=1), "between 0 and 1"),
        (lambda: s.two_proportions(0, math.inf, 8, 22), "whole number"),
        (lambda: s.Moments(5, math.nan, 1.0), "mean must be a finite"),
        (lambda: s.Moments(5, 1.0, -1.0), "variance must be a finite"),
        (lambda: s.chi_square(np.ones((2, 2)) * 1j), "whole numbers"),
        (lambda: s.chi_square([["5", "6"], ["8", "9"]]), "whole numbers"),
        (lambda: s.sample_size(baseline=0.2, target=0.25, cluster_effect=1e308), "design effect"),
        (lambda: s.sample_size_means(0.3, ratio=1e308), "ratio"),
        (lambda: s.analyze_experiment(["a", "b"] * 9, "m", control="a"), "mapping"),
    ]
    for call, words in wrong:
        with pytest.raises(InvalidInput, match=words):
            call()
