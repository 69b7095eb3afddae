"""Looks that one process asks for and another one has."""

from __future__ import annotations

import threading
import time

from homeostat.controllers.looks import Looks
from homeostat.errors import StorageFailed
from homeostat.stores.memory import MemoryControlStore
from homeostat.stores.sqlite import SqliteControlStore


def test_a_look_counts_for_all_who_asked_before_it_began_and_for_nobody_after(tmp_path):
    asking = Looks(SqliteControlStore(tmp_path / "control.db"))
    acting = Looks(SqliteControlStore(tmp_path / "control.db"))
    assert acting.waiting() == 0
    first, second = asking.ask(), asking.ask()
    begun = acting.waiting()
    assert begun == second > first
    late = asking.ask()
    acting.done(begun)
    assert asking.wait(first, seconds=0)
    assert asking.wait(second, seconds=0)
    assert not asking.wait(late, seconds=0)
    assert acting.waiting() == late
    # One that was slower than another says nothing new.
    acting.done(first)
    assert asking.wait(second, seconds=0)


def test_whoever_waits_goes_on_as_soon_as_the_look_was_had():
    looks = Looks(MemoryControlStore())
    number = looks.ask()
    timer = threading.Timer(0.05, looks.done, [number])
    timer.start()
    began = time.monotonic()
    assert looks.wait(number, seconds=120)
    assert time.monotonic() - began < 60
    timer.join()


def test_a_store_that_is_away_does_not_undo_what_was_ordered():
    class Away:
        def begin(self):
            raise StorageFailed("away")

    Looks(Away()).wake()
