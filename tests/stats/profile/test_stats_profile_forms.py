"""Profiles from frames, row by row, with samples and texts, and written as bytes."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import InvalidInput
from homeostat.frames import Kind
from homeostat.stats.profile import CategoricalSummary, Profile, ProfileBuilder, TextSummary
from homeostat.stats.profile.numeric import SORTED_ROWS, first_numeric, numeric_like
from homeostat.stats.profile.sample import priorities_of_keys

LETTER = "please pay the invoice of last month by the end of the week thank you"


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=rows)
    gaps[rng.random(rows) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "x": gaps,
            "n": rng.poisson(3, rows),
            "b": rng.random(rows) < 0.4,
            "c": rng.choice(["a", "b", "c"], rows),
            "many": [f"m{i}" for i in rng.integers(0, 400, rows)],
            "t": [" ".join(rng.permutation(LETTER.split())[:12]) for _ in range(rows)],
        }
    )


REFERENCE = Profile.of(table(800))


def same(one, two):
    assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize("library", [pl.from_pandas, pa.Table.from_pandas, dict], ids=["polars", "pyarrow", "mapping"])
def test_every_library_gives_the_same_profile(library):
    same(Profile.of(library(table(800))), REFERENCE)
    window = table(300, 1)
    same(Profile.of(library(window), like=REFERENCE), Profile.of(window, like=REFERENCE))


def test_kinds_are_kept():
    assert [REFERENCE.kind(name) for name in REFERENCE.features] == [
        Kind.NUMERIC,
        Kind.NUMERIC,
        Kind.BOOLEAN,
        Kind.CATEGORICAL,
        Kind.CATEGORICAL,
        Kind.TEXT,
    ]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.floats(allow_nan=True, allow_infinity=True, width=32), st.integers(-3, 3)), max_size=60
    ),
    reference=st.lists(st.floats(-5, 5), max_size=60),
)
def test_sorting_and_searching_count_alike(values, reference):
    edges = first_numeric(np.array(reference, dtype=np.float64), 10)[0].edges
    window = np.array(values, dtype=np.float64)
    many = np.concatenate([np.full(SORTED_ROWS, np.nan), window])
    searched, _ = numeric_like(window, edges)
    ordered, order = numeric_like(many, edges)
    assert searched.counts.tolist() == ordered.counts.tolist()
    assert searched.missing + SORTED_ROWS == ordered.missing
    assert (searched.infinite, searched.count) == (ordered.infinite, ordered.count)
    assert searched.minimum == ordered.minimum or math.isnan(searched.minimum)
    assert order.tolist() == sorted(window[np.isfinite(window)].tolist())


def test_a_large_column_is_profiled_as_a_small_one():
    values = np.random.default_rng(1).normal(size=SORTED_ROWS + 5)
    whole = Profile.of({"x": values}, like=Profile.of({"x": values[:500]}))
    parts = sum(
        (Profile.of({"x": part}, like=whole) for part in np.array_split(values, 10)),
        start=whole.empty(),
    )
    assert parts.features["x"].counts.tolist() == whole.features["x"].counts.tolist()
    assert parts.features["x"].squares == pytest.approx(whole.features["x"].squares, rel=1e-12)


def test_moments_hold_far_from_zero():
    values = 1e9 + np.random.default_rng(2).normal(size=5000)
    reference = Profile.of({"x": values})
    parts = [Profile.of({"x": part}, like=reference) for part in np.array_split(values, 50)]
    merged = sum(parts[::-1], start=reference.empty())
    assert merged.features["x"].deviation == pytest.approx(values.std(ddof=1), rel=1e-9)
    assert merged.features["x"].mean == pytest.approx(values.mean(), rel=1e-15)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(5)), cut=st.integers(1, 4))
def test_samples_merge_in_any_order_and_grouping(order, cut):
    keys = np.arange(500)
    frame = {"x": np.arange(500.0), "c": np.array([str(i) for i in range(500)], dtype=object)}
    whole = Profile.of(frame, keys=keys, sample=40)
    parts = [
        Profile.of({name: values[i::5] for name, values in frame.items()}, like=whole, keys=keys[i::5], sample=40)
        for i in range(5)
    ]
    left = sum((parts[i] for i in order[1:cut]), start=parts[order[0]])
    rest = [parts[i] for i in order[cut:]] if cut > 1 else [parts[i] for i in order[1:]]
    merged = left if not rest else left + sum(rest[1:], start=rest[0])
    assert merged.sample.columns["x"].tolist() == whole.sample.columns["x"].tolist()
    assert merged.sample.columns["c"].tolist() == whole.sample.columns["c"].tolist()
    assert merged.sample.priorities.tolist() == sorted(priorities_of_keys(keys).tolist())[:40]


def test_the_sample_is_uniform():
    # Each of 200 rows is among 50 kept ones in a quarter of 400 draws; 5 standard deviations are 43.
    kept = np.zeros(200)
    for seed in range(400):
        sample = Profile.of({"x": np.arange(200.0)}, sample=50, rng=seed).sample
        kept[sample.columns["x"].astype(int)] += 1
    assert kept.sum() == 50 * 400
    assert np.abs(kept - 100).max() < 45


def test_parts_with_one_seed_draw_their_own_rows():
    reference = Profile.of({"x": np.arange(100.0)})
    one = Profile.of({"x": np.arange(100.0)}, like=reference)
    two = Profile.of({"x": np.arange(100.0) + 0.5}, like=reference)
    assert not set(one.sample.priorities.tolist()) & set(two.sample.priorities.tolist())


def test_row_by_row_is_the_same_profile():
    window = table(600, 3)
    builder = ProfileBuilder(REFERENCE, sample=100)
    for row in window.to_dict("records"):
        builder.add(row)
    built, whole = builder.profile(), Profile.of(window, like=REFERENCE)
    assert built.rows == 600
    for name, summary in whole.features.items():
        assert type(built.features[name]) is type(summary)
    assert built.features["x"].counts.tolist() == whole.features["x"].counts.tolist()
    assert built.features["many"].buckets.tolist() == whole.features["many"].buckets.tolist()
    assert built.features["t"].documents.tolist() == whole.features["t"].documents.tolist()
    # Equal rows do not share a draw: the sample of a constant stream is full.
    constant = ProfileBuilder(Profile.of({"x": np.ones(5)}), sample=100)
    for _ in range(700):
        constant.add({"x": 1.0})
    assert len(set(constant.profile().sample.priorities.tolist())) == 100


def test_a_bad_row_is_refused_and_changes_nothing():
    builder = ProfileBuilder(Profile.of({"x": np.arange(5.0)}))
    with pytest.raises(InvalidInput, match="lacks 'x'"):
        builder.add({"y": 1.0})
    with pytest.raises(InvalidInput, match="should be a number; got a str"):
        builder.add({"x": "1.0"})
    assert builder.profile().rows == 0


def test_categories_beyond_the_top_ones_are_hashed_and_bounded():
    reference = Profile.of({"c": np.array([f"v{i}" for i in range(100_000)], dtype=object)})
    summary = reference.features["c"]
    assert isinstance(summary, CategoricalSummary)
    assert (len(summary.categories), summary.other, summary.exhaustive) == (50, 99_950, False)
    assert len(reference.to_bytes()) < 50_000
    window = Profile.of({"c": np.array(["v1", "new", None], dtype=object)}, like=reference)
    assert (window.features["c"].count, window.features["c"].missing) == (2, 1)


def test_texts_count_documents_not_tokens():
    reference = Profile.of({"t": np.array(["pay pay pay", "pay later", None], dtype=object)}, kinds={"t": Kind.TEXT})
    summary = reference.features["t"]
    assert isinstance(summary, TextSummary)
    assert (summary.count, summary.missing) == (2, 1)
    assert sorted(summary.documents[summary.documents > 0].tolist()) == [1, 2]
    both = summary + summary
    assert both.documents.sum() == 6


@pytest.mark.parametrize("profile", [REFERENCE, Profile.of(table(50, 4), like=REFERENCE, sample=0), Profile(0, {})])
def test_bytes_round_trip(profile):
    content = profile.to_bytes()
    back = Profile.from_bytes(content)
    same(back, profile)
    if profile.sample is not None:
        assert back.sample.priorities.tolist() == profile.sample.priorities.tolist()
        for name, values in profile.sample.columns.items():
            np.testing.assert_array_equal(back.sample.columns[name], values)
        assert back.kind("b") is Kind.BOOLEAN
    assert (back + profile).rows == 2 * profile.rows


def test_bytes_are_compact():
    frame = {f"f{i}": np.random.default_rng(i).normal(size=10_000) for i in range(30)}
    assert len(Profile.of(frame, sample=0).to_bytes()) < 30_000


def test_damaged_bytes_are_refused():
    content = REFERENCE.to_bytes()
    for broken in (b"", b"HSPF", content[:100], content[:-3], b"HSPF\x09" + content[5:], b"PNG!" + content[4:]):
        with pytest.raises(InvalidInput):
            Profile.from_bytes(broken)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    with pytest.raises(InvalidInput):
        Profile.from_bytes(bytes(flipped))


def test_the_older_format_is_still_read():
    old = {
        "format": 1,
        "rows": 4,
        "features": {
            "x": {
                "kind": "numeric",
                "edges": [0.9, 1.0, 2.0],
                "counts": [0, 1, 2, 0],
                "missing": 1,
                "infinite": 0,
                "minimum": 1.0,
                "maximum": 2.0,
                "count": 3,
                "mean": 5 / 3,
                "m2": 2 / 3,
            },
            "c": {
                "kind": "categorical",
                "categories": ["a"],
                "counts": [3],
                "other": 1,
                "missing": 0,
                "unseen": 0,
                "exhaustive": False,
            },
        },
    }
    profile = Profile.from_dict(old)
    assert profile.features["x"].mean == pytest.approx(5 / 3)
    assert profile.features["x"].deviation == pytest.approx(np.std([1, 2, 2], ddof=1))
    assert profile.features["c"].other == 1
    window = Profile.of({"x": np.array([1.0]), "c": np.array(["z"], dtype=object)}, like=profile)
    assert (profile + window).features["c"].other == 2


def test_a_sample_of_some_rows_only_is_none():
    assert (REFERENCE + Profile.of(table(10, 5), like=REFERENCE, sample=0)).sample is None
    with pytest.raises(InvalidInput, match="key for each row"):
        Profile.of({"x": np.ones(3)}, keys=np.arange(2))
    with pytest.raises(InvalidInput, match="at least one bin"):
        Profile.of({"x": np.ones(3)}, sample=-1)
