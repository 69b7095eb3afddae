"""The Open Inference Protocol over gRPC, on a port of its own, beside HTTP and with the same answers."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

from homeostat.errors import (
    HomeostatError,
    IntegrityError,
    InternalError,
    InvalidRequest,
    InvalidSettings,
    MissingDependency,
    NotReady,
    NotServing,
)
from homeostat.http.certificate import Certificate
from homeostat.http.errors import reply_of as error_reply
from homeostat.http.errors import status_of
from homeostat.http.inference_protocol import grpc_frames
from homeostat.http.inference_protocol.grpc_messages import METHODS, SERVICE, message_types
from homeostat.http.inference_protocol.messages import Ready
from homeostat.http.inference_protocol.service import InferenceProtocol
from homeostat.http.limits import Limits, Slot
from homeostat.http.operations import MODEL, VERSION, Request
from homeostat.http.trust import Trust
from homeostat.records import KeyRole

# Names of grpc.StatusCode.
STATUS = {
    HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.CONFLICT: "FAILED_PRECONDITION",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RESOURCE_EXHAUSTED",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
}
LAST_PORT = 65_535
OPEN = ("ServerLive", "ServerReady")
# Metadata that are read.
HEADERS = ("authorization", "x-forwarded-for")
# Where the code of an error stands, in the metadata that follow a reply.
CODE = "homeostat-code"
_LOG = logging.getLogger("homeostat.http")


class Observer(Protocol):
    """Who counts requests to score."""

    def observe_request(self, model: str, answered: Any, status: int, seconds: float) -> None:
        """A request that was answered, with an HTTP status or what would be its like."""
        ...


class GrpcServer:
    """`GRPCInferenceService` over the same protocol object as HTTP.

    Raises `MissingDependency` where grpcio is not installed, `InvalidSettings` where the port can't be had.
    """

    def __init__(
        self,
        protocol: InferenceProtocol,
        is_ready: Callable[[Request], Ready],
        trust: Trust,
        limits: Limits,
        observer: Observer,
        *,
        certificate: Certificate | None = None,
        host: str,
        port: int,
        threads: int,
        most_bytes: int,
        shares_port: bool,
    ) -> None:
        try:
            import grpc
        except ImportError as error:
            raise MissingDependency(package="homeostat[grpc]") from error
        if not 0 < port <= LAST_PORT:
            # It would be taken modulo something.
            raise InvalidSettings(f"serve.grpc_port is a port from 1 to {LAST_PORT}, or 0 for none; got {port}.")
        self._protocol = protocol
        self._is_ready = is_ready
        self._trust = trust
        self._limits = limits
        self._observer = observer
        self._types = message_types()
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            # Beyond them the library refuses by itself: what waits for a thread is bounded.
            maximum_concurrent_rpcs=limits.concurrent_requests or None,
            options=[
                ("grpc.max_receive_message_length", most_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(shares_port)),
                # Packed messages are refused: what they unpack to is not bounded before they are.
                ("grpc.compression_enabled_algorithms_bitset", 1),
            ],
        )
        handlers = {name: self._handler(grpc, name) for name in METHODS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        address = f"[{host}]:{port}" if ":" in host else f"{host or '[::]'}:{port}"
        try:
            if certificate is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, _credentials(grpc, certificate))
        except RuntimeError:
            raise InvalidSettings(f"{address} can't be listened on for gRPC. Choose another serve.grpc_port.") from None

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()

    def stop(self, seconds: float) -> None:
        """Take no more requests, and give those that came so long to be answered."""
        self._server.stop(seconds).wait()

    def _handler(self, grpc: Any, name: str) -> Any:
        from google.protobuf.message import DecodeError

        handle, kind = getattr(self, f"_{name}"), self._types[f"{name}Request"]

        def answer(content: bytes, context: Any) -> Any:
            request = Request(path={}, query={}, body=None, id=secrets.token_hex(8))
            started = time.perf_counter()
            found: Any = None
            failure: HomeostatError | None = None
            slot: Slot | None = None
            try:
                state: dict[str, Any] = {"said": request.said}
                scope = {"method": "POST", "headers": _headers(context), "client": _client(context), "state": state}
                self._trust.check(scope, is_open=name in OPEN)
                state["caller"].check(None if name in OPEN else KeyRole.PREDICT)
                if name not in OPEN:
                    slot = self._limits.enter(scope)
                    slot.hold(len(content))
                found = handle(request, kind.FromString(content))
            except DecodeError:
                failure = InvalidRequest(f"The request is no {name}Request that can be read.")
            except HomeostatError as error:
                failure = error
            except Exception:
                _LOG.exception("%s broke", name, extra={"said": {"request_id": request.id}})
                failure = InternalError(request_id=request.id)
            finally:
                if slot is not None:
                    slot.leave()
            status = HTTPStatus.OK if failure is None else status_of(type(failure))
            self._tell(name, request, int(status), time.perf_counter() - started)
            if failure is not None:
                context.set_trailing_metadata(((CODE, failure.code),))
                context.abort(grpc.StatusCode[STATUS.get(status, "INTERNAL")], error_reply(failure).error)
            return found

        return grpc.unary_unary_rpc_method_handler(
            answer,
            response_serializer=self._types[f"{name}Response"].SerializeToString,
        )

    def _tell(self, name: str, request: Request, status: int, seconds: float) -> None:
        said = request.said
        if name == "ModelInfer":
            self._observer.observe_request(said.get("model", ""), said.get("versions", {}), status, seconds)
        if _LOG.isEnabledFor(logging.INFO):
            line = {"request_id": request.id, "method": "gRPC", "path": name, "ms": round(seconds * 1000, 3)}
            _LOG.info("request", extra={"said": line | {"status": status} | said})

    def _ServerLive(self, _request: Request, _message: Any) -> Any:  # noqa: N802 (the service's name)
        return self._types["ServerLiveResponse"](live=True)

    def _ServerReady(self, request: Request, _message: Any) -> Any:  # noqa: N802
        try:
            self._is_ready(request)
        except NotReady:
            return self._types["ServerReadyResponse"](ready=False)
        return self._types["ServerReadyResponse"](ready=True)

    def _ModelReady(self, request: Request, message: Any) -> Any:  # noqa: N802
        request.path = path_of(message.name, message.version)
        try:
            self._protocol.ready(request)
        except (NotServing, IntegrityError):
            return self._types["ModelReadyResponse"](ready=False)
        return self._types["ModelReadyResponse"](ready=True)

    def _ServerMetadata(self, request: Request, _message: Any) -> Any:  # noqa: N802
        found = self._protocol.server(request)
        # The extensions are those of HTTP: binary tensors are part of the messages here.
        return self._types["ServerMetadataResponse"](name=found.name, version=found.version)

    def _ModelMetadata(self, request: Request, message: Any) -> Any:  # noqa: N802
        request.path = path_of(message.name, message.version)
        found = self._protocol.metadata(request)
        reply = self._types["ModelMetadataResponse"](name=found.name, versions=found.versions, platform=found.platform)
        for mine, given in ((reply.inputs, found.inputs), (reply.outputs, found.outputs)):
            for tensor in given:
                mine.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return reply

    def _ModelInfer(self, request: Request, message: Any) -> Any:  # noqa: N802
        request.path = path_of(message.model_name, message.model_version)
        frame = grpc_frames.frame_of(message)
        outputs, version = self._protocol.answered(request, frame)
        return grpc_frames.reply_of(
            [output for output, _ in outputs],
            model=request.path["model"],
            version=str(version.number),
            request_id=frame.id,
            is_raw=bool(message.raw_input_contents),
        )


def path_of(model: str, version: str) -> dict[str, Any]:
    """What an address would say. Raises `InvalidRequest` where the version is no number."""
    named = {"model": MODEL.read(model)}
    return named | {"version": VERSION.read(version)} if version else named


def _credentials(grpc: Any, certificate: Certificate) -> Any:
    def configuration() -> Any:
        return grpc.ssl_server_certificate_configuration([certificate.pem])

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)


def _client(context: Any) -> tuple[str, int] | None:
    """Address and port of who calls, from `ipv4:127.0.0.1:50051` or `ipv6:%5B::1%5D:50051`."""
    kind, _, address = unquote(context.peer()).partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdecimal() else None


def _headers(context: Any) -> list[tuple[bytes, bytes]]:
    given = [(key, value) for key, value in context.invocation_metadata() if key in HEADERS]
    return [(key.encode(), value.encode("latin-1", "replace")) for key, value in given if isinstance(value, str)]
