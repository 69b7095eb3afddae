"""A year at a phishing-detection team, lived through by a real server on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from homeostat.demo.traffic import KINDS, YEAR_START, Batch, EmailTraffic, bad_training_data
from homeostat.frames import Columns, concatenate, from_columns
from homeostat.ports import Registration
from homeostat.records import (
    ClockReport,
    Decision,
    LabelsAccepted,
    PredictionBatch,
    Promotion,
    Rollout,
    Stage,
    Version,
    as_datetime64,
)
from homeostat.stats.drift.ks import ks
from homeostat.stats.inference import mcnemar
from homeostat.stats.performance import classification_metrics

MODEL = "phishing"
TARGET, RECEIVED = "verdict", "received_at"
CLIENTS = 4
PHISHING, LEGITIMATE = "phishing", "legitimate"
STEP = timedelta(hours=12)
BAD_TRAINING = (date(2025, 10, 1), date(2025, 11, 1))
BAD_SHIPPED = datetime(2025, 11, 12, 9, tzinfo=UTC)
STABLE = (date(2025, 2, 1), date(2025, 8, 1))
DRIFT = (date(2025, 8, 1), date(2025, 9, 15))
HEALED = (date(2025, 10, 1), date(2025, 11, 24))
SMALLEST_P = 1e-300

# What a careful team sets: windows of whole weeks, since mail differs by weekday; enough of the new kind of mail to
# learn from; steps that span working days, since labels come days late.
POLICY: dict[str, Any] = {
    "drift": {"window_rows": 7_000, "minimum_rows": 3_500},
    "triggers": {"rows_since_change": 14_500, "cooldown": "3000 rows"},
    "rollout": {
        "steps": [
            "shadow for 5d and 500 pairs until decided max 30d",
            "canary 10% for 2d",
            "ab 50% for 3d until decided max 14d",
            "100%",
            "bake for 7d",
        ],
        "manual_steps": ["100%", "bake for 10d and 2000 pairs"],
    },
}


class YearServer(Protocol):
    """What the year needs of a server's client."""

    def register(self, model: str, registration: Registration, *, actor: str, reason: str) -> Version: ...
    def move(self, model: str, number: int, stage: Stage, *, actor: str, reason: str) -> Promotion: ...
    def predict_batch(
        self, model: str | None, rows: Any, *, entities: Any = None, prediction_ids: Any = None, event_times: Any = None
    ) -> PredictionBatch: ...
    def label(
        self, model: str, ids: Sequence[str], values: Sequence[Any], *, event_time: Any = None, source: str = "api"
    ) -> LabelsAccepted: ...
    def advance_clock(self, now: datetime) -> ClockReport: ...
    def decisions(self, model: str, *, limit: int = 0) -> list[Decision]: ...


@dataclass(slots=True)
class Moment:
    """What a live display shows."""

    now: datetime
    share: float
    emails: int
    version: int
    accuracy: float | None
    latest: str


