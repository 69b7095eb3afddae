"""The ids of large blocks that a log knows, as sorted runs of keys: less than half of what a row in an index takes.

A run holds keys of one model and role that were made within a second of each other, as a UUIDv7 says (RFC 9562, section
5.7), without the bytes that all of them begin with. So which runs may hold an id follows from the id's own time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from homeostat.records.ids import KEY_BYTES

SCHEMA = (
    # `shared` is how many bytes of `low` all keys begin with; `rests` are the others, after each other.
    """CREATE TABLE IF NOT EXISTS known_run (
    number INTEGER PRIMARY KEY, model INTEGER NOT NULL, version INTEGER NOT NULL, low BLOB NOT NULL,
    high BLOB NOT NULL, shared INTEGER NOT NULL, rests BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS known_run_by_key ON known_run (model, version, low, high)",
)
# Fewer keys are faster as rows of an index. A run is short enough to be looked through for one id.
LEAST_ROWS, RUN_ROWS = 512, 512
SPAN_MILLISECONDS = 1000
MOST_OTHERS = 4
# Up to so many keys are looked for one by one.
FEW = 32
TIME_BYTES, VERSION_BYTE, UUID_VERSION = 6, 6, 7
_INSERT = "INSERT INTO known_run (model, version, low, high, shared, rests) VALUES (?, ?, ?, ?, ?, ?)"
_FIND = "SELECT low, shared, rests FROM known_run WHERE model = ? AND version = ? AND low BETWEEN ? AND ? AND high >= ?"
# The bits of a UUIDv7's first half that are random, behind its time and its version.
_WORD_BITS, _RANDOM_BITS = np.uint64(64), np.uint64(12)
_LOWEST, _HIGHEST = bytes(KEY_BYTES), b"\xff" * KEY_BYTES
_SINGLES = "SELECT id FROM known WHERE id BETWEEN ? AND ? AND model = ? AND version = ? LIMIT ?"


class Run(NamedTuple):
    """Sorted keys: the first one, how many bytes of it all begin with, and what follows in each."""

    low: bytes
    shared: int
    rests: bytes

    @property
    def keys(self) -> list[bytes]:
        """All of them."""
        head, width = self.low[: self.shared], KEY_BYTES - self.shared
        return [head + self.rests[start : start + width] for start in range(0, len(self.rests), width)]

    @property
    def length(self) -> int:
        """How many they are."""
        return len(self.rests) // (KEY_BYTES - self.shared)

    @property
    def high(self) -> bytes:
        """The last one."""
        return self.low[: self.shared] + self.rests[self.shared - KEY_BYTES :]

    def holds(self, key: bytes) -> bool:
        """Whether a key is one of them."""
        if key[: self.shared] != self.low[: self.shared]:
            return False
        rest, width = key[self.shared :], KEY_BYTES - self.shared
        place = self.rests.find(rest)
        while place >= 0 and place % width:
            # It lies across two of them.
            place = self.rests.find(rest, place + 1)
        return place >= 0

    def held_of(self, keys: set[bytes]) -> set[bytes]:
        """Those of some keys that are among them."""
        return keys.intersection(self.keys) if len(keys) > FEW else set(filter(self.holds, keys))


def runs_of(keys: bytes) -> list[Run] | None:
    """The keys of a block as runs; `None` where they are few, come twice, or are not of one time."""
    if len(keys) < LEAST_ROWS * KEY_BYTES:
        return None
    if (np.frombuffer(keys, np.uint8)[VERSION_BYTE::KEY_BYTES] >> 4 != UUID_VERSION).any():
        return None
    ordered = _ordered(keys)
    words = ordered.view(np.uint64)
    if ((words[1:, 0] == words[:-1, 0]) & (words[1:, 1] == words[:-1, 1])).any():
        return None
    found = []
    for start in range(0, len(ordered), RUN_ROWS):
        part = ordered[start : start + RUN_ROWS]
        first, last = part[0].tobytes(), part[-1].tobytes()
        if _time(last) - _time(first) > SPAN_MILLISECONDS:
            return None
        differing = np.flatnonzero(part[0] != part[-1])
        shared = int(differing[0]) if len(differing) else KEY_BYTES - 1
        found.append(Run(first, shared, part[:, shared:].tobytes()))
    return found


