"""Looks at what is served, check by check, and writes findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from homeostat.monitoring.checks import (
    Result,
    check_decay,
    check_drift,
    check_floor,
    check_performance,
    check_predictions,
    check_service,
    loss_baseline,
    measure,
    row_losses,
)
from homeostat.monitoring.profiles import WindowProfile
from homeostat.ports import ControlStore
from homeostat.records import (
    Finding,
    Floats,
    Policy,
    Severity,
    Verdict,
    Version,
    Window,
    as_datetime,
    as_datetime64,
)
from homeostat.stats.drift.comparison import compare_profiles, level_of_checks
from homeostat.stats.drift.scores import compare_scores
from homeostat.stats.drift.thresholds import Thresholds
from homeostat.stats.profile import Profile

DAY = timedelta(days=1)
WINDOWS = (("daily", 1), ("7 days", 7), ("30 days", 30))
FEWEST_SCORES = 50


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled rows that one version answered or ran beside, in the order in which the labels came."""

    label: np.ndarray[tuple[int], np.dtype[np.int64]]
    output: np.ndarray[tuple[int], np.dtype[np.int64]]
    score: Floats
    value: Floats
    event_time: np.ndarray[tuple[int], np.dtype[np.int64]]
    classes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.label)


@dataclass(frozen=True, slots=True)
class Watched:
    """All that the checks look at for one version; `decay` is the statistic of a loss detector carried along."""

    version: Version
    reference_profile: Profile
    reference_scores: Floats
    importances: dict[str, float]
    window: WindowProfile | None
    labelled: Labelled
    latencies: Floats
    failures: int
    decay: float | None = None


