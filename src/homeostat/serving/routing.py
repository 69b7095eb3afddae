"""Which arm an entity is served by: a function of its key alone, so nothing has to be stored for it to stick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.records import Route

HASH_BITS = 32
RANGE = 1 << 30


def bucket(hashes: npt.NDArray[np.uint64], width: int) -> npt.NDArray[np.uint64]:
    """Map unsigned 32-bit hashes to 0 … width − 1 by `(hash · width) >> 32`, without the bias of a modulo.

    >>> bucket(np.array([0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], dtype=np.uint64), 100).tolist()
    [0, 49, 50, 99]
    """
    return (hashes * np.uint64(width)) >> np.uint64(HASH_BITS)


def hash_keys(salt: str, keys: Sequence[Any]) -> npt.NDArray[np.uint64]:
    """Unsigned 32-bit murmur3 of `salt:key` for each key."""
    import mmh3

    # A half of a surrogate pair is a legal key too, though no legal text.
    texts = (f"{salt}:{key}".encode("utf-8", errors="surrogatepass") for key in keys)
    return np.array([mmh3.hash(text, signed=False) for text in texts], dtype=np.uint64)


def assign(route: Route, keys: Sequence[Any]) -> npt.NDArray[np.intp]:
    """The position of the arm in `route.arms` that each key is served by.

    The first arm (control) fills the range from the top, the others from the bottom in their order, so that raising
    a later arm's weight only ever adds entities to it.
    """
    if len(route.arms) == 1:
        return np.zeros(len(keys), dtype=np.intp)
    place = bucket(hash_keys(route.salt, keys), RANGE).astype(np.float64) / RANGE
    total = sum(arm.weight for arm in route.arms)
    edges = np.cumsum([arm.weight / total for arm in route.arms[1:]])
    chosen = np.searchsorted(edges, place, side="right") + 1
    return np.where(chosen >= len(route.arms), 0, chosen).astype(np.intp)
