"""How much a server takes at a time: the rest is refused at once, counted, and told when to come again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from homeostat.errors import InvalidSettings, Overloaded, TooManyRequests
from homeostat.http.callers import Caller
from homeostat.http.limits import MOST_CALLERS, Limits
from homeostat.settings import networks_of

ROW = {"features": {"links": 1.0, "length": 2.0}}


def scope(address: str = "10.0.0.1", key: str = "") -> dict[str, Any]:
    return {"client": (address, 1), "state": {"caller": Caller(key, frozenset(), is_key=bool(key))}}


def refused(limits: Limits, given: Any) -> bool:
    try:
        limits.enter(given).leave()
    except TooManyRequests:
        return True
    return False


def test_a_caller_has_a_burst_and_then_its_rate() -> None:
    now, why = [100.0], Counter[str]()
    limits = Limits(requests_per_second=2, burst=5, clock=lambda: now[0], on_refused=lambda one: why.update([one]))
    assert [refused(limits, scope()) for _ in range(7)] == [False] * 5 + [True] * 2
    now[0] += 0.5
    assert [refused(limits, scope()) for _ in range(2)] == [False, True]
    now[0] += 1000
    assert [refused(limits, scope()) for _ in range(6)] == [False] * 5 + [True]
    assert why == {"requests_per_second": 4}


def test_over_a_long_time_exactly_the_rate_comes_through() -> None:
    now = [0.0]
    limits = Limits(requests_per_second=10, burst=3, clock=lambda: now[0])
    passed = 0
    for _ in range(10_000):
        now[0] += 0.01
        passed += not refused(limits, scope())
    assert 1000 <= passed <= 1003


def test_callers_are_told_apart_by_key_and_else_by_address() -> None:
    limits = Limits(requests_per_second=1, burst=1, clock=lambda: 0.0)
    for one in (scope(), scope("10.0.0.2"), scope(key="a"), scope(key="b"), scope("2001:db8::1"), scope("2001:db9::1")):
        assert not refused(limits, one)
        assert refused(limits, one)
    # A key from elsewhere is the same key, and a line to the internet has many addresses.
    assert refused(limits, scope("10.9.9.9", key="a"))
    assert refused(limits, scope("2001:db8::2"))
    assert not refused(limits, {"client": None, "state": {}})


def test_who_waits_is_told_for_how_long() -> None:
    limits = Limits(requests_per_second=0.1, burst=1, clock=lambda: 0.0)
    limits.enter(scope())
    with pytest.raises(TooManyRequests) as error:
        limits.enter(scope())
    assert error.value.data["retry_after"] == 10


def test_many_callers_are_not_remembered_for_ever() -> None:
    now = [0.0]
    limits = Limits(requests_per_second=1, burst=1, clock=lambda: now[0])
    for number in range(MOST_CALLERS * 2 + 1):
        limits.enter(scope(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")).leave()
        assert len(limits._full) <= MOST_CALLERS
    now[0] = 10.0
    limits.enter(scope()).leave()


def test_slots_are_given_back_once() -> None:
    limits = Limits(concurrent_requests=2)
    slots = [limits.enter(scope()) for _ in range(2)]
    with pytest.raises(Overloaded):
        limits.enter(scope())
    slots[0].leave()
    slots[0].leave()
    slots[0] = limits.enter(scope())
    with pytest.raises(Overloaded):
        limits.enter(scope())
    for slot in slots:
        slot.leave()
    assert limits.requests == 0


def test_bodies_share_what_there_is_and_one_alone_is_never_refused() -> None:
    limits = Limits(bodies_bytes=100)
    alone = limits.enter(scope())
    alone.hold(80)
    alone.hold(80)
    other = limits.enter(scope())
    with pytest.raises(Overloaded):
        other.hold(1)
    alone.leave()
    other.hold(90)
    third = limits.enter(scope())
    third.hold(10)
    with pytest.raises(Overloaded):
        third.hold(1)
    third.drop()
    assert limits.bytes == 90
    other.leave()
    third.leave()
    assert (limits.bytes, limits.requests) == (0, 0)


def test_without_limits_nothing_is_refused() -> None:
    limits = Limits()
    for _ in range(1000):
        limits.enter(scope()).hold(10**9)


def test_a_request_costs_microseconds() -> None:
    limits = Limits(requests_per_second=1e9, burst=100, concurrent_requests=10, bodies_bytes=10**9)
    given, best = scope(), float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(1000):
            slot = limits.enter(given)
            slot.hold(100)
            slot.leave()
        best = min(best, time.process_time() - started)
    # A thousand requests; about 2 ms where it was measured.
    assert best < 0.2


@pytest.fixture(scope="module")
def busy(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that has two requests in hand, and takes one a minute after the first four."""
    home = tmp_path_factory.mktemp("busy")
    more = {"serve__concurrent_requests": 2, "serve__requests_per_second": 1 / 60, "serve__burst": 4}
    yield from small_servers.closed(small_servers.open_server(home, register=False, **more))


