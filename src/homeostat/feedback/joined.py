"""Predictions joined with their labels and shadow scores: a cache over the log, followed by sequence numbers.

Nothing here is a source of truth: dropping it and reading the log again gives the same table.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.feedback.growing import grown
from homeostat.ports import PredictionLog
from homeostat.records import LabelBlock, PredictionBlock, Task

NONE = -1
CONTROL = "control"
# What stands between an experiment and its arm, and in no name of a rollout's.
EXPERIMENT = "/"
FIRST_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class Exposures:
    """The rows that experiments' arms were to answer, in the order in which they were logged.

    `arms` names the arms as the log does; `arm` and `entity` are codes, `row` is the position in `Rows` of what was
    answered, or `NONE` where the arm could not score and production answered instead. `ids` are the predictions'.
    """

    arms: tuple[str, ...]
    entities: tuple[str, ...]
    arm: npt.NDArray[np.int64]
    entity: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    event_time: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of served rows; all arrays have one entry a row, in the order in which they were logged.

    For classification `output` and `label` are class codes (`NONE` where absent); for regression `score` and
    `value` are compared, and `label` is 0 where a value is known. `by_label` lists the labelled rows' positions in the
    order in which their first labels came. `beside` holds what other versions gave for the same rows, as codes and
    scores, `earlier` the labels of a row that later ones took the place of: their time, code and value. `in_control` is
    1 for the rows of a rollout's control of the candidate's size, `entity` whose row it is, as a code (`NONE`: nobody
    was named, so it is its own).
    """

    classes: tuple[str, ...]
    event_time: npt.NDArray[np.int64]
    version: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    latency_ms: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    by_label: npt.NDArray[np.int64]
    label_time: npt.NDArray[np.int64]
    beside: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
    in_control: npt.NDArray[np.int64] | None = None
    entity: npt.NDArray[np.int64] | None = None
    earlier: dict[int, list[tuple[int, int, float]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.event_time)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Which rows have a label."""
        return np.asarray(self.label != NONE)

    def outputs_of(self, version: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Codes and scores of one version for every row, whether it answered or ran beside (`NONE`, NaN: neither)."""
        own = self.version == version
        code = np.where(own, self.output, NONE)
        score = np.where(own, self.score, np.nan)
        if version in self.beside:
            codes, scores = self.beside[version]
            code = np.where(own, code, codes)
            score = np.where(own, score, scores)
        return code, score


def named_entities(block: PredictionBlock) -> npt.NDArray[np.bool_]:
    """Which rows are of an entity that somebody named; the others carry their own id."""
    if block.entity is block.ids:
        return np.zeros(block.rows, dtype=bool)
    pairs = zip(block.entity.tolist(), block.ids.tolist(), strict=True)
    return np.array([entity is not None and entity != id_ for entity, id_ in pairs], dtype=bool)


class JoinedLog:
    """Follows the log of one model."""

    def __init__(self, log: PredictionLog, model: str, task: Task) -> None:
        self._log = log
        self._model = model
        self._task = task
        self._block_sequence = 0
        self._label_sequence = 0
        self._index: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._integers: dict[str, npt.NDArray[np.int64]] = {}
        self._floats: dict[str, npt.NDArray[np.float64]] = {}
        self._count = 0
        self._capacity = 0
        self._orders = 0
        self._by_label: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._early: dict[str, tuple[str, int]] = {}
        self._errors: dict[int, list[int]] = {}
        self._failed: dict[int, list[int]] = {}
        self._owners: dict[str, int] = {}
        self._earlier: dict[int, list[tuple[int, int, float]]] = {}
        # Rows of experiments: arm, entity, place and time after each other.
        self._exposed: array[int] = array("q")
        self._arms: dict[str, int] = {}
        self._entities: dict[str, int] = {}
        self.duplicates = 0
        for name in ("event_time", "version", "output", "label", "label_time"):
            self._integers[name] = np.empty(0, dtype=np.int64)
        for name in ("score", "latency", "value"):
            self._floats[name] = np.empty(0, dtype=np.float64)

        self._integers["in_control"] = np.empty(0, dtype=np.int64)
        self._integers["entity"] = np.empty(0, dtype=np.int64)

    def follow(self) -> None:
        """Read what was appended since the last call."""
        for sequence, block in self._log.blocks_after(self._model, self._block_sequence):
            self._block_sequence = sequence
            if block.shadow:
                self._add_shadow(block)
            else:
                self._add_served(block)
        for sequence, labels in self._log.labels_after(self._model, self._label_sequence):
            self._label_sequence = sequence
            self._add_labels(labels)

    @property
    def sequence(self) -> int:
        """The number of the last block of predictions that was taken in."""
        return self._block_sequence

    def places(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The positions in `Rows` of predictions; `NONE` where there is none."""
        return np.array([self._index.get(id_, NONE) for id_ in ids], dtype=np.int64)

    @property
    def unmatched(self) -> int:
        """How many labels wait for their prediction."""
        return len(self._early)

    def failures(self, version: int) -> int:
        """How often a version failed to score a row that was meant for it or shadowed by it."""
        return len(self._errors.get(version, ()))

    def failure_times(self, version: int) -> npt.NDArray[np.int64]:
        """When it failed, in microseconds of UTC."""
        return np.array(self._errors.get(version, []), dtype=np.int64)

    def failed_entities(self, version: int) -> npt.NDArray[np.int64]:
        """Whose rows these were, as the codes of `Rows.entity`."""
        return np.array(self._failed.get(version, []), dtype=np.int64)

    def rows(self) -> Rows:
        """The table as it stands. The arrays are views: do not change them."""
        n, ints, floats = self._count, self._integers, self._floats
        beside = {
            int(name.removeprefix("output:")): (ints[name][:n], floats[f"score:{name.removeprefix('output:')}"][:n])
            for name in ints
            if name.startswith("output:")
        }
        return Rows(
            classes=tuple(self._classes),
            event_time=ints["event_time"][:n],
            version=ints["version"][:n],
            output=ints["output"][:n],
            score=floats["score"][:n],
            latency_ms=floats["latency"][:n],
            label=ints["label"][:n],
            value=floats["value"][:n],
            by_label=self._by_label[: self._orders],
            label_time=ints["label_time"][:n],
            beside=beside,
            in_control=ints["in_control"][:n],
            entity=ints["entity"][:n],
            earlier=self._earlier,
        )

    def exposures(self) -> Exposures:
        """The rows of experiments as they stand."""
        table = np.array(self._exposed, dtype=np.int64).reshape(-1, 4)
        return Exposures(
            arms=tuple(self._arms),
            entities=tuple(self._entities),
            arm=table[:, 0],
            entity=table[:, 1],
            row=table[:, 2],
            event_time=table[:, 3],
        )

    def ids(self) -> list[str]:
        """The prediction ids, in row order."""
        return list(self._index)

    def _codes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        codes = self._classes
        return np.array(
            [NONE if value is None else codes.setdefault(value, len(codes)) for value in values], dtype=np.int64
        )

    def _grow(self, rows: int) -> None:
        needed = self._count + rows
        if needed <= self._capacity:
            return
        self._capacity = max(needed, 2 * self._capacity, FIRST_CAPACITY)
        for name, integers in self._integers.items():
            self._integers[name] = grown(integers, self._capacity, NONE)
        self._by_label = grown(self._by_label, self._capacity, NONE)
        for name, floats in self._floats.items():
            self._floats[name] = grown(floats, self._capacity, np.nan)

    def _add_served(self, block: PredictionBlock) -> None:
        self._grow(block.rows)
        here = slice(self._count, self._count + block.rows)
        self._integers["event_time"][here] = block.event_time.astype(np.int64)
        self._integers["version"][here] = block.version
        self._integers["output"][here] = self._codes(block.output)
        self._integers["in_control"][here] = block.arm == CONTROL
        self._integers["entity"][here] = self._owner(block)
        self._floats["score"][here] = block.score
        self._floats["latency"][here] = block.latency_ms
        for offset, id_ in enumerate(block.ids):
            self._index[id_] = self._count + offset
        self._expose(block, self._count)
        self._count += block.rows
        if self._early:
            for id_ in block.ids:
                if id_ in self._early:
                    value, moment = self._early.pop(id_)
                    self._set_label(self._index[id_], value, moment)

    def _add_shadow(self, block: PredictionBlock) -> None:
        for version in np.unique(block.version):
            mask = block.version == version
            output, score = f"output:{version}", f"score:{version}"
            if output not in self._integers:
                self._integers[output] = np.full(self._capacity, NONE, dtype=np.int64)
                self._floats[score] = np.full(self._capacity, np.nan)
            failed = mask & np.array([error is not None for error in block.error], dtype=bool)
            if failed.any():
                self._errors.setdefault(int(version), []).extend(block.event_time[failed].astype(np.int64).tolist())
                self._failed.setdefault(int(version), []).extend(self._owner(block.take(failed)).tolist())
                self._expose(block.take(failed), None)
            mask &= ~failed
            places = self.places(block.ids[mask])
            known = places != NONE
            self._integers[output][places[known]] = self._codes(block.output[mask][known])
            self._floats[score][places[known]] = block.score[mask][known]

    def _owner(self, block: PredictionBlock) -> npt.NDArray[np.int64]:
        """Whose rows these are; most requests name nobody, and are logged with their own id."""
        found = np.full(block.rows, NONE, dtype=np.int64)
        named = np.flatnonzero(named_entities(block))
        if len(named):
            codes = self._owners
            found[named] = [codes.setdefault(name, len(codes)) for name in block.entity[named].tolist()]
        return found

    def _expose(self, block: PredictionBlock, start: int | None) -> None:
        """Note the rows that experiments own, which most blocks have none of."""
        arms = block.arm.tolist()
        if not any(arm is not None and EXPERIMENT in arm for arm in set(arms)):
            return
        times = block.event_time.astype(np.int64).tolist()
        for offset, (arm, entity) in enumerate(zip(arms, block.entity.tolist(), strict=True)):
            if arm is not None and EXPERIMENT in arm:
                code = self._arms.setdefault(arm, len(self._arms))
                unit = self._entities.setdefault(entity, len(self._entities))
                self._exposed.extend((code, unit, NONE if start is None else start + offset, times[offset]))

    def _add_labels(self, block: LabelBlock) -> None:
        moments = block.event_time.astype(np.int64).tolist()
        for id_, value, moment in zip(block.ids, block.values, moments, strict=True):
            place = self._index.get(id_)
            if place is None:
                self.duplicates += id_ in self._early
                self._early[id_] = (value, moment)
            else:
                self._set_label(place, value, moment)

    def _set_label(self, place: int, value: str, moment: int) -> None:
        label = self._integers["label"]
        if label[place] != NONE:
            # The latest wins; the row keeps its place in the order, so that no row counts twice.
            self.duplicates += 1
            before = (int(self._integers["label_time"][place]), int(label[place]), float(self._floats["value"][place]))
            self._earlier.setdefault(place, []).append(before)
        else:
            self._by_label[self._orders] = place
            self._orders += 1
        self._integers["label_time"][place] = moment
        if self._task is Task.REGRESSION:
            label[place] = 0
            self._floats["value"][place] = float(value)
        else:
            label[place] = self._classes.setdefault(value, len(self._classes))
