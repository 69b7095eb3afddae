"""The ASGI application: what every request passes (identity, trust, log, metrics), and which path answers it."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from homeostat.errors import HomeostatError, UnknownPath
from homeostat.http.endpoint import Endpoint, Message, Receive, Scope, Send, send_error
from homeostat.http.forms import FormEndpoint
from homeostat.http.limits import Limits
from homeostat.http.metrics import ServerMetrics
from homeostat.http.metrics.server import METHODS
from homeostat.http.operations import Operation, Pool
from homeostat.http.trust import Trust

_LOG = logging.getLogger("homeostat.http")
FIRST_ERROR = 400
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Application:
    """Plain ASGI over a table of operations; Starlette's routes find the path."""

    def __init__(
        self,
        operations: Sequence[Operation],
        pools: Mapping[Pool, Executor],
        *,
        trust: Trust,
        limits: Limits | None = None,
        metrics: ServerMetrics,
        body_bytes: int,
        upload_bytes: int,
    ) -> None:
        from starlette.routing import Route, Router

        by_path: dict[str, list[Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, []).append(operation)
        self.operations = list(operations)
        self._open = {operation.path for operation in operations if operation.is_open}
        self._trust = trust
        self._limits = limits or Limits()
        self._metrics = metrics
        # Called once the last request was answered.
        self.on_stop: Callable[[], None] = lambda: None
        routes = []
        for path, whole in by_path.items():
            if any(operation.form for operation in whole):
                endpoint: Endpoint = FormEndpoint(
                    path, whole, pools, most_bytes=body_bytes, most_upload_bytes=upload_bytes
                )
            else:
                endpoint = Endpoint(path, whole, pools, most_bytes=body_bytes)
            routes.append(Route(path, endpoint))
        self._router = Router(routes, redirect_slashes=False, default=_unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                # Whatever was answered is written by now; what the stop has to do may take a while.
                await asyncio.get_running_loop().run_in_executor(None, self.on_stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = _request_id(scope)
        said: dict[str, Any] = {}
        scope["state"] = {"request_id": request_id, "said": said}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                said["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if scope["state"].get("close"):
                    message["headers"].append((b"connection", b"close"))
            elif scope["method"] == "HEAD":
                message["body"] = b""
            await send(message)

        slot = None
        try:
            is_open = scope["path"] in self._open
            self._trust.check(scope, is_open=is_open)
            if not is_open:
                # Probes are answered however much there is to do.
                slot = scope["state"]["slot"] = self._limits.enter(scope)
            await self._router(scope, receive, send_with_id)
        except HomeostatError as error:
            await send_error(send_with_id, error)
        finally:
            if slot is not None:
                slot.leave()
            folder = scope["state"].get("upload_folder")
            if folder is not None:
                await asyncio.get_running_loop().run_in_executor(None, _remove, folder)
            self._tell(scope, said, request_id, time.perf_counter() - started)

    def _tell(self, scope: Scope, said: dict[str, Any], request_id: str, seconds: float) -> None:
        status = said.get("status", 0)
        status = status if isinstance(status, int) else 0
        route = said.pop("route", None)
        self._metrics.count_http(scope["method"], route, status)
        if route is not None and route.endswith(("/predict", "/batch_predict", "/infer", "/invocations")):
            self._metrics.observe_request(said.get("model", ""), said.get("versions", {}), status, seconds)
        if _LOG.isEnabledFor(logging.INFO):
            line = {
                "request_id": request_id,
                "method": scope["method"] if scope["method"] in METHODS else "",
                # Of what was refused only the pattern: the rest may be anything, also a secret at the wrong place.
                "path": scope["path"][:200] if 0 < status < FIRST_ERROR else route or "",
                "ms": round(seconds * 1000, 3),
                **said,
            }
            _LOG.info("request", extra={"said": line})


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def _unknown(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_error(send, UnknownPath())
