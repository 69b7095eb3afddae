"""The OpenAPI document, generated from the table of operations that the server itself runs by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from homeostat import __version__
from homeostat.errors import (
    Forbidden,
    HomeostatError,
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    StorageFailed,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unauthorized,
)
from homeostat.http.errors import ErrorReply, status_of
from homeostat.http.operations import PRINTED, FormField, Operation, Parameter
from homeostat.records import KeyRole

OPENAPI = "3.1.0"
SCHEMAS = "#/components/schemas/{name}"
JSON = "application/json"
ERROR = {"content": {JSON: {"schema": {"$ref": SCHEMAS.format(name="ErrorReply")}}}}
TYPES: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}


def document(operations: Sequence[Operation], *, asks_who_calls: bool = False) -> dict[str, Any]:
    """The document for some operations, of a server that asks for a key or the token, or one that takes none."""
    types = [ErrorReply]
    for operation in operations:
        types += [
            kind for kind in (operation.body, operation.reply) if kind is not None and operation.content_type == JSON
        ]
    schemas, components = msgspec.json.schema_components(types, ref_template=SCHEMAS)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(
            operation, schema_of, asks_who_calls=asks_who_calls
        )
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Homeostat",
            "version": __version__,
            "description": "Serves models, logs every prediction, takes labels, and keeps the models healthy.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the server, or an API key that has the role that is named.",
                }
            },
        },
        "security": _security(None, asks_who_calls=asks_who_calls),
    }


def _security(role: KeyRole | None, *, asks_who_calls: bool) -> list[dict[str, list[str]]]:
    """What a call needs. For a bearer's token, OpenAPI 3.1 lets the list name roles."""
    needed = {"token": [] if role is None else [role.value]}
    return [needed] if asks_who_calls else [{}, needed]


def _described(operation: Operation, schema_of: dict[int, Any], *, asks_who_calls: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *(_parameter(parameter, "path") for parameter in operation.parameters),
            *(_parameter(parameter, "query") for parameter in operation.query),
            *(_parameter(parameter, "header") for parameter in operation.header_parameters),
        ],
        "responses": _responses(operation, schema_of),
    }
    described["security"] = [] if operation.is_open else _security(operation.needs, asks_who_calls=asks_who_calls)
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {
                **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in operation.also_takes},
                # Some are given JSON as it comes too, and decode it to the same.
                JSON: {"schema": schema_of[id(operation.body)]},
            },
        }
    if operation.form:
        described["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": _form(operation.form)}},
        }
    return described


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[A-Za-z0-9]+", operation.path)
    return "_".join([operation.method.lower(), *words]) if words else f"{operation.method.lower()}_root"


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": TYPES[parameter.type]}
    if parameter.type is int:
        schema |= {"minimum": parameter.minimum, "maximum": 1_000_000_000}
    if parameter.type is str and place == "path":
        schema["minLength"] = 1
    if parameter.type is str:
        schema["pattern"] = parameter.pattern or PRINTED
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.help,
        "schema": schema,
    }


def _form(fields: Sequence[FormField]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [field.name for field in fields if field.required],
        "properties": {
            field.name: {"type": "string", "description": field.help, **_form_field(field)} for field in fields
        },
    }


def _form_field(field: FormField) -> dict[str, Any]:
    if field.is_file:
        return {"contentMediaType": "application/octet-stream"}
    if field.is_flag:
        return {"enum": ["true", "false"]}
    return {"maxLength": field.longest, "minLength": 1 if field.required else 0}


def _responses(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    if operation.content_type == JSON:
        schema = schema_of[id(operation.reply)]
        if operation.wrapped is not None:
            schema = {
                "type": "object",
                "required": [operation.wrapped],
                "properties": {operation.wrapped: schema},
            }
        content = {JSON: {"schema": schema}}
        content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in operation.also_gives}
    else:
        content = {operation.content_type.partition(";")[0]: {"schema": {"type": "string"}}}
    found: dict[str, Any] = {str(operation.status): {"description": operation.summary, "content": content}}
    for status, codes in sorted(_errors(operation).items()):
        found[str(int(status))] = {"description": f"{status.phrase}: {', '.join(sorted(codes))}", **ERROR}
    if HTTPStatus.NOT_FOUND in _errors(operation) and operation.content_type != JSON:
        # Who looks for a page is told on one.
        found[str(int(HTTPStatus.NOT_FOUND))]["content"] = {**ERROR["content"], **content}
    return found


def _errors(operation: Operation) -> dict[HTTPStatus, set[str]]:
    kinds: set[type[HomeostatError]] = {InvalidInput, Forbidden, MethodNotAllowed, StorageFailed, InternalError}
    if not operation.is_open:
        kinds.add(Unauthorized)
    if operation.parameters:
        # A path parameter with a slash in it is another address.
        kinds.add(NotFound)
    if not operation.is_open:
        kinds |= {TooManyRequests, Overloaded}
    if operation.method != "GET":
        kinds |= {TooLarge, TooSlow}
    found: dict[HTTPStatus, set[str]] = {}
    for kind in kinds | set(operation.errors):
        found.setdefault(status_of(kind), set()).add(kind.code)
    return found
