"""What the sequential methods say: intervals that cover and shrink, edges, and the words for them."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from homeostat.stats.sequential import (
    AsymptoticDifference,
    AsymptoticMean,
    BoundedMean,
    PairedDifference,
    Quantile,
    QuantileDifference,
    SampleRatio,
    TwoBernoulli,
    asymptotic_mean,
    bounded_mean,
    paired_difference_interval,
    share_interval,
)

RUNS = 150


def most(level):
    return stats.binom.ppf(0.9999, RUNS, level)


def test_intervals_cover_at_all_times_at_once():
    rng = np.random.default_rng(0)
    given = rng.random((RUNS, 1500))
    wins, losses, n = np.cumsum(given < 0.08, 1), np.cumsum(given > 0.95, 1), np.arange(1, 1501)
    looks = np.r_[5:100:10, 100:1500:100]
    for low, high, truth in (
        (*share_interval(wins[:, looks], n[looks]), 0.08),
        (*paired_difference_interval(wins[:, looks], losses[:, looks], n[looks]), 0.03),
    ):
        assert ((low > truth) | (high < truth)).any(axis=1).sum() <= most(0.05)
        assert (high - low)[:, -1].max() < 0.15
    path = bounded_mean(given[:40, :400] ** 3, grid=50)
    assert ((path.lower > 0.25) | (path.upper < 0.25)).any(axis=1).sum() <= stats.binom.ppf(0.9999, 40, 0.05)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_quantile_intervals_cover_with_ties(quantile):
    # Rounded values: many ties, and a quantile that is one of them.
    rng = np.random.default_rng(1)
    truth = 1 + int(20 * quantile)
    missed = 0
    for _ in range(60):
        state, out = Quantile(quantile, accuracy=0, alpha=0.2), False
        for _ in range(8):
            low, high = state.update(1.0 + rng.integers(0, 20, 50)).result().interval
            out |= not low <= truth <= high and not low <= truth - 1 <= high
        missed += out
    assert missed <= stats.binom.ppf(0.9999, 60, 0.2)


def test_interval_and_evidence_agree():
    rng = np.random.default_rng(2)
    for shift in np.linspace(-0.3, 0.3, 13):
        values = rng.normal(shift, 1, 800)
        result = AsymptoticMean().update(values).result()
        assert result.decided == (not result.interval[0] < 0 < result.interval[1])
        bounded = BoundedMean(-6, 6, null=0.0, grid=1200).update(np.clip(values, -6, 6)).result()
        assert bounded.decided == (not bounded.interval[0] < 0 < bounded.interval[1])
        two = QuantileDifference(0.5, accuracy=0).update(values, rng.normal(0, 1, 800)).result()
        assert two.decided == (not two.interval[0] <= 0 <= two.interval[1])
        assert result.p == pytest.approx(min(1, math.exp(-result.log_e)))


def test_nothing_is_said_of_constant_few_or_uneven_values():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (np.full(500, 0.1), np.zeros(500), np.arange(50.0), np.r_[np.zeros(5000), 1, 1, 1]):
            result = AsymptoticMean(0.5).update(values).result()
            path = asymptotic_mean(values, 0.5)
            assert result.interval == (-math.inf, math.inf)
            assert result.log_e == 0
            assert not result.decided
            assert np.isinf(path.lower).all()
            assert (path.log_e == 0).all()
            assert "too few or too uneven" in result.sentence
        assert asymptotic_mean(np.zeros(0)).log_e.shape == (0,)
        assert bounded_mean(np.zeros(0)).log_e.shape == (0,)
        one = AsymptoticDifference().update(np.zeros(200), np.ones(200)).result()
        assert one.log_e == 0
        assert AsymptoticDifference().update([1.0], []).result().sizes == (1, 0)
        assert QuantileDifference(0.5).update([1.0], []).result().interval == (-math.inf, math.inf)
        assert QuantileDifference(0.5).update([1.0], [2.0]).result().interval == (-math.inf, math.inf)
        assert Quantile(0.99).update([3.0]).result().interval == (-math.inf, math.inf)


def test_far_from_zero_the_moments_hold():
    values = 1e9 + np.random.default_rng(3).normal(0, 1, 1000)
    state = AsymptoticMean(1e9)
    for part in np.array_split(values, 13):
        state.update(part)
    path = asymptotic_mean(values, 1e9)
    assert state.result().interval == pytest.approx((path.lower[-1], path.upper[-1]), rel=1e-15, abs=1e-6)
    assert path.upper[-1] - path.lower[-1] == pytest.approx(0.2, abs=0.05)


def test_one_direction_is_sharper_and_bounds_one_end():
    values = np.random.default_rng(4).normal(0.12, 1, 1000)
    both, above = (AsymptoticMean(alternative=a).update(values).result() for a in ("two-sided", "greater"))
    assert above.log_e > both.log_e
    assert above.interval[0] > both.interval[0]
    assert above.interval[1] == math.inf
    assert AsymptoticMean(alternative="less").update(values).result().log_e < 0


def test_outcomes_at_the_edge_stay_within_bounds():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BoundedMean().update(np.ones(200)).result().interval[1] == 1
        assert BoundedMean().update(np.zeros(200)).result().interval[0] == 0
        all_lost = PairedDifference().update(np.ones(50), np.zeros(50)).result()
        assert all_lost.interval[0] == -1
        assert all_lost.interval[1] < -0.5
        certain = TwoBernoulli().update(np.zeros(3000), np.ones(3000)).result()
        assert certain.log_e > 1000
        assert certain.p == 0
        assert "1e" in certain.sentence
        alone = SampleRatio([1, 1]).update([40, 0]).result()
        assert alone.interval[0][1] == 1
        assert alone.interval[1][0] == 0


def test_sentences_name_the_effect_the_evidence_and_the_threshold():
    rng = np.random.default_rng(5)
    apart = TwoBernoulli(alpha=0.01).update(rng.random(900) < 0.1, rng.random(900) < 0.2).result()
    assert "a difference of +0." in apart.sentence
    assert "99 % confidence sequence" in apart.sentence
    assert "the difference differs from 0 (evidence" in apart.sentence
    assert "100 to 1 decides" in apart.sentence
    alike = PairedDifference().update(np.ones(20), np.ones(20)).result()
    assert "it can't be said yet that" in alike.sentence
    mismatch = SampleRatio([1, 1]).update([5300, 4700]).result()
    assert "Arm 1 got 53.00% of 10,000 units where 50.00% was meant" in mismatch.sentence
    assert "do not reach the arms as meant" in mismatch.sentence


def test_bins_hold_signs_zeros_and_extremes():
    values = np.array([-1e12, -3.0, -1e-9, 0.0, 0.0, 1e-9, 3.0, 1e12])
    for accuracy in (0.001, 0.1):
        state = Quantile(0.5, accuracy=accuracy)
        low, high = state.update(values)._bag.edges()
        assert (np.diff(low) > 0).all()
        ordered = np.unique(values)
        assert (low <= ordered).all()
        assert (ordered <= high).all()
        assert (high - low <= (accuracy * 1.01) * np.abs(ordered) * (1 + accuracy) + 1e-300).all()
    stream = Quantile(0.99).update(np.random.default_rng(6).lognormal(3, 1, 100_000))
    assert len(stream._bag._keys) < 12_000
