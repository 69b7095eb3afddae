"""The detectors against their recursions, one loss at a time, and what they say."""

import math
import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import xlogy

from homeostat.errors import InvalidInput
from homeostat.stats.sequential import LossDetector, change_point, loss_detector
from homeostat.stats.streams import (
    Cusum,
    EDetector,
    StreamDetector,
    cusum_run_length,
    last_change,
    reference_baseline,
)
from homeostat.stats.streams.alarms import MEMORY, chosen_window_interval
from homeostat.stats.streams.edetector import HIGHEST_STAKE

STREAM = np.random.default_rng(0).random(6000) < np.repeat([0.2, 0.5, 0.2, 0.05, 0.3], 1200)
BUILT = {
    "e": lambda: EDetector(0.2),
    "both": lambda: EDetector(0.25, lowest=0.15, direction="both", run_length=500),
    "better": lambda: EDetector(0.2, direction="better", run_length=500),
    "cusum": lambda: Cusum(0.2, 0.35, expected_run_length=500),
    "cusum down": lambda: Cusum(0.2, 0.1, expected_run_length=500),
}


def brute_e_detector(losses, baseline, lowest, *, run_length, spans, sides, variance=None):
    """The definition, in plain wealth: M ← (M + 1) L for every bet, alarm and restart at average ≥ A."""
    bets = []
    for side in sides:
        centre = baseline if side > 0 else lowest
        v = centre * (1 - centre) if variance is None else variance
        for span in spans:
            slope = math.sqrt(2 * math.log(run_length) / (span * v))
            bets.append((side * min(slope, HIGHEST_STAKE / (centre if side > 0 else 1 - centre)), centre))
    m, alarms = np.zeros(len(bets)), []
    for position, loss in enumerate(losses):
        m = (m + 1) * np.array([1 + slope * (loss - centre) for slope, centre in bets])
        if m.mean() >= run_length:
            alarms.append(position)
            m[:] = 0
    return alarms


@pytest.mark.parametrize("direction", ["worse", "better", "both"])
def test_the_e_detector_follows_its_recursion(direction):
    spans, sides = (500, 100, 30, 5), {"worse": (1,), "better": (-1,), "both": (1, -1)}[direction]
    losses = np.where(STREAM, np.random.default_rng(1).uniform(0.5, 1, len(STREAM)), 0.05)
    for values, variance in ((STREAM, None), (losses, 0.1)):
        detector = EDetector(0.25, lowest=0.15, run_length=300, direction=direction, spans=spans, variance=variance)
        expected = brute_e_detector(
            values,
            0.25,
            0.15 if direction != "worse" else 0.25,
            run_length=300,
            spans=spans,
            sides=sides,
            variance=variance,
        )
        assert detector.update(values).tolist() == expected
        assert len(expected) > 3


@pytest.mark.parametrize(("baseline", "changed"), [(0.2, 0.35), (0.2, 0.1), (0.05, 0.06)])
def test_cusum_follows_its_recursion(baseline, changed):
    detector = Cusum(baseline, changed, expected_run_length=300)
    w, expected = 0.0, []
    for position, loss in enumerate(STREAM):
        w = max(w, 0.0) + math.log(changed / baseline if loss else (1 - changed) / (1 - baseline))
        if w >= detector.threshold:
            expected.append(position)
            w = 0.0
    assert detector.update(STREAM).tolist() == expected
    assert len(expected) > 3


@pytest.mark.parametrize("name", BUILT)
def test_batches_do_not_change_the_alarms(name):
    whole, parts = BUILT[name](), BUILT[name]()
    assert isinstance(whole, StreamDetector)
    expected = whole.update(STREAM)
    cuts = np.sort(np.random.default_rng(2).integers(0, len(STREAM), 40))
    got = np.concatenate([parts.update(part) for part in np.split(STREAM, cuts)])
    assert len(expected)
    assert got.tolist() == expected.tolist() == [alarm.position for alarm in parts.alarms]
    assert parts.rows == len(STREAM)
    assert [alarm.sentence for alarm in parts.alarms] == [alarm.sentence for alarm in whole.alarms]
    parts.reset()
    assert (parts.rows, parts.alarms) == (0, ())
    assert parts.update(STREAM).tolist() == expected.tolist()


def test_one_bet_is_the_loss_detector_that_the_live_loop_uses():
    losses = np.random.default_rng(3).random(400)
    slope = math.sqrt(2 * math.log(50_000) / (100 * 0.24))
    detector = EDetector(0.6, spans=(100,), variance=0.24)
    detector.update(losses)
    assert detector.log_statistic == pytest.approx(loss_detector(losses, 0.6, fractions=(slope * 0.6,), log=True)[-1])