@dataclass(slots=True)
class Year:
    """Everything that was served, in order, with its truth."""

    columns: Columns
    label: npt.NDArray[Any]
    times: npt.NDArray[np.datetime64]
    output: npt.NDArray[Any]
    version: npt.NDArray[np.int64]
    history: Batch
    labels_used: int

    @property
    def rows(self) -> int:
        """How many e-mails were served."""
        return len(self.label)

    def window(self, days: tuple[date, date]) -> slice:
        """The rows of a window of whole days, the last one excluded."""
        low, high = (as_datetime64(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in days)
        return slice(*(int(place) for place in np.searchsorted(self.times, [low, high])))


def live_through(
    server: YearServer,
    traffic: EmailTraffic,
    *,
    folder: Path,
    show: Callable[[Moment], None] | None = None,
) -> Year:
    """Version 1 in January, traffic and late labels all year, and the bad version that somebody ships in November.

    Mail comes from several clients at once. `folder` is for the files that are uploaded.
    """
    server.advance_clock(YEAR_START)
    history = traffic.history()
    first = _register(
        server, history, folder, actor="analyst", reason="version 1, trained on last autumn's mail", keep=True
    )
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        server.move(MODEL, first, stage, actor="analyst", reason="the year begins")
    batches: list[Batch] = []
    outputs: list[npt.NDArray[Any]] = []
    versions: list[npt.NDArray[np.int64]] = []
    waiting = _Waiting()
    shipped = False
    emails = labels = 0
    now = YEAR_START
    with ThreadPoolExecutor(CLIENTS) as clients:
        while now < traffic.end:
            following = now + STEP
            batch = traffic.batch(now, following)
            if not shipped and following >= BAD_SHIPPED:
                shipped = True
                server.advance_clock(BAD_SHIPPED)
                _ship_bad_version(server, traffic, folder)
            if batch.rows:
                output, version = _send(server, batch, clients)
                batches.append(batch)
                outputs.append(output)
                versions.append(version)
                waiting.add(batch)
                emails += batch.rows
            ids, values, moments = waiting.take(as_datetime64(following))
            if len(ids):
                labels += server.label(
                    MODEL, ids.tolist(), values.tolist(), event_time=moments, source="analyst"
                ).accepted
            server.advance_clock(following)
            if show is not None:
                show(_moment(server, batches, outputs, versions, following, traffic, emails))
            now = following
    return Year(
        columns=concatenate([batch.columns for batch in batches]),
        label=np.concatenate([batch.label for batch in batches]),
        times=np.concatenate([batch.times for batch in batches]),
        output=np.concatenate(outputs),
        version=np.concatenate(versions),
        history=history,
        labels_used=labels,
    )


def _send(
    server: YearServer, batch: Batch, clients: ThreadPoolExecutor
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Let several clients send their share of the mail at the same time."""
    shares = [slice(client, None, CLIENTS) for client in range(min(CLIENTS, batch.rows))]
    parts = [batch.take(share) for share in shares]

    def send(part: Batch) -> PredictionBatch:
        return server.predict_batch(
            MODEL, part.columns, entities=part.entities, prediction_ids=part.ids, event_times=part.times
        )

    output = np.full(batch.rows, None, dtype=object)
    version = np.zeros(batch.rows, dtype=np.int64)
    for share, answer in zip(shares, clients.map(send, parts), strict=True):
        output[share], version[share] = answer.predictions, answer.versions
    return output, version


class _Waiting:
    """Labels on their way, by the day on which they come."""

    def __init__(self) -> None:
        self._due: npt.NDArray[np.datetime64] = np.empty(0, dtype="datetime64[us]")
        self._ids: npt.NDArray[Any] = np.empty(0, dtype=object)
        self._values: npt.NDArray[Any] = np.empty(0, dtype=object)

    def add(self, batch: Batch) -> None:
        self._due = np.concatenate([self._due, batch.labelled_at])
        self._ids = np.concatenate([self._ids, batch.ids])
        self._values = np.concatenate([self._values, batch.label])

    def take(self, now: np.datetime64) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.datetime64]]:
        come = self._due <= now
        order = np.argsort(self._due[come], kind="stable")
        taken = self._ids[come][order], self._values[come][order], self._due[come][order]
        self._due, self._ids, self._values = self._due[~come], self._ids[~come], self._values[~come]
        return taken


def _register(server: YearServer, batch: Batch, folder: Path, *, actor: str, reason: str, keep: bool) -> int:
    """Upload training data, from which the server makes a version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = from_columns(batch.columns, KINDS)
    table = table.append_column(TARGET, pa.array(batch.label, pa.string()))
    table = table.append_column(RECEIVED, pa.array(batch.times.astype("datetime64[us]"), pa.timestamp("us", tz="UTC")))
    path = folder / "training.parquet"
    pq.write_table(table, path)
    registration = Registration(
        training=path, target=TARGET, time=RECEIVED, keep_training=keep, description="Is this e-mail phishing?"
    )
    return server.register(MODEL, registration, actor=actor, reason=reason).number


def _ship_bad_version(server: YearServer, traffic: EmailTraffic, folder: Path) -> None:
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in BAD_TRAINING)
    who, why = "somebody in a hurry", "looks excellent on the exported data"
    number = _register(server, bad_training_data(traffic, start, end), folder, actor=who, reason=why, keep=False)
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        server.move(MODEL, number, stage, actor=who, reason=why)


def _moment(
    server: YearServer,
    batches: list[Batch],
    outputs: list[npt.NDArray[Any]],
    versions: list[npt.NDArray[np.int64]],
    now: datetime,
    traffic: EmailTraffic,
    emails: int,
) -> Moment:
    recent = slice(-14, None)
    right = [
        float((output == batch.label).mean()) for output, batch in zip(outputs[recent], batches[recent], strict=True)
    ]
    decisions = server.decisions(MODEL, limit=1)
    return Moment(
        now=now,
        share=(now - YEAR_START) / (traffic.end - YEAR_START),
        emails=emails,
        version=int(np.bincount(versions[-1]).argmax()) if versions else 0,
        accuracy=float(np.mean(right)) if right else None,
        latest=f"{decisions[-1].kind}: {decisions[-1].reason}" if decisions else "",
    )


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What a version did in a named window; all figures are computed from what was served."""

    name: str
    version: int
    rows: int
    metrics: dict[str, float]

    @property
    def false_alerts_a_thousand(self) -> float:
        """Legitimate e-mails reported as phishing, for each thousand e-mails."""
        return 1000 * self.metrics["fp"] / max(self.rows, 1)


@dataclass(frozen=True, slots=True)
class Findings:
    """The year in figures."""

    windows: tuple[WindowFigures, ...]
    drift_feature: str
    drift_ks: float
    drift_p: float
    mcnemar_p: float
    mcnemar_sentence: str
    false_alerts_down: float
    versions_promoted: int
    rolled_back: bool


def measure_year(
    year: Year,
    outputs: Callable[[int, slice], tuple[npt.NDArray[Any], npt.NDArray[np.float64]]],
    rollouts: list[Rollout],
) -> Findings:
    """The figures of the story's windows. `outputs(version, rows)` gives what a version says of some rows."""
    healed = next((one for one in rollouts if one.promoted_at is not None and one.run is not None), None)
    after = healed.candidate if healed is not None else 1
    windows = tuple(
        _figures(year, name, number, year.window(days), outputs)
        for name, number, days in (
            ("version 1, stable (February to July)", 1, STABLE),
            ("version 1, under attack (August to mid September)", 1, DRIFT),
            (f"version {after}, healed (October to 23 November)", after, HEALED),
        )
    )
    late = year.window(HEALED)
    old, new, truth = outputs(1, late)[0], outputs(after, late)[0], year.label[late]
    wins, losses = int(((new == truth) & (old != truth)).sum()), int(((new != truth) & (old == truth)).sum())
    shown = mcnemar(wins, losses)
    feature, distance, p = _most_drifted(year)
    before, now = windows[1].false_alerts_a_thousand, windows[2].false_alerts_a_thousand
    return Findings(
        windows=windows,
        drift_feature=feature,
        drift_ks=distance,
        drift_p=p,
        mcnemar_p=shown.p,
        mcnemar_sentence=f"version {after} alone was right on {wins:,} e-mails, version 1 alone on {losses:,}",
        false_alerts_down=1 - now / before if before else 0.0,
        versions_promoted=sum(1 for one in rollouts if one.promoted_at is not None),
        rolled_back=any(one.state.was_rolled_back for one in rollouts),
    )


def _figures(
    year: Year,
    name: str,
    version: int,
    rows: slice,
    outputs: Callable[[int, slice], tuple[npt.NDArray[Any], npt.NDArray[np.float64]]],
) -> WindowFigures:
    output, score = outputs(version, rows)
    metrics = classification_metrics(
        (year.label[rows] == PHISHING).astype(np.int64),
        (output == PHISHING).astype(np.int64),
        classes=2,
        positive=1,
        scores=score,
    )
    return WindowFigures(name, version, rows.stop - rows.start, metrics)


def _most_drifted(year: Year) -> tuple[str, float, float]:
    """The numeric feature that moved most between the stable and the drift window (KS on the rows themselves)."""
    best = ("", 0.0, 1.0)
    before, after = year.window(STABLE), year.window(DRIFT)
    for name, kind in KINDS.items():
        if not kind.is_number:
            continue
        old, new = (values[np.isfinite(values)] for values in (year.columns[name][before], year.columns[name][after]))
        if len(old) and len(new):
            found = ks(old, new)
            if found.statistic > best[1]:
                best = (name, found.statistic, found.p)
    return best


def year_headline(found: Findings) -> str:
    """The story in one sentence."""
    stable, drift, healed = found.windows
    ending = " A bad version in November was taken back by itself." if found.rolled_back else ""
    return (
        f"The model caught {stable.metrics['tpr']:.0%} of the phishing until July, {drift.metrics['tpr']:.0%} under "
        f"attack, and {healed.metrics['tpr']:.0%} after it healed, with {found.false_alerts_down:.0%} fewer false "
        f"alerts.{ending}"
    )


def year_facts(found: Findings) -> tuple[tuple[str, str], ...]:
    """The key figures."""
    stable, drift, healed = (window.metrics for window in found.windows)
    return (
        ("phishing caught: stable, attacked, healed", _path(stable["tpr"], drift["tpr"], healed["tpr"])),
        ("false-positive rate", _path(stable["fpr"], drift["fpr"], healed["fpr"])),
        ("false alerts", f"{found.false_alerts_down:.0%} fewer"),
        (f"drift of {found.drift_feature}", f"KS {found.drift_ks:.2f}, {p_words(found.drift_p)}"),
        ("new against old, McNemar", p_words(found.mcnemar_p)),
    )


def _path(*shares: float) -> str:
    return " → ".join(f"{100 * share:.1f}" for share in shares) + " %"


def p_words(p: float) -> str:
    """A p-value as people write it; one too small for a float is no zero.

    >>> p_words(0.0123), p_words(0.0)
    ('p = 0.01', 'p < 1e-300')
    """
    return f"p = {p:.1g}" if p > SMALLEST_P else f"p < {SMALLEST_P:.0g}"
