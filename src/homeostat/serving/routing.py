"""Which arm an entity is served by: a function of its key alone, so nothing has to be stored for it to stick."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.records import BUCKETS, Arm, Route

HASH_BITS = 32
RANGE = 1 << 30
# Whom a bucket belongs to: to no experiment, or to nobody but the control.
NOBODY, HELD_OUT = -1, -2


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
    chosen = np.searchsorted(edges_of(route.arms), place, side="right") + 1
    return np.where(chosen >= len(route.arms), 0, chosen).astype(np.intp)


def edges_of(arms: Sequence[Arm]) -> npt.NDArray[np.float64]:
    """Where the ranges of all arms but the first end, as shares of the whole, from the bottom."""
    total = sum(arm.weight for arm in arms)
    return np.cumsum([arm.weight / total for arm in arms[1:]])


@dataclass(frozen=True, slots=True)
class Allocation:
    """The experiments of a route, ready to be looked up: who owns which buckets, and where their arms begin.

    Arms of experiments are numbered on from those of the route, experiment by experiment; `names` has those of all.
    """

    route: Route
    starts: tuple[int, ...]
    owners: tuple[int, ...]
    edges: tuple[tuple[float, ...], ...]
    first: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, route: Route) -> Allocation | None:
        """The allocation of a route; `None` where it has no experiments."""
        if not route.experiments:
            return None
        owned = [(part.start, part.stop, HELD_OUT) for part in route.holdouts]
        for place, one in enumerate(route.experiments):
            owned += [(part.start, part.stop, place) for part in one.ranges]
        starts, owners = [0], [NOBODY]
        for start, stop, owner in sorted(owned):
            starts += [start, stop]
            owners += [owner, NOBODY]
        first, names = [], [arm.name for arm in route.arms]
        for one in route.experiments:
            first.append(len(names))
            names += [arm_label(one.id, arm.name) for arm in one.arms]
        return cls(
            route=route,
            starts=tuple(starts),
            owners=tuple(owners),
            edges=tuple(tuple(edges_of(one.arms).tolist()) for one in route.experiments),
            first=tuple(first),
            names=tuple(names),
        )

    def assign(self, keys: Sequence[str], ids: Sequence[str]) -> npt.NDArray[np.intp]:
        """The number of the arm that each row is answered by, from its entity's key and its prediction's id.

        A bucket of the namespace says which experiment owns the row, a second hash with the experiment's salt which of
        its arms answers: so that neither says anything of the other.
        """
        import mmh3

        experiments, salt = self.route.experiments, self.route.namespace_salt
        found = np.zeros(len(keys), dtype=np.intp)
        free: list[int] = []
        for row, key in enumerate(keys):
            hashed = mmh3.hash(f"{salt}:{key}".encode("utf-8", errors="surrogatepass"), signed=False)
            owner = self.owners[bisect_right(self.starts, hashed * BUCKETS >> HASH_BITS) - 1]
            if owner >= 0:
                one = experiments[owner]
                dealt = f"{one.salt}:{ids[row] if one.by_request else key}"
                hashed = mmh3.hash(dealt.encode("utf-8", errors="surrogatepass"), signed=False)
                chosen = bisect_right(self.edges[owner], (hashed * RANGE >> HASH_BITS) / RANGE) + 1
                found[row] = self.first[owner] + (chosen if chosen < len(one.arms) else 0)
            elif owner == NOBODY and len(self.route.arms) > 1:
                free.append(row)
        if free:
            found[free] = assign(self.route, [keys[row] for row in free])
        return found


def arm_label(experiment: str, arm: str) -> str:
    """What the log calls an experiment's arm."""
    return f"{experiment}/{arm}"
