"""The bodies of orders to the control plane."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeostat.http.data_plane import Body, Moment, check_printed
from homeostat.http.operations import DEFAULT_ACTOR, PRINTED
from homeostat.records import Stage

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, extra_json_schema={"pattern": PRINTED})]
Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=200, extra_json_schema={"pattern": PRINTED})]
Number = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class ActorBody(Body, kw_only=True):
    """Who orders it."""

    actor: Actor = DEFAULT_ACTOR

    def __post_init__(self) -> None:
        check_printed("actor", (self.actor,))


class OrderBody(ActorBody, kw_only=True):
    """Who orders it, and why."""

    reason: Text = "ordered over HTTP"

    def __post_init__(self) -> None:
        check_printed("actor or reason", (self.actor, self.reason))


class MoveBody(OrderBody, kw_only=True):
    """The stage that a version is to go to."""

    stage: Stage


class RollbackBody(OrderBody, kw_only=True):
    """The version to return to; without one the version that served before."""

    to: Number | None = None


class RolloutBody(OrderBody, kw_only=True):
    """The version to roll out."""

    version: Number


class ClockBody(Body, kw_only=True):
    """The moment to move the simulated clock to."""

    now: Moment
