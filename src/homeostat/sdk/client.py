"""The client: everything that people and programs may ask and order, of a server."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput, UnknownModel, UnknownRecord, UnknownVersion
from homeostat.frames import label_text
from homeostat.ports import ControlPlane, Registration
from homeostat.records import (
    Alert,
    CheckReport,
    ClockReport,
    Decision,
    Finding,
    Incident,
    KeyReport,
    KeyRole,
    LabelsAccepted,
    Model,
    ModelStatus,
    NewKey,
    PastPredictions,
    PolicyReport,
    Prediction,
    PredictionBatch,
    PredictionsAccepted,
    Promotion,
    Replay,
    Rollback,
    Rollout,
    RolloutComparison,
    RolloutPage,
    RouteReport,
    Run,
    Stage,
    StageChange,
    Verification,
    Version,
)
from homeostat.sdk.experiments import ExperimentRequests
from homeostat.sdk.tables import PARQUET, parquet_of
from homeostat.sdk.transport import Transport
from homeostat.sdk.values import (
    entities_of,
    features_of,
    ids_of,
    instances_of,
    is_list,
    labels_of,
    moment,
    moments_of,
    predictions_of,
)

API = "/api/v1"
# Labels are small and may be sent twice without harm, so that many go in parts that every server takes.
LABELS_AT_ONCE = 10_000
MOST_VERSIONS = 1_000_000_000
FIRST_PAUSE, PAUSE_GROWTH, LONGEST_PAUSE = 0.1, 1.5, 5.0


class Client(ExperimentRequests):
    """A server, asked and ordered over HTTP.

    It keeps its connections, may be used by many threads, and closes with `close` or at the end of a `with`.
    `timeout` is in seconds, for connecting and for each answer; what the server finishes before it answers
    (registering, checking, verifying, rolling back, moving its clock) may take an hour. The token is never shown.

    What the server refuses is raised as the error of `homeostat.errors` that has the code of the answer.
    `ServerUnreachable` is raised where no usable answer comes. Questions are tried once more where no connection came
    about; orders are never repeated.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 30.0) -> None:
        self._transport = Transport(url, token=token, timeout=timeout)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._transport.url

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def ready(self) -> bool:
        """Whether the server is there and can answer."""
        return self._transport.succeeds("/readyz")

    # The data plane
    def predict(
        self,
        model: str | None,
        features: Mapping[str, Any] | Sequence[Any],
        *,
        entity: Any = None,
        prediction_id: str | None = None,
        event_time: datetime | np.datetime64 | str | None = None,
    ) -> Prediction:
        """Score one row, which is logged before the answer comes.

        `features` are values by name, or in the order of the signature. NaN and `None` are missing; times are sent as
        microseconds since 1970. `model` may be `None` for the server's default model. Raises `InvalidFeatures`, also
        for infinite numbers, and `NotServing`.
        """
        body = {
            "features": features_of(features),
            "prediction_id": None if prediction_id is None else ids_of([prediction_id])[0],
            "entity": label_text(entity) or None,
            "event_time": None if event_time is None else moment(event_time),
        }
        return self._transport.order(Prediction, self._data_path(model, "predict"), body)

    def predict_batch(
        self,
        model: str | None,
        rows: Any,
        *,
        entities: Sequence[Any] | None = None,
        prediction_ids: Sequence[Any] | None = None,
        event_times: Sequence[Any] | npt.NDArray[np.datetime64] | None = None,
    ) -> PredictionBatch:
        """Score many rows at once, all or none.

        `rows` is any data frame (pandas, polars, pyarrow), `frames.Columns`, or a list of rows as `predict` takes them.
        The other lists have one entry a row. Frames of 200 rows and more are sent as Parquet. Raises what `predict`
        raises.
        """
        path = self._data_path(model, "batch_predict")
        ids = None if prediction_ids is None else ids_of(prediction_ids)
        keys = None if entities is None else entities_of(entities, prediction_ids)
        times = None if event_times is None else moments_of(event_times)
        content = None if is_list(rows) else parquet_of(rows, ids=ids, entities=keys, times=times)
        if content is not None:
            return self._transport.send(PredictionBatch, path, content, PARQUET)
        body = {"instances": instances_of(rows), "prediction_ids": ids, "entities": keys, "event_times": times}
        return self._transport.order(PredictionBatch, path, body)

    def label(
        self,
        model: str,
        ids: Sequence[str],
        values: Sequence[Any],
        *,
        event_time: npt.NDArray[np.datetime64] | None = None,
        source: str = "api",
        sources: Sequence[str | None] | None = None,
        confidences: Sequence[float | None] | None = None,
    ) -> LabelsAccepted:
        """Take labels in: late, twice, or before their prediction. Raises `InvalidLabel`.

        More than 10,000 are sent in parts. Where one part is refused, those before it are kept; send all again then,
        the latest label counts.
        """
        labels = labels_of(ids, values, event_time, sources=sources, confidences=confidences)
        if not labels:
            # Nothing to send, but the model has to exist all the same.
            self._transport.ask(ModelStatus, self._path(model, ""))
        accepted = unmatched = unknown = 0
        for start in range(0, len(labels), LABELS_AT_ONCE):
            body = {"model": model, "labels": labels[start : start + LABELS_AT_ONCE], "source": source}
            kept = self._transport.order(LabelsAccepted, f"{API}/labels", body)
            accepted += kept.accepted
            unmatched += kept.unmatched
            unknown += kept.unknown_classes
        return LabelsAccepted(model=model, accepted=accepted, unmatched=unmatched, unknown_classes=unknown)

    def log_predictions(self, model: str, past: PastPredictions) -> PredictionsAccepted:
        """Log what another server answered, of a model that is only watched here; each id is kept once.

        Raises `InvalidPrediction`, `InvalidFeatures` or `Conflict`; nothing was logged then.
        """
        rows = [{name: value for name, value in row.items() if value is not None} for row in predictions_of(past)]
        path = f"{API}/predictions?model={quote(self._model(model), safe='')}"
        if past.version is not None:
            path += f"&version={self._number(model, past.version)}"
        return self._transport.order(PredictionsAccepted, path, rows)

    # What is served, and how it does
    def status(self) -> list[ModelStatus]:
        """What is served, how it does and what is open, for every model."""
        return self._transport.ask_part(list[ModelStatus], "models", f"{API}/status")

    def check(self, model: str) -> CheckReport:
        """Look at a model now, act as the policy says, and return the findings."""
        return self._transport.order(CheckReport, self._path(model, "/check"), long=True)

    def findings(self, model: str, *, check: str | None = None, limit: int = 100) -> list[Finding]:
        """The latest findings of a model, or of one check, oldest first."""
        path = self._path(model, "/findings")
        return self._transport.ask_part(list[Finding], "findings", path, check=check, limit=limit)

    def decisions(self, model: str, *, limit: int = 0) -> list[Decision]:
        """The decisions about a model, oldest first; only the latest so many where `limit` is not 0."""
        path = self._path(model, "/decisions")
        return self._transport.ask_part(list[Decision], "decisions", path, limit=limit or None)

    # Models and versions
    def models(self) -> list[Model]:
        """Every model."""
        return self._transport.ask_part(list[Model], "models", f"{API}/models")

    def versions(self, model: str) -> list[Version]:
        """The versions of a model, oldest first."""
        return self._transport.ask_part(list[Version], "versions", self._path(model, "/versions"))

    def version(self, model: str, number: int) -> Version:
        """One version."""
        return self._transport.ask(Version, self._path(model, f"/versions/{self._number(model, number)}"))

    def stages(self, model: str, number: int | None = None) -> list[StageChange]:
        """The moves of a model's versions between stages, or of one version, oldest first."""
        version = None if number is None else self._number(model, number)
        return self._transport.ask_part(list[StageChange], "stages", self._path(model, "/stages"), version=version)

    def register(self, model: str, registration: Registration, *, actor: str, reason: str) -> Version:
        """Register a version in stage draft from files of this machine, which are read while they are sent."""
        if not model or "/" in model:
            raise InvalidInput(
                "A model's name is 1 to 100 letters, digits, '-', '_' or '.', and begins with no '-' or '.'; "
                f"'{model[:100]}' is not."
            )
        fields = {
            "target": registration.target,
            "allow_pickle": "true" if registration.allow_pickle else "false",
            "keep_training": "true" if registration.keep_training else "false",
            "tags": msgspec.json.encode(registration.tags).decode(),
            "description": registration.description,
            "reason": reason,
            "actor": actor,
        }
        if registration.is_external:
            fields["external"] = "true"
        for name in ("time", "prediction", "score", "positive", "python"):
            if getattr(registration, name) is not None:
                fields[name] = getattr(registration, name)
        with ExitStack() as opened:
            files = {"training": (registration.training.name, opened.enter_context(_opened(registration.training)))}
            if registration.pipeline is not None:
                file = opened.enter_context(_opened(registration.pipeline))
                files["pipeline"] = (registration.pipeline.name, file)
            if registration.python is not None:
                files["python_files"] = ("files.zip", _packed(registration.python, registration.python_files))
            return self._transport.upload(Version, self._path(model, "/versions"), fields=fields, files=files)

    def move(self, model: str, number: int, stage: Stage, *, actor: str, reason: str) -> Promotion:
        """Move a version to a stage. Into production it goes watched: where it is worse, the old version comes back."""
        body = {"stage": Stage(stage).value, "reason": reason, "actor": actor}
        return self._transport.order(
            Promotion, self._path(model, f"/versions/{self._number(model, number)}/stage"), body
        )

    def roll_back(self, model: str, *, to: int | None, actor: str, reason: str) -> Rollback:
        """Put an earlier production version back, and wait until the gateways say that they serve it."""
        body = {"to": None if to is None else self._number(model, to), "reason": reason, "actor": actor}
        return self._transport.order(Rollback, self._path(model, "/rollback"), body, long=True)

    def verify(self, model: str | None = None) -> Verification:
        """Hash every stored file of the server again."""
        path = f"{API}/verify" if model is None else self._path(model, "/verify")
        return self._transport.order(Verification, path, long=True)

    # Alerts
    def alerts(self, model: str | None = None, *, everything: bool = False) -> list[Alert]:
        """Live alerts, and with `everything` the resolved ones that are still kept, oldest first."""
        wanted = "true" if everything else None
        return self._transport.ask_part(list[Alert], "alerts", f"{API}/alerts", model=model, all=wanted)

    def acknowledge(self, alert: str, *, actor: str) -> Alert:
        """Say that somebody looks after an alert."""
        return self._transport.order(Alert, self._alert_path(alert, "acknowledge"), {"actor": actor})

    def resolve(self, alert: str, *, actor: str) -> Alert:
        """Close an alert by hand."""
        return self._transport.order(Alert, self._alert_path(alert, "resolve"), {"actor": actor})

    # Retraining
    def runs(self, model: str) -> list[Run]:
        """The retrainings of a model, oldest first."""
        return self._transport.ask_part(list[Run], "runs", self._path(model, "/runs"))

    def retrain(self, model: str, *, actor: str, reason: str) -> Run:
        """Start a retraining by hand; it goes on by itself."""
        return self._transport.order(Run, self._path(model, "/retrain"), {"reason": reason, "actor": actor})

    def wait_for_run(self, run: Run) -> Run:
        """The run once it has ended; asks after it, at first often and then every five seconds."""
        path = self._path(run.model, f"/runs/{quote(run.id, safe='')}")
        pause = FIRST_PAUSE
        while not run.state.is_final:
            time.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
            run = self._transport.ask(Run, path)
        return run

    # Traffic
    def comparisons(self, model: str) -> list[RolloutComparison]:
        """What the rollouts of a model compare, and did, oldest first."""
        return self._transport.ask_part(list[RolloutComparison], "comparisons", self._path(model, "/comparisons"))

    def rollouts(self, model: str) -> list[Rollout]:
        """The rollouts of a model, oldest first."""
        return self._transport.ask_part(list[Rollout], "rollouts", self._path(model, "/rollouts"))

    def start_rollout(self, model: str, number: int, *, actor: str, reason: str) -> Rollout:
        """Roll a version out by the policy's steps, from the first on."""
        body = {"version": self._number(model, number), "reason": reason, "actor": actor}
        return self._transport.order(Rollout, self._path(model, "/rollouts"), body)

    def pause(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Stay in the present step; guardrails go on."""
        return self._transport.order(Rollout, self._path(model, "/rollouts/pause"), {"reason": reason, "actor": actor})

    def resume(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Go on with a paused rollout."""
        return self._transport.order(Rollout, self._path(model, "/rollouts/resume"), {"reason": reason, "actor": actor})

    def approve(self, model: str, *, actor: str, reason: str) -> Rollout:
        """Let a rollout leave a step that waits for a person's approval."""
        return self._transport.order(
            Rollout, self._path(model, "/rollouts/approve"), {"reason": reason, "actor": actor}
        )

    def abort(self, model: str, *, actor: str, reason: str) -> Rollout:
        """End a rollout, with all traffic on the version that was there before."""
        body = {"reason": reason, "actor": actor}
        return self._transport.order(Rollout, self._path(model, "/rollouts/abort"), body, long=True)

    def rollout_report(self, model: str, rollout: str | None = None) -> RolloutPage:
        """The report of a rollout, or of the newest one."""
        return self._transport.ask(RolloutPage, self._path(model, "/rollouts/report"), rollout=rollout)

    def incidents(self, model: str) -> list[Incident]:
        """The rollbacks of a model with their causes and timelines, oldest first."""
        return self._transport.ask_part(list[Incident], "incidents", self._path(model, "/incidents"))

    def incident(self, model: str, incident: str) -> Incident:
        """One of them."""
        return self._transport.ask(Incident, self._path(model, f"/incidents/{quote(incident, safe='')}"))

    def decision(self, decision: str) -> Decision:
        """One decision, with all that it was taken on."""
        return self._transport.ask(Decision, f"{API}/decisions/{quote(decision, safe='')}")

    def replay(self, decision: str) -> Replay:
        """Take a decision again from its record."""
        return self._transport.ask(Replay, f"{API}/decisions/{quote(decision, safe='')}/replay")

    def routes(self, model: str, *, limit: int = 100) -> RouteReport:
        """The latest routes of a model, and what each gateway serves."""
        return self._transport.ask(RouteReport, self._path(model, "/routes"), limit=limit)

    # What it is run by
    def policy(self, model: str) -> PolicyReport:
        """The policy that holds for a model."""
        return self._transport.ask(PolicyReport, self._path(model, "/policy"))

    def settings(self) -> dict[str, Any]:
        """The settings of the server by name, secrets left out."""
        return self._transport.ask(dict[str, Any], f"{API}/settings")

    # Who may ask
    def keys(self) -> list[KeyReport]:
        """Every API key that was ever made, oldest first, without the secrets."""
        return self._transport.ask_part(list[KeyReport], "keys", f"{API}/keys")

    def create_key(self, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str) -> NewKey:
        """Make a key that works for a time such as `90d`, or until it is revoked. Its secret is told this once."""
        body = {"name": name, "roles": list(roles), "expires": expires, "actor": actor}
        return self._transport.order(NewKey, f"{API}/keys", body)

    def revoke_key(self, name: str, *, actor: str) -> KeyReport:
        """End a key for good."""
        if not name or "/" in name:
            raise UnknownRecord(kind="key", key=name)
        return self._transport.order(KeyReport, f"{API}/keys/{_segment(name)}/revoke", {"actor": actor})

    def advance_clock(self, now: datetime) -> ClockReport:
        """Move the clock of a simulated server forward, and let its controllers do what became due."""
        return self._transport.order(ClockReport, f"{API}/clock", {"now": moment(now)}, long=True)

    def _path(self, model: str, rest: str) -> str:
        return f"{API}/models/{self._model(model)}{rest}"

    def _data_path(self, model: str | None, verb: str) -> str:
        return f"/{verb}" if model is None else f"/models/{self._model(model)}/{verb}"

    def _model(self, model: str) -> str:
        # In a path, such names would mean another address; no model can have them.
        if not model or "/" in model:
            raise UnknownModel(model=model, known=[known.name for known in self.models()])
        return _segment(model)

    def _number(self, model: str, number: int) -> int:
        # A server takes no such number for a version's, where this process would say that there is none.
        if not 0 < number <= MOST_VERSIONS:
            raise UnknownVersion(model=model, version=number, known=[one.number for one in self.versions(model)])
        return number

    @staticmethod
    def _alert_path(alert: str, verb: str) -> str:
        if not alert or "/" in alert:
            raise UnknownRecord(kind="alert", key=alert)
        return f"{API}/alerts/{_segment(alert)}/{verb}"


def _segment(name: str) -> str:
    # Dots alone are shortened away where they are not escaped, and `quote` leaves them as they are.
    quoted = quote(name, safe="", errors="replace")
    return quoted.replace(".", "%2E") if set(quoted) == {"."} else quoted


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}.") from error


def _packed(entry: str, source: Path | None) -> IO[bytes]:
    from homeostat.connectors.models import python_files

    return io.BytesIO(python_files.pack(python_files.read_python_files(entry, source)))


if TYPE_CHECKING:
    _implements: type[ControlPlane] = Client
