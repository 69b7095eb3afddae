"""The gateway: route → score → shadow-score → log → answer. It needs nothing but the route that it holds."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.errors import (
    HomeostatError,
    IntegrityError,
    InvalidFeatures,
    NotServing,
    StorageFailed,
)
from homeostat.frames import Columns, label_text
from homeostat.ports import PredictionLog
from homeostat.records import Arm, Route, as_datetime64
from homeostat.serving.answering import Answered, Asked, LoadedVersion, Snapshot, answer, beside
from homeostat.serving.routing import Allocation
from homeostat.serving.rows import checked_columns

_LOG = logging.getLogger("homeostat.serving")
RETRY_SECONDS = 30.0
# Versions that callers name are kept loaded, the latest ones, beside those of the routes.
MOST_NAMED = 8
NAMED_ARM = "named"
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answer to a request: one entry a row."""

    ids: npt.NDArray[Any]
    output: npt.NDArray[Any]
    score: npt.NDArray[np.float64]
    version: npt.NDArray[np.int64]
    arm: npt.NDArray[Any]
    route: int


class Gateway:
    """Serves the models of one process."""

    def __init__(
        self,
        *,
        latest_route: Callable[[str], Route | None],
        load: Callable[[str, int], LoadedVersion],
        log: PredictionLog,
        new_ids: Callable[[datetime, int], list[str]],
        on_integrity_error: Callable[[IntegrityError, datetime], None],
        later: Callable[[int, Callable[[], object]], None] | None = None,
    ) -> None:
        """`later` is given what shadows have to do for so many rows; without it they score before the answer."""
        self._latest_route = latest_route
        self._load = load
        self._log = log
        self._new_ids = new_ids
        self._later = later
        self._on_integrity_error = on_integrity_error
        self._snapshots: dict[str, Snapshot] = {}
        self._alone: dict[str, Snapshot] = {}
        self._named: OrderedDict[tuple[str, int], LoadedVersion] = OrderedDict()
        self._refused: dict[str, tuple[int, datetime]] = {}
        self._lock = threading.RLock()
        self._loading: dict[str, threading.RLock] = {}

    def refresh(self, model: str, *, now: datetime) -> Snapshot:
        """Serve the newest route. Where a version of it can't be loaded, what is held stays, with a finding.

        The same goes for a control store that can't be read: what is held needs nothing of it.
        """
        # Each model has a lock of its own, so that many can be loaded at once.
        with self._lock:
            lock = self._loading.setdefault(model, threading.RLock())
        with lock:
            return self._refresh(model, now)

    def _refresh(self, model: str, now: datetime) -> Snapshot:
        held = self._snapshots.get(model)
        try:
            route = self._latest_route(model)
        except StorageFailed:
            if held is None:
                raise
            return held
        if route is None:
            raise NotServing(model=model)
        if held is not None and (held.route.number == route.number or self._is_refused(model, route, now)):
            return held
        # Versions that are held already are kept: they were verified when they were loaded.
        loaded = {} if held is None else {one.version.number: one for one in held.versions}
        try:
            for number in route.versions - set(loaded):
                loaded[number] = self._load(model, number)
        except HomeostatError as error:
            if isinstance(error, IntegrityError) and not self._is_refused(model, route, now):
                self._on_integrity_error(error, now)
            self._refused[model] = (route.number, now)
            if held is None:
                held = self._snapshots[model] = self._production(route, loaded)
            # Nobody may take it that this route is served.
            _LOG.warning("Route %s of '%s' can't be served, what was there stays: %s", route.number, model, error)
            return held
        snapshot = Snapshot(
            route=route,
            arms=tuple(loaded[arm.version] for arm in route.arms),
            shadows=tuple(loaded[number] for number in route.shadows),
            tried=tuple(loaded[arm.version] for one in route.experiments for arm in one.arms),
            allocation=Allocation.of(route),
        )
        self._snapshots[model] = snapshot
        return snapshot

    def _production(self, route: Route, loaded: dict[int, LoadedVersion]) -> Snapshot:
        """At a start: production alone, as it is served by who ran already. It has no route's number."""
        number = route.arms[0].version
        first = loaded[number] if number in loaded else self._load(route.model, number)
        numberless = msgspec.structs.replace(route, number=0)
        return Snapshot(route=numberless, arms=(first,), shadows=()).production

    def _is_refused(self, model: str, route: Route, now: datetime) -> bool:
        # Files may be restored, so it is tried again; but neither on every request, nor with a finding for each.
        number, since = self._refused.get(model, (None, now))
        return number == route.number and (now - since).total_seconds() < RETRY_SECONDS

    def held(self) -> dict[str, Snapshot]:
        """What is served now, by model, without looking for newer routes."""
        return dict(self._snapshots)

    def at_hand(self, model: str) -> Snapshot | None:
        """What a model's requests are answered with, if it is in memory already."""
        return self._alone.get(model) or self._snapshots.get(model)

    def serve_alone(self, model: str, *, alone: bool) -> None:
        """Serve the production version alone, whatever else the route names; or all of the route again."""
        with self._lock:
            held = self._snapshots.get(model)
            if not alone or held is None:
                self._alone.pop(model, None)
            elif self._alone.get(model) is None or self._alone[model].route.number != held.route.number:
                self._alone[model] = held.production

    def serves_alone(self, model: str) -> bool:
        """Whether a route's candidate is left out for now."""
        return model in self._alone

    def snapshot(self, model: str, version: int | None = None, *, now: datetime) -> Snapshot:
        """What a request is answered with: the model's route, or one version that the caller names.

        Raises `UnknownModel`, `UnknownVersion`, `NotServing`, or `IntegrityError` where a named version was changed.
        """
        if version is None:
            return self.at_hand(model) or self.refresh(model, now=now)
        loaded = self._load_named(model, version, now)
        arm = Arm(name=NAMED_ARM, version=version, weight=1.0)
        route = Route(model=model, number=0, arms=(arm,), salt=model, at=now, reason="named by the caller")
        return Snapshot(route=route, arms=(loaded,), shadows=())

    def _load_named(self, model: str, number: int, now: datetime) -> LoadedVersion:
        with self._lock:
            held = self._snapshots.get(model)
            for one in held.versions if held is not None else ():
                if one.version.number == number:
                    return one
            if (model, number) not in self._named:
                try:
                    self._named[model, number] = self._load(model, number)
                except IntegrityError as error:
                    self._on_integrity_error(error, now)
                    raise
                while len(self._named) > MOST_NAMED:
                    self._named.popitem(last=False)
            self._named.move_to_end((model, number))
            return self._named[model, number]

    def predict(
        self,
        model: str,
        rows: Any,
        *,
        now: datetime,
        ids: Sequence[Any] | None = None,
        entities: Sequence[Any] | None = None,
        event_time: npt.NDArray[np.datetime64] | None = None,
        snapshot: Snapshot | None = None,
    ) -> Predictions:
        """Score rows that belong together, log them durably, answer.

        `rows` is any frame with the signature's features; more columns are ignored. Without `ids` each row gets a
        UUIDv7; without `entities` each row is its own entity. `snapshot` is what to answer with, where the caller holds
        one already. Raises `InvalidFeatures`, `InvalidInput`, `NotServing` or `StorageFailed`: then nothing was logged.
        """
        snapshot = snapshot or self.snapshot(model, now=now)
        asked = self._asked(model, rows, snapshot, now, ids, entities, event_time)
        answered = answer(snapshot, asked, each=False)
        if answered.errors:
            if answered.failed:
                self._log.append(answered.failed)
            raise next(iter(answered.errors.values()))
        return self._logged(snapshot, answered, each=False)

    def predict_each(
        self,
        model: str,
        rows: Columns,
        *,
        now: datetime,
        ids: Sequence[Any],
        entities: Sequence[Any],
        snapshot: Snapshot,
    ) -> tuple[Predictions, dict[int, HomeostatError]]:
        """Score rows of different callers together, log them durably, answer: those that fail, fail alone.

        The predictions are of the rows without an error, in their order. An id of `None` is made, an entity of `None`
        is the row's own. Raises as `predict` does where nothing at all can be answered.
        """
        missing = ids.count(None)
        if missing < len(ids):
            made = iter(self._new_ids(now, missing))
            ids = [next(made) if id_ is None else id_ for id_ in ids]
        own = entities.count(None) == len(entities)
        asked = self._asked(
            model, rows, snapshot, now, ids if missing < len(ids) else None, None if own else entities, None
        )
        answered = answer(snapshot, asked, each=True)
        return self._logged(snapshot, answered, each=True), answered.errors

    def _asked(
        self,
        model: str,
        rows: Any,
        snapshot: Snapshot,
        now: datetime,
        ids: Sequence[Any] | None,
        entities: Sequence[Any] | None,
        event_time: npt.NDArray[np.datetime64] | None,
    ) -> Asked:
        columns = checked_columns(rows, snapshot.arms[0].version.signature)
        count = columns.rows
        if count == 0:
            raise InvalidFeatures("There are no rows to score. Send at least one.")
        named = _objects(self._new_ids(now, count)) if ids is None else _names(ids)
        keys = named if entities is None else _names(entities)
        if event_time is None:
            times = np.full(count, as_datetime64(now))
        else:
            times = event_time.astype("datetime64[us]")
            _check_times(times, count)
        _check_lengths(count, ids=named, entities=keys)
        if ids is not None:
            _check_ids(named)
        if entities is not None:
            # A row without an entity is its own.
            keys = np.where(keys == "", named, keys)
        return Asked(model, columns, named, keys, times)

    def _logged(self, snapshot: Snapshot, answered: Answered, *, each: bool) -> Predictions:
        served = answered.served
        blocks = [served, *answered.failed] if served.rows else answered.failed
        has_beside = bool(served.rows) and (len(snapshot.arms) > 1 or bool(snapshot.shadows))
        if has_beside and self._later is None:
            blocks = [*blocks, *beside(snapshot, answered, each=each)]
        if blocks:
            self._log.append(blocks)
        if has_beside and self._later is not None:
            self._later(served.rows, lambda: self._log.append(beside(snapshot, answered, each=True)))
        return Predictions(
            ids=served.ids,
            output=served.output,
            score=served.score,
            version=served.version,
            arm=served.arm,
            route=snapshot.route.number,
        )


def _names(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Ids or keys as text, so that 7 and "7" are one entity; empty where there is none."""
    names = _objects([value if type(value) is str else label_text(value) or "" for value in values])
    if any(len(name) > LONGEST_NAME for name in names):
        raise InvalidFeatures(f"A prediction_id or an entity is longer than {LONGEST_NAME} characters.")
    return names


def _objects(texts: list[str]) -> npt.NDArray[Any]:
    found = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found


def _check_lengths(count: int, **parts: npt.NDArray[Any]) -> None:
    for name, values in parts.items():
        if len(values) != count:
            raise InvalidFeatures(f"There are {count} rows but {len(values)} in {name}.")


def _check_times(times: npt.NDArray[np.datetime64], count: int) -> None:
    _check_lengths(count, event_time=times)
    if np.isnat(times).any():
        raise InvalidFeatures("A row has no event time. Leave event_time out to have it set.")


def _check_ids(ids: npt.NDArray[Any]) -> None:
    if (ids == "").any():
        raise InvalidFeatures("A row has no prediction_id. Leave ids out to have them made.")
    if len(set(ids)) != len(ids):
        raise InvalidFeatures("Two rows of the request have the same prediction_id.")
