"""How a model is, in one word and one sentence: drawn from the newest findings of the version that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from homeostat.dashboard.facts import QUALITY_CHECKS, ModelFacts
from homeostat.dashboard.words import SEVERITY_RANK, ago, sound
from homeostat.records import Alert, AlertState, Finding, Policy, Verdict
from homeostat.reports.format import counted, is_finite, metric_value, number, percent

LABELLED = (*QUALITY_CHECKS, "accuracy floor", "decay")
WINDOW_WORDS = {
    "performance daily": "the last day",
    "performance 7 days": "the last 7 days",
    "performance 30 days": "the last 30 days",
}
JUDGED = (Verdict.HEALTHY, Verdict.HARMED)
# Looks that were missed before it is said that nobody looks any more, and the least time that has to pass.
MISSED_LOOKS, LEAST_SILENCE = 5, timedelta(minutes=15)


@dataclass(frozen=True)
class Condition:
    """How a model is: a verdict for its sign, a word, and a sentence that goes on after the model's name."""

    verdict: str
    word: str
    sentence: str
    rank: int

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should look."""
        return self.rank >= 2


def newest(facts: ModelFacts) -> dict[str, Finding]:
    """The newest finding of each check of the version in production."""
    found: dict[str, Finding] = {}
    for finding in facts.findings:
        if finding.version == facts.status.production:
            held = found.get(finding.check)
            if held is None or finding.at >= held.at:
                found[finding.check] = finding
    return found


def is_measured(finding: Finding) -> bool:
    """Whether a look came to a verdict, and to a value that can be told."""
    return finding.verdict in JUDGED and is_finite(finding.statistic)


def metric_of(facts: ModelFacts) -> str:
    """The metric by which a model's quality is told."""
    return "accuracy" if facts.status.task.is_classification else "mae"


def metric_words(metric: str) -> str:
    """A metric inside a sentence."""
    return "accuracy" if metric == "accuracy" else "mean absolute error"


def quality_finding(found: dict[str, Finding]) -> Finding | None:
    """The finding that tells the quality now: of the shortest window that is judged, a harmed one first."""
    judged = [found[check] for check in QUALITY_CHECKS if check in found and is_measured(found[check])]
    harmed = [finding for finding in judged if finding.verdict is Verdict.HARMED]
    return next(iter(harmed or judged), None)


def drifted_words(finding: Finding) -> str:
    """How many features drifted.

    >>> from datetime import UTC
    >>> from homeostat.records import Severity
    >>> drifted_words(Finding(id="", model="m", check="drift", at=datetime(2025, 1, 1, tzinfo=UTC),
    ...     verdict=Verdict.HARMED, severity=Severity.HIGH, message="",
    ...     evidence={"features": {"a": {}, "b": {}}, "drifted": ["a"]}))
    '1 of 2 features'
    """
    features = finding.evidence.get("features")
    drifted = finding.evidence.get("drifted")
    if not isinstance(features, dict) or not isinstance(drifted, list):
        return "features"
    return f"{len(drifted):,} of {counted(len(features), 'feature')}"


def condition_of(facts: ModelFacts, now: datetime, *, simulated: bool = False) -> Condition:
    """How the model is now. What was not judged is never healthy; the worst of what was judged is said first."""
    status = facts.status
    if status.production is None:
        return Condition("pending", "not served", "is not served: no version is in production yet.", 1)
    found = newest(facts)
    if not found:
        return Condition("pending", "not looked at yet", "is served, and was not looked at yet.", 1)
    last = max(finding.at for finding in found.values())
    if not simulated and now - last > _silence(facts.policy):
        return Condition("pending", "not watched", f"is not watched: it was last looked at {ago(last, now)}.", 2)
    harmed = {check for check, finding in found.items() if finding.verdict is Verdict.HARMED}
    if harmed & set(LABELLED):
        return Condition("harmed", "degraded", f"is degraded: {_fall(facts, found)}.", 5)
    if "service" in harmed:
        return Condition("harmed", *_service(found["service"]), 5)
    broken = [check for check, finding in found.items() if finding.verdict is Verdict.ERROR]
    if broken:
        return Condition("error", "check broke", f"is not fully watched: the check '{sound(broken[0], 40)}' broke.", 4)
    quality = quality_finding(found)
    if harmed:
        return Condition("harmed", "drifting", f"drifts: {_drifts(found, harmed)}; {_holds(facts, quality)}.", 3)
    if quality is not None:
        if facts.alerts:
            return _alerted(facts.alerts)
        return Condition("healthy", "healthy", f"is healthy: {_holds(facts, quality)}.", 0)
    return Condition(*_unknown(found), 2 if _silent_labels(found) else 1)


