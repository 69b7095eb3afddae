"""The gRPC service of a server process, over the same gateway as its HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from homeostat.http.certificate import Certificate
from homeostat.http.data_plane import DataPlane
from homeostat.http.health import Health
from homeostat.http.inference_protocol.service import InferenceProtocol
from homeostat.http.limits import Limits
from homeostat.http.metrics import ServerMetrics
from homeostat.http.trust import Trust
from homeostat.settings import Settings
from homeostat.wiring.system import System

if TYPE_CHECKING:
    from homeostat.http.inference_protocol.grpc_server import GrpcServer


def open_grpc(
    settings: Settings,
    system: System,
    metrics: ServerMetrics,
    plane: DataPlane,
    trust: Trust,
    limits: Limits,
    certificate: Certificate | None,
    *,
    name: str,
    is_stopping: Callable[[], bool],
) -> GrpcServer | None:
    """The service on its port, not yet started; none where no port is set.

    Raises `MissingDependency` without grpcio, `InvalidSettings` where the port can't be had.
    """
    serve = settings.serve
    if not serve.grpc_port:
        return None
    from homeostat.http.inference_protocol.grpc_server import GrpcServer

    # The library would write lines of its own between those of the log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return GrpcServer(
        InferenceProtocol(plane, system.control),
        Health(system.gateway, system.control, name=name, is_stopping=is_stopping, serves=True).protocol_ready,
        trust,
        limits,
        metrics,
        certificate=certificate,
        host=serve.host,
        port=serve.grpc_port,
        threads=serve.threads,
        most_bytes=serve.body_bytes,
        # Gateway processes listen on it together.
        shares_port=serve.workers > 1,
    )
