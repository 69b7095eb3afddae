"""What follows a rollback: confirmation, a second look, an incident, and people who hear of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from homeostat.controllers import incidents as incident_controller
from homeostat.errors import Conflict, CoolingDown, NotReplayable, UnknownRecord
from homeostat.records import (
    AlertState,
    GatewayReport,
    Incident,
    IncidentEvent,
    KeptPolicy,
    Policy,
    RolloutPolicy,
    RolloutState,
    Severity,
    Stage,
    Verdict,
)
from homeostat.rollouts.following_up import Aftermath, follow_up, replay_following
from homeostat.rollouts.incidents import Incidents

OPENED = datetime(2025, 5, 1, tzinfo=UTC)


def incident(state: RolloutState = RolloutState.ROLLING_BACK, **changes: object) -> Incident:
    made = Incident(
        id="m-incident-1",
        model="m",
        state=state,
        from_version=2,
        to_version=1,
        route=7,
        cause="worse",
        rule="paired evidence",
        actor="homeostat",
        opened_at=OPENED,
        updated_at=OPENED,
        timeline=(IncidentEvent(at=OPENED, what="cause: worse"),),
        confirmed_at=OPENED if state is RolloutState.VERIFYING else None,
    )
    return msgspec.structs.replace(made, **changes)


def after(seconds: float, **changes: object) -> Aftermath:
    quiet = {"confirmed": ("a",), "waiting": (), "production": 1, "answered": 200}
    return Aftermath(now=OPENED + timedelta(seconds=seconds), **(quiet | changes))  # type: ignore[arg-type]


BACK, LOOKED = RolloutState.ROLLING_BACK, RolloutState.VERIFYING


@pytest.mark.parametrize(
    ("state", "facts", "kind", "verdict"),
    [
        (BACK, after(0), "confirm", None),
        (BACK, after(9000, confirmed=()), "confirm", None),
        (BACK, after(5, waiting=("b",)), "hold", None),
        (BACK, after(31, waiting=("b",)), "fail", None),
        (BACK, after(-5, waiting=("b",)), "restart", None),
        (LOOKED, after(119), "hold", None),
        (LOOKED, after(120), "end", Verdict.HEALTHY),
        (LOOKED, after(-9000), "restart", None),
        # Nobody asked: waited for, and then said to be unknown, never to be well.
        (LOOKED, after(120, answered=0), "hold", None),
        (LOOKED, after(3600, answered=0), "end", Verdict.NO_DATA),
        (LOOKED, after(120, failures=60), "fail", Verdict.HARMED),
        (LOOKED, after(120, slow=80), "fail", Verdict.HARMED),
        (LOOKED, after(120, slow=10), "end", Verdict.HEALTHY),
        (LOOKED, after(5, production=3), "end", Verdict.NO_DATA),
    ],
)
def test_each_turn(state, facts, kind, verdict):
    found = follow_up(incident(state), facts, Policy())
    assert (found.kind, found.verdict) == (kind, verdict)


def test_what_was_kept_gives_the_same_turn_again():
    facts, then = after(120, failures=60), incident(LOOKED)
    kept = {"facts": msgspec.to_builtins(facts), "state": "verifying", "waited_from": then.updated_at.isoformat()}
    ended = msgspec.structs.replace(then, state=RolloutState.ROLLBACK_FAILED, updated_at=facts.now)
    assert replay_following(kept, ended, Policy()) == follow_up(then, facts, Policy())


@pytest.fixture
def told():
    return []


def releases(told):
    """What people heard of releases; a bad version has other alerts too."""
    return [alert for alert in told if alert.subject.startswith(("rollback", "retraining loop"))]


@pytest.fixture
def small(small_systems, told):
    made = small_systems.small_system(on_alert=told.append)
    yield made
    made.system.close()


def served_badly(small, small_systems):
    """A bad version that a person promoted, and that the loop took back by itself."""
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.control.move(small_systems.MODEL, bad.number, Stage.PRODUCTION, actor="ann", reason="I know better")
    while not small.rollout().state.was_rolled_back:
        small.drive(1)


def test_a_rollback_is_confirmed_looked_at_again_and_told(small, small_systems, told):
    control, model = small.system.control, small_systems.MODEL
    served_badly(small, small_systems)
    assert small.rollout().state is RolloutState.VERIFYING
    assert [(alert.state, alert.severity) for alert in releases(told)] == [(AlertState.OPEN, Severity.HIGH)]
    for _ in range(5):
        small.drive(1)
    assert small.rollout().state is RolloutState.ROLLED_BACK
    (found,) = control.incidents(model)
    assert (found.state, found.verdict, found.from_version, found.to_version) == (
        RolloutState.ROLLED_BACK,
        "healthy",
        2,
        1,
    )
    assert found.verified_at is not None
    assert found.verified_at - found.confirmed_at >= timedelta(minutes=2)
    assert found.evidence["losses"] > found.evidence["wins"]
    assert [event.at for event in found.timeline] == sorted(event.at for event in found.timeline)
    assert "cause: the candidate is worse" in " ".join(event.what for event in found.timeline)
    assert [alert.state for alert in releases(told)] == [AlertState.OPEN, AlertState.RESOLVED]
    assert control.incident(model, found.id) == found
    with pytest.raises(UnknownRecord):
        control.incident(model, "mail-incident-9")
    replayed = [control.replay(one.id) for one in control.decisions(model) if "facts" in one.inputs]
    assert [one.decision.kind for one in replayed][-2:] == ["rollback", "rollback verified"]
    assert all(one.same for one in replayed)
    with small.system.store.read() as transaction:
        (kept,) = transaction.list(KeptPolicy)
    assert kept.config_hash == small.system.policy(model).config_hash
    page = control.rollout_report(model)
    assert page.rollout == small.rollout().id
    for words in ("rolled back", "rollback verified", "cause: the candidate is worse", "<svg", "candidate, version 2"):
        assert words in page.html
    assert "http" not in page.html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    with pytest.raises(UnknownRecord):
        control.rollout_report(model, "none such")
    by_hand = next(one for one in control.decisions(model) if one.kind == "promotion")
    with pytest.raises(NotReplayable):
        control.replay(by_hand.id)
    with pytest.raises(UnknownRecord):
        control.replay("none such")


def test_a_verdict_that_differs_from_the_record_is_seen(small, small_systems, monkeypatch):
    served_badly(small, small_systems)
    decision = small.decisions("rollback")[-1]
    assert small.system.control.replay(decision.id).same
    monkeypatch.setattr("homeostat.rollouts.rules.SLOW_SHARE", 0.05)
    monkeypatch.setattr("homeostat.rollouts.rules.rollback_threshold", lambda *_, **__: 1e9)
    assert not small.system.control.replay(decision.id).same


def report(small, *, route: int) -> None:
    now = datetime.now(tz=UTC) + timedelta(minutes=5)
    gateway = GatewayReport(name="far:9:ab", pid=9, started_at=now, seen_at=now, routes={small.rollout().model: route})
    with small.system.store.begin() as transaction:
        held = transaction.get(GatewayReport, gateway.name)
        if held is None:
            transaction.insert(gateway)
        else:
            transaction.replace(msgspec.structs.replace(gateway, revision=held.revision))


def test_a_gateway_that_never_confirms_makes_it_fail_loudly(small, small_systems, told, monkeypatch):
    monkeypatch.setattr(incident_controller, "WAIT_SECONDS", 0.05)
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.control.move(small_systems.MODEL, bad.number, Stage.PRODUCTION, actor="ann", reason="new")
    report(small, route=small.system.route(small_systems.MODEL).number)
    while not small.rollout().state.was_rolled_back:
        small.drive(1, seconds=1)
    assert small.rollout().state is RolloutState.ROLLING_BACK
    # The store and the other gateways have the old version all the while.
    assert small.stages() == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}
    small.drive(4, seconds=10)
    assert small.rollout().state is RolloutState.ROLLBACK_FAILED
    (found,) = small.system.control.incidents(small_systems.MODEL)
    assert "not confirmed by far:9:ab" in found.outcome
    worst = [alert for alert in releases(told) if alert.severity is Severity.CRITICAL]
    assert len(worst) == 1
    assert "THE ROLLBACK FAILED" in worst[0].message
    assert small.system.control.replay(small.decisions("rollback failed")[-1].id).same
    small.drive(3)
    assert len(small.decisions("rollback failed")) == 1


def test_a_gateway_that_confirms_late_but_in_time_is_enough(small, small_systems):
    bad = small.register(small_systems.fitted(flipped=True))
    small.system.control.move(small_systems.MODEL, bad.number, Stage.PRODUCTION, actor="ann", reason="new")
    report(small, route=small.system.route(small_systems.MODEL).number)
    while not small.rollout().state.was_rolled_back:
        small.drive(1, seconds=1)
    report(small, route=small.system.route(small_systems.MODEL).number)
    small.drive(1, seconds=1)
    (found,) = small.system.control.incidents(small_systems.MODEL)
    assert (found.state, found.confirmed_by) == (RolloutState.VERIFYING, ("far:9:ab",))


def test_of_two_controllers_one_acts(small, small_systems):
    bad = small.register(small_systems.fitted())
    small.system.control.move(small_systems.MODEL, bad.number, Stage.PRODUCTION, actor="ann", reason="new")
    small.system.rollouts.roll_back(
        small_systems.MODEL, small.system.policy(small_systems.MODEL), at=small.clock.now(), actor="ann", reason="odd"
    )
    incidents, policy = Incidents(small.system.store), small.system.policy(small_systems.MODEL)
    (seen,) = incidents.open(small_systems.MODEL)
    facts = Aftermath(small.clock.now(), (), (), production=1)
    assert incidents.advance(seen, facts, policy).state is RolloutState.VERIFYING
    with pytest.raises(Conflict):
        incidents.advance(seen, facts, policy)
    (held,) = incidents.open(small_systems.MODEL)
    assert sum("has no gateway" in event.what for event in held.timeline) == 1


def test_a_version_that_was_rolled_back_rests_and_comes_back_as_a_new_attempt(small, small_systems):
    model, control = small_systems.MODEL, small.system.control
    served_badly(small, small_systems)
    before = small.system.route(model)
    with pytest.raises(CoolingDown):
        control.start_rollout(model, 2, actor="ann", reason="again")
    assert small.system.route(model) == before
    small.wait(3600)
    assert control.start_rollout(model, 2, actor="ann", reason="again").attempt == 2
    # What a person took back, a person may bring back at once; the system by itself may not.
    control.abort(model, actor="ann", reason="no")
    good = small.register(small_systems.fitted())
    control.move(model, good.number, Stage.PRODUCTION, actor="ann", reason="new")
    control.roll_back(model, to=None, actor="ann", reason="odd")
    with pytest.raises(CoolingDown):
        small.system.rollouts.start(
            model, good.number, small.system.policy(model), at=small.clock.now(), reason="by itself"
        )
    assert control.start_rollout(model, good.number, actor="ann", reason="again").attempt == 2


def test_retraining_that_ends_in_rollbacks_stops_and_people_are_told(small_systems, told):
    from homeostat.healing.rules import goes_round

    policy = small_systems.quiet_policy(rollout=RolloutPolicy(steps=("100%", "bake for 500 pairs"), most_rollbacks=2))
    small = small_systems.small_system(policy, on_alert=told.append)
    for number in range(2):
        bad = small.register(small_systems.fitted(flipped=True))
        small.system.rollouts.start(
            small_systems.MODEL, bad.number, policy, at=small.clock.now(), reason="new", run=f"run-{number}"
        )
        small.drive(6)
    rollouts = small.system.rollouts.list(small_systems.MODEL)
    assert goes_round(rollouts, policy, small.clock.now())
    assert not goes_round(rollouts, policy, small.clock.now() + timedelta(days=8))
    assert [alert.subject for alert in releases(told) if alert.severity is Severity.CRITICAL] == ["retraining loop"]


def test_a_rollback_by_hand_after_the_end_has_an_incident_too(small, small_systems):
    model = small_systems.MODEL
    good = small.register(small_systems.fitted())
    small.system.control.move(model, good.number, Stage.PRODUCTION, actor="ann", reason="new")
    small.system.rollouts.abort(model, small.system.policy(model), at=small.clock.now(), actor="ann", reason="no")
    small.system.registry.install(
        model, small.register(small_systems.fitted()).number, at=small.clock.now(), actor="ann", reason="better"
    )
    done = small.system.control.roll_back(model, to=1, actor="ann", reason="odd")
    found = small.system.control.incident(model, done.incident)
    assert (found.from_version, found.to_version, found.rollout, found.actor) == (3, 1, None, "ann")
    assert found.state is RolloutState.VERIFYING
    # People hear of it as a finding on what was taken back; the version that serves again is not ill for it.
    report = small.system.control.check(model)
    assert not report.harmed
    [told] = [one for one in small.system.control.findings(model) if one.check.startswith("rollback")]
    assert (told.version, told.verdict) == (3, Verdict.HARMED)
