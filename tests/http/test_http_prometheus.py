"""The exposition, given to Prometheus' own programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from homeostat.http.metrics import ServerMetrics, StateCollector, exposition
from homeostat.http.metrics.server import SERVER_METRICS
from homeostat.http.metrics.state import STATE_METRICS
from homeostat.records import Finding, GatewayReport, Severity, Verdict

ROOT = Path(__file__).parents[2]
HOSTILE = 'a"quote, a\nnewline, a\\backslash, {braces}, naïve ☃ \ud800 and a nul \0'
PATIENCE = 120.0


def binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"There is no {name} on the PATH: apt-get install prometheus."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    return binary("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    return binary("prometheus")


def lint(promtool: str, content: bytes) -> str:
    """What promtool has against it; empty when all is well."""
    done = subprocess.run([promtool, "check", "metrics"], input=content, capture_output=True, timeout=240, check=False)
    complaints = (done.stdout + done.stderr).decode()
    return complaints or (f"exit status {done.returncode}" if done.returncode else "")


def full_server() -> ServerMetrics:
    server = ServerMetrics()
    server.observe_request("mail", {1: 3}, 200, 0.003)
    server.observe_request("mail", {1: 3, 2: 1}, 200, 0.02)
    server.observe_request(HOSTILE, {1: 1}, 200, 0.003)
    server.observe_request("nobody", {}, 404, 0.0001)
    server.observe_request("m" * 10_000, {1: 1}, 200, 0.1)
    server.count_log("written", 7)
    server.count_labels("mail", 5)
    server.observe_label_lag(86_400)
    server.count_rows_ingested("mail", 3, 1)
    server.count_events("paired", 2)
    server.set_events_waiting(1)
    server.count_http("POST", "/models/{model}/predict", 200)
    server.count_http("GET", None, 404)
    return server


@pytest.fixture
def full_system(small_systems) -> Iterator[Any]:
    """A system that has something to say for every metric of the state."""
    small = small_systems.small_system()
    small.drive(8)
    version = small.register(small_systems.fitted(cut=0.02))
    small.system.control.start_rollout("mail", version.number, actor="test", reason="newer")
    small.drive(2)
    run = small.system.control.retrain("mail", actor="test", reason="to have one")
    small.system.control.wait_for_run(run)
    now = datetime.now(tz=UTC)
    drift = Finding(
        id="mail:drift:test",
        model="mail",
        check="drift",
        at=small.clock.now(),
        verdict=Verdict.HARMED,
        severity=Severity.HIGH,
        message="made by a test",
        version=1,
        statistic=1.0,
        evidence={"features": {HOSTILE.replace("\ud800", ""): {"effect": 0.5, "psi": 0.3, "ks": 0.2}}},
    )
    gateway = GatewayReport(name="host:1:ab", pid=1, started_at=now, seen_at=now, routes={"mail": 2})
    with small.system.store.begin() as transaction:
        transaction.insert(drift)
        transaction.insert(gateway)
    yield small.system
    small.system.close()


def test_promtool_has_nothing_against_any_metric(promtool: str, full_system: Any) -> None:
    content, kind = exposition(full_server(), StateCollector(full_system.control))
    assert kind.startswith("text/plain")
    told = {line.split()[2] for line in content.decode().splitlines() if line.startswith("# TYPE")}
    every = {one.name for one in (*SERVER_METRICS, *STATE_METRICS)}
    # A run that is rejected by the data gate has no candidate.
    assert every - told <= {"ml_pipeline_accuracy", "ml_pipeline_samples_processed"}
    assert lint(promtool, content) == ""


def test_promtool_does_complain_where_something_is_wrong(promtool: str) -> None:
    assert "counter" in lint(
        promtool, b"# HELP ml_models_total Models.\n# TYPE ml_models_total gauge\nml_models_total 1\n"
    )
    assert lint(promtool, b'models{name="un"escaped"} 1\n')


def test_the_alerting_rules_of_the_page_are_legal(promtool: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    scrape, rules = (block.split("```")[0] for block in page.split("```yaml\n")[1:])
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(scrape, encoding="utf-8")
    for what, file in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        subprocess.run([promtool, "check", what, str(tmp_path / file)], check=True, capture_output=True, timeout=240)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def eventually(look: Callable[[], Any], what: Callable[[], str]) -> Any:
    """The first thing that is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    return pytest.fail(f"Nothing came within {PATIENCE:.0f} s. {what()}")


