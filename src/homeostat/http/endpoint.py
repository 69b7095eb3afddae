"""One path of the server as plain ASGI: read and check the request, let a thread do the work, encode the reply."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from homeostat.errors import (
    HomeostatError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    TooLarge,
)
from homeostat.http.duplicates import has_duplicates
from homeostat.http.encodings import ENCODING, unpacked
from homeostat.http.errors import reply_of, status_of, unreadable
from homeostat.http.operations import Operation, Parameter, Pool, Raw, Request
from homeostat.records.decoding import decoder_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = "application/json"
# What is sent beyond the limit is read and dropped up to here, so that the caller reads the answer.
MOST_DRAINED = 1 << 28
# Bodies longer than this are decoded by a thread.
LONG = 100_000
SAFE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_LOG = logging.getLogger("homeostat.http")
_ENCODER = msgspec.json.Encoder()


class Disconnected(Exception):
    """The caller went away before the request was complete."""


class Endpoint:
    """All operations of one path."""

    def __init__(
        self, path: str, operations: Sequence[Operation], pools: Mapping[Pool, Executor], *, most_bytes: int
    ) -> None:
        self.path = path
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._pools = pools
        self._most_bytes = most_bytes
        self._decoders = {
            method: decoder_of(operation.body)
            for method, operation in self._operations.items()
            if operation.body is not None
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        said: dict[str, Any] = scope["state"].setdefault("said", {})
        said["route"] = self.path
        try:
            operation = self._operations.get(scope["method"])
            if operation is None:
                allowed = ", ".join(sorted(self._operations))
                raise MethodNotAllowed(f"{self.path} takes {allowed}.", allowed=allowed)
            scope["state"]["caller"].check(operation.needs)
            request = await self._read(scope, receive, operation, said)
            loop = asyncio.get_running_loop()
            started = time.perf_counter()
            reply = await loop.run_in_executor(self._pools[operation.pool], operation.handle, request)
            said["work_ms"] = round((time.perf_counter() - started) * 1000, 3)
            await _reply(send, reply, operation.status, operation.content_type)
        except HomeostatError as error:
            await send_error(send, error)
        except Disconnected:
            said["status"] = "disconnected"
        except Exception:
            request_id = str(scope["state"].get("request_id", ""))
            _LOG.exception("%s %s broke", scope["method"], self.path, extra={"said": {"request_id": request_id}})
            await send_error(send, InternalError(request_id=request_id))

    async def _read(self, scope: Scope, receive: Receive, operation: Operation, said: dict[str, Any]) -> Request:
        path, query = read_address(scope, operation)
        body: Any = None
        content, content_type = b"", ""
        headers = _headers(scope, operation.headers) if operation.headers else {}
        if operation.method != "GET":
            most_bytes = operation.most_bytes or self._most_bytes
            content = await read_body(scope, receive, most_bytes)
            encoding = _headers(scope, (ENCODING,)).get(ENCODING, "")
            if encoding:
                pool = self._pools[operation.pool]
                loop = asyncio.get_running_loop()
                content = await loop.run_in_executor(pool, unpacked, content, encoding, most_bytes)
                hold(scope, len(content))
            content_type = _content_type(scope) if operation.also_takes else ""
            if operation.reads_body or (content_type in operation.also_takes and content_type):
                pass
            elif operation.body is not None and len(content) > LONG:
                # Whoever else asks must not wait for it.
                pool = self._pools[operation.pool]
                body = await asyncio.get_running_loop().run_in_executor(pool, self._decode, content, operation)
            elif operation.body is not None:
                body = self._decode(content, operation)
            elif content.strip() not in (b"", b"{}"):
                raise InvalidRequest("This request takes no body.")
        return Request(
            path=path,
            query=query,
            body=body,
            id=scope["state"]["request_id"],
            content=content if operation.reads_body or content_type in operation.also_takes else b"",
            content_type=content_type,
            headers=headers,
            said=said,
            caller=scope["state"]["caller"],
        )

    def _decode(self, content: bytes, operation: Operation) -> Any:
        if not content:
            if operation.body_required:
                raise InvalidRequest("The request needs a JSON body.")
            content = b"{}"
        try:
            body = self._decoders[operation.method].decode(content)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise unreadable(error) from None
        if has_duplicates(content, body):
            raise InvalidRequest("An object of the body has a name twice.")
        return body


def _content_type(scope: Scope) -> str:
    """The type of a body without its parameters, in lower case."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.partition(b";")[0].strip().lower().decode("latin-1"))
    return ""


def _headers(scope: Scope, wanted: Sequence[str]) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name.decode("latin-1") in wanted
    }


def read_address(scope: Scope, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of the path and of the query. Raises `InvalidRequest`."""
    path = {parameter.name: parameter.read(scope["path_params"][parameter.name]) for parameter in operation.parameters}
    return path, _query(scope["query_string"], operation.query)


def _query(raw: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    try:
        given = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
    except (ValueError, UnicodeError):
        raise InvalidRequest("The query can't be read.") from None
    known = {parameter.name: parameter for parameter in parameters}
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            listed = ", ".join(known) or "no parameters"
            raise InvalidRequest(f"The query has a parameter that is not known. Known: {listed}.")
        if name in found:
            raise InvalidRequest(f"'{name}' is given twice.")
        found[name] = known[name].read(text)
    return found


def hold(scope: Scope, size: int) -> None:
    """Count bytes of a body as held, until the request is over. Raises `Overloaded` where there are too many."""
    slot = scope["state"].get("slot")
    if slot is not None:
        slot.hold(size)


async def read_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` past the limit, after what is still to come was read and dropped."""
    parts: list[bytes] = []
    size = 0
    slot = scope["state"].get("slot")
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size <= most_bytes:
            hold(scope, len(part))
            parts.append(part)
        elif parts:
            parts.clear()
            if slot is not None:
                slot.drop()
        if size > MOST_DRAINED or not message.get("more_body", False):
            break
    if size > most_bytes:
        scope["state"]["close"] = size > MOST_DRAINED
        raise TooLarge(
            f"The body has more than {most_bytes:,} bytes, which is what this server takes. Send it in parts.",
            most_bytes=most_bytes,
        )
    return b"".join(parts)


async def _reply(send: Send, reply: Any, status: int, content_type: str) -> None:
    if isinstance(reply, Raw):
        headers = [(name.encode(), value.encode()) for name, value in reply.headers]
        await send_content(send, reply.content, reply.status, reply.content_type, headers=headers)
        return
    await send_content(send, _encoded(reply), status, content_type)


def _encoded(reply: Any) -> bytes:
    return _ENCODER.encode(reply)


async def send_error(send: Send, error: HomeostatError) -> None:
    """Answer with an error's status and body."""
    headers: Headers = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", str(error.data.get("allowed", "")).encode()))
    status = status_of(type(error))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Basic realm="homeostat", charset="UTF-8"'))
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", str(error.data.get("retry_after", 1)).encode()))
    try:
        content = _encoded(reply_of(error))
    except UnicodeError:
        # A message may quote a name with half a surrogate pair.
        content = json.dumps(msgspec.to_builtins(reply_of(error))).encode()
    await send_content(send, content, status, JSON, headers=headers)


async def send_content(
    send: Send,
    content: bytes,
    status: int,
    content_type: str,
    *,
    headers: Headers | None = None,
) -> None:
    """One whole response."""
    described: Headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(content)).encode()),
        *SAFE,
        *(headers or []),
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": described})
    await send({"type": "http.response.body", "body": content})
