"""A server process: stores, services, gateway, controllers and the HTTP application over them, put together."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeostat import __version__
from homeostat.controllers.clock import SimulatedClock, SystemClock
from homeostat.dashboard.facts import PageFacts, read_all, read_facts
from homeostat.errors import UnknownModel
from homeostat.http import control_plane, data_plane, inference_protocol, scoring_protocol
from homeostat.http.app import Application
from homeostat.http.certificate import Certificate
from homeostat.http.direct import DirectPredictions
from homeostat.http.errors import reply_of
from homeostat.http.feeds import predictions as past_predictions
from homeostat.http.health import Health
from homeostat.http.inference_protocol.rows import InferenceRows
from homeostat.http.limits import Limits
from homeostat.http.metrics import ServerMetrics, StateCollector, exposition
from homeostat.http.metrics.statistics import counts_by_version
from homeostat.http.openapi import document
from homeostat.http.operations import MODEL, Operation, Pool, Raw, Request
from homeostat.http.plain_rows import PlainRows
from homeostat.http.trust import Trust
from homeostat.keys.ring import KeyRing
from homeostat.ports import Clock
from homeostat.serving.follower import RouteFollower
from homeostat.serving.shadows import ShadowQueue
from homeostat.settings import ServeSettings, Settings, networks_of
from homeostat.wiring import simulation
from homeostat.wiring.acting import act
from homeostat.wiring.log_findings import tell_of_log
from homeostat.wiring.remote_calls import open_grpc
from homeostat.wiring.system import System, open_system

if TYPE_CHECKING:
    from homeostat.http.inference_protocol.grpc_server import GrpcServer
    from homeostat.records import ClockReport

CONTROL_THREADS = 8
PAGE_SECONDS = 0.5
GARBAGE = (5_000, 10, 10)
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_LOG = logging.getLogger("homeostat.server")


class Role(StrEnum):
    """What a process does: everything, or one half of it. A worker serves all paths and leaves acting to another."""

    ALL = "all"
    WORKER = "worker"
    GATEWAY = "gateway"
    CONTROLLER = "controller"

    @property
    def serves(self) -> bool:
        """Whether it answers predictions."""
        return self is not Role.CONTROLLER

    @property
    def acts(self) -> bool:
        """Whether the controllers run in it."""
        return self in (Role.ALL, Role.CONTROLLER)

    @property
    def orders(self) -> bool:
        """Whether it takes orders and shows pages."""
        return self is not Role.GATEWAY


@dataclass(slots=True)
class Server:
    """Everything that one server process runs, but the sockets.

    `stopping` is set once it was told to stop: requests that came are answered, and probes say that it is not ready.
    `stop` ends the threads.
    """

    settings: Settings
    system: System
    application: Application
    follower: RouteFollower | None
    keys: KeyRing
    metrics: ServerMetrics
    acts: bool
    ticks_by_itself: bool
    stop: threading.Event
    stopping: threading.Event
    work: threading.Event
    threads: list[threading.Thread]
    direct: DirectPredictions
    pools: dict[Pool, ThreadPoolExecutor]
    grpc: GrpcServer | None = None
    certificate: Certificate | None = None

    def start(self) -> None:
        """Load what is served, then let the follower and the controllers run."""
        # No request should wait for libraries that load on use; those of predictions are there before the first one.
        import_module("mmh3")
        if self.follower is not None:
            self.follower.follow()
            # Who changed a route before the first report was written did not wait for this gateway.
            self.follower.follow()
            self._run("routes", self._follow)
        self._run("keys", lambda: self.keys.run(self.stop, self.settings.serve.follow_seconds))
        if self.acts and self.ticks_by_itself:
            self._run("controllers", lambda: act(self.system, self.stop, self.work))
        if self.certificate is not None:
            certificate = self.certificate
            self._run("certificate", lambda: certificate.follow(self.stop))
        if self.grpc is not None:
            self.grpc.start()
        # What was loaded stays: looking through it for garbage again and again took a seventh of the time of requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        gc.enable()
        _give_back_memory()
        self._run("libraries", _load_what_comes_later)

    def _run(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"homeostat-{name}", daemon=True)
        thread.start()
        self.threads.append(thread)

    def _follow(self) -> None:
        if self.follower is not None:
            self.follower.run(self.stop, self.settings.serve.follow_seconds)

    def close(self) -> None:
        """Stop the threads, give back leases, and close the stores. What was answered is written already."""
        if self.grpc is not None:
            self.grpc.stop(self.settings.serve.grace_seconds)
        self.stop.set()
        self.work.set()
        for pool in self.pools.values():
            pool.shutdown(wait=True)
        self.direct.close()
        for thread in self.threads:
            thread.join(timeout=self.settings.serve.grace_seconds)
        if any(thread.is_alive() for thread in self.threads):
            # A training that goes on is carried on by the next process; closing the stores under it helps nobody.
            _LOG.warning("The controllers were still at work; what they did goes on with the next start.")
            return
        self.system.close()
        _LOG.info("stopped")


def _load_what_comes_later() -> None:
    """Import what reading and sealing the log needs: a start need not wait for it."""
    import_module("pyarrow")


def _give_back_memory() -> None:
    """Hand what loading needed and freed back to the system, where the C library can: else it is kept for good."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        # https://man7.org/linux/man-pages/man3/malloc_trim.3.html
        trim(0)


