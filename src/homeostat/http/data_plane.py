"""Plain predictions and labels: the data plane's own JSON."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.connectors.feeds.chunks import CONTENT_TYPES
from homeostat.connectors.feeds.labels import LabelRows
from homeostat.connectors.feeds.values import moments
from homeostat.errors import (
    IntegrityError,
    InvalidLabel,
    InvalidRequest,
    NotServing,
    ScoringFailed,
    TooLarge,
    UnknownModel,
)
from homeostat.frames import label_text
from homeostat.http.feeds.tables import ASKED_MODEL, ASKED_SOURCE, labels_of_table, said_once
from homeostat.http.operations import MODEL, PRINTED, Operation, Pool, Request, is_printed
from homeostat.http.tables import TABLE_TYPES, Limits, Rows, read_table
from homeostat.ports import Clock, ControlPlane
from homeostat.records import SUCCESS, KeyRole, LabelsAccepted, Prediction, PredictionBatch, Signature, as_datetime64
from homeostat.serving.answering import Snapshot
from homeostat.serving.gateway import Gateway, Predictions
from homeostat.serving.rows import columns_of_instances

Scalar = str | int | float | bool | None
Row = dict[str, Scalar] | list[Scalar]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256, extra_json_schema={"pattern": PRINTED})]
Key = Name | int
Source = Annotated[str, msgspec.Meta(min_length=1, max_length=100, extra_json_schema={"pattern": PRINTED})]
Confidence = Annotated[float, msgspec.Meta(ge=0, le=1)]
Moment = Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]
EARLIEST, LATEST = np.datetime64("0100-01-01", "us"), np.datetime64("9000-01-01", "us")
SHOWN_IDS = 20
DEFAULT_SOURCE = "api"
UUID7 = 7
RFC_4122_BITS = 80


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every body shares: a field that is not known is refused, since it would be a misspelt one."""


def check_printed(name: str, texts: Iterable[Any]) -> None:
    """Raise `ValueError` where a text has control characters, so that the body that it stands in is refused."""
    if any(isinstance(text, str) and not is_printed(text) for text in texts):
        raise ValueError(f"{name} has control characters")


class PredictBody(Body, kw_only=True):
    """One row. Without a `prediction_id` it gets one; without an `entity` it is its own."""

    features: Row
    prediction_id: Name | None = None
    entity: Key | None = None
    event_time: Moment | None = None

    def __post_init__(self) -> None:
        check_printed("prediction_id or entity", (self.prediction_id, self.entity))


class BatchBody(Body, kw_only=True):
    """Many rows; the other lists, where given, have an entry for each."""

    instances: Annotated[list[Row], msgspec.Meta(min_length=1)]
    prediction_ids: list[Name] | None = None
    entities: list[Key | None] | None = None
    event_times: list[Moment] | None = None

    def __post_init__(self) -> None:
        check_printed("prediction_ids or entities", (*(self.prediction_ids or ()), *(self.entities or ())))


class LabelItem(Body):
    """The truth about one prediction."""

    prediction_id: Name
    label: str | int | float | bool
    event_time: Moment | None = None
    source: Source | None = None
    confidence: Confidence | None = None


class LabelsBody(Body, kw_only=True):
    """Labels of one model: a list of them, or a single one."""

    labels: Annotated[list[LabelItem], msgspec.Meta(min_length=1)] | None = None
    model: str | None = None
    source: Source | None = None
    prediction_id: Name | None = None
    label: str | int | float | bool | None = None
    event_time: Moment | None = None
    confidence: Confidence | None = None

    def __post_init__(self) -> None:
        check_printed("prediction_id or source", (self.source, *(item.prediction_id for item in self.items())))
        check_printed("source", (item.source for item in self.items()))

    def items(self) -> list[LabelItem]:
        """The labels, each as it would stand in a list. Raises `ValueError` where it is not plain what is meant."""
        if self.labels is None:
            if self.prediction_id is None or self.label is None:
                raise ValueError("it needs labels, or else a prediction_id and its label")
            return [LabelItem(self.prediction_id, self.label, self.event_time, None, self.confidence)]
        alone = (self.prediction_id, self.label, self.event_time, self.confidence)
        if any(value is not None for value in alone):
            raise ValueError("beside labels stand no more than a model and a source; the rest is said of each")
        return self.labels


class Observer(Protocol):
    """Who counts what the data plane does."""

    def set_queue_depth(self, rows: int) -> None:
        """How many rows wait to be logged."""
        ...

    def count_labels(self, model: str, labels: int) -> None:
        """Labels that were kept."""
        ...

    def observe_label_lag(self, seconds: float) -> None:
        """How long after its prediction a label came."""
        ...


