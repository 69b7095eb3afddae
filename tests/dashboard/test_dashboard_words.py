"""Times, names and figures as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import escape

from homeostat.dashboard.drift import gathered
from homeostat.dashboard.words import ago, evidence, length, moment, share, sound
from homeostat.records import Severity, Verdict

NOW = datetime(2025, 9, 29, 12, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (19, "just now"),
        (45, "45 s ago"),
        (100, "2 min ago"),
        (3500, "58 min ago"),
        (2 * 3600, "2 h ago"),
        (30 * 3600, "30 h ago"),
        (3 * 86400, "3 days ago"),
        (20 * 86400, "3 weeks ago"),
        (100 * 86400, "3 months ago"),
        (800 * 86400, "2 years ago"),
        (-600, "in 10 min"),
    ],
)
def test_how_long_ago(seconds, words):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_lengths_never_shrink_as_time_passes():
    units = {
        "s": 1.0,
        "min": 60.0,
        "h": 3600.0,
        "day": 86400.0,
        "week": 604800.0,
        "month": 2629800.0,
        "year": 31557600.0,
    }
    last = 0.0
    for span in (math.exp(power / 40) for power in range(60, 800)):
        count, unit = length(span).replace(",", "").split(" ")
        told = float(count) * units[unit.rstrip("s") if unit != "s" else unit]
        assert told == pytest.approx(span, rel=0.35)
        assert told >= last * 0.8
        last = told


def test_a_moment_is_exact_for_machines():
    told = moment(NOW - timedelta(minutes=3), NOW)
    assert (told.exact, told.words, told.ago) == ("2025-09-29T12:01:30+00:00", "29 Sep 2025, 12:01:30", "3 min ago")
    assert moment(NOW - timedelta(days=500), NOW).words == "17 May 2024, 12:04"


@pytest.mark.parametrize(
    "text", ["", "short", "<" * 500, "&amp;" * 90, "\N{FIRE}" * 300, "\ud800" * 300, "a\x00\x1b\u202eb" * 99]
)
@pytest.mark.parametrize("most", [5, 40, 200])
def test_words_are_bounded_encodable_and_without_controls(text, most):
    words = sound(text, most)
    assert len(str(escape(words)).encode()) <= 2 * most
    assert not {letter for letter in words if letter < " " or letter == "\u202e"}


def test_words_that_fit_are_left_alone():
    assert sound("Größe, 字, 3 < 4", 40) == "Größe, 字, 3 < 4"


def test_evidence_and_shares_in_words():
    assert [evidence(value) for value in (0.0, math.log(125), None, math.nan)] == ["1", "125", "unknown", "unknown"]
    assert evidence(50.0) == "5.18×10²¹"
    assert [share(value).split() for value in (0.1, 0.125, 1.0)] == [["10", "%"], ["12.5", "%"], ["100", "%"]]


def test_the_worst_look_of_each_stretch_is_drawn_and_the_newest(samples):
    looks = samples.drift("m", 120, {"x": 0.05})
    bad = samples.finding("m", "drift", looks[57].at, Verdict.HARMED, severity=Severity.CRITICAL, statistic=1.0)
    kept = gathered([*looks[:57], bad, *looks[58:]])
    assert len(kept) == 32
    assert bad in kept
    assert kept[-1] == looks[-1]
    assert [look.at for look in kept] == sorted(look.at for look in kept)
