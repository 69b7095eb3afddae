"""The keys as one process holds them: in memory, by id, so that a request costs a hash and a look."""

from __future__ import annotations

import hmac
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from homeostat.errors import StorageFailed
from homeostat.keys.rules import ID_LENGTH, KEY_LENGTH, PREFIX, digest_of
from homeostat.ports import ControlStore
from homeostat.records import ApiKey, KeyRole, with_included

# The store is read at least so often, whatever its revision says.
READ_SECONDS = 5.0
_START = PREFIX.encode()
_ID = slice(len(_START), len(_START) + ID_LENGTH)
_NOBODY = bytes(32)
_LOG = logging.getLogger("homeostat.keys")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a key: its name, its roles with those that they include, and until when, in seconds since 1970."""

    name: str
    roles: frozenset[KeyRole]
    digest: bytes
    until: float


class KeyRing:
    """Follows the keys of a control store.

    While the store can't be read, the keys that were read last go on to work, each until it expires: serving does not
    need the control plane. `now` and `monotonic` are the machine's clocks.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now = now
        self._monotonic = monotonic
        self._held: dict[bytes, Holder] = {}
        self._revision: int | None = None
        self._read_at = -math.inf
        self._broken = False
        self._lock = threading.Lock()

    def find(self, secret: bytes) -> Holder | None:
        """Who has that key, if it is a good one."""
        if len(secret) != KEY_LENGTH or not secret.startswith(_START):
            return None
        digest, held = digest_of(secret), self._held.get(secret[_ID])
        # Compared in constant time, also where nobody has that id.
        is_it = hmac.compare_digest(digest, _NOBODY if held is None else held.digest)
        return held if held is not None and is_it and self._now() < held.until else None

    def follow(self) -> None:
        """Look once whether the keys changed. Never raises."""
        with self._lock:
            try:
                revision, at = self._store.revision(), self._monotonic()
                if revision != self._revision or at - self._read_at >= READ_SECONDS:
                    self._held = self._read()
                    self._revision, self._read_at = revision, at
                self._broken = False
            except StorageFailed as error:
                if not self._broken:
                    _LOG.warning("The control store can't be reached, keys stay as they are: %s", error)
                self._broken = True
            except Exception:
                _LOG.exception("Following the keys broke; it is tried again.")

    def _read(self) -> dict[bytes, Holder]:
        with self._store.read() as transaction:
            keys = transaction.list(ApiKey)
        return {
            key.id.encode(): Holder(
                name=key.name,
                roles=with_included(key.roles),
                digest=bytes.fromhex(key.sha256),
                until=math.inf if key.expires_at is None else key.expires_at.timestamp(),
            )
            for key in keys
            if key.revoked_at is None
        }

    def run(self, stop: threading.Event, every_seconds: float) -> None:
        """Follow until told to stop."""
        while not stop.wait(every_seconds):
            self.follow()
