"""Calibration: errors without bias, tests that hold their level, calibrators, and what can't be told."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.performance import assess_calibration, brier_decomposition, fit_calibrator


def test_plain_error_is_biased_and_ours_less():
    rng = np.random.default_rng(0)
    plain, ours = [], []
    for _ in range(100):
        scores = rng.random(400)
        found = assess_calibration(scores, rng.random(400) < scores)
        plain.append(found.ece)
        ours.append(found.estimate)
    assert np.mean(plain) > 0.03
    assert np.mean(ours) < 0.65 * np.mean(plain)


def test_tests_and_interval_hold_their_level():
    rng = np.random.default_rng(1)
    runs, chi, z, off = 300, 0, 0, 0
    for _ in range(runs):
        scores = rng.beta(2, 3, 800)
        found = assess_calibration(scores, rng.random(800) < scores)
        chi += found.p < 0.05
        z += found.spiegelhalter_p < 0.05
        off += found.interval[0] > 0
    most = binom.ppf(0.9999, runs, 0.05)
    assert chi <= most
    assert z <= most
    assert off <= most


def test_bold_scores_are_found_and_a_calibrator_mends_them():
    rng = np.random.default_rng(2)
    scores = rng.random(4_000)
    labels = rng.random(4_000) < 0.25 + scores / 2
    bold = assess_calibration(scores[:2_000], labels[:2_000])
    # The true error is E|score − ½| / 2 = ⅛.
    assert bold.interval[0] < 0.125 < bold.interval[1]
    assert bold.p < 1e-6 > bold.spiegelhalter_p
    assert "more than chance" in bold.sentence
    for method in ("isotonic", "platt"):
        calibrator = fit_calibrator(scores[:2_000], labels[:2_000], method=method)
        assert assess_calibration(calibrator.apply(scores[2_000:]), labels[2_000:]).estimate < 0.05, method
    assert fit_calibrator(scores, labels, method="none").apply([0.3]).tolist() == [0.3]


def test_bins_hold_equally_many_rows_and_never_divide_equal_scores():
    found = assess_calibration(np.repeat([0.1, 0.2, 0.9], [60, 20, 20]), np.repeat([0, 1], 50), bins=5)
    assert [one.n for one in found.bins] == [60, 20, 20]
    assert sum(one.n for one in found.bins) == found.n == 100
    even = assess_calibration(np.linspace(0.01, 0.99, 1_000), np.arange(1_000) % 2)
    assert {one.n for one in even.bins} == {100}


def test_a_certain_score_that_is_wrong_is_refuted():
    found = assess_calibration(np.zeros(50), np.repeat([0, 1], [49, 1]))
    assert found.p == 0.0
    assert math.isinf(found.statistic)
    fine = assess_calibration(np.zeros(50), np.zeros(50))
    assert (fine.p, fine.estimate, fine.ece) == (1.0, 0.0, 0.0)


def test_brier_parts_add_up():
    rng = np.random.default_rng(3)
    scores = rng.random(500)
    parts = brier_decomposition(scores, rng.random(500) < scores**2)
    assert parts.brier == pytest.approx(parts.miscalibration - parts.discrimination + parts.uncertainty)
    assert parts.miscalibration > 0 < parts.discrimination
    one = brier_decomposition([0.3, 0.3], [0, 0])
    assert (one.uncertainty, one.discrimination) == (0.0, 0.0)
    assert one.miscalibration == pytest.approx(0.09)


def test_separated_classes_do_not_break_platt():
    calibrator = fit_calibrator([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], method="platt")
    low, high = calibrator.apply([0.1, 0.9])
    assert 0 < low < 0.35
    assert 0.65 < high < 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: assess_calibration([0.1, 1.2], [0, 1]), "between 0 and 1"),
        (lambda: assess_calibration([], []), "no scores"),
        (lambda: assess_calibration([0.1], [0, 1]), "1 rows"),
        (lambda: assess_calibration([0.1, 0.2], [0, 1], bins=0), "at least one bin"),
        (lambda: fit_calibrator([0.1, 0.2], [1, 1]), "one class"),
        (lambda: fit_calibrator([0.1, 0.2], [0, 1], method="beta"), "no calibrator"),
        (lambda: fit_calibrator([0.1, 0.2], [0, 1], weights=[0, 0]), "not all of them 0"),
        (lambda: fit_calibrator([0.1, 0.2], [0, 1]).apply([math.nan]), "missing"),
        (lambda: brier_decomposition([0.1, 2.0], [0, 1]), "between 0 and 1"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