def _ordered(keys: bytes) -> npt.NDArray[np.uint8]:
    """Keys in their order, one a row."""
    each = np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)
    words = each.view(">u8").astype(np.uint64)
    if (words[:, 0] >> _RANDOM_BITS == words[0, 0] >> _RANDOM_BITS).all():
        # All of one millisecond: what follows fits into one number but for its end, and numbers are sorted faster.
        starts = (words[:, 0] << (_WORD_BITS - _RANDOM_BITS)) | (words[:, 1] >> _RANDOM_BITS)
        order = np.argsort(starts)
        if (np.diff(starts[order]) > 0).all():
            return each[order]
    return np.sort(np.frombuffer(keys, f"S{KEY_BYTES}")).view(np.uint8).reshape(-1, KEY_BYTES)


def insert_runs(connection: sqlite3.Connection, model: int, version: int, runs: Sequence[Run]) -> bool:
    """Keep the runs of a block; `False`, and nothing is kept, where the log knows one of its ids already, or may."""
    low, high = runs[0].low, runs[-1].high
    # Single rows and batches that came in the same moments. More rows than these are not worth a look.
    most = MOST_OTHERS * sum(run.length for run in runs)
    singles = [key for (key,) in connection.execute(_SINGLES, (low, high, model, version, most))]
    others = list(_between(connection, model, version, low, high))
    if len(singles) == most:
        return False
    if singles or others:
        own = {key for run in runs for key in run.keys}
        if not own.isdisjoint(singles) or any(not own.isdisjoint(other.keys) for other in others):
            return False
    rows = [(model, version, run.low, run.high, run.shared, run.rests) for run in runs]
    connection.executemany(_INSERT, rows)
    return True


def keys_in_runs(
    connection: sqlite3.Connection, model: int, version: int, keys: Sequence[bytes | str]
) -> frozenset[bytes]:
    """Those of some keys that the runs of a model and role hold."""
    own = {key for key in keys if isinstance(key, bytes) and key[VERSION_BYTE] >> 4 == UUID_VERSION}
    if not own:
        return frozenset()
    low, high = min(own), max(own)
    if _time(high) - _time(low) > SPAN_MILLISECONDS:
        return frozenset(
            key for key in own if any(run.holds(key) for run in _between(connection, model, version, key, key))
        )
    return frozenset(key for run in _between(connection, model, version, low, high) for key in run.held_of(own))


def reach_of(keys: Sequence[bytes | str]) -> tuple[bytes, bytes, bytes] | None:
    """Which runs may hold one of some keys: between which two they begin, and from which one on they end.

    `None` where the keys are not of one time: then no few runs would do.
    """
    own = [key for key in keys if isinstance(key, bytes) and key[VERSION_BYTE] >> 4 == UUID_VERSION]
    if not own:
        # Nothing is from the highest key to the lowest.
        return _HIGHEST, _LOWEST, _HIGHEST
    low, high = min(own), max(own)
    return None if _time(high) - _time(low) > SPAN_MILLISECONDS else (_earliest(low), high, low)


def _between(connection: sqlite3.Connection, model: int, version: int, low: bytes, high: bytes) -> Iterator[Run]:
    """The runs that may hold keys from `low` to `high`."""
    return map(Run._make, connection.execute(_FIND, (model, version, _earliest(low), high, low)))


def _earliest(low: bytes) -> bytes:
    """Where a run begins at the earliest that may hold a key."""
    return max(_time(low) - SPAN_MILLISECONDS, 0).to_bytes(TIME_BYTES, "big")


def _time(key: bytes) -> int:
    return int.from_bytes(key[:TIME_BYTES], "big")
