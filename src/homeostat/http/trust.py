"""Whom the server answers."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from homeostat.errors import Forbidden, Unauthorized
from homeostat.http.endpoint import Scope

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the server answers. Without a token only this machine is meant, and only under its own names.

    The names matter because a page of another site may point a name of its own at this machine (DNS rebinding).
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()

    def check(self, scope: Scope, *, is_open: bool) -> None:
        """Raise `Unauthorized` or `Forbidden` where a request is not to be answered."""
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
        if self.token:
            given = _token(headers.get(b"authorization", b""))
            if not hmac.compare_digest(given, self.token.encode()):
                raise Unauthorized
        elif host and not self._is_own_name(host):
            raise Forbidden("The server answers under the names of this machine only, such as localhost.")

    def _is_own_name(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        if name in _LOOPBACK_NAMES or name in self.hosts:
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
