"""How often the detectors alarm while nothing changes, and how soon they find changes: small simulations."""

import math

import numpy as np
import pytest
from benchmarks.statistics.loss_streams import (
    beta,
    delays,
    estimated,
    false_alarms,
    known,
    river,
    run,
    sticky,
    zero_one,
)
from scipy import stats

from homeostat.stats.streams import Cusum, EDetector

BOUND = 0.2 / 10_000  # one alarm in 50,000 losses


def most(losses, rate=BOUND):
    """Alarms that a detector of this rate exceeds in one of ten thousand simulations."""
    return stats.poisson.ppf(0.9999, losses * rate)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_false_alarms_stay_below_the_promise(rate):
    result = false_alarms(known(rate), zero_one(rate), streams=5, rows=100_000, rng=1)
    assert result.alarms <= most(result.losses)


def test_false_alarms_are_hardly_fewer_than_promised():
    # A low run length makes them frequent enough to measure: the bound is tight, and the expectation right.
    detector = EDetector(0.2, run_length=500)
    length = detector.expected_run_length(alarms=2000)
    alarms = len(detector.update(np.random.default_rng(2).random(400_000) < 0.2))
    assert 500 < length.interval[0] < length.interval[1] < 700 < length.longest
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], 400_000 / length.estimate)
    assert low <= alarms <= high


def test_the_default_alarms_as_often_as_expected():
    result = false_alarms(known(), zero_one(0.2), streams=10, rows=100_000, rng=3)
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], result.losses / EDetector(0.2).expected_run_length().estimate)
    assert low <= result.alarms <= high


@pytest.mark.parametrize("direction", ["better", "both"])
def test_false_alarms_of_the_other_directions(direction):
    result = false_alarms(known(run_length=1000, direction=direction), zero_one(0.2), streams=10, rows=20_000, rng=4)
    assert 0 < result.alarms <= most(result.losses, 1e-3)


def test_false_alarms_of_losses_between_0_and_1():
    for build in (known(run_length=1000), estimated(beta(0.2, 0.1), run_length=1000)):
        result = false_alarms(build, beta(0.2, 0.1), streams=10, rows=20_000, rng=5)
        assert 0 < result.alarms <= most(result.losses, 1e-3)


@pytest.mark.parametrize("size", [300, 2000])
def test_an_estimated_base_rate_keeps_the_promise_on_average(size):
    result = false_alarms(estimated(zero_one(0.2), size), zero_one(0.2), streams=80, rows=10_000, rng=6)
    # Alarms of one reference come together, so the bound is that of clusters of several.
    assert result.alarms <= most(result.losses, BOUND) * 1.5
    assert result.per_10_000 <= 0.7


@pytest.mark.parametrize(("after", "longest"), [(0.3, 260), (0.4, 80)])
def test_delays_with_a_known_base_rate(after, longest):
    found = delays(known(), zero_one(0.2), zero_one(after), runs=150, rng=7, mean=after)
    assert found.median <= longest
    assert found.missed == 0
    # The limits hold for the window that was chosen; a window that reaches before the change has a lower mean.
    assert found.covered > 0.93


@pytest.mark.parametrize(("after", "longest"), [(0.3, 310), (0.4, 90)])
def test_delays_with_an_estimated_base_rate(after, longest):
    found = delays(estimated(zero_one(0.2)), zero_one(0.2), zero_one(after), runs=100, rng=8)
    assert found.median <= longest
    assert found.missed <= 2


def test_the_mixture_is_close_to_the_best_detector_of_each_change():
    for after in (0.3, 0.4):
        best = delays(lambda _, to=after: Cusum(0.2, to), zero_one(0.2), zero_one(after), runs=100, rng=9)
        ours = delays(known(), zero_one(0.2), zero_one(after), runs=100, rng=9)
        assert best.median <= ours.median <= 1.35 * best.median


def test_improvements_are_found_where_they_are_asked_for():
    for direction, finds in (("both", True), ("better", True), ("worse", False)):
        found = delays(known(direction=direction), zero_one(0.2), zero_one(0.1), runs=40, rng=10)
        assert (found.median < 300) == finds
    assert delays(known(direction="both"), zero_one(0.2), zero_one(0.3), runs=40, rng=10).median < 300


@pytest.mark.parametrize("changed", [0.3, 0.1])
def test_the_run_length_of_cusum_is_what_it_says(changed):
    detector = Cusum(0.2, changed, expected_run_length=800)
    alarms = len(detector.update(np.random.default_rng(11).random(600_000) < 0.2))
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], 600_000 / detector.expected_run_length)
    assert low <= alarms <= high
    assert detector.run_length < 800 <= detector.expected_run_length


@pytest.mark.slow
def test_detectors_of_others_alarm_where_nothing_changed_and_ours_does_not():
    ours = false_alarms(known(), zero_one(0.2), streams=5, rows=100_000, rng=12)
    eddm = false_alarms(river("EDDM"), zero_one(0.2), streams=4, rows=10_000, rng=12)
    assert ours.alarms <= most(ours.losses)
    assert eddm.per_10_000 > 10
    weighted = false_alarms(river("HDDM_W"), zero_one(0.2), streams=2, rows=50_000, rng=13)
    classic = false_alarms(river("DDM"), zero_one(0.2), streams=60, rows=10_000, rng=12)
    assert weighted.per_10_000 > 0.2
    assert classic.per_10_000 > 0.2
    adaptive = false_alarms(river("ADWIN"), zero_one(0.2), streams=5, rows=100_000, rng=12)
    assert adaptive.alarms <= 1
    late = delays(river("ADWIN"), zero_one(0.2), zero_one(0.3), runs=50, rng=12)
    assert late.median > 400


def test_kswin_alarms_on_losses_of_one_law():
    # On 0/1 losses its test sees too little to alarm; on losses between 0 and 1 it alarms every few hundred.
    assert false_alarms(river("KSWIN"), beta(0.2, 0.1), streams=1, rows=2000, rng=1).per_10_000 > 4
    ours = false_alarms(estimated(beta(0.2, 0.1)), beta(0.2, 0.1), streams=20, rows=20_000, rng=14)
    assert ours.alarms <= most(ours.losses)


def test_losses_that_resemble_those_before_them_break_the_promise():
    rng = np.random.default_rng(15)
    losses = sticky(0.2, 0.6)(rng, 200_000)
    assert losses.mean() == pytest.approx(0.2, abs=0.01)
    assert np.corrcoef(losses[:-1], losses[1:])[0, 1] == pytest.approx(0.6, abs=0.02)
    result = false_alarms(known(), sticky(0.2, 0.6), streams=2, rows=50_000, rng=15)
    assert result.per_10_000 > 2


@pytest.mark.slow
def test_the_section_is_made():
    section = run(quick=True)
    assert len(section.tables) == 4
    assert "loss_streams_delay" in section.markdown()
    assert all(math.isfinite(y) for _, line in section.plots[0].series.values() for y in line)