class Monitoring:
    """Runs the checks of one model and keeps their findings."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def look(self, watched: Watched, policy: Policy, *, now: datetime) -> list[Finding]:
        """Run every check; one that breaks becomes a finding itself. Findings are written once for a moment."""
        task, reference = watched.version.signature.task, watched.version.metrics
        window, labelled = watched.window, watched.labelled
        live = _window("live", window, now)
        looks: list[tuple[str, Window, Callable[[], Result | None]]] = [
            ("drift", live, lambda: _drift(watched, policy)),
            ("prediction", live, lambda: _predictions(watched, policy)),
            ("service", live, lambda: check_service(watched.latencies, watched.failures, policy.service)),
        ]
        for name, days in WINDOWS:
            start = as_datetime64(now - days * DAY).astype(np.int64)
            inside = labelled.event_time >= start
            span = Window(start=now - days * DAY, end=now, rows=int(inside.sum()), name=name)
            looks.append(
                (
                    f"performance {name}",
                    span,
                    lambda inside=inside, span=span: check_performance(  # type: ignore[misc]
                        _metrics(watched, inside), span.rows, reference, policy, task
                    ),
                )
            )
            if name == WINDOWS[0][0] and policy.performance.accuracy_floor:
                looks.append(
                    (
                        "accuracy floor",
                        span,
                        lambda inside=inside, span=span: check_floor(  # type: ignore[misc]
                            _metrics(watched, inside), span.rows, policy, task
                        ),
                    )
                )
        whole = Window(start=None, end=now, rows=labelled.rows, name="since it serves")
        looks.append(("decay", whole, lambda: _decay(watched, policy)))
        findings = [found for name, span, look in looks if (found := _finding(watched, name, span, look, now))]
        with self._store.begin() as transaction:
            for finding in findings:
                if transaction.get(Finding, finding.id) is None:
                    transaction.insert(finding)
        return findings


def _finding(
    watched: Watched, check: str, window: Window, look: Callable[[], Result | None], now: datetime
) -> Finding | None:
    try:
        result = look()
    except Exception as error:
        # Whatever breaks, a bad column or a bug of a check, must not keep the other checks from running.
        result = Result(Verdict.ERROR, Severity.HIGH, f"The check broke: {type(error).__name__}: {error}.")
    if result is None:
        return None
    model = watched.version.model
    return Finding(
        id=f"{model}:{check}:{watched.version.number}:{now.isoformat()}",
        model=model,
        check=check,
        at=now,
        verdict=result.verdict,
        severity=result.severity if result.verdict in (Verdict.HARMED, Verdict.ERROR) else Severity.NONE,
        message=result.message,
        version=watched.version.number,
        arm="production",
        window=window,
        statistic=result.statistic,
        threshold=result.threshold,
        evidence=result.evidence,
    )


def _window(name: str, window: WindowProfile | None, now: datetime) -> Window:
    if window is None:
        return Window(start=None, end=now, rows=0, name=name)
    start, end = (as_datetime(np.datetime64(moment, "us")) for moment in (window.start, window.end))
    return Window(start=start, end=end, rows=window.profile.rows, name=name)


def _drift(watched: Watched, policy: Policy) -> Result:
    if watched.window is None:
        return Result(Verdict.NO_DATA, Severity.NONE, "Nothing was served.")
    comparison = compare_profiles(
        watched.reference_profile,
        watched.window.profile,
        preset=policy.preset,
        minimum_rows=policy.drift.minimum_rows,
        # The permutation importance of a feature that the model ignores comes out a little below 0 as often as above.
        importances={name: max(0.0, value) for name, value in watched.importances.items()},
        thresholds=drift_thresholds(policy),
    )
    return check_drift(comparison, policy)


def drift_thresholds(policy: Policy) -> Thresholds:
    """What counts as drift of a feature, as the policy has it."""
    rules = policy.drift
    return Thresholds(
        ks_medium=rules.ks_medium,
        ks_high=rules.ks_high,
        ks_critical=rules.ks_critical,
        psi_low=rules.psi_low,
        psi_medium=rules.psi_medium,
        psi_critical=rules.psi_critical,
        js_medium=rules.js_medium,
        js_high=rules.js_high,
        chi_square_p=rules.chi_square_p,
        share=rules.share,
        significance=level_of_checks(rules.run_length),
        effect=rules.effect,
    )


def score_thresholds(policy: Policy) -> Thresholds:
    """What counts as drift of the scores."""
    rules = policy.prediction
    return replace(
        drift_thresholds(policy),
        ks_medium=rules.ks_p,
        effect=rules.effect,
        mean_shift=rules.mean_shift,
    )


def _predictions(watched: Watched, policy: Policy) -> Result:
    scores = watched.window.scores if watched.window is not None else np.array([])
    if len(watched.reference_scores) < FEWEST_SCORES:
        return Result(Verdict.INSUFFICIENT, Severity.NONE, "The version has too few unseen scores to compare with.")
    return check_predictions(
        compare_scores(
            watched.reference_scores,
            scores,
            preset=policy.preset,
            minimum_rows=policy.drift.minimum_rows,
            thresholds=score_thresholds(policy),
        )
    )


def _metrics(watched: Watched, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, float]:
    labelled, signature = watched.labelled, watched.version.signature
    if not inside.any():
        return {}
    positive = labelled.classes.index(signature.positive) if signature.positive in labelled.classes else None
    return measure(
        signature.task,
        labelled.label[inside],
        labelled.output[inside],
        labelled.score[inside],
        labelled.value[inside],
        classes=len(labelled.classes),
        positive=positive,
    )


def _decay(watched: Watched, policy: Policy) -> Result:
    labelled, version = watched.labelled, watched.version
    task, reference = version.signature.task, version.metrics
    losses = row_losses(task, labelled.label, labelled.output, labelled.score, labelled.value, reference)
    result = check_decay(
        losses, loss_baseline(reference, policy.performance, task), policy.performance, statistic=watched.decay
    )
    if "since" in result.evidence:
        moment = as_datetime(np.datetime64(int(labelled.event_time[result.evidence["since"]]), "us"))
        result.evidence["since_time"] = moment.isoformat()
    return result
