"""What processes tell one another through the store: leases, what a gateway serves, what a controller remembers."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from homeostat.records.nouns import Json, Mutable


class Lease(Mutable, frozen=True, kw_only=True):
    """Who may act for a model until when."""

    table: ClassVar[str] = "lease"

    name: str
    holder: str
    until: datetime

    @property
    def key(self) -> str:
        return self.name


def route_lease(model: str) -> str:
    """The name of the lease on a model's candidate routes."""
    return f"route:{model}"


class GatewayReport(Mutable, frozen=True, kw_only=True):
    """A process that serves: when it was last heard of, and the route of each model that it serves."""

    table: ClassVar[str] = "gateway"

    name: str
    pid: int
    started_at: datetime
    seen_at: datetime
    routes: dict[str, int] = msgspec.field(default_factory=dict)
    stopped: bool = False

    @property
    def key(self) -> str:
        return self.name


class Progress(Mutable, frozen=True, kw_only=True):
    """What a controller remembers of a model between two looks."""

    table: ClassVar[str] = "progress"

    controller: str
    model: str
    state: Json = msgspec.field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.controller}:{self.model}"
