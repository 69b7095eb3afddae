"""How much one server process takes at a time: requests, bytes of bodies, and requests a second of one caller.

Plain arithmetic, under a lock: beside the event loop, the threads of gRPC ask too.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from homeostat.errors import Overloaded, TooManyRequests
from homeostat.http.callers import ANYBODY, Caller

# Callers that are remembered; beyond, those that have all of their burst again are forgotten, and then the rest too.
MOST_CALLERS = 10_000
# Of one line to the internet, all IPv6 addresses below this prefix are its own.
IPV6_PREFIX = 64


@dataclass(slots=True)
class Limits:
    """The limits of one process; 0 is none.

    A caller has `burst` requests at once and then `requests_per_second`: the generic cell rate algorithm (ITU-T I.371),
    which is a token bucket kept as one number, the time at which the bucket is full again. Callers are told apart by
    the name of their key, and else by their address. Of a request that comes from one of `proxies` that is the last
    address in `X-Forwarded-For` that is none of theirs. `on_refused` is told why a request was refused.
    """

    requests_per_second: float = 0.0
    burst: int = 1
    concurrent_requests: int = 0
    bodies_bytes: int = 0
    proxies: Sequence[IPv4Network | IPv6Network] = ()
    on_refused: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _full: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _requests: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def requests(self) -> int:
        """Requests that are being answered."""
        return self._requests

    @property
    def bytes(self) -> int:
        """Bytes of bodies that are held."""
        return self._bytes

    def enter(self, scope: Any) -> Slot:
        """Let a request in. Raises `TooManyRequests` or `Overloaded`; whoever got a slot must `leave` it."""
        name = _name_of(scope, self.proxies) if self.requests_per_second > 0 else ""
        with self._lock:
            if name:
                self._spend(name)
            if 0 < self.concurrent_requests <= self._requests:
                self.on_refused("concurrent_requests")
                raise Overloaded(
                    "So many requests are being answered that this one would only wait. Try again in a moment."
                )
            self._requests += 1
        return Slot(self)

    def _spend(self, name: str) -> None:
        now, cost = self.clock(), 1.0 / self.requests_per_second
        full = max(self._full.get(name, 0.0), now) + cost
        wait = full - now - self.burst * cost
        # What adding up many small numbers leaves over is no reason to refuse.
        if wait > cost * 1e-6:
            self.on_refused("requests_per_second")
            raise TooManyRequests(
                f"A caller may send {self.requests_per_second:g} requests a second here. Try again in "
                f"{math.ceil(wait)} s.",
                retry_after=math.ceil(wait),
            )
        if name not in self._full and len(self._full) >= MOST_CALLERS:
            self._full = {held: until for held, until in self._full.items() if until > now}
            if len(self._full) >= MOST_CALLERS:
                self._full.clear()
        self._full[name] = full


class Slot:
    """A request that was let in, and the bytes of its body that are held."""

    __slots__ = ("_bytes", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits: Limits | None = limits
        self._bytes = 0

    def hold(self, size: int) -> None:
        """Hold so many more bytes. Raises `Overloaded` where all bodies together have too many."""
        limits = self._limits
        if limits is None or limits.bodies_bytes <= 0:
            return
        with limits._lock:
            # One body alone is bounded by its own limit, and must never be refused for good.
            if limits._bytes > self._bytes and limits._bytes + size > limits.bodies_bytes:
                limits.on_refused("bodies_bytes")
                raise Overloaded("The bodies that are being read fill what there is for them. Try again in a moment.")
            limits._bytes += size
            self._bytes += size

    def drop(self) -> None:
        """Give back the bytes that were held: the body was dropped."""
        if self._limits is not None and self._bytes:
            with self._limits._lock:
                self._limits._bytes -= self._bytes
            self._bytes = 0

    def leave(self) -> None:
        """Give everything back. Leaving again changes nothing."""
        if self._limits is not None:
            self.drop()
            with self._limits._lock:
                self._limits._requests -= 1
            self._limits = None


def _name_of(scope: Any, proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    caller: Caller = scope["state"].get("caller", ANYBODY)
    if caller.name:
        return f"key {caller.name}"
    client = scope.get("client")
    text = str(client[0]) if client else ""
    address = _address(text)
    if address is None:
        return f"address {text}"
    if proxies and _is_one_of(address, proxies):
        address = _behind(address, scope["headers"], proxies)
    if isinstance(address, IPv6Address):
        return f"network {ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False)}"
    return f"address {address}"


def _behind(
    proxy: IPv4Address | IPv6Address,
    headers: Sequence[tuple[bytes, bytes]],
    proxies: Sequence[IPv4Network | IPv6Network],
) -> IPv4Address | IPv6Address:
    """Who asked a proxy. What stands before an address that is no proxy's, that caller may have made up."""
    said = ",".join(value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
    found = proxy
    for part in reversed(said.split(",")):
        address = _address(part.strip())
        if address is None:
            break
        found = address
        if not _is_one_of(address, proxies):
            break
    return found


def _is_one_of(address: IPv4Address | IPv6Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port; of IPv4 in IPv6, as a socket for both sees it, the one of IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
