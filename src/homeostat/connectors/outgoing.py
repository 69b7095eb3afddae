"""The one door for HTTP that goes out: to addresses of the open internet only, unless private ones are allowed.

Whoever may set where an alert is sent must not reach through the server what only the server can reach: itself, its
neighbours, the metadata service of its cloud (server-side request forgery, OWASP A10:2021). A name is resolved once,
every address that it has is checked, and the connection goes to an address that was checked; no answer of a name server
that changes its mind is asked for again. Redirects are not followed, and proxies of the environment not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from homeostat import __version__
from homeostat.errors import DeliveryFailed, DestinationRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[..., Sequence[tuple[Any, ...]]]

SECONDS = 5.0
MOST_REPLY = 65_536
LONGEST_URL = 2000
DEFAULT_PORTS = {"http": 80, "https": 443}
PORTS = frozenset((80, 443, 8080, 8443))
# What nobody routes over the internet, or what a cloud answers its machines at, although the tables call it global.
_REFUSED = [ipaddress.ip_network(text) for text in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "2001::/23")]
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
# IPv6 that carries an IPv4 address: mapped, NAT64 (RFC 6052), 6to4 (RFC 3056).
_CARRIERS = [
    (ipaddress.ip_network("::ffff:0:0/96"), 0),
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
]
_NAME = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
# 2130706433, 0x7f.1, 0177.0.0.1: names that resolvers read as addresses (URL Standard, "ends in a number").
_NUMBER = re.compile(r"(.*\.)?(0[xX][0-9A-Fa-f]*|[0-9]+)\.?")
_PLAIN = re.compile(r"[\x21-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Target:
    """An address on the web, taken apart."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        """What may be said of it: paths and queries of such addresses are often secrets."""
        return f"{self.scheme}://{self.named}"

    @property
    def named(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OutgoingReply:
    """What came back: the status, and the first part of the content."""

    status: int
    content: bytes


def target_of(url: str, *, allow_private: bool = False) -> Target:
    """Take an address apart. Raises `DestinationRefused` for what is no plain http or https address.

    >>> target_of("https://hooks.example.com/a?b=c").named
    'hooks.example.com'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise DestinationRefused("The address can't be read.") from None
    if len(url) > LONGEST_URL or not _PLAIN.fullmatch(url):
        raise DestinationRefused("The address has spaces, backslashes, or what is no printable ASCII, or is too long.")
    if parts.scheme not in DEFAULT_PORTS:
        raise DestinationRefused("The address begins with neither http:// nor https://.")
    if "@" in parts.netloc:
        raise DestinationRefused("The address holds a user or a password.")
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if not _is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise DestinationRefused(
            "The host of the address is neither a name nor an IP address as it is usually written."
        )
    if port == 0 or not (allow_private or port in PORTS):
        raise DestinationRefused(f"Port {port} is not one of {', '.join(map(str, sorted(PORTS)))}.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _is_host(host: str) -> bool:
    try:
        return not getattr(ipaddress.ip_address(host), "scope_id", None)
    except ValueError:
        return _NAME.fullmatch(host) is not None and _NUMBER.fullmatch(host) is None


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, also where it stands inside another.

    >>> [is_public(ipaddress.ip_address(text)) for text in ("93.184.216.34", "10.0.0.1", "::ffff:127.0.0.1")]
    [True, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        for carrier, shift in _CARRIERS:
            if address in carrier:
                return is_public(ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF))
        if address not in _GLOBAL_V6:
            return False
    if address.is_multicast or not address.is_global:
        return False
    return not any(address in network for network in _REFUSED)


class Outgoing:
    """Sends requests. `seconds` bounds one from its connection to the end of the reply.

    `allow_private` lifts the limits on addresses and ports, for whoever runs what they send to beside the server.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        seconds: float = SECONDS,
        most_reply: int = MOST_REPLY,
        resolve: Resolver = socket.getaddrinfo,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._seconds = seconds
        self._most_reply = most_reply
        self._resolve = resolve
        self._context = context

    def post(self, url: str, content: bytes, *, headers: Mapping[str, str] | None = None) -> OutgoingReply:
        """Post something once. Raises `DestinationRefused`, or `DeliveryFailed` where no whole reply came in time."""
        target = target_of(url, allow_private=self._allow_private)
        addresses = self._addresses(target)
        try:
            with self._connected(target, addresses) as raw:
                return self._exchange(target, raw, content, headers or {})
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # A TLS socket that was shut down in the middle complains in its own ways.
            said = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise DeliveryFailed(to=target.shown, reason=said) from error

    def _addresses(self, target: Target) -> list[str]:
        try:
            found = self._resolve(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DeliveryFailed(to=target.shown, reason="its name is not known") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses:
            raise DeliveryFailed(to=target.shown, reason="its name is not known")
        # One that is private among several is enough: which one is connected to must not be luck.
        if not self._allow_private and not all(_is_public_text(text) for text in addresses):
            raise DestinationRefused(
                "The address leads to this machine, a private network, or one that nobody routes. Where that is meant, "
                "set alerts.allow_private."
            )
        return addresses

    def _connected(self, target: Target, addresses: Sequence[str]) -> socket.socket:
        last: OSError = OSError("no address")
        for address in addresses:
            try:
                return socket.create_connection((address, target.port), timeout=self._seconds)
            except OSError as error:
                last = error
        raise last

    def _exchange(
        self, target: Target, raw: socket.socket, content: bytes, headers: Mapping[str, str]
    ) -> OutgoingReply:
        # Each read has a timeout of its own, and a reply may come a byte at a time: this ends all of them together.
        handle = socket.socket(fileno=os.dup(raw.fileno()))
        late = threading.Event()

        def end() -> None:
            late.set()
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            reply = self._asked(target, raw, content, headers)
            if late.is_set():
                # What was cut off here looks like the end of a reply.
                raise TimeoutError
            return reply
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            if late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
            handle.close()

    def _asked(self, target: Target, raw: socket.socket, content: bytes, headers: Mapping[str, str]) -> OutgoingReply:
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.sock = raw
        if target.scheme == "https":
            context = self._context or ssl.create_default_context()
            # The certificate is the name's, whatever address was connected to.
            connection.sock = context.wrap_socket(raw, server_hostname=target.host.rstrip("."))
        try:
            connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
            given = {
                "Host": target.named,
                "User-Agent": f"homeostat/{__version__}",
                "Accept-Encoding": "identity",
                "Connection": "close",
                "Content-Length": str(len(content)),
                **headers,
            }
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(content)
            with connection.getresponse() as reply:
                return OutgoingReply(reply.status, reply.read(self._most_reply))
        finally:
            connection.close()


def _is_public_text(text: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(text))
    except ValueError:
        return False
