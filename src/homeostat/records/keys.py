"""API keys: what is kept of one, what it is allowed, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from homeostat.records.nouns import Mutable
from homeostat.records.replies import Reply


class KeyRole(StrEnum):
    """What a key may be used for. `operate` includes `read`, and `admin` includes everything."""

    PREDICT = "predict"
    LABEL = "label"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


_INCLUDED: dict[KeyRole, frozenset[KeyRole]] = {
    KeyRole.OPERATE: frozenset({KeyRole.OPERATE, KeyRole.READ}),
    KeyRole.ADMIN: frozenset(KeyRole),
}


def with_included(roles: Iterable[KeyRole]) -> frozenset[KeyRole]:
    """Roles together with those that they include.

    >>> sorted(with_included([KeyRole.LABEL, KeyRole.OPERATE]))
    [<KeyRole.LABEL: 'label'>, <KeyRole.OPERATE: 'operate'>, <KeyRole.READ: 'read'>]
    """
    return frozenset().union(*(_INCLUDED.get(role, frozenset({role})) for role in roles))


class KeyState(StrEnum):
    """Whether a key opens anything."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKey(Mutable, frozen=True, kw_only=True):
    """What is kept of a key: never the secret, only its SHA-256. A revoked key stays, so that names stay clear."""

    table: ClassVar[str] = "api_key"

    name: str
    id: str
    sha256: str
    roles: tuple[KeyRole, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""

    @property
    def key(self) -> str:
        return self.name

    def state(self, now: datetime) -> KeyState:
        """Whether it opens anything at that time."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        return KeyState.EXPIRED if self.expires_at is not None and now >= self.expires_at else KeyState.LIVE


class KeyReport(Reply, frozen=True, kw_only=True):
    """A key as it is shown: who made it for what, and until when it works. `id` is the part of it that is no secret."""

    name: str
    id: str
    roles: list[KeyRole]
    state: KeyState
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str


class NewKey(Reply, frozen=True, kw_only=True):
    """A key that was just made. The secret is told this once and kept nowhere."""

    key: KeyReport
    secret: str

    def __repr__(self) -> str:
        return f"NewKey(key={self.key!r}, secret='(not shown)')"


def key_report(key: ApiKey, now: datetime) -> KeyReport:
    """What may be told of a key."""
    return KeyReport(
        name=key.name,
        id=key.id,
        roles=list(key.roles),
        state=key.state(now),
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        revoked_by=key.revoked_by,
    )
