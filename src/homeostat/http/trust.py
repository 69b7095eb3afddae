"""Whom the server answers."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from homeostat.errors import Forbidden, Unauthorized
from homeostat.http.callers import ANYBODY, TOKEN_HOLDER, Caller
from homeostat.http.endpoint import Scope
from homeostat.keys.ring import KeyRing

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the server answers. Where it does not ask who calls, only this machine is meant, under its own names.

    The names matter because a page of another site may point a name of its own at this machine (DNS rebinding).
    `token` opens everything; `keys` are those of the control store. Who calls is left in the state of the scope, where
    the operation's role is held against it; with its name it is in the line of the log.
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()
    keys: KeyRing | None = None
    asks: bool = False

    @property
    def asks_who_calls(self) -> bool:
        """Whether requests need a key or the token."""
        return self.asks or bool(self.token)

    def check(self, scope: Scope, *, is_open: bool) -> None:
        """Find out who calls. Raises `Unauthorized` or `Forbidden` where a request is not to be answered."""
        scope["state"]["caller"] = ANYBODY
        headers = {name: value for name, value in scope["headers"] if name in (b"authorization", b"host", b"origin")}
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD"):
            try:
                is_own = bool(host) and urlsplit(origin.decode("latin-1")).netloc == host
            except ValueError:
                is_own = False
            if not is_own:
                raise Forbidden("The request comes from a page of another site.")
        if is_open:
            return
        if self.asks_who_calls:
            caller = self._caller(_token(headers.get(b"authorization", b"")))
            if caller is None:
                raise Unauthorized
            scope["state"]["caller"] = caller
            scope["state"].setdefault("said", {})["key"] = caller.name
        elif host and not _is_own_name(host, self.hosts):
            raise Forbidden("The server answers under the names of this machine only, such as localhost.")

    def _caller(self, given: bytes) -> Caller | None:
        if self.token and hmac.compare_digest(given, self.token.encode()):
            return TOKEN_HOLDER
        holder = self.keys.find(given) if self.keys is not None else None
        return None if holder is None else Caller(holder.name, holder.roles, is_key=True)


@lru_cache(maxsize=256)
def _is_own_name(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host is this machine's, or one that the server was told of. Most requests name the same."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].strip("[]").lower()
    if name in _LOOPBACK_NAMES or name in hosts:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _token(header: bytes) -> bytes:
    """The token of a header: a bearer's, or the password of Basic, which is what browsers send."""
    scheme, _, value = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
