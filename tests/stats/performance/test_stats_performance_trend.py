"""Windows of a metric, its slope under autocorrelation, and when it passes its target."""

import math

import numpy as np
import pytest
from benchmarks.statistics.label_free import false_trends
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.performance import binary_performance, fit_trend, rolling_metric


def test_windows_partition_the_rows_of_their_span():
    rng = np.random.default_rng(0)
    times = rng.permutation(np.arange(1_000) / 100)
    truth = rng.random(1_000) < 0.5
    seen = []

    def accuracy(at):
        seen.append(at)
        return binary_performance(truth[at], predicted=truth[at])["accuracy"]

    windows = rolling_metric(times, accuracy, width=3)
    assert [window.n for window in windows] == [300, 300, 300]
    assert all(window.metric.estimate == 1.0 for window in windows)
    every = np.concatenate(seen)
    assert len(np.unique(every)) == 900
    assert times[every].min() == pytest.approx(1.0)
    overlapping = rolling_metric(times, accuracy, width=3, step=1)
    assert len(overlapping) == 7
    assert rolling_metric(times, accuracy, width=30) == []
    assert rolling_metric(times, accuracy, width=3, fewest=301) == []


def test_windows_of_dates():
    times = np.array(["2026-01-01", "2026-01-02", "2026-01-04"], dtype="datetime64[D]")
    windows = rolling_metric(
        times, lambda at: binary_performance([1] * len(at), predicted=[1] * len(at))["recall"], width=2
    )
    assert [window.n for window in windows] == [1]


def test_autocorrelation_fools_ordinary_regression_but_not_ours():
    runs = 300
    assert false_trends("independent", 0.6, runs=runs) * runs >= binom.ppf(0.0001, runs, 0.25)
    assert false_trends("ar1", 0.6, runs=runs) * runs <= binom.ppf(0.9999, runs, 0.09)
    assert false_trends("ar1", 0.0, runs=runs) * runs <= binom.ppf(0.9999, runs, 0.05)
    assert false_trends("ar1", 0.3, runs=runs) * runs <= binom.ppf(0.9999, runs, 0.07)


def test_days_until_the_target_by_hand():
    days = np.arange(10.0)
    # A perfect line that stands at .91 now and loses .01 a day reaches .85 in six days.
    found = fit_trend(days, 1.0 - 0.01 * days, target=0.85)
    assert found.days == pytest.approx(6.0)
    assert found.days_interval == pytest.approx((6.0, 6.0), abs=1e-6)
    assert "in 6 days" in found.sentence
    assert fit_trend(days, 0.5 - 0.01 * days, target=0.85).days == 0.0
    rising = fit_trend(days, 0.9 + 0.001 * days, target=0.85)
    assert math.isinf(rising.days)
    assert "not pass its target at this rate" in rising.sentence
    upward = fit_trend(days, 0.01 * days, target=0.2, worse="higher")
    assert upward.days == pytest.approx(11.0)
    assert math.isnan(fit_trend(days, 0.01 * days).days)


def test_interval_of_the_days_holds_the_true_day():
    rng = np.random.default_rng(1)
    days, runs, held = np.arange(40.0), 300, 0
    for _ in range(runs):
        values = 0.95 - 0.001 * days + rng.normal(0, 0.005, 40)
        low, high = fit_trend(days, values, target=0.88, method="independent").days_interval
        held += low <= 31.0 <= high
    assert abs(held - runs * 0.95) <= runs * 0.95 - binom.ppf(0.0001, runs, 0.95)


def test_a_slope_that_may_be_nothing_is_open_to_the_future():
    rng = np.random.default_rng(2)
    found = fit_trend(np.arange(20.0), 0.95 + rng.normal(0, 0.01, 20), target=0.9)
    assert found.days_interval[1] == math.inf
    assert found.p > 0.01


def test_constant_values_have_no_trend():
    found = fit_trend(np.arange(12.0), np.full(12, 0.9), target=0.8)
    assert (found.p, found.statistic) == (1.0, 0.0)
    assert found.estimate == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_trend(range(7), range(7)), "at least 8"),
        (lambda: fit_trend(range(9), range(8)), "at least 8"),
        (lambda: fit_trend([0] * 8, range(8)), "must increase"),
        (lambda: fit_trend(range(8), [math.nan] * 8), "missing"),
        (lambda: fit_trend(range(8), range(8), target=math.inf), "must be a number"),
        (lambda: fit_trend(range(8), range(8), method="magic"), "newey_west"),
        (lambda: fit_trend(range(8), range(8), method="newey_west", lags=-1), "negative"),
        (lambda: rolling_metric([1.0], lambda at: at, width=0), "above 0 days"),
        (lambda: rolling_metric(np.array(["NaT"], dtype="datetime64[D]"), lambda at: at, width=1), "missing times"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