def build_server(
    settings: Settings,
    *,
    role: Role = Role.ALL,
    simulated: bool = False,
    name: str | None = None,
    address: str = "",
) -> Server:
    """Open the stores and wire a server process. `name` tells its gateway from others, `address` is shown."""
    name = name or f"{socket.gethostname()}:{os.getpid()}"
    certificate = _certificate(settings.serve)
    stop, stopping, work = threading.Event(), threading.Event(), threading.Event()
    clock: Clock = SimulatedClock(simulation.BEGINNING) if simulated else SystemClock()
    followed: list[RouteFollower] = []

    def on_route(_model: str) -> None:
        for follower in followed:
            follower.follow()

    metrics = ServerMetrics()
    system = open_system(
        settings,
        clock=clock,
        # A simulation is one process; started again after a kill, it must not wait for its own lease.
        holder="simulation" if simulated else None,
        on_route=on_route,
        on_run=work.set,
        is_server=True,
        acts=role.acts,
        # A simulation replays exactly, so that there everything happens in its place.
        shadows=None if simulated else ShadowQueue(metrics.count_shadows_left_out),
    )
    if isinstance(clock, SimulatedClock):
        simulation.restore(clock, system.store)
    if role.serves:
        still: dict[str, Any] = {"monotonic": lambda: 0.0} if simulated else {}
        followed.append(RouteFollower(system.gateway, system.store, clock, name=name, pid=os.getpid(), **still))
    pools = {
        Pool.PREDICT: ThreadPoolExecutor(settings.serve.threads, thread_name_prefix="predict"),
        Pool.CONTROL: ThreadPoolExecutor(CONTROL_THREADS, thread_name_prefix="control"),
    }
    advance: Callable[[datetime], ClockReport] | None = None
    if isinstance(clock, SimulatedClock):
        moved = clock

        def advance(now: datetime) -> ClockReport:
            return simulation.advance(system, moved, now, on_done=lambda: on_route(""))

    watch = getattr(system.log, "watch", None)
    if watch is not None:
        watch(metrics.count_log, lambda trouble: tell_of_log(system, trouble))
    keys = KeyRing(system.store)
    keys.follow()
    system.control.key_service.on_change = keys.follow
    plane = data_plane.DataPlane(
        system.gateway,
        system.control,
        system.clock,
        metrics,
        default_model=settings.serve.model,
        most_rows=settings.serve.batch_rows,
        most_bytes=settings.serve.body_bytes,
        queue_depth=getattr(system.log, "queue_depth", lambda: 0),
    )
    trust = Trust(token=settings.token, hosts=frozenset({settings.serve.host}), keys=keys, asks=settings.serve.auth)
    limits = Limits(
        requests_per_second=settings.serve.requests_per_second,
        burst=settings.serve.burst,
        concurrent_requests=settings.serve.concurrent_requests,
        bodies_bytes=settings.serve.bodies_bytes,
        proxies=networks_of(settings.serve.trusted_proxies),
        on_refused=metrics.count_refused,
    )
    operations = _operations(
        settings,
        system,
        role,
        metrics,
        plane,
        name=name,
        address=address,
        is_stopping=stopping.is_set,
        advance=advance,
    )
    server = Server(
        settings=settings,
        system=system,
        application=Application(
            operations,
            pools,
            trust=trust,
            limits=limits,
            metrics=metrics,
            body_bytes=settings.serve.body_bytes,
            upload_bytes=settings.serve.upload_bytes,
        ),
        follower=followed[0] if followed else None,
        keys=keys,
        metrics=metrics,
        acts=role.acts,
        ticks_by_itself=not simulated,
        stop=stop,
        stopping=stopping,
        work=work,
        threads=[],
        direct=DirectPredictions(
            plane,
            (PlainRows(), InferenceRows()),
            trust,
            limits,
            metrics,
        ),
        pools=pools,
        grpc=open_grpc(
            settings, system, metrics, plane, trust, limits, certificate, name=name, is_stopping=stopping.is_set
        )
        if role.serves
        else None,
        certificate=certificate,
    )
    server.application.on_stop = server.close
    return server


