"""When a finding opens, continues or resolves an alert, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from homeostat.alerts.rules import continued, deserves, opened, subject_of, worst
from homeostat.records import AlertPolicy, AlertState, Finding, Severity, Verdict

NOW = datetime(2025, 2, 1, tzinfo=UTC)
POLICY = AlertPolicy(minimum_severity="high", resolve_after=3)


def finding(
    check: str = "drift", verdict: Verdict = Verdict.HARMED, severity: Severity = Severity.HIGH, *, look: int = 0
) -> Finding:
    at = NOW + timedelta(minutes=5 * look)
    return Finding(
        id=f"m:{check}:{at.isoformat()}",
        model="m",
        check=check,
        at=at,
        verdict=verdict,
        severity=severity if verdict in (Verdict.HARMED, Verdict.ERROR) else Severity.NONE,
        message=f"{check} {verdict.value}",
        version=1,
    )


@pytest.mark.parametrize(
    ("check", "subject"),
    [
        ("performance daily", "performance"),
        ("performance 30 days", "performance"),
        ("decay", "performance"),
        ("accuracy floor", "performance"),
        ("drift", "drift"),
        ("prediction", "prediction"),
        ("service", "service"),
        ("integrity", "integrity"),
    ],
)
def test_one_cause_is_one_subject(check, subject):
    assert subject_of(finding(check)) == subject


@pytest.mark.parametrize("minimum", ["low", "medium", "high", "critical"])
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("severity", list(Severity))
def test_what_people_hear_of(minimum, verdict, severity):
    heard = deserves(finding(verdict=verdict, severity=severity), AlertPolicy(minimum_severity=minimum))
    order = ["none", "low", "medium", "high", "critical"]
    loud = order.index(severity.value) >= order.index(minimum)
    assert heard == (loud and verdict in (Verdict.HARMED, Verdict.ERROR))


@pytest.mark.parametrize(
    ("group", "speaks"),
    [
        ([(Verdict.HEALTHY, "none"), (Verdict.HARMED, "medium")], 1),
        ([(Verdict.ERROR, "critical"), (Verdict.HARMED, "low")], 1),
        ([(Verdict.HARMED, "medium"), (Verdict.HARMED, "critical"), (Verdict.HARMED, "high")], 1),
        ([(Verdict.HEALTHY, "none"), (Verdict.ERROR, "high")], 1),
        # A window that has no rows says nothing beside one that has.
        ([(Verdict.NO_DATA, "none"), (Verdict.HEALTHY, "none")], 1),
        ([(Verdict.HEALTHY, "none"), (Verdict.INSUFFICIENT, "none")], 0),
        ([(Verdict.NO_DATA, "none"), (Verdict.HARMED, "high"), (Verdict.HEALTHY, "none")], 1),
    ],
)
def test_which_finding_speaks(group, speaks):
    findings = [finding(verdict=verdict, severity=Severity(severity)) for verdict, severity in group]
    assert worst(findings) is findings[speaks]


def walk(verdicts: str, policy: AlertPolicy = POLICY, severity: Severity = Severity.HIGH):
    """An alert through looks: h healthy, H harmed, m mildly harmed, c critical, n no data, i insufficient, e error."""
    alert = opened(finding(severity=severity), 1)
    told = []
    letters = {
        "h": (Verdict.HEALTHY, Severity.NONE),
        "H": (Verdict.HARMED, Severity.HIGH),
        "m": (Verdict.HARMED, Severity.MEDIUM),
        "c": (Verdict.HARMED, Severity.CRITICAL),
        "n": (Verdict.NO_DATA, Severity.NONE),
        "i": (Verdict.INSUFFICIENT, Severity.NONE),
        "e": (Verdict.ERROR, Severity.MEDIUM),
    }
    for look, letter in enumerate(verdicts, start=1):
        verdict, how = letters[letter]
        alert, tell = continued(alert, finding(verdict=verdict, severity=how, look=look), policy)
        if tell:
            told.append(look)
    return alert, told


@pytest.mark.parametrize(
    ("looks", "state", "told"),
    [
        ("", "open", []),
        ("HHHHH", "open", []),
        ("hh", "open", []),
        ("hhh", "resolved", [3]),
        # In a row
        ("hhHhh", "open", []),
        ("hhHhhh", "resolved", [6]),
        # Too mild to be told of is not healthy either.
        ("hhmhh", "open", []),
        ("hhehh", "open", []),
        ("hhmhhh", "resolved", [6]),
        ("mmmmmm", "open", []),
        # No data is neither a pass nor a fail.
        ("nnnnnnn", "open", []),
        ("hnhnih", "resolved", [6]),
        ("c", "open", [1]),
        ("ccc", "open", [1]),
        ("cH", "open", [1]),
        ("cHc", "open", [1]),
    ],
)
def test_the_life_of_an_alert(looks, state, told):
    alert, heard = walk(looks)
    assert (alert.state.value, heard) == (state, told)


def test_what_an_alert_keeps():
    alert, _ = walk("HcHhh")
    assert (alert.count, alert.severity, alert.healthy_in_a_row) == (4, Severity.CRITICAL, 2)
    assert alert.opened_at == NOW
    assert alert.last_seen_at == NOW + timedelta(minutes=15)
    resolved, _ = walk("Hhhh")
    assert resolved.resolved_at == NOW + timedelta(minutes=20)


@pytest.mark.parametrize(("letter", "state"), [("H", AlertState.ACKNOWLEDGED), ("c", AlertState.OPEN)])
def test_an_acknowledged_alert_opens_again_only_when_it_gets_worse(letter, state):
    severity = Severity.CRITICAL if letter == "c" else Severity.HIGH
    held = msgspec.structs.replace(opened(finding(), 1), state=AlertState.ACKNOWLEDGED, acknowledged_by="ann")
    following, tell = continued(held, finding(severity=severity, look=1), POLICY)
    assert (following.state, tell) == (state, state is AlertState.OPEN)
    assert following.count == 2
