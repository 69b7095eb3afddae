"""Halves that wait for each other are bounded in number, size and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from homeostat.serving.pairing import Half, Halves, Side

START = datetime(2025, 1, 1, tzinfo=UTC)


def half(side: Side, *, content: str = "", size: int = 1, after: float = 0) -> Half:
    return Half(side, content, size, START + timedelta(seconds=after))


@pytest.mark.parametrize("sides", [(Side.REQUEST, Side.RESPONSE), (Side.RESPONSE, Side.REQUEST)])
def test_the_second_half_gets_the_first_of_its_own_model_and_id(sides: tuple[Side, Side]) -> None:
    halves = Halves()
    for model, id_ in (("a", "1"), ("a", "2"), ("b", "1")):
        assert halves.offer(model, id_, half(sides[0], content=model + id_)) == (None, 0)
    found, dropped = halves.offer("b", "1", half(sides[1]))
    assert found is not None
    assert (found.content, dropped, halves.waiting) == ("b1", 0, 2)
    # It is gone: a third one waits again.
    assert halves.offer("b", "1", half(sides[1])) == (None, 0)


def test_a_half_that_comes_twice_is_the_newer_one() -> None:
    halves = Halves()
    for content in ("old", "new"):
        halves.offer("a", "1", half(Side.REQUEST, content=content))
    assert halves.waiting == 1
    found, _ = halves.offer("a", "1", half(Side.RESPONSE))
    assert found is not None
    assert found.content == "new"


def test_too_many_too_large_and_too_old_halves_are_dropped_oldest_first() -> None:
    halves = Halves(most=3)
    assert [halves.offer("a", str(n), half(Side.REQUEST))[1] for n in range(5)] == [0, 0, 0, 1, 1]
    assert halves.waiting == 3
    assert halves.offer("a", "0", half(Side.RESPONSE))[0] is None
    halves = Halves(most_bytes=10)
    assert [halves.offer("a", str(n), half(Side.REQUEST, size=4))[1] for n in range(4)] == [0, 0, 1, 1]
    assert halves.offer("a", "huge", half(Side.REQUEST, size=11)) == (None, 3)
    assert halves.waiting == 0
    halves = Halves(longest=timedelta(seconds=60))
    halves.offer("a", "1", half(Side.REQUEST))
    halves.offer("a", "2", half(Side.REQUEST, after=50))
    assert halves.offer("a", "3", half(Side.REQUEST, after=61)) == (None, 1)
    assert halves.offer("a", "1", half(Side.RESPONSE, after=61))[0] is None
    assert halves.offer("a", "2", half(Side.RESPONSE, after=61))[0] is not None


def test_what_is_put_back_is_found_by_who_tries_again() -> None:
    halves = Halves()
    halves.offer("a", "1", half(Side.REQUEST, content="kept"))
    found, _ = halves.offer("a", "1", half(Side.RESPONSE))
    assert found is not None
    halves.put_back("a", "1", found)
    again, _ = halves.offer("a", "1", half(Side.RESPONSE))
    assert again is found
