"""Rows dealt to experiments: who owns a bucket, which arm answers, and that raising a weight only adds entities."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.records import BUCKETS, Arm, Buckets, ExperimentRoute, Route
from homeostat.serving.routing import Allocation, assign, bucket, hash_keys

NOW = datetime(2025, 1, 1, tzinfo=UTC)
KEYS = [f"user-{number}" for number in range(20_000)]


def experiment(id_, ranges, *weights, salt=None, by_request=False):
    arms = tuple(Arm(name=f"arm{place}", version=place + 1, weight=weight) for place, weight in enumerate(weights))
    parts = tuple(Buckets(start=start, stop=stop) for start, stop in ranges)
    return ExperimentRoute(id=id_, ranges=parts, salt=salt or id_, arms=arms, by_request=by_request)


def allocation(*experiments, weights=(1.0,), holdouts=(), salt="space"):
    route = Route(
        model="mail",
        number=1,
        arms=tuple(Arm(name=f"route{place}", version=place + 1, weight=one) for place, one in enumerate(weights)),
        salt="mail",
        at=NOW,
        reason="",
        namespace_salt=salt,
        experiments=experiments,
        holdouts=tuple(Buckets(start=start, stop=stop) for start, stop in holdouts),
    )
    made = Allocation.of(route)
    assert made is not None
    return made


def named(made, keys=KEYS, ids=None):
    return np.array(made.names, dtype=object)[made.assign(keys, keys if ids is None else ids)]


def test_a_route_without_experiments_has_no_allocation():
    route = Route(model="m", number=1, arms=(Arm(name="a", version=1, weight=1.0),), salt="m", at=NOW, reason="")
    assert Allocation.of(route) is None


def test_rows_go_where_their_bucket_belongs():
    made = allocation(
        experiment("one", [(0, 1000), (5000, 6000)], 0.5, 0.5),
        experiment("two", [(1000, 3000)], 0.2, 0.3, 0.5),
        weights=(0.6, 0.4),
        holdouts=[(9000, 10_000)],
    )
    places = bucket(hash_keys("space", KEYS), BUCKETS)
    found = named(made)
    route = np.array(["route0", "route1"], dtype=object)[assign(made.route, KEYS)]
    for place, name, default in zip(places, found, route, strict=True):
        if place < 1000 or 5000 <= place < 6000:
            assert name.startswith("one/arm")
        elif place < 3000:
            assert name.startswith("two/arm")
        else:
            assert name == ("route0" if place >= 9000 else default)
    inside = found[(places >= 1000) & (places < 3000)]
    for arm, weight in (("two/arm0", 0.2), ("two/arm1", 0.3), ("two/arm2", 0.5)):
        # Five standard deviations of the binomial.
        assert abs((inside == arm).mean() - weight) < 5 * np.sqrt(weight * (1 - weight) / len(inside))


def test_nobody_is_in_two_experiments_of_a_namespace_whatever_the_model():
    one = allocation(experiment("one", [(0, 4000)], 0.5, 0.5))
    other = allocation(experiment("two", [(4000, 9000)], 0.5, 0.5))
    assert not (one.assign(KEYS, KEYS).astype(bool) & other.assign(KEYS, KEYS).astype(bool)).any()


def test_the_arm_says_nothing_of_the_bucket_and_salts_mix_anew():
    made = allocation(experiment("one", [(0, BUCKETS)], 0.5, 0.5, salt="a"))
    arm = made.assign(KEYS, KEYS) == 2
    low = bucket(hash_keys("space", KEYS), BUCKETS) < BUCKETS // 2
    limit = 5 * np.sqrt(0.25 / len(KEYS))
    assert abs((arm & low).mean() - 0.25) < limit
    other = allocation(experiment("one", [(0, BUCKETS)], 0.5, 0.5, salt="b")).assign(KEYS, KEYS) == 2
    assert abs((arm == other).mean() - 0.5) < limit


def test_a_random_experiment_deals_each_request():
    ids = [f"request-{number}" for number in range(2000)]
    same = ["ann"] * len(ids)
    sticky = allocation(experiment("one", [(0, BUCKETS)], 0.5, 0.5))
    random = allocation(experiment("one", [(0, BUCKETS)], 0.5, 0.5, by_request=True))
    assert len(set(named(sticky, same, ids))) == 1
    assert 0.4 < (named(random, same, ids) == "one/arm0").mean() < 0.6


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
    st.lists(st.text(max_size=8).filter(lambda text: text.isprintable()), min_size=1, max_size=30),
    st.text("ab", max_size=3),
)
def test_raising_a_weight_only_adds_entities(shares, keys, salt):
    low, high = sorted(shares)
    before, after = (
        named(allocation(experiment("one", [(0, BUCKETS)], 1 - share, share, salt=salt)), keys) == "one/arm1"
        for share in (low, high)
    )
    assert (after | ~before).all()


@given(st.integers(0, BUCKETS), st.integers(0, BUCKETS), st.lists(st.text("abc", max_size=6), min_size=1, max_size=30))
def test_more_buckets_only_add_entities_and_leave_the_others_in_their_arms(one, other, keys):
    low, high = sorted((one, other))
    before, after = (
        named(allocation(experiment("one", [(0, stop)], 0.5, 0.5)), keys) if stop else np.full(len(keys), "route0")
        for stop in (low, high)
    )
    assert all(then in ("route0", now) for then, now in zip(before, after, strict=True))


def test_the_last_of_three_arms_grows_without_moving_the_second():
    before, after = (
        named(allocation(experiment("one", [(0, BUCKETS)], *weights))) for weights in ((0.7, 0.2, 0.1), (0.4, 0.2, 0.4))
    )
    np.testing.assert_array_equal(before == "one/arm1", after == "one/arm1")
    assert ((after == "one/arm2") | (before != "one/arm2")).all()


@pytest.mark.parametrize("key", ["", "\ud800", "ü" * 100])
def test_any_text_is_a_key(key):
    assert named(allocation(experiment("one", [(0, BUCKETS)], 0.5, 0.5)), [key])[0].startswith("one/")


@pytest.mark.slow
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (0.99, 0.01), (0.34, 0.33, 0.33), (0.999, 0.001)])
@pytest.mark.parametrize("salt", ["", "a", "mail-experiment-7"])
def test_a_million_keys_split_within_binomial_limits(weights, salt):
    keys = [str(number) for number in range(1_000_000)]
    made = allocation(experiment("one", [(0, 5000)], *weights, salt=f"arms/{salt}"), salt=f"namespace/{salt}")
    counts = np.bincount(made.assign(keys, keys), minlength=1 + len(weights))
    shares = np.array([0.5, *(0.5 * weight for weight in weights)])
    # Five standard deviations, of about a hundred figures in all: none is beyond by chance.
    assert (np.abs(counts - len(keys) * shares) <= 5 * np.sqrt(len(keys) * shares * (1 - shares))).all()