class DataPlane:
    """Predictions of one gateway process, and labels."""

    def __init__(
        self,
        gateway: Gateway,
        control: ControlPlane,
        clock: Clock,
        observer: Observer,
        *,
        default_model: str,
        most_rows: int,
        most_bytes: int = 10_000_000,
        queue_depth: Callable[[], int] = lambda: 0,
    ) -> None:
        self.gateway = gateway
        self.clock = clock
        self.observer = observer
        self._control = control
        self._default_model = default_model
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._queue_depth = queue_depth

    def model_of(self, request: Request) -> str:
        """The model that a request names, or else the default one."""
        return str(request.path["model"]) if "model" in request.path else self.default_model()

    def default_at_hand(self) -> str | None:
        """The model that is meant where none is named, where that needs no question to anybody."""
        if self._default_model:
            return self._default_model
        held = list(self.gateway.held())
        return held[0] if len(held) == 1 else None

    def default_model(self) -> str:
        """The model that is meant where none is named. Raises `UnknownModel`."""
        at_hand = self.default_at_hand()
        if at_hand is not None:
            return at_hand
        known = list(self.gateway.held()) or [model.name for model in self._control.models()]
        if len(known) != 1:
            raise UnknownModel(
                "The request names no model, and there is not exactly one. Use /models/MODEL/..., or set serve.model. "
                f"Registered: {', '.join(sorted(known)) or 'none'}.",
                model="",
                known=known,
            )
        return known[0]

    def check_rows(self, count: int) -> None:
        """Raise `TooLarge` where a batch has more rows than the server takes."""
        if count > self._most_rows:
            raise TooLarge(f"The batch has {count:,} rows; this server takes {self._most_rows:,}. Send it in parts.")

    def limits(self, *, ignores_others: bool) -> Limits:
        """What a table may be at most; columns that no model knows are passed over or refused."""
        return Limits(self._most_rows, self._most_bytes, ignores_others)

    def score_rows(
        self, request: Request, model: str, read: Callable[[Signature], Rows]
    ) -> tuple[Predictions, Snapshot]:
        """Answer rows that bring their ids, entities and times along; `read` makes them for a signature."""
        first = self.gateway.snapshot(model, now=self.clock.now()).arms[0].version
        request.said |= {"model": model, "versions": {first.number: 0}}
        rows = read(first.signature)

        def columns(held: Snapshot) -> Any:
            # The route may have moved on since.
            wanted = held.arms[0].version.signature
            return (rows if wanted == first.signature else read(wanted)).columns

        return self.score(request, model, columns, ids=rows.ids, entities=rows.entities, times=rows.times)

    def score(
        self,
        request: Request,
        model: str,
        rows: Callable[[Snapshot], Any],
        *,
        version: int | None = None,
        ids: Sequence[str] | None = None,
        entities: Sequence[Any] | None = None,
        times: Sequence[datetime | None] | npt.NDArray[np.datetime64] | None = None,
    ) -> tuple[Predictions, Snapshot]:
        """Answer with what the route, or the caller, names; `rows` makes typed columns for its signature."""
        now = self.clock.now()
        snapshot = self.gateway.snapshot(model, version, now=now)
        request.said |= {"model": model, "versions": {snapshot.arms[0].version.number: 0}}
        columns = rows(snapshot)
        self.observer.set_queue_depth(self._queue_depth())
        answer = self.gateway.predict(
            model,
            columns,
            now=now,
            ids=ids,
            entities=entities,
            event_time=None if times is None else event_times(times, now),
            snapshot=snapshot,
        )
        numbers, counts = np.unique(answer.version, return_counts=True)
        request.said |= {
            "rows": len(answer.ids),
            "prediction_ids": answer.ids[:SHOWN_IDS].tolist(),
            "versions": dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
            "snapshot": answer.route,
        }
        return answer, snapshot

    def predict(self, request: Request) -> Prediction:
        body: PredictBody = request.body
        model = self.model_of(request)
        answer, snapshot = self.score(
            request,
            model,
            lambda held: columns_of_instances([body.features], held.arms[0].version.signature),
            ids=None if body.prediction_id is None else [body.prediction_id],
            entities=None if body.entity is None else [body.entity],
            times=None if body.event_time is None else [body.event_time],
        )
        return reply_of_row(answer, 0, model, snapshot)

    def predict_batch(self, request: Request) -> PredictionBatch:
        model = self.model_of(request)
        if request.content_type in TABLE_TYPES:
            limits = self.limits(ignores_others=False)
            answer, snapshot = self.score_rows(
                request, model, lambda wanted: read_table(request.content, request.content_type, wanted, limits)
            )
            return _batch_reply(answer, snapshot, model)
        body: BatchBody = request.body
        count = len(body.instances)
        self.check_rows(count)
        for name in ("prediction_ids", "entities", "event_times"):
            given = getattr(body, name)
            if given is not None and len(given) != count:
                raise InvalidRequest(f"There are {count:,} instances and {len(given):,} in {name}.")
        answer, snapshot = self.score(
            request,
            model,
            lambda held: columns_of_instances(body.instances, held.arms[0].version.signature),
            ids=body.prediction_ids,
            entities=body.entities,
            times=body.event_times,
        )
        return _batch_reply(answer, snapshot, model)

    def label(self, request: Request) -> LabelsAccepted:
        now = self.clock.now()
        body: LabelsBody | None = request.body
        given = labels_of_table(request, self._most_rows) if body is None else _labels_of(body, now)
        model = said_once("model", request, None if body is None else body.model) or self.default_model()
        source = said_once("source", request, None if body is None else body.source) or DEFAULT_SOURCE
        self.check_rows(len(given.ids))
        times = moments(given.times, as_datetime64(now))
        accepted = self._control.label(
            model,
            given.ids,
            given.values,
            event_time=times,
            source=source,
            sources=given.sources,
            confidences=given.confidences,
        )
        request.said |= {"model": model, "labels": accepted.accepted, "prediction_ids": given.ids[:SHOWN_IDS]}
        self.observer.count_labels(model, accepted.accepted)
        for id_, moment in zip(given.ids, times, strict=True):
            made = made_at(id_)
            if made is not None:
                self.observer.observe_label_lag(max(float((moment - made) / np.timedelta64(1, "s")), 0.0))
        return accepted


