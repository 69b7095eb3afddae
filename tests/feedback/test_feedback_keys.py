"""Places of keys agree with a dictionary, also where keys were chosen to collide."""

import numpy as np
import pytest

from homeostat.feedback import keys as module
from homeostat.feedback.keys import KeyPlaces


def cut(content):
    return [content[start : start + 16] for start in range(0, len(content), 16)]


def expected(held, asked):
    first = {}
    for place, key in enumerate(held):
        first.setdefault(key, place)
    return [first.get(key, -1) for key in asked]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 1000, 40_000])
def test_they_agree_with_a_dictionary(count):
    rng = np.random.default_rng(count)
    held = cut(rng.bytes(16 * count))
    held += held[: count // 3]
    asked = [*held, *cut(rng.bytes(16 * count)), b"\0" * 16]
    assert KeyPlaces(b"".join(held)).of(b"".join(asked)).tolist() == expected(held, asked)


def test_zeros_and_keys_that_differ_in_one_half_are_told_apart():
    held = [a + b for a in (bytes(8), b"\xff" * 8, b"12345678") for b in (bytes(8), b"\xff" * 8, b"87654321")]
    asked = [*held, b"12345678" * 2]
    assert KeyPlaces(b"".join(held)).of(b"".join(asked)).tolist() == [*range(9), -1]


def test_keys_that_all_want_the_same_slots_cost_no_more_than_a_dictionary(monkeypatch):
    monkeypatch.setattr(module, "_mixed", lambda words: np.full(len(words), 5 << 40, dtype=np.uint64))
    held = cut(np.random.default_rng(1).bytes(16 * 300))
    held += held[:100]
    asked = [*held, *cut(np.random.default_rng(2).bytes(16 * 50))]
    assert KeyPlaces(b"".join(held)).of(b"".join(asked)).tolist() == expected(held, asked)
