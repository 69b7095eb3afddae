"""A sliding window of profiles is the profile of the latest rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.frames import Columns, concatenate
from homeostat.monitoring.profiles import PARTS, LiveProfiles
from homeostat.records import PredictionBlock
from homeostat.stats.profile import Profile
from homeostat.stores.memory import MemoryPredictionLog

CATEGORIES = np.array(["a", "b", "never seen", None], dtype=object)


def made_columns(rows: int, rng: np.random.Generator) -> Columns:
    x = rng.normal(size=rows)
    x[rng.random(rows) < 0.1] = np.nan
    x[rng.random(rows) < 0.05] = np.inf
    return Columns({"x": x, "c": CATEGORIES[rng.integers(0, 4, rows)]})


REFERENCES = {
    version: Profile.of({"x": np.linspace(-2, 2, 200) * version, "c": np.array(["a", "b"] * 100, dtype=object)})
    for version in (1, 2, 3)
}


class Source:
    """Writes blocks, and remembers what each version served."""

    def __init__(self, window_rows: int, seed: int = 0) -> None:
        self.log = MemoryPredictionLog()
        self.rng = np.random.default_rng(seed)
        self.live = LiveProfiles(self.log, "m", REFERENCES.__getitem__, window_rows=window_rows)
        self.served: dict[int, list[tuple[Columns, np.ndarray, np.ndarray]]] = {}
        self.count = 0

    def write(self, rows: int, versions: list[int], *, shadow: bool = False) -> None:
        columns, score = made_columns(rows, self.rng), self.rng.random(rows)
        version = self.rng.choice(versions, rows).astype(np.int64)
        number = np.arange(self.count, self.count + rows)
        self.count += rows
        times = (np.datetime64("2025-01-01T00:00:00", "us") + number * np.timedelta64(1, "s")).astype("datetime64[us]")
        none = np.full(rows, None, dtype=object)
        block = PredictionBlock(
            model="m",
            shadow=shadow,
            ids=np.array([f"{shadow}{i}" for i in number], dtype=object),
            event_time=times,
            version=version,
            arm=none,
            entity=none,
            output=none,
            score=score,
            latency_ms=np.ones(rows),
            error=none,
            features=Columns({}, rows) if shadow else columns,
        )
        self.log.append([block])
        if not shadow:
            for one in np.unique(version).tolist():
                mine = version == one
                self.served.setdefault(one, []).append((columns.take(mine), score[mine], times[mine]))

    def check(self, window_rows: int) -> None:
        for version, parts in self.served.items():
            window = self.live.window(version)
            assert window is not None
            total = sum(part[0].rows for part in parts)
            rows = window.profile.rows
            assert min(window_rows, total) <= rows <= total
            # No more than a part beyond the window, however the rows came.
            largest = max(*(part[0].rows for part in parts), 1, window_rows // PARTS)
            assert rows < window_rows + largest
            last = concatenate([part[0] for part in parts]).take(slice(total - rows, total))
            assert_same(window.profile, Profile.of(last, like=REFERENCES[version]))
            scores = np.concatenate([part[1] for part in parts])[total - rows :]
            np.testing.assert_array_equal(window.scores, scores)
            times = np.concatenate([part[2] for part in parts])[total - rows :].astype(np.int64)
            assert (window.start, window.end) == (times.min(), times.max())


def assert_same(one: Profile, two: Profile) -> None:
    assert one.rows == two.rows
    a, b = one.to_dict()["features"], two.to_dict()["features"]
    for name in a:
        for key, value in a[name].items():
            if isinstance(value, float):
                assert value == pytest.approx(b[name][key], rel=1e-9, abs=1e-9), (name, key)
            else:
                assert value == b[name][key], (name, key)


@settings(max_examples=60, deadline=None)
@given(
    window_rows=st.sampled_from([1, 2, 7, 40, 100]),
    sizes=st.lists(st.sampled_from([1, 1, 1, 2, 3, 5, 30, 90, 250]), min_size=1, max_size=25),
    follow_every=st.integers(1, 4),
    versions=st.sampled_from([[1], [1, 2], [1, 2, 3]]),
    seed=st.integers(0, 1000),
)
def test_the_window_is_the_profile_of_the_latest_rows(window_rows, sizes, follow_every, versions, seed):
    source = Source(window_rows, seed)
    for number, rows in enumerate(sizes):
        source.write(rows, versions)
        source.write(rows, versions, shadow=True)
        if number % follow_every == 0:
            source.live.follow()
            if number == 0:
                source.check(window_rows)
    source.live.follow()
    source.check(window_rows)


def test_single_rows_are_joined_into_parts_and_slide():
    source = Source(100)
    for _ in range(700):
        source.write(1, [1])
        source.live.follow()
    source.check(100)


def test_following_counts_served_rows_once():
    source = Source(50)
    source.write(30, [1])
    source.write(30, [2], shadow=True)
    assert source.live.follow() == 30
    assert source.live.follow() == 0
    assert source.live.window(2) is None


def test_a_restart_gives_the_same_window():
    source = Source(40)
    for rows in (10, 3, 25, 1, 1, 60, 2):
        source.write(rows, [1, 2])
        source.live.follow()
    again = LiveProfiles(source.log, "m", REFERENCES.__getitem__, window_rows=40)
    again.follow()
    for version in (1, 2):
        one, two = source.live.window(version), again.window(version)
        assert one is not None
        assert two is not None
        assert_same(one.profile, two.profile)
        np.testing.assert_array_equal(one.scores, two.scores)


def test_after_a_long_pause_only_the_rows_that_windows_hold_are_profiled():
    source = Source(window_rows=40)
    source.write(30, [3])
    source.live.follow()
    for _ in range(60):
        source.write(25, [1, 2])
    # A version that served a few rows long before the end keeps them.
    source.write(5, [3])
    for _ in range(60):
        source.write(25, [1])
    assert source.live.follow() == 120 * 25 + 5
    source.check(40)
