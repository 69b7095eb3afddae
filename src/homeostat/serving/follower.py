"""Keeps a gateway on the newest routes, says which ones it serves, and drops candidates that nobody watches."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec

from homeostat.errors import Conflict, HomeostatError, StorageFailed
from homeostat.ports import Clock, ControlStore
from homeostat.records import GatewayReport, Lease, Model, Route, route_lease
from homeostat.serving.gateway import Gateway

_LOG = logging.getLogger("homeostat.serving")
BEAT = timedelta(seconds=2)


def machine_now() -> datetime:
    """The machine's time: what liveness is told by, whatever clock the models live by."""
    return datetime.now(tz=UTC)


class Watched(msgspec.Struct, frozen=True):
    """Until when a candidate may be served, and when (on a clock that never jumps) that was last put off."""

    until: datetime
    length: float
    heard: float


class RouteFollower:
    """Follows the control store for one gateway.

    A route that names a candidate carries a lease, which the controllers renew while they watch the candidate. Where
    it runs out, because they are gone or the store can't be reached, the gateway serves the production version alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        store: ControlStore,
        clock: Clock,
        *,
        name: str,
        pid: int,
        monotonic: Callable[[], float] = time.monotonic,
        started_at: datetime | None = None,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._clock = clock
        self._name = name
        self._pid = pid
        self._monotonic = monotonic
        self._started_at = started_at or machine_now()
        self._revision: int | None = None
        self._leases: dict[str, Watched] = {}
        self._said: tuple[dict[str, int], datetime] | None = None
        self._broken = False
        self._lock = threading.Lock()

    def follow(self) -> None:
        """Look once: routes, leases, and the report of what is served. Never raises."""
        with self._lock:
            try:
                revision = self._store.revision()
                if revision != self._revision:
                    self._look()
                    # Only now: a look that broke half-way is done again.
                    self._revision = revision
                # Before the report: what it names is served by then, also where production was served alone.
                self._enforce_leases()
                self._report()
                self._broken = False
            except StorageFailed as error:
                if not self._broken:
                    _LOG.warning("The control store can't be reached, routes stay as they are: %s", error)
                self._broken = True
            except Exception:
                _LOG.exception("Following routes broke; it is tried again.")
            self._enforce_leases()

    def _look(self) -> None:
        now = self._clock.now()
        with self._store.read() as transaction:
            models = [model.name for model in transaction.list(Model)]
            routed = {}
            for model in models:
                route = next(iter(transaction.list(Route, model=model, newest_first=True, limit=1)), None)
                if route is not None:
                    routed[model] = (route, transaction.get(Lease, route_lease(model)))
        held = self._gateway.held()
        new = [model for model in routed if model not in held]
        if len(new) > 1:
            # A start: reading, hashing and compiling leave the interpreter to others.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda model: self._refresh(model, now), new))
        for model, (route, lease) in routed.items():
            self._refresh(model, now)
            self._hear(model, route, lease)

    def _refresh(self, model: str, now: datetime) -> None:
        try:
            self._gateway.refresh(model, now=now)
        except HomeostatError as error:
            # The gateway kept its finding; the other models are served all the same.
            _LOG.warning("The newest route of '%s' can't be served: %s", model, error)

    def _hear(self, model: str, route: Route, lease: Lease | None) -> None:
        if route.lease_until is None:
            self._leases.pop(model, None)
            return
        until = max(route.lease_until, lease.until if lease is not None else route.lease_until)
        held = self._leases.get(model)
        if held is None or until != held.until:
            length = max((until - self._clock.now()).total_seconds(), 0.0)
            self._leases[model] = Watched(until=until, length=length, heard=self._monotonic())

    def _enforce_leases(self) -> None:
        now, since = self._clock.now(), self._monotonic()
        for model in self._gateway.held():
            lease = self._leases.get(model)
            # The machine's clock may be set back; what passes by the other one counts too.
            lapsed = lease is not None and (now >= lease.until or since - lease.heard >= lease.length)
            if lapsed and not self._gateway.serves_alone(model):
                _LOG.warning("Nobody watches the candidate of '%s' any more; production is served alone.", model)
            self._gateway.serve_alone(model, alone=lapsed)

    def _report(self) -> None:
        routes = {model: snapshot.route.number for model, snapshot in self._gateway.held().items()}
        now = machine_now()
        if self._said is not None and self._said[0] == routes and now - self._said[1] < BEAT:
            return
        self._write(routes, now, stopped=False)
        self._said = (routes, now)

    def _write(self, routes: dict[str, int], now: datetime, *, stopped: bool) -> None:
        with self._store.begin() as transaction:
            held = transaction.get(GatewayReport, self._name)
            report = GatewayReport(
                name=self._name,
                pid=self._pid,
                started_at=self._started_at,
                seen_at=now,
                routes=routes,
                stopped=stopped,
                revision=0 if held is None else held.revision,
            )
            if held is None:
                transaction.insert(report)
            else:
                transaction.replace(report)

    def run(self, stop: threading.Event, every_seconds: float) -> None:
        """Follow until told to stop, then say so."""
        while not stop.wait(every_seconds):
            self.follow()
        try:
            self._write({}, machine_now(), stopped=True)
        except (StorageFailed, Conflict) as error:
            _LOG.warning("The gateway could not say that it stopped: %s", error)
