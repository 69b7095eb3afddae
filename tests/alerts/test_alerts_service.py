"""Alerts over a store: one cause is one alert, and no channel can stop another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from homeostat.alerts.service import Alerts, CallbackNotifier, LogNotifier
from homeostat.errors import Conflict, UnknownRecord
from homeostat.records import Alert, AlertPolicy, AlertState, Decision, Finding, Severity, Verdict
from homeostat.stores.memory import MemoryControlStore

NOW = datetime(2025, 2, 1, tzinfo=UTC)
POLICY = AlertPolicy(minimum_severity="high", resolve_after=2)


def finding(
    check: str,
    verdict: Verdict = Verdict.HARMED,
    severity: Severity = Severity.HIGH,
    *,
    look: int = 0,
    model: str = "m",
) -> Finding:
    at = NOW + timedelta(minutes=5 * look)
    return Finding(
        id=f"{model}:{check}:{at.isoformat()}",
        model=model,
        check=check,
        at=at,
        verdict=verdict,
        severity=severity if verdict is Verdict.HARMED else Severity.NONE,
        message=f"{check} {verdict.value}",
        version=2,
        statistic=0.4,
        threshold=0.1,
    )


class Deaf:
    """A channel that is down."""

    def notify(self, alert: Alert, finding: Finding | None) -> None:
        raise OSError("no route to host")


@pytest.fixture
def store():
    return MemoryControlStore()


@pytest.fixture
def told():
    return []


@pytest.fixture
def alerts(store, told):
    return Alerts(store, [LogNotifier(), CallbackNotifier(told.append)])


def test_one_cause_is_one_alert_over_a_hundred_looks(alerts, told, store):
    for look in range(100):
        checks = ("performance daily", "performance 7 days", "performance 30 days", "decay", "accuracy floor")
        alerts.take([finding(check, look=look) for check in checks], POLICY)
    (alert,) = alerts.list("m")
    assert (alert.subject, alert.count, alert.state) == ("performance", 100, AlertState.OPEN)
    assert told == [told[0]]
    with store.read() as transaction:
        (decision,) = transaction.list(Decision, model="m")
    assert (decision.kind, decision.statistic, decision.threshold) == ("alert", 0.4, 0.1)
    assert decision.inputs["alert"] == alert.id


def test_subjects_and_models_are_apart(alerts, told):
    alerts.take([finding("drift"), finding("service"), finding("drift", model="other")], POLICY)
    assert sorted((alert.model, alert.subject) for alert in told) == [
        ("m", "drift"),
        ("m", "service"),
        ("other", "drift"),
    ]
    assert [alert.model for alert in alerts.list("other")] == ["other"]
    assert len({alert.id for alert in alerts.list()}) == 3


def test_resolved_after_healthy_looks_and_opened_anew_later(alerts, told):
    alerts.take([finding("drift")], POLICY)
    for look in (1, 2):
        alerts.take([finding("drift", Verdict.HEALTHY, look=look)], POLICY)
    assert [alert.state for alert in told] == [AlertState.OPEN, AlertState.RESOLVED]
    assert alerts.list("m", live_only=True) == []
    alerts.take([finding("drift", Verdict.HEALTHY, look=3)], POLICY)
    assert len(told) == 2
    alerts.take([finding("drift", look=4)], POLICY)
    assert told[-1].state is AlertState.OPEN
    assert len(alerts.list("m", live_only=True)) == 1


def test_performance_alerts_resolve_though_the_shortest_window_has_no_labels(alerts):
    alerts.take([finding("performance 7 days")], POLICY)
    for look in (1, 2):
        quiet = [finding("performance daily", Verdict.NO_DATA, look=look)]
        quiet += [finding("performance 7 days", Verdict.HEALTHY, look=look)]
        alerts.take(quiet, POLICY)
    assert alerts.list("m")[0].state is AlertState.RESOLVED


def test_mild_findings_open_nothing(alerts, told):
    alerts.take([finding("drift", severity=Severity.MEDIUM), finding("service", Verdict.HEALTHY)], POLICY)
    assert (alerts.list(), told) == ([], [])
    alerts.take([finding("drift", severity=Severity.MEDIUM)], AlertPolicy(minimum_severity="medium"))
    assert len(told) == 1


def test_acknowledge_and_worse(alerts, told):
    (alert,) = alerts.take([finding("drift")], POLICY)
    assert alerts.acknowledge(alert.id, by="ann", at=NOW).acknowledged_by == "ann"
    alerts.take([finding("drift", look=1)], POLICY)
    assert alerts.list("m")[0].state is AlertState.ACKNOWLEDGED
    assert len(told) == 1
    alerts.take([finding("drift", severity=Severity.CRITICAL, look=2)], POLICY)
    assert (told[-1].state, told[-1].severity) == (AlertState.OPEN, Severity.CRITICAL)
    assert len(alerts.list("m")) == 1


def test_by_hand(alerts):
    (alert,) = alerts.take([finding("drift")], POLICY)
    assert alerts.resolve(alert.id, by="ann", at=NOW).state is AlertState.RESOLVED
    for order in (
        lambda: alerts.resolve(alert.id, by="ann", at=NOW),
        lambda: alerts.acknowledge(alert.id, by="ann", at=NOW),
    ):
        with pytest.raises(Conflict):
            order()
    with pytest.raises(UnknownRecord):
        alerts.acknowledge("no such", by="ann", at=NOW)


def test_a_channel_that_is_down_stops_neither_the_others_nor_the_alert(store, told, caplog):
    alerts = Alerts(store, [Deaf(), CallbackNotifier(told.append), Deaf()])
    alerts.take([finding("drift")], POLICY)
    assert len(told) == 1
    assert len(alerts.list("m")) == 1
    assert caplog.text.count("could not be sent by Deaf") == 2


def test_the_log_says_it_at_the_severity(store, caplog):
    alerts = Alerts(store, [LogNotifier()])
    with caplog.at_level("INFO", logger="homeostat.alerts"):
        alerts.take([finding("drift", severity=Severity.CRITICAL), finding("service")], POLICY)
        for look in (1, 2):
            alerts.take([finding("drift", Verdict.HEALTHY, look=look)], POLICY)
    assert [(record.levelname, record.message.split(":")[0]) for record in caplog.records] == [
        ("ERROR", "open critical drift"),
        ("WARNING", "open high service"),
        ("INFO", "resolved critical drift"),
    ]
