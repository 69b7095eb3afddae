"""Profiles: counts that add up exactly, in any order, and survive being written down."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import InvalidInput
from homeostat.frames import Kind
from homeostat.stats.profile import CategoricalSummary, NumericSummary, Profile

NUMBERS = st.one_of(st.just(math.nan), st.just(math.inf), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float))
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "new"]))
ROWS = st.lists(st.tuples(NUMBERS, TEXTS), max_size=40)


def columns(rows):
    return {
        "x": np.array([number for number, _ in rows], dtype=np.float64),
        "c": np.array([text for _, text in rows], dtype=object),
    }


def plain(profile):
    data = profile.to_dict()
    moments = {key: data["features"]["x"].pop(key) for key in ("total", "squares")}
    return data, moments


REFERENCE = Profile.of(columns([(float(i % 17), "abc"[i % 3]) for i in range(100)]))


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(ROWS, min_size=1, max_size=3))
def test_merging_in_any_order_and_grouping_equals_profiling_all_rows(parts):
    whole, moments = plain(Profile.of(columns([row for part in parts for row in part]), like=REFERENCE))
    profiles = [Profile.of(columns(part), like=REFERENCE) for part in parts]
    for order in itertools.permutations(profiles):
        left = REFERENCE.empty()
        for profile in order:
            left = left + profile
        right = order[-1]
        for profile in reversed(order[:-1]):
            right = profile + right
        for merged in (left, right):
            data, found = plain(merged)
            assert data == whole
            scale = math.sqrt(moments["squares"] * max(1, data["rows"]))
            assert found["total"] == pytest.approx(moments["total"], abs=1e-12 * scale)
            assert found["squares"] == pytest.approx(moments["squares"], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_every_row_is_counted_once(rows):
    profile = Profile.of(columns(rows), like=REFERENCE)
    for summary in profile.features.values():
        assert summary.rows == len(rows)
        assert summary.counts.dtype == np.int64
    assert profile.features["x"].counts.sum() == profile.features["x"].count


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_json_round_trip(rows):
    for profile in (Profile.of(columns(rows)), Profile.of(columns(rows), like=REFERENCE)):
        text = json.dumps(profile.to_dict(), allow_nan=False)
        back = Profile.from_dict(json.loads(text))
        assert back.to_dict() == profile.to_dict()
        assert (back + profile).rows == 2 * len(rows)


def test_bins_hold_equal_shares_and_the_range_of_the_reference():
    values = np.random.default_rng(0).normal(size=4000)
    summary = Profile.of({"x": values}).features["x"]
    assert summary.counts[0] == summary.counts[-1] == 0
    assert summary.counts[1:-1].tolist() == [50] * 80
    assert summary.mean == pytest.approx(values.mean())
    assert summary.deviation == pytest.approx(values.std(ddof=1))


def test_values_outside_the_range_fall_into_the_open_bins():
    reference = Profile.of({"x": np.full(50, 7.0)})
    window = Profile.of({"x": np.array([6.9, 7.0, 7.1])}, like=reference).features["x"]
    assert window.counts.tolist() == [1, 1, 1]


def test_constant_and_all_missing_columns_are_legal():
    columns_ = {"k": np.ones(5), "n": np.full(5, np.nan), "m": np.array([None] * 5, dtype=object)}
    profile = Profile.of(columns_)
    assert profile.features["n"].missing == profile.features["m"].missing == 5
    assert (profile + Profile.of(columns_, like=profile)).rows == 10


def test_values_never_seen_are_told_apart_only_after_a_complete_reference():
    few = Profile.of({"c": np.array(list("aab"), dtype=object)})
    many = Profile.of({"c": np.array(list("aaabbc"), dtype=object)}, top=2)
    window = {"c": np.array(["a", "z", None], dtype=object)}
    complete, cut = (Profile.of(window, like=like).features["c"] for like in (few, many))
    assert (complete.unseen, complete.other, complete.missing) == (1, 0, 1)
    assert (cut.unseen, cut.other, cut.exhaustive) == (0, 1, False)
    assert many.features["c"].other == 1


def test_kinds_follow_the_dtype_or_the_names():
    profile = Profile.of(
        {"b": np.array([True, False]), "i": np.array([1, 2]), "o": np.array(["1", None], dtype=object)}
    )
    kinds = [type(summary) for summary in profile.features.values()]
    assert kinds == [NumericSummary, NumericSummary, CategoricalSummary]
    named = Profile.of({"o": np.array([1.5, None], dtype=object)}, kinds={"o": Kind.NUMERIC})
    assert named.features["o"].missing == 1


def test_what_does_not_fit_is_refused():
    one, other = Profile.of({"x": np.arange(9.0)}), Profile.of({"x": np.arange(8.0)})
    with pytest.raises(InvalidInput, match="like=first"):
        one + other
    with pytest.raises(InvalidInput, match="different features"):
        one + Profile.of({"y": np.arange(9.0)})
    with pytest.raises(InvalidInput, match="lack 'x'"):
        Profile.of({"y": np.arange(9.0)}, like=one)
    with pytest.raises(InvalidInput, match="one length"):
        Profile.of({"x": np.arange(2.0), "y": np.arange(3.0)})
    with pytest.raises(InvalidInput, match="should hold numbers"):
        Profile.of({"x": np.array(["a"], dtype=object)}, like=one)
    with pytest.raises(InvalidInput, match="of one kind in one"):
        one + Profile.of({"x": np.array(["a"], dtype=object)})
    with pytest.raises(InvalidInput, match="format 9"):
        Profile.from_dict({**one.to_dict(), "format": 9})
    damaged = one.to_dict()
    damaged["features"]["x"]["counts"].pop()
    with pytest.raises(InvalidInput, match="damaged"):
        Profile.from_dict(damaged)
