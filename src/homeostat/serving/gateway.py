"""The gateway: route → score → shadow-score → log → answer. It needs nothing but the route that it holds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    ScoringFailed,
    StorageFailed,
    Unanswerable,
)
from homeostat.frames import Columns, finite, label_text
from homeostat.ports import PredictionLog, Predictor
from homeostat.records import Arm, PredictionBlock, Route, Version, as_datetime64
from homeostat.serving.routing import assign
from homeostat.serving.rows import checked_columns
from homeostat.serving.scoring import DEFAULT_THRESHOLD, Scored, interpret

RETRY_SECONDS = 30.0
# Versions that callers name are kept loaded, the latest ones, beside those of the routes.
MOST_NAMED = 8
NAMED_ARM = "named"
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version in memory."""

    version: Version
    predictor: Predictor

    def score(self, columns: Columns) -> Scored:
        """Outputs for some rows. Whatever a model raises becomes `ScoringFailed`."""
        signature = self.version.signature
        try:
            raw = np.asarray(self.predictor.predict(finite(columns.select(signature.kinds))), dtype=np.float64)
        except HomeostatError:
            raise
        except Exception as error:
            raise ScoringFailed(
                f"Version {self.version.number} raised {type(error).__name__} while scoring."
            ) from error
        if raw.ndim == 0 or len(raw) != columns.rows:
            raise ScoringFailed(
                f"Version {self.version.number} gave outputs of shape {raw.shape} for {columns.rows} rows."
            )
        return interpret(raw, signature, float(self.version.parameters.get("threshold", DEFAULT_THRESHOLD)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A route with every version that it names, loaded: swapped whole, never changed."""

    route: Route
    arms: tuple[LoadedVersion, ...]
    shadows: tuple[LoadedVersion, ...]

    @property
    def production(self) -> Snapshot:
        """The same route with nothing but its first arm, which is the production version."""
        alone = msgspec.structs.replace(self.route.arms[0], weight=1.0)
        route = msgspec.structs.replace(self.route, arms=(alone,), shadows=())
        return replace(self, route=route, arms=self.arms[:1], shadows=())


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
        new_id: Callable[[datetime], str],
        on_integrity_error: Callable[[IntegrityError, datetime], None],
    ) -> None:
        self._latest_route = latest_route
        self._load = load
        self._log = log
        self._new_id = new_id
        self._on_integrity_error = on_integrity_error
        self._snapshots: dict[str, Snapshot] = {}
        self._alone: dict[str, Snapshot] = {}
        self._named: OrderedDict[tuple[str, int], LoadedVersion] = OrderedDict()
        self._refused: dict[str, tuple[int, datetime]] = {}
        self._lock = threading.RLock()

    def refresh(self, model: str, *, now: datetime) -> Snapshot:
        """Serve the newest route. Where a version of it can't be loaded, what is held stays, with a finding.

        The same goes for a control store that can't be read: what is held needs nothing of it.
        """
        with self._lock:
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
        loaded = {} if held is None else {one.version.number: one for one in (*held.arms, *held.shadows)}
        try:
            for number in {*(arm.version for arm in route.arms), *route.shadows} - set(loaded):
                loaded[number] = self._load(model, number)
        except HomeostatError as error:
            if isinstance(error, IntegrityError) and not self._is_refused(model, route, now):
                self._on_integrity_error(error, now)
            self._refused[model] = (route.number, now)
            if held is None:
                raise
            return held
        snapshot = Snapshot(
            route=route,
            arms=tuple(loaded[arm.version] for arm in route.arms),
            shadows=tuple(loaded[number] for number in route.shadows),
        )
        self._snapshots[model] = snapshot
        return snapshot

    def _is_refused(self, model: str, route: Route, now: datetime) -> bool:
        # Files may be restored, so it is tried again; but neither on every request, nor with a finding for each.
        number, since = self._refused.get(model, (None, now))
        return number == route.number and (now - since).total_seconds() < RETRY_SECONDS

    def held(self) -> dict[str, Snapshot]:
        """What is served now, by model, without looking for newer routes."""
        return dict(self._snapshots)

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
            held = self._snapshots.get(model) or self.refresh(model, now=now)
            return self._alone.get(model, held)
        loaded = self._load_named(model, version, now)
        arm = Arm(name=NAMED_ARM, version=version, weight=1.0)
        route = Route(model=model, number=0, arms=(arm,), salt=model, at=now, reason="named by the caller")
        return Snapshot(route=route, arms=(loaded,), shadows=())

    def _load_named(self, model: str, number: int, now: datetime) -> LoadedVersion:
        with self._lock:
            held = self._snapshots.get(model)
            for one in (*held.arms, *held.shadows) if held is not None else ():
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
        """Score rows, log them durably, answer.

        `rows` is any frame with the signature's features; more columns are ignored. Without `ids` each row gets a
        UUIDv7; without `entities` each row is its own entity. `snapshot` is what to answer with, where the caller holds
        one already. Raises `InvalidFeatures`, `InvalidInput`, `NotServing`
        or `StorageFailed`: then nothing was logged.
        """
        snapshot = snapshot or self.snapshot(model, now=now)
        columns = checked_columns(rows, snapshot.arms[0].version.signature)
        count = columns.rows
        if count == 0:
            raise InvalidFeatures("There are no rows to score. Send at least one.")
        named = _names([self._new_id(now) for _ in range(count)] if ids is None else ids)
        keys = named if entities is None else _names(entities)
        times = np.full(count, as_datetime64(now)) if event_time is None else event_time.astype("datetime64[us]")
        _check_lengths(count, ids=named, entities=keys, event_time=times)
        # A row without an entity is its own.
        keys = np.where(keys == "", named, keys)
        chosen = assign(snapshot.route, keys.tolist())
        served, failed = self._score_arms(model, snapshot, columns, chosen, named, keys, times)
        shadows = self._score_shadows(model, snapshot, columns, chosen, served)
        self._log.append([served, *failed, *shadows])
        return Predictions(
            ids=served.ids,
            output=served.output,
            score=served.score,
            version=served.version,
            arm=served.arm,
            route=snapshot.route.number,
        )

    def _score_arms(
        self,
        model: str,
        snapshot: Snapshot,
        columns: Columns,
        chosen: npt.NDArray[np.intp],
        ids: npt.NDArray[Any],
        keys: npt.NDArray[Any],
        times: npt.NDArray[np.datetime64],
    ) -> tuple[PredictionBlock, list[PredictionBlock]]:
        count = columns.rows
        output = np.full(count, None, dtype=object)
        score = np.full(count, np.nan)
        latency = np.zeros(count)
        version = np.zeros(count, dtype=np.int64)
        arm = np.full(count, None, dtype=object)
        probabilities: npt.NDArray[np.float64] | None = None
        failed: list[PredictionBlock] = []
        for position in np.unique(chosen):
            mask = chosen == position
            name, loaded = snapshot.route.arms[position].name, snapshot.arms[position]
            part = columns if mask.all() else columns.take(mask)
            started = time.perf_counter()
            try:
                scored = loaded.score(part)
            except HomeostatError as error:
                # A version that raises costs nobody an answer while another one is loaded: production answers for a
                # candidate, and while a new production version bakes, the one before it. The failure is logged.
                failed.append(_failed_block(model, loaded, name, error, ids[mask], keys[mask], times[mask]))
                others = snapshot.arms[:1] if position else snapshot.shadows[:1]
                if not others:
                    # What no model can answer is the caller's fault: it leaves no trace that would count as failure.
                    if not isinstance(error, Unanswerable):
                        self._log.append(failed)
                    raise
                name, loaded = snapshot.route.arms[0].name, others[0]
                scored = loaded.score(part)
            latency[mask] = (time.perf_counter() - started) * 1000 / int(mask.sum())
            output[mask], score[mask] = scored.output, scored.score
            version[mask], arm[mask] = loaded.version.number, name
            if scored.probabilities is not None:
                probabilities = _placed(probabilities, scored.probabilities, mask)
        block = PredictionBlock(
            model=model,
            shadow=False,
            ids=ids,
            event_time=times,
            version=version,
            arm=arm,
            entity=keys,
            output=output,
            score=score,
            latency_ms=latency,
            error=np.full(count, None, dtype=object),
            features=columns,
            probabilities=probabilities,
        )
        return block, failed

    def _score_shadows(
        self,
        model: str,
        snapshot: Snapshot,
        columns: Columns,
        chosen: npt.NDArray[np.intp],
        served: PredictionBlock,
    ) -> list[PredictionBlock]:
        """Score each row with every version of the route that did not answer it.

        So models are compared on the same rows in every step.
        """
        found: list[PredictionBlock] = []
        ids, keys, times = served.ids, served.entity, served.event_time
        beside = [(loaded, chosen != position) for position, loaded in enumerate(snapshot.arms)]
        beside += [(loaded, np.ones(len(ids), dtype=bool)) for loaded in snapshot.shadows]
        for loaded, due in beside:
            # Production also answered where a candidate failed.
            mask = due & (served.version != loaded.version.number)
            if not mask.any():
                continue
            started = time.perf_counter()
            try:
                scored = loaded.score(columns if mask.all() else columns.take(mask))
            except HomeostatError as error:
                found.append(_failed_block(model, loaded, "shadow", error, ids[mask], keys[mask], times[mask]))
                continue
            count = int(mask.sum())
            found.append(
                PredictionBlock(
                    model=model,
                    shadow=True,
                    ids=ids[mask],
                    event_time=times[mask],
                    version=np.full(count, loaded.version.number, dtype=np.int64),
                    arm=np.full(count, "shadow", dtype=object),
                    entity=keys[mask],
                    output=scored.output,
                    score=scored.score,
                    latency_ms=np.full(count, (time.perf_counter() - started) * 1000 / count),
                    error=np.full(count, None, dtype=object),
                    features=Columns({}, count),
                    probabilities=scored.probabilities,
                )
            )
        return found


def _names(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Ids or keys as text, so that 7 and "7" are one entity; empty where there is none."""
    names = [label_text(value) or "" for value in values]
    if any(len(name) > LONGEST_NAME for name in names):
        raise InvalidFeatures(f"A prediction_id or an entity is longer than {LONGEST_NAME} characters.")
    return np.array(names, dtype=object)


def _check_lengths(count: int, **parts: npt.NDArray[Any]) -> None:
    for name, values in parts.items():
        if len(values) != count:
            raise InvalidFeatures(f"There are {count} rows but {len(values)} in {name}.")
    if np.isnat(parts["event_time"]).any():
        raise InvalidFeatures("A row has no event time. Leave event_time out to have it set.")
    if (parts["ids"] == "").any():
        raise InvalidFeatures("A row has no prediction_id. Leave ids out to have them made.")
    if len(set(parts["ids"])) != count:
        raise InvalidFeatures("Two rows of the request have the same prediction_id.")


def _placed(
    held: npt.NDArray[np.float64] | None, part: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Probabilities of an arm in their rows; arms may know different numbers of classes."""
    width = part.shape[1] if held is None else max(part.shape[1], held.shape[1])
    whole = np.full((len(mask), width), np.nan)
    if held is not None:
        whole[:, : held.shape[1]] = held
    whole[mask, : part.shape[1]] = part
    return whole


def _failed_block(
    model: str,
    loaded: LoadedVersion,
    arm: str,
    error: HomeostatError,
    ids: npt.NDArray[Any],
    keys: npt.NDArray[Any],
    times: npt.NDArray[np.datetime64],
) -> PredictionBlock:
    count = len(ids)
    return PredictionBlock(
        model=model,
        shadow=True,
        ids=ids,
        event_time=times,
        version=np.full(count, loaded.version.number, dtype=np.int64),
        arm=np.full(count, arm, dtype=object),
        entity=keys,
        output=np.full(count, None, dtype=object),
        score=np.full(count, np.nan),
        latency_ms=np.zeros(count),
        error=np.full(count, error.code, dtype=object),
        features=Columns({}, count),
    )
