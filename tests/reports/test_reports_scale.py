"""Scales and ticks hold for any range."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.reports.charts.scale import Linear, padded, spread, step_of, ticks, time_range, time_ticks
from homeostat.reports.charts.svg import fitted, line_path, text_width, thinned
from homeostat.reports.format import DAY, number, seconds

bounds = st.floats(-1e12, 1e12)
spans = st.floats(1e-6, 1e12)


@given(bounds, spans, st.integers(1, 12))
def test_ticks_are_round_inside_and_few(low: float, span: float, most: int) -> None:
    high = low + span
    if (high - low) < 1e-9 * max(abs(low), abs(high)):
        return
    found = ticks(low, high, most)
    step = step_of(low, high, most)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * step <= tick <= high + 1e-6 * step for tick in found)
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-12)
    assert any(math.isclose(mantissa, nice, rel_tol=1e-9) for nice in (1, 2, 5, 10))
    assert all(math.isclose(b - a, step, rel_tol=1e-3) for a, b in itertools.pairwise(found))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0, 1))
def test_a_scale_is_inverted(low: float, span: float, share: float) -> None:
    scale = Linear(low, low + span, 300.0, 40.0)
    value = low + share * span
    assert scale.invert(scale(value)) == pytest.approx(value, abs=1e-6 * span + 1e-9 * abs(low))
    assert 40.0 - 1e-6 <= scale(value) <= 300.0 + 1e-6


@given(st.floats(0, 4e9, allow_subnormal=False), st.floats(60, 3e9), st.integers(2, 14))
def test_time_ticks_ascend_inside_and_few(low: float, span: float, most: int) -> None:
    found = time_ticks(low, low + span, most)
    assert len(found) <= most
    assert all(low <= tick.at <= low + span for tick in found)
    assert all(a.at < b.at for a, b in itertools.pairwise(found))
    labels = [(tick.label, tick.context) for tick in found]
    assert all(a != b for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize(
    ("days", "labels"),
    [
        (1 / 1440, ["00:00:00", "00:00:10"]),
        (1 / 24, ["00:00", "00:10"]),
        (1, ["00:00", "03:00"]),
        (7, ["1 Jan", "2 Jan"]),
        (60, ["8 Jan", "22 Jan"]),
        (366, ["Jan", "Mar"]),
        (3660, ["2024", "2026"]),
    ],
)
def test_time_ticks_suit_their_span(days: float, labels: list[str]) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    assert [tick.label for tick in time_ticks(start, start + days * DAY, 9)][:2] == labels


def test_a_new_year_is_named_where_it_begins() -> None:
    start = datetime(2024, 10, 1, tzinfo=UTC).timestamp()
    found = time_ticks(start, start + 200 * DAY, 8)
    assert [(tick.label, tick.context) for tick in found if tick.context] == [("Oct", "2024"), ("Jan", "2025")]


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0.5, 20))
def test_labels_are_spread_apart_within_bounds(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0.0, 100.0)
    room = min(gap, 100.0 / max(1, len(wanted) - 1))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in placed)
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(sorted(placed)))
    order = np.argsort(wanted, kind="stable")
    assert all(placed[a] < placed[b] for a, b in itertools.pairwise(order))


@given(st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_a_padded_range_holds_all_and_is_not_empty(values: list[float]) -> None:
    low, high = padded(values)
    assert low < high
    assert all(low <= value <= high for value in values)


def test_one_time_gets_a_range_around_it() -> None:
    at = datetime(2024, 5, 6, tzinfo=UTC)
    low, high = time_range([at])
    assert high - low == 60.0
    assert (low + high) / 2 == seconds(at)


def test_thinning_keeps_extremes_and_ends() -> None:
    rng = np.random.default_rng(5)
    xs, ys = np.arange(50_000.0), rng.normal(size=50_000)
    ys[100:9000] = np.nan
    kept = thinned(xs, ys, 100)
    assert len(kept) <= 400
    assert {0, 49_999, int(np.nanargmax(ys)), int(np.nanargmin(ys))} <= set(kept.tolist())
    assert np.isnan(ys[kept]).any(), "a gap stays a gap"


def test_a_path_breaks_where_values_are_missing() -> None:
    assert line_path([0.0, 1.0, 2.0], [math.nan] * 3) == ""
    assert line_path([0.0, 1.0, 2.0, 3.0], [1.0, math.nan, 2.0, 3.0]) == "M0 1h0.1M2 2L3 3"


@given(st.text(max_size=60), st.floats(20, 300))
def test_fitted_text_fits(text: str, width: float) -> None:
    shown = fitted(text, 12.0, width)
    assert shown == text or text_width(shown, 12.0) <= width
    assert (shown == text) == (text_width(text, 12.0) <= width or text == "…")


@pytest.mark.parametrize(
    ("text", "dejavu", "liberation"),
    # In parts of the font's size, as the fonts' own tables have them.
    [
        ("retrained", 4.604, 3.946),
        ("unjudged", 4.699, 4.114),
        ("07:07:30", 4.491, 3.892),
        ("100\N{NARROW NO-BREAK SPACE}%", 3.059, 2.696),
        (">2024", 3.383, 2.808),
        ("</script>", 4.800, 3.835),
    ],
)
def test_text_is_no_wider_than_reckoned_and_not_much_narrower(text: str, dejavu: float, liberation: float) -> None:
    assert max(dejavu, liberation) <= text_width(text, 1.0) <= 1.08 * dejavu


def test_letters_of_other_scripts_have_widths() -> None:
    assert text_width("e\N{COMBINING ACUTE ACCENT}", 10.0) == text_width("é", 10.0) == text_width("e", 10.0)
    assert text_width("特徴量", 10.0) >= 30.0
    assert text_width("Женщина", 10.0) > text_width("zensina", 10.0)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_has_words(value: float) -> None:
    words = number(value)
    assert 1 <= len(words) <= 16
    assert "e" not in words.replace("million", "")


@pytest.mark.parametrize(
    ("value", "words"), [(999_999.9, "1 million"), (0.0009996, "0.001"), (-12.34, "−12.3"), (12_345.6, "12,346")]
)
def test_numbers_at_the_edges(value: float, words: str) -> None:
    assert number(value) == words
