"""Scales between values and places, and ticks at round values and at round times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from homeostat.reports.format import DAY, MONTHS, seconds, utc

MINUTE, HOUR = 60.0, 3600.0
FIXED_STEPS = tuple(
    float(step)
    for step in (
        *(1, 2, 5, 10, 15, 30),
        *(60, 120, 300, 600, 900, 1800),
        *(3600, 7200, 10800, 21600, 43200),
        *(DAY, 2 * DAY, 7 * DAY, 14 * DAY),
    )
)
MONTH_STEPS = (1, 2, 3, 6)
YEAR_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
FIRST_MONDAY = 4 * DAY
SHORTEST_SPAN = 60.0


@dataclass(frozen=True)
class Linear:
    """A straight map of [low, high] to [start, end].

    >>> scale = Linear(0.0, 10.0, 100.0, 0.0)
    >>> scale(2.5), scale.invert(75.0)
    (75.0, 2.5)
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def invert(self, place: float) -> float:
        """The value at a place."""
        return self.low + (place - self.start) / (self.end - self.start) * (self.high - self.low)


def step_of(low: float, high: float, most: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that needs no more than `most` intervals."""
    raw = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0):
        if factor * power >= raw * (1 - 1e-9):
            return factor * power
    return 10.0 * power


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Round values within [low, high], at most `most` + 1 of them.

    >>> ticks(0.0, 1.0, 5)
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    step = step_of(low, high, most)
    places = max(0, 1 - math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(index * step, places) + 0.0 for index in range(first, last + 1))


def padded(values: Sequence[float], *, floor: float | None = None, ceiling: float | None = None) -> tuple[float, float]:
    """A range that holds all values with a little room, within bounds, and never empty.

    >>> padded([0.5, 1.0], floor=0.0, ceiling=1.0)
    (0.46, 1.0)
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    is_flat = high - low <= 1e-9 * max(abs(high), abs(low))
    room = (abs(high) * 0.1 or 0.5) if is_flat else (high - low) * 0.08
    low, high = low - room, high + room
    if floor is not None:
        low = max(low, floor)
    if ceiling is not None:
        high = min(high, ceiling)
    return low, high


def time_range(moments: Sequence[datetime]) -> tuple[float, float]:
    """First and last time in seconds since 1970, at least a minute apart."""
    if not moments:
        return 0.0, DAY
    places = [seconds(moment) for moment in moments]
    low, high = min(places), max(places)
    if high - low < SHORTEST_SPAN:
        middle = (low + high) / 2
        return middle - SHORTEST_SPAN / 2, middle + SHORTEST_SPAN / 2
    return low, high


@dataclass(frozen=True)
class TimeTick:
    """A round time with its label, and the larger unit (day or year) where it begins."""

    at: float
    label: str
    context: str = ""


def time_ticks(low: float, high: float, most: int = 8) -> tuple[TimeTick, ...]:
    """Round times within [low, high], at most `most` of them, from seconds to centuries.

    >>> [tick.label for tick in time_ticks(1704067200.0, 1704067200.0 + 120 * DAY, 6)]
    ['Jan', 'Feb', 'Mar', 'Apr']
    """
    most = max(2, most)
    for step in FIXED_STEPS:
        if (high - low) / step <= most - 1:
            origin = FIRST_MONDAY if step >= 7 * DAY else 0.0
            first = math.ceil((low - origin) / step)
            last = math.floor((high - origin) / step)
            return _labelled([origin + index * step for index in range(first, last + 1)], step)
    for months in (*MONTH_STEPS, *(12 * years for years in YEAR_STEPS)):
        found = _calendar(low, high, months)
        if len(found) <= most:
            return _labelled(found, months * 30 * DAY)
    return ()


def _calendar(low: float, high: float, months: int) -> list[float]:
    index = utc(low).year * 12 + utc(low).month - 1
    index -= index % months
    found: list[float] = []
    while 12 <= index < 12 * 10_000:
        at = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()
        if at > high:
            break
        if at >= low:
            found.append(at)
        index += months
    return found


def _labelled(places: Sequence[float], step: float) -> tuple[TimeTick, ...]:
    labelled: list[TimeTick] = []
    previous = ""
    for at in places:
        moment = utc(at)
        month = MONTHS[moment.month - 1]
        if step < DAY:
            label = f"{moment:%H:%M:%S}" if step < MINUTE else f"{moment:%H:%M}"
            context = f"{moment.day} {month} {moment.year}"
        elif step < 28 * DAY:
            label, context = f"{moment.day} {month}", str(moment.year)
        elif step < 360 * DAY:
            label, context = month, str(moment.year)
        else:
            label, context = str(moment.year), ""
        labelled.append(TimeTick(at, label, context if context != previous else ""))
        previous = context
    return tuple(labelled)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as can be, at least `gap` apart and within [low, high].

    Least squares by pooling adjacent violators (Ayer and others, 1955). Where there is no room, the gap shrinks.

    >>> spread([10.0, 11.0, 50.0], 4.0, 0.0, 60.0)
    [8.5, 12.5, 50.0]
    """
    count = len(wanted)
    if count == 0:
        return []
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    order = sorted(range(count), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            earlier, members = pools.pop()
            mean = (earlier * members + mean * size) / (members + size)
            size += members
        pools.append((mean, size))
    bases = [mean for mean, size in pools for _ in range(size)]
    top = high - gap * (count - 1)
    placed = [0.0] * count
    for rank, index in enumerate(order):
        placed[index] = min(max(bases[rank], low), top) + rank * gap
    return placed
