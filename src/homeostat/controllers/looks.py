"""Looks that are asked for: any process on a state can have the controllers look now, wherever they run."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec

from homeostat.errors import StorageFailed
from homeostat.ports import ControlStore
from homeostat.records import Progress

NAME = "look"
# While a long retraining is under way, what the controllers found before is the answer.
TURN_SECONDS = 10.0
POLL_SECONDS = 0.02


class Looks:
    """Numbers of looks, kept in the control store: how many were asked for, and up to which one was looked.

    >>> from homeostat.stores.memory import MemoryControlStore
    >>> looks = Looks(MemoryControlStore())
    >>> number = looks.ask()
    >>> looks.waiting() == number, looks.wait(number, seconds=0)
    (True, False)
    >>> looks.done(number)
    >>> looks.waiting(), looks.wait(number, seconds=0)
    (0, True)
    """

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def ask(self) -> int:
        """Ask for a look that begins after this moment; returns its number. Raises `StorageFailed`."""
        with self._store.begin() as transaction:
            held = transaction.get(Progress, f"{NAME}:")
            if held is None:
                transaction.insert(Progress(controller=NAME, model="", state={"asked": 1, "done": 0}))
                return 1
            number = int(held.state["asked"]) + 1
            transaction.replace(msgspec.structs.replace(held, state={**held.state, "asked": number}))
            return number

    def waiting(self) -> int:
        """The number of the newest look that somebody waits for; 0 where nobody does. Raises `StorageFailed`."""
        state = self._state()
        return int(state["asked"]) if state["asked"] > state["done"] else 0

    def done(self, number: int) -> None:
        """Say that all looks up to that one were had. Raises `StorageFailed`."""
        with self._store.begin() as transaction:
            held = transaction.get(Progress, f"{NAME}:")
            if held is not None and held.state["done"] < number:
                transaction.replace(msgspec.structs.replace(held, state={**held.state, "done": number}))

    def wait(self, number: int, *, seconds: float) -> bool:
        """Wait for a look, at most so long; says whether it was had. Raises `StorageFailed`."""
        deadline = time.monotonic() + seconds
        while self._state()["done"] < number:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def have(self, _model: str) -> None:
        """Ask for a look and wait for it, but not for long; it is one at all models. Raises `StorageFailed`."""
        self.wait(self.ask(), seconds=TURN_SECONDS)

    def wake(self) -> None:
        """Ask for a look without waiting for it. What there is to do is on record: a later pass finds it anyway."""
        with suppress(StorageFailed):
            self.ask()

    def _state(self) -> dict[str, Any]:
        with self._store.read() as transaction:
            held = transaction.get(Progress, f"{NAME}:")
        return {"asked": 0, "done": 0} if held is None else held.state
