"""Buckets of a namespace: whether ranges overlap, and which are free. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from homeostat.errors import InvalidExperiment
from homeostat.records import BUCKETS, Buckets


def checked(ranges: Sequence[Buckets]) -> tuple[Buckets, ...]:
    """Ranges in order. Raises `InvalidExperiment` where one is none, or two overlap.

    >>> checked([Buckets(start=50, stop=60), Buckets(start=0, stop=50)])
    (Buckets(start=0, stop=50), Buckets(start=50, stop=60))
    """
    ordered = tuple(sorted(ranges, key=lambda part: part.start))
    for part in ordered:
        if not 0 <= part.start < part.stop <= BUCKETS:
            raise InvalidExperiment(
                f"A range of buckets begins at 0 or above, ends at {BUCKETS:,} or below, and has at least one bucket; "
                f"{shown([part])} is none."
            )
    for part, following in pairwise(ordered):
        if following.start < part.stop:
            raise InvalidExperiment(f"The ranges {shown([part])} and {shown([following])} overlap.")
    return ordered


def overlap(one: Iterable[Buckets], other: Sequence[Buckets]) -> list[Buckets]:
    """The buckets that two sets of ranges share.

    >>> overlap([Buckets(start=0, stop=10)], [Buckets(start=5, stop=20)])
    [Buckets(start=5, stop=10)]
    """
    found = []
    for part in one:
        for each in other:
            start, stop = max(part.start, each.start), min(part.stop, each.stop)
            if start < stop:
                found.append(Buckets(start=start, stop=stop))
    return sorted(found, key=lambda part: part.start)


def free(taken: Iterable[Buckets]) -> list[Buckets]:
    """What of a namespace belongs to nobody.

    >>> free([Buckets(start=0, stop=9_000)])
    [Buckets(start=9000, stop=10000)]
    """
    found, at = [], 0
    for part in sorted(taken, key=lambda part: part.start):
        if part.start > at:
            found.append(Buckets(start=at, stop=part.start))
        at = max(at, part.stop)
    return [*found, Buckets(start=at, stop=BUCKETS)] if at < BUCKETS else found


def width(ranges: Iterable[Buckets]) -> int:
    """How many buckets ranges have."""
    return sum(part.stop - part.start for part in ranges)


def first_free(taken: Iterable[Buckets], buckets: int) -> tuple[Buckets, ...] | None:
    """So many free buckets, the lowest first; `None` where there are not so many."""
    found: list[Buckets] = []
    for part in free(taken):
        lacking = buckets - width(found)
        if lacking > 0:
            found.append(Buckets(start=part.start, stop=min(part.stop, part.start + lacking)))
    return tuple(found) if width(found) == buckets else None


def shown(ranges: Iterable[Buckets]) -> str:
    """Ranges as people write them: the first bucket and the one after the last.

    >>> shown([Buckets(start=0, stop=500), Buckets(start=900, stop=1000)])
    '0-500, 900-1000'
    """
    return ", ".join(f"{part.start}-{part.stop}" for part in ranges) or "none"


def parse(text: str) -> tuple[Buckets, ...]:
    """Ranges from a text such as `0-500,900-1000`. Raises `InvalidExperiment`."""
    found = []
    for part in text.split(","):
        start, _, stop = part.strip().partition("-")
        if not (start.isdecimal() and stop.isdecimal() and len(part) <= 20):
            raise InvalidExperiment("Ranges of buckets are written as 0-500 or 0-500,900-1000.")
        found.append(Buckets(start=int(start), stop=int(stop)))
    return checked(found)
