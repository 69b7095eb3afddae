"""A gateway follows the newest routes, says so, and drops a candidate that nobody watches any more."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest

from homeostat.errors import StorageFailed
from homeostat.records import Arm, GatewayReport, Lease, Model, Task, route_lease
from homeostat.serving import follower as following
from homeostat.serving.follower import RouteFollower


class Ticking:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def small(small_systems):
    found = small_systems.small_system()
    found.register(small_systems.fitted(flipped=True))
    return found


def follow(small, **more):
    system = small.system
    made = RouteFollower(system.gateway, system.store, small.clock, name="one:1", pid=7, **more)
    made.follow()
    return made


def report(small):
    with small.system.store.read() as transaction:
        return transaction.get(GatewayReport, "one:1")


def canary(small, model, *, seconds=60.0):
    """A route that gives a candidate half of the traffic, under a lease."""
    from homeostat.journal import write_route

    now = small.clock.now()
    with small.system.store.begin() as transaction:
        write_route(
            transaction,
            model,
            (Arm(name="control", version=1, weight=0.5), Arm(name="candidate", version=2, weight=0.5)),
            at=now,
            reason="a canary",
            lease_until=now + timedelta(seconds=seconds),
        )


def versions(small, model):
    """Which versions answer, without a look at the store."""
    import numpy as np

    from homeostat.frames import Columns

    x = np.linspace(-1, 1, 100)
    return set(small.system.gateway.predict(model, Columns({"x": x}), now=small.clock.now()).version.tolist())


def test_the_newest_route_is_served_and_reported(small, small_systems):
    model = small_systems.MODEL
    made = follow(small)
    assert report(small).routes == {model: 1}
    assert report(small).pid == 7
    canary(small, model)
    assert versions(small, model) == {1}, "nobody told the gateway yet"
    made.follow()
    assert versions(small, model) == {1, 2}
    assert report(small).routes == {model: 2}


def test_a_lease_that_runs_out_leaves_production_alone(small, small_systems):
    model = small_systems.MODEL
    canary(small, model)
    made = follow(small)
    assert versions(small, model) == {1, 2}
    small.wait(59)
    made.follow()
    assert versions(small, model) == {1, 2}
    small.wait(2)
    made.follow()
    assert versions(small, model) == {1}
    assert small.system.gateway.serves_alone(model)
    assert report(small).routes == {model: 2}, "it is still the same route"


def test_a_renewed_lease_keeps_the_candidate_and_a_late_one_brings_it_back(small, small_systems):
    model = small_systems.MODEL
    canary(small, model)
    made = follow(small)
    small.wait(50)
    until = small.clock.now() + timedelta(seconds=60)
    with small.system.store.begin() as transaction:
        transaction.insert(Lease(name=route_lease(model), holder="somebody", until=until))
    made.follow()
    small.wait(30)
    made.follow()
    assert versions(small, model) == {1, 2}
    small.wait(60)
    made.follow()
    assert versions(small, model) == {1}
    with small.system.store.begin() as transaction:
        held = transaction.get(Lease, route_lease(model))
        transaction.replace(
            Lease(
                name=held.name,
                holder="somebody",
                until=small.clock.now() + timedelta(seconds=60),
                revision=held.revision,
            )
        )
    made.follow()
    assert versions(small, model) == {1, 2}


def test_a_clock_that_is_set_back_does_not_prolong_a_lease(small, small_systems):
    model = small_systems.MODEL
    passed = Ticking()
    canary(small, model)
    made = follow(small, monotonic=passed)
    # The models' clock stands still; the other one says that a minute has passed.
    passed.seconds = 61.0
    made.follow()
    assert versions(small, model) == {1}


def test_a_store_that_is_away_costs_the_candidate_and_nothing_else(small, small_systems, monkeypatch):
    model = small_systems.MODEL
    canary(small, model)
    made = follow(small)

    @contextmanager
    def away():
        raise StorageFailed("The control store can't be reached.")
        yield

    def no_revision():
        raise StorageFailed("The control store can't be reached.")

    monkeypatch.setattr(small.system.store, "read", away)
    monkeypatch.setattr(small.system.store, "begin", away)
    monkeypatch.setattr(small.system.store, "revision", no_revision)
    made.follow()
    assert versions(small, model) == {1, 2}
    small.wait(61)
    made.follow()
    assert versions(small, model) == {1}
    monkeypatch.undo()
    made.follow()
    assert report(small).routes == {model: 2}


def test_production_routes_need_no_lease(small, small_systems):
    made = follow(small)
    small.wait(10 * 86400)
    made.follow()
    assert versions(small, small_systems.MODEL) == {1}
    assert not small.system.gateway.serves_alone(small_systems.MODEL)


def test_it_says_that_it_lives_and_that_it_stopped(small, monkeypatch):
    import threading

    made = follow(small)
    first = report(small).seen_at
    made.follow()
    assert report(small).seen_at == first, "nothing new, and the last word is fresh"
    monkeypatch.setattr(following, "BEAT", timedelta(0))
    made.follow()
    assert report(small).seen_at > first
    stop = threading.Event()
    stop.set()
    made.run(stop, 0.01)
    assert report(small).stopped
    assert report(small).routes == {}


def test_a_model_without_a_route_does_not_disturb(small, small_systems):
    with small.system.store.begin() as transaction:
        transaction.insert(Model(name="idle", task=Task.BINARY, target="y", created_at=small.clock.now()))
    follow(small)
    assert report(small).routes == {small_systems.MODEL: 1}


def test_rollouts_renew_the_lease_while_somebody_watches(small, small_systems):
    model = small_systems.MODEL
    small.system.control.start_rollout(model, 2, actor="ann", reason="try it")
    route = small.system.route(model)
    assert route.lease_until == small.clock.now() + timedelta(seconds=60)
    small.system.tick()
    with small.system.store.read() as transaction:
        first = transaction.get(Lease, route_lease(model)).until
    small.wait(45)
    small.system.tick()
    with small.system.store.read() as transaction:
        second = transaction.get(Lease, route_lease(model)).until
    assert second == first + timedelta(seconds=45)
