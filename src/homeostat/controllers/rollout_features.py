"""Features of the rows of a rollout, read only where a guardrail looks at them: a cache over the log.

It is followed by sequence numbers from the first row of the span on, so that a restart in a long step reads that span
and not the whole log; dropping it and reading again gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import numpy.typing as npt

from homeostat.feedback.growing import grown
from homeostat.feedback.joined import JoinedLog, named_entities
from homeostat.ports import PredictionLog
from homeostat.records import PredictionBlock, Rollout, StepKind, as_datetime64
from homeostat.rollouts.fairness import NONE, Grouping
from homeostat.stats.profile import Profile

Integers = npt.NDArray[np.int64]


class RolloutFeatures:
    """What the guardrails see of one model's features."""

    def __init__(self, log: PredictionLog, model: str) -> None:
        self._log = log
        self._model = model
        self._step: tuple[str, int, datetime] | None = None
        self._profile: Profile | None = None
        self._profiled: _Span | None = None
        self._seen: set[tuple[str, int]] = set()
        self._rollout: str | None = None
        self._grouped: _Span | None = None
        self._codes: dict[Grouping, Integers] = {}

    def of_step(self, rollout: Rollout, reference: Profile, *, until: int) -> Profile:
        """The profile, like the reference, of what the candidate scored since the present step began.

        It answers those rows; while it shadows it scores what production answers. `until` is the last block that
        counts. Of each entity only the first row of a day counts: the others are no more independent than it is.
        """
        key = (rollout.id, rollout.step, rollout.step_entered_at)
        if self._step != key or self._profile is None or self._profiled is None:
            self._step, self._profile = key, _without_sample(reference)
            self._profiled = _Span(self._log, self._model, rollout.step_entered_at)
            self._seen = set()
        scored = rollout.baseline if rollout.current.kind is StepKind.SHADOW else rollout.candidate
        for block in self._profiled.follow(until):
            mine = self._first(block, block.version == scored)
            # A candidate that has a feature more than production can't score production's rows either.
            if mine.any() and reference.features.keys() <= set(block.features):
                rows = block.features if mine.all() else block.features.take(mine)
                self._profile += Profile.of(rows, like=reference, sample=0)
        return self._profile

    def _first(self, block: PredictionBlock, mine: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which of these rows are the first of their entity on that day; one that names nobody is its own."""
        first = mine.copy()
        days = block.event_time.astype("datetime64[D]").astype(np.int64)
        for place in np.flatnonzero(mine & named_entities(block)).tolist():
            unit = (block.entity[place], int(days[place]))
            first[place] = unit not in self._seen
            self._seen.add(unit)
        return first

    def groups(
        self, rollout: Rollout, groupings: list[Grouping], joined: JoinedLog, rows: int
    ) -> list[tuple[Grouping, Integers]]:
        """The group of each of the joined rows, by each of the features; `NONE` before the rollout."""
        if self._rollout != rollout.id or self._grouped is None or list(self._codes) != groupings:
            self._rollout = rollout.id
            self._grouped = _Span(self._log, self._model, rollout.created_at)
            self._codes = {one: np.full(0, NONE, dtype=np.int64) for one in groupings}
        for one, codes in self._codes.items():
            self._codes[one] = grown(codes, rows, NONE)
        for block in self._grouped.follow(joined.sequence):
            places = joined.places(block.ids)
            known = places != NONE
            for one, codes in self._codes.items():
                if one.feature not in block.features:
                    continue
                codes[places[known]] = one.codes(block.features[one.feature][known])
        return [(one, codes[:rows]) for one, codes in self._codes.items()]


class _Span:
    """The blocks of served rows from a moment on, each once."""

    def __init__(self, log: PredictionLog, model: str, since: datetime) -> None:
        self._log = log
        self._model = model
        self._since = since
        self._sequence: int | None = None

    def follow(self, until: int) -> Iterator[PredictionBlock]:
        """Those that came since the last call, up to the one of that number."""
        if self._sequence is None:
            import pyarrow.compute as pc

            tables = self._log.scan(self._model, ["sequence"], since=self._since)
            first = min((pc.min(table["sequence"]).as_py() for table in tables if table.num_rows), default=None)
            if first is None:
                return
            self._sequence = int(first) - 1
        moment = as_datetime64(self._since)
        for sequence, block in self._log.features_after(self._model, self._sequence):
            if sequence > until:
                return
            self._sequence = sequence
            late = block.event_time >= moment
            if late.any():
                yield block if late.all() else block.take(late)


def _without_sample(reference: Profile) -> Profile:
    empty = reference.empty()
    return Profile(0, empty.features, None, empty.booleans)
