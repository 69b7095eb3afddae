"""The replay: initial model, then batch after batch through the gateway, labels when they are due, and the loop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.connectors.tables import LabelledTable
from homeostat.controllers.clock import SimulatedClock
from homeostat.errors import InvalidData
from homeostat.frames import content_hash
from homeostat.records import Policy, Stage, Version, as_datetime
from homeostat.registry.service import Registry, VersionDraft
from homeostat.retraining.first import train_first
from homeostat.serving.gateway import Predictions

BATCHES = 400
REPLAY_TAG = "replay"
FEWEST_INITIAL = 50
Progress = Callable[[int, int], None]


class LoopUnderTest(Protocol):
    """What a replay needs of a wired system."""

    @property
    def registry(self) -> Registry: ...

    def predict(
        self,
        model: str,
        rows: Any,
        *,
        ids: Any = None,
        entities: Any = None,
        event_time: Any = None,
    ) -> Predictions: ...

    def label(self, model: str, ids: Any, values: Any, *, event_time: Any = None, source: str = "api") -> int: ...

    def tick(self) -> int: ...

    def policy(self, model: str) -> Policy: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay: `initial` is the share of rows that the first model is made from."""

    initial: float = 0.2
    label_delay: timedelta = timedelta(0)
    label_delay_rows: int = 0
    seed: int = 0
    batches: int = BATCHES


@dataclass(slots=True)
class Replayed:
    """What came of it: the output and version for each row after the initial part."""

    initial: int
    first: Version
    output: npt.NDArray[Any]
    version: npt.NDArray[np.int64]
    labels_used: int
    seconds: float


def initial_rows(table: LabelledTable, share: float) -> int:
    """How many rows the first model is made from. Raises `InvalidData` where that leaves too few on either side."""
    rows = round(table.rows * share)
    if rows < FEWEST_INITIAL or table.rows - rows < FEWEST_INITIAL:
        raise InvalidData(
            f"An initial part of {share:.0%} is {rows} of {table.rows} rows; both sides need {FEWEST_INITIAL}. "
            "Give more data, or another --initial."
        )
    if table.task.is_classification and len(set(table.target[:rows].tolist())) < 2:
        raise InvalidData(f"The initial {rows:,} rows have one class only. Give a larger --initial.")
    return rows


def first_draft(table: LabelledTable, initial: int, model: str, policy: Policy, *, seed: int) -> VersionDraft:
    """The first version: the built-in trainer on the initial rows, compared on the latest of them."""
    part = slice(0, initial)
    first = train_first(
        table.columns.take(part),
        table.kinds,
        table.target[part],
        task=table.task,
        target_name=table.target_name,
        classes=table.classes,
        positive=table.positive,
        policy=policy.training,
        seed=seed,
    )
    return VersionDraft(
        model=model,
        estimator=first.trained.model,
        signature=first.signature,
        columns=table.columns.take(part),
        target=table.target[part],
        times=table.times[part],
        evaluation_scores=first.evaluation_scores,
        metrics=first.metrics,
        parameters=first.trained.parameters,
        keep_training=True,
        seed=seed,
    )


def replay_digest(table: LabelledTable, options: Options, policy: Policy) -> str:
    """What tells one replay from another: all of its data, its options and its policy, as SHA-256."""
    held: dict[str, npt.NDArray[Any]] = {"target": table.target, "times": table.times.astype(np.int64)}
    if table.entities is not None:
        held["entities"] = table.entities
    said = repr((content_hash(table.columns), content_hash(held), table.target_name, options)).encode()
    return hashlib.sha256(said + msgspec.json.encode(policy)).hexdigest()


