"""The protocol's addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeostat.errors import (
    Conflict,
    IntegrityError,
    NotReady,
    NotServing,
    ScoringFailed,
    UnknownModel,
    UnknownVersion,
)
from homeostat.http.data_plane import DataPlane
from homeostat.http.inference_protocol.framing import HEAD_LENGTH
from homeostat.http.inference_protocol.messages import (
    IndexBody,
    IndexEntry,
    InferBody,
    InferReply,
    Live,
    LoadBody,
    ModelConfig,
    ModelLoaded,
    ModelMetadata,
    ModelReady,
    ModelUnloaded,
    Ready,
    ServerMetadata,
)
from homeostat.http.inference_protocol.replies import OCTETS
from homeostat.http.inference_protocol.repository import Repository
from homeostat.http.inference_protocol.service import InferenceProtocol
from homeostat.http.inference_protocol.statistics import Statistics, StatisticsReply
from homeostat.http.metrics.statistics import VersionCounts
from homeostat.http.operations import MODEL, VERSION, Operation, Parameter, Pool, Request
from homeostat.ports import ControlPlane

TAG = "open inference protocol"
JSON_LENGTH = Parameter(HEAD_LENGTH, "How many bytes of the body are JSON, where binary tensors follow it.", int)


def operations(
    plane: DataPlane,
    control: ControlPlane,
    is_ready: Callable[[Request], Ready],
    counts: Callable[[], Mapping[tuple[str, int], VersionCounts]],
) -> list[Operation]:
    """The protocol's routes."""
    protocol = InferenceProtocol(plane, control)
    made: list[Operation] = []

    def add(method: str, path: str, summary: str, handle: Any, reply: Any, **more: Any) -> None:
        # Probes too: slow orders to the control plane must not make a server look dead.
        made.append(Operation(method, path, summary, handle, reply, TAG, pool=Pool.PREDICT, **more))

    add("GET", "/v2", "Which server this is", protocol.server, ServerMetadata)
    add("GET", "/v2/health/live", "Whether it lives", lambda _: Live(live=True), Live, is_open=True)
    add("GET", "/v2/health/ready", "Whether it is ready", is_ready, Ready, is_open=True, errors=(NotReady,))
    statistics = Statistics(plane, control, counts)
    said = "What was answered, how often and how fast"
    # Before the models: Triton's address for all of them looks like that of a model named so.
    add("GET", "/v2/models/stats", f"{said}, by every model", statistics.all, StatisticsReply)
    for suffix, parameters, errors in (
        ("", (MODEL,), (UnknownModel, NotServing, IntegrityError)),
        ("/versions/{version}", (MODEL, VERSION), (UnknownModel, UnknownVersion, IntegrityError)),
    ):
        path = f"/v2/models/{{model}}{suffix}"
        shared: dict[str, Any] = {"parameters": parameters, "errors": errors}
        add("GET", path, "What a model takes and gives", protocol.metadata, ModelMetadata, **shared)
        add("GET", f"{path}/ready", "Whether a model is ready", protocol.ready, ModelReady, **shared)
        add("GET", f"{path}/config", "A model as Triton would be told of it", protocol.config, ModelConfig, **shared)
        answer, known = (statistics.version, errors[:2]) if suffix else (statistics.model, errors[:1])
        add("GET", f"{path}/stats", said, answer, StatisticsReply, parameters=parameters, errors=known)
        shared["errors"] = (*errors, ScoringFailed)
        add(
            "POST",
            f"{path}/infer",
            "Predict rows given as tensors",
            protocol.infer,
            InferReply,
            body=InferBody,
            also_takes=(OCTETS,),
            reads_body=True,
            also_gives=(OCTETS,),
            headers=(HEAD_LENGTH,),
            header_parameters=(JSON_LENGTH,),
            **shared,
        )
    return [*made, *_repository_operations(Repository(plane.gateway, control, plane.clock))]


def _repository_operations(repository: Repository) -> list[Operation]:
    made = [
        Operation(
            "POST",
            "/v2/repository/index",
            "Which versions there are, and which of them serve",
            repository.index,
            list[IndexEntry],
            TAG,
            body=IndexBody,
            body_required=False,
        )
    ]
    order: dict[str, Any] = {"body": LoadBody, "body_required": False, "parameters": (MODEL,)}
    for name, summary, handle, reply, errors in (
        ("load", "Load the newest route of a model", repository.load, ModelLoaded, (NotServing, IntegrityError)),
        ("unload", "Unload a model that nothing serves", repository.unload, ModelUnloaded, (Conflict, IntegrityError)),
    ):
        path = f"/v2/repository/models/{{model}}/{name}"
        made.append(Operation("POST", path, summary, handle, reply, TAG, errors=(UnknownModel, *errors), **order))
    return made
