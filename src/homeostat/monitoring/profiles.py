"""Profiles of what each version serves, kept as predictions are logged: a window is a sum of small profiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.ports import PredictionLog
from homeostat.stats.profile import Profile

PARTS = 20


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """The latest rows of a version: `start` and `end` are microseconds of UTC of its oldest and newest part."""

    profile: Profile
    scores: npt.NDArray[np.float64]
    start: int
    end: int


@dataclass(slots=True)
class _Part:
    profile: Profile
    scores: npt.NDArray[np.float64]
    start: int
    end: int


class LiveProfiles:
    """Follows the log of one model, and keeps a sliding window of profiles for each version that serves.

    It is a cache over the log: after a restart it is built again from there.
    """

    def __init__(
        self, log: PredictionLog, model: str, reference: Callable[[int], Profile], *, window_rows: int
    ) -> None:
        self._log = log
        self._model = model
        self._reference = reference
        self._window_rows = window_rows
        self._sequence = 0
        self._parts: dict[int, deque[_Part]] = {}

    def follow(self) -> int:
        """Profile what was logged since the last call; returns how many rows that were."""
        rows = 0
        for sequence, block in self._log.features_after(self._model, self._sequence):
            self._sequence = sequence
            rows += block.rows
            times = block.event_time.astype(np.int64)
            for version in np.unique(block.version):
                mine = block.version == version
                columns = block.features if mine.all() else block.features.take(mine)
                profile = Profile.of(columns, like=self._reference(int(version)))
                part = _Part(profile, block.score[mine], int(times[mine].min()), int(times[mine].max()))
                self._add(int(version), part)
        return rows

    def _add(self, version: int, part: _Part) -> None:
        parts = self._parts.setdefault(version, deque())
        most = max(1, self._window_rows // PARTS)
        if parts and parts[-1].profile.rows + part.profile.rows <= most:
            last = parts[-1]
            parts[-1] = _Part(
                last.profile + part.profile,
                np.concatenate([last.scores, part.scores]),
                min(last.start, part.start),
                max(last.end, part.end),
            )
        else:
            parts.append(part)
        while len(parts) > 1 and sum(one.profile.rows for one in parts) - parts[0].profile.rows >= self._window_rows:
            parts.popleft()

    def window(self, version: int) -> WindowProfile | None:
        """The latest rows of a version, at least a window's where it has served as many; `None` before its first."""
        parts = self._parts.get(version)
        if not parts:
            return None
        whole = parts[0].profile
        for part in list(parts)[1:]:
            whole = whole + part.profile
        return WindowProfile(
            whole,
            np.concatenate([part.scores for part in parts]),
            min(part.start for part in parts),
            max(part.end for part in parts),
        )
