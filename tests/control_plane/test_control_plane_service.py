"""Orders and questions without any transport: what they return, and what they leave behind."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from homeostat.controllers.confirmation import wait_for_gateways
from homeostat.errors import Conflict, IllegalMove, UnknownModel, UnknownRecord, UnknownVersion
from homeostat.records import GatewayReport, RolloutState, Stage


@pytest.fixture
def small(small_systems):
    return small_systems.small_system()


def test_status_says_what_is_served_and_counted(small, small_systems):
    small.send(40)
    small.system.label(small_systems.MODEL, ["never-predicted"], ["spam"])
    [status] = small.system.control.status()
    assert (status.model, status.production, status.rows, status.labelled) == (small_systems.MODEL, 1, 40, 40)
    assert status.unmatched == 1
    assert status.route.number == 1
    assert status.drift == "not looked at"
    assert status.quality == "no labels yet"
    small.system.tick()
    [status] = small.system.control.status()
    assert "40 labelled rows" in status.quality
    assert status.last_decision.kind == "installed"


def test_a_promotion_by_hand_is_a_watched_rollout_and_the_first_one_is_not(small, small_systems):
    version = small.register(small_systems.fitted())
    control = small.system.control
    moved = control.move(small_systems.MODEL, version.number, Stage.PRODUCTION, actor="ann", reason="it is better")
    assert moved.version.stage is Stage.PRODUCTION
    assert moved.rollout.baseline == 1
    again = control.move(small_systems.MODEL, version.number, Stage.PRODUCTION, actor="ann", reason="once more")
    assert again.rollout is None
    assert len(control.rollouts(small_systems.MODEL)) == 1


def test_a_draft_is_not_promoted_and_nothing_is_changed(small, small_systems):
    small.register(small_systems.fitted(), stage=Stage.DRAFT)
    control, model, who = small.system.control, small_systems.MODEL, {"actor": "ann", "reason": "it is better"}
    before = (control.versions(model), control.stages(model), control.decisions(model), control.routes(model))
    with pytest.raises(IllegalMove, match=f"'homeostat model promote {model} 2 --to staging'") as refused:
        control.move(model, 2, Stage.PRODUCTION, **who)
    assert refused.value.code == "illegal_move"
    assert (control.versions(model), control.stages(model), control.decisions(model), control.routes(model)) == before
    # From testing it goes on as from staging.
    control.move(model, 2, Stage.TESTING, **who)
    assert control.move(model, 2, Stage.PRODUCTION, **who).rollout.candidate == 2


def test_moves_below_production(small, small_systems):
    version = small.register(small_systems.fitted(), stage=Stage.DRAFT)
    control, model = small.system.control, small_systems.MODEL
    assert control.move(model, 2, Stage.STAGING, actor="ann", reason="ready").version.stage is Stage.STAGING
    assert [move.target for move in control.stages(model, version.number)] == ["draft", "testing", "staging"]
    with pytest.raises(Conflict, match="is in production"):
        control.move(model, 1, Stage.ARCHIVED, actor="ann", reason="away with it")
    control.move(model, 2, Stage.ARCHIVED, actor="ann", reason="not needed")
    with pytest.raises(IllegalMove):
        control.move(model, 2, Stage.STAGING, actor="ann", reason="back")


def test_what_does_not_exist_is_refused_by_name(small, small_systems):
    control = small.system.control
    for ask in (
        lambda: control.status_of("none"),
        lambda: control.findings("none"),
        lambda: control.decisions("none"),
        lambda: control.routes("none"),
        lambda: control.runs("none"),
        lambda: control.alerts("none"),
        lambda: control.rollouts("none"),
        lambda: control.policy("none"),
        lambda: control.check("none"),
        lambda: control.retrain("none", actor="a", reason="r"),
        lambda: control.pause("none", actor="a", reason="a holiday"),
        lambda: control.roll_back("none", to=None, actor="a", reason="r"),
        lambda: control.label("none", ["a"], ["b"]),
    ):
        with pytest.raises(UnknownModel):
            ask()
    with pytest.raises(UnknownVersion):
        control.start_rollout(small_systems.MODEL, 9, actor="a", reason="r")
    with pytest.raises(UnknownRecord):
        control.run(small_systems.MODEL, "mail-run-1")
    with pytest.raises(UnknownRecord):
        control.acknowledge("mail-alert-1", actor="a")


def test_a_rollback_returns_with_the_route_that_is_served(small, small_systems):
    model = small_systems.MODEL
    small.register(small_systems.fitted())
    small.system.control.move(model, 2, Stage.PRODUCTION, actor="ann", reason="new")
    back = small.system.control.roll_back(model, to=None, actor="ann", reason="odd")
    assert back.production == 1
    assert back.route == small.system.route(model).number
    assert (back.confirmed, back.waiting) == ([], [])
    assert small.served_by() == {1}


def test_experiments_show_the_evidence_of_live_rollouts_and_what_ended_ones_were_decided_on(small, small_systems):
    model = small_systems.MODEL
    small.register(small_systems.fitted(flipped=True))
    small.system.control.start_rollout(model, 2, actor="ann", reason="try it")
    small.send(20)
    [live] = small.system.control.comparisons(model)
    assert live.state is RolloutState.RUNNING
    assert live.evidence["pairs"] == 20
    assert live.evidence["losses"] == 20
    small.drive(10)
    [ended] = small.system.control.comparisons(model)
    assert ended.state is not RolloutState.RUNNING
    assert ended.evidence["losses"] >= 20
    assert "facts" not in ended.evidence


def test_what_people_do_with_an_alert_is_a_decision(small_systems):
    small = small_systems.small_system()
    small.send(200, x=small.rng.uniform(0.9, 1.0, 200))
    small.system.tick()
    alert, *others = small.system.control.alerts()
    control = small.system.control
    assert control.acknowledge(alert.id, actor="ann").acknowledged_by == "ann"
    assert control.resolve(alert.id, actor="bob").state == "resolved"
    with pytest.raises(Conflict):
        control.resolve(alert.id, actor="bob")
    assert [(one.kind, one.actor) for one in control.decisions(small_systems.MODEL)[-2:]] == [
        ("acknowledged", "ann"),
        ("resolved", "bob"),
    ]
    assert control.alerts() == others
    assert len(control.alerts(everything=True)) == 1 + len(others)


def test_settings_are_shown_without_secrets(small):
    from dataclasses import replace

    from homeostat.settings import load, shown

    secret = "a-secret-of-many-letters"
    said = shown(replace(load(environment={}), token=secret))
    assert said["token"] == "(set)"
    assert secret not in repr(said)
    assert secret not in repr(replace(load(environment={}), token=secret))
    assert small.system.control.settings()["serve.port"] == 8080


# Waiting for gateways
def report(small, name, route, *, seen=0.0, stopped=False):
    with small.system.store.begin() as transaction:
        held = transaction.get(GatewayReport, name)
        now = datetime.now(tz=UTC)
        made = GatewayReport(
            name=name,
            pid=1,
            started_at=now,
            seen_at=now - timedelta(seconds=seen),
            routes={"mail": route},
            stopped=stopped,
            revision=0 if held is None else held.revision,
        )
        if held is None:
            transaction.insert(made)
        else:
            transaction.replace(made)


def test_a_gateway_that_lags_is_waited_for(small):
    report(small, "quick", 5)
    report(small, "slow", 4)

    def catch_up():
        time.sleep(0.1)
        report(small, "slow", 5)

    thread = threading.Thread(target=catch_up)
    thread.start()
    assert wait_for_gateways(small.system.store, "mail", 5, wait_seconds=120) == (["quick", "slow"], [])
    thread.join()


def test_one_that_does_not_follow_is_named_when_the_time_is_up(small):
    report(small, "quick", 5)
    report(small, "stuck", 4)
    assert wait_for_gateways(small.system.store, "mail", 5, wait_seconds=0.05) == (["quick"], ["stuck"])


def test_gateways_that_are_gone_or_serve_other_models_are_not_waited_for(small):
    report(small, "dead", 1, seen=60)
    report(small, "stopped", 1, stopped=True)
    assert wait_for_gateways(small.system.store, "mail", 5) == ([], [])
    report(small, "other", 1)
    assert wait_for_gateways(small.system.store, "spam", 5) == ([], [])
    report(small, "killed", 1)
    assert wait_for_gateways(small.system.store, "mail", 5, is_gone=lambda one: one.name in ("killed", "other")) == (
        [],
        [],
    )