def reply_of_row(answer: Predictions, place: int, model: str, snapshot: Snapshot) -> Prediction:
    """The reply for one row of an answer."""
    is_class = snapshot.arms[0].version.signature.task.is_classification
    score = float(answer.score[place])
    return Prediction(
        prediction=answer.output[place] if is_class else score,
        probability=score if is_class else None,
        status=SUCCESS,
        prediction_id=answer.ids[place],
        model=model,
        version=int(answer.version[place]),
        arm=answer.arm[place],
        route=answer.route,
    )


def _batch_reply(answer: Predictions, snapshot: Snapshot, model: str) -> PredictionBatch:
    is_class = snapshot.arms[0].version.signature.task.is_classification
    scores = answer.score.tolist()
    return PredictionBatch(
        predictions=answer.output.tolist() if is_class else scores,
        probabilities=scores if is_class else None,
        count=len(answer.ids),
        status=SUCCESS,
        prediction_ids=answer.ids.tolist(),
        model=model,
        versions=answer.version.tolist(),
        arms=answer.arm.tolist(),
        route=answer.route,
    )


def _labels_of(body: LabelsBody, now: datetime) -> LabelRows:
    items = body.items()
    if any(isinstance(item.label, str) and not item.label for item in items):
        raise InvalidLabel("Every label needs a value.")
    return LabelRows(
        ids=[item.prediction_id for item in items],
        values=[label_text(item.label) or "" for item in items],
        times=list(event_times([item.event_time for item in items], now)),
        sources=[item.source for item in items],
        confidences=[item.confidence for item in items],
    )


def event_times(
    times: Sequence[datetime | None] | npt.NDArray[np.datetime64], now: datetime
) -> npt.NDArray[np.datetime64]:
    """Event times as microseconds of UTC; now where there is none. Raises `InvalidRequest` outside of 100 to 9000."""
    if isinstance(times, np.ndarray):
        return _within_years(np.where(np.isnat(times), as_datetime64(now), times))
    filled = (now if moment is None else moment for moment in times)
    aware = [moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC) for moment in filled]
    return _within_years(np.array([as_datetime64(moment) for moment in aware], dtype="datetime64[us]"))


def _within_years(found: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    if ((found < EARLIEST) | (found > LATEST)).any():
        raise InvalidRequest("An event time lies outside of the years 100 to 9000.")
    return found


def made_at(prediction_id: str) -> np.datetime64 | None:
    """When an id was made, where it is a UUIDv7 and so tells its time.

    >>> made_at("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")  # the example of RFC 9562
    np.datetime64('2022-02-22T19:22:22.000000')
    >>> made_at("order-17") is None
    True
    """
    try:
        found = uuid.UUID(prediction_id)
    except ValueError:
        return None
    return np.datetime64((found.int >> RFC_4122_BITS) * 1000, "us") if found.version == UUID7 else None


def operations(plane: DataPlane) -> list[Operation]:
    """The routes of plain predictions and labels."""
    refused = (UnknownModel, NotServing, ScoringFailed, IntegrityError)
    made: list[Operation] = []
    for prefix, parameters in (("/models/{model}", (MODEL,)), ("", ())):
        whose = "of a model" if parameters else "of the default model"
        made += [
            Operation(
                "POST",
                f"{prefix}/predict",
                f"Predict one row {whose}",
                plane.predict,
                Prediction,
                "data plane",
                body=PredictBody,
                parameters=parameters,
                errors=refused,
                pool=Pool.PREDICT,
            ),
            Operation(
                "POST",
                f"{prefix}/batch_predict",
                f"Predict many rows {whose}",
                plane.predict_batch,
                PredictionBatch,
                "data plane",
                body=BatchBody,
                also_takes=TABLE_TYPES,
                parameters=parameters,
                errors=refused,
                pool=Pool.PREDICT,
            ),
        ]
    made.append(
        Operation(
            "POST",
            "/api/v1/labels",
            "Send labels for predictions, late or early",
            plane.label,
            LabelsAccepted,
            "data plane",
            body=LabelsBody,
            also_takes=tuple(CONTENT_TYPES),
            query=(ASKED_MODEL, ASKED_SOURCE),
            errors=(UnknownModel,),
            pool=Pool.PREDICT,
            role=KeyRole.LABEL,
        )
    )
    return made
