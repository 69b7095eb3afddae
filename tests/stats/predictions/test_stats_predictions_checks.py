"""Each anomaly by itself: the thresholds to the letter, effect and chance together, and the stated error rates."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_effectsize, proportions_ztest

from homeostat.errors import InvalidInput
from homeostat.stats.predictions import (
    PredictionThresholds,
    certainty,
    class_balance,
    confidence_collapse,
    confidence_decay,
    constant_output,
    entropy_rise,
    out_of_range,
    outlying_outputs,
    positive_rate,
    share_spike,
    volume_spike,
)


def coded(positives, rows):
    return np.repeat([0, 1], [rows - positives, positives])


@pytest.mark.parametrize(
    ("before", "after", "classic", "calibrated"),
    [
        (50, 200, "harmed", "harmed"),  # 5 % to 20 %
        (50, 199, "healthy", "harmed"),  # 19.9 %, neither four times nor 15 points
        (50, 60, "healthy", "healthy"),
        (300, 450, "harmed", "harmed"),  # 15 points
        (5, 20, "harmed", "healthy"),  # four times, but small by Cohen's h
        (200, 50, "harmed", "harmed"),
    ],
)
def test_class_balance_to_the_letter_and_by_effect(before, after, classic, calibrated):
    verdicts = {"classic": classic, "calibrated": calibrated}
    for preset, verdict in verdicts.items():
        found = class_balance(coded(before, 1000), coded(after, 1000), positive=1, preset=preset)
        assert found.verdict == verdict
        assert (found.severity == "none") == (verdict == "healthy")
    z, p = proportions_ztest([after, before], [1000, 1000])
    assert (found.statistic, found.p) == pytest.approx((z, p))
    assert found.effect * 0.2 == pytest.approx(abs(proportion_effectsize(after / 1000, before / 1000)))


def test_a_large_change_in_few_rows_may_be_chance_and_a_tiny_one_in_many_does_not_matter():
    # 3 of 100 against none of 100: p of the conditional test, not of the z-test.
    few = class_balance(coded(0, 100), coded(3, 100), positive=1)
    assert few.verdict == "healthy"
    assert few.p > 0.1
    assert few.effect > 1
    many = class_balance(coded(50_000, 1_000_000), coded(51_000, 1_000_000), positive=1)
    assert many.p < 0.01
    assert many.verdict == "healthy"


def test_every_class_of_several_is_compared_and_allowed_for():
    rng = np.random.default_rng(0)
    before = rng.choice(["a", "b", "c", "d"], 2000)
    after = np.where(rng.random(1000) < 0.3, "c", rng.choice(["a", "b", "c", "d"], 1000))
    found = class_balance(before, after)
    assert found.verdict == "harmed"
    assert found.sentence.startswith("Class c")
    alone = class_balance(before, after, positive="c")
    assert found.p == pytest.approx(min(1, 4 * alone.p))
    assert class_balance(before, np.where(after == "c", "new", after)).verdict == "harmed"
    runs = 300
    alarms = sum(class_balance(rng.integers(0, 6, 400), rng.integers(0, 6, 400)).p < 0.05 for _ in range(runs))
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.05)


def test_range_is_a_promise():
    assert out_of_range(np.array([0.0, 1.0]), 0, 1).verdict == "healthy"
    for stray in (1.0001, -1e-9, np.nan, np.inf, -np.inf):
        found = out_of_range(np.append(np.zeros(9999), stray), 0, 1)
        assert (found.verdict, found.severity, found.p) == ("harmed", "medium", 0.0)
    assert out_of_range(np.array([2.0]), 0, 1).severity == "critical"
    assert out_of_range(np.zeros(0), 0, 1).verdict == "no_data"


def test_outliers_classic_cries_wolf_and_calibrated_compares():
    rng = np.random.default_rng(1)
    runs = 100
    verdicts = {"classic": 0, "calibrated": 0}
    for _ in range(runs):
        before, after = rng.standard_t(3, 2000), rng.standard_t(3, 1000)
        for preset in verdicts:
            verdicts[preset] += outlying_outputs(before, after, preset=preset).verdict == "harmed"
    assert verdicts["classic"] > 0.95 * runs
    assert verdicts["calibrated"] <= stats.binom.ppf(0.9999, runs, 0.01)
    shifted = outlying_outputs(rng.normal(size=2000), np.append(rng.normal(size=960), np.full(40, 8.0)))
    assert shifted.verdict == "harmed"
    assert outlying_outputs(np.ones(200), np.ones(200)).verdict == "healthy"
    assert outlying_outputs(np.ones(200), np.full(200, 2.0)).verdict == "harmed"
    assert outlying_outputs(rng.normal(size=200) * 1e200, np.full(200, 1e308)).verdict == "harmed"


def test_a_constant_class_is_a_surprise_only_where_others_were_usual():
    half, rare = coded(500, 1000), coded(5, 1000)
    one = np.zeros(200, dtype=int)
    assert constant_output(half, one).severity == "critical"
    assert constant_output(rare, one).verdict == "healthy"
    assert constant_output(rare, one, preset="classic").verdict == "harmed"
    assert constant_output(np.zeros(500), one, preset="classic").verdict == "healthy"
    assert constant_output(np.arange(500.0), np.full(200, 7.5)).verdict == "harmed"
    # The bound holds: windows of 120 from a reference share of 99 %.
    rng = np.random.default_rng(2)
    runs = 3000
    alarms = 0
    for _ in range(30):
        before = (rng.random(400) < 0.01).astype(int)
        p = constant_output(before, np.zeros(120, dtype=int)).p
        alarms += (p < 0.3) * (rng.binomial(120, 0.01, 100) == 0).sum()
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.3)


def test_certainty_of_two_and_of_more_classes():
    assert certainty(np.array([[0.25] * 4, [1, 0, 0, 0]])).tolist() == [0, 1]
    p = np.random.default_rng(3).random(50)
    assert certainty(p) == pytest.approx(certainty(np.column_stack([1 - p, p])))


def test_scores_that_collapse_on_a_half():
    rng = np.random.default_rng(4)
    before = rng.beta(0.5, 2, 1000)
    for preset in ("classic", "calibrated"):
        assert confidence_collapse(before, rng.normal(0.5, 0.02, 300), preset=preset).verdict == "harmed"
        assert confidence_collapse(before, rng.beta(0.5, 2, 300), preset=preset).verdict == "healthy"
    half = np.repeat([0.5, 0.9], 100)
    assert confidence_collapse(before, half, preset="classic").verdict == "healthy"
    assert confidence_collapse(before, np.append(half, 0.41), preset="classic").verdict == "harmed"
    # A model that was never sure has not collapsed.
    unsure = rng.beta(30, 30, 1000)
    assert confidence_collapse(unsure, rng.beta(30, 30, 300)).verdict == "healthy"


def test_entropy_is_welchs_test_of_scipy():
    rng = np.random.default_rng(5)
    before, after = rng.beta(1, 5, 400), rng.beta(2, 5, 300)
    found = entropy_rise(before, after)
    entropies = [stats.entropy([1 - p, p], base=2) for p in (before, after)]
    expected = stats.ttest_ind(entropies[1], entropies[0], equal_var=False)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    low, high = expected.confidence_interval()
    assert found.interval == pytest.approx((low, high))
    assert found.verdict == "harmed"
    assert entropy_rise(after, before).verdict == "healthy"
    assert entropy_rise(np.full(200, 0.1), np.full(200, 0.4)).p == 0
    assert entropy_rise(np.full(200, 0.1), np.full(200, 0.1)).p == 1


def test_certainty_that_decays():
    rng = np.random.default_rng(6)
    when = rng.permutation(1500).astype(float)
    fading = 0.5 + 0.5 * rng.beta(9, 1, 1500) * (1 - when / 3000)
    found = confidence_decay(fading, when * 3600 + 1e9)
    assert found.verdict == "harmed"
    assert found.interval[0] < -0.45 < found.interval[1]
    assert confidence_decay(1.5 - fading, when).p < 0.01
    rising = 0.5 + 0.5 * rng.beta(9, 1, 1500) * (when / 3000 + 0.5)
    assert confidence_decay(rising, when).verdict == "healthy"
    assert confidence_decay(np.full(500, 0.8), np.arange(500)).p == 1
    assert confidence_decay(np.full(500, 0.8), np.zeros(500)).verdict == "insufficient"
    runs = 200
    alarms = sum(confidence_decay(rng.beta(2, 8, 400), np.arange(400)).p < 0.05 for _ in range(runs))
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.05)


def test_rates_that_jump_tenfold():
    assert positive_rate(100, 10, 100, 1, preset="classic").severity == "critical"
    assert positive_rate(100, 10, 99, 1, preset="classic").verdict == "healthy"
    assert positive_rate(1000, 10, 10, 1, preset="classic").verdict == "harmed"
    # scipy's exact binomial test of the current count given the sum.
    found = positive_rate(30, 3, 25, 1)
    assert found.p == pytest.approx(2 * stats.binom.sf(24, 55, 0.25))
    low, high = stats.binomtest(25, 55).proportion_ci(method="exact")
    assert found.interval == pytest.approx((low / (1 - low) * 3, high / (1 - high) * 3))
    assert positive_rate(30, 3, 25, 1, dispersion=10).p > found.p
    assert positive_rate(0, 3, 25, 1).verdict == "harmed"
    assert math.isinf(positive_rate(0, 3, 25, 1).estimate)
    assert positive_rate(500, 1, 0, 1).verdict == "harmed"
    assert positive_rate(0, 1, 0, 1).verdict == "insufficient"


@pytest.mark.parametrize(("history", "bursts"), [(12, 0.0), (72, 0.0), (72, 0.3), (72, 1.0)])
def test_quiet_volumes_alarm_at_most_at_the_stated_rate(history, bursts):
    rng = np.random.default_rng(7)
    runs, alarms = 600, 0
    for _ in range(runs):
        mean = 100 * np.exp(rng.normal(0, bursts, history + 24))
        counts = rng.poisson(mean)
        alarms += volume_spike(counts[:history], counts[history:]).p < 0.05
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.05)


def test_a_spike_of_volume_is_found():
    rng = np.random.default_rng(8)
    calm = rng.poisson(50, 48)
    assert volume_spike(calm, np.append(rng.poisson(50, 10), 400)).verdict == "harmed"
    assert volume_spike(calm, np.append(rng.poisson(50, 10), 400), preset="classic").verdict == "healthy"
    assert volume_spike(calm, np.append(rng.poisson(50, 10), 600), preset="classic").verdict == "harmed"
    assert volume_spike(calm[:5], calm).verdict == "insufficient"
    assert volume_spike(calm, np.zeros(0)).verdict == "no_data"
    assert volume_spike(np.zeros(20), np.zeros(5)).verdict == "healthy"


def test_a_burst_of_positives_is_found_and_the_scan_allows_for_looking_everywhere():
    rng = np.random.default_rng(9)
    runs, alarms = 100, 0
    for seed in range(runs):
        alarms += share_spike(rng.binomial(40, 0.1, 24), np.full(24, 40), rng=seed, draws=99).p <= 0.05
    assert alarms <= stats.binom.ppf(0.9999, runs, 0.05)
    done = rng.binomial(40, 0.1, 24)
    done[10:13] = 20
    found = share_spike(done, np.full(24, 40))
    assert (found.verdict, found.p) == ("harmed", 1 / 2000)
    assert "From period 11 to 13" in found.sentence
    assert share_spike(done, np.full(24, 40), preset="classic").verdict == "harmed"
    assert found.interval[0] > 0
    # None and all positive have no stretch above the rest.
    assert share_spike(np.zeros(10), np.full(10, 40)).p == 1
    assert share_spike(np.full(10, 40), np.full(10, 40)).p == 1
    assert share_spike(np.zeros(10), np.zeros(10)).verdict == "no_data"
    assert share_spike(np.array([5, 6]), np.array([100, 100])).verdict == "insufficient"


def test_few_rows_are_insufficient_and_none_are_no_data():
    rng = np.random.default_rng(10)
    long = rng.random(500)
    for check in (confidence_collapse, entropy_rise, outlying_outputs, constant_output):
        assert check(long, long[:99]).verdict == "insufficient"
        assert check(long[:99], long).verdict == "insufficient"
        none = check(long, long[:0])
        assert (none.verdict, none.severity) == ("no_data", "none")
        assert math.isnan(none.estimate)
    assert class_balance(coded(5, 50), coded(5, 500)).verdict == "insufficient"
    assert confidence_decay(long[:50], np.arange(50)).verdict == "insufficient"
    assert confidence_decay(long[:0], np.zeros(0)).verdict == "no_data"


def test_input_that_means_nothing_is_refused():
    scores = np.linspace(0, 1, 200)
    wrong = [
        (lambda: certainty(scores * 2), "between 0 and 1"),
        (lambda: certainty(np.array([0.5, np.nan])), "none may be missing"),
        (lambda: certainty(np.full((5, 3), 0.5)), "sum to 1"),
        (lambda: certainty(np.array(["a"])), "must be numbers"),
        (lambda: class_balance(scores[:, None], scores), "1-d"),
        (lambda: class_balance(np.full(200, np.nan), scores), "missing values"),
        (lambda: class_balance(scores, scores, preset="bold"), "preset"),
        (lambda: out_of_range(scores, 2, 1), "empty"),
        (lambda: out_of_range(np.array(["x"]), 0, 1), "numbers"),
        (lambda: confidence_decay(scores, scores[:5]), "needs a time"),
        (lambda: confidence_decay(scores, np.full(200, np.nan)), "finite"),
        (lambda: positive_rate(-1, 1, 1, 1), "negative"),
        (lambda: positive_rate(1, 1, np.nan, 1), "missing"),
        (lambda: positive_rate(1, 0, 1, 1), "lasted"),
        (lambda: positive_rate(1, 1, 1, 1, dispersion=0.5), "dispersion"),
        (lambda: volume_spike(scores, scores), "whole counts"),
        (lambda: share_spike(np.array([5]), np.array([4])), "more positives"),
        (lambda: share_spike(np.ones(9), np.full(9, 50), draws=5), "99 draws"),
        (lambda: PredictionThresholds(significance=0), "significance"),
        (lambda: PredictionThresholds(rate_factor=1), "above 1"),
        (lambda: PredictionThresholds(effect=0), "above 0"),
    ]
    for call, words in wrong:
        with pytest.raises(InvalidInput, match=words):
            call()
