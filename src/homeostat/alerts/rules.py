"""When a finding opens, continues or resolves an alert. Pure."""

from __future__ import annotations

import msgspec

from homeostat.records import Alert, AlertPolicy, AlertState, Finding, Severity, Verdict

LABELLED_QUALITY = ("performance", "decay", "accuracy floor")


def subject_of(finding: Finding) -> str:
    """What an alert is about, whatever window or version was looked at, so that one cause is one alert.

    The checks on labelled rows all see the same fall of quality, so they share a subject.
    """
    return LABELLED_QUALITY[0] if finding.check.startswith(LABELLED_QUALITY) else finding.check


def deserves(finding: Finding, policy: AlertPolicy) -> bool:
    """Whether people should hear of a finding."""
    mildest = Severity(policy.minimum_severity).rank
    return finding.verdict in (Verdict.HARMED, Verdict.ERROR) and finding.severity.rank >= mildest


def worst(findings: list[Finding]) -> Finding:
    """The finding that speaks for several of one subject: harmed, then error, then healthy, then what has no data.

    A window without rows says nothing beside one that has them.
    """
    order = (Verdict.HEALTHY, Verdict.ERROR, Verdict.HARMED)
    return max(
        findings,
        key=lambda finding: (
            order.index(finding.verdict) if finding.verdict in order else -1,
            finding.severity.rank,
        ),
    )


def opened(finding: Finding, number: int) -> Alert:
    """A new alert."""
    return Alert(
        id=f"{finding.model}-alert-{number}",
        model=finding.model,
        subject=subject_of(finding),
        state=AlertState.OPEN,
        severity=finding.severity,
        message=finding.message,
        opened_at=finding.at,
        last_seen_at=finding.at,
        finding=finding.id,
    )


def continued(alert: Alert, finding: Finding, policy: AlertPolicy) -> tuple[Alert, bool]:
    """An alert after one more look, and whether people should be told again.

    They are told when it gets more severe (an acknowledged one opens again) and when it resolves, which takes
    several healthy looks in a row: one quiet look is no recovery.
    """
    if alert.finding == finding.id:
        # Looked at already: a controller that was killed half-way looks again.
        return alert, False
    if deserves(finding, policy):
        worse = finding.severity.rank > alert.severity.rank
        return (
            msgspec.structs.replace(
                alert,
                severity=finding.severity if worse else alert.severity,
                state=AlertState.OPEN if worse else alert.state,
                message=finding.message,
                last_seen_at=finding.at,
                count=alert.count + 1,
                healthy_in_a_row=0,
                finding=finding.id,
            ),
            worse,
        )
    if finding.verdict in (Verdict.HARMED, Verdict.ERROR, Verdict.INCONCLUSIVE) and alert.healthy_in_a_row:
        # Too mild to be told of, but not healthy: the row of healthy looks starts again.
        return msgspec.structs.replace(alert, healthy_in_a_row=0), False
    if finding.verdict is not Verdict.HEALTHY:
        return alert, False
    healthy = alert.healthy_in_a_row + 1
    if healthy < policy.resolve_after:
        return msgspec.structs.replace(alert, healthy_in_a_row=healthy, finding=finding.id), False
    return (
        msgspec.structs.replace(
            alert, state=AlertState.RESOLVED, resolved_at=finding.at, healthy_in_a_row=healthy, message=finding.message
        ),
        True,
    )
