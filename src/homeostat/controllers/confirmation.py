"""Waiting until every gateway says that it serves a route: only then is a rollback reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from homeostat.ports import ControlStore
from homeostat.records import GatewayReport

# A gateway writes at least every second or two; one that was silent for so long is gone, or serves production alone.
SILENT = timedelta(seconds=10)
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.02


def wait_for_gateways(
    store: ControlStore,
    model: str,
    route: int,
    *,
    is_gone: Callable[[GatewayReport], bool] = lambda _: False,
    wait_seconds: float = WAIT_SECONDS,
    machine_now: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
) -> tuple[list[str], list[str]]:
    """The names of the gateways that serve the route, or a newer one, and of those that do not yet when time is up.

    One that `is_gone` is sure to be dead is not waited for. Time here is the machines', whatever clock the models live
    by: it is about which processes are alive.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        with store.read() as transaction:
            gateways = transaction.list(GatewayReport)
        living = [one for one in gateways if not one.stopped and machine_now() - one.seen_at < SILENT]
        living = [one for one in living if not is_gone(one)]
        # One that does not serve the model yet will load the newest route when it is first asked for it.
        held = {one.name: one.routes[model] for one in living if model in one.routes}
        waiting = sorted(name for name, number in held.items() if number < route)
        if not waiting or time.monotonic() >= deadline:
            return sorted(name for name, number in held.items() if number >= route), waiting
        time.sleep(POLL_SECONDS)