def _certificate(serve: ServeSettings) -> Certificate | None:
    if not serve.tls_certificate:
        return None
    return Certificate(Path(serve.tls_certificate), Path(serve.tls_key) if serve.tls_key else None)


def _operations(
    settings: Settings,
    system: System,
    role: Role,
    metrics: ServerMetrics,
    plane: data_plane.DataPlane,
    *,
    name: str,
    address: str,
    is_stopping: Callable[[], bool],
    advance: Callable[[datetime], ClockReport] | None,
) -> list[Operation]:
    control, serve = system.control, settings.serve
    health = Health(
        system.gateway,
        control,
        name=name,
        is_stopping=is_stopping,
        serves=role.serves,
        log_trouble=lambda: getattr(system.log, "trouble", ""),
    )
    made: list[Operation] = []
    if role.serves:
        # The router tries them in order: what is asked most comes first.
        made += data_plane.operations(plane)
        made += past_predictions.operations(plane, control, metrics)
        made += inference_protocol.operations(
            plane,
            control,
            health.protocol_ready,
            lambda: counts_by_version(metrics.collect()),
        )
        made += scoring_protocol.operations(plane, health.ready)
    made += health.operations()
    made.append(_metrics_operation(metrics, StateCollector(control)))
    if role.orders:
        made += control_plane.operations(control, allow_pickle=serve.allow_pickle, allow_python=serve.allow_python)
        if advance is not None:
            made.append(control_plane.clock_operation(advance))
        made += _pages(system, address=address, simulated=advance is not None)
    described = document(made, asks_who_calls=bool(settings.token) or serve.auth)
    made.append(
        Operation(
            "GET",
            "/api/v1/openapi.json",
            "What this server takes and gives",
            lambda _: described,
            dict[str, Any],
            "about",
            pool=Pool.PREDICT,
        )
    )
    return made


def _metrics_operation(metrics: ServerMetrics, state: StateCollector) -> Operation:
    def scrape(_request: Request) -> Raw:
        content, content_type = exposition(metrics, state)
        return Raw(content, content_type)

    return Operation("GET", "/metrics", "Metrics for Prometheus", scrape, str, "health", content_type=METRICS)


class Held:
    """Pages that were just made: many who watch cost no more than one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pages: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The page of a name, made anew where the one that is held is too old."""
        with self._lock:
            made, page = self._pages.get(name, (-math.inf, b""))
            if time.monotonic() - made >= self._seconds:
                page = make()
                self._pages[name] = (time.monotonic(), page)
            return page


def _pages(system: System, *, address: str, simulated: bool) -> list[Operation]:
    def facts(models: list[Any]) -> PageFacts:
        return PageFacts(
            models=models,
            now=system.clock.now(),
            simulated=simulated,
            version=__version__,
            server=address,
            machine_now=datetime.now(tz=UTC),
        )

    held = Held(PAGE_SECONDS)

    # Pages load when somebody first looks at one: a tenth of a start, and nothing that answers needs them.
    def overview(_request: Request) -> Raw:
        from homeostat.dashboard.pages import render_overview

        return Raw(held.get("", lambda: render_overview(facts(read_all(system.control))).encode()), HTML)

    def model(request: Request) -> Raw:
        from homeostat.dashboard.pages import render_error, render_model

        name = request.path["model"]
        try:
            page = held.get(name, lambda: render_model(facts([read_facts(system.control, name)])).encode())
            return Raw(page, HTML)
        except UnknownModel as error:
            return Raw(render_error("No such model", reply_of(error).error, server=address).encode(), HTML, 404)

    return [
        Operation("GET", "/", "The status page", overview, str, "pages", content_type=HTML),
        Operation(
            "GET",
            "/models/{model}",
            "The status page of a model",
            model,
            str,
            "pages",
            content_type=HTML,
            parameters=(MODEL,),
            errors=(UnknownModel,),
        ),
    ]
