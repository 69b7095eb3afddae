"""The default test of samples against the usual methods on shifted images, at equal false-alarm rates."""

import numpy as np
import pytest
from benchmarks.statistics.drift_power import (
    NOTHING,
    OURS,
    OUTPUTS,
    PCA,
    RAW,
    REFERENCE,
    RIVALS,
    SHIFTS,
    Cutoff,
    drawn,
    images,
    mean_power,
    ours,
    powers,
    rivals,
    scored,
    worst_loss,
)
from scipy.stats import binom, ks_2samp

CHOSEN = tuple(
    shift
    for shift in SHIFTS
    if shift.name
    in {
        "medium noise, 50 %",
        "small image shift, 50 %",
        "medium image shift, 50 %",
        "adversarial, 100 %",
        "all zeros gone",
    }
)


@pytest.mark.slow
def test_the_default_finds_at_least_what_the_better_of_the_usual_methods_finds():
    runs = 20
    cells = powers(sizes=(50,), shifts=CHOSEN, null_runs=40, runs=runs, most_runs=runs)
    assert len(cells) == len(CHOSEN)
    assert mean_power(cells, 50, OURS) >= max(mean_power(cells, 50, name) for name in (RAW, OUTPUTS, PCA))
    # .10 is the loss allowed; two shares of 20 draws differ by .5 with a probability of about 1e-3.
    slack = 1 - binom.ppf(1e-3, 2 * runs, 0.5) / (2 * runs)
    assert worst_loss(cells)[0] <= 0.10 + slack


def test_the_default_keeps_its_level_on_images():
    runs = 40
    scores = scored(ours, images(), NOTHING, 50, runs, np.random.default_rng(3))[OURS]
    assert np.count_nonzero(scores >= -0.05) <= binom.ppf(0.9999, runs, 0.05)


@pytest.mark.parametrize("shift", [NOTHING, SHIFTS[6], SHIFTS[12]])
def test_the_rivals_distances_are_scipys(shift):
    made, rng = images(), np.random.default_rng(0)
    draw = drawn(made, shift, 50, rng)
    found = rivals(made, draw, rng)
    assert set(found) == set(RIVALS)
    for name, by_kind in ((RAW, made.features), (OUTPUTS, made.outputs)):
        rows = draw.of(by_kind)
        expected = max(ks_2samp(column[:REFERENCE], column[REFERENCE:]).statistic for column in rows.T)
        assert found[name] == pytest.approx(expected)


def test_a_draw_holds_what_its_shift_says():
    made, rng = images(), np.random.default_rng(0)
    draw = drawn(made, SHIFTS[2], 50, rng)
    assert (len(draw.plain), len(draw.altered), len(draw.rest)) == (REFERENCE, 5, 45)
    assert len(set(np.concatenate((draw.plain, draw.altered, draw.rest)))) == REFERENCE + 50
    gone = next(shift for shift in SHIFTS if shift.name == "all zeros gone")
    window = drawn(made, gone, 200, rng)
    assert not made.zeros[window.rest].any()


def test_a_cutoff_gives_null_scores_exactly_the_level():
    null = np.repeat([0.1, 0.2, 0.3], [50, 47, 3])
    cutoff = Cutoff(null)
    assert cutoff.score == 0.2
    assert cutoff.power(null) == pytest.approx(0.05)
    assert cutoff.power(np.array([0.3, 0.4])) == 1.0
