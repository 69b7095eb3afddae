"""A reference for each phase of a cycle: the right rows stand in it, and a cycle is no drift."""

import numpy as np
import pytest

from homeostat.errors import InvalidInput
from homeostat.stats.drift.comparison import compare_profiles
from homeostat.stats.drift.seasonal import DAY, WEEK, SeasonalReference
from homeostat.stats.profile import Profile


def cyclic(rng, times, shift=0.0):
    hours = times / 3600 % 24
    words = np.where(rng.random(len(times)) < 0.5 + 0.4 * np.sin(hours / 24 * 2 * np.pi), "day", "night").astype(object)
    return {"x": 3 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(shift, 1, len(times)), "c": words}


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(0)
    times = rng.uniform(0, 60 * DAY, 30_000)
    return SeasonalReference.of(cyclic(rng, times), times)


def test_phases_share_the_rows_and_the_edges(reference):
    whole = sum(reference.phases[1:], start=reference.phases[0])
    assert whole.rows == reference.whole.rows == 30_000
    assert whole.features["x"].counts.tolist() == reference.whole.features["x"].counts.tolist()


def test_a_cycle_is_no_drift_and_a_change_within_it_is(reference):
    rng = np.random.default_rng(1)
    times = 100 * DAY + rng.uniform(6 * 3600, 7 * 3600, 600)
    window = Profile.of(cyclic(rng, times), like=reference.whole, sample=0)
    assert compare_profiles(reference.whole, window).drifted
    assert not compare_profiles(reference.matching(times), window).drifted
    moved = Profile.of(cyclic(rng, times, shift=1.0), like=reference.whole, sample=0)
    assert compare_profiles(reference.matching(times), moved).drifted


def test_a_window_of_several_phases_is_matched_by_their_mixture(reference):
    times = 3600.0 * np.array([0.5] * 300 + [12.5] * 100)
    mixed = reference.matching(times)
    first, second = reference.phases[0], reference.phases[12]
    expected = 0.75 * first.features["x"].mean + 0.25 * second.features["x"].mean
    assert mixed.features["x"].mean == pytest.approx(expected, abs=1e-9)
    worth = 1 / (0.75**2 / first.rows + 0.25**2 / second.rows)
    assert mixed.rows == round(worth)
    assert mixed.features["c"].count == pytest.approx(mixed.rows, abs=2)
    everything = reference.matching(np.arange(24) * 3600.0)
    assert everything.features["x"].mean == pytest.approx(reference.whole.features["x"].mean, abs=0.1)


def test_a_phase_without_rows_borrows_the_whole():
    rng = np.random.default_rng(2)
    times = rng.uniform(8 * 3600, 18 * 3600, 5000)
    reference = SeasonalReference.of(cyclic(rng, times), times)
    assert reference.matching(np.array([2.5 * 3600.0])) is reference.whole


def test_dates_and_weeks():
    times = np.datetime64("2026-01-05T00:30") + np.arange(24 * 70) * np.timedelta64(1, "h")
    reference = SeasonalReference.of({"x": np.arange(len(times), dtype=float)}, times, period=WEEK, phases=7)
    assert [phase.rows for phase in reference.phases] == [240] * 7
    assert reference.matching(np.array(["2026-01-07T12:00"], dtype="datetime64[m]")).rows == 240


def test_what_means_nothing_is_refused():
    values = {"x": np.arange(5.0)}
    with pytest.raises(InvalidInput, match="time for each row"):
        SeasonalReference.of(values, np.arange(4.0))
    with pytest.raises(InvalidInput, match="period above 0"):
        SeasonalReference.of(values, np.arange(5.0), period=0)
    with pytest.raises(InvalidInput, match="has no time"):
        SeasonalReference.of(values, np.array([1, 2, 3, 4, np.nan]))
    with pytest.raises(InvalidInput, match="has no time"):
        SeasonalReference.of(values, np.array(["2026-01-01"] * 4 + ["NaT"], dtype="datetime64[s]"))
    with pytest.raises(InvalidInput, match="datetime64 or seconds"):
        SeasonalReference.of(values, np.array(["noon"] * 5, dtype=object))
    with pytest.raises(InvalidInput, match="no phase"):
        SeasonalReference.of(values, np.arange(5.0)).matching(np.array([]))
