"""Uploads: forms with files, which go to disk as they come in and are gone when the request is over."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from homeostat.errors import InvalidRequest, TooLarge
from homeostat.http.endpoint import Disconnected, Endpoint, Message, Receive, Scope, read_address
from homeostat.http.operations import FormField, Operation, Pool, Request, Upload
from homeostat.http.packed import unpacked

MOST_FIELDS = 20
MOST_FIELD_BYTES = 100_000
LONGEST_END = 1000


class FormEndpoint(Endpoint):
    """A path whose POST takes a form."""

    def __init__(
        self,
        path: str,
        operations: list[Operation],
        pools: Mapping[Pool, Executor],
        *,
        most_bytes: int,
        most_upload_bytes: int,
    ) -> None:
        super().__init__(path, operations, pools, most_bytes=most_bytes)
        self._most_upload_bytes = most_upload_bytes

    async def _read(self, scope: Scope, receive: Receive, operation: Operation, said: dict[str, Any]) -> Request:
        if not operation.form:
            return await super()._read(scope, receive, operation, said)
        path, query = read_address(scope, operation)
        folder = Path(tempfile.mkdtemp(prefix="homeostat-upload-"))
        # The application removes it once the reply was sent.
        scope["state"]["upload_folder"] = folder
        fields, files = await self._form(scope, receive, operation, folder)
        state = scope["state"]
        return Request(
            path=path,
            query=query,
            body=fields,
            id=state["request_id"],
            files=files,
            said=said,
            caller=state["caller"],
        )

    async def _form(
        self, scope: Scope, receive: Receive, operation: Operation, folder: Path
    ) -> tuple[dict[str, str], dict[str, Upload]]:
        from python_multipart.multipart import parse_options_header
        from starlette.formparsers import MultiPartException
        from starlette.requests import ClientDisconnect
        from starlette.requests import Request as StarletteRequest

        size, tail = 0, b""

        async def counted() -> Message:
            nonlocal size, tail
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            tail = (tail + part)[-LONGEST_END:] if len(part) < LONGEST_END else part[-LONGEST_END:]
            if size > self._most_upload_bytes:
                raise TooLarge(f"The upload has more than {self._most_upload_bytes:,} bytes.")
            return message

        request = StarletteRequest(dict(scope), counted)
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data":
            raise InvalidRequest("Send the files as multipart/form-data.")
        try:
            async with request.form(
                max_files=MOST_FIELDS, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
            ) as form:
                # The parser takes what came before the end of a form that was cut off.
                if b"--" + options.get(b"boundary", b"") + b"--" not in tail:
                    raise InvalidRequest("The form is not complete.")
                fields, files = await self._take(form.multi_items(), operation.form, folder)
        except ClientDisconnect:
            raise Disconnected from None
        except (MultiPartException, KeyError, ValueError, AssertionError):
            raise InvalidRequest("The form can't be read.") from None
        except Exception as error:
            # Starlette turns a malformed form into an HTTP error of its own.
            if getattr(error, "status_code", None) is None:
                raise
            raise InvalidRequest("The form can't be read.") from None
        absent = [one.name for one in operation.form if one.required and one.name not in {**fields, **files}]
        if absent:
            raise InvalidRequest(f"The form lacks: {', '.join(absent)}.")
        return fields, files

    async def _take(
        self, given: Iterable[tuple[str, Any]], known: Sequence[FormField], folder: Path
    ) -> tuple[dict[str, str], dict[str, Upload]]:
        by_name = {one.name: one for one in known}
        fields: dict[str, str] = {}
        files: dict[str, Upload] = {}
        for name, value in given:
            found = by_name.get(name)
            if found is None or name in fields or name in files:
                raise InvalidRequest(f"A field is unknown or comes twice. Known: {', '.join(by_name)}.")
            if found.is_file == isinstance(value, str):
                raise InvalidRequest(f"'{name}' should be {'a file' if found.is_file else 'a text'}.")
            if not isinstance(value, str):
                files[name] = await self._keep(found, value, folder)
            elif len(value) > found.longest:
                raise InvalidRequest(f"'{name}' has more than {found.longest:,} characters.")
            else:
                fields[name] = value
        return fields, files

    async def _keep(self, described: FormField, upload: Any, folder: Path) -> Upload:
        """Copy an upload to a file of our own naming: of the caller's name only a known suffix is kept."""
        given = (upload.filename or "").lower()
        suffix = next((suffix for suffix in described.suffixes if given.endswith(suffix)), None)
        if suffix is None:
            known = ", ".join(described.suffixes)
            raise InvalidRequest(f"The name of the file '{described.name}' should end with one of {known}.")
        target = folder / f"{described.name}{suffix}"

        def copy() -> Path:
            with target.open("wb") as file:
                shutil.copyfileobj(upload.file, file)
            return unpacked(target, described.name, self._most_upload_bytes)

        kept = await asyncio.get_running_loop().run_in_executor(None, copy)
        return Upload(described.name, str(kept))
