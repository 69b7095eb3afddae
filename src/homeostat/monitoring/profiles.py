"""Profiles of what each version serves, kept as predictions are logged: a window is a sum of small profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from homeostat.frames import concatenate
from homeostat.ports import PredictionLog
from homeostat.records import PredictionBlock
from homeostat.stats.profile import Profile

PARTS = 20
# From so many windows of rows on, only the latest are looked at.
CATCH_UP = 4


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """The latest rows of a version: `start` and `end` are microseconds of UTC of its oldest and newest part."""

    profile: Profile
    scores: npt.NDArray[np.float64]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Part:
    profile: Profile
    scores: npt.NDArray[np.float64]
    start: int
    end: int

    def __add__(self, other: _Part) -> _Part:
        return _Part(
            self.profile + other.profile,
            np.concatenate([self.scores, other.scores]),
            min(self.start, other.start),
            max(self.end, other.end),
        )


class _Sliding:
    """A queue of parts with its sum: two stacks, so that sliding costs a constant number of additions a part."""

    def __init__(self, window_rows: int) -> None:
        self._window_rows = window_rows
        self._front: list[tuple[_Part, _Part]] = []  # a part, and its sum with all that came after it in this stack
        self._back: list[_Part] = []
        self._back_sum: _Part | None = None
        self._rows = 0

    def add(self, part: _Part) -> None:
        self._rows += part.profile.rows
        last = self._back[-1] if self._back else None
        if last is not None and last.profile.rows + part.profile.rows <= max(1, self._window_rows // PARTS):
            self._back[-1] = last + part
        else:
            self._back.append(part)
        self._back_sum = part if self._back_sum is None else self._back_sum + part
        while self._rows - self._oldest().profile.rows >= self._window_rows:
            self._rows -= self._front.pop()[0].profile.rows

    def _oldest(self) -> _Part:
        if not self._front:
            for part in reversed(self._back):
                self._front.append((part, part + self._front[-1][1] if self._front else part))
            self._back, self._back_sum = [], None
        return self._front[-1][0]

    def whole(self) -> _Part:
        parts = [self._front[-1][1]] if self._front else []
        parts += [] if self._back_sum is None else [self._back_sum]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


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
        self._windows: dict[int, _Sliding] = {}

    def follow(self) -> int:
        """Profile what was logged since the last call; returns how many rows that were."""
        logged = self._log.features_after(self._model, self._sequence)
        if not logged:
            return 0
        self._sequence = logged[-1][0]
        together: list[PredictionBlock] = []
        held = 0
        for block in self._within_windows([block for _, block in logged]):
            # A profile costs by the call more than by the row.
            fits = held + block.rows <= max(1, self._window_rows // PARTS)
            if together and not (fits and list(together[0].features) == list(block.features)):
                self._add(together)
                together, held = [], 0
            together.append(block)
            held += block.rows
        if together:
            self._add(together)
        return sum(block.rows for _, block in logged)

    def _within_windows(self, blocks: list[PredictionBlock]) -> list[PredictionBlock]:
        """The blocks that some window still holds when all were added; those before would come and go unseen."""
        if sum(block.rows for block in blocks) <= CATCH_UP * self._window_rows:
            return blocks
        kept: list[PredictionBlock] = []
        after: dict[int, int] = {}
        for block in reversed(blocks):
            versions, counts = np.unique(block.version, return_counts=True)
            # Parts may be larger than a window's share, so that twice the rows are needed at most.
            if any(after.get(int(version), 0) < 2 * self._window_rows for version in versions):
                kept.append(block)
            for version, count in zip(versions.tolist(), counts.tolist(), strict=True):
                after[version] = after.get(version, 0) + count
        return kept[::-1]

    def _add(self, blocks: list[PredictionBlock]) -> None:
        whole = blocks[0].features if len(blocks) == 1 else concatenate([block.features for block in blocks])
        versions = np.concatenate([block.version for block in blocks])
        scores = np.concatenate([block.score for block in blocks])
        times = np.concatenate([block.event_time for block in blocks]).astype(np.int64)
        for version in np.unique(versions):
            mine = versions == version
            columns = whole if mine.all() else whole.take(mine)
            profile = Profile.of(columns, like=self._reference(int(version)), sample=0)
            part = _Part(profile, scores[mine], int(times[mine].min()), int(times[mine].max()))
            self._windows.setdefault(int(version), _Sliding(self._window_rows)).add(part)

    def window(self, version: int) -> WindowProfile | None:
        """The latest rows of a version, at least a window's where it has served as many; `None` before its first."""
        sliding = self._windows.get(version)
        if sliding is None:
            return None
        whole = sliding.whole()
        return WindowProfile(whole.profile, whole.scores, whole.start, whole.end)
