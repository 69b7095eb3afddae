"""Requests and responses that come apart: the first half waits in memory, within bounds, for the other one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

MOST_WAITING = 10_000
MOST_BYTES = 64 * 2**20
LONGEST_WAIT = timedelta(minutes=5)


class Side(StrEnum):
    """Which half of an inference it is."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Half:
    """One half, how large it is in bytes, and when it came."""

    side: Side
    content: Any
    size: int
    at: datetime


class Halves:
    """Halves by the model and the id that they share; those that wait too long, or are too many, are dropped.

    A half that comes twice takes the place of the first one. May be used by many threads.
    """

    def __init__(
        self, *, most: int = MOST_WAITING, most_bytes: int = MOST_BYTES, longest: timedelta = LONGEST_WAIT
    ) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._longest = longest
        self._waiting: OrderedDict[tuple[str, str], Half] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many halves wait."""
        return len(self._waiting)

    def offer(self, model: str, id_: str, half: Half) -> tuple[Half | None, int]:
        """The other half, which waits no more, or `None` where this one waits now; and how many were dropped."""
        key = (model, id_)
        with self._lock:
            held = self._remove(key)
            if held is not None and held.side is not half.side:
                return held, self._drop(half.at)
            self._waiting[key] = half
            self._bytes += half.size
            return None, self._drop(half.at)

    def put_back(self, model: str, id_: str, half: Half) -> None:
        """Let a half wait again, whose pair could not be used for now."""
        with self._lock:
            if (model, id_) not in self._waiting:
                self._waiting[model, id_] = half
                self._bytes += half.size

    def _remove(self, key: tuple[str, str]) -> Half | None:
        held = self._waiting.pop(key, None)
        self._bytes -= 0 if held is None else held.size
        return held

    def _drop(self, now: datetime) -> int:
        dropped = 0
        while self._waiting:
            key, oldest = next(iter(self._waiting.items()))
            is_late = now - oldest.at > self._longest
            if not is_late and len(self._waiting) <= self._most and self._bytes <= self._most_bytes:
                break
            self._remove(key)
            dropped += 1
        return dropped
