"""The hash that entities are assigned by: published values, shares of a million keys, independence of salts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from itertools import combinations

import mmh3
import numpy as np
import numpy.typing as npt
from benchmarks.statistics.section import Section, Table
from scipy import stats

from homeostat.records import Arm, Route
from homeostat.serving.routing import assign, bucket, hash_keys

Words = npt.NDArray[np.uint32]
KEYS = 1_000_000
CELLS = 20
SALTS = tuple(f"salt-{number}" for number in range(10))
# All comparisons of one table together err with this probability where nothing is wrong (Bonferroni).
LEVEL = 0.01
# (key, seed, murmur3_x86_32), as published with the algorithm and by its ports.
PUBLISHED = (
    (b"", 0x00000000, 0x00000000),
    (b"", 0x00000001, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"\x21\x43\x65\x87", 0, 0xF55B516B),
    (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
    (b"\x21\x43\x65", 0, 0x7E4A8634),
    (b"\x21\x43", 0, 0xA0F7B07A),
    (b"\x21", 0, 0x72661CF4),
    (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    (b"\x00\x00\x00", 0, 0x85F0B427),
    (b"\x00\x00", 0, 0x30F4C306),
    (b"\x00", 0, 0x514E28B7),
    (b"aaaa", 0x9747B28C, 0x5A97808A),
    (b"abc", 0, 0xB3DD93FA),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
)
# What SMHasher's verification gives for murmur3_x86_32.
SMHASHER = 0xB0F57EE3


def published() -> int:
    """How many of the published values come out."""
    return sum(mmh3.hash(key, seed, signed=False) == value for key, seed, value in PUBLISHED)


def smhasher() -> int:
    """SMHasher's verification: a hash of the hashes of 256 keys, each of another length and seed."""
    hashes = b"".join(
        mmh3.hash(bytes(range(length)), 256 - length, signed=False).to_bytes(4, "little") for length in range(256)
    )
    return mmh3.hash(hashes, 0, signed=False)


def murmur3(text: bytes, seed: int = 0) -> int:
    """The same function written anew from its description, to hold the product's use of it against."""
    c1, c2, mask, h = 0xCC9E2D51, 0x1B873593, 0xFFFFFFFF, seed

    def turned(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & mask

    whole = len(text) // 4 * 4
    for start in range(0, len(text), 4):
        k = int.from_bytes(text[start : start + 4], "little") * c1 & mask
        h ^= turned(k, 15) * c2 & mask
        if start < whole:
            h = (turned(h, 13) * 5 + 0xE6546B64) & mask
    h ^= len(text)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * factor & mask
    return h ^ (h >> 16)


def agreeing(keys: int) -> int:
    """How many keys, with their salt, the product hashes as that does."""
    names = [f"user-{number}" for number in range(keys)]
    found = hash_keys("spam", names).tolist()
    return sum(value == murmur3(f"spam:{name}".encode()) for value, name in zip(found, names, strict=True))


def route(weight: float) -> Route:
    arms = (
        Arm(name="control", version=1, weight=round(1 - weight, 6)),
        Arm(name="candidate", version=2, weight=weight),
    )
    return Route(model="spam", number=1, arms=arms, salt="spam", at=datetime(2025, 1, 1, tzinfo=UTC), reason="")


def deviations(percents: Sequence[int], keys: int) -> tuple[int, float, bool]:
    """For weights in percent: how many shares lie within binomial limits, and the largest deviation in standard errors.

    And whether a higher weight only ever added keys.
    """
    names = [f"user-{number}" for number in range(keys)]
    within, largest, nested = 0, 0.0, True
    before = np.zeros(keys, dtype=bool)
    for percent in percents:
        weight = percent / 100
        chosen = assign(route(weight), names) == 1
        low, high = stats.binom.ppf([LEVEL / 99 / 2, 1 - LEVEL / 99 / 2], keys, weight)
        within += bool(low <= chosen.sum() <= high)
        largest = max(largest, abs(chosen.sum() - keys * weight) / np.sqrt(keys * weight * (1 - weight)))
        nested &= bool((chosen | ~before).all())
        before = chosen
    return within, float(largest), nested


def shares(keys: int, pool: Executor | None = None) -> tuple[int, float, bool]:
    """The same for all weights of 1 to 99 %."""
    if pool is None:
        return deviations(range(1, 100), keys)
    # Each part begins with the weight that the one before ended with, so that all neighbours are compared.
    parts = [range(1, 51), range(50, 100)]
    (low, first, one), (high, second, other) = [
        future.result() for future in [pool.submit(deviations, part, keys) for part in parts]
    ]
    again, _, _ = deviations([50], keys)
    return low + high - again, max(first, second), one and other


def independence(keys: int) -> tuple[float, float, int]:
    """The smallest p over all salts that cells are equally full, over all pairs of salts that they are independent."""
    names = [f"user-{number}" for number in range(keys)]
    cells = {salt: bucket(hash_keys(salt, names), CELLS).astype(np.int64) for salt in SALTS}
    even = min(float(stats.chisquare(np.bincount(found, minlength=CELLS)).pvalue) for found in cells.values())
    pairs = list(combinations(SALTS, 2))
    expected = keys / CELLS**2
    ps = []
    for one, other in pairs:
        table = np.bincount(cells[one] * CELLS + cells[other], minlength=CELLS**2).reshape(CELLS, CELLS)
        rows, columns = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
        statistic = float(((table - rows * columns / keys) ** 2 / (rows * columns / keys)).sum())
        ps.append(float(stats.chi2.sf(statistic, (CELLS - 1) ** 2)))
    assert expected > 5
    return even, min(ps), len(pairs)


def run(pool: Executor | None, *, keys: int) -> Section:
    within, largest, nested = shares(keys, pool)
    limit = float(stats.norm.isf(LEVEL / 99 / 2))
    even, pairwise, pairs = independence(keys)
    few = min(keys, 20_000)
    verified = smhasher()
    return Section(
        "Hash and buckets",
        f"Entities are assigned by murmur3 (x86, 32 bits) of `salt:key`. {keys:,} keys; the limits of a table are such "
        f"that all of its comparisons together fail with probability {LEVEL:.0%} where nothing is wrong.",
        [
            Table(
                ["check", "found", "expected"],
                [
                    ["published values", published(), len(PUBLISHED)],
                    ["SMHasher's verification", f"0x{verified:08X}", f"0x{SMHASHER:08X}"],
                    ["keys hashed as by the function written anew", f"{agreeing(few):,}", f"{few:,}"],
                    ["weights of 1 to 99 % whose share lies within binomial limits", within, 99],
                    ["largest deviation of a share, in standard errors", f"{largest:.2f}", f"at most {limit:.2f}"],
                    ["a higher weight only added keys", "yes" if nested else "no", "yes"],
                    [
                        f"smallest p that {CELLS} cells are equally full, {len(SALTS)} salts",
                        f"{even:.3f}",
                        f"at least {LEVEL / len(SALTS):.4f}",
                    ],
                    [
                        f"smallest p (chi-square) that two salts are independent, {pairs} pairs",
                        f"{pairwise:.3f}",
                        f"at least {LEVEL / pairs:.5f}",
                    ],
                ],
            )
        ],
    )