def test_an_alarm_says_what_changed_by_how_much_and_since_when():
    detector = EDetector(0.2)
    detector.update(np.tile([0.0, 0.0, 0.0, 0.0, 1.0], 400))
    detector.update(np.tile([0.0, 1.0], 200))
    alarm = detector.alarms[0]
    assert abs(alarm.since - 2000) <= 3
    assert alarm.rows == alarm.position + 1
    assert alarm.estimate == pytest.approx(0.5, abs=0.05)
    assert alarm.interval[0] < alarm.estimate < alarm.interval[1]
    assert alarm.statistic == alarm.log_e >= alarm.threshold == pytest.approx(math.log(50_000))
    assert (alarm.direction, alarm.run_length) == ("worse", 50_000)
    assert "risen from 0.2" in alarm.sentence
    better = EDetector(0.2, direction="better")
    better.update(np.zeros(200))
    assert "fallen from 0.2 to 0 since loss 0" in better.alarms[0].sentence


def test_the_change_is_located_by_brute_force():
    rng = np.random.default_rng(4)
    for _ in range(20):
        losses = np.concatenate([rng.random(80) < 0.2, rng.random(40) < 0.5]).astype(float)
        for worse in (True, False):
            best, place = -1.0, len(losses) - 1
            for start in range(len(losses) - 1, -1, -1):
                mean, n = losses[start:].mean(), len(losses) - start
                if (mean > 0.2) != worse or mean == 0.2:
                    continue
                gain = n * (xlogy(mean, mean / 0.2) + xlogy(1 - mean, (1 - mean) / 0.8))
                if gain > best + 1e-9:
                    best, place = gain, start
            assert last_change(losses, 0.2, worse=worse) == place


def test_a_change_point_by_brute_force():
    rng = np.random.default_rng(5)
    for case in range(20):
        values = np.concatenate([rng.random(40) < 0.2, rng.random(30) < 0.6]).astype(float)
        if case % 2:
            values = values + rng.normal(1e6, 0.5, len(values))
        found = {}
        for start in range(10, len(values) - 9):
            parts = values[:start], values[start:]
            if case % 2:
                found[start] = -sum(((part - part.mean()) ** 2).sum() for part in parts)
            else:
                found[start] = sum(len(part) * -stats.entropy([part.mean(), 1 - part.mean()]) for part in parts)
        assert found[change_point(values)] == pytest.approx(max(found.values()), abs=1e-6)


def test_intervals_of_chosen_windows_are_those_of_the_chernoff_bound():
    for mean, rows in ((0.3, 200), (0.0, 10), (1.0, 4), (0.02, 5000)):
        low, high = chosen_window_interval(mean, rows)
        for edge in {low, high} - {mean}:
            divergence = stats.entropy([mean, 1 - mean], [edge, 1 - edge])
            assert rows * divergence == pytest.approx(math.log(2 * rows / 0.05), rel=1e-6)
        assert 0 <= low <= mean <= high <= 1


@pytest.mark.parametrize("size", [1, 29, 500])
def test_the_baseline_has_exact_bounds_for_0_and_1(size):
    losses = np.arange(size) % 3 == 0
    baseline = reference_baseline(losses, confidence=0.9)
    exact = stats.binomtest(int(losses.sum()), size).proportion_ci(confidence_level=0.8, method="exact")
    assert baseline.interval == pytest.approx((exact.low, exact.high))
    assert baseline.estimate == pytest.approx(losses.mean())
    assert (baseline.binary, baseline.rows) == (True, size)


def test_the_baseline_of_other_losses():
    losses = np.random.default_rng(6).beta(2, 8, 400)
    baseline = reference_baseline(losses, confidence=0.95)
    expected = stats.t.interval(0.9, 399, losses.mean(), stats.sem(losses))
    assert baseline.interval == pytest.approx(expected)
    # A constant says nothing of its variation, so the bounds are those of 0/1 losses of the same mean.
    assert reference_baseline(np.full(50, 0.5)).high == pytest.approx(reference_baseline(np.arange(50) % 2).high)


def test_the_baseline_bounds_hold_as_often_as_they_say():
    rng = np.random.default_rng(7)
    for draw in (lambda: rng.random(200) < 0.1, lambda: rng.beta(2, 18, 200)):
        above = sum(reference_baseline(draw()).high >= 0.1 for _ in range(500))
        assert above >= stats.binom.ppf(1e-4, 500, 0.88)


def test_extreme_references():
    detector = EDetector.fit(np.zeros(1000))
    assert detector.baseline == pytest.approx(1 - 0.1 ** (1 / 1000))
    assert len(detector.update(np.zeros(100_000))) == 0
    assert detector.update(np.ones(20))[0] < 100_000 + 10
    assert EDetector.fit([0.0]).baseline == pytest.approx(0.9)
    with pytest.raises(InvalidInput, match="can't be told from 1"):
        EDetector.fit([1.0])
    with pytest.raises(InvalidInput, match="can't be told from 0"):
        EDetector.fit(np.zeros(50), direction="better")
    both = EDetector.fit(np.zeros(50), direction="both")
    assert both.lowest < both.baseline
    with pytest.raises(InvalidInput, match="can't be told"):
        Cusum.fit(np.arange(100) % 2, 0.5)
    fitted = Cusum.fit(np.arange(1000) % 4 == 0, 0.4)
    assert fitted.baseline == fitted.reference.high > 0.25


