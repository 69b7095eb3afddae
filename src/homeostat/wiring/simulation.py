"""Simulated time for a server: a clock that is moved over HTTP, and that survives the death of the process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from homeostat.controllers.clock import SimulatedClock
from homeostat.errors import Conflict
from homeostat.ports import ControlStore
from homeostat.records import ClockReport, Progress
from homeostat.wiring.system import System

CLOCK = "clock"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def restore(clock: SimulatedClock, store: ControlStore) -> None:
    """Move a fresh clock to where the last server on these stores left it."""
    with store.read() as transaction:
        held = transaction.get(Progress, f"{CLOCK}:")
    if held is not None:
        clock.advance_to(datetime.fromisoformat(held.state["now"]))


def advance(system: System, clock: SimulatedClock, now: datetime, on_done: Callable[[], None]) -> ClockReport:
    """Move the clock on and let the controllers do all that is due. Raises `Conflict` where it would go back.

    The moment is written down first: a server that is killed half-way starts there again, and the same order, sent
    again, ends as it would have.
    """
    with system.turn:
        if now < clock.now():
            raise Conflict(f"The simulated clock stands at {clock.now().isoformat()} and never goes back.")
        with system.store.begin() as transaction:
            held = transaction.get(Progress, f"{CLOCK}:")
            state = {"now": now.isoformat()}
            if held is None:
                transaction.insert(Progress(controller=CLOCK, model="", state=state))
            else:
                transaction.replace(msgspec.structs.replace(held, state=state))
        clock.advance_to(now)
        rounds = system.tick()
    on_done()
    return ClockReport(now=clock.now(), rounds=rounds)
