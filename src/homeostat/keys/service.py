"""Makes, lists and revokes keys in the control store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from homeostat.errors import Conflict, UnknownRecord
from homeostat.keys.rules import made, new_secret
from homeostat.ports import ControlStore
from homeostat.records import ApiKey, KeyReport, KeyRole, NewKey, key_report

_LOG = logging.getLogger("homeostat.keys")


def machine_now() -> datetime:
    """The machine's time: keys are good by that, whatever clock the models live by."""
    return datetime.now(tz=UTC)


class Keys:
    """The keys of a control store. `on_change` makes this process know at once; the others follow the store."""

    def __init__(self, store: ControlStore, *, now: Callable[[], datetime] = machine_now) -> None:
        self._store = store
        self._now = now
        self.on_change: Callable[[], None] = lambda: None

    def list(self) -> list[KeyReport]:
        """Every key that was ever made, oldest first."""
        now = self._now()
        with self._store.read() as transaction:
            return [key_report(key, now) for key in transaction.list(ApiKey)]

    def create(self, name: str, roles: Sequence[KeyRole], *, expires: str | None, actor: str) -> NewKey:
        """Make a key. Raises `InvalidInput`, or `Conflict` where the name was given before."""
        now, secret = self._now(), new_secret()
        key = made(secret, name, roles, expires=expires, actor=actor, now=now)
        with self._store.begin() as transaction:
            if transaction.get(ApiKey, name) is not None:
                raise Conflict(
                    "There is a key of that name, or was one that is revoked: a name stays with one key, so that the "
                    "log and the decisions stay clear. Choose another.",
                    name=name,
                )
            transaction.insert(key)
        self._tell("key created", key, actor)
        return NewKey(key=key_report(key, now), secret=secret)

    def revoke(self, name: str, *, actor: str) -> KeyReport:
        """End a key for good, by its name or its id. Ending one again changes nothing. Raises `UnknownRecord`."""
        now = self._now()
        with self._store.begin() as transaction:
            key = transaction.get(ApiKey, name)
            if key is None:
                # Beside the name it is what lists and logs show.
                key = next((one for one in transaction.list(ApiKey) if one.id == name), None)
            if key is None:
                raise UnknownRecord(kind="key", key=name)
            if key.revoked_at is not None:
                return key_report(key, now)
            key = transaction.replace(msgspec.structs.replace(key, revoked_at=now, revoked_by=actor))
        self._tell("key revoked", key, actor)
        return key_report(key, now)

    def _tell(self, what: str, key: ApiKey, actor: str) -> None:
        self.on_change()
        said = {"key": key.name, "id": key.id, "roles": list(key.roles), "actor": actor}
        _LOG.warning(what, extra={"said": said})
