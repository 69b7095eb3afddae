"""Times, states and kinds of decision as people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from markupsafe import escape

from homeostat.records import Decision, Rollout, RolloutState, Severity, Step, StepKind, Verdict
from homeostat.reports.format import DAY, clipped, kind_words, number, percent, seconds, utc, when

MINUTE, HOUR = 60.0, 3600.0
# Between how many of a unit and the next larger one a time is told in it.
UNITS = (
    (90.0, MINUTE, "min", "min"),
    (90 * MINUTE, HOUR, "h", "h"),
    (36 * HOUR, DAY, "day", "days"),
    (14 * DAY, 7 * DAY, "week", "weeks"),
    (60 * DAY, 365.25 / 12 * DAY, "month", "months"),
    (730 * DAY, 365.25 * DAY, "year", "years"),
)
VERDICT_WORDS = {
    Verdict.PENDING: "not looked at yet",
    Verdict.NO_DATA: "no data",
    Verdict.INSUFFICIENT: "insufficient",
    Verdict.HEALTHY: "healthy",
    Verdict.HARMED: "harmed",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.ERROR: "check broke",
}
SEVERITY_RANK = {severity.value: severity.rank for severity in Severity}
DECISION_WORDS = {
    "retraining": "retraining began",
    "candidate": "passed its gate",
    "failed": "retraining failed",
    "completed": "rollout completed",
    "superseded": "rollout superseded",
    "aborted": "rollout aborted",
    "paused": "rollout paused",
    "resumed": "rollout resumed",
    "installed": "put into production",
}
STATE_WORDS = {
    RolloutState.RUNNING: "running",
    RolloutState.PAUSED: "paused",
    RolloutState.ROLLING_BACK: "rolling back",
    RolloutState.COMPLETED: "completed",
    RolloutState.REJECTED: "rejected",
    RolloutState.VERIFYING: "rolled back, being verified",
    RolloutState.ROLLED_BACK: "rolled back",
    RolloutState.ROLLBACK_FAILED: "rollback failed",
    RolloutState.ABORTED: "aborted",
    RolloutState.SUPERSEDED: "superseded",
}
LARGEST_LOG = 690.0
# Marks that turn the direction of what follows them: a name could pass for another one.
TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Moment:
    """A time: exact for machines, in words, and how long ago it was."""

    exact: str
    words: str
    ago: str


def moment(at: datetime, now: datetime) -> Moment:
    """A time in UTC, with seconds where it was within the hour."""
    place = seconds(at)
    far = abs(seconds(now) - place)
    return Moment(utc(place).isoformat(timespec="seconds"), when(place, min(far, 100 * DAY)), ago(at, now))


def ago(at: datetime, now: datetime) -> str:
    """How long before now, or after it, a time is.

    >>> from datetime import UTC
    >>> noon = datetime(2025, 3, 3, 12, tzinfo=UTC)
    >>> ago(noon.replace(hour=9), noon), ago(noon.replace(minute=5), noon), ago(noon, noon)
    ('3 h ago', 'in 5 min', 'just now')
    """
    passed = seconds(now) - seconds(at)
    if abs(passed) < 20:
        return "just now"
    words = length(abs(passed))
    return f"{words} ago" if passed > 0 else f"in {words}"


def length(span: float) -> str:
    """A length of time in its largest fitting unit.

    >>> length(45.0), length(5400.0), length(3 * 86400.0), length(700 * 86400.0)
    ('45 s', '2 h', '3 days', '23 months')
    """
    words = f"{span:.0f} s"
    for least, unit, one, many in UNITS:
        if span < least:
            break
        count = round(span / unit)
        words = f"{count:,} {one if count == 1 else many}"
    return words


def sound(text: str, most: int = 80) -> str:
    """Words that can be encoded, without control characters, cut so that they are under 2 × `most` bytes of HTML.

    >>> sound("x" * 9, 5), sound("<" * 99, 8)
    ('xxxx…', '<<<…')
    """
    words = clipped(text[: most + 1], most).encode("utf-8", "replace").decode("utf-8")
    words = "".join(
        "\N{REPLACEMENT CHARACTER}" if (letter < " " and letter not in "\n\t") or letter in TURNS else letter
        for letter in words
    )
    if (whole := _cost(words)) <= 2 * most:
        return words
    while whole > 2 * most - 3:
        whole -= _cost(words[-1])
        words = words[:-1]
    return words + "…"


def _cost(words: str) -> int:
    return len(str(escape(words)).encode())


def evidence(log: float | None) -> str:
    """An e-value from its natural logarithm.

    >>> evidence(math.log(20)), evidence(1000.0), evidence(-1000.0)
    ('20', 'over 10²⁹⁹', 'under 10⁻²⁹⁹')
    """
    if log is None or math.isnan(log):
        return "unknown"
    if log > LARGEST_LOG:
        return "over 10²⁹⁹"
    if log < -LARGEST_LOG:
        return "under 10⁻²⁹⁹"
    return number(math.exp(log))


def step_name(step: Step) -> str:
    """A step of a rollout, such as `canary 10 %`."""
    if step.kind is StepKind.FULL:
        return percent(1.0, 0)
    if step.kind in (StepKind.CANARY, StepKind.AB):
        kind = "A/B" if step.kind is StepKind.AB else "canary"
        return f"{kind} {share(step.weight)}"
    return step.kind.value


def share(weight: float) -> str:
    """A share of traffic: whole per cent where that says it.

    >>> share(0.1).split(), share(0.005).split()
    (['10', '%'], ['0.5', '%'])
    """
    whole = abs(100 * weight - round(100 * weight)) < 1e-6
    return percent(weight, 0 if whole else 1)


def decision_words(decision: Decision) -> str:
    """What was decided, the version first."""
    if decision.kind == "rollback" and isinstance(decision.inputs.get("to"), int):
        return f"rolled back to v{decision.inputs['to']}"
    words = sound(DECISION_WORDS.get(decision.kind) or kind_words(decision.kind), 40)
    return f"v{decision.version} {words}" if decision.version is not None else words


def rollout_words(rollout: Rollout) -> str:
    """How far a rollout is."""
    return STATE_WORDS[rollout.state]
