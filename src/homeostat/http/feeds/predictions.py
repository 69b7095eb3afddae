"""Predictions that were answered elsewhere, of models that are only watched here: plain JSON, and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np

from homeostat.errors import (
    Conflict,
    HomeostatError,
    InvalidRequest,
    NotServing,
    StorageFailed,
    UnknownModel,
    UnknownVersion,
)
from homeostat.frames import Columns, label_text
from homeostat.http.data_plane import (
    SHOWN_IDS,
    Body,
    DataPlane,
    Key,
    Moment,
    Name,
    Row,
    Scalar,
    check_printed,
    event_times,
)
from homeostat.http.feeds.events import EVENT_TYPES, HEADERS, Event, answered, asked, decoded, read_events, row_ids
from homeostat.http.feeds.tables import ASKED_MODEL
from homeostat.http.operations import API, Operation, Parameter, Pool, Request
from homeostat.records import PastPredictions, PredictionsAccepted, Version
from homeostat.serving.pairing import Half, Halves, Side
from homeostat.serving.rows import columns_of_instances

ASKED_VERSION = Parameter("version", "The version that answered; the one in production, unless given.", int, 1)
Share = Annotated[float, msgspec.Meta(ge=0)]


class PastPrediction(Body, kw_only=True):
    """One row that was answered elsewhere: what it was asked, and what it answered."""

    prediction_id: Name
    features: Row
    prediction: Scalar = None
    score: float | None = None
    entity: Key | None = None
    event_time: Moment | None = None
    latency_ms: Share | None = None

    def __post_init__(self) -> None:
        check_printed("prediction_id, prediction or entity", (self.prediction_id, self.prediction, self.entity))


PredictionsBody = PastPrediction | Annotated[list[PastPrediction], msgspec.Meta(min_length=1)]


class WatchedControlPlane(Protocol):
    """What is asked of the control plane about models that are served elsewhere."""

    def external_version(self, model: str, number: int | None) -> Version:
        """That version, or the one in production."""
        ...

    def log_predictions(self, model: str, past: PastPredictions) -> PredictionsAccepted:
        """Log what was answered."""
        ...


class Watcher(Protocol):
    """Who counts what comes from elsewhere."""

    def count_rows_ingested(self, model: str, accepted: int, duplicates: int) -> None:
        """Rows that were logged, and rows that were logged before."""
        ...

    def count_events(self, outcome: str, events: int) -> None:
        """Halves of inferences that were paired, wait, or were dropped."""
        ...

    def set_events_waiting(self, events: int) -> None:
        """How many halves wait in this process."""
        ...


class PastPredictionsHandler:
    """Takes in what other servers answered."""

    def __init__(self, plane: DataPlane, control: WatchedControlPlane, watcher: Watcher, halves: Halves) -> None:
        self._plane = plane
        self._control = control
        self._watcher = watcher
        self._halves = halves

    def take(self, request: Request) -> PredictionsAccepted:
        events = None if request.body is not None else read_events(request)
        if events is not None:
            return self._take_events(request, events)
        body = request.body if request.body is not None else decoded(request.content, PredictionsBody)
        rows: list[PastPrediction] = body if isinstance(body, list) else [body]
        self._plane.check_rows(len(rows))
        model = request.query.get("model") or self._plane.default_model()
        version = self._control.external_version(model, request.query.get("version"))
        past = PastPredictions(
            ids=[row.prediction_id for row in rows],
            columns=columns_of_instances([row.features for row in rows], version.signature),
            answers=[row.prediction for row in rows],
            scores=[row.score for row in rows],
            times=event_times([row.event_time for row in rows], self._plane.clock.now()),
            entities=[label_text(row.entity) for row in rows],
            latencies_ms=[row.latency_ms for row in rows],
            version=version.number,
        )
        return self._log(request, model, past)

    def _log(self, request: Request, model: str, past: PastPredictions) -> PredictionsAccepted:
        kept = self._control.log_predictions(model, past)
        self._watcher.count_rows_ingested(model, kept.accepted, kept.duplicates)
        request.said |= {"model": model, "rows": kept.accepted, "prediction_ids": past.ids[:SHOWN_IDS]}
        return kept

    def _take_events(self, request: Request, events: list[Event]) -> PredictionsAccepted:
        """Pair the events of a request. What is wrong with one is said of all, after the others were taken."""
        self._plane.check_rows(len(events))
        whole: PredictionsAccepted | None = None
        wrong: HomeostatError | None = None
        for event in events:
            try:
                one = self._take_event(request, event)
            except HomeostatError as error:
                wrong = wrong or error
                continue
            whole = one if whole is None else added(whole, one)
        self._watcher.set_events_waiting(self._halves.waiting)
        if wrong is not None or whole is None:
            raise wrong or InvalidRequest("The batch has no events.")
        return whole

    def _take_event(self, request: Request, event: Event) -> PredictionsAccepted:
        now = self._plane.clock.now()
        model = request.query.get("model") or event.service or self._plane.default_model()
        version = self._control.external_version(model, request.query.get("version"))
        content: Any = event
        if event.side is Side.REQUEST:
            columns = asked(event.data, version.signature)
            self._plane.check_rows(columns.rows)
            content = Asked(version, columns, event_times([event.time], now)[0])
        half = Half(event.side, content, event.size, now)
        other, dropped = self._halves.offer(model, event.id, half)
        self._watcher.count_events("dropped", dropped)
        if other is None:
            self._watcher.count_events("waiting", 1)
            return PredictionsAccepted(model=model, version=version.number, accepted=0, duplicates=0, waiting=1)
        request_half, response = (half, other) if event.side is Side.REQUEST else (other, half)
        try:
            kept = self._log(request, model, paired(event.id, request_half.content, response.content))
        except StorageFailed:
            # Whoever sends this half again should find the other one.
            self._halves.put_back(model, event.id, other)
            raise
        self._watcher.count_events("paired", 2)
        return kept


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of an inference, as the version that was in production then takes it."""

    version: Version
    columns: Columns
    time: np.datetime64


def paired(id_: str, asked_for: Asked, response: Event) -> PastPredictions:
    """The rows of a request with those of its response. Raises `InvalidPrediction`."""
    rows = asked_for.columns.rows
    answers, scores = answered(response.data, asked_for.version.signature, rows)
    return PastPredictions(
        ids=row_ids(id_, rows),
        columns=asked_for.columns,
        answers=answers,
        scores=scores,
        times=np.full(rows, asked_for.time),
        entities=[None] * rows,
        latencies_ms=[None] * rows,
        version=asked_for.version.number,
    )


def added(one: PredictionsAccepted, other: PredictionsAccepted) -> PredictionsAccepted:
    """What became of the events of a batch together; the model and version are those of the last."""
    return msgspec.structs.replace(
        other,
        accepted=one.accepted + other.accepted,
        duplicates=one.duplicates + other.duplicates,
        waiting=one.waiting + other.waiting,
    )


def operations(plane: DataPlane, control: WatchedControlPlane, watcher: Watcher) -> list[Operation]:
    """The route by which predictions of other servers come in."""
    handler = PastPredictionsHandler(plane, control, watcher, Halves())
    return [
        Operation(
            "POST",
            f"{API}/predictions",
            "Log predictions that were answered elsewhere",
            handler.take,
            PredictionsAccepted,
            "data plane",
            body=PredictionsBody,
            also_takes=("application/json", *EVENT_TYPES),
            headers=HEADERS,
            query=(ASKED_MODEL, ASKED_VERSION),
            errors=(UnknownModel, UnknownVersion, NotServing, Conflict),
            pool=Pool.PREDICT,
        )
    ]
