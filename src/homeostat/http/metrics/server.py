"""What the data plane counts as it happens: requests, rows of the log, labels."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeostat.errors import InvalidSettings
from homeostat.http.metrics.families import Described, label_value

if TYPE_CHECKING:
    from prometheus_client import Metric

DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
LAGS = (1.0, 10.0, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY)

REQUESTS = Described(
    "model_infer_request_total",
    "counter",
    ("model", "version", "status"),
    "Requests to score, by the version that answered and the HTTP status.",
)
ROWS = Described("model_infer_rows_total", "counter", ("model", "version"), "Rows that a version answered.")
SECONDS = Described(
    "model_infer_duration_seconds", "histogram", ("model",), "Time a request to score took, in seconds."
)
SPENT = Described(
    "model_infer_seconds_total",
    "counter",
    ("model", "version", "status"),
    "Time that requests to score took together, in seconds, by the version that answered and the HTTP status.",
)
EXECUTIONS = Described(
    "model_infer_executions_total",
    "counter",
    ("model", "version"),
    "Groups of rows that a version answered at once; rows that come together are one.",
)
LAST = Described(
    "model_infer_last_timestamp_seconds",
    "gauge",
    ("model", "version"),
    "When a version last answered, in seconds since 1970.",
)
WRITTEN = Described("prediction_log_written_total", "counter", (), "Rows written to the prediction log.")
SPILLED = Described("prediction_log_spilled_total", "counter", (), "Rows written to a spill file, the log being away.")
REPLAYED = Described("prediction_log_replayed_total", "counter", (), "Rows brought from spill files into the log.")
DROPPED = Described("prediction_log_dropped_total", "counter", (), "Rows answered without being logged.")
FAILED = Described("prediction_log_failed_total", "counter", (), "Rows that the prediction log could not take.")
LEFT_OUT = Described(
    "shadow_rows_left_out_total", "counter", (), "Rows that shadows did not score, because too many waited."
)
QUEUED = Described("prediction_log_queue_depth", "gauge", (), "Rows that wait to be written to the prediction log.")
LABELS = Described("labels_total", "counter", ("model",), "Labels taken in.")
LAG = Described(
    "label_join_lag_seconds", "histogram", (), "Time from a prediction to the label that was joined to it, in seconds."
)
INGESTED = Described(
    "predictions_ingested_total",
    "counter",
    ("model", "outcome"),
    "Rows answered elsewhere that were taken in: accepted, or a duplicate of one that is logged.",
)
EVENTS = Described(
    "inference_events_total",
    "counter",
    ("outcome",),
    "Events of inferences elsewhere: paired, waiting for the other half, or dropped without it.",
)
EVENTS_WAITING = Described(
    "inference_events_waiting", "gauge", (), "Events of inferences elsewhere that wait for the other half."
)
HTTP = Described(
    "http_requests_total", "counter", ("method", "route", "status"), "HTTP requests, by the pattern of their path."
)
REFUSED = Described(
    "http_requests_refused_total", "counter", ("reason",), "Requests refused by a limit, by the setting that says it."
)
REASONS = ("requests_per_second", "concurrent_requests", "bodies_bytes")
RESTARTS = Described(
    "controllers_restarts_total", "counter", (), "Times the controllers' process had died and was started again."
)
SERVER_METRICS = (
    REQUESTS,
    ROWS,
    SECONDS,
    SPENT,
    EXECUTIONS,
    LAST,
    WRITTEN,
    SPILLED,
    REPLAYED,
    DROPPED,
    FAILED,
    LEFT_OUT,
    QUEUED,
    LABELS,
    LAG,
    INGESTED,
    EVENTS,
    EVENTS_WAITING,
    HTTP,
    REFUSED,
    RESTARTS,
)

# Empty labels are none: what a client made up becomes no series.
NOBODY = ""
SEVERAL = "several"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
MOST_MODELS = 1000
MOST_VERSIONS = 5000
MOST_ROUTES = 500
FIRST_ERROR = 400
STATUSES = range(100, 600)


class ServerMetrics:
    """The counts of one app; with `PROMETHEUS_MULTIPROC_DIR` those of every process that shares the folder.

    The names of models and versions come from clients. One becomes a label only once it is known to exist: by `admit`,
    or because it answered; until then it counts under empty labels. Raises `InvalidSettings` where that variable was
    set after `prometheus_client` had been imported, because then nothing would be shared.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

        self.shared = bool(getattr(values.ValueClass, "_multiprocess", False))
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ and not self.shared:
            raise InvalidSettings(
                "PROMETHEUS_MULTIPROC_DIR was set after prometheus_client was imported, so that processes would not "
                "share their counts. Set it before the process starts."
            )
        # Its own registry: several apps in one process must not meet in the global one.
        self._registry = CollectorRegistry()

        def counter(one: Described) -> Counter:
            return Counter(one.name, one.meaning, one.labels, registry=self._registry)

        def histogram(one: Described, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(one.name, one.meaning, one.labels, buckets=buckets, registry=self._registry)

        self._requests, self._rows = counter(REQUESTS), counter(ROWS)
        self._seconds = histogram(SECONDS, DURATIONS)
        self._spent, self._executions = counter(SPENT), counter(EXECUTIONS)
        self._last = Gauge(LAST.name, LAST.meaning, LAST.labels, registry=self._registry, multiprocess_mode="max")
        self._left_out = counter(LEFT_OUT)
        self._of_log = {
            "written": counter(WRITTEN),
            "spilled": counter(SPILLED),
            "replayed": counter(REPLAYED),
            "dropped": counter(DROPPED),
            "failed": counter(FAILED),
        }
        # Of processes that are gone nothing waits any more.
        self._queued = Gauge(QUEUED.name, QUEUED.meaning, registry=self._registry, multiprocess_mode="livesum")
        self._labels = counter(LABELS)
        self._lag = histogram(LAG, LAGS)
        self._ingested, self._events = counter(INGESTED), counter(EVENTS)
        self._events_waiting = Gauge(
            EVENTS_WAITING.name, EVENTS_WAITING.meaning, registry=self._registry, multiprocess_mode="livesum"
        )
        self._http, self._refused = counter(HTTP), counter(REFUSED)
        self._restarts = counter(RESTARTS)
        self._adding = threading.Lock()
        # Seconds, executions and the moment of the last one, since these were handed in.
        self._added: dict[tuple[str, str, int], list[float]] = {}
        self._known_models: set[str] = set()
        self._known_versions: set[tuple[str, int]] = set()
        self._known_routes: set[str] = set()
        # Looking a child up by its labels costs more than counting does.
        self._children: dict[tuple[Any, ...], Any] = {}
        # From the start, so that the first refusal is a rise.
        for reason in REASONS:
            self._child(self._refused, reason)

    def admit(self, model: str, versions: Iterable[int] = ()) -> None:
        """Let a model and some of its versions, which exist, be labels."""
        if len(self._known_models) < MOST_MODELS:
            self._known_models.add(model)
        for number in versions:
            if model in self._known_models and len(self._known_versions) < MOST_VERSIONS:
                self._known_versions.add((model, number))

    def observe_request(self, model: str, answered: Mapping[int, int], status: int, seconds: float) -> None:
        """Count a request to score, once it is answered.

        `answered` says how many rows each version answered: `{3: 1}` for one row, several entries for a batch that a
        rollout split, `{3: 0}` where version 3 was asked and failed, `{}` where none was asked.
        """
        self.observe_requests(model, answered, status, (seconds,))

    def observe_requests(self, model: str, answered: Mapping[int, int], status: int, seconds: Sequence[float]) -> None:
        """Count several requests to score that ended alike, with the time that each took."""
        if status < FIRST_ERROR:
            self.admit(model, (number for number, rows in answered.items() if rows))
        named = model if model in self._known_models else NOBODY
        known = [number for number in answered if (model, number) in self._known_versions]
        version = SEVERAL if len(known) > 1 else str(known[0]) if known else NOBODY
        self._child(self._requests, named, version, _status(status)).inc(len(seconds))
        spent = seconds[0] if len(seconds) == 1 else sum(seconds)
        duration = self._child(self._seconds, named)
        for one in seconds:
            duration.observe(max(0.0, one))
        for number in known:
            if answered[number]:
                self._child(self._rows, named, str(number)).inc(answered[number])
        at = time.time()
        with self._adding:
            added = self._added.get((named, version, status))
            if added is None:
                added = self._added[named, version, status] = [0.0, 0, 0.0]
            added[0] += spent
            if len(known) == 1 and answered[known[0]]:
                added[1] += 1
                added[2] = at
            elif known:
                self._add_executions(named, [number for number in known if answered[number]], at)
        if self.shared:
            self._hand_in()

    def count_log(self, kind: str, rows: int) -> None:
        """Count rows by what became of them: written, spilled, replayed, dropped or failed."""
        self._of_log[kind].inc(rows)

    def count_shadows_left_out(self, rows: int) -> None:
        """Count rows that were answered and logged, and that no shadow scored."""
        self._left_out.inc(rows)

    def set_queue_depth(self, rows: int) -> None:
        """Say how many rows of this process wait to be logged."""
        self._queued.set(rows)

    def count_labels(self, model: str, labels: int) -> None:
        """Count labels that were taken in for a model, which therefore exists."""
        self.admit(model)
        self._child(self._labels, model if model in self._known_models else NOBODY).inc(labels)

    def count_rows_ingested(self, model: str, accepted: int, duplicates: int) -> None:
        """Count rows that were answered elsewhere and taken in for a model, which therefore exists."""
        self.admit(model)
        named = model if model in self._known_models else NOBODY
        for outcome, rows in (("accepted", accepted), ("duplicate", duplicates)):
            if rows:
                self._child(self._ingested, named, outcome).inc(rows)

    def count_events(self, outcome: str, events: int) -> None:
        """Count events that were paired, wait for their other half, or were dropped without it."""
        if events:
            self._child(self._events, outcome).inc(events)

    def set_events_waiting(self, events: int) -> None:
        """Say how many events of this process wait for their other half."""
        self._events_waiting.set(events)

    def observe_label_lag(self, seconds: float) -> None:
        """Keep the time from a prediction to its label; a label that came first lagged by nothing."""
        if seconds == seconds:  # noqa: PLR0124 # NaN differs from itself
            self._lag.observe(max(0.0, seconds))

    def count_http(self, method: str, route: str | None, status: int, requests: int = 1) -> None:
        """Count HTTP requests; `route` is the pattern such as `/models/{model}/predict`, `None` where none fits."""
        if route is not None and route not in self._known_routes:
            if len(self._known_routes) < MOST_ROUTES:
                self._known_routes.add(route)
            else:
                route = None
        self._child(self._http, method if method in METHODS else NOBODY, route or NOBODY, _status(status)).inc(requests)

    def count_refused(self, reason: str) -> None:
        """Count a request that a limit refused; the reason is the limit's setting."""
        self._child(self._refused, reason).inc()

    def count_controllers_restart(self) -> None:
        """Count that the controllers' process had died and is started again."""
        self._restarts.inc()

    def _add_executions(self, model: str, numbers: Iterable[int], at: float) -> None:
        for number in numbers:
            added = self._added.setdefault((model, str(number), 0), [0.0, 0, 0.0])
            added[1:] = added[1] + 1, at

    def _hand_in(self) -> None:
        """Give what was added up here to the metrics: one process needs it there only when somebody looks."""
        with self._adding:
            added, self._added = self._added, {}
        for (model, version, status), (seconds, executions, last) in added.items():
            if status:
                self._child(self._spent, model, version, _status(status)).inc(max(0.0, seconds))
            if executions:
                self._child(self._executions, model, version).inc(executions)
                self._child(self._last, model, version).set(last)

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*(label_value(label) for label in labels))
        return child

    def collect(self) -> list[Metric]:
        """The families that have samples: of this app, or where processes share a port, of all of them."""
        self._hand_in()
        found = {metric.name: metric for metric in (self._shared() if self.shared else self._registry.collect())}
        families = []
        for one in SERVER_METRICS:
            metric = found.get(one.name.removesuffix("_total") if one.kind == "counter" else one.name)
            if metric is None:
                continue
            # When a series began is nobody's question here, and would double their number.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            if metric.samples:
                families.append(metric)
        return families

    @staticmethod
    def _shared() -> list[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector

        # A worker that is just starting has made its file and not filled it yet.
        files = [str(path) for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db") if _size(path)]
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]


def mark_process_dead(pid: int) -> None:
    """Forget what waits in a process that has ended; its counts stay, so that they never fall."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _status(status: int) -> str:
    return str(int(status)) if status in STATUSES else NOBODY


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