def test_a_long_run_length_is_told_as_soon_as_a_short_one():
    started = time.process_time()
    assert 1 < EDetector(0.2, run_length=1e12).expected_run_length(alarms=100).estimate / 1e12 < 1.6
    assert 1 < EDetector(0.2, run_length=1.5).expected_run_length(alarms=100).estimate / 1.5 < 4
    assert time.process_time() - started < 50


def test_extreme_streams_neither_overflow_nor_warn():
    with np.errstate(all="raise", under="ignore"):
        for baseline in (0.0, 0.5, 0.999):
            detector = EDetector(baseline, direction="both", run_length=1e300)
            for losses in (np.zeros(3000), np.ones(3000), np.tile([0.0, 1.0], 1500)):
                detector.update(losses)
            assert not math.isnan(detector.log_statistic)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: EDetector(1.0), "nothing can become worse"),
        (lambda: EDetector(math.nan), "baseline"),
        (lambda: EDetector(0.2, lowest=0.3), "above the baseline"),
        (lambda: EDetector(0.2, run_length=1.0), "run length"),
        (lambda: EDetector(0.2, run_length=math.inf), "run length"),
        (lambda: EDetector(0.2, direction="up"), "direction"),
        (lambda: EDetector(0.2, spans=()), "Spans"),
        (lambda: EDetector(0.2, spans=(0,)), "Spans"),
        (lambda: EDetector(0.2, variance=0.0), "variance"),
        (lambda: EDetector(0.2).expected_run_length(alarms=1), "10 simulated"),
        (lambda: EDetector.fit([]), "got none"),
        (lambda: EDetector.fit([0, 1], confidence=0.2), "confidence"),
        (lambda: Cusum(0.2, 0.2), "differ"),
        (lambda: Cusum(0.2, 1.0), "changed"),
        (lambda: Cusum(0.2, 0.3, expected_run_length=0), "run length"),
        (lambda: cusum_run_length([1.0], [0.5], 2.0), "sum to 1"),
        (lambda: cusum_run_length([1.0, 2.0], [1.0], 2.0), "one length"),
        (lambda: cusum_run_length([1.0], [1.0], 0.0), "threshold"),
        (lambda: LossDetector(0.1).update([[0.1]]), "one stream"),
        (lambda: LossDetector(0.1).update("ab"), "numbers"),
        (lambda: change_point([math.inf] * 30), "infinite"),
        (lambda: change_point([[1.0, 2.0]]), "one stream"),
        (lambda: change_point([1.0, 2.0], shortest=0), "at least one"),
        (lambda: loss_detector([None], 0.1), "missing"),
        (lambda: loss_detector(0.5, 0.1), "one stream"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(build, words):
    with pytest.raises(InvalidInput, match=f"(?i){words}"):
        build()


@pytest.mark.parametrize("values", [[math.nan], [1.5], [-0.1], [math.inf], ["x"], [[0.0, 1.0]], 0.5])
@pytest.mark.parametrize("name", BUILT)
def test_losses_that_mean_nothing_are_refused_and_not_read(name, values):
    detector = BUILT[name]()
    with pytest.raises(InvalidInput):
        detector.update(values)
    assert detector.rows == 0
    assert detector.update([]).tolist() == []


def test_long_streams_take_little_time_and_memory():
    losses = np.random.default_rng(8).random(100_000) < 0.2
    for detector in (EDetector(0.2), Cusum(0.2, 0.3)):
        started = time.process_time()
        detector.update(losses)
        assert time.process_time() - started < 20
        detector.update(losses)
        assert len(detector._recent.losses) <= MEMORY
        assert detector.rows == 200_000


def test_a_stream_of_alarms_takes_little_time():
    started = time.process_time()
    assert len(EDetector(0.2).update(np.random.default_rng(9).random(20_000) < 0.5)) > 300
    assert time.process_time() - started < 20


def test_a_change_from_a_baseline_of_nothing_is_placed():
    from homeostat.stats.streams import last_change

    assert last_change(np.repeat([0.0, 1.0], [40, 8]), 0.0, worse=True) == 40
    for losses, baseline in (([], 0.1), ([np.nan, 1.0], 0.1), ([0.0, 1.0], -1.0)):
        with pytest.raises(InvalidInput, match="baseline between 0 and 1"):
            last_change(np.array(losses), baseline, worse=True)
