"""API keys over HTTP: make, list, revoke. All of it needs the role `admin`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeostat.errors import Conflict, UnknownRecord
from homeostat.http.control_bodies import ActorBody
from homeostat.http.operations import API, Operation, Parameter, Request
from homeostat.ports import ControlPlane
from homeostat.records import KeyReport, KeyRole, NewKey

TAG = "keys"
# Names and lengths of time are looked at where keys are made; here only what no name can be is kept out.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Life = Annotated[str, msgspec.Meta(min_length=2, max_length=20, pattern=r"^[0-9]+(\.[0-9]+)?[smhdw]$")]


class KeyBody(ActorBody, kw_only=True):
    """The name of a new key, what it is allowed, and after what time such as `90d` it expires."""

    name: Name
    roles: Annotated[list[KeyRole], msgspec.Meta(min_length=1, max_length=len(KeyRole))]
    expires: Life | None = None


def key_operations(control: ControlPlane) -> list[Operation]:
    """Everything about keys."""

    def create(request: Request) -> NewKey:
        body: KeyBody = request.body
        return control.create_key(body.name, body.roles, expires=body.expires, actor=request.actor(body.actor))

    def revoke(request: Request) -> KeyReport:
        return control.revoke_key(request.path["key"], actor=request.actor(request.body.actor))

    return [
        Operation(
            "GET",
            f"{API}/keys",
            "Every API key, without the secrets",
            lambda _: {"keys": control.keys()},
            list[KeyReport],
            TAG,
            wrapped="keys",
            role=KeyRole.ADMIN,
        ),
        Operation(
            "POST",
            f"{API}/keys",
            "Make an API key; its secret is told this once",
            create,
            NewKey,
            TAG,
            body=KeyBody,
            errors=(Conflict,),
            status=201,
            role=KeyRole.ADMIN,
        ),
        Operation(
            "POST",
            f"{API}/keys/{{key}}/revoke",
            "End an API key for good",
            revoke,
            KeyReport,
            TAG,
            body=ActorBody,
            body_required=False,
            parameters=(Parameter("key", "The key's name."),),
            errors=(UnknownRecord,),
            role=KeyRole.ADMIN,
        ),
    ]
