"""Gaps over time: an e-variable in every batch, hence an error rate that looking again does not raise."""

import math

import numpy as np
import pytest
from benchmarks.statistics import fairness_monitoring
from scipy import integrate, optimize, stats

from homeostat.errors import InvalidInput
from homeostat.stats.fairness import batch_counts, gap_log_evidence, monitor_gap, rate_sequence
from homeostat.stats.fairness import monitor as inner


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.1, 0.5, 0.9])
def test_every_batch_is_an_e_variable(tolerance):
    # The expected gain of one batch, exactly: all outcomes, many pairs of rates inside the hypothesis.
    rng = np.random.default_rng(0)
    deltas = np.array([tolerance + excess * min(1.0, 1.9 * (1 - tolerance)) for excess in inner.EXCESSES])
    largest = 0.0
    for _ in range(12):
        n_a, n_b = rng.integers(1, 9, 2)
        past = np.array([[rng.integers(0, n + 1), n] for n in rng.integers(1, 500, 2)], dtype=float).ravel()
        k_a, k_b = np.meshgrid(np.arange(n_a + 1), np.arange(n_b + 1), indexing="ij")
        block = np.stack([k_a, np.full_like(k_a, n_a), k_b, np.full_like(k_b, n_b)]).astype(float)
        gain = np.exp(inner._gain(block, np.broadcast_to(past[:, None, None], block.shape), deltas, tolerance))
        for rate_a in np.linspace(0, 1, 11):
            for rate_b in {min(1.0, rate_a + tolerance), rate_a, rate_a / 2, 0.0}:
                chance = stats.binom.pmf(k_a, n_a, rate_a) * stats.binom.pmf(k_b, n_b, rate_b)
                largest = max(largest, float((chance[..., None] * gain).sum(axis=(0, 1)).max()))
    assert 0.99 < largest <= 1 + 1e-9


def test_the_projection_is_the_nearest_pair():
    rng = np.random.default_rng(1)
    for _ in range(20):
        p_a, p_b, delta = rng.uniform(0.02, 0.98, 3) * [1, 1, 0.6]
        n_a, n_b = rng.integers(1, 500, 2)

        def distance(x, p_a=p_a, p_b=p_b, n_a=n_a, n_b=n_b, delta=delta):
            return n_a * stats.entropy([p_a, 1 - p_a], [x, 1 - x]) + n_b * stats.entropy(
                [p_b, 1 - p_b], [x + delta, 1 - x - delta]
            )

        best = optimize.minimize_scalar(distance, bounds=(1e-9, 1 - delta - 1e-9), options={"xatol": 1e-10})
        found = inner._nearest(*(np.array(value, dtype=float) for value in (p_a, p_b, n_a, n_b, delta)))
        assert float(found) == pytest.approx(best.x, abs=1e-5)


@pytest.mark.parametrize("gaps", [(0.0,), (0.1,), (0.03, 0.1)])
def test_looking_at_every_batch_keeps_the_level(gaps):
    runs = 150
    found = fairness_monitoring.first_alarms(np.random.default_rng(3), runs, 150, gaps)
    assert np.isfinite(found["evidence"]).sum() <= stats.binom.ppf(0.9999, runs, 0.05)
    if gaps == (0.1,):
        # The test meant for one look does not.
        assert np.isfinite(found["z-test"]).mean() > 0.2


def test_rates_that_change_together_raise_no_alarm():
    # Both groups swing through the day; the gap always fills the tolerance.
    rng = np.random.default_rng(4)
    base = 0.45 + 0.35 * np.sin(np.arange(200) / 7)
    rows = np.full((150, 200, 2), 40)
    path = gap_log_evidence(rng.binomial(rows, np.stack([base, base + 0.1], axis=-1)), rows, tolerance=0.1)
    assert (path >= math.log(20)).any(axis=-1).sum() <= stats.binom.ppf(0.9999, 150, 0.05)


def test_gaps_are_found_soon_and_late_ones_as_well():
    rng = np.random.default_rng(5)
    soon = fairness_monitoring.first_alarms(rng, 50, 100, (0.25,))["evidence"]
    late = fairness_monitoring.first_alarms(rng, 50, 300, (0.25,), late=200)["evidence"]
    assert np.median(soon) < 15
    assert np.isfinite(soon).all()
    assert np.isfinite(late).all()
    assert (late > 200).mean() > 0.9
    assert np.median(late) < 230


def test_either_direction_and_any_pair_is_found():
    rows = np.full((40, 3), 100)
    for rates in ([0.2, 0.2, 0.5], [0.5, 0.2, 0.2], [0.2, 0.5, 0.35]):
        done = np.random.default_rng(6).binomial(rows, rates)
        result = monitor_gap(done, rows, names=["a", "b", "c"])
        assert result.verdict == "harmed"
        assert (result.highest, result.lowest) == ("abc"[int(np.argmax(rates))], "abc"[int(done.sum(axis=0).argmin())])
        assert result.p <= 0.05
        assert result.path[result.alarm] >= math.log(20)


