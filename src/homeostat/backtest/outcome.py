"""What a replay came to, in figures: each strategy on the same rows, and what the loop did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.connectors.tables import LabelledTable
from homeostat.frames import finite
from homeostat.ports import Predictor
from homeostat.records import Decision, Rollout, Run, Task, Version, as_datetime64
from homeostat.serving.scoring import interpret
from homeostat.stats.performance import classification_metrics, regression_metrics

BLOCKS = 10
A_POINT = 0.01
CHUNK = 50_000
FEWEST_LATER = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a backtest; `as_json` is what `--json` prints."""

    data: str
    rows: int
    strategies: dict[str, dict[str, Any]]
    retrainings: int
    promotions: int
    rollbacks: int
    false_promotions: int
    alerts: int
    labels_used: int
    decisions: list[dict[str, Any]]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "data": self.data,
            "rows": self.rows,
            "strategies": self.strategies,
            "retrainings": self.retrainings,
            "promotions": self.promotions,
            "rollbacks": self.rollbacks,
            "false_promotions": self.false_promotions,
            "alerts": self.alerts,
            "labels_used": self.labels_used,
            "decisions": self.decisions,
            "seconds": round(self.seconds, 2),
        }


def strategy_scores(table: LabelledTable, initial: int, predicted: npt.NDArray[Any]) -> dict[str, Any]:
    """`accuracy` and `f1_macro` (or `mae`) over all rows after the initial part, and `by_block`."""
    truth = table.target[initial:]
    quality = row_quality(table, initial, predicted)
    name = "mae" if table.task is Task.REGRESSION else "accuracy"
    scores: dict[str, Any] = {name: round(float(quality.mean()), 6)}
    if table.task is not Task.REGRESSION:
        scores["f1_macro"] = round(_f1_macro(truth, predicted), 6)
    else:
        scores["mae"] = round(regression_metrics(truth, predicted)["mae"], 6)
    scores["by_block"] = by_block(table.rows, initial, quality)
    return scores


def row_quality(table: LabelledTable, initial: int, predicted: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """For each row after the initial part: right (1) or wrong (0), or the absolute error."""
    truth = table.target[initial:]
    if table.task is Task.REGRESSION:
        return np.abs(truth.astype(np.float64) - predicted.astype(np.float64))
    return np.asarray(truth == predicted, dtype=np.float64)


def by_block(rows: int, initial: int, quality: npt.NDArray[np.float64]) -> list[float | None]:
    """The mean in each tenth of the table; `None` inside the initial part."""
    found: list[float | None] = []
    for block in range(BLOCKS):
        start, end = max(rows * block // BLOCKS, initial), rows * (block + 1) // BLOCKS
        part = quality[start - initial : end - initial] if end > start else quality[:0]
        found.append(round(float(part.mean()), 6) if len(part) else None)
    return found


def _f1_macro(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    names = sorted({*truth.tolist(), *predicted.tolist()})
    codes = {name: code for code, name in enumerate(names)}
    true, guess = (np.array([codes[value] for value in values], dtype=np.int64) for values in (truth, predicted))
    return classification_metrics(true, guess, classes=len(names))["f1_macro"]


def outputs_of(predictor: Predictor, version: Version, table: LabelledTable, part: slice) -> npt.NDArray[Any]:
    """What a version would have answered to some rows: classes or values."""
    found = []
    for start in range(part.start, part.stop, CHUNK):
        columns = finite(table.columns.take(slice(start, min(start + CHUNK, part.stop))))
        scored = interpret(predictor.predict(columns.select(version.signature.kinds)), version.signature)
        found.append(scored.score if table.task is Task.REGRESSION else scored.output)
    return np.concatenate(found) if found else np.array([], dtype=object)


def count_false_promotions(
    table: LabelledTable, rollouts: list[Rollout], load: Callable[[int], tuple[Predictor, Version]]
) -> int:
    """Promotions after which the new version was worse by more than a point than the one that it replaced.

    Both are scored on the same later rows: those until the next change of the production version, or to the end
    where that are too few to say.
    """
    promoted = [rollout for rollout in rollouts if rollout.promoted_at is not None]
    count = 0
    for position, rollout in enumerate(promoted):
        start = _row_after(table, rollout.promoted_at)
        ends = [_row_after(table, other.promoted_at) for other in promoted[position + 1 : position + 2]]
        if rollout.state.was_rolled_back:
            ends.append(_row_after(table, rollout.updated_at))
        end = min(ends, default=table.rows)
        if end - start < FEWEST_LATER:
            end = min(table.rows, start + FEWEST_LATER)
        if end <= start:
            continue
        part = slice(start, end)
        new, old = (_mean_quality(table, *load(number), part) for number in (rollout.candidate, rollout.baseline))
        worse = new > old * (1 + A_POINT) if table.task is Task.REGRESSION else new < old - A_POINT
        count += bool(worse)
    return count


def _row_after(table: LabelledTable, moment: Any) -> int:
    return int(np.searchsorted(table.times, as_datetime64(moment), side="right"))


def _mean_quality(table: LabelledTable, predictor: Predictor, version: Version, part: slice) -> float:
    predicted = outputs_of(predictor, version, table, part)
    truth = table.target[part]
    if table.task is Task.REGRESSION:
        return float(np.abs(truth - predicted).mean())
    return float((truth == predicted).mean())


def summarise(
    table: LabelledTable,
    strategies: dict[str, dict[str, Any]],
    decisions: list[Decision],
    runs: list[Run],
    rollouts: list[Rollout],
    *,
    false_promotions: int,
    alerts: int,
    labels_used: int,
    seconds: float,
) -> Outcome:
    """All figures in one place."""
    return Outcome(
        data=table.name,
        rows=table.rows,
        strategies=strategies,
        retrainings=len(runs),
        promotions=sum(1 for rollout in rollouts if rollout.promoted_at is not None),
        rollbacks=sum(1 for rollout in rollouts if rollout.state.was_rolled_back),
        false_promotions=false_promotions,
        alerts=alerts,
        labels_used=labels_used,
        decisions=[
            {"time": decision.at.isoformat(), "kind": decision.kind, "reason": decision.reason}
            for decision in decisions
        ],
        seconds=seconds,
    )
