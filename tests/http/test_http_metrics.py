from __future__ import annotations

import math
import os
import re
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from homeostat.errors import InvalidSettings
from homeostat.http.metrics import ServerMetrics, StateCollector, exposition, label_value
from homeostat.http.metrics.families import LONGEST_LABEL
from homeostat.http.metrics.server import SERVER_METRICS
from homeostat.http.metrics.state import (
    CACHE_SECONDS,
    FORGET_SECONDS,
    MOST_FEATURES,
    RECENT_RECORDS,
    STALE_SECONDS,
    STATE_METRICS,
    Counted,
)
from homeostat.journal import record_decision
from homeostat.records import Alert, AlertState, Finding, GatewayReport, Run, Severity, Stage, Trigger, Verdict
from homeostat.records.enums import RunState, TriggerKind
from homeostat.settings import load
from homeostat.wiring import open_system

ROOT = Path(__file__).parents[2]
MACHINE = datetime(2026, 1, 2, tzinfo=UTC)
HOSTILE = ('quo"te', "new\nline", "back\\slash", "naïve ☃ 模型", "\ud800lone", "nul\0bell\a", "", "}{,=")


class Ticks:
    """A monotonic clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Spied:
    """The real control plane, with a count of what it was asked, and something to happen first."""

    def __init__(self, control: Any) -> None:
        self.control = control
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.before: Callable[[str], None] = lambda name: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.control, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.asked.append((name, named))
            self.before(name)
            return method(*arguments, **named)

        return call

    def count(self, name: str) -> int:
        return sum(asked == name for asked, _ in self.asked)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_plain(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def names(found: Samples) -> set[str]:
    return {name for name, _ in found}


def scraped(server: ServerMetrics | None = None, state: StateCollector | None = None) -> Samples:
    return samples(exposition(server or ServerMetrics(), state)[0])


def state_of(system: Any, **parts: Any) -> Samples:
    return scraped(state=StateCollector(system.control, machine_now=lambda: MACHINE, **parts))


def insert(system: Any, *records: Any) -> None:
    with system.store.begin() as transaction:
        for record in records:
            transaction.insert(record)


def drift_finding(model: str, features: dict[str, dict[str, Any]], **fields: Any) -> Finding:
    made = Finding(
        id=f"{model}:drift:{uuid.uuid4()}",
        model=model,
        check="drift",
        at=MACHINE,
        verdict=Verdict.HEALTHY,
        severity=Severity.NONE,
        message="made by a test",
        version=1,
        statistic=0.25,
        evidence={"features": features},
    )
    return msgspec.structs.replace(made, **fields)


@pytest.fixture
def small(small_systems):
    made = small_systems.small_system()
    yield made
    made.system.close()


# What the server counts
def test_requests_are_counted_by_model_version_and_status() -> None:
    server = ServerMetrics()
    server.observe_request("mail", {3: 1}, 200, 0.0007)
    server.observe_request("mail", {3: 1}, 200, 0.02)
    server.observe_request("mail", {3: 60, 4: 40}, 200, 0.3)
    server.observe_request("mail", {3: 0}, 500, 12.0)
    found = scraped(server)
    requests = "model_infer_request_total"
    assert value(found, requests, model="mail", version="3", status="200") == 2
    assert value(found, requests, model="mail", version="several", status="200") == 1
    assert value(found, requests, model="mail", version="3", status="500") == 1
    assert value(found, "model_infer_rows_total", model="mail", version="3") == 62
    assert value(found, "model_infer_rows_total", model="mail", version="4") == 40
    duration = "model_infer_duration_seconds"
    assert value(found, f"{duration}_count", model="mail") == 4
    assert value(found, f"{duration}_sum", model="mail") == pytest.approx(12.3207)
    assert value(found, f"{duration}_bucket", model="mail", le="0.0005") == 0
    assert value(found, f"{duration}_bucket", model="mail", le="0.001") == 1
    assert value(found, f"{duration}_bucket", model="mail", le="10.0") == 3


def test_rows_labels_and_requests_are_counted() -> None:
    server = ServerMetrics()
    server.count_log("written", 10)
    server.count_log("failed", 3)
    server.count_log("dropped", 2)
    server.set_queue_depth(7)
    server.count_labels("mail", 5)
    for lag in (-3.0, 90.0, math.nan):
        server.observe_label_lag(lag)
    server.count_http("GET", "/livez", 200)
    found = scraped(server)
    assert value(found, "prediction_log_written_total") == 10
    assert value(found, "prediction_log_failed_total") == 3
    assert value(found, "prediction_log_dropped_total") == 2
    assert value(found, "prediction_log_queue_depth") == 7
    assert value(found, "labels_total", model="mail") == 5
    assert value(found, "label_join_lag_seconds_count") == 2
    assert value(found, "label_join_lag_seconds_sum") == 90
    assert value(found, "http_requests_total", method="GET", route="/livez", status="200") == 1


def test_what_never_happened_is_zero_only_where_it_has_no_labels() -> None:
    found = scraped()
    assert value(found, "prediction_log_dropped_total") == 0
    assert not names(found) & {"model_infer_request_total", "labels_total", "http_requests_total"}
    assert not any(name.endswith("_created") for name in names(found))


def test_names_that_clients_make_up_are_no_series() -> None:
    server = ServerMetrics()
    server.admit("mail", [1])
    for i in range(3000):
        made_up = f"{uuid.uuid4()}{HOSTILE[i % len(HOSTILE)]}"
        server.observe_request(made_up, {}, 404, 0.001)
        server.observe_request(made_up, {i: 0}, 503, 0.001)
        server.observe_request("mail", {i + 2: 0}, 404, 0.001)
        server.count_http(made_up, None, 404)
        server.count_http("GET", f"/{made_up}", 404 if i % 2 else i)
    server.observe_request("x" * 10_000, {}, 404, 0.001)
    server.observe_request("mail", {1: 0}, 500, 0.001)
    found = scraped(server)
    assert {dict(labels).get("model") for _, labels in found} <= {None, "", "mail"}
    assert {dict(labels).get("version") for _, labels in found} <= {None, "", "1"}
    assert value(found, "model_infer_request_total", model="", version="", status="404") == 3001
    assert value(found, "model_infer_request_total", model="mail", version="1", status="500") == 1
    assert value(found, "http_requests_total", method="", route="", status="404") == 3000
    # Patterns come from the server's own code; were that wrong once, it would still end somewhere.
    assert sum(name == "http_requests_total" for name, _ in found) < 2000


@pytest.mark.parametrize("text", [*HOSTILE, "m" * 10_000])
def test_a_hostile_name_that_exists_is_escaped_and_cut(text: str) -> None:
    server = ServerMetrics()
    server.observe_request(text, {1: 1}, 200, 0.001)
    server.count_labels(text, 2)
    for accept, parse in (("", parse_plain), ("application/openmetrics-text", parse_open_metrics)):
        content, _ = exposition(server, accept=accept)
        families = {family.name: family for family in parse(content.decode())}
        labels = next(s for s in families["labels"].samples if s.name == "labels_total").labels
        assert labels["model"] == label_value(text)
        assert len(labels["model"]) <= LONGEST_LABEL


def test_long_names_stay_apart() -> None:
    assert label_value("a" * 500 + "b") != label_value("a" * 500 + "c")
    assert label_value("a" * LONGEST_LABEL) == "a" * LONGEST_LABEL


def test_apps_in_one_process_do_not_meet() -> None:
    one, two = ServerMetrics(), ServerMetrics()
    one.count_log("written", 5)
    assert value(scraped(two), "prediction_log_written_total") == 0


def test_threads_lose_no_counts() -> None:
    server = ServerMetrics()

    def work() -> None:
        for _ in range(500):
            server.observe_request("mail", {1: 2}, 200, 0.001)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(scraped(server), "model_infer_rows_total", model="mail", version="1") == 8000


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=9.9.9", False),
        ("application/openmetrics-text;q=none,;;=,\0", False),
    ],
)
def test_the_format_is_what_was_asked_for(accept: str, is_open: bool) -> None:
    content, kind = exposition(ServerMetrics(), accept=accept)
    assert kind.startswith("application/openmetrics-text") is is_open
    assert content.endswith(b"# EOF\n") is is_open


# What the state says
def test_a_healthy_system_says_what_it_serves(small) -> None:
    small.drive(6)
    found = state_of(small.system)
    assert value(found, "homeostat_state_up") == 1
    assert value(found, "ml_models_total") == 1
    assert value(found, "ml_experiment_traffic", model="mail", version="1", arm="control") == 1
    assert value(found, "ml_experiment_active_total", model="mail") == 0
    assert value(found, "ml_model_promotion_total", model="mail") == 1
    assert value(found, "homeostat_route_newest", model="mail") == 1
    assert value(found, "model_accuracy", model="mail", version="1") == 1
    assert value(found, "labels_unmatched_total", model="mail") == 0
    assert value(found, "model_integrity_failures_total", model="mail") == 0
    assert value(found, "ml_drift_alerts_total", model="mail") == 0
    assert {key[1] for key in found if key[0] == "homeostat_open_alerts"} == {
        (("model", "mail"), ("severity", severity)) for severity in ("low", "medium", "high", "critical")
    }
    size = value(found, "ml_model_file_size_bytes", model="mail", version="1")
    version = small.system.registry.version("mail", 1)
    assert size == sum(entry.size for entry in version.manifest.files if entry.path.startswith("model/"))
    assert size > 0


def test_nothing_known_is_absent(small_systems) -> None:
    small = small_systems.small_system()
    found = state_of(small.system)
    unknown = {"model_accuracy", "model_drift", "drift_detected", "ml_drift_score", "psi_score", "ks_statistic"}
    unknown |= {"ml_pipeline_accuracy", "ml_pipeline_samples_processed", "ml_experiment_metric", "homeostat_route"}
    assert not names(found) & unknown
    assert value(found, "ml_pipeline_updates_total", model="mail", outcome="failed") == 0
    empty = open_system(load(environment={}), in_memory=True)
    given = ("prediction_", "inference_events_waiting", "shadow_rows_left_out_total", "http_requests_refused_")
    given += ("controllers_restarts_total",)
    assert {name: number for (name, _), number in state_of(empty).items() if not name.startswith(given)} == {
        "homeostat_state_up": 1,
        "ml_models_total": 0,
        **{name: number for (name, _), number in scraped().items() if name.startswith("label_join")},
    }


def test_drift_is_told_by_feature_and_as_a_whole(small) -> None:
    small.drive(8)
    before = state_of(small.system)
    assert value(before, "drift_detected", model="mail", version="1") == 0
    for _ in range(12):
        small.send(100, x=small.rng.uniform(0.6, 1.0, 100))
        small.system.tick()
    found = state_of(small.system)
    assert value(found, "drift_detected", model="mail", version="1") == 1
    assert value(found, "model_drift", model="mail", version="1") == 1
    finding = small.system.control.findings("mail", check="drift", limit=1)[0]
    feature = finding.evidence["features"]["x"]
    assert value(found, "ml_drift_score", model="mail", version="1", feature="x") == feature["effect"] > 0.3
    assert value(found, "psi_score", model="mail", feature="x") == feature["psi"]
    assert value(found, "ks_statistic", model="mail", feature="x") == feature["ks"]
    assert value(found, "ml_drift_alerts_total", model="mail") == 1
    alerts = small.system.control.alerts("mail")
    for severity in ("medium", "high", "critical"):
        expected = sum(alert.severity == severity for alert in alerts)
        assert value(found, "homeostat_open_alerts", model="mail", severity=severity) == expected


def test_features_are_bounded_and_their_names_escaped(small) -> None:
    features: dict[str, dict[str, Any]] = {f"f{i}": {"effect": i / 1000, "psi": 0.1, "ks": 0.1} for i in range(200)}
    hostile = {name.encode("utf-8", "replace").decode(): {"effect": 0.9, "psi": None, "ks": "?"} for name in HOSTILE}
    insert(small.system, drift_finding("mail", features | hostile | {"x" * 10_000: {"effect": 0.95}, "lost": {}}))
    found = state_of(small.system)
    shown = {dict(labels)["feature"] for name, labels in found if name == "ml_drift_score"}
    assert len(shown) == MOST_FEATURES
    assert {label_value(name) for name in hostile} | {"f199", label_value("x" * 10_000)} <= shown
    assert {dict(labels)["feature"] for name, labels in found if name == "psi_score"} <= {f"f{i}" for i in range(200)}
    assert value(found, "homeostat_state_up") == 1


def test_too_little_data_is_no_score(small) -> None:
    insert(small.system, drift_finding("mail", {"x": {"effect": 0.4}}, verdict=Verdict.INSUFFICIENT))
    assert not names(state_of(small.system)) & {"ml_drift_score", "drift_detected", "model_drift"}
    insert(small.system, drift_finding("mail", {"x": {"effect": 0.4}}, version=7))
    assert "ml_drift_score" not in names(state_of(small.system))


def test_accuracy_is_of_the_shortest_window_with_enough_labels(small) -> None:
    small.send(10)
    small.system.tick()
    assert "model_accuracy" not in names(state_of(small.system))
    small.drive(3)
    small.wait(2 * 86_400)
    small.send(5)
    small.system.tick()
    daily = small.system.control.findings("mail", check="performance daily", limit=1)[0]
    assert daily.verdict is Verdict.INSUFFICIENT
    assert value(state_of(small.system), "model_accuracy", model="mail", version="1") == 1


def test_a_rollout_is_an_experiment(small, small_systems) -> None:
    version = small.register(small_systems.fitted(cut=0.02))
    small.system.control.start_rollout("mail", version.number, actor="test", reason="newer")
    found = state_of(small.system)
    assert value(found, "ml_experiment_active_total", model="mail") == 1
    assert value(found, "ml_experiment_metric", model="mail", experiment="mail-rollout-1", metric="pairs") == 0
    assert value(found, "ml_experiment_metric", model="mail", experiment="mail-rollout-1", metric="candidate") is None
    small.drive(4)
    found = state_of(small.system)
    evidence = small.system.control.comparisons("mail")[-1].evidence
    assert value(found, "ml_experiment_traffic", model="mail", version="2", arm="candidate") == 0.1
    assert value(found, "ml_experiment_traffic", model="mail", version="1", arm="control") == pytest.approx(0.9)
    pairs = value(found, "ml_experiment_metric", model="mail", experiment="mail-rollout-1", metric="pairs")
    assert pairs == evidence["pairs"] > 0
    small.drive(200)
    assert small.stages()[2] is Stage.PRODUCTION
    ended = state_of(small.system)
    assert value(ended, "ml_experiment_active_total", model="mail") == 0
    assert value(ended, "ml_model_promotion_total", model="mail") == 2
    assert value(ended, "ml_experiment_metric", model="mail", experiment="mail-rollout-1", metric="pairs") > 0
    small.system.control.roll_back("mail", to=1, actor="test", reason="back")
    assert value(state_of(small.system), "ml_model_promotion_total", model="mail") == 2


def test_what_an_ended_experiment_showed_is_read_once(small, small_systems) -> None:
    version = small.register(small_systems.fitted(cut=0.02))
    small.system.control.start_rollout("mail", version.number, actor="test", reason="newer")
    spied, ticks = Spied(small.system.control), Ticks()
    state = StateCollector(spied, monotonic=ticks)
    small.drive(2)
    state.collect()
    small.system.control.abort("mail", actor="test", reason="enough")
    for _ in range(5):
        ticks.now += CACHE_SECONDS
        found = scraped(state=state)
    assert spied.count("comparisons") == 1
    assert value(found, "ml_experiment_metric", model="mail", experiment="mail-rollout-1", metric="pairs") is not None


def run_of(number: int, state: RunState, **fields: Any) -> Run:
    made = Run(
        id=f"mail-run-{number}",
        model="mail",
        state=state,
        trigger=Trigger(kind=TriggerKind.MANUAL, reason="test"),
        created_at=MACHINE,
        updated_at=MACHINE,
        baseline=1,
        number=number,
        seed=1,
    )
    return msgspec.structs.replace(made, **fields)


def test_retrainings_are_counted_by_outcome(small) -> None:
    insert(
        small.system,
        run_of(1, RunState.REJECTED, evidence={"rows": 400}),
        run_of(2, RunState.SUCCEEDED, version=1, evidence={"rows": 500}),
        run_of(3, RunState.FAILED, evidence={"error": "training_failed"}),
        run_of(4, RunState.FAILED),
        run_of(5, RunState.TRAINING),
    )
    found = state_of(small.system)
    ended = {
        outcome: value(found, "ml_pipeline_updates_total", model="mail", outcome=outcome)
        for outcome in ("succeeded", "rejected", "failed", "training")
    }
    assert ended == {"succeeded": 1, "rejected": 1, "failed": 2, "training": None}
    assert value(found, "ml_pipeline_samples_processed", model="mail") == 500
    assert value(found, "ml_pipeline_accuracy", model="mail") == 0.98


def test_a_changed_file_is_counted(small) -> None:
    version = small.system.registry.version("mail", 1)
    entry = next(entry for entry in version.manifest.files if entry.path.startswith("model/"))
    small.system.registry._files._files[entry.sha256] = b"changed"
    for looks in (1, 2):
        small.system.control.verify("mail")
        small.wait(60)
        assert value(state_of(small.system), "model_integrity_failures_total", model="mail") == looks


def test_gateways_say_what_they_serve_and_when(small) -> None:
    def gateway(name: str, route: int, silent: float, **fields: Any) -> GatewayReport:
        seen = MACHINE - timedelta(seconds=silent)
        return GatewayReport(name=name, pid=1, started_at=MACHINE, seen_at=seen, routes={"mail": route}, **fields)

    insert(
        small.system,
        gateway("one", 7, 1),
        gateway("two", 6, 2),
        gateway("dead", 3, 120),
        gateway("stopped", 2, 0, stopped=True),
        gateway("forgotten", 1, FORGET_SECONDS + 1),
        GatewayReport(name="idle", pid=1, started_at=MACHINE, seen_at=MACHINE + timedelta(seconds=3), routes={}),
    )
    found = state_of(small.system)
    assert value(found, "homeostat_route", model="mail") == 6
    seen = {dict(labels)["gateway"]: age for (name, labels), age in found.items() if name.endswith("_seen_seconds")}
    assert seen == {"one": 1, "two": 2, "dead": 120, "idle": 0}


# Reading it costs little, and never breaks a scrape
def test_scrapes_do_not_hammer_the_store(small) -> None:
    spied, ticks = Spied(small.system.control), Ticks()
    state = StateCollector(spied, monotonic=ticks)
    for _ in range(50):
        state.collect()
    assert spied.count("status") == 1
    ticks.now += CACHE_SECONDS
    state.collect()
    assert spied.count("status") == 2


def test_decisions_that_were_counted_are_not_read_again(small) -> None:
    spied, ticks = Spied(small.system.control), Ticks()
    state = StateCollector(spied, monotonic=ticks)

    def promotions(more: int) -> float | None:
        with small.system.store.begin() as transaction:
            for _ in range(more):
                record_decision(transaction, "mail", kind="promotion", at=MACHINE, actor="test", reason="again")
        ticks.now += CACHE_SECONDS
        return value(scraped(state=state), "ml_model_promotion_total", model="mail")

    total = 1
    few, many = RECENT_RECORDS
    for more in (0, 3, 0, few - 1, few, many - 1, many, many + 90, 1):
        total += more
        assert promotions(more) == total
        # After a restart everything is counted anew, and comes to the same.
        assert value(state_of(small.system), "ml_model_promotion_total", model="mail") == total
    whole = [named for name, named in spied.asked if name == "decisions" and not named["limit"]]
    assert len(whole) == 2


def test_counted_counts_nothing_of_nothing() -> None:
    assert Counted(lambda limit: [], lambda record: "any").counts().total() == 0


def test_while_one_scrape_reads_others_get_what_is_held(small) -> None:
    spied, ticks = Spied(small.system.control), Ticks()
    state = StateCollector(spied, monotonic=ticks)
    first = state.collect()
    ticks.now += CACHE_SECONDS
    entered, free = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        if name == "status":
            entered.set()
            assert free.wait(120)

    spied.before = wait
    reader = threading.Thread(target=state.collect)
    reader.start()
    assert entered.wait(120)
    assert state.collect() is first
    ticks.now += STALE_SECONDS
    assert value(scraped(state=state), "homeostat_state_up") == 0
    free.set()
    reader.join()
    assert value(scraped(state=state), "homeostat_state_up") == 1
    assert spied.count("status") == 2


def test_a_broken_store_is_told_and_not_raised(small_systems, tmp_path: Path, caplog) -> None:
    settings = replace(load(environment={}), home=tmp_path / "home")
    clock = small_systems.SimulatedClock(small_systems.START)
    system = open_system(settings, clock=clock)
    small = small_systems.Small(system, clock, np.random.default_rng(1))
    small.register(small_systems.fitted())
    system.registry.install("mail", 1, at=clock.now(), actor="test", reason="the first")
    ticks = Ticks()
    state = StateCollector(system.control, monotonic=ticks)
    assert value(scraped(state=state), "homeostat_state_up") == 1
    database = sqlite3.connect(settings.home / "control.db")
    database.execute("ALTER TABLE model RENAME TO lost")
    for _ in range(3):
        ticks.now += CACHE_SECONDS
        found = scraped(state=state)
    assert value(found, "homeostat_state_up") == 0
    assert "ml_models_total" not in names(found)
    assert "prediction_log_written_total" in names(found)
    assert len([record for record in caplog.records if "/metrics" in record.message]) == 1
    database.execute("ALTER TABLE lost RENAME TO model")
    database.close()
    ticks.now += CACHE_SECONDS
    found = scraped(state=state)
    assert value(found, "homeostat_state_up") == 1
    assert value(found, "ml_model_promotion_total", model="mail") == 1
    system.close()


def test_one_part_that_breaks_hides_nothing_else(small) -> None:
    insert(small.system, drift_finding("mail", {"x": "nonsense"}))  # type: ignore[dict-item]
    found = state_of(small.system)
    assert value(found, "homeostat_state_up") == 0
    assert value(found, "ml_models_total") == 1
    assert value(found, "ml_model_promotion_total", model="mail") == 1
    assert "ml_drift_score" not in names(found)


def test_open_alerts_are_those_that_status_shows(small) -> None:
    def alert(number: int, state: AlertState) -> Alert:
        return Alert(
            id=f"mail-alert-{number}",
            model="mail",
            subject=f"subject {number}",
            state=state,
            severity=Severity.HIGH,
            message="made by a test",
            opened_at=MACHINE,
            last_seen_at=MACHINE,
        )

    insert(small.system, alert(1, AlertState.OPEN), alert(2, AlertState.ACKNOWLEDGED), alert(3, AlertState.RESOLVED))
    found = state_of(small.system)
    assert value(found, "homeostat_open_alerts", model="mail", severity="high") == 2
    assert value(found, "homeostat_open_alerts", model="mail", severity="critical") == 0


def test_a_state_that_is_slow_to_read_is_read_less_often(small) -> None:
    spied, ticks = Spied(small.system.control), Ticks()
    state = StateCollector(spied, monotonic=ticks)

    def slow(name: str) -> None:
        ticks.now += 2.0 * (name == "status")

    spied.before = slow
    state.collect()
    ticks.now += 10
    state.collect()
    assert spied.count("status") == 1
    ticks.now += 10
    state.collect()
    assert spied.count("status") == 2


# Several processes
WORKER = """
import sys
from homeostat.http.metrics import ServerMetrics
server = ServerMetrics()
assert server.shared
number = int(sys.argv[1])
for _ in range(number):
    server.observe_request("mail", {3: 2}, 200, 0.004)