def _alerted(alerts: Sequence[Alert]) -> Condition:
    """A model whose checks are healthy while an alert is open: nobody may take it for healthy."""
    worst = max(alerts, key=lambda alert: (alert.state is AlertState.OPEN, SEVERITY_RANK[alert.severity.value]))
    sentence = f"is healthy by its checks, but an alert is {worst.state.value}: {sound(worst.subject, 60)}."
    return Condition("inconclusive", f"alert {worst.state.value}", sentence, 2 if worst.state is AlertState.OPEN else 1)


def _silence(policy: Policy | None) -> timedelta:
    every = (policy or Policy()).drift.every_seconds
    return max(LEAST_SILENCE, timedelta(seconds=MISSED_LOOKS * every))


def _fall(facts: ModelFacts, found: dict[str, Finding]) -> str:
    metric, quality = metric_of(facts), quality_finding(found)
    if quality is not None and quality.verdict is Verdict.HARMED:
        shown = f"{metric_words(metric)} {metric_value(metric, quality.statistic)} over {WINDOW_WORDS[quality.check]}"
        if quality.threshold is None:
            return shown
        return f"{shown}, and {metric_value(metric, quality.threshold)} when it was made"
    floor = found.get("accuracy floor")
    if floor is not None and floor.verdict is Verdict.HARMED:
        return f"accuracy {percent(floor.statistic)} is below the floor of {percent(floor.threshold)}"
    decay = found.get("decay")
    if decay is None or decay.verdict is not Verdict.HARMED:
        return "a check of its labelled rows found harm"
    evidence = decay.evidence
    loss, rows, baseline = (evidence.get(name) for name in ("loss_since", "rows_since", "baseline"))
    if not (isinstance(loss, float) and isinstance(rows, int) and isinstance(baseline, float)):
        return "its loss rose"
    over = f"the last {counted(rows, 'labelled row')}"
    if metric == "accuracy":
        return f"wrong on {percent(loss)} of {over}, where up to {percent(baseline)} would be in order"
    return f"its loss is {number(loss)} over {over}, where up to {number(baseline)} would be in order"


def _service(finding: Finding) -> tuple[str, str]:
    rate = finding.evidence.get("error_rate")
    if isinstance(rate, float | int) and finding.statistic == rate:
        return "failing", f"is failing: {percent(float(rate))} of its rows."
    return "slow", f"is slow: 95 % of its answers take up to {number(finding.statistic)} ms."


def _drifts(found: dict[str, Finding], harmed: set[str]) -> str:
    parts = []
    if "drift" in harmed:
        parts.append(f"{drifted_words(found['drift'])} differ from the reference")
    if "prediction" in harmed:
        parts.append("its scores moved")
    return " and ".join(parts) or "a check found harm"


def _holds(facts: ModelFacts, quality: Finding | None) -> str:
    metric = metric_of(facts)
    if quality is None:
        return "how well it does is not known for want of labels"
    return f"{metric_words(metric)} {metric_value(metric, quality.statistic)} over {WINDOW_WORDS[quality.check]}"


def _silent_labels(found: dict[str, Finding]) -> bool:
    """Whether there is quality to be watched but no labels to tell it."""
    return any(check in found for check in QUALITY_CHECKS)


def _unknown(found: dict[str, Finding]) -> tuple[str, str, str]:
    looked = [found[check] for check in QUALITY_CHECKS if check in found]
    few = [finding for finding in looked if finding.verdict is Verdict.INSUFFICIENT]
    if few:
        rows = few[-1].window.rows if few[-1].window is not None else 0
        return (
            "insufficient",
            "quality not known",
            f"is served; how well it does is not known: {counted(rows, 'labelled row')}, too few to judge.",
        )
    return "no_data", "quality not known", "is served; how well it does is not known: no labels have come."
