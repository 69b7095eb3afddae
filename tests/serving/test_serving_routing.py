"""Sticky assignment: published hashes, nested ranges, shares."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from homeostat.records import Arm, Route
from homeostat.serving.routing import assign, bucket, hash_keys

NOW = datetime(2025, 1, 1, tzinfo=UTC)
KEYS = [f"user-{number}" for number in range(20_000)]


def route(*weights, salt="spam"):
    arms = tuple(Arm(name=f"arm{index}", version=index + 1, weight=weight) for index, weight in enumerate(weights))
    return Route(model="spam", number=1, arms=arms, salt=salt, at=NOW, reason="")


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0),
        ("", 1, 0x514E28B7),
        ("test", 0, 0xBA6BD213),
        ("Hello, world!", 0, 0xC0363E43),
        ("aaaa", 0x9747B28C, 0x5A97808A),
    ],
)
def test_murmur3_gives_the_published_values(text, seed, expected):
    assert murmurhash3_32(text, seed=seed, positive=True) == expected


def test_keys_are_hashed_with_their_salt():
    assert hash_keys("te", ["st"]).tolist() == [murmurhash3_32("te:st", positive=True)]
    assert hash_keys("a", ["x"]) != hash_keys("b", ["x"])


@pytest.mark.parametrize("width", [1, 2, 100, 10_000, 1 << 30, 1 << 32])
def test_buckets_at_the_edges(width):
    hashes = np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], dtype=np.uint64)
    found = bucket(hashes, width).tolist()
    assert found == [int(value) * width >> 32 for value in hashes]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, width - 1)


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.lists(st.text(max_size=8).filter(lambda t: t.isprintable()), min_size=1, max_size=40),
    st.text("ab", max_size=3),
)
def test_raising_a_weight_only_adds_entities(one, other, keys, salt):
    low, high = sorted((one, other))
    before = assign(route(1 - low, low, salt=salt), keys) == 1
    after = assign(route(1 - high, high, salt=salt), keys) == 1
    assert (after | ~before).all()


def test_the_last_of_three_arms_grows_without_moving_the_second():
    before, after = assign(route(0.7, 0.2, 0.1), KEYS), assign(route(0.4, 0.2, 0.4), KEYS)
    np.testing.assert_array_equal(before == 1, after == 1)
    assert ((after == 2) | (before != 2)).all()


@pytest.mark.parametrize(
    "weights", [(0.9, 0.1), (0.5, 0.5), (0.99, 0.01), (9, 1), (0.25, 0.25, 0.5), (1.0, 0.0), (0.0, 1.0), (1.0,)]
)
def test_shares_of_traffic(weights):
    counts = np.bincount(assign(route(*weights), KEYS), minlength=len(weights))
    shares = np.array(weights) / sum(weights)
    # Five standard deviations of the binomial.
    assert (np.abs(counts - len(KEYS) * shares) <= 5 * np.sqrt(len(KEYS) * shares * (1 - shares))).all()


def test_an_entity_stays_whatever_comes_with_it_and_another_salt_mixes_anew():
    whole = assign(route(0.5, 0.5), KEYS[:500])
    assert [int(assign(route(0.5, 0.5), [key])[0]) for key in KEYS[:500]] == whole.tolist()
    other = assign(route(0.5, 0.5, salt="other"), KEYS[:500])
    assert 0.4 < (whole == other).mean() < 0.6