server.count_log("written", 2 * number)
server.set_queue_depth(number)
print("ready", flush=True)
sys.stdin.read()
"""
READER = """
import sys
from homeostat.http.metrics import ServerMetrics, exposition, mark_process_dead
for pid in sys.argv[1:]:
    mark_process_dead(int(pid))
sys.stdout.buffer.write(exposition(ServerMetrics())[0])
"""


def test_processes_share_their_counts(tmp_path: Path) -> None:
    shared = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def read(*dead: int) -> Samples:
        command = [sys.executable, "-c", READER, *(str(pid) for pid in dead)]
        return samples(subprocess.run(command, env=shared, check=True, capture_output=True, timeout=240).stdout)

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(number)], env=shared, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in (3, 4)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        # A worker that starts makes its file first and fills it then.
        (tmp_path / "counter_1.db").touch()
        found = read()
        assert value(found, "model_infer_request_total", model="mail", version="3", status="200") == 7
        assert value(found, "model_infer_duration_seconds_count", model="mail") == 7
        assert value(found, "prediction_log_written_total") == 14
        assert value(found, "prediction_log_queue_depth") == 7
        assert not any(dict(labels).get("pid") for _, labels in found)
        workers[0].kill()
        workers[0].wait()
        after = read(workers[0].pid)
        assert value(after, "model_infer_request_total", model="mail", version="3", status="200") == 7
        assert value(after, "prediction_log_queue_depth") == 4
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_a_folder_that_was_named_too_late_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(InvalidSettings, match="before the process starts"):
        ServerMetrics()


def test_the_client_library_is_loaded_only_on_use() -> None:
    code = "import sys, homeostat.http.metrics; assert 'prometheus_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


# The page
def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", page, flags=re.MULTILINE)
    listed = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(rows) == len(listed)
    assert listed == {one.name: (one.kind, one.labels) for one in (*SERVER_METRICS, *STATE_METRICS)}
