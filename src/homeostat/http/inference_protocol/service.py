"""What the protocol's routes do: metadata, readiness, and inference over the data plane."""

from __future__ import annotations

from homeostat import __version__
from homeostat.http.data_plane import DataPlane
from homeostat.http.inference_protocol.framing import Frame, read_frame
from homeostat.http.inference_protocol.messages import (
    InferReply,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    TensorConfig,
    TensorMetadata,
)
from homeostat.http.inference_protocol.replies import Output, check_outputs, chosen, encoded, outputs_of
from homeostat.http.inference_protocol.requests import decoded, wanted
from homeostat.http.inference_protocol.tensors import DATATYPES
from homeostat.http.operations import Raw, Request
from homeostat.ports import ControlPlane
from homeostat.records import Version
from homeostat.serving.answering import Snapshot

PLATFORM = "homeostat"
EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]


class InferenceProtocol:
    """The protocol over the data plane."""

    def __init__(self, plane: DataPlane, control: ControlPlane) -> None:
        self._plane = plane
        self._control = control

    def server(self, _request: Request) -> ServerMetadata:
        return ServerMetadata(name=PLATFORM, version=__version__, extensions=EXTENSIONS)

    def metadata(self, request: Request) -> ModelMetadata:
        version = self._version(request)
        return ModelMetadata(
            name=version.model,
            versions=[str(one.number) for one in self._control.versions(version.model)],
            platform=_platform(version),
            inputs=[TensorMetadata(name=name, datatype=datatype, shape=[-1]) for name, datatype in _inputs_of(version)],
            outputs=[
                TensorMetadata(name=name, datatype=datatype, shape=[-1])
                for name, datatype in outputs_of(version).items()
            ],
        )

    def config(self, request: Request) -> ModelConfig:
        version = self._version(request)
        return ModelConfig(
            name=version.model,
            platform=_platform(version),
            backend=PLATFORM,
            # The first dimension is the rows in every tensor, not a batch around it.
            max_batch_size=0,
            input=[TensorConfig(name=name, data_type=_triton(kind), dims=[-1]) for name, kind in _inputs_of(version)],
            output=[
                TensorConfig(name=name, data_type=_triton(kind), dims=[-1])
                for name, kind in outputs_of(version).items()
            ],
        )

    def ready(self, request: Request) -> ModelReady:
        self._held(request)
        return ModelReady(name=request.path["model"], ready=True)

    def infer(self, request: Request) -> InferReply | Raw:
        frame = read_frame(request.content, request.headers)
        outputs, version = self.answered(request, frame)
        return encoded(outputs, model=request.path["model"], version=str(version.number), request_id=frame.id)

    def answered(self, request: Request, frame: Frame) -> tuple[list[tuple[Output, bool]], Version]:
        """Score and log the rows of a frame; `request` says by its path for which model, and is told what was done.

        The outputs that are wanted, each with whether it is as binary data, and the version that the reply names.
        """
        self._plane.check_rows(frame.rows)
        outputs = wanted(frame.body)
        held = self._held(request)
        request.said |= {"model": request.path["model"]}
        check_outputs(outputs, held.arms[0].version)
        rows = decoded(frame, held.arms[0].version.signature)
        answer, snapshot = self._plane.score(
            request,
            request.path["model"],
            # A route that came in between takes the same rows, or they are refused by name.
            lambda _held: rows.columns,
            version=request.path.get("version"),
            ids=rows.ids,
            entities=rows.entities,
        )
        version = snapshot.arms[0].version
        return chosen(answer, version, outputs), version

    def _held(self, request: Request) -> Snapshot:
        now = self._plane.clock.now()
        return self._plane.gateway.snapshot(request.path["model"], request.path.get("version"), now=now)

    def _version(self, request: Request) -> Version:
        return self._held(request).arms[0].version


def _platform(version: Version) -> str:
    return f"{PLATFORM}_{version.serving.format}"


def _inputs_of(version: Version) -> list[tuple[str, str]]:
    return [(feature.name, DATATYPES[feature.kind][0]) for feature in version.signature.features]


def _triton(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
