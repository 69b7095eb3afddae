"""The control plane over HTTP: every order and every question, under /api/v1."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from homeostat.errors import (
    CompilationFailed,
    Conflict,
    IntegrityError,
    InvalidInput,
    InvalidRequest,
    MissingDependency,
    PythonNotAllowed,
    TrainingFailed,
    UnknownModel,
    UnknownRecord,
    UnknownVersion,
)
from homeostat.http.control_bodies import ClockBody, MoveBody, OrderBody
from homeostat.http.experiments import experiment_operations
from homeostat.http.keys import key_operations
from homeostat.http.operations import (
    API,
    LIMIT,
    MODEL,
    NEW_MODEL,
    ONE,
    VERSION,
    FormField,
    Operation,
    Parameter,
    Request,
    is_printed,
)
from homeostat.http.traffic import alert_operations, traffic_operations
from homeostat.ports import ControlPlane, Registration
from homeostat.records import (
    CheckReport,
    ClockReport,
    Decision,
    Finding,
    KeyRole,
    Model,
    ModelStatus,
    PolicyReport,
    Promotion,
    Run,
    StageChange,
    Verification,
    Version,
)

TABLES = (".csv", ".csv.gz", ".parquet", ".pq")
MODELS = (".skops", ".onnx", ".ubj", ".json", ".txt", ".lgb", ".joblib", ".pkl")
# What a message about a table repeats of it: a row, a value, the names of its columns.
_CONTENT = re.compile(r"(columns, got \d+|invalid value)(?:: | ').*(?=\. It must be)| It has: .*", re.DOTALL)
REGISTRATION = (
    FormField("training", "What it was trained on, or is to be: CSV or Parquet.", required=True, suffixes=TABLES),
    FormField("target", "The target's column; one that is served elsewhere may go without."),
    FormField("pipeline", "The fitted model; without it the built-in trainer fits one.", suffixes=MODELS),
    FormField("time", "The column with event times."),
    FormField("external", "It is served elsewhere: `training` are rows that it answered.", is_flag=True),
    FormField("prediction", "The column of its answers; `prediction`, unless given. For external ones."),
    FormField("score", "The column of its scores; `score`, unless given. For external ones."),
    FormField("positive", "The class that a binary model looks for. For external ones."),
    FormField("allow_pickle", "Load a pickle; the server has to allow it too (serve.allow_pickle).", is_flag=True),
    FormField("python", "A Python class, as package.module:Class, where the server allows it (serve.allow_python)."),
    FormField("python_files", "What the Python class is imported from.", suffixes=(".py", ".zip")),
    FormField("keep_training", "Keep the rows for later retrainings; true unless said otherwise.", is_flag=True),
    FormField("tags", "Tags, as a JSON object of texts.", longest=10_000),
    FormField("description", "What the model is for.", longest=10_000),
    FormField("reason", "Why; it is kept in the history."),
    FormField("actor", "Who registers it.", longest=200),
)


class FullControlPlane(ControlPlane, Protocol):
    """What a server asks of its control plane beside what its clients ask of the server."""

    def status_of(self, model: str) -> ModelStatus:
        """What is served for one model."""
        ...

    def run(self, model: str, run: str) -> Run:
        """One retraining."""
        ...

    def external_version(self, model: str, number: int | None) -> Version:
        """A version of a model that is only watched here."""
        ...


class ControlHandlers:
    """From requests to the control plane."""

    def __init__(self, control: FullControlPlane, *, allow_pickle: bool, allow_python: bool) -> None:
        self._control = control
        self._allow_pickle = allow_pickle
        self._allow_python = allow_python

    def register(self, request: Request) -> Version:
        try:
            return self._register(request)
        except (InvalidInput, CompilationFailed, TrainingFailed) as error:
            raise type(error)(_without_upload(error.message, request), **error.data) from error

    def _register(self, request: Request) -> Version:
        given: dict[str, str] = request.body
        wants_pickle = _flag(given, "allow_pickle", default=False)
        if wants_pickle and not self._allow_pickle:
            raise InvalidRequest(
                "This server takes no pickles. Save the pipeline with skops.io.dump, or let whoever runs the server "
                "set serve.allow_pickle."
            )
        wants_python = bool(given.get("python")) or "python_files" in request.files
        if wants_python and not self._allow_python:
            raise PythonNotAllowed
        if wants_python and not (given.get("python") and "python_files" in request.files):
            raise InvalidRequest("A Python class is two fields: its name, 'python', and its files, 'python_files'.")
        if wants_pickle or wants_python:
            # Whoever runs code on the server can take the keys of others.
            request.caller.check(KeyRole.ADMIN)
        pipeline, python_files = request.files.get("pipeline"), request.files.get("python_files")
        if not is_printed(given.get("actor", "") + given.get("reason", "")):
            raise InvalidRequest("'actor' or 'reason' has control characters.")
        is_external = _flag(given, "external", default=False)
        if not given.get("target") and not is_external:
            raise InvalidRequest("The form lacks: target.")
        request.said["model"] = request.path["model"]
        return self._control.register(
            request.path["model"],
            Registration(
                training=Path(request.files["training"].path),
                target=given.get("target", ""),
                pipeline=None if pipeline is None else Path(pipeline.path),
                time=given.get("time") or None,
                allow_pickle=wants_pickle,
                keep_training=_flag(given, "keep_training", default=True),
                tags=_tags(given.get("tags", "{}")),
                description=given.get("description", ""),
                is_external=is_external,
                prediction=given.get("prediction") or None,
                score=given.get("score") or None,
                positive=given.get("positive") or None,
                python=given.get("python") or None,
                python_files=None if python_files is None else Path(python_files.path),
            ),
            actor=request.actor(given.get("actor", "")),
            reason=given.get("reason", "registered over HTTP"),
        )

    def move(self, request: Request) -> Promotion:
        body: MoveBody = request.body
        return self._control.move(
            request.path["model"],
            request.path["version"],
            body.stage,
            actor=request.actor(body.actor),
            reason=body.reason,
        )

    def retrain(self, request: Request) -> Run:
        body: OrderBody = request.body
        return self._control.retrain(request.path["model"], actor=request.actor(body.actor), reason=body.reason)


def _without_upload(message: str, request: Request) -> str:
    """A message about files without their place on this machine, and without what stands in them."""
    for name, upload in request.files.items():
        message = message.replace(upload.path, f"'{name}'")
    for name in ("target", "time", "prediction", "score", "positive"):
        if request.body.get(name):
            message = re.sub(rf" ?'{re.escape(request.body[name])}'", "", message)
    return _CONTENT.sub(lambda match: match[1] or "", message)


def _flag(given: dict[str, str], name: str, *, default: bool) -> bool:
    text = given.get(name, "")
    if text not in ("", "true", "false"):
        raise InvalidRequest(f"'{name}' is true or false.")
    return default if text == "" else text == "true"


def _tags(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise InvalidRequest("'tags' is a JSON object of texts.") from None


def operations(control: FullControlPlane, *, allow_pickle: bool, allow_python: bool = False) -> list[Operation]:
    """Every route of the control plane."""
    handlers = ControlHandlers(control, allow_pickle=allow_pickle, allow_python=allow_python)
    return [
        *_models(control, handlers),
        *_watching(control),
        *_retraining(control, handlers),
        *traffic_operations(control),
        *experiment_operations(control),
        *alert_operations(control),
        *key_operations(control),
    ]


def _models(control: FullControlPlane, handlers: ControlHandlers) -> list[Operation]:
    tag = "models and versions"

    def get(path: str, summary: str, handle: Callable[[Request], Any], reply: Any, **more: Any) -> Operation:
        return Operation("GET", path, summary, handle, reply, tag, **more)

    whose = {"parameters": (MODEL,), "errors": (UnknownModel,)}
    which = {"parameters": (MODEL, VERSION), "errors": (UnknownModel, UnknownVersion)}
    return [
        get(f"{API}/models", "Every model", lambda _: {"models": control.models()}, list[Model], wrapped="models"),
        get(ONE, "What is served for a model", lambda r: control.status_of(r.path["model"]), ModelStatus, **whose),
        get(
            f"{ONE}/versions",
            "The versions of a model",
            lambda r: {"versions": control.versions(r.path["model"])},
            list[Version],
            wrapped="versions",
            **whose,
        ),
        Operation(
            "POST",
            f"{ONE}/versions",
            "Register a version",
            handlers.register,
            Version,
            tag,
            form=REGISTRATION,
            parameters=(NEW_MODEL,),
            errors=(CompilationFailed, TrainingFailed, Conflict, MissingDependency),
            status=201,
        ),
        get(
            f"{ONE}/versions/{{version}}",
            "One version",
            lambda r: control.version(r.path["model"], r.path["version"]),
            Version,
            **which,
        ),
        Operation(
            "POST",
            f"{ONE}/versions/{{version}}/stage",
            "Move a version to a stage",
            handlers.move,
            Promotion,
            tag,
            body=MoveBody,
            parameters=(MODEL, VERSION),
            errors=(UnknownModel, UnknownVersion, Conflict, IntegrityError),
        ),
        get(
            f"{ONE}/stages",
            "The moves of a model's versions between stages",
            lambda r: {"stages": control.stages(r.path["model"], r.query.get("version"))},
            list[StageChange],
            wrapped="stages",
            query=(VERSION,),
            **which | {"parameters": (MODEL,)},
        ),
        Operation(
            "POST",
            f"{ONE}/verify",
            "Hash the files of a model again",
            lambda r: control.verify(r.path["model"]),
            Verification,
            tag,
            **whose,  # type: ignore[arg-type]
        ),
        Operation("POST", f"{API}/verify", "Hash all files again", lambda _: control.verify(), Verification, tag),
        get(
            f"{ONE}/policy",
            "The policy that holds for a model",
            lambda r: control.policy(r.path["model"]),
            PolicyReport,
            **whose,
        ),
        get(f"{API}/settings", "The settings", lambda _: control.settings(), dict[str, Any]),
    ]


def _watching(control: FullControlPlane) -> list[Operation]:
    tag = "watching"
    check = Parameter("check", "Only the findings of this check.")

    def findings(request: Request) -> dict[str, list[Finding]]:
        found = control.findings(
            request.path["model"], check=request.query.get("check"), limit=request.query.get("limit", 100)
        )
        return {"findings": found}

    return [
        Operation(
            "GET",
            f"{API}/status",
            "What is served, how it does and what is open",
            lambda _: {"models": control.status()},
            list[ModelStatus],
            tag,
            wrapped="models",
        ),
        Operation(
            "POST",
            f"{ONE}/check",
            "Look at a model now",
            lambda r: control.check(r.path["model"]),
            CheckReport,
            tag,
            parameters=(MODEL,),
            errors=(UnknownModel,),
        ),
        Operation(
            "GET",
            f"{ONE}/findings",
            "The latest findings",
            findings,
            list[Finding],
            tag,
            wrapped="findings",
            parameters=(MODEL,),
            query=(check, LIMIT),
            errors=(UnknownModel,),
        ),
        Operation(
            "GET",
            f"{ONE}/decisions",
            "What was decided, and why",
            lambda r: {"decisions": control.decisions(r.path["model"], limit=r.query.get("limit", 0))},
            list[Decision],
            tag,
            wrapped="decisions",
            parameters=(MODEL,),
            query=(LIMIT,),
            errors=(UnknownModel,),
        ),
    ]


def _retraining(control: FullControlPlane, handlers: ControlHandlers) -> list[Operation]:
    tag = "retraining"
    run = Parameter("run", "The run's id.")
    return [
        Operation(
            "GET",
            f"{ONE}/runs",
            "The retrainings of a model",
            lambda r: {"runs": control.runs(r.path["model"])},
            list[Run],
            tag,
            wrapped="runs",
            parameters=(MODEL,),
            errors=(UnknownModel,),
        ),
        Operation(
            "GET",
            f"{ONE}/runs/{{run}}",
            "One retraining",
            lambda r: control.run(r.path["model"], r.path["run"]),
            Run,
            tag,
            parameters=(MODEL, run),
            errors=(UnknownModel, UnknownRecord),
        ),
        Operation(
            "POST",
            f"{ONE}/retrain",
            "Start a retraining",
            handlers.retrain,
            Run,
            tag,
            body=OrderBody,
            body_required=False,
            parameters=(MODEL,),
            errors=(UnknownModel, Conflict),
            status=202,
        ),
    ]


def clock_operation(advance: Callable[[datetime], ClockReport]) -> Operation:
    """The route that moves a simulated clock; it returns once all controllers are quiescent."""

    def move(request: Request) -> ClockReport:
        now: datetime = request.body.now
        return advance(now if now.tzinfo is not None else now.replace(tzinfo=UTC))

    return Operation(
        "POST", f"{API}/clock", "Move the simulated clock on", move, ClockReport, "simulation", body=ClockBody
    )