def install_first(
    system: LoopUnderTest, table: LabelledTable, model: str, options: Options, clock: SimulatedClock
) -> tuple[Version, int]:
    """Register the first version and put it into production, unless an interrupted replay already did."""
    initial = initial_rows(table, options.initial)
    if any(held.name == model for held in system.registry.models()):
        versions = system.registry.versions(model)
        if versions:
            first = versions[0]
            if first.tags.get(REPLAY_TAG) != replay_digest(table, options, system.policy(model)):
                raise InvalidData(
                    "The state folder holds another replay: of other data, options, seed or policy. "
                    "Give what it was begun with, or another --state."
                )
            if first.stage is Stage.DRAFT:
                first = system.registry.install(model, 1, at=clock.now(), actor="backtest", reason="the first model")
            return first, initial
    policy = system.policy(model)
    draft = replace(
        first_draft(table, initial, model, policy, seed=options.seed),
        tags={REPLAY_TAG: replay_digest(table, options, policy)},
    )
    system.registry.register(draft, at=clock.now(), actor="backtest", reason="the first model")
    return (
        system.registry.install(model, 1, at=clock.now(), actor="backtest", reason="the first model"),
        initial,
    )


def replay(
    system: LoopUnderTest,
    table: LabelledTable,
    model: str,
    options: Options,
    clock: SimulatedClock,
    *,
    served: dict[str, tuple[Any, int]] | None = None,
    progress: Progress | None = None,
    after_batch: Callable[[int], None] | None = None,
) -> Replayed:
    """Replay the table; `served` maps rows that an interrupted replay had logged to their output and version."""
    started = time.perf_counter()
    clock.advance_to(as_datetime(table.times[initial_rows(table, options.initial) - 1]))
    first, initial = install_first(system, table, model, options, clock)
    rows = table.rows
    is_regression = not table.task.is_classification
    output: npt.NDArray[Any] = np.full(rows, np.nan) if is_regression else np.full(rows, None, dtype=object)
    version = np.zeros(rows, dtype=np.int64)
    ids = np.array([f"row-{position:09d}" for position in range(rows)], dtype=object)
    due = label_times(table, options)
    edges = np.unique(np.linspace(initial, rows, min(options.batches, rows - initial) + 1).round().astype(int))
    replayed = Replayed(initial, first, output, version, 0, 0.0)
    labelled_until = initial
    known = served or {}
    # Of an interrupted replay's batches only the last may lack labels or a finished tick; the others are done.
    logged = [end for end in edges[1:].tolist() if ids[end - 1] in known]
    last_logged = logged[-1] if logged else initial
    for start, end in pairwise(edges.tolist()):
        now = as_datetime(table.times[end - 1])
        ripe = _ripe(due, labelled_until, end, now, options)
        for position in range(start, end) if end <= last_logged else ():
            output[position], version[position] = known[ids[position]]
        if end > last_logged:
            clock.advance_to(now)
            part = slice(start, end)
            answer = system.predict(
                model,
                table.columns.take(part),
                ids=ids[part],
                entities=None if table.entities is None else table.entities[part],
                event_time=table.times[part],
            )
            output[part] = answer.score if is_regression else answer.output
            version[part] = answer.version
        if end >= last_logged:
            clock.advance_to(now)
            part = slice(labelled_until, ripe)
            if ripe > labelled_until:
                moments = np.maximum(due[part], table.times[part])
                system.label(model, ids[part], table.target[part].tolist(), event_time=moments, source="backtest")
            system.tick()
        labelled_until = ripe
        if after_batch is not None:
            after_batch(end)
        if progress is not None:
            progress(end - initial, rows - initial)
    replayed.labels_used = labelled_until - initial
    replayed.output, replayed.version = output[initial:], version[initial:]
    replayed.seconds = time.perf_counter() - started
    return replayed


def label_times(table: LabelledTable, options: Options) -> npt.NDArray[np.datetime64]:
    """When each row's label comes."""
    return table.times + np.timedelta64(round(options.label_delay.total_seconds() * 1e6), "us")


def _ripe(due: npt.NDArray[np.datetime64], labelled_until: int, end: int, now: datetime, options: Options) -> int:
    """Up to which row the labels have come by now."""
    from homeostat.records import as_datetime64

    by_time = int(np.searchsorted(due, as_datetime64(now), side="right"))
    return max(labelled_until, min(by_time, end - options.label_delay_rows))