def test_a_server_says_when_to_come_again_and_answers_probes(busy: Any) -> None:
    statuses = [busy.get("/api/v1/status").status for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    answer = busy.post("/models/spam/predict", ROW)
    assert (answer.status, answer.code) == (429, "too_many_requests")
    assert 0 < int(answer.header("retry-after") or 0) <= 61
    assert busy.get("/livez").status == 200
    samples = busy.server.application._metrics.collect()
    (found,) = [one for one in samples if one.name == "http_requests_refused"]
    counts = {one.labels["reason"]: one.value for one in found.samples}
    assert counts == {"requests_per_second": 2.0, "concurrent_requests": 0.0, "bodies_bytes": 0.0}


def test_a_server_with_its_hands_full_refuses_the_next(
    small_servers: ModuleType, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"serve__concurrent_requests": 2}
    entered, go = threading.Semaphore(0), threading.Event()

    def models() -> list[Any]:
        entered.release()
        go.wait(120)
        return []

    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, **more)):
        monkeypatch.setattr(small.server.system.registry, "models", models)
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(small.get, "/api/v1/models") for _ in range(2)]
            for _ in waiting:
                assert entered.acquire(timeout=120)
            answer = small.get("/api/v1/models")
            assert (answer.status, answer.code, answer.header("retry-after")) == (503, "overloaded", "1")
            assert small.get("/livez").status == 200
            go.set()
            assert [one.result().status for one in waiting] == [200, 200]
        assert small.get("/api/v1/models").status == 200


def test_bodies_are_counted_while_they_are_held_and_not_after(small_servers: ModuleType, tmp_path: Any) -> None:
    more = {"serve__bodies_bytes": 50_000}
    for small in small_servers.closed(small_servers.open_server(tmp_path, register=False, **more)):
        limits = small.server.application._limits
        for body in (b"{" * 40_000, b'{"features": 1}', b"x" * 9_000_000, b"x" * 11_000_000):
            small.post("/models/spam/predict", body)
            assert (limits.requests, limits.bytes) == (0, 0)
        other = limits.enter(scope())
        other.hold(45_000)
        answer = small.post("/models/spam/predict", b"x" * 10_000)
        assert (answer.status, answer.code, answer.header("retry-after")) == (503, "overloaded", "1")
        other.leave()
        assert (limits.requests, limits.bytes) == (0, 0)


def through(address: str, *said: str) -> dict[str, Any]:
    return scope(address) | {"headers": [(b"x-forwarded-for", one.encode()) for one in said]}


def test_only_proxies_that_are_trusted_say_who_asked_them() -> None:
    def last_of(given: dict[str, Any], proxies: str) -> str:
        limits = Limits(requests_per_second=1, burst=1, clock=lambda: 0.0, proxies=networks_of(proxies))
        limits.enter(given)
        (name,) = limits._full
        return name

    both = "127.0.0.1, 10.0.0.0/8, fd00::/8"
    for address, said, proxies, name in (
        # By default nobody is believed, this machine neither.
        ("127.0.0.1", ["9.9.9.9"], "", "address 127.0.0.1"),
        ("8.8.8.8", ["9.9.9.9"], both, "address 8.8.8.8"),
        ("127.0.0.1", ["9.9.9.9"], both, "address 9.9.9.9"),
        # What the caller wrote itself stands first.
        ("127.0.0.1", ["1.1.1.1, 9.9.9.9, 10.1.2.3"], both, "address 9.9.9.9"),
        ("127.0.0.1", ["1.1.1.1", "9.9.9.9:4711", "10.1.2.3"], both, "address 9.9.9.9"),
        ("127.0.0.1", ["10.0.0.7"], both, "address 10.0.0.7"),
        ("127.0.0.1", [], both, "address 127.0.0.1"),
        ("127.0.0.1", ["9.9.9.9, mischief"], both, "address 127.0.0.1"),
        ("127.0.0.1", ["9.9.9.9, , 10.0.0.2"], both, "address 10.0.0.2"),
        ("fd00::1", ["[2001:db8::7]:443"], both, "network 2001:db8::/64"),
        ("fd00::1", ["2001:db8::7"], both, "network 2001:db8::/64"),
        # A socket for IPv6 and IPv4 sees both as the former.
        ("::ffff:127.0.0.1", ["::ffff:9.9.9.9"], both, "address 9.9.9.9"),
    ):
        assert last_of(through(address, *said), proxies) == name, (address, said)
    for wrong in ("mischief", "10.0.0.1/8", "127.0.0.1;::1"):
        with pytest.raises(InvalidSettings, match="trusted_proxies"):
            networks_of(wrong)


def test_callers_over_ipv4_are_told_apart_on_a_socket_for_both() -> None:
    limits = Limits(requests_per_second=1, burst=1, clock=lambda: 0.0)
    assert not refused(limits, scope("::ffff:10.0.0.1"))
    assert not refused(limits, scope("::ffff:10.0.0.2"))
    assert refused(limits, scope("10.0.0.2"))