def test_a_batch_with_one_group_only_waits_for_the_other():
    done, rows = np.array([[30, 0], [0, 5], [20, 10]]), np.array([[100, 0], [0, 50], [60, 60]])
    waited = gap_log_evidence(done, rows)
    assert waited[0] == 0
    together = gap_log_evidence(np.array([[30, 5], [20, 10]]), np.array([[100, 50], [60, 60]]))
    assert waited[1] != 0
    # Later starts weigh less, else it is the same evidence.
    assert math.copysign(1, waited[1]) == math.copysign(1, together[0])


def test_the_evidence_starts_at_none_and_axes_before_are_histories():
    done, rows = np.random.default_rng(7).binomial(50, 0.3, (4, 20, 2)), np.full((4, 20, 2), 50)
    path = gap_log_evidence(done, rows)
    assert path.shape == (4, 20)
    assert path[2] == pytest.approx(gap_log_evidence(done[2], rows[2]))
    assert gap_log_evidence(np.zeros((3, 2)), np.zeros((3, 2))) == pytest.approx(0)


def test_a_long_quiet_history_is_healthy_and_a_short_one_is_not_known():
    rng = np.random.default_rng(8)
    rows = np.full((200, 2), 100)
    quiet = monitor_gap(rng.binomial(rows, 0.3), rows)
    assert (quiet.verdict, quiet.alarm) == ("healthy", None)
    assert quiet.interval[1] <= 0.1
    assert monitor_gap(rng.binomial(rows[:3], 0.3), rows[:3]).verdict == "inconclusive"
    assert monitor_gap(np.zeros((3, 2)), np.zeros((3, 2))).verdict == "no_data"
    assert monitor_gap(np.zeros((0, 2)), np.zeros((0, 2))).verdict == "no_data"
    few = monitor_gap(np.array([[1, 50]]), np.array([[5, 200]]))
    assert few.verdict == "insufficient"
    assert math.isnan(few.estimate)
    # A group too small to compare leaves open whether all are treated alike.
    third = np.column_stack([rows, np.repeat([1, 0], [5, 195])])
    assert monitor_gap(rng.binomial(third, 0.3), third).verdict == "inconclusive"


def test_the_confidence_sequence_inverts_the_mixture_and_covers_at_all_times():
    low, high = rate_sequence(np.array([30]), np.array([100]), alpha=0.05)
    marginal, _ = integrate.quad(lambda p: p**30 * (1 - p) ** 70, 0, 1, epsabs=0)
    for limit in (float(low[0]), float(high[0])):
        assert limit**30 * (1 - limit) ** 70 / marginal == pytest.approx(0.05, rel=1e-6)
    runs, rate = 200, 0.05
    hits = np.cumsum(np.random.default_rng(9).random((runs, 400)) < rate, axis=1)
    low, high = rate_sequence(hits, np.broadcast_to(np.arange(1, 401), hits.shape))
    missed = ((low > rate) | (high < rate)).any(axis=1).sum()
    assert missed <= stats.binom.ppf(0.9999, runs, 0.05)
    assert rate_sequence(np.array([0.0]), np.array([0.0])) == (0.0, 1.0)
    assert rate_sequence(np.array([50]), np.array([50]))[1] == 1


def test_rows_become_batches():
    rng = np.random.default_rng(10)
    groups = rng.choice(["a", "b"], 6000)
    predicted = (rng.random(6000) < np.where(groups == "a", 0.2, 0.5)).astype(int)
    done, rows, names = batch_counts(predicted, groups, np.arange(6000) // 500)
    assert done.shape == (12, 2)
    assert rows.sum() == 6000
    result = monitor_gap(done, rows, names=names)
    assert (result.verdict, result.highest) == ("harmed", "b")
    assert "valid at every look" in result.sentence


def test_input_that_means_nothing_is_refused():
    good = np.full((3, 2), 5)
    for done, rows, words in (
        (good + 1, good, "between 0 and the totals"),
        (-good, good, "between 0 and the totals"),
        (good * 0.5, good, "whole"),
        (good[:2], good, "one shape"),
        (good[:, :1], good[:, :1], "two groups"),
        (good[0], good[0], "last two axes"),
        (np.full((3, 2), np.nan), good, "finite"),
        (np.full((3, 2), "a"), good, "numbers"),
    ):
        with pytest.raises(InvalidInput, match=words):
            gap_log_evidence(done, rows)
    with pytest.raises(InvalidInput, match="tolerance"):
        gap_log_evidence(good, good, tolerance=1)
    with pytest.raises(InvalidInput, match="alpha"):
        monitor_gap(good, good, alpha=0)
    with pytest.raises(InvalidInput, match="3 names"):
        monitor_gap(good, good, names=["a", "b", "c"])
    with pytest.raises(InvalidInput, match="dimensions"):
        monitor_gap(good[None], good[None])
