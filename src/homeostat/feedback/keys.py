"""Where a key of 16 bytes stands among many: a hash table whose look-ups are a few operations on whole arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from homeostat.records.ids import KEY_BYTES

Places = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

NOWHERE = -1
# What is looked up at a time: the arrays in between stay in the cache.
AT_ONCE = 1 << 15
# A key that finds so many slots taken was chosen to; such go into a dictionary.
MOST_PROBES = 48
# Of two to the power of this many marks for each key, one is set.
MARK_BITS = 3
# Odd numbers of well mixed bits: the digits of pi, of the golden ratio, and a multiplier of Pelle Evensen's rrmxmx.
_FIRST, _SECOND, _LAST = np.uint64(0x243F6A8885A308D3), np.uint64(0x9E3779B97F4A7C15), np.uint64(0x9FB21C651E98DF25)
_HALF, _ONE = np.uint64(32), np.uint64(1)


class KeyPlaces:
    """The places of keys; of equal ones the first.

    Open addressing with double hashing (Knuth, "The Art of Computer Programming" 3, section 6.4, algorithm D), where
    all keys go one step at a time and at most half of the table is taken. Most keys that are not there are told by a
    smaller table of marks.

    >>> places = KeyPlaces(b"a" * 16 + b"b" * 16 + b"a" * 16)
    >>> places.of(b"b" * 16 + b"c" * 16 + b"a" * 16)
    array([ 1, -1,  0])
    """

    def __init__(self, keys: bytes | memoryview) -> None:
        words = _words(keys)
        self._high, self._low = np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])
        bits = max(2 * len(words) - 1, 1).bit_length()
        self._mask = (1 << bits) - 1
        self._shift, self._mark_shift = np.uint64(64 - bits), np.uint64(64 - bits - MARK_BITS + 1)
        self._slots = np.full(1 << bits, NOWHERE, dtype=np.int64)
        self._marks = np.zeros(1 << (bits + MARK_BITS - 1), dtype=bool)
        self._left: dict[tuple[int, int], int] = {}
        places: Places = np.arange(len(words))
        mixed = _mixed(words)
        self._marks[_index(mixed >> self._mark_shift)] = True
        at, step = _index(mixed >> self._shift), _index(mixed | _ONE)
        for _ in range(MOST_PROBES):
            if not len(places):
                return
            free = self._slots.take(at) < 0
            # Backwards, because of all that are written to one slot the last stays.
            self._slots[at[free][::-1]] = places[free][::-1]
            held = self._slots.take(at)
            others = np.flatnonzero(~self._same(held, self._high.take(places), self._low.take(places)))
            places, step = places.take(others), step.take(others)
            at = at.take(others) + step & self._mask
        for place in places[::-1].tolist():
            self._left[int(self._high[place]), int(self._low[place])] = place

    def of(self, keys: bytes | memoryview) -> Places:
        """The place of each of these keys, `NOWHERE` where it is none of those held."""
        words = _words(keys)
        found = np.full(len(words), NOWHERE, dtype=np.int64)
        for start in range(0, len(words), AT_ONCE):
            self._look_up(words[start : start + AT_ONCE], found[start : start + AT_ONCE])
        return found

    def _look_up(self, words: Words, found: Places) -> None:
        mixed = _mixed(words)
        rows = np.flatnonzero(self._marks.take(_index(mixed >> self._mark_shift)))
        mixed = mixed.take(rows)
        high, low = words[:, 0].take(rows), words[:, 1].take(rows)
        at, step = _index(mixed >> self._shift), _index(mixed | _ONE)
        for _ in range(MOST_PROBES):
            held = self._slots.take(at)
            # An empty slot gives the last key, which says nothing: where the two are the same, the place is held too.
            same = (held >= 0) & self._same(held, high, low)
            found[rows[same]] = held[same]
            others = np.flatnonzero((held >= 0) & ~same)
            if not len(others):
                return
            rows, high, low, step = rows.take(others), high.take(others), low.take(others), step.take(others)
            at = at.take(others) + step & self._mask
        for row, key in zip(rows.tolist(), zip(high.tolist(), low.tolist(), strict=True), strict=True):
            found[row] = self._left.get(key, NOWHERE)

    def _same(self, held: Places, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        """Whether the keys held at those places are these."""
        same: npt.NDArray[np.bool_] = self._low.take(held, mode="wrap") == low
        same &= self._high.take(held, mode="wrap") == high
        return same


def _words(keys: bytes | memoryview) -> Words:
    return np.frombuffer(keys, np.uint64).reshape(-1, KEY_BYTES // 8)


def _mixed(words: Words) -> Words:
    mixed = words[:, 0] * _FIRST
    mixed ^= words[:, 1] * _SECOND
    mixed ^= mixed >> _HALF
    mixed *= _LAST
    return mixed


def _index(words: Words) -> Places:
    return words.view(np.int64)
