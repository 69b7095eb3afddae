"""Routes: which versions answer a model's requests, and which rows go to which."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from homeostat.records.nouns import Record


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One version with a share of the traffic."""

    name: str
    version: int
    weight: float


class Buckets(msgspec.Struct, frozen=True, kw_only=True):
    """Buckets of a namespace that lie side by side: from `start` to `stop`, without that one."""

    start: int
    stop: int


class ExperimentRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway has to know of an experiment: the buckets that it owns, and how it deals them to its arms.

    The control is the first arm. `by_request` deals each prediction, instead of each entity.
    """

    id: str
    ranges: tuple[Buckets, ...]
    salt: str
    arms: tuple[Arm, ...]
    by_request: bool = False


class Route(Record, frozen=True, kw_only=True):
    """What the gateway serves for a model: an immutable numbered snapshot.

    Rows in the buckets of `experiments` are dealt to their arms, those in `holdouts` get the first of `arms`, and all
    others go by `arms`. `shadowing` are the shadows that only experiments ask for, and `default_lease` is the lease
    without them.
    """

    table: ClassVar[str] = "route"

    model: str
    number: int
    arms: tuple[Arm, ...]
    salt: str
    at: datetime
    reason: str
    shadows: tuple[int, ...] = ()
    lease_until: datetime | None = None
    namespace_salt: str = ""
    experiments: tuple[ExperimentRoute, ...] = ()
    holdouts: tuple[Buckets, ...] = ()
    shadowing: tuple[int, ...] = ()
    default_lease: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.model}:{self.number:09d}"

    @property
    def versions(self) -> frozenset[int]:
        """Every version that the route names."""
        tried = (arm.version for one in self.experiments for arm in one.arms)
        return frozenset((*(arm.version for arm in self.arms), *self.shadows, *tried))


def next_route(
    previous: Route | None,
    model: str,
    arms: tuple[Arm, ...],
    *,
    at: datetime,
    reason: str,
    shadows: tuple[int, ...] = (),
    lease_until: datetime | None = None,
) -> Route:
    """The snapshot that follows another; it keeps the salt, so that entities stay where they are."""
    return Route(
        model=model,
        number=1 if previous is None else previous.number + 1,
        arms=arms,
        salt=model if previous is None else previous.salt,
        at=at,
        reason=reason,
        shadows=shadows,
        lease_until=lease_until,
        default_lease=lease_until,
    )
