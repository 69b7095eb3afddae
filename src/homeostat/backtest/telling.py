"""A replay as a story for the reports: series, marks, drift, traffic, evidence, versions. Read from the records."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.backtest.outcome import Outcome, row_quality
from homeostat.backtest.replay import Replayed
from homeostat.connectors.tables import LabelledTable
from homeostat.controllers.views import pairs_of
from homeostat.feedback.joined import Rows
from homeostat.records import (
    Decision,
    Finding,
    Policy,
    Rollout,
    RolloutState,
    StageChange,
    Task,
    Verdict,
    Version,
    as_datetime,
    as_datetime64,
)
from homeostat.reports.story import (
    DriftMap,
    EvidenceTrack,
    Mark,
    Story,
    StrategyResult,
    Traffic,
    VersionLine,
    WindowRow,
)
from homeostat.rollouts.budget import promotion_threshold, rollback_threshold
from homeostat.rollouts.evidence import Pairs
from homeostat.stats.inference import mcnemar
from homeostat.stats.sequential import betting_log_evidence, paired_log_evidence

POINTS = 120
SMOOTH_SHARE = 0.025
TRAFFIC_POINTS = 160
DRIFT_POINTS = 60
EVIDENCE_POINTS = 120
DRIFT_THRESHOLD = 0.1
MARKED = frozenset(
    {"retraining", "promotion", "rollback", "alert", "rejected", "rollout", "superseded", "failed", "aborted"}
)


def tell(
    table: LabelledTable,
    replayed: Replayed,
    predicted: dict[str, npt.NDArray[Any]],
    outcome: Outcome,
    *,
    decisions: list[Decision],
    findings: list[Finding],
    rollouts: list[Rollout],
    versions: list[Version],
    changes: list[StageChange],
    joined: Rows,
    policy: Policy,
    title: str | None = None,
    subtitle: str | None = None,
    headline: str | None = None,
    facts: tuple[tuple[str, str], ...] | None = None,
    windows: tuple[WindowRow, ...] = (),
) -> Story:
    """Everything that a report shows of a replay."""
    initial = replayed.initial
    edges = np.unique(np.linspace(initial, table.rows, POINTS + 1).round().astype(int))[1:]
    times = tuple(as_datetime(table.times[end - 1]) for end in edges)
    is_regression = table.task is Task.REGRESSION
    metric = "mae" if is_regression else "accuracy"
    width = max(round(SMOOTH_SHARE * table.rows), 20)
    strategies = tuple(
        StrategyResult(
            name=name,
            scores={key: value for key, value in scores.items() if key != "by_block"},
            by_block=tuple(scores["by_block"]),
            series=_rolling(row_quality(table, initial, predicted[name]), edges - initial, width),
        )
        for name, scores in outcome.strategies.items()
    )
    end = as_datetime(table.times[-1])
    return Story(
        title=title or f"Backtest of {table.name}",
        subtitle=subtitle
        or f"{table.rows:,} rows, target {table.target_name}, {table.task.value}; the first {initial:,} rows made "
        "version 1, the rest was replayed through the loop",
        headline=headline or make_headline(outcome, metric, table, replayed),
        facts=facts if facts is not None else make_facts(outcome, metric),
        metric=metric,
        target=table.target_name,
        rows=table.rows - initial,
        times=times,
        strategies=strategies,
        initial_until=as_datetime(table.times[initial - 1]) if initial else None,
        marks=make_marks(decisions),
        drift=make_drift(findings),
        traffic=make_traffic(table, replayed),
        evidence=tuple(make_evidence(joined, rollouts, versions, policy)),
        versions=tuple(_version_line(version, changes, end) for version in versions),
        windows=windows,
        findings=table.findings,
        simulated_times=not table.has_own_times,
    )


def _rolling(quality: npt.NDArray[np.float64], ends: npt.NDArray[np.intp], width: int) -> tuple[float | None, ...]:
    total = np.concatenate([[0.0], np.cumsum(quality)])
    starts = np.maximum(ends - width, 0)
    return tuple(
        float((total[end] - total[start]) / (end - start)) if end > start else None
        for start, end in zip(starts, ends, strict=True)
    )


def make_headline(outcome: Outcome, metric: str, table: LabelledTable, replayed: Replayed) -> str:
    """One sentence that says what self-healing would have done."""
    healed, static = outcome.strategies["healed"], outcome.strategies["static"]
    name = "mean absolute error" if metric == "mae" else "accuracy"
    rows = f"{table.rows - replayed.initial:,} rows"
    if not outcome.promotions:
        ending = "nothing was retrained" if not outcome.retrainings else "no candidate proved better"
        return f"The first model held: {name} {healed[metric]:.3g} over {rows}, and {ending}."
    times = "once" if outcome.promotions == 1 else f"{outcome.promotions} times"
    if metric == "mae":
        return (
            f"Self-healing replaced the model {times}: {name} {healed[metric]:.3g} over {rows}, against "
            f"{static[metric]:.3g} had it been left alone."
        )
    last = [(a, b) for a, b in zip(healed["by_block"], static["by_block"], strict=True) if a is not None]
    late, alone = (float(np.mean([pair[side] for pair in last[len(last) // 2 :]])) for side in (0, 1))
    return (
        f"Self-healing replaced the model {times}: {name} {late:.1%} in the later half, against {alone:.1%} had "
        "the first model been left alone."
    )


def make_facts(outcome: Outcome, metric: str) -> tuple[tuple[str, str], ...]:
    """The key figures."""
    healed, static = outcome.strategies["healed"][metric], outcome.strategies["static"][metric]
    pattern = "{:.4g}" if metric == "mae" else "{:.1%}"
    name = "mean absolute error" if metric == "mae" else "accuracy"
    return (
        (f"{name}, healed", pattern.format(healed)),
        (f"{name}, left alone", pattern.format(static)),
        ("promotions", f"{outcome.promotions} of {outcome.retrainings} retrainings"),
        ("rolled back", str(outcome.rollbacks)),
        ("labels used", f"{outcome.labels_used:,}"),
    )


def make_marks(decisions: list[Decision]) -> tuple[Mark, ...]:
    """The decisions worth a mark, oldest first."""
    return tuple(
        Mark(at=decision.at, kind=decision.kind, reason=decision.reason, version=decision.version)
        for decision in decisions
        if decision.kind in MARKED
    )


def make_drift(findings: list[Finding]) -> DriftMap | None:
    """Effect sizes by feature and time, thinned to what a picture can show."""
    looks = [
        finding
        for finding in findings
        if finding.check == "drift" and finding.verdict in (Verdict.HEALTHY, Verdict.HARMED)
    ]
    if not looks:
        return None
    chosen = [looks[i] for i in np.unique(np.linspace(0, len(looks) - 1, DRIFT_POINTS).round().astype(int))]
    features = tuple(chosen[0].evidence["features"])
    values, drifted = [], []
    for name in features:
        cells = [look.evidence["features"].get(name, {}) for look in chosen]
        values.append(tuple(cell.get("effect") for cell in cells))
        drifted.append(tuple(bool(cell.get("drifted")) for cell in cells))
    return DriftMap(
        features=features,
        times=tuple(look.at for look in chosen),
        values=tuple(values),
        threshold=DRIFT_THRESHOLD,
        drifted=tuple(drifted),
    )


def make_traffic(table: LabelledTable, replayed: Replayed) -> Traffic:
    """The share of rows that each version answered, in equal stretches of rows."""
    edges = np.unique(
        np.linspace(0, len(replayed.version), min(TRAFFIC_POINTS, len(replayed.version)) + 1).round().astype(int)
    )
    numbers = np.unique(replayed.version)
    parts = [replayed.version[start:end] for start, end in pairwise(edges)]
    times = tuple(as_datetime(table.times[replayed.initial + end - 1]) for end in edges[1:])
    return Traffic(times=times, shares={int(n): tuple(float((part == n).mean()) for part in parts) for n in numbers})


def make_evidence(
    joined: Rows, rollouts: list[Rollout], versions: list[Version], policy: Policy
) -> list[EvidenceTrack]:
    """How the evidence of each rollout grew with its labelled pairs."""
    by_number = {version.number: version for version in versions}
    found = []
    for rollout in rollouts:
        pairs = _until(pairs_of(joined, rollout, by_number[rollout.baseline]), rollout)
        if pairs.count == 0:
            continue
        counts = np.unique(np.linspace(1, pairs.count, min(EVIDENCE_POINTS, pairs.count)).round().astype(int))
        better, worse, wins, losses = _paths(pairs)
        at = counts - 1
        won, lost = int(wins[-1]), int(losses[-1])
        found.append(
            EvidenceTrack(
                title=f"Version {rollout.candidate} against {rollout.baseline}",
                candidate=rollout.candidate,
                baseline=rollout.baseline,
                times=tuple(as_datetime(np.datetime64(int(pairs.event_time[i]), "us")) for i in at),
                pairs=tuple(int(count) for count in counts),
                log_better=tuple(float(better[i]) for i in at),
                log_worse=tuple(float(worse[i]) for i in at),
                log_threshold_promote=promotion_threshold(policy),
                log_threshold_rollback=rollback_threshold(policy),
                outcome=_outcome_words(rollout),
                sentence=(
                    f"Version {rollout.candidate} alone was right on {won:,} rows, version {rollout.baseline} alone on "
                    f"{lost:,} (McNemar, exact: p = {mcnemar(won, lost).p:.2g})."
                ),
            )
        )
    return found


def _until(pairs: Pairs, rollout: Rollout) -> Pairs:
    if rollout.state.is_under_way:
        return pairs
    end = as_datetime64(rollout.updated_at).astype(np.int64)
    return pairs.take(pairs.event_time <= end)


def _paths(
    pairs: Pairs,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if pairs.task is Task.REGRESSION:
        new, old = np.abs(pairs.candidate - pairs.truth), np.abs(pairs.baseline - pairs.truth)
        wins, losses = np.cumsum(new < old), np.cumsum(new > old)
        return (
            betting_log_evidence(old - new, pairs.error_bound),
            betting_log_evidence(new - old, pairs.error_bound),
            wins,
            losses,
        )
    right, held = pairs.candidate == pairs.truth, pairs.baseline == pairs.truth
    wins, losses = np.cumsum(right & ~held), np.cumsum(~right & held)
    return paired_log_evidence(wins, losses), paired_log_evidence(losses, wins), wins, losses


def _outcome_words(rollout: Rollout) -> str:
    words = {
        RolloutState.COMPLETED: "promoted",
        RolloutState.REJECTED: "rejected",
        RolloutState.SUPERSEDED: "superseded",
        RolloutState.ABORTED: "aborted",
    }
    return "rolled back" if rollout.state.was_rolled_back else words.get(rollout.state, "under way")


def _version_line(version: Version, changes: list[StageChange], end: datetime) -> VersionLine:
    mine = [change for change in changes if change.version == version.number]
    spans = [
        (change.target.value, change.at, mine[position + 1].at if position + 1 < len(mine) else end)
        for position, change in enumerate(mine)
    ]
    algorithm = str(version.parameters.get("algorithm", "")).replace("_", " ")
    window = str(version.parameters.get("window", "")).replace("_", " ")
    description = ", ".join(part for part in (algorithm, f"window {window}" if window else "") if part)
    return VersionLine(
        number=version.number,
        created_at=version.created_at,
        description=description or version.serving.format,
        rows=version.lineage.rows,
        metrics={name: value for name, value in version.metrics.items() if name in ("accuracy", "roc_auc", "mae")},
        spans=tuple(spans),
    )