@contextmanager
def serving(app: Starlette) -> Iterator[int]:
    """The app on a free port of this machine."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, lambda: "uvicorn did not start.")
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@contextmanager
def scraping(prometheus: str, port: int, folder: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """A Prometheus that scrapes a port every two seconds; what it yields asks a query."""
    listening = free_port()
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 2s, scrape_timeout: 2s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: homeostat, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
        encoding="utf-8",
    )
    log = folder / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={config}",
                f"--web.listen-address=127.0.0.1:{listening}",
                f"--storage.tsdb.path={folder / 'data'}",
            ],
            stdout=out,
            stderr=out,
            cwd=folder,
        )

    def ask(query: str) -> list[dict[str, Any]]:
        address = f"http://127.0.0.1:{listening}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=60) as reply:  # of this machine
            result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        return result

    try:
        yield lambda query: eventually(
            lambda: ask(query), lambda: f"Query: {query}\n{log.read_text(errors='replace')[-3000:]}"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_prometheus_scrapes_and_answers(prometheus: str, full_system: Any, tmp_path: Path) -> None:
    server, state = full_server(), StateCollector(full_system.control)
    accepted: list[str] = []

    async def metrics(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        accepted.append(accept)
        content, kind = await run_in_threadpool(exposition, server, state, accept)
        return Response(content, headers={"content-type": kind})

    with (
        serving(Starlette(routes=[Route("/metrics", metrics)])) as port,
        scraping(prometheus, port, tmp_path) as ask,
    ):
        requests = ask('model_infer_request_total{model="mail"}')
        assert {result["metric"]["version"]: result["value"][1] for result in requests} == {"1": "1", "several": "1"}
        assert ask("up == 1")
        nobody = ask('model_infer_request_total{status="404"}')
        assert "model" not in nobody[0]["metric"]
        models = {result["metric"].get("model") for result in ask("model_infer_rows_total")}
        assert any('a"quote, a\nnewline, a\\backslash, {braces}, naïve ☃' in str(name) for name in models)
        assert ask("ml_models_total")[0]["value"][1] == "1"
        assert ask("homeostat_state_up == 1")
        assert ask("histogram_quantile(0.5, model_infer_duration_seconds_bucket)")
        server.observe_request("mail", {1: 1}, 200, 0.003)
        ask('model_infer_request_total{model="mail", version="1"} == 2')
        assert ask("scrape_samples_scraped > 40")
    assert "openmetrics" in accepted[0]


@pytest.mark.slow
def test_prometheus_scrapes_a_whole_server(prometheus: str, promtool: str, servers: Any, tmp_path: Path) -> None:
    """Two processes on one port, as they are run: what they count adds up, and promtool has nothing against it."""
    made = servers.run_command(tmp_path, "init")
    assert made.returncode == 0, made.stderr
    row = {"sepal_length": 5.8, "sepal_width": 2.8, "petal_length": 5.1, "petal_width": 2.4}
    with (
        servers.running_server(tmp_path, "--workers", "2") as server,
        scraping(prometheus, server.port, tmp_path) as ask,
    ):
        for _ in range(40):
            # Each on a connection of its own, so that both processes have their share.
            assert server.post("/predict", {"features": row}).status_code == 200
        assert server.post("/predict", {"features": {}}).status_code == 400
        answered = ask('sum(model_infer_request_total{model="iris", status="200"}) == 40')
        assert answered[0]["value"][1] == "40"
        assert ask('model_infer_request_total{status="400"}')
        assert ask("prediction_log_written_total == 40")
        assert ask("homeostat_state_up == 1")
        assert ask('ml_model_file_size_bytes{model="iris"} > 0')
        assert lint(promtool, server.get("/metrics").content) == ""
