"""The control state as metrics, read when somebody scrapes: everything here is stored, so restarts lose nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from homeostat.controllers.confirmation import SILENT
from homeostat.http.metrics.families import Described, Families, number_of
from homeostat.ports import ControlPlane
from homeostat.records import Finding, ModelStatus, Rollout, RunState, Severity, Stage, Verdict
from homeostat.registry.service import MODEL_FOLDER

if TYPE_CHECKING:
    from prometheus_client import Metric

STATE_METRICS = (
    Described("homeostat_state_up", "gauge", (), "1 where all of the control state could be read, else 0."),
    Described("ml_models_total", "untyped", (), "Models."),
    Described(
        "ml_model_file_size_bytes", "gauge", ("model", "version"), "Size of the files that a version is served from."
    ),
    Described(
        "ml_model_promotion_total",
        "counter",
        ("model",),
        "Times a version was put into production, rollbacks left out.",
    ),
    Described("homeostat_route", "gauge", ("model",), "Lowest number of the route that a living gateway serves."),
    Described("homeostat_route_newest", "gauge", ("model",), "Number of the newest route."),
    Described(
        "homeostat_gateway_seen_seconds", "gauge", ("gateway",), "Time since a gateway was last heard of, in seconds."
    ),
    Described("ml_experiment_active_total", "untyped", ("model",), "Experiments and rollouts under way."),
    Described(
        "ml_experiment_traffic",
        "gauge",
        ("model", "version", "arm"),
        "Share of the traffic that the route gives an arm.",
    ),
    Described(
        "ml_experiment_metric",
        "gauge",
        ("model", "experiment", "metric"),
        "Evidence of the newest experiment or rollout.",
    ),
    Described(
        "model_drift", "gauge", ("model", "version"), "Share of the features of the production version that drifted."
    ),
    Described(
        "drift_detected", "gauge", ("model", "version"), "1 where the newest window drifted as a whole, 0 where not."
    ),
    Described(
        "ml_drift_score", "gauge", ("model", "version", "feature"), "Effect of a feature's drift, from 0 (none) to 1."
    ),
    Described("psi_score", "gauge", ("model", "feature"), "Population stability index of a feature."),
    Described("ks_statistic", "gauge", ("model", "feature"), "Kolmogorov-Smirnov distance of a numeric feature."),
    Described("ml_drift_alerts_total", "counter", ("model",), "Alerts about drift that were opened."),
    Described(
        "model_accuracy",
        "gauge",
        ("model", "version"),
        "Accuracy of the production version in the shortest window with enough labels.",
    ),
    Described("homeostat_open_alerts", "gauge", ("model", "severity"), "Alerts that are not resolved."),
    Described("labels_unmatched_total", "untyped", ("model",), "Labels that wait for their prediction."),
    Described(
        "model_integrity_failures_total",
        "counter",
        ("model",),
        "Findings of stored files that were not what was hashed.",
    ),
    Described(
        "ml_pipeline_updates_total", "counter", ("model", "outcome"), "Retrainings that ended, by their outcome."
    ),
    Described(
        "ml_pipeline_samples_processed", "gauge", ("model",), "Rows that the newest trained candidate was fitted on."
    ),
    Described(
        "ml_pipeline_accuracy",
        "gauge",
        ("model",),
        "Accuracy, on later rows, of the newest candidate that passed its gate.",
    ),
)

CACHE_SECONDS = 5.0
# Other scrapes are given what is held while one reads; past this age it is no answer any more.
STALE_SECONDS = 60.0
# Reading takes at most one part in so many of the time, however large the state is.
REST = 10
MOST_MODELS = 200
MOST_FEATURES = 50
MOST_VERSIONS = 20
MOST_GATEWAYS = 100
MOST_EVIDENCE = 30
# A gateway that died is shown for so long, so that people hear of it.
FORGET_SECONDS = 3600.0
EVIDENCE_DECISIONS = 200
# How many of the newest records are read to find the last that was counted, before all are.
RECENT_RECORDS = (20, 400)
MOST_FINDINGS = 100_000
JUDGED = (Verdict.HEALTHY, Verdict.HARMED)
PERFORMANCE_CHECKS = ("performance daily", "performance 7 days", "performance 30 days")
PROMOTIONS = ("promotion", "installed")
OUTCOMES = (RunState.SUCCEEDED, RunState.REJECTED, RunState.FAILED)

_LOG = logging.getLogger("homeostat.http")


class Keyed(Protocol):
    """A record with a key."""

    @property
    def key(self) -> str:
        """The key."""
        ...


class Counted:
    """Counts append-only records by a name, reading only the newest once the others were counted.

    `read` gives the newest so many, oldest first, and with 0 all.
    """

    def __init__(self, read: Callable[[int], Sequence[Any]], name: Callable[[Any], str | None]) -> None:
        self._read = read
        self._name = name
        self._last: str | None = None
        self._counts: Counter[str] = Counter()

    def counts(self) -> Counter[str]:
        """How many there are of each name."""
        records: Sequence[Keyed] = ()
        for limit in RECENT_RECORDS if self._last is not None else (RECENT_RECORDS[0],):
            records = self._read(limit)
            known = [place for place, record in enumerate(records) if record.key == self._last]
            if known:
                records = records[known[0] + 1 :]
                break
        else:
            # The first look, or more than that came since the last one: count all anew.
            if self._last is not None or len(records) >= RECENT_RECORDS[0]:
                records = self._read(0)
            self._counts = Counter()
        if records:
            self._counts.update(name for record in records if (name := self._name(record)) is not None)
            self._last = records[-1].key
        return self._counts


class StateCollector:
    """Reads the control state for scrapes, at most once every `cache_seconds` of a clock that never goes back.

    Where reading takes longer than a tenth of that, it rests longer, up to a minute.
    A state that can't be read, in whole or in part, is left out, and `homeostat_state_up` is 0; a scrape never fails.
    `machine_now` is the machine's time, by which gateways say that they live.
    """

    def __init__(
        self,
        control: ControlPlane,
        *,
        cache_seconds: float = CACHE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        machine_now: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:
        self._control = control
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._machine_now = machine_now
        self._reading = threading.Lock()
        self._held: tuple[float, list[Metric]] | None = None
        self._rest = cache_seconds
        self._decisions: dict[str, Counted] = {}
        self._integrity: dict[str, Counted] = {}
        self._experiments: dict[str, tuple[Rollout, dict[str, Any]]] = {}
        self._failing: set[str] = set()

    def collect(self) -> list[Metric]:
        """The families, at most so many seconds old."""
        held = self._held
        if held is not None and self._monotonic() - held[0] < self._rest:
            return held[1]
        # One scrape reads. Others would only make a slow store slower, so they are not let through.
        if not self._reading.acquire(timeout=STALE_SECONDS if held is None else 0):
            is_stale = held is None or self._monotonic() - held[0] >= STALE_SECONDS
            return _down() if held is None or is_stale else held[1]
        try:
            held = self._held
            if held is None or self._monotonic() - held[0] >= self._rest:
                began = self._monotonic()
                families, ended = self._read(), self._monotonic()
                self._rest = min(max(self._cache_seconds, REST * (ended - began)), STALE_SECONDS)
                held = self._held = (ended, families)
            return held[1]
        finally:
            self._reading.release()

    def _read(self) -> list[Metric]:
        found = Families(STATE_METRICS)
        statuses: list[ModelStatus] = []
        failing: set[str] = set()

        def attempt(what: str, read: Callable[[], None]) -> None:
            try:
                read()
            except Exception as error:
                # Whatever broke, a scrape shows the rest, and says that this is missing.
                failing.add(what)
                if what not in self._failing:
                    _LOG.warning("%s can't be read for /metrics: %s: %s", what, type(error).__name__, error)

        attempt("The state", lambda: statuses.extend(self._control.status()))
        if not failing:
            found.add("ml_models_total", len(statuses))
        for status in statuses[:MOST_MODELS]:
            for name, part in (
                ("status", self._add_status),
                ("versions", self._add_versions),
                ("routes", self._add_gateways),
                ("drift", self._add_drift),
                ("accuracy", self._add_accuracy),
                ("decisions", self._add_counts),
                ("runs", self._add_runs),
                ("experiments", self._add_experiment),
            ):
                attempt(f"{name} of '{status.model}'", lambda part=part, status=status: part(found, status))  # type: ignore[misc]
        found.add("homeostat_state_up", not failing)
        self._failing = failing
        return found.families()

    def _add_status(self, found: Families, status: ModelStatus) -> None:
        found.add("labels_unmatched_total", status.unmatched, status.model)
        found.add("ml_experiment_active_total", int(status.rollout is not None), status.model)
        for severity in list(Severity)[1:]:
            count = sum(alert.severity is severity for alert in status.open_alerts)
            found.add("homeostat_open_alerts", count, status.model, severity.value)
        if status.route is not None:
            found.add("homeostat_route_newest", status.route.number, status.model)
            for arm in status.route.arms:
                found.add("ml_experiment_traffic", arm.weight, status.model, arm.version, arm.name)

    def _add_versions(self, found: Families, status: ModelStatus) -> None:
        versions = self._control.versions(status.model)
        shown = [version for version in versions[:-MOST_VERSIONS] if version.stage is Stage.PRODUCTION]
        for version in [*shown, *versions[-MOST_VERSIONS:]]:
            size = sum(entry.size for entry in version.manifest.files if entry.path.startswith(MODEL_FOLDER))
            found.add("ml_model_file_size_bytes", size, status.model, version.number)

    def _add_gateways(self, found: Families, status: ModelStatus) -> None:
        now = self._machine_now()
        gateways = [one for one in self._control.routes(status.model, limit=1).gateways if not one.stopped]
        living = [one for one in gateways if now - one.seen_at < SILENT and status.model in one.routes]
        if living:
            found.add("homeostat_route", min(one.routes[status.model] for one in living), status.model)
        for one in sorted(gateways, key=lambda one: one.seen_at, reverse=True)[:MOST_GATEWAYS]:
            silent = (now - one.seen_at).total_seconds()
            if silent < FORGET_SECONDS:
                found.add("homeostat_gateway_seen_seconds", max(0.0, silent), one.name)

    def _newest(self, status: ModelStatus, check: str) -> Finding | None:
        """The newest finding of a check that judged the version which is in production now."""
        finding = next(iter(self._control.findings(status.model, check=check, limit=1)), None)
        if finding is None or finding.verdict not in JUDGED or finding.version != status.production:
            return None
        return finding

    def _add_drift(self, found: Families, status: ModelStatus) -> None:
        finding = self._newest(status, "drift")
        if finding is None:
            return
        model, version = status.model, finding.version
        found.add("model_drift", finding.statistic, model, version)
        found.add("drift_detected", finding.verdict is Verdict.HARMED, model, version)
        features: dict[str, dict[str, Any]] = finding.evidence.get("features", {})
        strongest = sorted(features, key=lambda name: -(number_of(features[name].get("effect")) or 0.0))
        for name in strongest[:MOST_FEATURES]:
            found.add("ml_drift_score", features[name].get("effect"), model, version, name)
            found.add("psi_score", features[name].get("psi"), model, name)
            found.add("ks_statistic", features[name].get("ks"), model, name)

    def _add_accuracy(self, found: Families, status: ModelStatus) -> None:
        for check in PERFORMANCE_CHECKS:
            finding = self._newest(status, check)
            if finding is not None:
                found.add("model_accuracy", finding.evidence["metrics"].get("accuracy"), status.model, finding.version)
                return

    def _add_counts(self, found: Families, status: ModelStatus) -> None:
        model, control = status.model, self._control
        decisions = self._decisions.setdefault(
            model, Counted(lambda limit: control.decisions(model, limit=limit), _counted_as)
        ).counts()
        found.add("ml_model_promotion_total", decisions["promotion"], model)
        found.add("ml_drift_alerts_total", decisions["drift alert"], model)
        integrity = self._integrity.setdefault(
            model,
            Counted(
                lambda limit: control.findings(model, check="integrity", limit=limit or MOST_FINDINGS),
                lambda finding: finding.check,
            ),
        )
        found.add("model_integrity_failures_total", integrity.counts().total(), model)

    def _add_runs(self, found: Families, status: ModelStatus) -> None:
        model = status.model
        runs = self._control.runs(model)
        ended = Counter(run.state for run in runs)
        for outcome in OUTCOMES:
            found.add("ml_pipeline_updates_total", ended[outcome], model, outcome.value)
        fitted = [rows for run in runs if (rows := number_of(run.evidence.get("rows"))) is not None]
        if fitted:
            found.add("ml_pipeline_samples_processed", fitted[-1], model)
        made = [run.version for run in runs if run.state is RunState.SUCCEEDED and run.version is not None]
        if made:
            found.add("ml_pipeline_accuracy", self._control.version(model, made[-1]).metrics.get("accuracy"), model)

    def _add_experiment(self, found: Families, status: ModelStatus) -> None:
        model = status.model
        rollout = next(iter(reversed(self._control.rollouts(model))), None)
        if rollout is None:
            return
        held = self._experiments.get(model)
        if held is None or held[0] != rollout or not rollout.state.is_final:
            # What ended stays as it is, so that its evidence is read once.
            held = self._experiments[model] = (rollout, self._evidence(rollout))
        numbers = {name: number for name, value in held[1].items() if (number := number_of(value)) is not None}
        if not numbers.get("pairs"):
            # Without pairs there is no accuracy of either side, only the zeros that stand for it.
            numbers = {name: number for name, number in numbers.items() if name not in ("candidate", "baseline")}
        for name in list(numbers)[:MOST_EVIDENCE]:
            found.add("ml_experiment_metric", numbers[name], model, rollout.id, name)

    def _evidence(self, rollout: Rollout) -> dict[str, Any]:
        """What is known of a rollout: as it stands while it is under way, and then what ended it."""
        if not rollout.state.is_final:
            every = self._control.experiments(rollout.model)
            return next((one.evidence for one in reversed(every) if one.id == rollout.id), {})
        for decision in reversed(self._control.decisions(rollout.model, limit=EVIDENCE_DECISIONS)):
            if decision.inputs.get("rollout") == rollout.id and "pairs" in decision.inputs:
                return decision.inputs
        return {}


def _counted_as(decision: Any) -> str | None:
    if decision.kind in PROMOTIONS:
        return "promotion"
    return "drift alert" if decision.kind == "alert" and decision.rule == "drift" else None


def _down() -> list[Metric]:
    found = Families(STATE_METRICS)
    found.add("homeostat_state_up", value=0)
    return found.families()
