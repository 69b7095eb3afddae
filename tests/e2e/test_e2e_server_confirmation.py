"""What a gateway says that it serves is what it answers with: while it starts, and where it served production alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from homeostat.controllers.clock import SimulatedClock
from homeostat.records import Rollback, Stage
from homeostat.serving.follower import RouteFollower
from homeostat.settings import Settings, load
from homeostat.wiring import open_system
from homeostat.wiring.server import Server, build_server

MODEL = "mail"


def settings_of(home: Path) -> Settings:
    overrides = {
        "home": str(home / "state"),
        "policy.rollout.steps": ["canary 50% for 1h", "100%"],
        "policy.rollout.manual_steps": ["100%"],
    }
    return load(environment={}, overrides=overrides)


def test_a_gateway_that_starts_during_a_rollback_begins_with_what_was_rolled_back_to(
    loads: ModuleType, small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(loads.copy_home(small_home, tmp_path / "home"))
    operator = open_system(settings)
    operator.control.move(MODEL, 2, Stage.PRODUCTION, actor="tests", reason="newer")
    server = build_server(settings, name="starting")
    replies: list[Rollback] = []
    report = RouteFollower._report

    def report_late(follower: RouteFollower) -> None:
        # It has looked, and nobody knows yet that it is there.
        if not replies:
            replies.append(operator.control.roll_back(MODEL, to=None, actor="tests", reason="back"))
        report(follower)

    monkeypatch.setattr(RouteFollower, "_report", report_late)
    monkeypatch.setattr(Server, "_run", lambda *_: None)
    server.start()
    assert (replies[0].production, replies[0].confirmed, replies[0].waiting) == (1, [], [])
    assert [arm.version for arm in server.system.gateway.held()[MODEL].route.arms] == [1]
    server.close()
    operator.close()


def test_a_gateway_that_serves_production_alone_reports_a_route_only_once_it_answers_by_it(
    loads: ModuleType, small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimulatedClock(datetime(2100, 1, 1, tzinfo=UTC))
    system = open_system(settings_of(loads.copy_home(small_home, tmp_path / "home")), clock=clock, is_server=True)
    follower = RouteFollower(
        system.gateway, system.store, clock, name="alone", pid=os.getpid(), monotonic=lambda: 0.0
    )  # fmt: skip
    system.control.move(MODEL, 2, Stage.PRODUCTION, actor="tests", reason="newer")
    system.tick()
    system.control.start_rollout(MODEL, 1, actor="tests", reason="the old one as a candidate")
    follower.follow()
    clock.advance_to(clock.now() + timedelta(minutes=5))
    follower.follow()
    assert system.gateway.serves_alone(MODEL)

    answered_by: list[int] = []
    report = RouteFollower._report

    def look_at_answers(follower: RouteFollower) -> None:
        report(follower)
        answered_by.append(system.gateway.snapshot(MODEL, now=clock.now()).arms[0].version.number)

    monkeypatch.setattr(RouteFollower, "_report", look_at_answers)
    policy = system.policy(MODEL)
    assert system.rollouts.roll_back(MODEL, policy, to=1, at=clock.now(), actor="tests", reason="back") == 1
    follower.follow()
    assert answered_by == [1]
    system.close()
