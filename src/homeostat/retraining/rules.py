"""What data must be like to train on, how candidates are divided, and what a candidate must show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns
from homeostat.records import DataPolicy, GatePolicy, Signature, Task, TrainingPolicy
from homeostat.retraining.algorithms import missing_share
from homeostat.stats.inference import mcnemar
from homeostat.stats.performance import choose_threshold, classification_metrics, regression_metrics

FEWEST_EVALUATION = 20
MOST_EVALUATION = 2_000
MICROSECONDS_A_DAY = 86_400 * 1_000_000


def evaluation_rows(rows: int, change: int | None, share: float) -> int:
    """How many of the latest rows candidates are compared on: a share of those since the change, or of all."""
    fresh = rows if change is None else rows - change
    most = min(MOST_EVALUATION, rows // 2)
    return int(np.clip(round(share * fresh), min(FEWEST_EVALUATION, most), most))


def check_data(
    columns: Columns, target: npt.NDArray[Any], times: npt.NDArray[np.int64], task: Task, policy: DataPolicy
) -> list[str]:
    """What is wrong with the rows to train on; empty where they pass the gates."""
    problems = []
    rows = columns.rows
    if rows < policy.minimum_rows:
        problems.append(f"{rows:,} labelled rows, at least {policy.minimum_rows:,} are needed")
    share = missing_share(columns)
    if share > policy.maximum_missing:
        problems.append(f"{share:.1%} of the values are missing, at most {policy.maximum_missing:.0%} may be")
    if policy.maximum_duplicates < 1 and rows:
        copies = duplicate_share(columns)
        if copies > policy.maximum_duplicates:
            problems.append(f"{copies:.1%} of the rows are duplicates, at most {policy.maximum_duplicates:.0%} may be")
    days = (int(times.max()) - int(times.min())) / MICROSECONDS_A_DAY if len(times) else 0.0
    if days < policy.minimum_days:
        problems.append(f"the rows span {days:.1f} days, at least {policy.minimum_days:g} are needed")
    if task.is_classification and len(set(target.tolist())) < 2:
        problems.append("the labels have one class only")
    return problems


def duplicate_share(columns: Columns) -> float:
    """The share of rows that are exact copies of an earlier one."""
    rows = columns.rows
    codes = np.column_stack([np.unique(values.astype(str), return_inverse=True)[1] for values in columns.values()])
    return 1 - len(np.unique(codes, axis=0)) / rows if rows else 0.0


@dataclass(frozen=True, slots=True)
class GateResult:
    """Candidate against production on the same later rows."""

    passed: bool
    reason: str
    gain: float
    p: float
    evidence: dict[str, Any]


def gate_classification(
    truth: npt.NDArray[Any],
    candidate: npt.NDArray[Any],
    production: npt.NDArray[Any],
    policy: GatePolicy,
    *,
    candidate_auc: float | None = None,
    production_auc: float | None = None,
    accuracy_floor: float = 0.0,
) -> GateResult:
    """Pass where the gain reaches the margin and McNemar's exact test, one-sided, its level (McNemar 1947)."""
    right, held = candidate == truth, production == truth
    wins, losses = int((right & ~held).sum()), int((~right & held).sum())
    rows = len(truth)
    accuracy, before = float(right.mean()), float(held.mean())
    gain, named = accuracy - before, "accuracy"
    values = (accuracy, before)
    if policy.metric == "roc_auc" and candidate_auc is not None and production_auc is not None:
        gain, named, values = candidate_auc - production_auc, "ROC-AUC", (candidate_auc, production_auc)
    p = sign_test(wins, losses)
    shown = mcnemar(wins, losses)
    passed = gain >= policy.minimum_gain and p <= policy.maximum_p and accuracy >= accuracy_floor
    reason = (
        f"{named} {values[0]:.3f} against {values[1]:.3f} on the same {rows:,} later rows "
        f"({wins} won, {losses} lost, one-sided p {p:.3g})"
    )
    if accuracy < accuracy_floor:
        reason += f", below the floor of {accuracy_floor:.2f}"
    return GateResult(
        passed,
        reason,
        gain,
        p,
        {
            "rows": rows,
            "wins": wins,
            "losses": losses,
            "candidate": values[0],
            "production": values[1],
            "mcnemar_p": shown.p,
            "p": p,
            "gain": gain,
        },
    )


def gate_regression(
    truth: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    production: npt.NDArray[np.float64],
    policy: GatePolicy,
) -> GateResult:
    """Pass where the mean absolute error falls by the margin (relative) and the sign test reaches its level."""
    new, old = np.abs(candidate - truth), np.abs(production - truth)
    wins, losses = int((new < old).sum()), int((new > old).sum())
    before = float(old.mean())
    gain = (before - float(new.mean())) / before if before else 0.0
    p = sign_test(wins, losses)
    reason = (
        f"mean absolute error {new.mean():.4g} against {before:.4g} on the same {len(truth):,} later rows "
        f"(closer on {wins}, farther on {losses}, one-sided p {p:.3g})"
    )
    return GateResult(
        gain >= policy.minimum_gain and p <= policy.maximum_p,
        reason,
        gain,
        p,
        {
            "rows": len(truth),
            "wins": wins,
            "losses": losses,
            "candidate": float(new.mean()),
            "production": before,
            "p": p,
            "gain": gain,
        },
    )


def sign_test(wins: int, losses: int) -> float:
    """One-sided exact p of at least so many wins if wins and losses were equally likely.

    >>> round(sign_test(5, 0), 5)
    0.03125
    """
    from scipy.special import bdtrc

    return 1.0 if wins == 0 else float(bdtrc(wins - 1, wins + losses, 0.5))


def threshold_parameters(
    truth: npt.NDArray[Any], scores: npt.NDArray[np.float64], signature: Signature, policy: TrainingPolicy
) -> dict[str, Any]:
    """The threshold of a binary version by the policy's costs, and how it was chosen; empty where the costs are equal.

    `scores` are the positive class' on evaluation rows, which the model that gave them had not seen.
    """
    costs = policy.cost_false_positive, policy.cost_false_negative
    if costs[0] == costs[1] or signature.task is not Task.BINARY or signature.positive is None or not len(scores):
        return {}
    chosen = choose_threshold(truth == signature.positive, scores, false_positive=costs[0], false_negative=costs[1])
    record = {**asdict(chosen), "cost_false_positive": costs[0], "cost_false_negative": costs[1]}
    return {"threshold": chosen.threshold, "threshold_choice": record}


def offline_metrics(
    truth: npt.NDArray[Any], raw: npt.NDArray[np.float64], classes: tuple[str, ...], signature: Signature
) -> dict[str, float]:
    """Metrics of raw outputs (columns in the order of `classes`) on rows whose truth is known."""
    if not signature.task.is_classification:
        return regression_metrics(truth.astype(np.float64), raw)
    every = list(dict.fromkeys([*classes, *truth.tolist()]))
    codes = {name: code for code, name in enumerate(every)}
    positive = codes.get(signature.positive) if signature.positive is not None else None
    return classification_metrics(
        np.array([codes[value] for value in truth], dtype=np.int64),
        raw.argmax(axis=1),
        classes=len(every),
        positive=positive if signature.task is Task.BINARY else None,
        scores=raw[:, classes.index(signature.positive)] if signature.positive in classes else None,
    )
